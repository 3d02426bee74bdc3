"""MeTaL: accuracies by completing the matrix of how often each two voters vote together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, linear_sum_assignment, minimize

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.cells import Cells, joint_counts
from jupyter_ext.labeling.dependencies import Repeats, find_repeats
from jupyter_ext.labeling.models._fitting import collapse_notes, normalised
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import majority_balance
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix

#: A fit works on three square matrices of cells.
_MOST_BYTES, _MATRICES = 2_000_000_000, 3
#: How often a vote is right before anything is known of the voter.
_PRECISION = 0.7
#: So many known answers give the shares of the classes.
_ENOUGH_GOLD = 30
#: Known answers weigh against the guess of a voter's precision as if so many of its votes had made it.
_PSEUDO_VOTES = 10.0
#: No class makes a vote rarer than by this factor, nor is a class rarer than this.
_RAREST = 0.01


class MeTaL(LabelModel):
    r"""Voter ``j`` votes ``s`` on a row of class ``c`` with probability ``μ[(j, s), c]``, independently of the others.

    With ``P = diag(p)``, the shares of the classes, the probability that two cells ``a = (j, s)`` and ``b`` of
    different voters occur together is then ``O = μ P μᵀ``, where ``O = L_indᵀ L_ind / n`` is seen. So ``μ`` minimises

    .. math:: ‖(O - μ P μᵀ)_Ω‖² + ‖μ p - \operatorname{diag} O‖² + λ ‖μ - μ_0‖²

    over the blocks ``Ω`` of voters that don't depend on each other, starting from ``μ_0``: a vote raises the
    odds of its class as that of a voter does who is right with probability 0.7 where classes are equally frequent, or
    as known answers say. A row's posterior is ``softmax(log p + Σ w log μ)`` over its votes; ``w`` is less than one for
    voters that repeat each other, and who is silent is left out.

    ``λ`` is the variance of ``O`` from counting over the variance that ``μ`` is expected to have around ``μ_0``. So few
    rows or sparse votes leave the start nearly as it is, and with more rows its pull vanishes: a fixed ``λ`` would keep
    the accuracies apart from the true ones however many rows there are.

    What a step costs depends on voters and classes, not on rows. Who votes where must be by chance or by class: for
    people who share batches take another model. The shares of the classes matter: where functions know one class each
    and the majority's shares are far off, give them, or known answers.

    Parameters
    ----------
    votes
        What to fit on, of three voters at least.
    class_prior
        Known shares of the classes, shape (k,); without, those of ``gold`` from 30 known answers on, else the
        majority's.
    gold
        Known answers, shape (n,), -1 where unknown. They make ``μ_0``.
    correlated
        Pairs of names of voters that depend on each other, whose blocks are left out; each vote counts fully then.
        Without, they and ``w`` are found by :func:`~jupyter_ext.labeling.dependencies.find_repeats`.
    spread
        How far ``μ`` is expected to be from ``μ_0``: a standard deviation, in units of a cell's share of the rows.

    Raises
    ------
    Invalid
        There are fewer than three voters, the voters have too many classes for 2 GB of memory, or a pair names no
        voter.

    References
    ----------
    A. Ratner, B. Hancock, J. Dunnmon, F. Sala, S. Pandey, C. Ré. Training complex models with multi-task weak
    supervision. AAAI 2019, section 4 and algorithm 1.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = random.integers(0, 2, 5000)
    >>> L = np.where(random.random((5000, 4)) < [0.9, 0.8, 0.7, 0.6], truth[:, None], 1 - truth[:, None])
    >>> model = MeTaL(VoteMatrix.from_dense(L), class_prior=np.array([0.5, 0.5]))
    >>> [round(float(model.confusion(voter)[0, 0]), 1) for voter in model.voters]
    [0.9, 0.8, 0.7, 0.6]
    """

    method: ClassVar[str] = "metal"

    def __init__(
        self,
        votes: VoteMatrix,
        *,
        class_prior: FloatArray | None = None,
        gold: IntArray | None = None,
        correlated: Sequence[tuple[str, str]] | None = None,
        spread: float = 0.2,
        max_iterations: int = 1000,
        reason: str = "asked for",
    ) -> None:
        super().__init__(votes)
        m, k = votes.shape[1], self.n_classes
        if m < 3:
            raise Invalid(
                f"MeTaL needs three voters at least, not {m}: how often two agree doesn't tell which is right."
            )
        known = np.full(votes.shape[0], ABSTAIN) if gold is None else np.asarray(gold)
        rows = votes.rows
        self._cells = Cells(rows, k)
        d = len(self._cells)
        if _MATRICES * 8 * d**2 > _MOST_BYTES:
            raise Invalid(
                f"MeTaL needs {_MATRICES * 8 * d**2 / 1e9:.1f} GB for {d} pairs of a voter and a class it votes for, "
                "more than 2 GB; take the majority vote, or fewer voters or classes."
            )
        repeats = find_repeats(votes) if correlated is None else _given(votes, correlated)
        patterns = votes.patterns()
        balance = majority_balance(patterns, k)
        self.class_prior_ = _class_shares(class_prior, known, balance)
        self.params = {
            "class_prior": None if class_prior is None else class_prior.tolist(),
            "spread": spread,
            "correlated": [[self.voters[i], self.voters[j]] for i, j in repeats.pairs],
            "n_gold": int((known != ABSTAIN).sum()),
        }

        cells = self._cells.numbers(rows)
        together = joint_counts(rows, cells, d) / votes.shape[0]
        share = np.diag(together).copy()
        voter, of_class = self._cells.voter, self._cells.of_class
        apart = _apart(voter, repeats.pairs, m)
        start = _first(share, of_class, self.class_prior_)
        start = _informed(start, share, rows, cells, known, self.class_prior_)
        least, most = _RAREST * share[:, None] + np.zeros_like(start), share[:, None] / self.class_prior_
        start = np.clip(start, least, most)
        # Counting gives a pair of cells the variance share²/n, and the loss counts each pair twice.
        noise = 2 * float(share.mean()) ** 2 / votes.shape[0]
        l2 = noise / (spread**2 * float((share**2).mean()))
        fit = minimize(
            _Objective(together, apart, self.class_prior_, start, l2),
            np.ones_like(start).ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds((least / start).ravel(), (most / start).ravel()),
            options={"maxiter": max_iterations, "maxfun": 2 * max_iterations, "ftol": 1e-10, "gtol": 1e-8},
        )
        found = fit.x.reshape(start.shape) * start
        self.mu_ = found[:, _columns(found, share, of_class, self.class_prior_)]
        self._log_prior, self._log_mu = np.log(self.class_prior_), repeats.weights[voter, None] * np.log(self.mu_)

        weight = patterns.counts * (np.diff(patterns.matrix.indptr) > 0).astype(np.float64)
        q = np.concatenate([proba for _, proba in self._by_chunk(patterns.matrix)])
        self.given_up = collapse_notes(weight, q, balance)
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple((weight @ q / max(float(weight.sum()), 1.0)).tolist()),
            n_iterations=int(fit.nit),
            converged=bool(fit.success),
            notes=(*self.given_up, *repeats.notes),
        )

    def confusion(self, voter: str) -> FloatArray:
        """Return the probability of each vote of a voter, true class by vote, shape (k, k + 1); silence comes last."""
        j, k = self.voters.index(voter), self.n_classes
        theta = np.zeros((k, k + 1))
        mine = np.flatnonzero(self._cells.voter == j)
        theta[:, self._cells.of_class[mine]] = self.mu_[mine].T
        theta[:, -1] = np.maximum(1 - theta.sum(axis=1), 0.0)
        return theta

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        return normalised(self._cells.onehot(rows) @ self._log_mu + self._log_prior)[0]

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        gain = self._log_mu[:, first] - self._log_mu[:, second]
        lines = [("(prior)", ABSTAIN, float(self._log_prior[first] - self._log_prior[second]))]
        for j, stored, cell in zip(row.indices, row.data, self._cells.numbers(row), strict=True):
            lines.append((self.voters[j], int(stored) - 1, float(gain[cell]) if cell >= 0 else 0.0))
        return lines


class _Objective:
    """The loss and its gradient, in units of the start: rare and frequent votes then have the same scale."""

    def __init__(
        self, together: FloatArray, apart: npt.NDArray[np.bool_], prior: FloatArray, start: FloatArray, l2: float
    ) -> None:
        self._together, self._apart, self._prior, self._start = together, apart, prior, start
        self._share, self._l2 = np.diag(together), l2
        # The optimiser stops by absolute numbers, which sparse votes would be below from the outset.
        self._unit = 1 / max(float((self._share**2).sum()), 1e-300)

    def __call__(self, scaled: FloatArray) -> tuple[float, FloatArray]:
        mu = scaled.reshape(self._start.shape) * self._start
        weighted = mu * self._prior
        missing = np.where(self._apart, self._together - weighted @ mu.T, 0.0)
        off = mu @ self._prior - self._share
        drift = mu - self._start
        loss = float((missing**2).sum() + off @ off + self._l2 * (drift**2).sum())
        gradient = 2 * (np.outer(off, self._prior) + self._l2 * drift) - 4 * missing @ weighted
        return self._unit * loss, (self._unit * gradient * self._start).ravel()


def _given(votes: VoteMatrix, correlated: Sequence[tuple[str, str]]) -> Repeats:
    """Return pairs of voters that are known to depend on each other, by numbers."""
    number = {name: j for j, name in enumerate(votes.voters)}
    unknown = sorted({name for pair in correlated for name in pair if name not in number})
    if unknown:
        raise Invalid(f"There is no voter {unknown[0]!r} among those whose dependence was given.")
    return Repeats(np.ones(len(number)), tuple((number[one], number[other]) for one, other in correlated))


def _apart(voter: IntArray, pairs: Sequence[tuple[int, int]], n_voters: int) -> npt.NDArray[np.bool_]:
    """Return which two cells are of voters that don't depend on each other, shape (d, d)."""
    independent = ~np.eye(n_voters, dtype=bool)
    for i, j in pairs:
        independent[i, j] = independent[j, i] = False
    return np.asarray(independent[np.ix_(voter, voter)])


def _class_shares(given: FloatArray | None, known: IntArray, balance: FloatArray) -> FloatArray:
    answers = known[known != ABSTAIN]
    if given is not None:
        shares = given
    elif len(answers) >= _ENOUGH_GOLD:
        shares = np.bincount(answers, minlength=len(balance)) / len(answers)
    else:
        shares = balance
    shares = np.maximum(shares, min(_RAREST, 0.1 / len(balance)))
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def _first(share: FloatArray, of_class: IntArray, prior: FloatArray) -> FloatArray:
    """Return ``μ`` (d, k) of voters that are right with one probability, the same for all, where classes are equal.

    Where they are not, a vote for a class raises its odds by the same factor; a fixed probability below the share of a
    frequent class would make a vote for it speak against it.
    """
    k = len(prior)
    factor = np.ones((len(share), k))
    factor[np.arange(len(share)), of_class] = _PRECISION * (k - 1) / (1 - _PRECISION)
    return np.asarray(share[:, None] * factor / (factor @ prior)[:, None])


def _informed(
    start: FloatArray, share: FloatArray, rows: sparse.csr_array, cells: IntArray, known: IntArray, prior: FloatArray
) -> FloatArray:
    """Move a first ``μ`` to what known answers say of the cells that they judge."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    judged = known[row] != ABSTAIN
    d, k = start.shape
    counts = np.bincount(cells[judged] * k + known[row][judged], minlength=d * k).reshape(d, k)
    guessed = start * prior / share[:, None]
    precision = (counts + _PSEUDO_VOTES * guessed) / (counts.sum(axis=1, keepdims=True) + _PSEUDO_VOTES)
    return np.asarray(share[:, None] * precision / prior)


def _columns(mu: FloatArray, share: FloatArray, of_class: IntArray, prior: FloatArray) -> IntArray:
    """Return which column of ``μ`` is which class: columns of equal shares of classes fit the data in any order."""
    right = mu * prior / share[:, None]
    votes = np.zeros((len(prior), len(prior)))
    np.add.at(votes, of_class, right)
    votes /= np.maximum(np.bincount(of_class, minlength=len(prior)), 1)[:, None]
    column = np.arange(len(prior))
    for value in np.unique(prior.round(6)):
        group = np.flatnonzero(prior.round(6) == value)
        classes, chosen = linear_sum_assignment(votes[np.ix_(group, group)], maximize=True)
        column[group[classes]] = group[chosen]
    return column
