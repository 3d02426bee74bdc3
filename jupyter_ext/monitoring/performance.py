"""Performance of a model on rows whose labels are not known yet: CBPE for classifiers, DLE for regressors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.cbpe import CLASSIFICATION_METRICS, ClassScores, calibrator, class_metric
from jupyter_ext.monitoring.dle import REGRESSION_METRICS, LossModel, loss_metric
from jupyter_ext.monitoring.randomness import generator
from jupyter_ext.monitoring.samples import as_floats, as_frame, infer_kind
from jupyter_ext.monitoring.statistics import Floats
from jupyter_ext.monitoring.support import Support

Scores = str | Sequence[str] | Mapping[Any, str] | None
#: The fewest rows of a reference: a tenth of it must say something of the calibration.
MIN_REFERENCE = 100
#: The fewest rows of a chunk.
MIN_CHUNK = 10
#: Chunks where no size is given.
_CHUNKS = 10
#: Dates in texts, and how many different ones are looked at to tell.
_DATE, _LOOKED_AT = r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?", 300
#: Half widths, in standard errors and in standard deviations over the reference's chunks.
_ERRORS = _DEVIATIONS = 3.0


def estimate_performance(
    reference: Any,
    current: Any,
    y_true: Hashable,
    y_pred: Hashable | None,
    y_score: Hashable | Sequence[Hashable] | Mapping[Any, Hashable] = None,
    metric: str = "roc_auc",
    chunk_size: int | None = None,
    features: Sequence[str] | None = None,
    random_state: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Estimate how well a model does on `current`, whose labels are not needed.

    Parameters
    ----------
    reference
        Rows that the model was not trained on, with labels and predictions: a DataFrame or an Arrow table.
    current
        Rows with predictions, in the order of their time.
    y_true, y_pred
        Columns of the labels (of `reference`; those of `current` are not read) and of the predictions. Of two classes:
        1 and 0 or booleans. ``roc_auc`` needs no predictions: None.
    y_score
        The column of the scores of class 1, in [0, 1]. Of several classes: a mapping from class to its column, or
        the columns in the order of the sorted classes. Unused for regression.
    metric
        ``"roc_auc"``, ``"f1"``, ``"precision"``, ``"recall"``, ``"specificity"`` (of several classes: the mean over
        classes), ``"accuracy"``, ``"true_positives"``, ``"true_negatives"``, ``"false_positives"``,
        ``"false_negatives"`` (as shares of the rows; two classes), or for regression ``"mae"``, ``"mape"``, ``"mse"``,
        ``"rmse"``, ``"msle"``, ``"rmsle"``.
    chunk_size
        Rows a chunk; the last one may have fewer. Default: a tenth of `current`.
    features
        What the model sees, for DLE and for ``extrapolating``. Default: every column that both frames have but labels,
        datetimes (as texts, too), and whole numbers that never repeat or never fall (identifiers, years).

    Returns
    -------
    DataFrame
        One row a chunk: ``chunk`` (from 0), ``estimate``, ``low`` and ``high`` (within which the realised metric of
        that many rows lies, three standard errors), ``alarm`` (the estimate is farther from the reference's than three
        standard deviations over its chunks, and than three standard errors), ``extrapolating`` (many of the chunk's
        rows are where the reference has hardly any, see `jupyter_ext.monitoring.support`; do not trust the estimate).
        An estimate is NaN where the metric is not defined: no predicted positives, say.

    Raises
    ------
    Invalid
        Missing columns, no rows, missing or infinite predictions, scores outside [0, 1], a single class, a reference
        of fewer than 100 rows, a chunk size below 10, an unknown metric.

    Notes
    -----
    Classification: scores are calibrated on the reference where that helps, and each row counts as the fractions of a
    positive and a negative that its probability says (`jupyter_ext.monitoring.cbpe`). Regression: gradient boosting
    learns the loss from features and prediction (`jupyter_ext.monitoring.dle`). Both hold where the inputs moved
    within the reference's support. Neither sees when the same inputs come to have other labels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def rows(center, n=2000):
    ...     x = rng.normal(center, 1, n)
    ...     p = 1 / (1 + np.exp(-2 * x))
    ...     return pd.DataFrame({"x": x, "score": p, "pred": p > 0.5, "y": rng.random(n) < p})
    >>> today = pd.concat([rows(0), rows(1)]).drop(columns="y")
    >>> table = estimate_performance(rows(0, 5000), today, "y", "pred", "score", metric="accuracy", chunk_size=1000)
    >>> table["alarm"].tolist()
    [False, False, True, True]
    """
    reference, current = as_frame(reference, "The reference"), as_frame(current, "The current frame")
    is_regression = metric in REGRESSION_METRICS
    if metric not in (*CLASSIFICATION_METRICS, *REGRESSION_METRICS):
        raise Invalid(f"metric must be one of {', '.join((*CLASSIFICATION_METRICS, *REGRESSION_METRICS))}.")
    if len(reference) < MIN_REFERENCE:
        raise Invalid(
            f"The reference has {len(reference)} rows. Estimating performance needs at least {MIN_REFERENCE}."
        )
    # Columns go by their names as text.
    y_true, y_pred = str(y_true), None if y_pred is None else str(y_pred)
    scores = _as_text(y_score)
    size = _chunk_size(chunk_size, len(current))
    rng = generator(random_state)
    columns = {} if is_regression else _score_columns(scores, reference, y_true)
    named = [y_true, *([y_pred] if y_pred is not None else []), *columns.values()]
    _check_columns(reference, named, "The reference")
    _check_columns(current, named[1:], "The current frame")
    inputs = _features(reference, current, [*named, *_names(scores)], features)
    estimator = _Regression if is_regression else _Classification
    model = estimator.of(reference, inputs, y_true, y_pred, columns, metric, rng)
    on_reference, on_current = model.realised(reference), model.expected(current)
    center, deviation = _over_chunks(on_reference, len(reference), size)
    overall, spread = on_reference(slice(None))
    support = Support.of(reference[list(dict.fromkeys([*inputs, *named[1:]]))], rng)
    rows = []
    for chunk, start in enumerate(range(0, len(current), size)):
        part = slice(start, start + size)
        n = len(current.iloc[part])
        estimate, variance = on_current(part)
        error = float(np.sqrt(variance / n))
        # Chunks may agree by chance, and the last one may be small: never narrower than the sampling error.
        tolerance = max(_DEVIATIONS * deviation, _ERRORS * float(np.sqrt(spread / n)))
        rows.append(
            {
                "chunk": chunk,
                "estimate": estimate,
                "low": max(estimate - _ERRORS * error, 0.0),
                "high": estimate + _ERRORS * error if is_regression else min(estimate + _ERRORS * error, 1.0),
                "alarm": bool(abs(estimate - (overall if np.isnan(center) else center)) > tolerance),
                "extrapolating": support.is_left_by(current.iloc[part]),
            }
        )
    return pd.DataFrame(rows)


#: The metric of some rows, and its variance times their number.
_Measure = Callable[[slice], tuple[float, float]]


@dataclass(frozen=True)
class _Classification:
    """Two classes, or each of several against the others."""

    metric: str
    y_true: str
    y_pred: str | None
    columns: Mapping[Any, str]
    calibrators: Sequence[Callable[[Floats], Floats]]

    @classmethod
    def of(
        cls,
        reference: pd.DataFrame,
        inputs: list[str],
        y_true: str,
        y_pred: str | None,
        columns: Mapping[Any, str],
        metric: str,
        rng: np.random.Generator,
    ) -> _Classification:
        if y_pred is None and metric != "roc_auc":
            raise Invalid(f"'{metric}' needs the column of predictions, y_pred.")
        if len(columns) > 1 and metric.endswith(("positives", "negatives")):
            raise Invalid(
                f"'{metric}' is of two classes: y_score must be the name of one column, the positive one's; it names "
                f"{len(columns)}."
            )
        labels = _labels(reference, y_true, columns, "The reference")
        for name, is_class in zip(columns, labels, strict=True):
            if min(is_class.sum(), len(is_class) - is_class.sum()) < 2:
                which = f"class {name!r} and the others" if len(columns) > 1 else "both classes"
                raise Invalid(f"Column '{y_true}' of the reference must hold {which}, twice each at least.")
        scores = _scores(reference, columns, "The reference")
        learned = [calibrator(score, is_class) for score, is_class in zip(scores, labels, strict=True)]
        return cls(metric, y_true, y_pred, columns, learned)

    def realised(self, frame: pd.DataFrame) -> _Measure:
        labels = _labels(frame, self.y_true, self.columns, "The reference")
        return self._measure(frame, labels, "The reference")

    def expected(self, frame: pd.DataFrame) -> _Measure:
        scores = _scores(frame, self.columns, "The current frame")
        p = [calibrate(score) for calibrate, score in zip(self.calibrators, scores, strict=True)]
        if len(p) > 1:
            total = np.sum(p, axis=0)
            # Where every class was calibrated to nothing, nothing is known.
            p = [np.where(total > 0, of_class / np.where(total > 0, total, 1.0), 1 / len(p)) for of_class in p]
        return self._measure(frame, p, "The current frame")

    def _measure(self, frame: pd.DataFrame, p: Sequence[Floats], what: str) -> _Measure:
        scores = _scores(frame, self.columns, what)
        hits = (
            [np.zeros(len(frame))] * len(p)
            if self.y_pred is None or self.metric == "roc_auc"
            else _labels(frame, self.y_pred, self.columns, what)
        )

        def measure(part: slice) -> tuple[float, float]:
            classes = [ClassScores(a[part], b[part], c[part]) for a, b, c in zip(p, scores, hits, strict=True)]
            if self.metric == "accuracy" and len(classes) > 1:
                right = float(np.mean(np.sum([rows.p * rows.hit for rows in classes], axis=0)))
                return right, right * (1 - right)
            values, members, others = zip(*(class_metric(self.metric, rows) for rows in classes), strict=True)
            # A row is of one class, or (of two, where only one is listed) of none.
            none = np.sum(others, axis=0)
            left = 1 - np.sum([rows.p for rows in classes], axis=0)
            squares = left * none**2
            for rows, member, other in zip(classes, members, others, strict=True):
                squares = squares + rows.p * (none - other + member) ** 2
            return float(np.mean(values)), float(squares.mean()) / len(classes) ** 2

        return measure


@dataclass(frozen=True)
class _Regression:
    """A loss learned from features and prediction."""

    metric: str
    y_true: str
    y_pred: str
    losses: LossModel

    @classmethod
    def of(
        cls,
        reference: pd.DataFrame,
        inputs: list[str],
        y_true: str,
        y_pred: str | None,
        columns: Mapping[Any, str],
        metric: str,
        rng: np.random.Generator,
    ) -> _Regression:
        if y_pred is None:
            raise Invalid(f"'{metric}' needs the column of predictions, y_pred.")
        true, predicted = (_finite(reference, name, "The reference") for name in (y_true, y_pred))
        return cls(metric, y_true, y_pred, LossModel.of(reference, [*inputs, y_pred], true, predicted, metric, rng))

    def realised(self, frame: pd.DataFrame) -> _Measure:
        true, predicted = (_finite(frame, name, "The reference") for name in (self.y_true, self.y_pred))
        return loss_metric(self.metric, self.losses.realised(true, predicted))

    def expected(self, frame: pd.DataFrame) -> _Measure:
        predicted = _finite(frame, self.y_pred, "The current frame")
        return loss_metric(self.metric, self.losses.expected(frame, predicted), self.losses.scatter)


def _over_chunks(measure: _Measure, n: int, size: int) -> tuple[float, float]:
    """Return mean and deviation of the reference's realised metric over its full chunks; (NaN, 0) of fewer than two."""
    values = np.array([measure(slice(start, start + size))[0] for start in range(0, n - size + 1, size)])
    values = values[~np.isnan(values)]
    return (float(values.mean()), float(values.std())) if len(values) > 1 else (np.nan, 0.0)


def _chunk_size(size: Any, n: int) -> int:
    if size is None:
        return max(MIN_CHUNK, -(-n // _CHUNKS))
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < MIN_CHUNK:
        raise Invalid(f"chunk_size must be a whole number of rows, at least {MIN_CHUNK}.")
    return int(size)


def _as_text(y_score: Any) -> Scores:
    if y_score is None or isinstance(y_score, str):
        return y_score
    if isinstance(y_score, Mapping):
        return {label: str(name) for label, name in y_score.items()}
    return [str(name) for name in y_score] if isinstance(y_score, Iterable) else str(y_score)


def _names(y_score: Scores) -> list[str]:
    if y_score is None or isinstance(y_score, str):
        return [y_score] if y_score else []
    return list(y_score.values() if isinstance(y_score, Mapping) else y_score)


def _score_columns(y_score: Scores, reference: pd.DataFrame, y_true: str) -> dict[Any, str]:
    """Return the column of each class; of two classes only the positive's."""
    if y_score is None or (not isinstance(y_score, str) and not len(y_score)):
        raise Invalid("y_score must name the column of the model's scores, or one column a class.")
    if isinstance(y_score, str):
        return {1: y_score}
    if isinstance(y_score, Mapping):
        columns = dict(y_score)
    else:
        _check_columns(reference, [y_true], "The reference")
        classes = sorted(reference[y_true].dropna().unique().tolist(), key=lambda name: (str(type(name)), name))
        if len(classes) != len(y_score):
            raise Invalid(f"y_score has {len(y_score)} columns, and '{y_true}' has {len(classes)} classes.")
        columns = dict(zip(classes, y_score, strict=True))
    if len(columns) < 2:
        raise Invalid("y_score must name a column for each of several classes; for two, the positive one's as text.")
    return columns


def _check_columns(frame: pd.DataFrame, names: Sequence[str], what: str) -> None:
    absent = [str(name) for name in names if name not in frame.columns]
    if absent:
        raise Invalid(f"{what} has no column {', '.join(absent)}.", columns=absent)


def _labels(frame: pd.DataFrame, name: str, columns: Mapping[Any, str], what: str) -> list[Floats]:
    """Return 1 where a row's label is the class, else 0, a class each."""
    series = frame[name]
    if series.isna().any():
        raise Invalid(f"Column '{name}' has missing values. {what} must have none; drop those rows.", column=name)
    if len(columns) == 1:
        if not series.isin([0, 1]).all():
            raise Invalid(f"Column '{name}' must hold 1 and 0. For other classes give y_score as a mapping.")
        return [series.to_numpy(dtype=np.float64)]
    if not series.isin(list(columns)).all():
        raise Invalid(f"Column '{name}' holds classes for which y_score names no column.", column=name)
    return [(series == label).to_numpy(dtype=np.float64) for label in columns]


def _scores(frame: pd.DataFrame, columns: Mapping[Any, str], what: str) -> list[Floats]:
    scores = [_finite(frame, name, what) for name in columns.values()]
    for name, score in zip(columns.values(), scores, strict=True):
        if score.min() < 0 or score.max() > 1:
            raise Invalid(f"Column '{name}' must hold scores between 0 and 1.", column=name)
    return scores


def _finite(frame: pd.DataFrame, name: str, what: str) -> Floats:
    series = frame[name]
    try:
        if pd.api.types.is_datetime64_any_dtype(series.dtype) or pd.api.types.is_timedelta64_dtype(series.dtype):
            raise TypeError
        values = as_floats(series)
    except (ValueError, TypeError):
        raise Invalid(f"Column '{name}' must hold numbers.", column=name) from None
    if not np.isfinite(values).all():
        raise Invalid(
            f"Column '{name}' has missing or infinite values. {what} must have none; drop those rows.", column=name
        )
    return values


def _features(
    reference: pd.DataFrame, current: pd.DataFrame, taken: Sequence[str], features: Sequence[str] | None
) -> list[str]:
    if features is not None:
        names = [str(name) for name in ([features] if isinstance(features, str) else features)]
        _check_columns(reference, names, "The reference")
        _check_columns(current, names, "The current frame")
        return names
    return [
        name
        for name in reference.columns
        if name in current.columns and name not in taken and not _is_clock(reference[name], current[name])
    ]


def _is_clock(reference: pd.Series[Any], current: pd.Series[Any]) -> bool:
    """Say whether a column is new in later rows by its nature: a moment, a whole number that counts rows or years."""
    kind = infer_kind(reference)
    if kind == "datetime" or (kind == "categorical" and _are_moments(reference)):
        return True
    if pd.api.types.is_integer_dtype(reference.dtype) and reference.is_unique:
        return True
    sides = [reference, current]
    if not all(pd.api.types.is_integer_dtype(side.dtype) and not side.isna().any() for side in sides):
        return False
    rises = any(side.iloc[0] < side.iloc[-1] for side in sides)
    return rises and reference.iloc[-1] <= current.iloc[0] and all(side.is_monotonic_increasing for side in sides)


def _are_moments(series: pd.Series[Any]) -> bool:
    """Say whether texts are dates as files without types hold them: 2026-01-31, with or without a time."""
    found = pd.Series(series.dropna().unique()[:_LOOKED_AT], dtype=object)
    return bool(found.map(str).str.fullmatch(_DATE).all())
