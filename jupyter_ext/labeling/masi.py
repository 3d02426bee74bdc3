"""Agreement on sets of labels: Krippendorff's alpha with the MASI distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.quality import Agreement
from jupyter_ext.labeling.votes import FloatArray, IntArray, VoteMatrix, distinct_rows

_CHUNK_CELLS = 4_000_000  # 32 MB


def masi_agreement(
    votes: Sequence[VoteMatrix], confidence: float = 0.95, *, n_bootstrap: int = 1000, random_state: int = 0
) -> Agreement:
    """Return how far voters agree on the sets of labels of rows: ``1 - D_o / D_e`` over all pairs of voters of a row.

    The distance of two sets is :func:`masi_distance` [1]_. A voter who voted on any label of a row gave the set of
    those they said yes to.

    Parameters
    ----------
    votes
        For each label a matrix of two classes, 0 no and 1 yes, all of the same n rows and m voters.
    confidence
        Of the interval, a percentile bootstrap over rows that holds the expected disagreement fixed, as [2]_ does.
    n_bootstrap, random_state
        How many samples the interval rests on, and their seed.

    Returns
    -------
    Agreement
        ``value``, ``low``, ``high``, ``n_items``. All NaN when no row has two voters; 1.0 when all sets are equal.

    Raises
    ------
    Invalid
        No label, labels of different rows or voters, a confidence outside of 0 to 1, or no sample.

    References
    ----------
    .. [1] R. Passonneau. Measuring agreement on set-valued items (MASI) for semantic and pragmatic annotation. LREC
       2006.
    .. [2] A. F. Hayes, K. Krippendorff. Answering the call for a standard reliability measure for coding data.
       Communication Methods and Measures 1(1), 2007.

    Examples
    --------
    >>> spam = VoteMatrix.from_dense([[1, 1], [0, 0], [1, 1]])
    >>> rude = VoteMatrix.from_dense([[0, 0], [1, 1], [1, 0]])
    >>> round(masi_agreement([spam, rude]).value, 3)
    0.643
    """
    if len({(matrix.shape, matrix.voters) for matrix in votes}) != 1:
        raise Invalid("Agreement on sets needs one label or more, all of the same rows and voters.")
    if any(matrix.n_classes != 2 for matrix in votes):
        raise Invalid("A label is voted on by 0 (no) or 1 (yes): each matrix must have two classes.")
    if not 0 < confidence < 1:
        raise Invalid(f"The confidence must lie between 0 and 1, not {confidence}.")
    if n_bootstrap < 1:
        raise Invalid(f"The interval needs one sample or more, not {n_bootstrap}.")
    sets, items, counts = _sets(votes)
    if not len(counts):
        return Agreement(np.nan, np.nan, np.nan, 0)
    sizes = np.asarray(items.sum(axis=1), dtype=np.float64)
    disagreeing = _disagreement(sets, items) / (sizes - 1)
    by_set = np.asarray(counts @ items, dtype=np.float64)
    n = by_set.sum()
    expected = _expected_disagreement(sets, by_set) / (n * (n - 1))

    def alpha(weights: FloatArray) -> FloatArray:
        observed = weights @ disagreeing / (weights @ sizes)
        return np.asarray(1 - observed / expected if expected > 0 else np.ones(len(weights)))

    random = np.random.default_rng(random_state)
    total = int(counts.sum())
    chunk = max(1, _CHUNK_CELLS // len(counts))
    drawn = [
        alpha(random.multinomial(total, counts / total, size=min(chunk, n_bootstrap - start)).astype(float))
        for start in range(0, n_bootstrap, chunk)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Agreement(float(alpha(counts[None, :].astype(float))[0]), float(low), float(high), total)


def masi_distance(shared: npt.ArrayLike, one: npt.ArrayLike, other: npt.ArrayLike) -> FloatArray:
    """Return the MASI distance of sets of sizes ``one`` and ``other`` with ``shared`` elements in common.

    ``1 - |A ∩ B| / |A ∪ B| * M``, where M is 1 for equal sets, 2/3 where one lies in the other, 1/3 where they have
    something else in common, and 0 where nothing (Passonneau 2006). Two empty sets are equal.

    Examples
    --------
    >>> masi_distance([2, 1, 1, 0, 0], [2, 1, 2, 1, 0], [2, 2, 2, 1, 0]).round(3).tolist()
    [0.0, 0.667, 0.889, 1.0, 0.0]
    """
    both, a, b = (np.asarray(size, dtype=np.float64) for size in (shared, one, other))
    union = a + b - both
    jaccard = np.divide(both, union, out=np.ones_like(union), where=union > 0)
    alike = np.select([both == union, both == np.minimum(a, b), both > 0], [1.0, 2 / 3, 1 / 3], 0.0)
    return np.asarray(1 - jaccard * alike)


def _sets(matrices: Sequence[VoteMatrix]) -> tuple[sparse.csr_array, sparse.csr_array, IntArray]:
    """Return the distinct sets (s, l), the distinct rows as counts of sets (u, s), and how often each is there (u,).

    Rows that fewer than two voters voted about are left out.
    """
    n, m = matrices[0].shape
    asked, chosen, label = [], [], []
    for k, matrix in enumerate(matrices):
        rows = matrix.rows
        place = np.repeat(np.arange(n), np.diff(rows.indptr)) * m + rows.indices
        asked.append(place)
        chosen.append(place[rows.data == 2])
        label.append(np.full(len(chosen[-1]), k))
    answers = np.unique(np.concatenate(asked))
    yes = np.searchsorted(answers, np.concatenate(chosen)), np.concatenate(label)
    by_answer = sparse.csr_array((np.ones(len(yes[0]), np.int64), yes), shape=(len(answers), len(matrices)))
    sets = distinct_rows(by_answer)
    row = answers // m
    cells = np.ones(len(row), np.int64), (row, sets.inverse)
    by_row = sparse.csr_array(cells, shape=(n, sets.matrix.shape[0]))
    by_row.sum_duplicates()
    paired = np.flatnonzero(np.bincount(row, minlength=n) >= 2)
    items = distinct_rows(sparse.csr_array(by_row[paired]))
    return sets.matrix, items.matrix, items.counts


def _disagreement(sets: sparse.csr_array, items: sparse.csr_array) -> FloatArray:
    """Return the sum of the distances of all ordered pairs of answers of each item, shape (u,)."""
    size = np.diff(sets.indptr)
    different = np.diff(items.indptr).astype(np.int64)
    total = np.zeros(items.shape[0])
    # An item of many different answers has many pairs, so items come in parts.
    part = np.cumsum(different**2) // _CHUNK_CELLS
    for some in np.split(np.arange(len(part)), np.flatnonzero(np.diff(part)) + 1):
        times = np.repeat(different[some], different[some])
        one = np.repeat(np.arange(items.indptr[some[0]], items.indptr[some[-1] + 1]), times)
        item = np.repeat(some, different[some] ** 2)
        start = np.cumsum(times) - times
        other = items.indptr[item] + np.arange(len(one)) - np.repeat(start, times)
        a, b = items.indices[one], items.indices[other]
        shared = np.asarray(sets[a].multiply(sets[b]).sum(axis=1)).ravel()
        distance = masi_distance(shared, size[a], size[b])
        total += np.bincount(item, items.data[one] * items.data[other] * distance, len(total))
    return total


def _expected_disagreement(sets: sparse.csr_array, by_set: FloatArray) -> float:
    """Return the sum of the distances of all ordered pairs of answers, of whatever row."""
    sizes, size = np.unique(np.diff(sets.indptr), return_inverse=True)
    # Pairs are many and their distances few.
    distance = masi_distance(np.arange(sizes.max() + 1)[:, None, None], sizes[:, None], sizes[None, :])
    total = 0.0
    chunk = max(1, _CHUNK_CELLS // len(by_set))
    for start in range(0, len(by_set), chunk):
        some, later = slice(start, start + chunk), slice(start, None)
        shared = (sets[some] @ sets[later].T).toarray()
        times = 2 * by_set[later]  # one with the other, and the other with the one
        times[:chunk] = by_set[some]
        total += float(by_set[some] @ distance[shared, size[some, None], size[None, later]] @ times)
    return total
