"""What a monitor's checks measure in a window of rows. The server holds the measured against the rules."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.columns import CategoryColumn, NumericColumn
from jupyter_ext.monitoring.compare import drift
from jupyter_ext.monitoring.outliers import fit_outlier_detector
from jupyter_ext.monitoring.profile import Profile, read_like
from jupyter_ext.monitoring.samples import CategorySample, as_frame, read_sample
from jupyter_ext.monitoring.values import (
    Check,
    DriftCheck,
    EvaluationSpec,
    Measured,
    MetricCheck,
    MonitorReference,
    OutlierCheck,
    QualityCheck,
)

#: The most rows of the reference from which a detector of outliers is made.
_REFERENCE_ROWS = 20_000
_NOTE = 500


@dataclass(frozen=True)
class Reference:
    """What a window is held against.

    Parameters
    ----------
    profile
        Of the reference. Only checks that learn nothing from it do without.
    rows
        Gets the reference's rows, for the check of outliers.
    predict
        Gets the model of that name and version, for the checks of metrics.
    profile_id
        Of the stored profile, by which the server knows that the window was held against the right one.
    """

    profile: Profile | None = None
    rows: Callable[[], pd.DataFrame] | None = None
    predict: Callable[[str], Any] | None = None
    profile_id: str | None = None

    @classmethod
    def of(
        cls, stored: MonitorReference, blob: Callable[[str], bytes], predict: Callable[[str], Any] | None = None
    ) -> Reference:
        """Return a monitor's reference; ``blob`` gets the content of a digest."""
        digest = stored.rows
        return cls(
            Profile.from_bytes(blob(stored.profile)) if stored.profile is not None else None,
            (lambda: pd.read_parquet(io.BytesIO(blob(digest)))) if digest is not None else None,
            predict,
            stored.profile_id,
        )


def measure(current: pd.DataFrame | Profile, checks: Sequence[Check], reference: Reference) -> list[Measured]:
    """Return what the checks find in a window.

    Parameters
    ----------
    current
        The rows of the window; a `Profile` of them is enough for checks of drift.

    Raises
    ------
    Invalid
        As `drift` and `fit_outlier_detector`; a check needs something that the reference or the window has not.

    Examples
    --------
    >>> before, after = pd.DataFrame({"size": np.arange(500.0)}), pd.DataFrame({"size": np.arange(500.0) + 250})
    >>> found = measure(after, [DriftCheck(), QualityCheck()], Reference(Profile.of(before)))
    >>> [(one.check, one.aspect, round(one.value, 3)) for one in found]
    [('drift', '', 0.0), ('quality', 'outside', 0.5), ('quality', 'missing', 0.0)]
    """
    found: list[Measured] = []
    for check in checks:
        if isinstance(check, DriftCheck):
            found += _drift(current, check, reference)
            continue
        if isinstance(current, Profile):
            raise Invalid(f"The check {check.name!r} needs the rows of the window; a profile is enough for drift only.")
        if isinstance(check, QualityCheck):
            found += _quality(current, check, reference)
        elif isinstance(check, OutlierCheck):
            found.append(_outliers(current, check, reference))
        else:
            found.append(_metric(current, check, reference))
    return found


def windows(
    frame: Any, timestamp: str | None, period: str | None, until: datetime | None = None
) -> Iterator[tuple[datetime | None, datetime, pd.DataFrame]]:
    """Cut a frame into the windows of a period, oldest first: start, end, rows without their time.

    A window that has not ended ``until`` then is left out. Without a period all rows are one window, which ends now.

    Raises
    ------
    Invalid
        There is no such column, it holds no times, or no such period.

    Examples
    --------
    >>> frame = pd.DataFrame({"at": pd.date_range("2026-05-01", periods=48, freq="h", tz="UTC"), "size": range(48)})
    >>> [(start.day, len(rows)) for start, _, rows in windows(frame, "at", "D")]
    [(1, 24), (2, 24)]
    """
    frame = as_frame(frame, "The window")
    until = until or datetime.now(UTC)
    if timestamp is None or period is None:
        yield None, until, frame.drop(columns=[timestamp] if timestamp in frame.columns else [])
        return
    if timestamp not in frame.columns:
        raise Invalid(f"The frame has no column {timestamp!r}, by which the monitor cuts its windows.")
    moments = frame[timestamp]
    if not pd.api.types.is_datetime64_any_dtype(moments.dtype) or moments.isna().any():
        raise Invalid(f"Column {timestamp!r} must hold a time in every row; convert it: pd.to_datetime(…).")
    moments = moments.dt.tz_localize("UTC") if moments.dt.tz is None else moments.dt.tz_convert("UTC")
    try:
        spans = moments.dt.tz_localize(None).dt.to_period(period)
    except ValueError as error:
        raise Invalid(f"{period!r} is no period: write 'D', 'W', 'h' or '15min'.") from error
    rows = frame.drop(columns=timestamp)
    for span in sorted(spans.unique()):
        start = span.start_time.tz_localize("UTC").to_pydatetime(warn=False)
        end = (span + 1).start_time.tz_localize("UTC").to_pydatetime(warn=False)
        if end <= until:
            yield start, end, rows[(spans == span).to_numpy()]


def evaluate(
    frame: Any,
    checks: Sequence[Check],
    reference: Reference,
    *,
    timestamp: str | None = None,
    period: str | None = None,
    key: str | None = None,
) -> list[EvaluationSpec]:
    """Measure every window of a frame; see `windows` and `measure`.

    ``key`` names a frame that is one window. Without one, the same rows are the same window.
    """
    made = []
    for start, end, rows in windows(frame, timestamp, period):
        name = f"{start:%Y%m%dT%H%M%SZ}/{end:%Y%m%dT%H%M%SZ}" if start is not None else key or _fingerprint(rows)
        measured = measure(rows, checks, reference)
        made.append(
            EvaluationSpec(
                key=name,
                profile_id=reference.profile_id,
                start=start,
                end=end,
                n_rows=len(rows),
                measured=measured,
            )
        )
    return made


def _drift(current: pd.DataFrame | Profile, check: DriftCheck, reference: Reference) -> list[Measured]:
    known = _profile(check, reference)
    if check.features is not None:
        lost = [name for name in check.features if name not in known.columns]
        if lost:
            raise Invalid(f"The check {check.name!r} compares {', '.join(lost)}, which the reference has not.")
        known = known.only(check.features)
    report = drift(known, current, check.alpha, check.correction, check.methods)
    found = []
    for feature, row in report.table.iterrows():
        # Where there is no correction and no p-value, the statistic itself decides nothing that a level could.
        value, statistic = _finite(row["q_value"]), _finite(row["statistic"])
        note = report.notes.get(str(feature), "")[:_NOTE]
        found.append(Measured(check=check.name, feature=str(feature), value=value, statistic=statistic, note=note))
    return found


def _quality(current: pd.DataFrame, check: QualityCheck, reference: Reference) -> list[Measured]:
    known = _profile(check, reference).columns if check.learned else {}
    named = [*check.ranges, *check.categories, *check.missing]
    lost = [name for name in named if name not in known and name not in current.columns]
    if lost:
        raise Invalid(f"The check {check.name!r} looks at {', '.join(lost)}, which the rows have not.")
    found = []
    for name in dict.fromkeys([*known, *named]):
        model = known.get(name)
        allowed = check.missing.get(name, model.missing / model.n if model is not None else None)
        if name not in current.columns:
            share = 1.0 - (allowed or 0.0)
            found.append(_share(check, name, "missing", share, "The column is gone."))
            continue
        series = current[name]
        numeric = pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype)
        # Infinite values are outside of every range, and not missing.
        infinite = np.isinf(series.to_numpy(float, na_value=np.nan)) if numeric else np.zeros(len(series), bool)
        finite = series[~infinite]
        if not len(finite):
            found.append(_share(check, name, "outside", 1.0))
            continue
        sample = read_like(finite, model) if model is not None else read_sample(finite)
        low, high = check.ranges.get(name, (None, None))
        if name not in check.ranges and isinstance(model, NumericColumn) and model.kind == "numeric":
            low, high = (model.minimum, model.maximum) if model.n_values else (None, None)
        if (low, high) != (None, None):
            values = series.to_numpy(float, na_value=np.nan)
            outside = infinite | (values < (-math.inf if low is None else low))
            outside |= values > (math.inf if high is None else high)
            found.append(_share(check, name, "outside", float(outside.mean())))
        if isinstance(sample, CategorySample):
            categories = check.categories.get(name)
            if categories is None and isinstance(model, CategoryColumn) and not model.other:
                categories = tuple(model.counts)
            if categories is not None:
                unseen = {category: n for category, n in sample.counts.items() if category not in set(categories)}
                most = sorted(unseen, key=lambda category: -unseen[category])[:5]
                found.append(_share(check, name, "unseen", sum(unseen.values()) / len(series), ", ".join(most)[:_NOTE]))
        if allowed is not None:
            found.append(_share(check, name, "missing", max(sample.missing / len(series) - allowed, 0.0)))
    return found


def _outliers(current: pd.DataFrame, check: OutlierCheck, reference: Reference) -> Measured:
    from scipy.stats import betabinom

    if reference.rows is None:
        raise Invalid(
            f"The check {check.name!r} needs the rows of the reference: give the monitor the data set, dataset=…."
        )
    rows = as_frame(reference.rows(), "The reference")
    known = reference.profile.columns if reference.profile is not None else rows.columns
    usable = [name for name in rows.columns if name in current.columns and name in known]
    wanted = list(check.features) if check.features is not None else usable
    lost = [name for name in wanted if name not in rows.columns or name not in current.columns]
    if lost or not wanted:
        raise Invalid(f"The check {check.name!r} looks at {', '.join(lost) or 'nothing'}, which one side has not.")
    rows = rows[wanted]
    if len(rows) > _REFERENCE_ROWS:
        rows = rows.sample(_REFERENCE_ROWS, random_state=0)
    detector = fit_outlier_detector(rows)
    odd = int((detector.p_value(current[wanted]) <= check.level).sum())
    # So many of the n + 1 places among the reference's rows are at most the level.
    places = math.floor(check.level * (detector.n_reference + 1))
    if places < 1:
        note = f"The reference has {detector.n_reference:,} rows, too few for p-values of {check.level:g}."
        return Measured(check=check.name, value=None, statistic=odd / len(current), note=note)
    # The reference is a sample too: how many of m rows take one of k of n + 1 places is beta-binomial.
    chance = betabinom.sf(odd - 1, len(current), places, detector.n_reference + 1 - places)
    return Measured(check=check.name, value=float(min(chance, 1.0)), statistic=odd / len(current))


def _metric(current: pd.DataFrame, check: MetricCheck, reference: Reference) -> Measured:
    if reference.predict is None:
        raise Invalid(f"The check {check.name!r} needs the model {check.model}.")
    model = reference.predict(check.model)
    # A model is asked about its own columns; the window may have others, such as keys and labels.
    wanted = [str(name) for name in getattr(model, "feature_names_in_", current.columns)]
    lost = [name for name in wanted if name not in current.columns]
    if lost:
        raise Invalid(f"The model {check.model} of the check {check.name!r} needs {', '.join(lost)}.", columns=lost)
    said = model.predict(current[wanted])
    try:
        numbers = np.asarray(said, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise Invalid(f"The model {check.model} of the check {check.name!r} must answer with numbers.") from error
    if len(numbers) != len(current):
        raise Invalid(f"The model {check.model} answered {len(numbers):,} numbers for {len(current):,} rows.")
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        note = f"{broken:,} of {len(numbers):,} outputs are no finite numbers."
        return Measured(check=check.name, value=None, note=note)
    return Measured(check=check.name, value=float(getattr(np, check.over)(numbers)))


def _profile(check: Check, reference: Reference) -> Profile:
    if reference.profile is None:
        raise Invalid(f"The check {check.name!r} needs a reference profile.")
    return reference.profile


def _share(check: QualityCheck, feature: str, aspect: Any, value: float, note: str = "") -> Measured:
    return Measured(check=check.name, feature=feature, aspect=aspect, value=value, note=note)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _fingerprint(rows: pd.DataFrame) -> str:
    """Return a name of these rows, in this order."""
    try:
        hashed = pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()
    except TypeError:  # lists, such as embeddings
        hashed = pd.util.hash_pandas_object(rows.astype(str), index=False).to_numpy().tobytes()
    return "rows " + hashlib.sha256(hashed + "\0".join(rows.columns).encode()).hexdigest()[:32]
