"""Dawid-Skene over several yes-or-no questions at once: what a voter is like on the others steadies each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import expit, gammaln

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.models._fitting import collapse_notes
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import majority_balance
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix

#: Pseudo-votes of every voter, all questions together, that are right and wrong for each true answer.
_RIGHT, _WRONG = 4.0, 1.0
#: The least and the most votes that a voter's other questions are worth on each. Where they are alike the likelihood
#: alone would let them count without end.
_LEAST, _MOST = 1.0, 128.0


def fit_pooled(
    votes: Sequence[VoteMatrix],
    *,
    class_prior: FloatArray | None = None,
    gold: IntArray | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-3,
    reason: str = "asked for",
) -> list[PooledDawidSkene]:
    r"""Fit one model a question, (0 no, 1 yes), with each voter's reliability shared between the questions.

    Voter ``j`` answers ``s`` to question ``l`` where the truth is ``c`` with probability ``theta_jl[c, s]``, and
    ``theta_jl[c] ~ Dir(kappa mu_j[c])``: around the voter's own mean, as a hierarchical Dawid-Skene model has it around
    the mean of all voters [1]_. EM alternates, from the majority vote on:

    - ``theta_jl[c] ∝ n_jl[c] + kappa mu_j[c]``, where ``n`` counts votes by the probability of the truth;
    - ``mu_j[c] ∝ Σ_l n_jl[c] + (4 right, 1 wrong)``;
    - ``kappa`` is doubled or halved where that makes the counts likelier (Dirichlet-multinomial [2]_); it is large
      where voters are alike on all questions, and small where each question has its own experts;
    - the probability of yes, by Bayes, with the question's own share of yes as the prior (and one pseudo-row each way).

    Silence tells nothing.

    Parameters
    ----------
    votes
        A matrix of two classes for each of the l questions, all over the same n rows and m voters.
    class_prior
        Known shares of yes, shape (l,).
    gold
        Known answers, shape (n, l), -1 where unknown; held fixed.
    max_iterations, tolerance
        EM ends when no probability moves by more than ``tolerance``.
    reason
        For the reports.

    Returns
    -------
    list of PooledDawidSkene
        One for each question.

    Raises
    ------
    Invalid
        No matrix, other than two classes, or matrices of different rows or voters.

    References
    ----------
    .. [1] S. Paun, B. Carpenter, J. Chamberlain, D. Hovy, U. Kruschwitz, M. Poesio. Comparing Bayesian models of
       annotation. TACL 6, 2018: the partially pooled models.
    .. [2] T. P. Minka. Estimating a Dirichlet distribution. Technical report, 2000.

    Examples
    --------
    >>> votes = [VoteMatrix.from_dense([[0, 0, 1], [1, 1, 0], [0, -1, 0]], kind="person")] * 2
    >>> one, other = fit_pooled(votes)
    >>> one.predict(votes[0]).tolist()
    [0, 1, 0]
    """
    if not votes:
        raise Invalid("There is no vote matrix to fit on.")
    if any(matrix.shape != votes[0].shape or matrix.voters != votes[0].voters for matrix in votes):
        raise Invalid("The matrices of all questions must have the same rows and the same voters.")
    if any(matrix.n_classes != 2 for matrix in votes):
        raise Invalid("Questions are answered by 0 (no) or 1 (yes): each matrix must have two classes.")
    n, m = votes[0].shape
    questions = len(votes)
    lengths = [np.diff(matrix.rows.indptr) for matrix in votes]
    # All votes in one list: its item is a row of a question, its cell a question, a voter and an answer.
    item = np.repeat(np.arange(questions * n), np.concatenate(lengths))
    said_yes = np.concatenate([matrix.rows.data == 2 for matrix in votes])
    voter = np.concatenate([k * m + matrix.rows.indices.astype(np.int64) for k, matrix in enumerate(votes)])
    cell = 2 * voter + said_yes
    given = np.bincount(cell, minlength=questions * m * 2)
    covered = np.concatenate(lengths) > 0
    weight = covered.reshape(questions, n)
    known = np.full(questions * n, ABSTAIN) if gold is None else gold.T.ravel()

    q = np.bincount(item, said_yes, questions * n) / np.maximum(np.concatenate(lengths), 1)
    kappa, converged, n_iterations = 16.0, False, 0
    while not converged and n_iterations < max_iterations:
        n_iterations += 1
        q = np.where(known == ABSTAIN, q, known)
        for_yes = np.bincount(cell, q[item], questions * m * 2)
        counts = np.stack([given - for_yes, for_yes]).reshape(2, questions, m, 2).transpose(1, 2, 0, 3)
        mu = _shares(counts.sum(axis=0) + np.array([[_RIGHT, _WRONG], [_WRONG, _RIGHT]]))
        kappa = max(
            (near for near in (kappa / 2, kappa, kappa * 2) if _LEAST <= near <= _MOST),
            key=lambda near: _evidence(counts, near * mu),
        )
        theta = _shares(counts + kappa * mu)
        if class_prior is None:
            share = ((weight * q.reshape(questions, n)).sum(axis=1) + 1) / (weight.sum(axis=1) + 2)
        else:
            share = class_prior
        before = q
        gain = np.log(theta[:, :, 1] / theta[:, :, 0]).ravel()
        q = expit(np.bincount(item, gain[cell], questions * n) + np.repeat(_log_odds(share), n))
        moved = np.abs(q - before)[covered & (known == ABSTAIN)]
        converged = bool(moved.max(initial=0.0) < tolerance)
    by_label = q.reshape(questions, n)
    params = {"kappa": kappa, "n_questions": questions}
    models = []
    for k, matrix in enumerate(votes):
        patterns = matrix.patterns()
        proba = np.stack([1 - by_label[k], by_label[k]], axis=1)
        report = FitReport(
            method=PooledDawidSkene.method,
            reason=reason,
            n_rows=n,
            n_covered=int(weight[k].sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple((weight[k] @ proba / max(float(weight[k].sum()), 1.0)).tolist()),
            n_iterations=n_iterations,
            converged=converged,
            notes=collapse_notes(weight[k].astype(np.float64), proba, majority_balance(patterns, 2)),
        )
        mine = {**params, "class_prior": None if class_prior is None else float(class_prior[k])}
        models.append(PooledDawidSkene(matrix, theta[k], float(share[k]), report, mine))
    return models


class PooledDawidSkene(LabelModel):
    """One question's part of what :func:`fit_pooled` found: ``theta`` (m, 2 true, 2 answers) and the share of yes."""

    method: ClassVar[str] = "pooled"

    def __init__(
        self, votes: VoteMatrix, theta: FloatArray, share: float, report: FitReport, params: dict[str, Any]
    ) -> None:
        super().__init__(votes)
        self._theta = theta
        self.class_prior_ = np.array([1 - share, share])
        self.report = report
        self.given_up = report.notes
        self.params = params

    def confusion(self, voter: str) -> FloatArray:
        """Return the estimated ``theta`` of a voter: truth by vote, shape (2, 3), the last column (silence) 0."""
        if voter not in self.voters:
            raise Invalid(f"There is no voter {voter!r}.")
        return np.pad(self._theta[self.voters.index(voter)], [(0, 0), (0, 1)])

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        odds = np.bincount(row, self._gain(rows), rows.shape[0]) + _log_odds(self.class_prior_[1])
        yes = expit(odds)
        return np.stack([1 - yes, yes], axis=1)

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        sign = first - second
        lines = [("(prior)", ABSTAIN, sign * float(_log_odds(self.class_prior_[1])))]
        for j, stored, gain in zip(row.indices, row.data, self._gain(row), strict=True):
            lines.append((self.voters[j], int(stored) - 1, sign * float(gain)))
        return lines

    def _gain(self, rows: sparse.csr_array) -> FloatArray:
        """Return what each vote adds to the logarithm of the odds of yes."""
        theta = self._theta[rows.indices, :, rows.data - 1]
        return np.asarray(np.log(theta[:, 1] / theta[:, 0]))


def _evidence(counts: FloatArray, alpha: FloatArray) -> float:
    """Return the log-likelihood of counts, (l, m, 2, 2), drawn from Dirichlet priors ``alpha``, (m, 2, 2)."""
    cells = gammaln(counts + alpha) - gammaln(alpha)
    whole = alpha.sum(axis=-1)
    return float(cells.sum() - (gammaln(counts.sum(axis=-1) + whole) - gammaln(whole)).sum())


def _shares(counts: FloatArray) -> FloatArray:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def _log_odds(share: npt.ArrayLike) -> FloatArray:
    yes = np.clip(share, 1e-300, None), np.clip(1 - np.asarray(share), 1e-300, None)
    return np.asarray(np.log(yes[0]) - np.log(yes[1]))
