"""Drift between two frames or profiles: one test a feature, corrected over all of them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.cells import cells_test
from jupyter_ext.monitoring.columns import CategoryColumn, Column, NumericColumn, RowsColumn
from jupyter_ext.monitoring.histograms import Histogram, category_histogram, numeric_histogram
from jupyter_ext.monitoring.methods import ALL_COLUMNS, OF_CELLS, OF_ROWS, Choice, Method, Methods
from jupyter_ext.monitoring.profile import Profile, all_missing_as, check_settings, in_threads, read_like
from jupyter_ext.monitoring.randomness import generator
from jupyter_ext.monitoring.ranks import (
    Mass,
    doane_edges,
    extremes,
    ks_distance,
    ks_test,
    mass_of,
    places_of,
    places_on,
    sample_distance,
    wasserstein_test,
)
from jupyter_ext.monitoring.report import DriftReport, no_rows
from jupyter_ext.monitoring.rows import joint_test, rows_test
from jupyter_ext.monitoring.samples import (
    CategorySample,
    NumericSample,
    RowsSample,
    Sample,
    as_frame,
    infer_kind,
    read_sample,
)
from jupyter_ext.monitoring.statistics import (
    CORRECTIONS,
    Correction,
    Counts,
    Floats,
    Outcome,
    q_values,
    rejection_level,
    untested,
)

#: Bins of a numeric column for methods that count in cells: the deciles of both sides together.
BINS = 10
#: Rows that a side must have to be tested in cells or by rank.
LEAST_ROWS = 5
#: From so many on, some difference is significant at any level that makes sense.
_ENOUGH_ROWS = 30

NumericSide = NumericSample | NumericColumn
CategorySide = CategorySample | CategoryColumn
Side = Sample | Column


@dataclass(frozen=True)
class _Tested:
    """What one feature's comparison gave."""

    kind: str
    method: Method
    outcome: Outcome
    n_reference: int
    n_current: int
    histogram: Histogram | None
    note: str | None


def drift(
    reference: Any,
    current: Any,
    alpha: float = 0.05,
    correction: Correction = "bh",
    methods: Methods | None = None,
    *,
    random_state: int | np.random.Generator = 0,
) -> DriftReport:
    """Say which features moved from `reference` to `current`.

    Parameters
    ----------
    reference, current
        A DataFrame, an Arrow table or a `Profile` each. Both are samples: the reference is never taken as exact.
        The features they share are tested.
    alpha
        Of the features that did not move, or of the alarms (as `correction` says), the share to be alarmed at most.
    correction
        Over features: ``"bh"`` (false discovery rate; the default), ``"by"`` (the same under any dependence),
        ``"bonferroni"`` (chance of a single false alarm), ``"none"``.
    methods
        A name, for every feature that it suits; a list, of which the first that suits is taken; or a mapping from
        features (or kinds) to names. Names: ``ks``, ``wasserstein``, ``chi2``, ``g_test``, ``psi``,
        ``jensen_shannon``, ``hellinger``, ``tvd``, ``mmd``, ``lsdd``, ``c2st``, ``pca_reconstruction``; see
        `jupyter_ext.monitoring.methods`. Default: ``ks`` for numeric and datetime features, ``chi2`` for categorical
        and boolean ones, ``c2st`` for text, ``mmd`` for embeddings. ``pca_reconstruction``, and ``mmd``, ``lsdd`` or
        ``c2st`` under the key ``"(all columns)"``, compare whole rows and get a row of the table of their own.
    random_state
        Of simulated nulls and of samples; the same seed gives the same report.

    Returns
    -------
    DriftReport
        Its `table` has one row a feature; `drifted` names those that moved.

    Raises
    ------
    Invalid
        No features in common, a frame without rows, a feature that changed its kind, infinite values, an unknown
        method or correction, or profiles of different settings.

    Notes
    -----
    Missing values count: tests of order place them below every number, tests of counts give them a cell of their own,
    tests of rows a column. So do unseen categories, and numbers outside the reference's range. Against a profile the
    distance of distributions is taken on the profile's grid of 240 numbers, where counts are exact, and held against
    the law for that grid. So are two profiles, on what their grids have in common; only where that is too coarse,
    because their distributions differ much, the second is read from its sketch, and the test allows for the sketch's
    error.

    Examples
    --------
    >>> before = pd.DataFrame({"size": range(200), "colour": ["red", "blue"] * 100})
    >>> after = pd.DataFrame({"size": range(200), "colour": ["red", "green"] * 100})
    >>> report = drift(before, after)
    >>> report.drifted
    ['colour']
    >>> report.table.loc["colour", ["method", "statistic"]].to_dict()
    {'method': 'chi2', 'statistic': 200.0}
    """
    check_level(alpha, correction)
    reference, current = _side(reference, "The reference"), _side(current, "The current data")
    if isinstance(reference, Profile) and isinstance(current, Profile):
        check_settings(reference, current)
    features, notes = common_features(list(reference.columns), list(current.columns))
    choice = Choice(methods, features)
    generators = generator(random_state).spawn(len(features) + 1)
    rng_of = dict(zip(features, generators, strict=False))

    def test(feature: str) -> _Tested:
        return _compare(*read_sides(feature, reference, current), choice, feature, alpha, rng_of[feature])

    tested = {} if choice.only_joint else dict(zip(features, in_threads(test, features), strict=True))
    if choice.joint:
        tested[ALL_COLUMNS] = _compare_rows(reference, current, features, choice.joint, alpha, generators[-1])
    notes |= {feature: outcome.note for feature, outcome in tested.items() if outcome.note}
    return DriftReport(
        table=_table(tested, alpha, correction),
        alpha=float(alpha),
        correction=correction,
        n_reference=_rows(reference),
        n_current=_rows(current),
        histograms={feature: outcome.histogram for feature, outcome in tested.items() if outcome.histogram},
        notes=notes,
        # A report keeps no rows alive.
        _find_rows=weakref.ref(current) if isinstance(current, pd.DataFrame) else no_rows,
    )


def check_level(alpha: Any, correction: Any) -> None:
    """Raise Invalid unless `alpha` is a level, and `correction` one of ours."""
    if not isinstance(alpha, int | float | np.floating) or not 0 < alpha < 1:
        raise Invalid(f"alpha must be between 0 and 1, not {alpha!r}.")
    if correction not in CORRECTIONS:
        raise Invalid(f"There is no correction {correction!r}; choose one of {', '.join(CORRECTIONS)}.")


def _side(data: Any, what: str) -> pd.DataFrame | Profile:
    return data if isinstance(data, Profile) else as_frame(data, what, or_profile=True)


def _rows(side: pd.DataFrame | Profile) -> int:
    return side.n_rows if isinstance(side, Profile) else len(side)


def common_features(reference: list[str], current: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the features to test, and a note on every other."""
    features = [name for name in reference if name in set(current)]
    if not features:
        raise Invalid(
            "Reference and current data have no column in common. The reference has "
            f"{', '.join(reference[:10])}; the current data has {', '.join(current[:10])}.",
        )
    notes = {name: "not tested: only the reference has it" for name in reference if name not in set(current)}
    return features, notes | {
        name: "not tested: the reference lacks it" for name in current if name not in set(reference)
    }


def read_sides(
    feature: str, reference: pd.DataFrame | Profile, current: pd.DataFrame | Profile, known: Side | None = None
) -> tuple[Side, Side]:
    """Return both sides of a feature, of one kind; `known` is the reference's, when it was read before."""
    sides: list[Side]
    if isinstance(reference, Profile):
        column = reference.columns[feature]
        if isinstance(current, Profile):
            sides = [column, current.columns[feature]]
            _same_kind(feature, *sides)
        else:
            sides = [column, read_like(current[feature], column)]
    elif isinstance(current, Profile):
        column = current.columns[feature]
        sides = [read_like(reference[feature], column), column]
    elif known is not None and known.inferred is not None and not isinstance(known, Column):
        sides = [known, read_like(current[feature], known)]
    else:
        sides = _read_frames(reference[feature], current[feature])
    if sides[0].kind != sides[1].kind:  # one of them holds nothing but missing values
        empty = 0 if sides[0].inferred is None else 1
        sides[empty] = all_missing_as(sides[empty], sides[1 - empty].kind)
    if sides[0].kind == "embedding":
        sides = _same_width(feature, sides)
    return sides[0], sides[1]


def _same_kind(feature: str, reference: Side, current: Side) -> None:
    if reference.kind != current.kind and reference.inferred and current.inferred:
        raise Invalid(
            f"Column '{feature}' changed its kind: it was {reference.kind} and is {current.kind} now. "
            "Make both profiles with the same kinds.",
            column=feature,
        )


def _same_width(feature: str, sides: list[Side]) -> list[Side]:
    """Return embeddings of equally many numbers; where all are missing, they have as many as the others."""
    first, second = (side.width if isinstance(side, RowsColumn | RowsSample) else None for side in sides)
    if first and second and first != second:
        raise Invalid(
            f"Embeddings have {first} numbers in the reference and {second} in the current data (column '{feature}').",
            column=feature,
        )

    def filled(side: Side) -> Side:
        if isinstance(side, RowsSample) and side.width is None:
            return replace(side, rows=np.full((side.n, first or second or 1), np.nan))
        return side

    return [filled(side) for side in sides]


def _read_frames(reference: pd.Series[Any], current: pd.Series[Any]) -> list[Side]:
    if infer_kind(reference) is None:
        second = read_sample(current)
        return [read_sample(reference, second.kind), second]
    first = read_sample(reference)
    return [first, read_like(current, first)]


def _compare(
    reference: Side, current: Side, choice: Choice, feature: str, alpha: float, rng: np.random.Generator
) -> _Tested:
    method = choice.of(feature, reference.kind)
    histogram = None
    if isinstance(reference, NumericSample | NumericColumn):
        assert isinstance(current, NumericSample | NumericColumn)
        histogram = numeric_histogram(reference, current)
    elif isinstance(reference, CategorySample | CategoryColumn):
        assert isinstance(current, CategorySample | CategoryColumn)
        histogram = category_histogram(reference, current)
    outcome, note = _judge(compare_sides(reference, current, method, rng), reference, current, alpha)
    return _Tested(reference.kind, method, outcome, reference.n, current.n, histogram, note)


def compare_sides(reference: Side, current: Side, method: Method, rng: np.random.Generator) -> Outcome:
    """Test one feature by a method that suits it."""
    if method in OF_ROWS:
        return rows_test(reference, current, method, rng)
    if min(reference.n, current.n) < LEAST_ROWS:
        return untested(0.0, f"{method} needs {LEAST_ROWS} rows on each side")
    if isinstance(reference, NumericSample | NumericColumn) and isinstance(current, NumericSample | NumericColumn):
        return _test_numeric(reference, current, method, rng)
    assert isinstance(reference, CategorySample | CategoryColumn)
    assert isinstance(current, CategorySample | CategoryColumn)
    return cells_test(method, *_category_cells(reference, current), rng)


def _compare_rows(
    reference: pd.DataFrame | Profile,
    current: pd.DataFrame | Profile,
    features: list[str],
    method: Method,
    alpha: float,
    rng: np.random.Generator,
) -> _Tested:
    outcome = joint_test(reference, current, features, method, rng)
    note = outcome.note
    if outcome.p_value is not None and outcome.threshold(alpha) is None:
        outcome, note = replace(outcome, p_value=None), _too_few(_rows(reference), _rows(current))
    return _Tested("table", method, outcome, _rows(reference), _rows(current), None, note)


def _judge(outcome: Outcome, reference: Side, current: Side, alpha: float) -> tuple[Outcome, str | None]:
    """Return the outcome with what a reader should know about it."""
    if _constant(reference) is not None and _constant(reference) == _constant(current):
        return replace(outcome, statistic=0.0, p_value=1.0), "constant, and the same on both sides"
    if outcome.p_value is None:
        return outcome, outcome.note
    if min(reference.n, current.n) < _ENOUGH_ROWS and outcome.threshold(alpha) is None:
        return replace(outcome, p_value=None), _too_few(reference.n, current.n)
    unseen = _unseen(reference, current)
    notes = [outcome.note] if outcome.note else []
    if unseen:
        notes.append(f"{len(unseen)} unseen categor{'ies' if len(unseen) > 1 else 'y'}: {', '.join(unseen[:5])}")
    return outcome, "; ".join(notes) or None


def _too_few(n: int, m: int) -> str:
    rows = f"{n} reference and {m} current rows"
    return f"not tested: no difference could be significant with {rows} and this method"


def _constant(side: Side) -> object:
    """Return the only value a column has, None when it has several."""
    if isinstance(side, NumericSample):
        ends: tuple[Any, ...] = (side.ordered[0], side.ordered[-1]) if len(side.ordered) else ()
    elif isinstance(side, NumericColumn):
        ends = (side.minimum, side.maximum) if side.n_values else ()
    elif isinstance(side, CategorySample | CategoryColumn):
        ends = tuple(side.counts) if not side.other else ("", "other")
    else:
        return None
    if side.missing:
        return "missing" if not ends else None
    return ("value", ends[0]) if len(set(ends)) == 1 else None


def _unseen(reference: Side, current: Side) -> list[str]:
    if isinstance(reference, CategorySample | CategoryColumn) and isinstance(current, CategorySample | CategoryColumn):
        return [c for c in current.counts if c not in reference.counts] if not reference.other else []
    return []


# --- numbers --------------------------------------------------------------------------------------------------------


def _test_numeric(reference: NumericSide, current: NumericSide, method: Method, rng: np.random.Generator) -> Outcome:
    if isinstance(reference, NumericSample) and isinstance(current, NumericSample):
        x, y, x_below, y_below = reference.ordered, current.ordered, reference.missing, current.missing
        if method == "ks":
            places = places_of(x, y, x_below, y_below)
            return ks_test(ks_distance(x, y, x_below, y_below), len(x) + x_below, len(y) + y_below, places)
        if method == "wasserstein":
            exact = None if x_below or y_below else sample_distance(x, y)
            return wasserstein_test(mass_of(x, y, x_below, y_below), reference.std or 0.0, rng, exact)
        if method == "jensen_shannon" and len(x):
            cells = [_doane_cells(side, doane_edges(x)) for side in (reference, current)]
            # Beside a constant, everything is beyond: that cell is one like the others.
            beyond = extremes(x, y) if x[0] < x[-1] else None
            return cells_test(method, cells[0], cells[1], rng, beyond=beyond)
    return _test_on_grid(reference, current, method, rng)


def _test_on_grid(reference: NumericSide, current: NumericSide, method: Method, rng: np.random.Generator) -> Outcome:
    """Test on a grid: by profiles, and by frames where the method counts in cells."""
    edges = _grid(reference, current)
    (p, p_error), (q, q_error) = reference.counts_on(edges), current.counts_on(edges)
    if method in OF_CELLS:
        bins = _bins(p + q)
        cells = [
            np.append(np.bincount(bins, counts, BINS).astype(np.int64), side.missing)
            for counts, side in ((p, reference), (q, current))
        ]
        return cells_test(method, cells[0], cells[1], rng)
    p, q = np.append(reference.missing, p), np.append(current.missing, q)
    n, m = reference.n, current.n
    if method == "wasserstein":
        scale = reference.std or 0.0
        # The distance holds from one edge to the next; beyond the last, to the greatest value; missing rows lie one
        # deviation below.
        lengths = np.append(np.diff(edges), max(0.0, max(reference.maximum, current.maximum) - edges[-1]))
        widths = np.append((scale or 1.0) if reference.missing or current.missing else 0.0, lengths)
        return wasserstein_test(Mass(p, q, widths, np.zeros(len(widths))), scale, rng)
    distance = int(np.abs(np.cumsum(p) * m - np.cumsum(q) * n).max()) / (n * m)
    error = p_error * (1 - reference.missing / n) + q_error * (1 - current.missing / m)
    return ks_test(distance, n, m, places_on(p, q), error)


def _grid(reference: NumericSide, current: NumericSide) -> Floats:
    """Return the edges between which both sides are counted, exactly wherever that is possible."""
    if isinstance(reference, NumericColumn) and isinstance(current, NumericColumn):
        edges = reference.edges_with(current)
    elif isinstance(reference, NumericColumn):
        edges = _grid_of(reference, current)
    elif isinstance(current, NumericColumn):
        edges = _grid_of(current, reference)
    else:
        edges = np.union1d(reference.edges, current.edges)
    return edges if len(edges) else np.zeros(1)


def _grid_of(kept: NumericColumn, sample: NumericSide) -> Floats:
    # A profile of few rows still knows each of them.
    few = not kept.sketch_error and kept.n - kept.missing < sample.n - sample.missing
    return sample.edges if few else kept.edges


def _doane_cells(side: NumericSample, edges: Floats) -> Counts:
    """Return the counts in bins, as a histogram counts them, then the missing, then what lies outside the bins."""
    counts = side.counts_on(edges)[0]
    below = int(np.searchsorted(side.ordered, edges[0], "left"))  # the lowest edge belongs to the first bin
    counts[1] += counts[0] - below
    return np.append(counts[1:-1], [side.missing, below + counts[-1]])


def _bins(counts: Counts) -> Counts:
    """Return the bin of each cell of a grid, from the counts of both sides: their deciles.

    Of both, because bins by the reference's own deciles would hold a tenth of it each, exactly, however few rows it
    has; against many current rows chi-square then alarms twice as often as its level says.
    """
    middle: Floats = (np.cumsum(counts) - counts / 2) / max(1, counts.sum())
    return np.minimum((middle * BINS).astype(np.int64), BINS - 1)


# --- categories -----------------------------------------------------------------------------------------------------


def _category_cells(reference: CategorySide, current: CategorySide) -> tuple[Counts, Counts]:
    """Return the counts of both sides in the same cells, the missing last.

    By category while both sides know all of theirs. Otherwise by hash: to choose the frequent ones by the reference's
    own noise would alarm on unchanged data.
    """
    if reference.other or current.other:
        cells = [reference.buckets, current.buckets]
    else:
        categories = list({**reference.counts, **current.counts})
        cells = [np.array([side.counts.get(c, 0) for c in categories], np.int64) for side in (reference, current)]
    return np.append(cells[0], reference.missing), np.append(cells[1], current.missing)


# --- many features --------------------------------------------------------------------------------------------------


def _table(tested: dict[str, _Tested], alpha: float, correction: Correction) -> pd.DataFrame:
    p_values = np.array([np.nan if t.outcome.p_value is None else t.outcome.p_value for t in tested.values()])
    testable = ~np.isnan(p_values)
    corrected = np.full(len(p_values), np.nan)
    corrected[testable] = q_values(p_values[testable], correction)
    level = rejection_level(p_values[testable], alpha, correction)
    thresholds = [t.outcome.threshold(level) for t in tested.values()]
    return pd.DataFrame(
        {
            "kind": [t.kind for t in tested.values()],
            "method": [t.method for t in tested.values()],
            "statistic": [t.outcome.statistic for t in tested.values()],
            "threshold": np.array(thresholds, dtype=np.float64),
            "p_value": p_values,
            "q_value": corrected,
            "drifted": np.nan_to_num(corrected, nan=1.0) <= alpha,
            "n_reference": [t.n_reference for t in tested.values()],
            "n_current": [t.n_current for t in tested.values()],
        },
        index=pd.Index(tested, name="feature"),
    )
