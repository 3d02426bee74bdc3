"""Values of monitoring: stored profiles and drift reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

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


class ProfileSpec(Value):
    """A profile made in the notebook (``Profile.to_bytes()`` uploaded as a blob) and what it describes."""

    name: Name
    blob: Digest
    n_rows: Annotated[int, Field(ge=1, le=10**15)]
    dataset_id: Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")] | None = None
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
    profile_id: Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")] | None = None
    n_reference: Rows
    n_current: Rows
    alpha: Annotated[float, Field(gt=0, lt=1)]
    correction: Literal["bh", "by", "bonferroni", "none"]
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
