"""The cells of a vote matrix: pairs of a voter and a class that it votes for."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from jupyter_ext.labeling.votes import FloatArray, IntArray

#: From so many pairs of votes on, multiplying whole blocks beats walking the votes.
_MANY_PRODUCTS, _BLOCK_CELLS = 200_000_000, 8_000_000


class Cells:
    """The cells that occur in some votes, numbered: what a model with a confusion matrix for each voter is made of.

    Attributes
    ----------
    voter, of_class : array (d,)
        The voter and the class of each cell, sorted by both.

    Examples
    --------
    >>> from jupyter_ext.labeling import VoteMatrix
    >>> rows = VoteMatrix.from_dense([[0, 1], [1, -1], [0, 0]]).rows
    >>> cells = Cells(rows, 2)
    >>> cells.voter.tolist(), cells.of_class.tolist()
    ([0, 0, 1, 1], [0, 1, 0, 1])
    >>> cells.numbers(rows).tolist()
    [0, 3, 1, 0, 2]
    """

    def __init__(self, rows: sparse.csr_array, n_classes: int) -> None:
        self._n_classes = n_classes
        pairs, n_pairs = self._pairs_of(rows), rows.shape[1] * n_classes
        # Sorting the votes takes longer than counting them, but counting takes room for all pairs there could be.
        counted = n_pairs <= max(len(pairs), 1)
        self._pairs = np.flatnonzero(np.bincount(pairs, minlength=n_pairs)) if counted else np.unique(pairs)
        self.voter, self.of_class = np.divmod(self._pairs, n_classes)

    def __len__(self) -> int:
        return len(self._pairs)

    def numbers(self, rows: sparse.csr_array) -> IntArray:
        """Return the number of the cell of each stored vote of ``rows``; -1 for one that didn't occur before."""
        pairs = self._pairs_of(rows)
        if not len(self):
            return np.full(len(pairs), -1)
        place = np.minimum(np.searchsorted(self._pairs, pairs), len(self) - 1)
        return np.where(self._pairs[place] == pairs, place, -1)

    def onehot(self, rows: sparse.csr_array) -> sparse.csr_array:
        """Return which cells occur in each row, (rows, d); a vote that didn't occur before is left out."""
        return onehot(rows, self.numbers(rows), len(self))

    def _pairs_of(self, rows: sparse.csr_array) -> IntArray:
        return np.asarray(rows.indices.astype(np.int64) * self._n_classes + rows.data - 1)


def onehot(rows: sparse.csr_array, cells: IntArray, n_cells: int) -> sparse.csr_array:
    """Return which cells occur in each row, (rows, n_cells).

    ``cells`` holds the number of the cell of each stored vote of ``rows``, -1 for a vote that doesn't count.
    """
    seen = cells >= 0
    pointers = np.concatenate([[0], np.cumsum(seen)])[rows.indptr]
    return sparse.csr_array((np.ones(int(seen.sum())), cells[seen], pointers), shape=(rows.shape[0], n_cells))


def joint_counts(rows: sparse.csr_array, cells: IntArray, n_cells: int) -> FloatArray:
    """Count the rows on which two cells occur together, shape (n_cells, n_cells); ``cells`` as in :func:`onehot`."""
    occur = onehot(rows, cells, n_cells)
    lengths = np.diff(occur.indptr).astype(np.float64)
    if float(lengths @ lengths) < _MANY_PRODUCTS:
        return np.asarray((occur.T @ occur).toarray())
    counts = np.zeros((n_cells, n_cells))
    height = max(1, _BLOCK_CELLS // n_cells)
    for start in range(0, rows.shape[0], height):
        # Single precision counts exactly up to 2^24 rows, more than a block has.
        block = occur[start : start + height].astype(np.float32).toarray()
        counts += block.T @ block
    return counts
