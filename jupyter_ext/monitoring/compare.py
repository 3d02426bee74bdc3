"""Drift between two frames or profiles: one test a feature, corrected over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.columns import CategoryColumn, Column, NumericColumn
from jupyter_ext.monitoring.histograms import Histogram, category_histogram, numeric_histogram
from jupyter_ext.monitoring.profile import Profile, all_missing_as, check_settings, in_threads, read_like
from jupyter_ext.monitoring.report import DriftReport
from jupyter_ext.monitoring.samples import (
    KINDS,
    CategorySample,
    NumericSample,
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
    chi2_test,
    fold,
    ks_distance,
    ks_test,
    pool,
    psi_test,
    q_values,
    rejection_level,
)

Method = Literal["ks", "psi", "chi2"]
Methods = Method | Sequence[Method] | Mapping[str, Method]
METHODS: tuple[Method, ...] = ("ks", "psi", "chi2")
#: Bins of a numeric column for PSI and chi-square: the reference's deciles, and what lies outside its range.
BINS = 10

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
    histogram: Histogram
    note: str | None


def drift(
    reference: Any,
    current: Any,
    alpha: float = 0.05,
    correction: Correction = "bh",
    methods: Methods | None = None,
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
        ``"ks"``, ``"psi"`` or ``"chi2"`` for every feature that it suits; a list, of which the first that suits is
        taken; or a mapping from features (or kinds) to methods. Default: ``"ks"`` for numeric and datetime features,
        ``"chi2"`` for categorical and boolean ones.

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
    Missing values count: Kolmogorov-Smirnov places them below every number, PSI and chi-square give them a cell of
    their own. So do unseen categories, and numbers outside the reference's range. Between two frames the
    Kolmogorov-Smirnov distance is exact; against a profile it is taken on the profile's grid of 240 quantiles, where
    counts are exact too. Between two profiles of different grids the second is read from its sketch, and the test
    allows for the sketch's error: it then overlooks changes of less than about 0.3 % of the rows.
    Formulas and sources: `jupyter_ext.monitoring.statistics`.

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
    if not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise Invalid(f"alpha must be between 0 and 1, not {alpha!r}.")
    if correction not in CORRECTIONS:
        raise Invalid(f"There is no correction {correction!r}; choose one of {', '.join(CORRECTIONS)}.")
    reference, current = _side(reference, "The reference"), _side(current, "The current data")
    if isinstance(reference, Profile) and isinstance(current, Profile):
        check_settings(reference, current)
    features, notes = _common(list(reference.columns), list(current.columns))
    choice = _check_methods(methods, features)

    def test(feature: str) -> _Tested:
        return _compare(*_read(feature, reference, current), choice, feature, alpha)

    tested = dict(zip(features, in_threads(test, features), strict=True))
    notes |= {feature: outcome.note for feature, outcome in tested.items() if outcome.note}
    return DriftReport(
        table=_table(tested, alpha, correction),
        alpha=float(alpha),
        correction=correction,
        n_reference=_rows(reference),
        n_current=_rows(current),
        histograms={feature: outcome.histogram for feature, outcome in tested.items()},
        notes=notes,
    )


def _side(data: Any, what: str) -> pd.DataFrame | Profile:
    return data if isinstance(data, Profile) else as_frame(data, what)


def _rows(side: pd.DataFrame | Profile) -> int:
    return side.n_rows if isinstance(side, Profile) else len(side)


def _common(reference: list[str], current: list[str]) -> tuple[list[str], dict[str, str]]:
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


def _check_methods(methods: Methods | None, features: list[str]) -> Mapping[str, Method] | tuple[Method, ...]:
    """Return methods as a mapping, or as a tuple to choose the first suitable from."""
    by_name: Mapping[str, Method] = {}
    in_order: tuple[Method, ...] = ()
    if isinstance(methods, Mapping):
        by_name = methods
    elif isinstance(methods, str):
        in_order = (methods,)
    elif methods is not None:
        in_order = tuple(methods)
    for method in (*by_name.values(), *in_order):
        if method not in METHODS:
            raise Invalid(f"There is no method {method!r}; choose among {', '.join(METHODS)}.", methods=list(METHODS))
    unknown = sorted(str(key) for key in by_name if key not in features and key not in KINDS)
    if unknown:
        raise Invalid(f"methods names neither features in common nor kinds: {', '.join(unknown)}.", unknown=unknown)
    return by_name or in_order


def _method_for(feature: str, kind: str, choice: Mapping[str, Method] | tuple[Method, ...]) -> Method:
    suitable: tuple[Method, ...] = METHODS if kind in ("numeric", "datetime") else ("chi2", "psi")
    if isinstance(choice, tuple):
        return next((method for method in choice if method in suitable), suitable[0])
    method = choice.get(feature) or choice.get(kind) or suitable[0]
    if method not in suitable:
        raise Invalid(f"Feature '{feature}' is {kind}: {method} cannot test it. Choose {' or '.join(suitable)}.")
    return method


def _read(feature: str, reference: pd.DataFrame | Profile, current: pd.DataFrame | Profile) -> tuple[Side, Side]:
    """Return both sides of a feature, of one kind."""
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
    else:
        sides = _read_frames(reference[feature], current[feature])
    if sides[0].kind != sides[1].kind:  # one of them holds nothing but missing values
        empty = 0 if sides[0].inferred is None else 1
        sides[empty] = all_missing_as(sides[empty], sides[1 - empty].kind)
    return sides[0], sides[1]


def _same_kind(feature: str, reference: Side, current: Side) -> None:
    if reference.kind != current.kind and reference.inferred and current.inferred:
        raise Invalid(
            f"Column '{feature}' changed its kind: it was {reference.kind} and is {current.kind} now. "
            "Make both profiles with the same kinds.",
            column=feature,
        )


def _read_frames(reference: pd.Series[Any], current: pd.Series[Any]) -> list[Side]:
    if infer_kind(reference) is None:
        second = read_sample(current)
        return [read_sample(reference, second.kind), second]
    first = read_sample(reference)
    return [first, read_like(current, first)]


def _compare(
    reference: Side, current: Side, choice: Mapping[str, Method] | tuple[Method, ...], feature: str, alpha: float
) -> _Tested:
    method = _method_for(feature, reference.kind, choice)
    if isinstance(reference, NumericSample | NumericColumn):
        assert isinstance(current, NumericSample | NumericColumn)
        outcome = _test_numeric(reference, current, method)
        histogram = numeric_histogram(reference, current)
    else:
        assert isinstance(current, CategorySample | CategoryColumn)
        cells = (*pool(*_category_cells(reference, current)), 0.0)
        outcome = psi_test(*cells) if method == "psi" else chi2_test(*cells)
        histogram = category_histogram(reference, current)
    outcome, note = _judge(outcome, reference, current, alpha)
    return _Tested(reference.kind, method, outcome, reference.n, current.n, histogram, note)


def _judge(outcome: Outcome, reference: Side, current: Side, alpha: float) -> tuple[Outcome, str | None]:
    """Return the outcome with what a reader should know about it."""
    if _constant(reference) is not None and _constant(reference) == _constant(current):
        return replace(outcome, statistic=0.0, p_value=1.0), "constant, and the same on both sides"
    if outcome.threshold(alpha) is None:
        rows = f"{reference.n} reference and {current.n} current rows"
        outcome = replace(outcome, p_value=None)
        return outcome, f"not tested: no difference could be significant with {rows} and this method"
    unseen = _unseen(reference, current)
    if unseen:
        return outcome, f"{len(unseen)} unseen categor{'ies' if len(unseen) > 1 else 'y'}: {', '.join(unseen[:5])}"
    return outcome, None


def _constant(side: Side) -> object:
    """Return the only value a column has, None when it has several."""
    if isinstance(side, NumericSample):
        ends: tuple[Any, ...] = (side.ordered[0], side.ordered[-1]) if len(side.ordered) else ()
    elif isinstance(side, NumericColumn):
        ends = (side.minimum, side.maximum) if side.n_values else ()
    else:
        ends = tuple(side.counts) if not side.other else ("", "other")
    if side.missing:
        return "missing" if not ends else None
    return ("value", ends[0]) if len(set(ends)) == 1 else None


def _unseen(reference: Side, current: Side) -> list[str]:
    if isinstance(reference, CategorySample | CategoryColumn) and isinstance(current, CategorySample | CategoryColumn):
        return [c for c in current.counts if c not in reference.counts] if not reference.other else []
    return []


# --- numbers --------------------------------------------------------------------------------------------------------


def _test_numeric(reference: NumericSide, current: NumericSide, method: Method) -> Outcome:
    n, m = reference.n, current.n
    if method == "ks" and isinstance(reference, NumericSample) and isinstance(current, NumericSample):
        return ks_test(ks_distance(reference.ordered, current.ordered, reference.missing, current.missing), n, m)
    # The grid of a profile is counted exactly by the profile, and by a frame always.
    owner = reference if isinstance(reference, NumericColumn) or not isinstance(current, NumericColumn) else current
    edges = owner.edges if len(owner.edges) else np.zeros(1)
    (p, p_error), (q, q_error) = reference.counts_on(edges), current.counts_on(edges)
    error = p_error * (1 - reference.missing / n) + q_error * (1 - current.missing / m)
    if method == "ks":
        f, g = (
            (np.cumsum(side) + missing) / rows
            for side, missing, rows in ((p, reference.missing, n), (q, current.missing, m))
        )
        distance = max(float(np.abs(f - g).max()), abs(reference.missing / n - current.missing / m))
        return ks_test(distance, n, m, error)
    bins = _bins(owner.counts_on(edges)[0])
    cells = fold(
        np.append(np.bincount(bins, p, BINS + 2).astype(np.int64), reference.missing),
        np.append(np.bincount(bins, q, BINS + 2).astype(np.int64), current.missing),
    )
    # The share of a cell is the difference of two cumulated shares, each off by at most the error.
    return psi_test(*cells, 2 * error) if method == "psi" else chi2_test(*cells, 2 * error)


def _bins(counts: Counts) -> Counts:
    """Return the bin of each cell of a grid: 0 and BINS + 1 outside the owner's range, deciles of the owner within."""
    inner = counts[1:-1]
    middle: Floats = (np.cumsum(inner) - inner / 2) / max(1, inner.sum())
    return np.concatenate([[0], 1 + np.minimum((middle * BINS).astype(np.int64), BINS - 1), [BINS + 1]]).astype(
        np.int64
    )


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
