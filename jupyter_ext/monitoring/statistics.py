"""Two-sample tests over counts and ranks, and their correction over many features. Pure functions.

Every test answers with its statistic, its p-value, and the threshold that the statistic must reach at a given level,
so that a report can show what each feature was held against after correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Correction = Literal["bh", "by", "bonferroni", "none"]

CORRECTIONS: tuple[Correction, ...] = ("bh", "by", "bonferroni", "none")
#: The rule of Cochran (1954): a cell of a contingency table wants this many expected rows.
MIN_EXPECTED = 5.0
#: Up to this many rows on both sides together, Kolmogorov-Smirnov p-values are exact (path counts fit a double).
EXACT_KS_ROWS = 1000


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test.

    Parameters
    ----------
    statistic
        What the test measures; larger is farther apart.
    p_value
        The chance of a statistic at least this large when nothing moved; None when there are too few rows to say.
    threshold
        Maps a level to the smallest statistic that is significant at it, or to None where no statistic can be.
    """

    statistic: float
    p_value: float | None
    threshold: Callable[[float], float | None]


# --- Kolmogorov-Smirnov ---------------------------------------------------------------------------------------------


def ks_distance(x: Floats, y: Floats, x_below: int = 0, y_below: int = 0) -> float:
    """Return the largest distance between two empirical distribution functions, ties included.

    Parameters
    ----------
    x, y
        Sorted values, shapes (n,) and (m,).
    x_below, y_below
        Further rows that lie below every value: missing ones.

    Notes
    -----
    D = sup |F(t) - G(t)|; Hodges, "The significance probability of the Smirnov two-sample test", 1958.
    F rises only at the points of x, so F - G is largest right after one of them and G - F right before one.

    Examples
    --------
    >>> ks_distance(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0, 5.0]))
    0.5
    >>> ks_distance(np.array([1.0]), np.array([1.0]), x_below=1, y_below=0)
    0.5
    """
    if len(x) > len(y):
        x, y, x_below, y_below = y, x, y_below, x_below
    n, m = len(x) + x_below, len(y) + y_below
    distance = abs(x_below / n - y_below / m)
    if len(x):
        f = (x_below + np.arange(len(x) + 1)) / n
        g_after = (y_below + np.searchsorted(y, x, side="right")) / m
        g_before = (y_below + np.searchsorted(y, x, side="left")) / m
        distance = max(distance, float((f[1:] - g_after).max()), float((g_before - f[:-1]).max()))
    return distance


@lru_cache(maxsize=4096)
def _exact_ks_p_value(distance: int, n: int, m: int) -> float:
    """Return P(n·m·D >= distance) by counting lattice paths that stay inside the band (Hodges 1958, section 3)."""
    inside = np.zeros(m + 1)
    columns = np.arange(m + 1)
    inside[0] = 1.0
    for i in range(n + 1):
        inside = np.cumsum(np.where(np.abs(i * m - columns * n) < distance, inside, 0.0)) * (
            np.abs(i * m - columns * n) < distance
        )
    return float(max(0.0, 1.0 - inside[m] / math.comb(n + m, n)))


def ks_p_value(distance: float, n: int, m: int) -> float:
    """Return the two-sided p-value of a Kolmogorov-Smirnov distance between samples of n and m rows.

    Exact up to `EXACT_KS_ROWS` rows together; beyond, the one-sample law at the effective size n·m/(n+m). Ties make
    both conservative.

    Examples
    --------
    >>> round(ks_p_value(0.5, 10, 10), 6)  # scipy.stats.ks_2samp(..., method="exact")
    0.167821
    """
    if distance <= 0:
        return 1.0
    if n + m <= EXACT_KS_ROWS:
        exact = _exact_ks_p_value(round(distance * n * m), n, m)
        if exact > 1e-9:  # below, 1 - x has lost its digits
            return exact
    return float(stats.kstwo.sf(distance, max(1, round(n * m / (n + m)))))


@lru_cache(maxsize=1024)
def ks_threshold(level: float, n: int, m: int) -> float | None:
    """Return the smallest distance that is significant at `level`, None where even 1 is not.

    Examples
    --------
    >>> ks_threshold(0.05, 10, 10), ks_threshold(0.05, 3, 3)
    (0.7, None)
    """
    if n + m > EXACT_KS_ROWS:
        threshold = float(stats.kstwo.isf(level, max(1, round(n * m / (n + m)))))
        return threshold if threshold <= 1 else None
    step = math.gcd(n, m)
    low, high = 0, n * m // step  # in steps of the lattice on which D lives
    if ks_p_value(1.0, n, m) > level:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ks_p_value(middle * step / (n * m), n, m) <= level else (middle, high)
    return high * step / (n * m)


def ks_test(distance: float, n: int, m: int, error: float = 0.0) -> Outcome:
    """Test a Kolmogorov-Smirnov distance that is known up to `error` (of sketches; 0 from frames).

    Notes
    -----
    The p-value is that of max(0, D - error): with the naive D of two sketches, large stationary samples always alarm.
    """

    def threshold(level: float) -> float | None:
        bare = ks_threshold(level, n, m)
        return None if bare is None or bare + error > 1 else bare + error

    return Outcome(distance, ks_p_value(distance - error, n, m), threshold)


# --- counts ---------------------------------------------------------------------------------------------------------


def _expected(reference: Counts, current: Counts) -> Floats:
    """Return the smaller expected count of each cell when both rows share one distribution."""
    n, m = reference.sum(), current.sum()
    expected: Floats = (reference + current) * (min(n, m) / (n + m))
    return expected


def pool(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """Join the cells that expect fewer than `MIN_EXPECTED` rows into one; shapes (k,) to (at most k,).

    Examples
    --------
    >>> pool(np.array([50, 1, 2, 47]), np.array([48, 0, 3, 49]))
    (array([50, 50]), array([48, 52]))
    """
    expected = _expected(reference, current)
    order = np.argsort(-expected, kind="stable")
    keep = order[expected[order] >= MIN_EXPECTED]
    rare = order[expected[order] < MIN_EXPECTED]
    if len(rare) and expected[rare].sum() < MIN_EXPECTED and len(keep):
        keep, rare = keep[:-1], np.append(rare, keep[-1])
    cells = [np.append(side[np.sort(keep)], side[rare].sum() if len(rare) else []) for side in (reference, current)]
    return cells[0].astype(np.int64), cells[1].astype(np.int64)


def fold(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """Join neighbouring cells until each expects `MIN_EXPECTED` rows; shapes (k,) to (at most k,), order kept.

    Examples
    --------
    >>> fold(np.array([0, 40, 60, 0]), np.array([3, 42, 55, 0]))
    (array([40, 60]), array([45, 55]))
    """
    expected = _expected(reference, current)
    starts, mass = [0], 0.0
    for i in range(len(expected)):
        if mass >= MIN_EXPECTED and expected[i:].sum() >= MIN_EXPECTED:
            starts.append(i)
            mass = 0.0
        mass += float(expected[i])
    return np.add.reduceat(reference, starts), np.add.reduceat(current, starts)


def chi2_test(reference: Counts, current: Counts, error: float = 0.0) -> Outcome:
    """Pearson's chi-square test of the 2 x k contingency table; the reference is a sample too, never taken as exact.

    Parameters
    ----------
    reference, current
        Counts of the same k cells, each expecting enough rows (`pool`, `fold`).
    error
        How far a share of either side may be off (sketches).

    Notes
    -----
    sum over both rows and all cells of (O - E)² / E, chi-square with k - 1 degrees of freedom. In shares p, q of n and
    m rows this is nm/(n+m) · sum (p - q)² / pooled.

    Examples
    --------
    >>> test = chi2_test(np.array([10, 20]), np.array([20, 10]))
    >>> round(test.statistic, 6), round(test.p_value, 6)  # scipy.stats.chi2_contingency(..., correction=False)
    (6.666667, 0.009823)
    """
    n, m, cells = int(reference.sum()), int(current.sum()), len(reference)
    gap = np.maximum(np.abs(reference / n - current / m) - error, 0.0)
    statistic = float(n * m / (n + m) * (gap**2 / ((reference + current) / (n + m))).sum())
    return _chi2_law(statistic, 1.0, cells)


def population_stability_index(reference: Counts, current: Counts, error: float = 0.0) -> float:
    """Return sum (p - q) ln(p / q) over cells, shares smoothed by half a row a cell.

    Notes
    -----
    Half a row a cell is the Jeffreys prior; it keeps an empty cell finite. With `error`, each gap p - q shrinks by it
    first: the smallest index that agrees with the sketches.

    Examples
    --------
    >>> even = np.array([500, 500])
    >>> population_stability_index(even, even)
    0.0
    >>> round(population_stability_index(even, np.array([400, 600])), 3)
    0.04
    """
    cells = len(reference)
    p = (reference + 0.5) / (reference.sum() + 0.5 * cells)
    q = (current + 0.5) / (current.sum() + 0.5 * cells)
    if error:
        q = p + np.sign(q - p) * np.maximum(np.abs(q - p) - error, 0.0)
    return float(((p - q) * np.log(p / q)).sum())


def psi_test(reference: Counts, current: Counts, error: float = 0.0) -> Outcome:
    """Test the population stability index against what samples of these sizes show when nothing moved.

    Notes
    -----
    Under the null nm/(n+m)·PSI follows chi-square with B - 1 degrees of freedom (Yurdakul, "Statistical properties of
    population stability index", 2018), so the threshold is t(n, m, level) = chi2.isf(level, B - 1) · (1/n + 1/m). The
    customary fixed 0.1 alarms on unchanged data 84 times of 100 at n = 100, and never at n = 10⁶ where 0.05 is huge.

    Examples
    --------
    >>> test = psi_test(np.full(10, 100), np.full(10, 100))
    >>> test.p_value, round(test.threshold(0.05), 4)
    (1.0, 0.0338)
    """
    n, m = int(reference.sum()), int(current.sum())
    return _chi2_law(population_stability_index(reference, current, error), 1 / n + 1 / m, len(reference))


def _chi2_law(statistic: float, scale: float, cells: int) -> Outcome:
    """Return the test of a statistic that is `scale` times a chi-square with `cells` - 1 degrees of freedom."""
    if cells < 2:
        return Outcome(statistic, None, lambda level: None)
    return Outcome(
        statistic,
        float(stats.chi2.sf(statistic / scale, cells - 1)),
        lambda level: float(stats.chi2.isf(level, cells - 1)) * scale,
    )


# --- many features --------------------------------------------------------------------------------------------------


def _share(count: int, correction: Correction) -> float:
    """Return the level, as a share of alpha, that the smallest of `count` p-values must reach."""
    if correction == "none":
        return 1.0
    return 1.0 / (count * (sum(1 / i for i in range(1, count + 1)) if correction == "by" else 1.0))


def q_values(p_values: Floats, correction: Correction = "bh") -> Floats:
    """Correct p-values for their number; shape (k,) to (k,).

    Parameters
    ----------
    correction
        ``"bh"`` (Benjamini and Hochberg 1995: false discovery rate), ``"by"`` (Benjamini and Yekutieli 2001: the same
        under any dependence), ``"bonferroni"`` (chance of any false alarm), ``"none"``.

    Examples
    --------
    >>> q_values(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    >>> q_values(np.array([0.01, 0.04]), "bonferroni").tolist()
    [0.02, 0.08]
    """
    count = len(p_values)
    if not count:
        return p_values
    scaled = p_values / _share(count, correction)
    if correction in ("bh", "by"):
        order = np.argsort(p_values)
        scaled[order] = np.minimum.accumulate((scaled[order] / np.arange(1, count + 1))[::-1])[::-1]
    return np.minimum(scaled, 1.0)


def rejection_level(p_values: Floats, alpha: float, correction: Correction = "bh") -> float:
    """Return the level a single p-value was held against: p <= level is the same as q <= alpha.

    Examples
    --------
    >>> rejection_level(np.array([0.001, 0.002, 0.5, 0.6]), 0.05)
    0.025
    """
    if not len(p_values):
        return alpha
    rejected = int((q_values(p_values, correction) <= alpha).sum()) if correction in ("bh", "by") else 1
    return alpha * max(rejected, 1) * _share(len(p_values), correction)
