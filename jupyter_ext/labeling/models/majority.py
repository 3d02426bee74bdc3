"""Majority vote: every vote counts the same."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import sparse

from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.votes import FloatArray, Patterns, VoteMatrix


class MajorityVote(LabelModel):
    """A class is as probable as its share of the row's votes.

    A tie goes to the class whose voters agree more with the other voters elsewhere. A row without votes gets the prior:
    ``class_prior``, or else the mean share over the covered rows.

    Examples
    --------
    >>> votes = VoteMatrix.from_dense([[0, 0, 1], [1, 1, -1], [-1, -1, -1]])
    >>> model = MajorityVote(votes)
    >>> model.predict_proba(votes).round(3).tolist()
    [[0.667, 0.333], [0.0, 1.0], [0.333, 0.667]]
    >>> model.predict(votes).tolist()
    [0, 1, -1]
    """

    method: ClassVar[str] = "majority"

    def __init__(
        self,
        votes: VoteMatrix,
        *,
        class_prior: FloatArray | None = None,
        patterns: Patterns | None = None,
        reason: str = "asked for",
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(votes)
        patterns = patterns or votes.patterns()
        balance = majority_balance(patterns, self.n_classes)
        self.class_prior_ = balance if class_prior is None else class_prior
        self._agreement = agreement_with_others(patterns, votes.shape[1])
        self.params = {"class_prior": None if class_prior is None else class_prior.tolist()}
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple(balance.tolist()),
            notes=notes,
        )

    def preference(self, rows: sparse.csr_array) -> FloatArray:
        """Return the summed agreement of each class's voters, shape (rows, k)."""
        return class_sums(rows, self.n_classes, self._agreement[rows.indices])

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        return vote_shares(rows, self.n_classes)

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        votes = row.data.astype(int) - 1
        weight = (votes == first).astype(float) - (votes == second)
        return [(self.voters[j], int(vote), float(w)) for j, vote, w in zip(row.indices, votes, weight, strict=True)]


def class_sums(rows: sparse.csr_array, n_classes: int, weights: FloatArray) -> FloatArray:
    """Sum the weight of each vote by row and class, shape (rows, k)."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    cells = row * n_classes + rows.data.astype(np.int64) - 1
    sums = np.bincount(cells, weights, rows.shape[0] * n_classes).astype(np.float64)
    return sums.reshape(rows.shape[0], n_classes)


def vote_shares(rows: sparse.csr_array, n_classes: int) -> FloatArray:
    """Return each class's share of a row's votes, shape (rows, k); zeros for a row without votes."""
    sums = class_sums(rows, n_classes, np.ones(rows.nnz))
    sums /= np.maximum(np.diff(rows.indptr), 1)[:, None]
    return sums


def majority_balance(patterns: Patterns, n_classes: int) -> FloatArray:
    """Return the mean vote share of each class over the covered rows, shape (k,)."""
    lengths = np.diff(patterns.matrix.indptr)
    weights = np.repeat(patterns.counts / np.maximum(lengths, 1), lengths)
    balance = np.bincount(patterns.matrix.data.astype(np.int64) - 1, weights, n_classes).astype(np.float64)
    return balance / max(float(balance.sum()), 1.0)


def agreement_with_others(patterns: Patterns, n_voters: int) -> FloatArray:
    """Return how often others on the same row say what a voter says, shape (m,), shrunk to 1/2 by one vote each way."""
    rows = patterns.matrix
    lengths = np.diff(rows.indptr)
    row = np.repeat(np.arange(rows.shape[0]), lengths)
    pair = row * (int(rows.data.max(initial=0)) + 1) + rows.data
    _, kind, same = np.unique(pair, return_inverse=True, return_counts=True)
    others = lengths[row] - 1
    seen = others > 0
    share = (same[kind][seen] - 1) / others[seen]
    weight = patterns.counts[row][seen].astype(float)
    voter = rows.indices[seen]
    agreed = np.bincount(voter, weight * share, n_voters)
    rate: FloatArray = (agreed + 1) / (np.bincount(voter, weight, n_voters) + 2)
    return rate
