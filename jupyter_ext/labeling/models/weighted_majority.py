"""Weighted majority vote: every voter counts by how often the consensus, or a known answer, agrees with it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jupyter_ext.labeling.dependencies import Repeats, find_repeats
from jupyter_ext.labeling.models._fitting import gold_of_patterns, normalised
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import class_sums, majority_balance
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix

#: Pseudo-votes, right and wrong, that keep a voter with few votes near the average one.
_RIGHT, _WRONG = 2.0, 1.0
#: What any vote is worth.
LEAST = 0.02


class WeightedMajority(LabelModel):
    r"""Voter ``j`` adds ``w_j = log(a_j (k - 1) / (1 - a_j))`` for the class it votes for; ``a_j`` is its accuracy.

    The accuracies and the consensus are found in turn, starting from the majority vote, until labels stay. It is the
    optimal rule for voters that err independently, equally often in every class, and are silent for no reason.
    Functions that repeat each other don't err independently: their ``w_j`` are multiplied by what their votes should
    count, so that copies weigh together what one of them would.

    Parameters
    ----------
    votes
        What to fit on.
    class_prior
        Known shares of the classes, shape (k,).
    gold
        Known answers, shape (n,), -1 where unknown. They hold their rows' class fixed.
    repeats
        The voters that repeat each other; :func:`~jupyter_ext.labeling.dependencies.find_repeats` finds them without.

    Attributes
    ----------
    weights_ : array (m,)
        What each voter adds for the class that it votes for.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = random.integers(0, 2, 2000)
    >>> L = np.where(random.random((2000, 6)) < [0.8, 0.8, 0.8, 0.6, 0.6, 0.6], truth[:, None], 1 - truth[:, None])
    >>> L[:, 4] = L[:, 5] = L[:, 3]
    >>> model = WeightedMajority(VoteMatrix.from_dense(L))
    >>> print(*model.report.notes)
    voter_3, voter_4 and voter_5 repeat each other (excess 1.00): each counts 0.33.
    >>> bool((model.predict(L) == truth).mean() > 0.89)
    True

    References
    ----------
    D. Berend, A. Kontorovich. Consistency of weighted majority votes. NIPS 2014, equation 4 for two classes.
    """

    method: ClassVar[str] = "weighted_majority"

    def __init__(
        self,
        votes: VoteMatrix,
        *,
        class_prior: FloatArray | None = None,
        gold: IntArray | None = None,
        repeats: Repeats | None = None,
        max_iterations: int = 50,
        reason: str = "asked for",
    ) -> None:
        super().__init__(votes)
        k = self.n_classes
        self.params = {
            "class_prior": None if class_prior is None else class_prior.tolist(),
            "n_gold": 0 if gold is None else int((gold != ABSTAIN).sum()),
        }
        patterns = votes.patterns(gold)
        rows, weight = patterns.matrix, patterns.counts.astype(np.float64)
        balance = majority_balance(patterns, k)
        self.class_prior_ = balance if class_prior is None else class_prior
        self._log_prior = np.zeros(k) if class_prior is None else np.log(np.maximum(class_prior, 1e-300))
        repeats = find_repeats(votes) if repeats is None else repeats
        cells = _VotedFor(rows, k)
        known = gold_of_patterns(gold, patterns.inverse, rows.shape[0])[cells.row]
        per_vote = np.repeat(weight, np.diff(rows.indptr))
        given = np.bincount(rows.indices, per_vote, votes.shape[1])
        sums = cells.sums(repeats.weights[rows.indices])
        proba, best = sums / np.bincount(cells.row, sums)[cells.row], cells.best(sums)
        converged, n_iterations = False, 0
        while not converged and n_iterations < max_iterations:
            n_iterations += 1
            proba = np.where(known == ABSTAIN, proba, known == cells.of_class)
            right = np.bincount(rows.indices, per_vote * proba[cells.of_vote], votes.shape[1])
            accuracy = (right + _RIGHT) / (given + _RIGHT + _WRONG)
            # A voter below chance is not turned round: it decides where nobody else votes, and nowhere else.
            self.weights_ = np.maximum(np.log(accuracy * (k - 1) / (1 - accuracy)), LEAST) * repeats.weights
            sums = cells.sums(self.weights_[rows.indices])
            proba, other = cells.softmax(sums, self._log_prior)
            before, best = best, cells.best(sums + self._log_prior[cells.of_class])
            converged = bool((before == best).all())
        mass = cells.mass(proba, other, self._log_prior, weight)
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple((mass / max(float(mass.sum()), 1e-300)).tolist()),
            n_iterations=n_iterations,
            converged=converged,
            notes=repeats.notes,
        )

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        return normalised(class_sums(rows, self.n_classes, self.weights_[rows.indices]) + self._log_prior)[0]

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        lines = [("(prior)", ABSTAIN, float(self._log_prior[first] - self._log_prior[second]))]
        for j, stored in zip(row.indices, row.data, strict=True):
            vote = int(stored) - 1
            lines.append((self.voters[j], vote, float(self.weights_[j]) * ((vote == first) - (vote == second))))
        return lines


class _VotedFor:
    """The classes that each row has votes for, one after the other: a fit costs what these do, not rows by classes."""

    def __init__(self, rows: sparse.csr_array, n_classes: int) -> None:
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        cells, self.of_vote = np.unique(row * n_classes + rows.data.astype(np.int64) - 1, return_inverse=True)
        self.row, self.of_class = np.divmod(cells, n_classes)
        self._starts = np.flatnonzero(np.diff(self.row, prepend=-1))
        self._place = np.cumsum(np.diff(self.row, prepend=-1) > 0) - 1

    def sums(self, per_vote: FloatArray) -> FloatArray:
        """Add up what the votes for each cell weigh."""
        return np.bincount(self.of_vote, per_vote, len(self.row)).astype(np.float64)

    def best(self, scores: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which cells are the best of their row."""
        best: npt.NDArray[np.bool_] = scores >= np.maximum.reduceat(scores, self._starts)[self._place]
        return best

    def softmax(self, sums: FloatArray, log_prior: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the probability of each cell, and of each of its row's other classes in units of the class's prior."""
        scores = sums + log_prior[self.of_class]
        top = np.maximum(np.maximum.reduceat(scores, self._starts), log_prior.max())
        voted, other = np.exp(scores - top[self._place]), np.exp(-top)
        prior = np.exp(log_prior)
        total = np.add.reduceat(voted, self._starts) + other * np.maximum(
            prior.sum() - np.add.reduceat(prior[self.of_class], self._starts), 0.0
        )
        return voted / total[self._place], (other / total)[self._place]

    def mass(self, proba: FloatArray, other: FloatArray, log_prior: FloatArray, weight: FloatArray) -> FloatArray:
        """Add up the probability of each class over the rows that have votes, (k,)."""
        prior, share = np.exp(log_prior), weight[self.row]
        everywhere = float((share * other)[self._starts].sum())
        more = np.bincount(self.of_class, share * (proba - other * prior[self.of_class]), len(prior))
        return np.asarray(everywhere * prior + more)
