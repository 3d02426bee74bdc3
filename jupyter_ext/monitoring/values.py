"""Values of monitoring: stored profiles and drift reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from jupyter_ext.values import Digest, Name, Query, Text, Value

Kind = Literal["numeric", "categorical", "boolean", "datetime"]


class ProfileSpec(Value):
    """A profile made in the notebook (``Profile.to_bytes()`` uploaded as a blob) and what it describes."""

    name: Name
    blob: Digest
    n_rows: Annotated[int, Field(ge=1)]
    dataset_id: str | None = None
    model: str | None = None
    description: Text = ""


class StoredProfile(ProfileSpec):
    """A stored profile."""

    id: str
    owner: str
    created_at: datetime


class FeatureDrift(Value):
    """One feature's test: the statistic, the threshold it was held against, and the p-value corrected over features (``q_value``)."""

    feature: str
    kind: Kind
    method: str
    statistic: float | None
    threshold: float | None
    p_value: float | None = None
    q_value: float | None = None
    drifted: bool
    n_reference: int
    n_current: int


class DriftReportSpec(Value):
    """A drift report as the client computed it."""

    name: Name
    model: str | None = None
    profile_id: str | None = None
    n_reference: Annotated[int, Field(ge=0)]
    n_current: Annotated[int, Field(ge=0)]
    alpha: Annotated[float, Field(gt=0, lt=1)]
    correction: Literal["bh", "by", "bonferroni", "none"]
    features: Annotated[list[FeatureDrift], Field(max_length=10_000)]


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
