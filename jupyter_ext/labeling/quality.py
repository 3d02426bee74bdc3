"""How far voters agree."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.votes import FloatArray, VoteMatrix, as_votes, distinct_rows


class Agreement(NamedTuple):
    """A coefficient, its interval, and the number of items that it rests on (those with two votes or more)."""

    value: float
    low: float
    high: float
    n_items: int


def agreement(
    votes: VoteMatrix | npt.ArrayLike,
    metric: Literal["krippendorff"] = "krippendorff",
    level: Literal["nominal"] = "nominal",
    confidence: float = 0.95,
    *,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> Agreement:
    """Return how far the voters agree beyond chance: 1 is always, 0 what chance gives, below 0 against each other.

    Krippendorff's alpha, ``1 - D_o / D_e`` over all pairs of votes on one item; any number of voters, votes may be
    missing. The interval is a percentile bootstrap over items.

    Parameters
    ----------
    votes
        (n items, m voters), -1 where there is no vote.
    metric, level
        ``"krippendorff"`` with ``"nominal"`` classes.
    confidence
        Of the interval.
    n_bootstrap, random_state
        How many samples the interval rests on, and their seed.

    Returns
    -------
    Agreement
        ``value``, ``low``, ``high``, ``n_items``. All NaN when no item has two votes; 1.0 when all votes are one class
        (there is no disagreement, and none could be expected).

    References
    ----------
    K. Krippendorff. Computing Krippendorff's alpha-reliability. 2011, section C.

    Examples
    --------
    >>> agreement([[0, 0], [1, 1], [0, 1], [-1, 1]]).value.__round__(3)
    0.444
    """
    if metric != "krippendorff" or level != "nominal":
        raise Invalid("Agreement is Krippendorff's alpha for nominal classes: metric='krippendorff', level='nominal'.")
    if not 0 < confidence < 1:
        raise Invalid(f"The confidence must lie between 0 and 1, not {confidence}.")
    counts = as_votes(votes).class_counts()
    paired = sparse.csr_array(counts[np.flatnonzero(counts.sum(axis=1) >= 2)])
    if not paired.shape[0]:
        return Agreement(np.nan, np.nan, np.nan, 0)
    # Items with equal counts are one: a bootstrap over items is a multinomial draw over them.
    items = distinct_rows(paired)
    sizes = np.asarray(items.matrix.sum(axis=1))
    agreeing = np.asarray(items.matrix.power(2).sum(axis=1))
    disagreeing = (sizes**2 - agreeing) / (sizes - 1)

    def alpha(weights: FloatArray) -> FloatArray:
        by_class = weights @ items.matrix
        n = by_class.sum(axis=1)
        observed = weights @ disagreeing / n
        expected = (n**2 - (by_class**2).sum(axis=1)) / (n * (n - 1))
        result: FloatArray = np.divide(observed, expected, out=np.zeros_like(n), where=expected > 0)
        return 1 - result

    random = np.random.default_rng(random_state)
    n_items = int(items.counts.sum())
    chunk = max(1, 4_000_000 // len(items.counts))  # at most 32 MB of draws at a time
    drawn = [
        alpha(random.multinomial(n_items, items.counts / n_items, size=min(chunk, n_bootstrap - start)).astype(float))
        for start in range(0, n_bootstrap, chunk)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Agreement(float(alpha(items.counts[None, :].astype(float))[0]), float(low), float(high), n_items)
