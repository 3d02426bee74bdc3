"""Weighted majority vote: every voter counts by how often the consensus, or a known answer, agrees with it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import sparse

from jupyter_ext.labeling.dependencies import Repeats, find_repeats
from jupyter_ext.labeling.models._fitting import clamp, gold_of_patterns, normalised
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
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        known = gold_of_patterns(gold, patterns.inverse, rows.shape[0])
        given = np.bincount(rows.indices, weight[row], votes.shape[1])
        q = class_sums(rows, k, repeats.weights[rows.indices])
        q /= np.maximum(q.sum(axis=1, keepdims=True), 1e-300)
        converged, n_iterations = False, 0
        while not converged and n_iterations < max_iterations:
            n_iterations += 1
            clamp(q, known)
            right = np.bincount(rows.indices, weight[row] * q[row, rows.data - 1], votes.shape[1])
            accuracy = (right + _RIGHT) / (given + _RIGHT + _WRONG)
            # A voter below chance is not turned round: it decides where nobody else votes, and nowhere else.
            self.weights_ = np.maximum(np.log(accuracy * (k - 1) / (1 - accuracy)), LEAST) * repeats.weights
            before, q = q.argmax(axis=1), self._proba(rows)
            converged = bool((before == q.argmax(axis=1)).all())
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple((weight @ q / weight.sum()).tolist()),
            n_iterations=n_iterations,
            converged=converged,
            notes=repeats.notes,
        )

    def _proba(self, rows: sparse.csr_array) -> FloatArray:
        scores = class_sums(rows, self.n_classes, self.weights_[rows.indices]) + self._log_prior
        return normalised(scores)[0]

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        return self._proba(rows)

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        lines = [("(prior)", ABSTAIN, float(self._log_prior[first] - self._log_prior[second]))]
        for j, stored in zip(row.indices, row.data, strict=True):
            vote = int(stored) - 1
            lines.append((self.voters[j], vote, float(self.weights_[j]) * ((vote == first) - (vote == second))))
        return lines
