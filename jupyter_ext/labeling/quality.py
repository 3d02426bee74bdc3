"""How far voters agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, VoteMatrix, as_votes, distinct_rows

Metric = Literal["krippendorff", "percent", "cohen", "fleiss", "gwet"]
Level = Literal["nominal", "ordinal", "interval", "ratio"]

#: Takes weights of distinct items, shape (samples, u), and returns the coefficient of each sample.
Coefficient = Callable[[FloatArray], FloatArray]


class Agreement(NamedTuple):
    """A coefficient, its interval, and the number of items that it rests on (those with two votes or more)."""

    value: float
    low: float
    high: float
    n_items: int


def agreement(
    votes: VoteMatrix | npt.ArrayLike,
    metric: Metric = "krippendorff",
    level: Level = "nominal",
    confidence: float = 0.95,
    *,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> Agreement:
    """Return how far the voters agree; but for ``"percent"``, 1 is always, 0 what chance gives, below 0 against it.

    ===============  ==================================================================================================
    ``krippendorff`` alpha, ``1 - D_o / D_e`` over all pairs of votes on one item; any number of voters, missing votes
    ``percent``      the share of agreeing pairs of votes on one item, averaged over items
    ``cohen``        kappa of two voters, ``1 - sum(w O) / sum(w E)`` over the items that both voted on
    ``fleiss``       ``(P - P_e) / (1 - P_e)`` with ``P_e = sum(p_c^2)``; with missing votes its generalisation
    ``gwet``         AC1, ``P_e = sum(p_c (1 - p_c)) / (k - 1)``: steady where one class is rare
    ===============  ==================================================================================================

    Parameters
    ----------
    votes
        (n items, m voters), -1 where there is no vote.
    metric
        The coefficient.
    level
        What the numbers of the classes mean, and so how far apart two votes are: ``"nominal"`` names, ``"ordinal"``
        ranks, ``"interval"`` distances, ``"ratio"`` multiples. For Krippendorff's alpha; for Cohen's kappa
        ``"ordinal"`` weighs linearly and ``"interval"`` by the square.
    confidence
        Of the interval, a percentile bootstrap over items. Ranks stay those of the whole sample.
    n_bootstrap, random_state
        How many samples the interval rests on, and their seed.

    Returns
    -------
    Agreement
        ``value``, ``low``, ``high``, ``n_items``. All NaN when no item has two votes; 1.0 when all votes are one class
        (there is no disagreement, and none could be expected).

    Raises
    ------
    Invalid
        An unknown metric or level, a level that the metric doesn't know, or Cohen's kappa of other than two voters.

    References
    ----------
    K. Krippendorff. Computing Krippendorff's alpha-reliability. 2011. J. Cohen. Weighted kappa. Psychological Bulletin
    70, 1968. J. L. Fleiss. Measuring nominal scale agreement among many raters. Psychological Bulletin 76, 1971.
    K. L. Gwet. Computing inter-rater reliability and its variance in the presence of high agreement. BJMSP 61, 2008.

    Examples
    --------
    >>> votes = [[0, 0], [1, 1], [0, 1], [-1, 1]]
    >>> round(agreement(votes).value, 3), round(agreement(votes, metric="percent").value, 3)
    (0.444, 0.667)
    """
    if metric not in get_args(Metric):
        raise Invalid(f"There is no metric {metric!r}; there are {', '.join(get_args(Metric))}.")
    if level not in get_args(Level):
        raise Invalid(f"There is no level {level!r}; there are {', '.join(get_args(Level))}.")
    known: dict[str, tuple[str, ...]] = {"krippendorff": get_args(Level), "cohen": ("nominal", "ordinal", "interval")}
    if level not in known.get(metric, ("nominal",)):
        raise Invalid(f"The metric {metric!r} knows no {level!r} level; take 'krippendorff'.")
    if not 0 < confidence < 1:
        raise Invalid(f"The confidence must lie between 0 and 1, not {confidence}.")
    matrix = as_votes(votes)
    if metric == "cohen":
        coefficient, counts, n_items = _cohen(matrix, level)
    else:
        coefficient, counts, n_items = _by_counts(matrix, metric, level)
    if not n_items:
        return Agreement(np.nan, np.nan, np.nan, 0)
    random = np.random.default_rng(random_state)
    total = int(counts.sum())
    chunk = max(1, 4_000_000 // len(counts))  # at most 32 MB of draws at a time
    drawn = [
        coefficient(random.multinomial(total, counts / total, size=min(chunk, n_bootstrap - start)).astype(float))
        for start in range(0, n_bootstrap, chunk)
    ]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    return Agreement(float(coefficient(counts[None, :].astype(float))[0]), float(low), float(high), n_items)


def _by_counts(votes: VoteMatrix, metric: Metric, level: Level) -> tuple[Coefficient, npt.NDArray[np.int64], int]:
    """Return a coefficient of the items' class counts, the counts of equal items, and how many have two votes."""
    counts = votes.class_counts()
    least = 2 if metric == "krippendorff" else 1
    # Items with equal counts are one: a bootstrap over items is a multinomial draw over them.
    items = distinct_rows(sparse.csr_array(counts[np.flatnonzero(counts.sum(axis=1) >= least)]))
    sizes = np.asarray(items.matrix.sum(axis=1), dtype=np.float64)
    paired = sizes >= 2
    n_items = int(items.counts[paired].sum())
    if metric == "krippendorff":
        return _krippendorff(items.matrix, sizes, items.counts, level), items.counts, n_items
    pairs = np.where(paired, sizes * (sizes - 1), 1.0)
    agreeing = np.where(paired, (np.asarray(items.matrix.power(2).sum(axis=1)) - sizes) / pairs, 0.0)
    shares = sparse.csr_array(items.matrix / np.maximum(sizes, 1.0)[:, None])

    def coefficient(weights: FloatArray) -> FloatArray:
        seen = weights @ paired.astype(float)
        observed = _divided(weights @ agreeing, seen, np.nan)
        if metric == "percent":
            return observed
        balance = np.asarray(weights @ shares) / weights.sum(axis=1, keepdims=True)
        if metric == "fleiss":
            expected = (balance**2).sum(axis=1)
        else:
            expected = (balance * (1 - balance)).sum(axis=1) / max(votes.n_classes - 1, 1)
        return 1 - _divided(1 - observed, 1 - expected, 0.0)

    return coefficient, items.counts, n_items


def _krippendorff(
    items: sparse.csr_array, sizes: FloatArray, counts: npt.NDArray[np.int64], level: Level
) -> Coefficient:
    k = items.shape[1]
    if level == "nominal":
        agreeing = np.asarray(items.power(2).sum(axis=1))
        disagreeing = (sizes**2 - agreeing) / np.maximum(sizes - 1, 1)
        distance = None
    else:
        distance = _distance(level, np.asarray(counts @ items), k)
        disagreeing = np.asarray(items.multiply(items @ distance).sum(axis=1)).ravel() / np.maximum(sizes - 1, 1)

    def alpha(weights: FloatArray) -> FloatArray:
        by_class = np.asarray(weights @ items)
        n = by_class.sum(axis=1)
        observed = weights @ disagreeing / n
        if distance is None:
            between = n**2 - (by_class**2).sum(axis=1)
        else:
            between = ((by_class @ distance) * by_class).sum(axis=1)
        return 1 - _divided(observed, between / (n * (n - 1)), 0.0)

    return alpha


def _distance(level: Level, by_class: FloatArray, k: int) -> FloatArray:
    """Return the squared distance of each two classes, shape (k, k)."""
    one, other = np.arange(k)[:, None], np.arange(k)[None, :]
    if level == "interval":
        return (one - other).astype(np.float64) ** 2
    if level == "ratio":
        return _divided((one - other).astype(np.float64), (one + other).astype(np.float64), 0.0) ** 2
    up_to = np.cumsum(by_class)
    low, high = np.minimum(one, other), np.maximum(one, other)
    between = up_to[high] - up_to[low] + by_class[low]
    return np.asarray((between - (by_class[low] + by_class[high]) / 2) ** 2)


def _cohen(votes: VoteMatrix, level: Level) -> tuple[Coefficient, npt.NDArray[np.int64], int]:
    if votes.shape[1] != 2:
        raise Invalid(f"Cohen's kappa is of two voters, not {votes.shape[1]}; take 'fleiss' or 'krippendorff'.")
    dense = votes.to_dense().astype(np.int64)
    both = dense[(dense != ABSTAIN).all(axis=1)]
    k = votes.n_classes
    pairs, counts = np.unique(both[:, 0] * k + both[:, 1], return_counts=True)
    one, other = pairs // k, pairs % k
    distance = _apart(level, np.arange(k)[:, None], np.arange(k)[None, :])
    first, second = np.eye(k)[one], np.eye(k)[other]

    def kappa(weights: FloatArray) -> FloatArray:
        n = weights.sum(axis=1)
        observed = weights @ _apart(level, one, other) / n
        expected = ((weights @ first) @ distance * (weights @ second)).sum(axis=1) / n**2
        return 1 - _divided(observed, expected, 0.0)

    return kappa, counts.astype(np.int64), int(counts.sum())


def _apart(level: Level, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> FloatArray:
    """Return the weight of a disagreement in Cohen's weighted kappa."""
    if level == "nominal":
        return np.asarray(one != other, dtype=np.float64)
    return np.asarray(np.abs(one - other), dtype=np.float64) ** (1.0 if level == "ordinal" else 2.0)


def _divided(above: FloatArray, below: FloatArray, otherwise: float) -> FloatArray:
    result: FloatArray = np.divide(above, below, out=np.full(np.shape(above), otherwise), where=below > 1e-15)
    return result
