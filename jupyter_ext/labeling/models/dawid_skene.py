"""Dawid-Skene: every voter has a confusion matrix of its own, found by EM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from jupyter_ext.labeling.cells import Cells
from jupyter_ext.labeling.models._fitting import clamp, collapse_notes, gold_of_patterns, normalised
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import majority_balance, vote_shares
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix


class DawidSkene(LabelModel):
    r"""Voter ``j`` votes ``s`` on a row of class ``c`` with probability ``theta_j[c, s]``, independently of the others.

    E step: ``log q_ic ∝ log pi_c + Σ_j log theta_j[c, L_ij]``.
    M step: ``theta_j[c, s] ∝ Σ_i q_ic [L_ij = s] + smoothing`` and ``pi = mean q``.

    The fit runs over distinct vote patterns with their counts, in logarithms, starting from the majority vote. Where a
    voter's silence is a symbol (functions), it is one more value of ``s``; where it is missing (people), the row tells
    nothing of that voter. The all-silent row is the base of each likelihood, so that only votes cost time.

    Parameters
    ----------
    votes
        What to fit on.
    symbol
        Of each voter, whether silence is a symbol, shape (m,).
    class_prior
        Known shares of the classes, shape (k,); estimated without.
    gold
        Known answers, shape (n,), -1 where unknown. They hold their rows' class fixed.

    References
    ----------
    A. P. Dawid, A. M. Skene. Maximum likelihood estimation of observer error-rates using the EM algorithm.
    Journal of the Royal Statistical Society C 28(1), 1979, equations 2.3 to 2.5.
    """

    method: ClassVar[str] = "dawid_skene"

    def __init__(
        self,
        votes: VoteMatrix,
        *,
        symbol: npt.NDArray[np.bool_],
        class_prior: FloatArray | None = None,
        gold: IntArray | None = None,
        smoothing: float = 0.01,
        max_iterations: int = 500,
        tolerance: float = 1e-7,
        reason: str = "asked for",
    ) -> None:
        super().__init__(votes)
        self.params = {
            "class_prior": None if class_prior is None else class_prior.tolist(),
            "smoothing": smoothing,
            "silence_is_a_symbol": symbol.tolist(),
            "n_gold": 0 if gold is None else int((gold != ABSTAIN).sum()),
        }
        patterns = votes.patterns(gold)
        known = gold_of_patterns(gold, patterns.inverse, len(patterns.counts))
        covered = np.diff(patterns.matrix.indptr) > 0
        self._symbol = symbol
        self._cells = Cells(patterns.matrix, self.n_classes)
        onehot = self._cells.onehot(patterns.matrix)
        weight = patterns.counts.astype(np.float64)

        balance = majority_balance(patterns, self.n_classes)
        q = vote_shares(patterns.matrix, self.n_classes)
        q[~covered] = balance if class_prior is None else class_prior
        previous = -np.inf
        converged, n_iterations = False, 0
        for _ in range(max_iterations):
            n_iterations += 1
            clamp(q, known)
            self._maximise(onehot, weight[:, None] * q, class_prior, smoothing)
            before = q
            q, evidence = normalised(onehot @ self._log_theta + self._log_base)
            likelihood = float(weight @ evidence) / weight.sum()
            converged = self._settled(before, q, likelihood - previous, tolerance)
            previous = likelihood
            if converged:
                break
        self.class_prior_ = np.exp(self._log_prior)
        self.given_up = collapse_notes(weight * covered, q, balance)
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple(((weight * covered) @ q / max(float(weight @ covered), 1.0)).tolist()),
            n_iterations=n_iterations,
            converged=converged,
            log_likelihood=likelihood * float(weight.sum()),
            notes=self.given_up,
        )

    def confusion(self, voter: str) -> FloatArray:
        """Return the estimated ``theta`` of a voter: true class by vote, shape (k, k + 1), the last column for silence.

        Votes that never occurred have 0; where silence is missing data the last column is 0.
        """
        j = self.voters.index(voter)
        theta = np.zeros((self.n_classes, self.n_classes + 1))
        mine = np.flatnonzero(self._cells.voter == j)
        theta[:, self._cells.of_class[mine]] = np.exp(self._log_theta[mine] + self._log_silence[j]).T
        if self._symbol[j]:
            theta[:, -1] = np.exp(self._log_silence[j])
        return theta

    @staticmethod
    def _settled(before: FloatArray, after: FloatArray, gain: float, tolerance: float) -> bool:
        """Whether EM may stop: the likelihood a row hardly changes."""
        return abs(gain) < tolerance

    def _maximise(
        self, onehot: sparse.csr_array, q: FloatArray, class_prior: FloatArray | None, smoothing: float
    ) -> None:
        k, total = self.n_classes, q.sum(axis=0)
        prior = (total + smoothing) / (total + smoothing).sum() if class_prior is None else class_prior
        self._log_prior = np.log(np.maximum(prior, 1e-300))
        counts = onehot.T @ q
        voter = self._cells.voter
        voted = np.zeros((len(self.voters), k))
        np.add.at(voted, voter, counts)
        silent = np.maximum(total - voted, 0.0)
        symbol = self._symbol[:, None]
        normaliser = np.where(symbol, total + smoothing * (k + 1), voted + smoothing * k)
        # Silence costs nothing where it is missing data: its factor is 1 for every class.
        self._log_silence = np.where(symbol, np.log((silent + smoothing) / normaliser), 0.0)
        self._log_theta = np.log((counts + smoothing) / normaliser[voter]) - self._log_silence[voter]
        self._log_base = self._log_prior + self._log_silence.sum(axis=0)

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        return normalised(self._cells.onehot(rows) @ self._log_theta + self._log_base)[0]

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        votes = {int(j): int(vote) - 1 for j, vote in zip(row.indices, row.data, strict=True)}
        cells = dict(zip(row.indices.tolist(), self._cells.numbers(row).tolist(), strict=True))
        gain = self._log_theta[:, first] - self._log_theta[:, second]
        silence = self._log_silence[:, first] - self._log_silence[:, second]
        lines = [("(prior)", ABSTAIN, float(self._log_prior[first] - self._log_prior[second]))]
        for j, name in enumerate(self.voters):
            if j in votes:
                lines.append((name, votes[j], float(silence[j] + (gain[cells[j]] if cells[j] >= 0 else 0.0))))
            elif self._symbol[j]:
                lines.append((name, ABSTAIN, float(silence[j])))
        return lines
