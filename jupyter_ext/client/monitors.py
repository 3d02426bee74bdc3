"""Monitors from Python: keep profiles and drift reports beside the models they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_ext.client._transport import segment
from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.monitoring.values import DriftReportSpec, FeatureDrift, ProfileSpec, StoredDriftReport, StoredProfile

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.monitoring import DriftReport, Profile


class Monitors:
    """Profiles and drift reports of this workspace.

    Examples
    --------
    >>> from jupyter_ext.monitoring import Profile, drift
    >>> stored = client.monitors.save_profile("biopsies", Profile.of(X[:300]))
    >>> later = X[300:].assign(**{"mean area": X["mean area"] / 100})
    >>> report = drift(client.monitors.profile("biopsies"), later)
    >>> client.monitors.save_report("daily", report).drifted
    ('mean area',)
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transport = client.transport

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


class ReportList(list[StoredReport]):
    """Drift reports, newest first."""

    def frame(self) -> pd.DataFrame:
        """Return one row a report."""
        import pandas as pd

        columns = ["created_at", "name", "model", "drifted", "features", "reference rows", "current rows"]
        rows = [
            (r.created_at, r.name, r.model, ", ".join(r.drifted), len(r.features), r.n_reference, r.n_current)
            for r in self
        ]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        return self.frame().to_string(index=False) if self else "No drift reports yet."

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, border=0) if self else "<p>No drift reports yet.</p>"


class ProfileList(list[StoredProfile]):
    """Stored profiles, newest first."""

    def frame(self) -> pd.DataFrame:
        """Return one row a profile."""
        import pandas as pd

        columns = ["created_at", "name", "model", "rows", "description"]
        rows = [(p.created_at, p.name, p.model, p.n_rows, p.description) for p in self]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        return self.frame().to_string(index=False) if self else "No profiles yet."

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, border=0) if self else "<p>No profiles yet.</p>"


def _model_ref(model: Any) -> str | None:
    """Return ``name/version`` of a version object; text as it is."""
    if model is None or isinstance(model, str):
        return model
    name, version = getattr(model, "name", None), getattr(model, "version", None)
    if not isinstance(name, str) or not isinstance(version, int):
        raise Invalid(f"model must be a registered version or text such as 'churn/3', not {type(model).__name__}.")
    return f"{name}/{version}"
