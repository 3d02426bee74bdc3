"""Values of monitoring: stored profiles and drift reports; monitors, their checks and routes, alarms and deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from jupyter_ext.monitoring.methods import Method
from jupyter_ext.values import Digest, Name, Query, Text, Value

#: The kind of a feature; ``table``: all columns together.
Kind = Literal["numeric", "categorical", "boolean", "datetime", "text", "embedding", "table"]
#: A model, or one of its versions: ``name``, ``name/3``, ``name/@champion``. Stored with the number.
ModelRef = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\x00]+(/@?[A-Za-z0-9_.\-]+)?$")]
#: The name of a column: bounded, and without the NUL that PostgreSQL cannot keep.
Feature = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Rows = Annotated[int, Field(ge=0, le=10**15)]
Id = Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")]
Correction = Literal["bh", "by", "bonferroni", "none"]
Comparator = Literal["==", "!=", ">", "<", ">=", "<="]
Level = Annotated[float, Field(gt=0, lt=1)]


class ProfileSpec(Value):
    """A profile made in the notebook (``Profile.to_bytes()`` uploaded as a blob) and what it describes."""

    name: Name
    blob: Digest
    n_rows: Annotated[int, Field(ge=1, le=10**15)]
    dataset_id: Id | None = None
    model: ModelRef | None = None
    description: Text = ""


class StoredProfile(ProfileSpec):
    """A stored profile."""

    id: str
    owner: str
    created_at: datetime


class FeatureDrift(Value):
    """One feature's test: the statistic, the threshold it was held against, the p-value, and its correction."""

    feature: Feature
    kind: Kind
    method: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9_]+$")]
    statistic: Finite | None
    threshold: Finite | None
    p_value: Probability | None = None
    q_value: Probability | None = None
    drifted: bool
    n_reference: Rows
    n_current: Rows


class DriftReportSpec(Value):
    """A drift report as the client computed it."""

    name: Name
    model: ModelRef | None = None
    profile_id: Id | None = None
    n_reference: Rows
    n_current: Rows
    alpha: Level
    correction: Correction
    features: Annotated[list[FeatureDrift], Field(max_length=10_000)]

    @field_validator("features")
    @classmethod
    def _each_feature_once(cls, features: list[FeatureDrift]) -> list[FeatureDrift]:
        if len({feature.feature for feature in features}) < len(features):
            raise ValueError("a feature is listed twice")
        return features


class StoredDriftReport(DriftReportSpec):
    """A stored drift report. ``drifted`` names the features that moved."""

    id: str
    drifted: tuple[str, ...]
    owner: str
    created_at: datetime


class ProfileQuery(Query):
    """Filter of profiles."""

    name: str | None = None
    model: str | None = None


class ReportQuery(Query):
    """Filter of drift reports."""

    name: str | None = None
    model: str | None = None


# --- what a monitor checks --------------------------------------------------------------------------------------------


class DriftCheck(Value):
    """Alarms when a feature moved away from the reference.

    Parameters
    ----------
    alpha, correction, methods, features
        As in `jupyter_ext.monitoring.drift`; ``features`` are those to compare, by default all common ones.
    anytime
        Whether ``alpha`` is for all windows together, however many there will be: the k-th is tested at
        ``alpha / (k (k + 1))``, and these levels add up to ``alpha``. Otherwise each window is tested at ``alpha``.

    Examples
    --------
    >>> DriftCheck(methods="psi").name
    'drift'
    """

    kind: Literal["drift"] = "drift"
    name: Name = "drift"
    alpha: Level = 0.05
    correction: Correction = "bh"
    methods: Method | tuple[Method, ...] | dict[Feature, Method] | None = None
    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=10_000)] | None = None
    anytime: bool = True


class QualityCheck(Value):
    """Alarms when too many rows have values that they should not have.

    Parameters
    ----------
    ranges
        The least and the greatest allowed value by feature; None leaves a side open.
    categories
        The allowed categories by feature.
    missing
        The allowed share of missing values by feature.
    learned
        Whether everything else is taken from the reference: its least and greatest values, its categories, its share
        of missing values. Otherwise only what is named is looked at.
    share
        The share of rows that may break a rule before it is an alarm; for missing values, beyond what is allowed.

    Examples
    --------
    >>> QualityCheck(ranges={"age": (0, 120)}, learned=False).share
    0.01
    """

    kind: Literal["quality"] = "quality"
    name: Name = "quality"
    ranges: dict[Feature, tuple[Finite | None, Finite | None]] = {}
    categories: dict[Feature, Annotated[tuple[str, ...], Field(max_length=10_000)]] = {}
    missing: dict[Feature, Probability] = {}
    learned: bool = True
    share: Probability = 0.01


class OutlierCheck(Value):
    """Alarms when more rows are outliers than chance explains.

    Parameters
    ----------
    level
        A row is an outlier when its p-value is at most this.
    alpha, anytime
        The chance of a false alarm: for all windows together, or (not ``anytime``) in each, as for `DriftCheck`.
    features
        The columns to look at; by default all of the reference.

    Examples
    --------
    >>> OutlierCheck(level=0.001).alpha
    0.05
    """

    kind: Literal["outliers"] = "outliers"
    name: Name = "outliers"
    level: Level = 0.01
    alpha: Level = 0.05
    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=10_000)] | None = None
    anytime: bool = True


class MetricCheck(Value):
    """Alarms on what another registered model says of the rows.

    Parameters
    ----------
    model
        The model whose output is the metric: ``"plausibility/3"``, ``"plausibility/@champion"``.
    over
        How the outputs of a window become one number.
    comparator, threshold
        It is an alarm when ``number comparator threshold`` is true.

    Examples
    --------
    >>> MetricCheck(model="plausibility/@champion", comparator="<", threshold=0.8).over
    'mean'
    """

    kind: Literal["metric"] = "metric"
    name: Name = "metric"
    model: ModelRef
    over: Literal["mean", "median", "min", "max", "sum"] = "mean"
    comparator: Comparator
    threshold: Finite


Check = Annotated[DriftCheck | QualityCheck | OutlierCheck | MetricCheck, Field(discriminator="kind")]

# --- whom it tells ----------------------------------------------------------------------------------------------------

Url = Annotated[str, Field(min_length=8, max_length=2000, pattern=r"^https?://[^\s\x00]+$")]


class JupyterRoute(Value):
    """A notification in JupyterLab."""

    kind: Literal["jupyter"] = "jupyter"


class WebhookRoute(Value):
    """A POST of JSON, signed as the Standard Webhooks specification says.

    Parameters
    ----------
    url
        Where to.
    secret
        What the signature is made with: ``whsec_`` and base64 of 24 to 64 bytes. Given once, never shown again.
    """

    kind: Literal["webhook"] = "webhook"
    url: Url
    secret: Annotated[str, Field(max_length=200, pattern=r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}$")] | None = None


class AlertmanagerRoute(Value):
    """Prometheus' Alertmanager, by its API (v2); told again and again while an alarm lasts, as it wants to be.

    Parameters
    ----------
    url
        Of the Alertmanager, without ``/api/v2``.
    labels
        Labels that every alert gets, for its routing.
    """

    kind: Literal["alertmanager"] = "alertmanager"
    url: Url
    labels: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=100)], Text], Field(max_length=50)
    ] = {}


Route = Annotated[JupyterRoute | WebhookRoute | AlertmanagerRoute, Field(discriminator="kind")]

# --- the monitor ------------------------------------------------------------------------------------------------------


class MonitorSpec(Value):
    """What to watch, against what, and whom to tell.

    ``profile_id`` is the reference; by default the newest profile of the model version, or of the data set.
    """

    name: Name
    model: ModelRef | None = None
    dataset_id: Id | None = None
    profile_id: Id | None = None
    checks: Annotated[tuple[Check, ...], Field(min_length=1, max_length=20)] = (DriftCheck(),)
    routes: Annotated[tuple[Route, ...], Field(max_length=10)] = (JupyterRoute(),)
    timestamp: Feature | None = None
    period: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]*[A-Za-z][A-Za-z\-]*$")] | None = None
    min_rows: Annotated[int, Field(ge=1, le=10**9)] = 30
    fire_after: Annotated[int, Field(ge=1, le=1000)] = 2
    resolve_after: Annotated[int, Field(ge=1, le=1000)] = 2
    description: Text = ""

    @field_validator("checks")
    @classmethod
    def _each_name_once(cls, checks: tuple[Check, ...]) -> tuple[Check, ...]:
        if len({check.name for check in checks}) < len(checks):
            raise ValueError("two checks have the same name; give one another name=")
        return checks

    @model_validator(mode="after")
    def _watches_something(self) -> MonitorSpec:
        if self.model is None and self.dataset_id is None and self.profile_id is None:
            raise ValueError("a monitor watches a model version, a data set or a profile: give one")
        if self.period is not None and self.timestamp is None:
            raise ValueError("a period cuts rows by their time: name the column, timestamp=")
        return self


class Monitor(MonitorSpec):
    """A monitor and where it stands. Secrets of routes are left out.

    ``evaluations`` counts the windows that were judged since the reference is what it is.
    """

    id: str
    owner: str
    enabled: bool
    evaluations: int
    last_end: datetime | None
    pending: int
    firing: int
    created_at: datetime


class MonitorChange(Value):
    """What may change: whether it judges, and what it compares with. A new reference begins anew, without alarms."""

    enabled: bool | None = None
    profile_id: Id | None = None


class Measured(Value):
    """What one check found in a window, of one feature or of all rows.

    ``value`` is what is held against the threshold: a q-value (drift), a p-value (outliers), a share of rows
    (quality), a number (metric). ``statistic`` says how far: the distance, the share of outliers. None where nothing
    could be said; the note tells why.
    """

    check: Name
    feature: Feature = ""
    aspect: Literal["", "outside", "unseen", "missing"] = ""
    value: Finite | None
    statistic: Finite | None = None
    note: Annotated[str, Field(max_length=500)] = ""


class MonitorReference(Value):
    """What a monitor's windows are measured against: blobs of the profile, and of the rows where a check needs them."""

    profile_id: Id | None = None
    profile: Digest | None = None
    rows: Digest | None = None


class EvaluationSpec(Value):
    """A window as it was measured, in a kernel or a job. The same ``key`` again is the same evaluation.

    ``profile_id`` is the reference that it was held against; of another one than the monitor's it is refused.
    """

    key: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    profile_id: Id | None = None
    start: AwareDatetime | None = None
    end: AwareDatetime
    n_rows: Rows
    measured: Annotated[list[Measured], Field(max_length=50_000)]


class Judged(Measured):
    """What was measured, and the rule it was held against: it is a breach when ``value comparator threshold``."""

    comparator: Comparator
    threshold: Finite
    breached: bool


class Alarm(Value):
    """One rule that is broken, or was: ``pending``, ``firing`` from enough breaches in a row on, ``resolved``."""

    id: str
    monitor_id: str
    monitor: str
    model: str | None
    check: str
    feature: str
    aspect: str
    state: Literal["pending", "firing", "resolved"]
    value: float
    comparator: Comparator
    threshold: float
    breaches: int
    calm: int
    message: str
    began_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None


class Evaluation(Value):
    """A judged window; in lists, ``judged`` has only the rules that it broke.

    ``fired`` and ``resolved`` are the alarms that it moved; asked for later, as they stand then. ``skipped`` tells why
    a window moved none: too few rows, or older than one that was judged before.
    """

    id: str
    monitor_id: str
    key: str
    start: datetime | None
    end: datetime
    n_rows: int
    number: int | None
    breached: int
    skipped: str
    created_at: datetime
    judged: list[Judged]
    fired: tuple[Alarm, ...] = ()
    resolved: tuple[Alarm, ...] = ()


class Measurement(Judged):
    """What was measured of one feature in one window: a point of a timeline."""

    evaluation_id: str
    start: datetime | None
    end: datetime


class Delivery(Value):
    """One message about alarms to one route, and what became of it.

    ``waiting`` for its (next) attempt; ``delivered``; ``repeating`` while the alarm lasts (Alertmanager); ``failed``.
    """

    id: str
    monitor_id: str
    evaluation_id: str
    event: Literal["fired", "resolved"]
    route: Route
    alarm_ids: tuple[str, ...]
    state: Literal["waiting", "delivered", "repeating", "failed"]
    attempts: int
    status: int | None
    error: str
    next_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime


class AlarmQuery(Query):
    """Filter of alarms."""

    monitor_id: str | None = None
    state: Literal["pending", "firing", "resolved", "active"] | None = None


class MonitorQuery(Query):
    """Filter of monitors."""

    name: str | None = None
    model: str | None = None


class MeasurementQuery(Query):
    """Filter of measurements."""

    check: str | None = None
    feature: str | None = None
