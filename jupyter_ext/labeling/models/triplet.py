"""Triplets: accuracies in closed form from how often each two of three voters agree; new rows only add counts."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import majority_balance
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, VoteMatrix

#: Pairs that met on fewer rows tell nothing; no voter is believed to be right more often than this.
_ENOUGH_ROWS, _SUREST = 10, 0.95
#: Pair counts take ``classes x voters^2`` numbers, and triplets ``voters^3`` time.
_MOST_VOTERS = 500


class Triplet(LabelModel):
    r"""For each class against the rest a vote is ``+1`` or ``-1``, and ``a_j = E[vote * truth]`` where ``j`` votes.

    If voters err independently, ``E[v_i v_j] = a_i a_j``, so ``|a_i| = sqrt(|M_ij M_ik / M_jk|)`` for any two others;
    the median over all of them counts, and voters are taken to be better than chance. A vote adds
    ``log((1 + a) / (1 - a))``. Only pair counts are kept: :meth:`update` takes more rows at any time.

    Two functions of one class each agree or disagree for ever, so triplets tell nothing of them; they count as sure.

    Parameters
    ----------
    votes
        What to fit on.
    class_prior
        Known shares of the classes, shape (k,); the majority's without.

    Raises
    ------
    Invalid
        There are fewer than three voters, or more than 500.

    References
    ----------
    D. Fu, M. Chen, F. Sala, S. Hooper, K. Fatahalian, C. Ré. Fast and three-rious: speeding up weak supervision with
    triplet methods. ICML 2020, algorithm 1.

    Examples
    --------
    >>> votes = VoteMatrix.from_dense([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]] * 10)
    >>> model = Triplet(votes)
    >>> model.update(votes)
    >>> model.report.n_rows, model.predict(votes)[:4].tolist()
    (80, [0, 1, 0, 1])
    """

    method: ClassVar[str] = "triplet"

    def __init__(self, votes: VoteMatrix, *, class_prior: FloatArray | None = None, reason: str = "asked for") -> None:
        super().__init__(votes)
        m, k = votes.shape[1], self.n_classes
        if not 3 <= m <= _MOST_VOTERS:
            raise Invalid(f"Triplets need from 3 to {_MOST_VOTERS} voters, not {m}.")
        self.params = {"class_prior": None if class_prior is None else class_prior.tolist()}
        self._given_prior = class_prior
        self._met = np.zeros((m, m))
        self._products = np.zeros((1 if k == 2 else k, m, m))
        self._votes_of_class = np.zeros(k)
        self.report = FitReport(self.method, reason, 0, 0, 0, ())
        self.update(votes)

    def update(self, votes: VoteMatrix) -> None:
        """Add the votes of more rows, of the same voters, and find the accuracies anew."""
        matrix = self._known(votes)
        patterns = matrix.patterns()
        rows, weight = patterns.matrix, patterns.counts.astype(np.float64)
        said = sparse.csr_array((np.ones(rows.nnz), rows.indices, rows.indptr), shape=rows.shape)
        scaled = sparse.csr_array(sparse.diags_array(weight) @ said)
        self._met += (said.T @ scaled).toarray()
        for c in range(len(self._products)):
            signs = np.where(rows.data == c + 1, 1.0, -1.0)
            signed = sparse.csr_array((signs, rows.indices, rows.indptr), shape=rows.shape)
            self._products[c] += (signed.T @ sparse.csr_array(sparse.diags_array(weight) @ signed)).toarray()
        covered = int(matrix.covered.sum())
        self._votes_of_class += covered * majority_balance(patterns, self.n_classes)
        balance = self._votes_of_class / max(self._votes_of_class.sum(), 1.0)
        self.class_prior_ = balance if self._given_prior is None else self._given_prior
        self.accuracies_ = np.stack([_accuracies(products, self._met) for products in self._products])
        self.report = replace(
            self.report,
            n_rows=self.report.n_rows + matrix.shape[0],
            n_covered=self.report.n_covered + covered,
            n_patterns=self.report.n_patterns + len(patterns.counts),
            class_balance=tuple(balance.tolist()),
        )

    def _logits(self, rows: sparse.csr_array) -> FloatArray:
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        prior = np.clip(self.class_prior_, 1e-6, 1 - 1e-6)
        columns = []
        for c, weights in enumerate(np.log((1 + self.accuracies_) / (1 - self.accuracies_))):
            signs = np.where(rows.data == c + 1, 1.0, -1.0)
            sums = np.bincount(row, signs * weights[rows.indices], rows.shape[0])
            columns.append(sums + np.log(prior[c] / (1 - prior[c])))
        return np.stack(columns, axis=1)

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        logits = self._logits(rows)
        # Each class against the rest; the odds of several add up to more or less than one.
        odds = np.hstack([logits, -logits]) if self.n_classes == 2 else np.minimum(logits, 700.0)
        yes = 1 / (1 + np.exp(-np.clip(odds, -700.0, 700.0)))
        return np.asarray(yes / yes.sum(axis=1, keepdims=True))

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        weights = np.log((1 + self.accuracies_) / (1 - self.accuracies_))
        of = [0, 0] if self.n_classes == 2 else [first, second]
        prior = np.log(np.maximum(self.class_prior_, 1e-12))
        lines = [("(prior)", ABSTAIN, float(prior[first] - prior[second]))]
        for j, stored in zip(row.indices, row.data, strict=True):
            vote = int(stored) - 1
            moved = weights[of[0], j] * (vote == first) - weights[of[1], j] * (vote == second)
            lines.append((self.voters[j], vote, float(moved)))
        return lines


def _accuracies(products: FloatArray, met: FloatArray) -> FloatArray:
    """Return ``E[vote * truth]`` of each voter, shape (m,), from sums of products and counts of pairs, (m, m)."""
    m = len(met)
    moments = np.where(met >= _ENOUGH_ROWS, products / np.maximum(met, 1), np.nan)
    np.fill_diagonal(moments, np.nan)
    # The smallest moment that differs from none: below it a quotient is noise.
    moments = np.where(np.abs(moments) < 1 / np.sqrt(np.maximum(met, 1.0)), np.nan, moments)
    found = np.full(m, np.nan)
    for i in range(m):
        with np.errstate(invalid="ignore", divide="ignore"):
            triplets = np.sqrt(np.abs(np.outer(moments[i], moments[i]) / moments))
        usable = triplets[np.isfinite(triplets)]
        if len(usable):
            found[i] = np.median(usable)
    # Who could not be judged counts as the middle one of those who could.
    middle = np.nanmedian(found) if np.isfinite(found).any() else 0.5
    return np.clip(np.where(np.isfinite(found), found, middle), 0.01, _SUREST)
