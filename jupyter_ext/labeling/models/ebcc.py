"""Enhanced Bayesian classifier combination: rows of a class come in subtypes, on which voters err together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import digamma, gammaln

from jupyter_ext.labeling.cells import Cells
from jupyter_ext.labeling.models._fitting import clamp, collapse_notes, gold_of_patterns, normalised
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.ibcc import BALANCE, MOVED, RIGHT, SILENT, WRONG
from jupyter_ext.labeling.models.majority import majority_balance, vote_shares
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix

#: Pseudo-rows of each subtype: well below one, so that superfluous subtypes empty themselves.
SUBTYPE = 0.1


class EBCC(LabelModel):
    r"""Each class ``c`` has subtypes ``s``; a voter has a row of vote probabilities for each: ``theta_j[c, s]``.

    ``pi ~ Dir(1)``, ``tau_c ~ Dir(0.1)`` over the subtypes, ``theta_j[c, s] ~ Dir(1, .., 4 at c, .., 1)``. Voters are
    independent given class *and* subtype, so given the class alone they are correlated: a hard kind of row fools many
    at once. Mean-field variational Bayes; of several random starts the one with the largest evidence bound is kept.

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
    n_subtypes
        Subtypes a class.
    n_restarts
        How many starts to choose from.
    random_state
        Seed of the starts.

    References
    ----------
    Y. Li, B. Rubinstein, T. Cohn. Exploiting worker correlation for label aggregation in crowdsourcing. ICML 2019.
    """

    method: ClassVar[str] = "ebcc"
    _log_theta: FloatArray
    _log_silence: FloatArray
    _log_base: FloatArray
    _balance: FloatArray

    def __init__(
        self,
        votes: VoteMatrix,
        *,
        symbol: npt.NDArray[np.bool_],
        class_prior: FloatArray | None = None,
        gold: IntArray | None = None,
        n_subtypes: int = 10,
        n_restarts: int = 10,
        max_iterations: int = 500,
        random_state: int = 0,
        reason: str = "asked for",
    ) -> None:
        super().__init__(votes)
        self.params = {
            "class_prior": None if class_prior is None else class_prior.tolist(),
            "n_subtypes": n_subtypes,
            "n_restarts": n_restarts,
            "random_state": random_state,
            "silence_is_a_symbol": symbol.tolist(),
            "n_gold": 0 if gold is None else int((gold != ABSTAIN).sum()),
        }
        k = self.n_classes
        patterns = votes.patterns(gold)
        known = gold_of_patterns(gold, patterns.inverse, len(patterns.counts))
        covered = np.diff(patterns.matrix.indptr) > 0
        self._symbol, self._n_subtypes = symbol, n_subtypes
        self._cells = Cells(patterns.matrix, k)
        onehot = self._cells.onehot(patterns.matrix)
        weight = patterns.counts.astype(np.float64)
        balance = majority_balance(patterns, k)
        first = vote_shares(patterns.matrix, k)
        first[~covered] = balance if class_prior is None else class_prior
        clamp(first, known)
        allowed = np.zeros((len(known), k * n_subtypes))
        fixed = np.flatnonzero(known != ABSTAIN)
        allowed[fixed] = np.where(np.arange(k * n_subtypes) // n_subtypes == known[fixed, None], 0.0, -np.inf)

        best, n_iterations, proba = -np.inf, 0, first
        kept: tuple[FloatArray, ...] = ()
        for start in range(n_restarts):
            rng = np.random.default_rng([random_state, start])
            shares = rng.dirichlet(np.ones(n_subtypes), (len(known), k))
            iteration = 0
            q = (first[:, :, None] * shares).reshape(len(known), -1)
            for _ in range(max_iterations):
                iteration += 1
                before = q
                penalty = self._maximise(onehot, weight[:, None] * q, class_prior)
                q, evidence = normalised(onehot @ self._log_theta + self._log_base + allowed)
                if float(np.abs(q - before).max(initial=0.0)) < MOVED:
                    break
            bound = float(weight @ evidence) - penalty
            if bound > best:
                best, n_iterations = bound, iteration
                kept = self._log_theta, self._log_silence, self._log_base, self._balance
                proba = q.reshape(len(known), k, -1).sum(axis=2)
        self._log_theta, self._log_silence, self._log_base, self._balance = kept
        self.class_prior_ = self._balance
        self.given_up = collapse_notes(weight * covered, proba, balance)
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple(((weight * covered) @ proba / max(float(weight @ covered), 1.0)).tolist()),
            n_iterations=n_iterations,
            converged=n_iterations < max_iterations,
            log_likelihood=float(best),
            notes=self.given_up,
        )

    def _maximise(self, onehot: sparse.csr_array, q: FloatArray, class_prior: FloatArray | None) -> float:
        """Update the expected logarithms from ``q`` (patterns, k * subtypes); return the parameters' divergence."""
        k, s = self.n_classes, self._n_subtypes
        states = np.arange(k * s) // s
        total = q.sum(axis=0)
        by_class = total.reshape(k, s).sum(axis=1)
        subtype = total.reshape(k, s) + SUBTYPE
        log_tau = digamma(subtype) - digamma(subtype.sum(axis=1, keepdims=True))
        penalty = float(_divergence(subtype, np.full_like(subtype, SUBTYPE)).sum())
        if class_prior is None:
            self._balance = (by_class + BALANCE) / (by_class + BALANCE).sum()
            log_prior = digamma(by_class + BALANCE) - digamma((by_class + BALANCE).sum())
            penalty += float(_divergence(by_class + BALANCE, np.full(k, BALANCE)))
        else:
            self._balance = class_prior
            log_prior = np.log(np.maximum(class_prior, 1e-300))
        counts = onehot.T @ q
        voter, vote = self._cells.voter, self._cells.of_class
        voted = np.zeros((len(self.voters), k * s))
        np.add.at(voted, voter, counts)
        symbol = self._symbol[:, None]
        silent = np.where(symbol, np.maximum(total - voted, 0.0), 0.0)
        pseudo = RIGHT + (k - 1) * WRONG + np.where(symbol, SILENT, 0.0)
        whole = voted + silent + pseudo
        normaliser = digamma(whole)
        self._log_silence = np.where(symbol, digamma(silent + SILENT) - normaliser, 0.0)
        prior = np.where(vote[:, None] == states, RIGHT, WRONG)
        log_theta = digamma(counts + prior) - normaliser[voter]
        self._log_theta = log_theta - self._log_silence[voter]
        # Votes that nobody gave have their prior, and add nothing to the divergence.
        penalty += float(
            (gammaln(whole) - gammaln(np.broadcast_to(pseudo, whole.shape))).sum()
            - (gammaln(counts + prior) - gammaln(prior)).sum()
            + (counts * log_theta).sum()
            - np.where(symbol, gammaln(silent + SILENT) - silent * self._log_silence, 0.0).sum()
        )
        self._log_base = (log_prior[:, None] + log_tau).ravel() + self._log_silence.sum(axis=0)
        return penalty

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        return self._by_class(self._cells.onehot(rows) @ self._log_theta + self._log_base)

    def _by_class(self, log_joint: FloatArray) -> FloatArray:
        proba = normalised(log_joint)[0].reshape(len(log_joint), self.n_classes, -1).sum(axis=2)
        return np.asarray(proba)

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        """Return what the log odds would lose without each voter: subtypes make voters' parts depend on each other."""
        onehot = self._cells.onehot(row)
        joint = (onehot @ self._log_theta + self._log_base)[0]
        cells = dict(zip(row.indices.tolist(), self._cells.numbers(row).tolist(), strict=True))
        said = {int(j): int(vote) - 1 for j, vote in zip(row.indices, row.data, strict=True)}
        spoken = [j for j in range(len(self.voters)) if j in said or self._symbol[j]]
        parts = np.array(
            [self._log_silence[j] + (self._log_theta[cells[j]] if cells.get(j, -1) >= 0 else 0.0) for j in spoken]
        )
        proba = np.maximum(self._by_class(np.vstack([joint, joint - parts])), 1e-300)
        odds = np.log(proba[:, first] / proba[:, second])
        prior = float(np.log(max(self._balance[first], 1e-300) / max(self._balance[second], 1e-300)))
        lines = [("(prior)", ABSTAIN, prior)]
        lines += [
            (self.voters[j], said.get(j, ABSTAIN), float(odds[0] - without))
            for j, without in zip(spoken, odds[1:], strict=True)
        ]
        return lines


def _divergence(posterior: FloatArray, prior: FloatArray) -> FloatArray:
    """Return the Kullback-Leibler divergence of Dirichlet distributions along the last axis."""
    log = digamma(posterior) - digamma(posterior.sum(axis=-1, keepdims=True))
    return np.asarray(
        gammaln(posterior.sum(axis=-1))
        - gammaln(prior.sum(axis=-1))
        - (gammaln(posterior) - gammaln(prior)).sum(axis=-1)
        + ((posterior - prior) * log).sum(axis=-1)
    )
