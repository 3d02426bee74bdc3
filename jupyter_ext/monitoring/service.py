"""Monitoring: keeps profiles and drift reports that notebooks and jobs computed, and the monitors that judge them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.monitoring.container import read_header
from jupyter_ext.monitoring.evaluations import Evaluations
from jupyter_ext.monitoring.notices import Notice, take_down
from jupyter_ext.monitoring.tables import alarm, drift_report, feature_drift, monitor, profile
from jupyter_ext.monitoring.values import (
    DriftReportSpec,
    FeatureDrift,
    MetricCheck,
    Monitor,
    MonitorChange,
    MonitorQuery,
    MonitorReference,
    MonitorSpec,
    OutlierCheck,
    ProfileQuery,
    ProfileSpec,
    QualityCheck,
    ReportQuery,
    StoredDriftReport,
    StoredProfile,
)
from jupyter_ext.store import Store, now, paginate
from jupyter_ext.values import Page, new_id

if TYPE_CHECKING:
    from jupyter_ext.datasets.service import DatasetService
    from jupyter_ext.registry.service import RegistryService
    from jupyter_ext.store import Transaction


class MonitorService(LoggingConfigurable):
    """Stores profiles and drift reports, and lists them; keeps monitors. What these judge is in ``evaluations``.

    Parameters
    ----------
    models
        Looks up the model versions that profiles and reports are about.
    datasets
        Looks up the rows of references.
    """

    def __init__(
        self,
        store: Store,
        *,
        models: RegistryService | None = None,
        datasets: DatasetService | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.models = models
        self.datasets = datasets
        self.evaluations = Evaluations(store, self.log)

    def save_profile(self, spec: ProfileSpec, *, owner: str) -> StoredProfile:
        """Store an uploaded profile.

        Raises
        ------
        Invalid
            The blob is not there or is no profile, or the model version is unknown.
        """
        self.store.blobs.require(spec.blob)
        n_rows = read_header(self.store.blobs.get(spec.blob))["n_rows"]
        if n_rows != spec.n_rows:
            raise Invalid(f"The profile was made from {n_rows:,} rows, not from {spec.n_rows:,}.", n_rows=n_rows)
        row = {**spec.model_dump(), "model": self._version(spec.model), **_stamp("profile", owner)}
        with self.store.write() as tx:
            tx.execute(sa.insert(profile).values(row))
        self.log.info("Stored profile %s (%d rows)", spec.name, spec.n_rows)
        return StoredProfile(**row)

    def get_profile(self, profile_id: str, *, owner: str) -> StoredProfile:
        """Return a profile by its id."""
        with self.store.read() as tx:
            return StoredProfile(**_own(tx, profile, profile_id, owner, "profile"))

    def list_profiles(self, query: ProfileQuery, *, owner: str) -> Page[StoredProfile]:
        """Return profiles, newest first; with a name, everything that was stored under it."""
        statement = _filtered(sa.select(profile), profile, query, owner)
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, profile.c.id, query)
        return Page(items=[StoredProfile(**row) for row in rows], next_cursor=cursor)

    def save_report(self, spec: DriftReportSpec, *, owner: str) -> StoredDriftReport:
        """Store a drift report, all of it or nothing, and tell the panels.

        Raises
        ------
        Invalid
            The profile or the model version it names is unknown.
        """
        model = self._version(spec.model)
        row = {**spec.model_dump(exclude={"features"}), "model": model, **_stamp("drift", owner)}
        drifted = [feature.feature for feature in spec.features if feature.drifted]
        with self.store.write() as tx:
            if spec.profile_id is not None:
                _require_profile(tx, spec.profile_id, owner)
            tx.execute(sa.insert(drift_report).values(row))
            if spec.features:
                tx.execute(
                    sa.insert(feature_drift),
                    [
                        {"report_id": row["id"], "position": position, **feature.model_dump()}
                        for position, feature in enumerate(spec.features)
                    ],
                )
            tx.emit(
                "monitor",
                {
                    "what": "report",
                    "report_id": row["id"],
                    "name": spec.name,
                    "model": model,
                    "drifted": drifted,
                    "owner": owner,
                },
            )
        self.log.info("Stored drift report %s: %d of %d features drifted", spec.name, len(drifted), len(spec.features))
        return _report(row, spec.features)

    def get_report(self, report_id: str, *, owner: str) -> StoredDriftReport:
        """Return a drift report by its id."""
        with self.store.read() as tx:
            row = _own(tx, drift_report, report_id, owner, "drift report")
            return _report(row, _features(tx, [report_id])[report_id])

    def list_reports(self, query: ReportQuery, *, owner: str) -> Page[StoredDriftReport]:
        """Return drift reports, newest first."""
        statement = _filtered(sa.select(drift_report), drift_report, query, owner)
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, drift_report.c.id, query)
            features = _features(tx, [row["id"] for row in rows])
        return Page(items=[_report(dict(row), features[row["id"]]) for row in rows], next_cursor=cursor)

    # -- monitors ----------------------------------------------------------------------------------------------------

    def create(self, spec: MonitorSpec, *, owner: str) -> Monitor:
        """Make a monitor.

        Raises
        ------
        Invalid
            The model version or the profile it names is unknown, or there is no reference to compare with.
        Conflict
            There is a monitor of that name.
        """
        model = self._version(spec.model)
        with self.store.read() as tx:
            profile_id = _profile_to_compare_with(tx, spec, model, owner)
        row = {
            **spec.model_dump(mode="json", exclude={"model", "profile_id"}),
            "model": model,
            "profile_id": profile_id,
            **_stamp("monitor", owner),
            "enabled": True,
            "evaluations": 0,
            "last_end": None,
        }
        notice = self._notice(_monitor(row, {}))
        with self.store.write() as tx:
            tx.lock("monitor", owner, spec.name)
            taken = sa.select(monitor.c.id).where(monitor.c.owner == owner, monitor.c.name == spec.name)
            if tx.scalar(taken) is not None:
                raise Conflict(f"There is a monitor {spec.name!r} already; delete it first, or take another name.")
            tx.execute(sa.insert(monitor).values(row))
            notice.post(self.store.objects)
            _tell(tx, notice.monitor)
        self.log.info("Monitor %s watches %s", spec.name, model or spec.dataset_id or spec.profile_id)
        return notice.monitor

    def get(self, monitor_id: str, *, owner: str) -> Monitor:
        """Return a monitor by its id."""
        with self.store.read() as tx:
            row = _own(tx, monitor, monitor_id, owner, "monitor")
            return _monitor(row, _active(tx, [monitor_id]))

    def list_monitors(self, query: MonitorQuery, *, owner: str) -> Page[Monitor]:
        """Return monitors, newest first."""
        statement = _filtered(sa.select(monitor), monitor, query, owner)
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, monitor.c.id, query)
            active = _active(tx, [row["id"] for row in rows])
        return Page(items=[_monitor(row, active) for row in rows], next_cursor=cursor)

    def reference(self, monitor_id: str, *, owner: str) -> MonitorReference:
        """Return what a monitor's windows are measured against."""
        return self._notice(self.get(monitor_id, owner=owner)).reference

    def change(self, monitor_id: str, change: MonitorChange, *, owner: str) -> Monitor:
        """Pause a monitor or let it go on; give it another reference, with which it begins anew.

        Raises
        ------
        Invalid
            The profile is unknown.
        Conflict
            It was given another reference in the same moment.
        """
        before = self.get(monitor_id, owner=owner)
        facts = change.model_dump(exclude_none=True)
        if "profile_id" in facts:
            with self.store.read() as tx:
                _require_profile(tx, facts["profile_id"], owner)
            if facts["profile_id"] != before.profile_id:
                facts["evaluations"] = 0
        notice = self._notice(before.model_copy(update=facts))
        with self.store.write() as tx:
            tx.lock("monitor", monitor_id)
            row = _own(tx, monitor, monitor_id, owner, "monitor")
            if row["profile_id"] != before.profile_id:
                raise Conflict(f"Monitor {before.name!r} was given another reference just now; look at it again.")
            if "evaluations" in facts:
                self.evaluations.settle(tx, before)
            if facts:
                tx.execute(sa.update(monitor).where(monitor.c.id == monitor_id).values(**facts))
                notice.post(self.store.objects)
                _tell(tx, notice.monitor)
            return _monitor(row | facts, _active(tx, [monitor_id]))

    def delete(self, monitor_id: str, *, owner: str) -> None:
        """Delete a monitor with its history and its alarms; what was not delivered yet never is."""
        with self.store.write() as tx:
            tx.lock("monitor", monitor_id)
            row = _own(tx, monitor, monitor_id, owner, "monitor")
            tx.execute(sa.delete(monitor).where(monitor.c.id == monitor_id))
            _tell(tx, _monitor(row, {}))
        take_down(self.store.objects, monitor_id)

    def _notice(self, one: Monitor) -> Notice:
        """Return what a job has to know of a monitor."""
        found: StoredProfile | None = None
        if one.profile_id is not None:
            found = self.get_profile(one.profile_id, owner=one.owner)
        rows = None
        if self.datasets is not None and any(isinstance(check, OutlierCheck) for check in one.checks):
            dataset_id = one.dataset_id or (found.dataset_id if found is not None else None) or self._dataset_of(one)
            rows = self.datasets.get(dataset_id, owner=one.owner).blob if dataset_id is not None else None
        blob = found.blob if found is not None else None
        return Notice(monitor=one, reference=MonitorReference(profile_id=one.profile_id, profile=blob, rows=rows))

    def _dataset_of(self, one: Monitor) -> str | None:
        name, _, version = (one.model or "").partition("/")
        return self.models.get_version(name, version).dataset_id if self.models is not None and version else None

    def _version(self, model: str | None) -> str | None:
        """Return ``name`` or ``name/number`` after looking it up: an alias may point elsewhere tomorrow."""
        if model is None or self.models is None:
            return model
        name, _, version = model.partition("/")
        try:
            return f"{name}/{self.models.get_version(name, version).version}" if version else self.models.get(name).name
        except NotFound as error:
            raise Invalid(error.message, model=model) from None


def _tell(tx: Transaction, one: Monitor) -> None:
    """Tell the panels that a monitor was made, changed or deleted."""
    facts = {"what": "monitor", "name": one.name, "model": one.model, "owner": one.owner, "monitor_id": one.id}
    tx.emit("monitor", facts)


def _stamp(prefix: str, owner: str) -> dict[str, Any]:
    return {"id": new_id(prefix), "owner": owner, "created_at": now()}


def _own(tx: Transaction, table: sa.Table, row_id: str, owner: str, what: str) -> dict[str, Any]:
    row = tx.one_or_none(sa.select(table).where(table.c.id == row_id, table.c.owner == owner))
    if row is None:
        raise NotFound(f"There is no {what} {row_id!r}.", id=row_id)
    return dict(row)


def _filtered(
    statement: sa.Select[Any], table: sa.Table, query: ProfileQuery | ReportQuery | MonitorQuery, owner: str
) -> sa.Select[Any]:
    statement = statement.where(table.c.owner == owner)
    if query.name is not None:
        statement = statement.where(table.c.name == query.name)
    if query.model is not None:
        versions = table.c.model.startswith(f"{query.model}/", autoescape=True)
        statement = statement.where(sa.or_(table.c.model == query.model, versions))
    return statement


def _require_profile(tx: Transaction, profile_id: str, owner: str) -> None:
    try:
        _own(tx, profile, profile_id, owner, "profile")
    except NotFound as error:
        raise Invalid(error.message, **error.details) from None


def _profile_to_compare_with(tx: Transaction, spec: MonitorSpec, model: str | None, owner: str) -> str | None:
    """Return the profile to compare with: the given one, or the newest of the model version or the data set."""
    if spec.profile_id is not None:
        _require_profile(tx, spec.profile_id, owner)
        return spec.profile_id
    newest = sa.select(profile.c.id).where(profile.c.owner == owner).order_by(profile.c.id.desc()).limit(1)
    for column, value in ((profile.c.model, model), (profile.c.dataset_id, spec.dataset_id)):
        found = tx.scalar(newest.where(column == value)) if value is not None else None
        if found is not None:
            return str(found)
    needless = (isinstance(c, MetricCheck) or (isinstance(c, QualityCheck) and not c.learned) for c in spec.checks)
    if all(needless):
        return None
    raise Invalid(
        f"There is no reference profile of {model or spec.dataset_id}. Keep one first: "
        "workspace.monitors.save_profile(name, Profile.of(training), model=…), or register the model with training=…."
    )


def _active(tx: Transaction, monitor_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the numbers of pending and firing alarms by monitor."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    counted = (
        sa.select(alarm.c.monitor_id, alarm.c.state, sa.func.count().label("n"))
        .where(alarm.c.monitor_id.in_(monitor_ids), alarm.c.state.in_(("pending", "firing")))
        .group_by(alarm.c.monitor_id, alarm.c.state)
    )
    for row in tx.all(counted):
        found[row["monitor_id"]][row["state"]] = row["n"]
    return found


def _monitor(row: Mapping[Any, Any], active: Mapping[str, Mapping[str, int]]) -> Monitor:
    standing = active.get(row["id"], {})
    # A secret is given once and never shown.
    routes = [{key: value for key, value in route.items() if key != "secret"} for route in row["routes"]]
    counts = {state: standing.get(state, 0) for state in ("pending", "firing")}
    return Monitor.model_validate({**row, "routes": routes, **counts})


def _features(tx: Transaction, report_ids: Sequence[str]) -> dict[str, list[FeatureDrift]]:
    found: dict[str, list[FeatureDrift]] = defaultdict(list)
    order = (feature_drift.c.report_id, feature_drift.c.position)
    for row in tx.all(sa.select(feature_drift).where(feature_drift.c.report_id.in_(report_ids)).order_by(*order)):
        values = {key: value for key, value in row.items() if key not in ("report_id", "position")}
        found[row["report_id"]].append(FeatureDrift(**values))
    return found


def _report(row: dict[str, Any], features: list[FeatureDrift]) -> StoredDriftReport:
    return StoredDriftReport(
        **row, features=features, drifted=tuple(feature.feature for feature in features if feature.drifted)
    )
