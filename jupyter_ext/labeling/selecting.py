"""Which rows to label next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.probabilities import as_matrix, as_proba
from jupyter_ext.labeling.votes import FloatArray, IntArray, VoteMatrix, as_votes

Strategy = Literal[
    "random",
    "least_confidence",
    "margin",
    "entropy",
    "vote_disagreement",
    "density",
    "badge",
    "core_set",
    "active_lab",
]

_TINY = 1e-300
_CENTRES_AT_ONCE = 64


def select(
    n: int,
    strategy: Strategy = "margin",
    pred_probs: npt.ArrayLike | None = None,
    votes: VoteMatrix | npt.ArrayLike | None = None,
    embeddings: npt.ArrayLike | None = None,
    random_fraction: float = 0.1,
    random_state: int = 0,
) -> IntArray:
    """Choose ``n`` rows to label next, the most telling first.

    Parameters
    ----------
    n
        How many rows.
    strategy
        ===================== ============================== ====================================================
        name                  needs                          takes rows
        ===================== ============================== ====================================================
        ``random``            any of the three               by chance
        ``least_confidence``  ``pred_probs``                 whose likeliest class is least likely
        ``margin``            ``pred_probs``                 whose two likeliest classes are closest
        ``entropy``           ``pred_probs``                 with the largest entropy
        ``vote_disagreement`` ``votes``                      on which voters disagree most (vote entropy) [1]_
        ``density``           ``pred_probs, embeddings``     of large entropy that resemble many others [2]_
        ``badge``             ``pred_probs, embeddings``     of large and different gradients [3]_
        ``core_set``          ``embeddings``                 farthest from all chosen and labelled ones [4]_
        ``active_lab``        ``pred_probs, votes``          to label again or anew, whichever helps more [5]_
        ===================== ============================== ====================================================
    pred_probs
        Predicted class probabilities, shape (rows, k); out of sample where a row has labels already.
    votes
        Labels or votes so far, (rows, m voters), -1 where there is none. ``core_set`` starts from the rows that have
        one; ``active_lab`` weighs them against the model.
    embeddings
        Vectors of the rows, shape (rows, d).
    random_fraction
        The share of ``n`` (rounded) drawn by chance from all rows, which keeps an unbiased sample to measure on. They
        are the last of the answer.
    random_state
        Seed of draws, and of the order of rows that a strategy can't tell apart.

    Returns
    -------
    array (n,)
        Distinct row numbers.

    Raises
    ------
    Invalid
        An unknown strategy, a missing input, different numbers of rows, NaN, or ``n`` beyond the number of rows.

    References
    ----------
    .. [1] I. Dagan, S. Engelson. Committee-based sampling for training probabilistic classifiers. ICML 1995.
    .. [2] B. Settles, M. Craven. An analysis of active learning strategies for sequence labeling tasks. EMNLP 2008.
    .. [3] J. Ash et al. Deep batch active learning by diverse, uncertain gradient lower bounds. ICLR 2020.
    .. [4] O. Sener, S. Savarese. Active learning for convolutional neural networks: a core-set approach. ICLR 2018.
    .. [5] H. W. Goh, J. Mueller. ActiveLab: active learning with re-labeling by multiple annotators. 2023.

    Examples
    --------
    >>> proba = [[0.9, 0.1], [0.55, 0.45], [0.7, 0.3]]
    >>> select(2, "margin", pred_probs=proba).tolist()
    [1, 2]
    """
    if strategy not in _STRATEGIES:
        raise Invalid(f"There is no strategy {strategy!r}; there are {', '.join(_STRATEGIES)}.")
    choose, needed = _STRATEGIES[strategy]
    given = {"pred_probs": pred_probs, "votes": votes, "embeddings": embeddings}
    missing = [name for name in needed if given[name] is None]
    if missing:
        raise Invalid(f"Strategy {strategy!r} needs {' and '.join(missing)}.")
    if not 0 <= random_fraction <= 1:
        raise Invalid(f"random_fraction must be from 0 to 1, not {random_fraction}.")
    pool = _pool(pred_probs, votes, embeddings)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= pool.size:
        raise Invalid(f"n must be a whole number from 1 to the number of rows, {pool.size}, not {n}.")
    random = np.random.default_rng(random_state)
    by_chance = random.choice(pool.size, round(n * random_fraction), replace=False)
    free = np.ones(pool.size, dtype=np.bool_)
    free[by_chance] = False
    return np.concatenate([choose(pool, int(n) - len(by_chance), free, random), by_chance])


@dataclass(frozen=True)
class _Pool:
    """The rows to choose from; what a strategy needs is there, the rest may be empty."""

    size: int
    proba: FloatArray
    votes: VoteMatrix | None
    embeddings: FloatArray


def _pool(
    pred_probs: npt.ArrayLike | None, votes: VoteMatrix | npt.ArrayLike | None, embeddings: npt.ArrayLike | None
) -> _Pool:
    proba = np.empty((0, 0)) if pred_probs is None else as_proba(pred_probs)
    matrix = None if votes is None else as_votes(votes)
    vectors = np.empty((0, 0)) if embeddings is None else as_matrix(embeddings, "embeddings")
    sizes = {}
    if pred_probs is not None:
        sizes["pred_probs"] = len(proba)
    if matrix is not None:
        sizes["votes"] = matrix.shape[0]
    if embeddings is not None:
        sizes["embeddings"] = len(vectors)
    if not sizes:
        raise Invalid("There are no rows to choose from; give pred_probs, votes or embeddings.")
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise Invalid(f"The inputs must have one number of rows: {shown}.")
    if matrix is not None and pred_probs is not None and matrix.n_classes > proba.shape[1]:
        raise Invalid(f"The votes have {matrix.n_classes} classes, pred_probs only {proba.shape[1]}.")
    return _Pool(next(iter(sizes.values())), proba, matrix, vectors)


_Choose = Callable[[_Pool, int, npt.NDArray[np.bool_], np.random.Generator], IntArray]


def _largest(score: Callable[[_Pool], FloatArray]) -> _Choose:
    """Turn a score into a choice: the largest first, equal ones in random order, or the first rows would always win."""

    def choose(pool: _Pool, n: int, free: npt.NDArray[np.bool_], random: np.random.Generator) -> IntArray:
        order = np.lexsort((random.random(pool.size), -score(pool)))
        first: IntArray = order[free[order]][:n]
        return first

    return choose


def _equal(pool: _Pool) -> FloatArray:
    return np.zeros(pool.size)


def _least_confidence(pool: _Pool) -> FloatArray:
    unsure: FloatArray = 1 - pool.proba.max(axis=1)
    return unsure


def _margin(pool: _Pool) -> FloatArray:
    two = np.partition(pool.proba, -2, axis=1)[:, -2:]
    closeness: FloatArray = two[:, 0] - two[:, 1]
    return closeness


def _entropy(pool: _Pool) -> FloatArray:
    return _entropy_of(pool.proba)


def _entropy_of(shares: FloatArray) -> FloatArray:
    entropy: FloatArray = -(shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
    return entropy


def _vote_disagreement(pool: _Pool) -> FloatArray:
    assert pool.votes is not None
    counts = pool.votes.class_counts()
    total = np.asarray(counts.sum(axis=1), dtype=np.float64)
    each = counts.data / np.repeat(total, np.diff(counts.indptr))
    rows = np.repeat(np.arange(pool.size), np.diff(counts.indptr))
    return np.bincount(rows, weights=-each * np.log(each), minlength=pool.size).astype(np.float64)


def _density(pool: _Pool) -> FloatArray:
    """Entropy times the mean cosine similarity to all rows, which is the product with the mean unit vector."""
    length = np.linalg.norm(pool.embeddings, axis=1, keepdims=True)
    unit = pool.embeddings / np.where(length > 0, length, 1.0)
    similarity = unit @ unit.mean(axis=0)
    # From -1..1 to 0..1: a negative factor would turn the order of entropies round.
    weighted: FloatArray = _entropy_of(pool.proba) * (1 + similarity) / 2
    return weighted


def _badge(pool: _Pool, n: int, free: npt.NDArray[np.bool_], random: np.random.Generator) -> IntArray:
    """Sample by k-means++ over the gradients of the last layer, ``(p - onehot(argmax p)) outer h``.

    The (k · d)-dimensional gradients are never made: the product of two is the product of their factors' products.
    """
    residual = pool.proba.copy()
    residual[np.arange(pool.size), pool.proba.argmax(axis=1)] -= 1
    vectors = pool.embeddings
    norms = (residual**2).sum(axis=1) * (vectors**2).sum(axis=1)
    # The first is the largest gradient: the farthest from no update at all.
    nearest = norms.copy()
    chosen: list[int] = []
    for _ in range(n):
        weights = np.where(free, nearest, 0.0)
        total = float(weights.sum())
        if not chosen and total > 0:
            pick = int(weights.argmax())
        elif total > 0:
            pick = int(random.choice(pool.size, p=weights / total))
        else:  # all that is left equals something chosen
            pick = int(random.choice(np.flatnonzero(free)))
        distance = norms + norms[pick] - 2 * (residual @ residual[pick]) * (vectors @ vectors[pick])
        distance = np.maximum(distance, 0.0)
        nearest = distance if not chosen else np.minimum(nearest, distance)
        chosen.append(pick)
        free[pick] = False
    return np.array(chosen)


def _core_set(pool: _Pool, n: int, free: npt.NDArray[np.bool_], random: np.random.Generator) -> IntArray:
    """Choose greedily the row that is farthest from its nearest centre: chosen rows and those labelled before."""
    vectors = pool.embeddings
    norms = (vectors**2).sum(axis=1)
    labelled = np.zeros(pool.size, dtype=np.bool_) if pool.votes is None else pool.votes.covered
    if (free & ~labelled).sum() < n:
        raise Invalid(f"Only {int((free & ~labelled).sum())} rows have no vote yet; {n} are asked for.")
    free &= ~labelled
    # Rows drawn by chance are centres as well: they will be labelled in the same round.
    centres = np.flatnonzero(~free)
    nearest = np.full(pool.size, np.inf)
    for start in range(0, len(centres), _CENTRES_AT_ONCE):
        some = _squared_distance(vectors, norms, centres[start : start + _CENTRES_AT_ONCE])
        nearest = np.minimum(nearest, some.min(axis=1))
    chosen: list[int] = []
    for _ in range(n):
        if np.isinf(nearest).all():  # no centre yet: the row nearest to the middle
            pick = int(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).argmin())
        else:
            pick = int(np.where(free, nearest, -1.0).argmax())
        nearest = np.minimum(nearest, _squared_distance(vectors, norms, np.array([pick]))[:, 0])
        chosen.append(pick)
        free[pick] = False
    return np.array(chosen)


def _squared_distance(vectors: FloatArray, norms: FloatArray, centres: IntArray) -> FloatArray:
    distance: FloatArray = np.maximum(norms[:, None] + norms[centres] - 2 * (vectors @ vectors[centres].T), 0.0)
    return distance


def _active_lab(pool: _Pool) -> FloatArray:
    r"""Score the doubt in each row's consensus label.

    The confidence is a weighted mean of the model's probability of the consensus, of ``1 / k`` (with the weight of an
    average voter, so that a label by few voters is not taken for sure) and of what each of the row's voters says:
    ``P`` where the vote is the consensus, ``(1 - P) / (k - 1)`` where it isn't. ``P`` is how often votes agree with the
    consensus. Voters weigh ``1 - (1 - g_j) / (1 - A)``, with ``g_j`` their agreement with others on the same rows and
    ``A`` the accuracy of always saying the commonest class; the model weighs the same with its own accuracy, times the
    root of the mean number of votes. All are measured on rows with two votes or more (on all rows with a vote, and
    against the model, where there is no such row).
    """
    assert pool.votes is not None
    n, k = pool.proba.shape
    votes = pool.votes.rows
    row = np.repeat(np.arange(n), np.diff(votes.indptr))
    voter, vote = votes.indices, votes.data.astype(np.int64) - 1
    counts = np.zeros((n, k))
    np.add.at(counts, (row, vote), 1.0)
    n_votes = counts.sum(axis=1)
    # The majority, ties to the class that the model prefers; without votes the model alone.
    consensus = (counts + 0.5 * pool.proba).argmax(axis=1)
    own: FloatArray = pool.proba[np.arange(n), consensus]
    if not len(row):
        return 1 - own

    several = n_votes >= 2
    judged = several if several.any() else n_votes >= 1
    cells = judged[row]
    agrees = vote == consensus[row]
    if several.any():
        # How many of a row's other votes are the same, pair by pair.
        same = (counts[row, vote] - 1) / np.maximum(n_votes[row] - 1, 1)
    else:
        same = (vote == pool.proba[row].argmax(axis=1)).astype(np.float64)
    m = len(pool.votes.voters)
    given = np.bincount(voter[cells], minlength=m)
    overall = float(same[cells].mean())
    # A voter of whom nothing can be measured is an average one.
    agreement = np.divide(
        np.bincount(voter[cells], weights=same[cells], minlength=m), given, out=np.full(m, overall), where=given > 0
    )
    right = float(np.bincount(row[cells], weights=agrees[cells] / n_votes[row[cells]], minlength=n)[judged].mean())
    commonest = float(np.bincount(consensus[judged], minlength=k).max() / judged.sum())
    baseline_error = max(1 - commonest, 1e-3)
    weight = np.maximum(1 - (1 - agreement) / baseline_error, 1e-4)
    accuracy = float((pool.proba.argmax(axis=1) == consensus)[judged].mean())
    model_weight = max(1 - (1 - accuracy) / baseline_error, 1e-4) * float(np.sqrt(n_votes[n_votes > 0].mean()))
    average = float(weight[np.bincount(voter, minlength=m) > 0].mean())

    said = np.where(agrees, right, (1 - right) / (k - 1))
    top = model_weight * own + average / k + np.bincount(row, weights=weight[voter] * said, minlength=n)
    confidence = top / (model_weight + average + np.bincount(row, weights=weight[voter], minlength=n))
    doubt: FloatArray = 1 - confidence
    return doubt


#: How each strategy chooses, and what it needs for that.
_STRATEGIES: dict[str, tuple[_Choose, tuple[str, ...]]] = {
    "random": (_largest(_equal), ()),
    "least_confidence": (_largest(_least_confidence), ("pred_probs",)),
    "margin": (_largest(_margin), ("pred_probs",)),
    "entropy": (_largest(_entropy), ("pred_probs",)),
    "vote_disagreement": (_largest(_vote_disagreement), ("votes",)),
    "density": (_largest(_density), ("pred_probs", "embeddings")),
    "badge": (_badge, ("pred_probs", "embeddings")),
    "core_set": (_core_set, ("embeddings",)),
    "active_lab": (_largest(_active_lab), ("pred_probs", "votes")),
}
