"""Drift over time: a frame cut into chunks, each compared with the reference."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.chunks import chunks_of
from jupyter_ext.monitoring.compare import check_level, common_features, compare_sides, read_sides
from jupyter_ext.monitoring.methods import ALL_COLUMNS, Choice, Method, Methods
from jupyter_ext.monitoring.multivariate import LEAST_ROWS, NOTHING_LEFT, Reconstruction
from jupyter_ext.monitoring.profile import Profile, in_threads
from jupyter_ext.monitoring.randomness import generator
from jupyter_ext.monitoring.rows import for_components, joint_test, table_rows
from jupyter_ext.monitoring.samples import as_frame
from jupyter_ext.monitoring.statistics import Correction, Floats, Outcome, q_values, rejection_level, untested

#: The rows that alarm are those outside of this, or ``"deviation"``.
Threshold = float | tuple[float | None, float | None] | Literal["deviation"]

#: How many standard deviations of the reference's chunks a value may be away from their mean.
DEVIATIONS = 3.0
#: Chunks into which a reference is cut for that, where the current frame is cut by period.
REFERENCE_CHUNKS = 10
COLUMNS = ("chunk", "feature", "method", "value", "threshold", "alarm")


@dataclass(frozen=True)
class _Value:
    """What one chunk's comparison of one feature gave."""

    value: float
    outcome: Outcome | None


def drift_over_time(
    reference: Any,
    frame: Any,
    chunk_size: int | None = None,
    period: str | None = None,
    timestamp: Hashable | None = None,
    methods: Methods | None = None,
    threshold: Threshold | None = None,
    *,
    alpha: float = 0.05,
    correction: Correction = "bonferroni",
    random_state: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Say in which chunks of a frame which features moved away from the reference.

    Parameters
    ----------
    reference
        A DataFrame, an Arrow table or a `Profile`.
    frame
        What came later, a DataFrame or an Arrow table.
    chunk_size, period
        Rows of a chunk, or its length as pandas writes it (``"D"``, ``"W"``, ``"6h"``); one of them. Periods of several
        units begin with the day (week, month …) of the first row.
    timestamp
        The column by which rows are ordered, and cut by period in its own time zone. It is not compared.
    methods
        As in `drift`.
    threshold
        A number, above which a value is an alarm; a pair, outside of which it is; or ``"deviation"``: three standard
        deviations of the reference's own chunks around their mean, as NannyML does. Default: what the value reaches
        with the probability `alpha`, corrected over all features and chunks, when nothing moved; and ``"deviation"``
        for ``pca_reconstruction``, whose value is the mean error itself.
    alpha, correction
        By default, the chance of even one false alarm in the whole answer is `alpha` at most. The corrections are
        those of `drift`; with ``"bh"``, `alpha` bounds the share of false ones among the alarms.
    random_state
        As in `drift`.

    Returns
    -------
    DataFrame
        One row a chunk and feature: ``chunk`` (its number, or the period), ``feature``, ``method``, ``value``,
        ``threshold`` (missing where no value could be an alarm), ``alarm``. ``attrs["notes"]`` tells what was not
        tested and why, by chunk and feature.

    Raises
    ------
    Invalid
        As `drift`; no chunks, an unknown timestamp column, a threshold that makes no sense, or one that needs the rows
        of a profile or a longer reference.

    Notes
    -----
    The deviation of the reference's chunks is taken without Bessel's correction, as NannyML does. It is that of few
    chunks, and of chunks that are part of what they are compared with: expect an alarm in some fifty values on data
    that did not move. The default does not have that, and knows the sizes of both sides.

    Examples
    --------
    >>> before = pd.DataFrame({"size": np.arange(1000) % 97})
    >>> after = pd.DataFrame({"size": np.concatenate([np.arange(300) % 97, np.arange(300) % 97 + 20])})
    >>> found = drift_over_time(before, after, chunk_size=100)
    >>> found[found["alarm"]]["chunk"].tolist()
    [3, 4, 5]
    """
    check_level(alpha, correction)
    threshold = _checked(threshold)
    known = reference if isinstance(reference, Profile) else as_frame(reference, "The reference", or_profile=True)
    later = as_frame(frame, "The frame")
    timestamp = None if timestamp is None else str(timestamp)
    chunks = chunks_of(later, chunk_size, period, timestamp)
    later = later.drop(columns=timestamp) if timestamp is not None else later
    features, notes = common_features(
        [name for name in known.columns if name != timestamp], [name for name in later.columns if name != timestamp]
    )
    choice = Choice(methods, features)
    generators = dict(zip([*features, ALL_COLUMNS], generator(random_state).spawn(len(features) + 1), strict=True))
    size, deviation = chunk_size or 0, threshold == "deviation"

    def follow(feature: str) -> tuple[Method, list[_Value], list[float]]:
        return _follow(known, later, chunks, feature, choice, generators[feature], deviation, size)

    followed = {} if choice.only_joint else dict(zip(features, in_threads(follow, features), strict=True))
    if choice.joint:
        followed[ALL_COLUMNS] = _follow_rows(
            known, later, chunks, features, choice.joint, generators[ALL_COLUMNS], deviation, size
        )
    return _table(followed, [label for label, _ in chunks], threshold, alpha, correction, notes)


def _checked(threshold: Any) -> Threshold | None:
    """Return the threshold, a number as a pair."""
    if threshold is None:
        return None
    if isinstance(threshold, str) and threshold == "deviation":
        return "deviation"
    limits = tuple(threshold) if isinstance(threshold, tuple | list) else (None, threshold)
    if len(limits) == 2 and all(limit is None or _is_number(limit) for limit in limits):
        low, high = (None if limit is None else float(limit) for limit in limits)
        if low is None or high is None or low <= high:
            return low, high
    raise Invalid(f"threshold must be a number, a pair of numbers, 'deviation' or None, not {threshold!r}.")


def _is_number(value: Any) -> bool:
    fits = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return fits and not np.isnan(value)


def _follow(
    known: pd.DataFrame | Profile,
    later: pd.DataFrame,
    chunks: Sequence[tuple[Any, Any]],
    feature: str,
    choice: Choice,
    rng: np.random.Generator,
    deviation: bool,
    size: int,
) -> tuple[Method, list[_Value], list[float]]:
    """Return the method, the value of each chunk, and those of the reference's own chunks where they are asked for."""
    column = known if isinstance(known, Profile) else known[[feature]]
    reference, _ = read_sides(feature, column, later[[feature]])
    method = choice.of(feature, reference.kind)

    def value(rows: pd.DataFrame) -> _Value:
        ours, theirs = read_sides(feature, column, rows, reference)
        outcome = compare_sides(ours, theirs, method, rng)
        return _Value(outcome.statistic, outcome)

    values = [value(later[[feature]].iloc[rows]) for _, rows in chunks]
    own = []
    if deviation:
        own = [value(part).value for part in _reference_chunks(known, [feature], size)]
    return method, values, own


def _follow_rows(
    known: pd.DataFrame | Profile,
    later: pd.DataFrame,
    chunks: Sequence[tuple[Any, Any]],
    features: list[str],
    method: Method,
    rng: np.random.Generator,
    deviation: bool,
    size: int,
) -> tuple[Method, list[_Value], list[float]]:
    if method == "pca_reconstruction":
        if isinstance(known, Profile):
            raise Invalid("pca_reconstruction over time needs the reference's rows: give the frame, not its profile.")
        if len(known) < LEAST_ROWS:
            raise Invalid(f"pca_reconstruction needs {LEAST_ROWS} reference rows; there are {len(known)}.")
        own, current = reconstruction_errors(known, later, features, rng)
        if not (own.any() or current.any()):
            return method, [_Value(0.0, untested(0.0, NOTHING_LEFT))] * len(chunks), []
        values = [_Value(float(current[rows].mean()), None) for _, rows in chunks]
        return method, values, [float(own[part].mean()) for part in _parts(len(known), size)]

    def value(rows: pd.DataFrame) -> _Value:
        outcome = joint_test(known, rows, features, method, rng)
        return _Value(outcome.statistic, outcome)

    parts = _reference_chunks(known, features, size) if deviation else []
    return method, [value(later.iloc[rows]) for _, rows in chunks], [value(part).value for part in parts]


def reconstruction_errors(
    reference: pd.DataFrame, current: pd.DataFrame, features: list[str], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return how far each row is from its reconstruction by the reference's principal components.

    Categories count by their share of the reference, missing numbers as its mean; components explain 65 % of the
    variance (NannyML). All are 0 where it takes as many components as there are columns.
    """
    rows = table_rows(reference, current, features, max(len(reference), len(current)), rng)
    pairs = [for_components(x, y, kind) for x, y, kind in rows]
    x, y = (np.column_stack(side) for side in zip(*pairs, strict=True))
    model = Reconstruction(x)
    return model.errors(x), model.errors(y)


def _parts(n_rows: int, size: int) -> list[slice]:
    """Return the chunks of a reference: as long as the current ones, or a tenth of it each."""
    size = size or -(-n_rows // REFERENCE_CHUNKS)
    if n_rows < 2 * size:
        raise Invalid(
            f"The reference has {n_rows} rows, fewer than two chunks of {size}: how much chunks differ cannot be told. "
            "Choose smaller chunks, or a threshold of your own."
        )
    return [slice(start, start + size) for start in range(0, n_rows - size + 1, size)]


def _reference_chunks(known: pd.DataFrame | Profile, features: list[str], size: int) -> list[pd.DataFrame]:
    if isinstance(known, Profile):
        raise Invalid("threshold='deviation' needs the reference's rows: give the frame, not its profile.")
    return [known[features].iloc[part] for part in _parts(len(known), size)]


def _table(
    followed: dict[str, tuple[Method, list[_Value], list[float]]],
    labels: list[Any],
    threshold: Threshold | None,
    alpha: float,
    correction: Correction,
    notes: dict[str, str],
) -> pd.DataFrame:
    """Return the answer, chunk by chunk; the level is corrected over everything that is held against one."""
    by_level = threshold is None
    p_values = np.array(
        [
            value.outcome.p_value
            for _, values, _ in followed.values()
            for value in values
            if by_level and value.outcome is not None and value.outcome.p_value is not None
        ],
        dtype=np.float64,
    )
    level = rejection_level(p_values, alpha, correction)
    greatest = float(p_values[q_values(p_values, correction) <= alpha].max(initial=0.0))
    rows: list[dict[str, Any]] = []
    told: dict[Any, str] = dict(notes)
    for place, label in enumerate(labels):
        for feature, (method, values, own) in followed.items():
            found = values[place]
            row: dict[str, Any] = {"chunk": label, "feature": feature, "method": method, "value": found.value}
            outcome = found.outcome
            if outcome is not None and outcome.p_value is None:
                told[(label, feature)] = outcome.note or "not tested"
                row |= {"value": np.nan, "threshold": np.nan, "alarm": False}
            elif by_level and outcome is not None:
                limit = outcome.threshold(level)
                row["threshold"] = np.nan if limit is None else limit
                row["alarm"] = outcome.p_value is not None and outcome.p_value <= greatest
            else:
                low, high = _band(threshold, own, outcome is not None)
                below = low is not None and found.value < low
                row |= {"threshold": low if below else (np.nan if high is None else high)}
                row |= {"alarm": below or (high is not None and found.value > high)}
            rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {"value": np.float64, "threshold": np.float64, "alarm": bool}
    )
    table.attrs["notes"] = told
    return table


def _band(threshold: Threshold | None, own: list[float], distance: bool) -> tuple[float | None, float | None]:
    """Return the least and the greatest value that are no alarm."""
    if isinstance(threshold, tuple):
        return threshold
    mean, deviation = float(np.mean(own)), float(np.std(own))
    # A distance cannot be too small.
    return None if distance else mean - DEVIATIONS * deviation, mean + DEVIATIONS * deviation
