"""What every two-sample test answers, how a simulated null gives it, and the correction over many features.

Every test answers with its statistic, its p-value, and the threshold that the statistic must reach at a given level,
so that a report can show what each feature was held against after correction. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Correction = Literal["bh", "by", "bonferroni", "none"]

CORRECTIONS: tuple[Correction, ...] = ("bh", "by", "bonferroni", "none")
#: From this many rows on each side on, an outcome of a discrete null counts itself by half (mid-p).
MID_P_ROWS = 30
#: Draws of a simulated null.
DRAWS = 999
#: The share of the draws, at the upper end, from which the tail beyond them is continued; and how many at least.
_TAIL, _LEAST_TAIL = 0.05, 10


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
    note
        What a reader of the statistic should know.
    """

    statistic: float
    p_value: float | None
    threshold: Callable[[float], float | None]
    note: str | None = None


def untested(statistic: float, why: str) -> Outcome:
    """Return the outcome of a test that could not be made, and why."""
    return Outcome(statistic, None, lambda level: None, f"not tested: {why}")


def deals(n: int, m: int, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Deal n + m rows to two sides at random: True where a row goes to the side of n; shape (count, n + m).

    Examples
    --------
    >>> deals(3, 2, 4, np.random.default_rng(0)).sum(axis=1).tolist()
    [3, 3, 3, 3]
    """
    # The rows with the n least of random numbers. That two are equal just there happens once in a million deals.
    keys = rng.integers(0, 2**32, (count, n + m), dtype=np.uint32)
    return keys < np.partition(keys, n, axis=1)[:, n : n + 1]


def simulated_test(statistic: float, draws: Floats, n: int, m: int, power: float = 2.0) -> Outcome:
    """Hold a statistic against draws of it under the null (permutations); shape (B,).

    Parameters
    ----------
    statistic
        What was observed.
    draws
        What permutations of the rows of both sides gave.
    n, m
        Rows of both sides. No permutation is rarer than 1 / C(n + m, n), so levels below that have no threshold.
    power
        The statistic behaves like this root of a quadratic form: 2 for distances, 1 for squared ones.

    Notes
    -----
    p = (1 + #{T* >= T}) / (1 + B); Phipson and Smyth, "Permutation p-values should never be zero", 2010. Draws equal to
    T count by half from `MID_P_ROWS` rows on (Lancaster's mid-p, 1961), or discrete columns would hardly alarm. Beyond
    the greatest twentieth of the draws the tail is continued as exp(-b T^power), with b from the mean excess there: the
    statistics here are norms of nearly Gaussian vectors, whose tails are of that kind, so that the p-values of many
    features can be corrected without a million draws. The continuation falls more slowly than the tail, if anything.

    Examples
    --------
    >>> draws = np.arange(1, 1000) / 1000
    >>> simulated_test(0.9, draws, 500, 500).p_value
    0.1005
    >>> simulated_test(5.0, draws, 500, 500).p_value < 1e-9
    True
    """
    ordered = np.sort(draws)
    size = len(ordered)
    tail = max(_LEAST_TAIL, math.ceil(_TAIL * size))
    start, start_p = float(ordered[-tail]), (1 + tail) / (1 + size)
    tolerance = 1e-9 * max(abs(start), abs(float(ordered[0])), 1e-300)

    def bent(value: float) -> float:
        return math.copysign(abs(value) ** power, value)

    excess = float(np.mean([bent(float(value)) for value in ordered[-tail:]]) - bent(start))
    weight = 0.5 if min(n, m) >= MID_P_ROWS else 1.0
    least_log = -(math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1))

    def p_value(value: float) -> float:
        if value > start + tolerance and excess > 0:
            return max(start_p * math.exp(-(bent(value) - bent(start)) / excess), math.exp(max(least_log, -700)))
        greater = size - int(np.searchsorted(ordered, value + tolerance))
        equal = size - greater - int(np.searchsorted(ordered, value - tolerance))
        return (1 + greater + equal * weight) / (1 + size)

    def threshold(level: float) -> float | None:
        if math.log(level) < least_log or (excess <= 0 and level < start_p):
            return None
        if level <= start_p * (1 - 1e-12):
            beyond = bent(start) + excess * math.log(start_p / level)
            return math.copysign(abs(beyond) ** (1 / power), beyond)
        # The smallest draw that few enough others reach, or what lies just above the draw before it.
        nearest = float(ordered[max(size - int(level * (1 + size) + 1e-9), 0)])
        return nearest if p_value(nearest) <= level else nearest + 2 * tolerance

    return Outcome(statistic, p_value(statistic), threshold)


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
