"""A label model that needs no fit: a small network, trained once on synthetic votes, reads the vote matrix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
from scipy import optimize, sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.dawid_skene import _collapse_notes
from jupyter_ext.labeling.models.majority import majority_balance
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, Patterns, VoteMatrix

#: So many distinct rows tell enough of the voters; the others are read with what these told.
_CONTEXT_ROWS = 20_000
_CHUNK_VOTES = 400_000
_LEAK = np.float32(0.1)
#: The network looks at one class at a time, so its time grows with the number of classes.
MOST_CLASSES = 100
#: How near a class without a vote may come to the best class with one.
_NEVER = 0.999

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class HyperLabelModel(LabelModel):
    r"""One forward pass of a network that was trained on synthetic sets of votes, functions' above all.

    For each class the votes become signs: for it, or for another. Four layers carry a vector of 16 numbers for each
    vote; each layer mixes it with the mean of its row, of its voter and of everything, so that the answer does not
    depend on the order of rows and voters, and any numbers of them will do. A row's mean vector gives its logit for the
    class, and a softmax over the classes its probabilities. ``benchmarks/train_hyper.py`` trains the weights.

    With ten or more known answers, a temperature and a bias for each class are fitted to them. A known prior shifts the
    biases, after that, until the mean probabilities agree with it (before classes without a vote are held down).

    Parameters
    ----------
    votes
        What to read.
    class_prior
        Known shares of the classes, shape (k,).
    gold
        Known answers, shape (n,), -1 where unknown.

    Raises
    ------
    Invalid
        There are more than 100 classes.

    Examples
    --------
    >>> votes = VoteMatrix.from_dense([[0, 0, -1], [1, 1, 1], [0, 1, 1], [-1, -1, -1]] * 20)
    >>> HyperLabelModel(votes).predict(votes)[:4].tolist()
    [0, 1, 1, -1]

    References
    ----------
    R. Wu, S.-E. Chen, J. Zhang, X. Chu. Learning hyper label model for programmatic weak supervision. ICLR 2023: the
    idea and the kind of layers. Features, synthetic sets and weights are our own.
    """

    method: ClassVar[str] = "hyper"

    def __init__(
        self,
        votes: VoteMatrix,
        *,
        class_prior: FloatArray | None = None,
        gold: IntArray | None = None,
        reason: str = "asked for",
    ) -> None:
        super().__init__(votes)
        if self.n_classes > MOST_CLASSES:
            raise Invalid(f"The hyper label model reads up to {MOST_CLASSES} classes, not {self.n_classes}.")
        self.params = {
            "class_prior": None if class_prior is None else class_prior.tolist(),
            "n_gold": 0 if gold is None else int((gold != ABSTAIN).sum()),
        }
        patterns = votes.patterns()
        given = np.bincount(votes.rows.indices, minlength=votes.shape[1])
        self._coverage = np.log10(np.maximum(given, 1) / votes.shape[0]).astype(np.float32)
        context, weight = _context(patterns)
        self._voters: list[list[Array]] = []
        self._whole: list[list[Array]] = []
        for c in range(self.n_classes):
            voters, whole = self._read(context, weight, c)
            self._voters.append(voters)
            self._whole.append(whole)
        self._scale, self._bias = 1.0, np.zeros(self.n_classes)
        if gold is not None:
            self._calibrate(votes, gold)
        logits = self._logits(context)
        if class_prior is not None:
            self._shift(logits, weight, class_prior)
        balance = np.asarray(weight @ self._proba(logits) / weight.sum())
        self.class_prior_ = balance if class_prior is None else class_prior
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(patterns.counts),
            class_balance=tuple(balance.tolist()),
            notes=_collapse_notes(weight, self._proba(logits), majority_balance(patterns, self.n_classes)),
        )

    @property
    def collapsed(self) -> bool:
        """Whether a class that people and functions do vote for was given up."""
        return bool(self.report.notes)

    def _read(self, rows: sparse.csr_array, weight: FloatArray, c: int) -> tuple[list[Array], list[Array]]:
        """Return what each layer adds for a voter (m, width) and for everything (width,), of class ``c``."""
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        share = weight[row].astype(np.float32)
        per_voter = np.bincount(rows.indices, share, len(self.voters)).astype(np.float32)
        pick = sparse.csr_array((share, (rows.indices, np.arange(rows.nnz))), shape=(len(self.voters), rows.nnz))
        h = self._signs(rows, c)
        voters, whole = [], []
        for cell, bias in _layers():
            sums = np.asarray(pick @ h, dtype=np.float32)
            voters.append((sums / np.maximum(per_voter, 1e-9)[:, None]) @ cell[2])
            whole.append((sums.sum(axis=0) / max(float(per_voter.sum()), 1e-9)) @ cell[3] + bias)
            h = _layer(h, rows, row, cell, voters[-1], whole[-1])
        return voters, whole

    def _signs(self, rows: sparse.csr_array, c: int) -> Array:
        sign = np.where(rows.data == c + 1, np.float32(1), np.float32(-1))
        return np.stack([sign, self._coverage[rows.indices]], axis=1)

    def _logits(self, rows: sparse.csr_array) -> FloatArray:
        """Return logits before calibration, shape (rows, k); every row has a vote."""
        parts = [np.zeros((0, self.n_classes))]
        hidden, hidden_bias, out, out_bias = _head()
        for chunk in _chunks(rows):
            row = np.repeat(np.arange(chunk.shape[0]), np.diff(chunk.indptr))
            count = np.diff(chunk.indptr).astype(np.float32)[:, None]
            columns = []
            for c in range(self.n_classes):
                h = self._signs(chunk, c)
                for (cell, _), voter, whole in zip(_layers(), self._voters[c], self._whole[c], strict=True):
                    h = _layer(h, chunk, row, cell, voter, whole)
                pooled = np.hstack([np.add.reduceat(h, chunk.indptr[:-1]) / count, np.log(count)])
                columns.append(_leaky(pooled @ hidden.T + hidden_bias) @ out[0] + out_bias[0])
            parts.append(np.stack(columns, axis=1).astype(np.float64))
        return np.concatenate(parts)

    def _proba(self, logits: FloatArray) -> FloatArray:
        scaled = logits * self._scale + self._bias
        proba = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(proba / proba.sum(axis=1, keepdims=True))

    def _pattern_proba(self, rows: sparse.csr_array) -> FloatArray:
        proba = self._proba(self._logits(rows))
        # A class that nobody voted for may come close, but never wins: nobody could explain such a label.
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        voted = np.zeros(proba.shape, dtype=bool)
        voted[row, rows.data - 1] = True
        best = np.where(voted, proba, 0.0).max(axis=1, keepdims=True)
        proba = np.where(voted, proba, np.minimum(proba, _NEVER * best))
        return np.asarray(proba / proba.sum(axis=1, keepdims=True))

    def _weights(self, row: sparse.csr_array, first: int, second: int) -> list[tuple[str, int, float]]:
        """Return what the log odds would lose without each vote; voters that are silent say nothing."""

        def odds(some: sparse.csr_array) -> float:
            if not some.nnz:
                return float(np.log(max(self.class_prior_[first], 1e-12) / max(self.class_prior_[second], 1e-12)))
            scaled = self._logits(some)[0] * self._scale + self._bias
            return float(scaled[first] - scaled[second])

        everything = odds(row)
        lines = []
        for place, (j, vote) in enumerate(zip(row.indices, row.data, strict=True)):
            kept = np.arange(row.nnz) != place
            without = sparse.csr_array((row.data[kept], row.indices[kept], [0, row.nnz - 1]), shape=row.shape)
            lines.append((self.voters[j], int(vote) - 1, everything - odds(without)))
        return lines

    def _calibrate(self, votes: VoteMatrix, gold: IntArray) -> None:
        usable = np.flatnonzero((gold != ABSTAIN) & votes.covered)
        if len(usable) < 10:
            return
        logits, known = self._logits(sparse.csr_array(votes.rows[usable])), gold[usable]

        def loss(parameters: FloatArray) -> float:
            self._scale, self._bias = float(np.exp(parameters[0])), parameters[1:]
            right = self._proba(logits)[np.arange(len(known)), known]
            # The penalty is worth a few rows, so that few answers change little.
            return float(-np.log(np.maximum(right, 1e-12)).sum() + 2.0 * (parameters**2).sum())

        best = optimize.minimize(loss, np.zeros(1 + self.n_classes), method="L-BFGS-B").x
        self._scale, self._bias = float(np.exp(best[0])), np.asarray(best[1:])

    def _shift(self, logits: FloatArray, weight: FloatArray, prior: FloatArray) -> None:
        for _ in range(200):
            mean = weight @ self._proba(logits) / weight.sum()
            step = np.log(np.maximum(prior, 1e-9)) - np.log(np.maximum(mean, 1e-9))
            self._bias = self._bias + np.clip(step, -1.0, 1.0)
            if float(np.abs(prior - mean).max()) < 1e-4:
                break


def _context(patterns: Patterns) -> tuple[sparse.csr_array, FloatArray]:
    """Return the covered patterns and their counts, or a sample where there are very many."""
    covered = np.flatnonzero(np.diff(patterns.matrix.indptr) > 0)
    weight = patterns.counts[covered].astype(np.float64)
    if len(covered) > _CONTEXT_ROWS:
        drawn = np.random.default_rng(0).choice(len(covered), _CONTEXT_ROWS, p=weight / weight.sum())
        chosen, times = np.unique(drawn, return_counts=True)
        covered, weight = covered[chosen], times.astype(np.float64)
    return sparse.csr_array(patterns.matrix[covered]), weight


def _chunks(rows: sparse.csr_array) -> Iterator[sparse.csr_array]:
    start = 0
    while start < rows.shape[0]:
        end = int(np.searchsorted(rows.indptr, rows.indptr[start] + _CHUNK_VOTES, side="right")) - 1
        end = max(end, start + 1)
        yield sparse.csr_array(rows[start:end])
        start = end


def _layer(h: Array, rows: sparse.csr_array, row: IntArray, cell: Array, voter: Array, whole: Array) -> Array:
    means = np.add.reduceat(h, rows.indptr[:-1]) / np.diff(rows.indptr).astype(np.float32)[:, None]
    mixed = h @ cell[0]
    mixed += (means @ cell[1] + whole)[row]
    mixed += voter[rows.indices]
    return _leaky(mixed)


def _leaky(values: Array) -> Array:
    leaky: Array = np.maximum(values, _LEAK * values)
    return leaky


@cache
def _weights_file() -> dict[str, Array]:
    with files(__package__).joinpath("hyper_weights.npz").open("rb") as stream, np.load(stream) as stored:
        return {name: stored[name] for name in stored.files}


def _layers() -> list[tuple[Array, Array]]:
    weights = _weights_file()
    depth = sum(name.startswith("cell_") for name in weights)
    return [(weights[f"cell_{number}"], weights[f"bias_{number}"]) for number in range(depth)]


def _head() -> tuple[Array, Array, Array, Array]:
    weights = _weights_file()
    return weights["hidden_weight"], weights["hidden_bias"], weights["out_weight"], weights["out_bias"]
