"""Monitors from Python: watch models, keep profiles and drift reports beside the models they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_ext.client._monitors import AlarmList, MonitorHandle, MonitorList
from jupyter_ext.client._rows import Column, Rows, when
from jupyter_ext.client._transport import segment
from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.monitoring.values import (
    Alarm,
    Check,
    DriftCheck,
    DriftReportSpec,
    FeatureDrift,
    JupyterRoute,
    Monitor,
    MonitorSpec,
    ProfileSpec,
    Route,
    StoredDriftReport,
    StoredProfile,
)

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.monitoring import DriftReport, Profile


class Monitors:
    """Monitors, profiles and drift reports of this workspace.

    Examples
    --------
    >>> from jupyter_ext.monitoring import Profile, QualityCheck, drift
    >>> stored = client.monitors.save_profile("biopsies", Profile.of(X[:300]))
    >>> later = X[300:].assign(**{"mean area": X["mean area"] / 100})
    >>> report = drift(client.monitors.profile("biopsies"), later)
    >>> client.monitors.save_report("daily", report).drifted
    ('mean area',)
    >>> sane = QualityCheck(ranges={"mean area": (0, None)}, learned=False)
    >>> monitor = client.monitors.create("cells", profile=stored, checks=[sane], fire_after=1)
    >>> monitor.check(X[300:].assign(**{"mean area": -1.0}))[0].fired[0].message
    "100 % of 'mean area' is outside of its range (at most 1 %)."
    >>> monitor.delete()
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transport = client.transport

    def create(
        self,
        name: str,
        *,
        model: Any = None,
        dataset: Any = None,
        profile: Any = None,
        checks: Sequence[Check] = (DriftCheck(),),
        routes: Sequence[Route] = (JupyterRoute(),),
        timestamp: str | None = None,
        period: str | None = None,
        min_rows: int = 30,
        fire_after: int = 2,
        resolve_after: int = 2,
        description: str = "",
    ) -> MonitorHandle:
        """Make a monitor of a model version, a data set or a stored profile.

        Parameters
        ----------
        name
            What to find it by; no other monitor may have it.
        model, dataset
            What it watches: objects of this client; or ``"churn/3"``, ``"churn/@champion"``, and an id.
        profile
            The stored profile to compare with. Default: the newest of the model version, or of the data set.
        checks
            `DriftCheck`, `QualityCheck`, `OutlierCheck`, `MetricCheck` of `jupyter_ext.monitoring`.
        routes
            Whom to tell: `JupyterRoute`, `WebhookRoute`, `AlertmanagerRoute`.
        timestamp, period
            The column of the rows' time, and the length of a window as pandas writes it (``"D"``, ``"h"``). Without,
            what is given to `MonitorHandle.check` is one window.
        min_rows
            Smaller windows are kept, and change no alarm.
        fire_after, resolve_after
            An alarm is pending until its rule was broken in so many windows in a row, and is resolved after so many
            without a breach.

        Raises
        ------
        Invalid
            There is no reference, or what it names is unknown.
        Conflict
            There is a monitor of that name.
        """
        spec = MonitorSpec(
            name=name,
            model=_model_ref(model),
            dataset_id=getattr(dataset, "id", dataset),
            profile_id=getattr(profile, "id", profile),
            checks=tuple(checks),
            routes=tuple(routes),
            timestamp=timestamp,
            period=period,
            min_rows=min_rows,
            fire_after=fire_after,
            resolve_after=resolve_after,
            description=description,
        )
        return self._handle(self._transport.post("monitors", spec))

    def get(self, name: str) -> MonitorHandle:
        """Return a monitor by its name or its id.

        Raises
        ------
        NotFound
            There is none.
        """
        found = self._transport.get("monitors", name=name, limit=1)["items"]
        if found:
            return self._handle(found[0])
        try:
            return self._handle(self._transport.get(f"monitors/{segment(name)}"))
        except NotFound:
            raise NotFound(f"There is no monitor {name!r}.", name=name) from None

    def list(self, model: Any = None) -> MonitorList:
        """Return monitors, newest first; those of a model or a version."""
        items = self._transport.pages("monitors", model=_model_ref(model), limit=500)
        return MonitorList(self._handle(item) for item in items)

    def alarms(self, state: str | None = "active") -> AlarmList:
        """Return alarms of all monitors, newest first: those that are active, of a state, or all (None)."""
        items = self._transport.pages("monitors/alarms", state=state, limit=500)
        return AlarmList(Alarm.model_validate(item) for item in items)

    def _handle(self, item: Any) -> MonitorHandle:
        return MonitorHandle(self._client, Monitor.model_validate(item))

    def save_profile(
        self, name: str, profile: Profile, *, dataset: Any = None, model: Any = None, description: str = ""
    ) -> StoredProfile:
        """Keep a profile under a name. The same name may be used again: the newest is found by it.

        Parameters
        ----------
        name
            What to find it by.
        profile
            A `jupyter_ext.monitoring.Profile`.
        dataset
            The data set it was made from: an object of this client, or an id.
        model
            The model version it belongs to: an object of this client, or ``"name/3"``, ``"name/@champion"``.
        """
        if not hasattr(profile, "to_bytes") or not hasattr(profile, "n_rows"):
            raise Invalid(f"A Profile is kept, not {type(profile).__name__}. Make one: Profile.of(frame).")
        spec = ProfileSpec(
            name=name,
            blob=self._transport.upload(profile.to_bytes()),
            n_rows=profile.n_rows,
            dataset_id=getattr(dataset, "id", dataset),
            model=_model_ref(model),
            description=description,
        )
        return StoredProfile(**self._transport.post("monitors/profiles", spec))

    def find_profile(self, name: str) -> StoredProfile:
        """Return what is known about the newest profile of that name, or of that id.

        Raises
        ------
        NotFound
            There is none.
        """
        found = self._transport.get("monitors/profiles", name=name, limit=1)["items"]
        if found:
            return StoredProfile(**found[0])
        try:
            return StoredProfile(**self._transport.get(f"monitors/profiles/{segment(name)}"))
        except NotFound:
            raise NotFound(f"There is no stored profile {name!r}.", name=name) from None

    def profile(self, name: str | StoredProfile) -> Profile:
        """Load the newest profile of that name (or id), ready for `drift`."""
        from jupyter_ext.monitoring import Profile

        stored = name if isinstance(name, StoredProfile) else self.find_profile(name)
        return Profile.from_bytes(self._transport.download(f"blobs/{stored.blob}"))

    def profiles(self, name: str | None = None, model: Any = None) -> ProfileList:
        """Return stored profiles, newest first; those of a name, a model or a version."""
        items = self._transport.pages("monitors/profiles", name=name, model=_model_ref(model), limit=500)
        return ProfileList(StoredProfile(**item) for item in items)

    def save_report(self, name: str, report: DriftReport, *, model: Any = None, profile: Any = None) -> StoredReport:
        """Keep a drift report under a name; reports of one name are a history.

        Parameters
        ----------
        name
            What to find it by.
        report
            What `jupyter_ext.monitoring.drift` answered.
        model
            The model version it is about; as in `save_profile`.
        profile
            The stored profile that was the reference, or its id.
        """
        if not hasattr(report, "to_dict") or not hasattr(report, "drifted"):
            raise Invalid(f"A DriftReport is kept, not {type(report).__name__}. Make one: drift(reference, current).")
        facts = report.to_dict()
        spec = DriftReportSpec(
            name=name,
            model=_model_ref(model),
            profile_id=getattr(profile, "id", profile),
            n_reference=report.n_reference,
            n_current=report.n_current,
            alpha=report.alpha,
            correction=report.correction,
            features=[FeatureDrift(**feature) for feature in facts["features"]],
        )
        return StoredReport(**self._transport.post("monitors/reports", spec))

    def report(self, report_id: str) -> StoredReport:
        """Return a stored drift report by its id."""
        return StoredReport(**self._transport.get(f"monitors/reports/{segment(report_id)}"))

    def reports(self, name: str | None = None, model: Any = None, limit: int = 50) -> ReportList:
        """Return stored drift reports, newest first, at most ``limit``; those of a name, a model or a version."""
        found: list[StoredReport] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self._transport.get(
                "monitors/reports",
                name=name,
                model=_model_ref(model),
                limit=min(limit - len(found), 500),
                cursor=cursor,
            )
            found += [StoredReport(**item) for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return ReportList(found)

    def __repr__(self) -> str:
        return f"<monitors of {self._client!r}>"


class StoredReport(StoredDriftReport):
    """A stored drift report with its tests as a table."""

    @property
    def table(self) -> pd.DataFrame:
        """One row a feature, as in `DriftReport.table`."""
        import pandas as pd

        return pd.DataFrame([feature.model_dump() for feature in self.features]).set_index("feature")

    def __repr__(self) -> str:
        names = ", ".join(self.drifted[:5]) + (" …" if len(self.drifted) > 5 else "")
        moved = f"{len(self.drifted)} of {len(self.features)} features drifted" + (f": {names}" if names else "")
        return f"<drift report {self.name!r} of {self.created_at:%Y-%m-%d %H:%M}: {moved}>"


class ReportList(Rows):
    """Drift reports, newest first."""

    columns = (
        Column("created_at", lambda one: one.created_at, when),
        Column("name", lambda one: one.name),
        Column("model", lambda one: one.model),
        Column("drifted", lambda one: ", ".join(one.drifted)),
        Column("features", lambda one: len(one.features)),
        Column("reference rows", lambda one: one.n_reference, "{:,}".format),
        Column("current rows", lambda one: one.n_current, "{:,}".format),
    )
    empty = "No drift reports yet."


class ProfileList(Rows):
    """Stored profiles, newest first."""

    columns = (
        Column("created_at", lambda one: one.created_at, when),
        Column("name", lambda one: one.name),
        Column("model", lambda one: one.model),
        Column("rows", lambda one: one.n_rows, "{:,}".format),
        Column("description", lambda one: one.description),
    )
    empty = "No profiles yet."


def _model_ref(model: Any) -> str | None:
    """Return ``name/version`` of a version object; text as it is."""
    if model is None or isinstance(model, str):
        return model
    name, version = getattr(model, "name", None), getattr(model, "version", None)
    if not isinstance(name, str) or not isinstance(version, int):
        raise Invalid(f"model must be a registered version or text such as 'churn/3', not {type(model).__name__}.")
    return f"{name}/{version}"
