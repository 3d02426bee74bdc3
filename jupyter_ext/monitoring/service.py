"""Monitoring: keeps profiles and drift reports that notebooks and jobs computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.monitoring.container import read_header
from jupyter_ext.monitoring.tables import drift_report, feature_drift, profile
from jupyter_ext.monitoring.values import (
    DriftReportSpec,
    FeatureDrift,
    ProfileQuery,
    ProfileSpec,
    ReportQuery,
    StoredDriftReport,
    StoredProfile,
)
from jupyter_ext.store import Store, now, paginate
from jupyter_ext.values import Page, new_id

if TYPE_CHECKING:
    from jupyter_ext.registry.service import RegistryService
    from jupyter_ext.store import Transaction


class MonitorService(LoggingConfigurable):
    """Stores profiles and drift reports, and lists them.

    Parameters
    ----------
    models
        Looks up the model versions that profiles and reports are about.
    """

    def __init__(self, store: Store, *, models: RegistryService | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.models = models

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
                try:
                    _own(tx, profile, spec.profile_id, owner, "profile")
                except NotFound as error:
                    raise Invalid(error.message, **error.details) from None
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
                {"report_id": row["id"], "name": spec.name, "model": model, "drifted": drifted, "owner": owner},
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

    def _version(self, model: str | None) -> str | None:
        """Return ``name`` or ``name/number`` after looking it up: an alias may point elsewhere tomorrow."""
        if model is None or self.models is None:
            return model
        name, _, version = model.partition("/")
        try:
            return f"{name}/{self.models.get_version(name, version).version}" if version else self.models.get(name).name
        except NotFound as error:
            raise Invalid(error.message, model=model) from None


def _stamp(prefix: str, owner: str) -> dict[str, Any]:
    return {"id": new_id(prefix), "owner": owner, "created_at": now()}


def _own(tx: Transaction, table: sa.Table, row_id: str, owner: str, what: str) -> dict[str, Any]:
    row = tx.one_or_none(sa.select(table).where(table.c.id == row_id, table.c.owner == owner))
    if row is None:
        raise NotFound(f"There is no {what} {row_id!r}.", id=row_id)
    return dict(row)


def _filtered(
    statement: sa.Select[Any], table: sa.Table, query: ProfileQuery | ReportQuery, owner: str
) -> sa.Select[Any]:
    statement = statement.where(table.c.owner == owner)
    if query.name is not None:
        statement = statement.where(table.c.name == query.name)
    if query.model is not None:
        versions = table.c.model.startswith(f"{query.model}/", autoescape=True)
        statement = statement.where(sa.or_(table.c.model == query.model, versions))
    return statement


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
