"""A label model that needs no fit: a small network, trained once on synthetic votes, reads the vote matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.dependencies import Repeats, find_repeats
from jupyter_ext.labeling.models._fitting import collapse_notes, normalised
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import majority_balance
from jupyter_ext.labeling.models.weighted_majority import LEAST, WeightedMajority
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, Patterns, VoteMatrix, distinct_rows

#: So many distinct rows tell enough of the voters; the others are read with what these told.
_CONTEXT_ROWS = 10_000
_CHUNK_VOTES = 400_000
#: Votes of the context, times classes, that all networks together may read: some seconds.
_MOST_WORK = 10_000_000
_LEAK = np.float32(0.1)
#: The network looks at one class at a time, so its time grows with the number of classes.
MOST_CLASSES = 100
#: How near a class without a vote may come to the best class with one.
_NEVER = 0.999
#: From which share of the covered rows on a voter is broad.
_BROAD = 0.05
#: Rows that tell whether a broad voter is worth anything.
_JUDGED_ROWS = 50_000
#: The share of labels that may change when broad voters are heard only where they are alone.
_FEW = 0.1

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class HyperLabelModel(LabelModel):
    r"""One forward pass of networks that were trained on synthetic sets of votes, functions' above all.

    For each class the votes become signs: for it, or for another. Four layers carry a vector of 16 numbers for each
    vote; each layer mixes it with the mean of its row, of its voter and of everything, so that the answer does not
    depend on the order of rows and voters, and any numbers of them will do. A row's mean vector gives its logit for the
    class, and a softmax over the classes its probabilities. ``benchmarks/train_hyper.py`` trains the weights. The
    logits are the mean of networks from several starts, for one alone decides close rows by chance.

    A broad voter that the weighted majority finds worth nothing, such as a rule that takes any short text for harmless,
    is heard only on rows where nobody else votes. That holds where such voters are broader than the others and it
    changes at most a tenth of the labels; more would say that the weighted majority has run away.

    In the means over a row and over everything, functions that repeat each other count less, so that copies are heard
    as one of them would be: the networks take no notice of copies by themselves.

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
    repeats
        The voters that repeat each other; :func:`~jupyter_ext.labeling.dependencies.find_repeats` finds them without.

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
        repeats: Repeats | None = None,
        reason: str = "asked for",
    ) -> None:
        super().__init__(votes)
        if self.n_classes > MOST_CLASSES:
            raise Invalid(f"The hyper label model reads up to {MOST_CLASSES} classes, not {self.n_classes}.")
        self.params = {
            "class_prior": None if class_prior is None else class_prior.tolist(),
            "n_gold": 0 if gold is None else int((gold != ABSTAIN).sum()),
        }
        context = _context(votes)
        rows, weight = context.matrix, context.counts.astype(np.float64)
        self._scale, self._bias = 1.0, np.zeros(self.n_classes)
        repeats = find_repeats(votes) if repeats is None else repeats
        #: What a vote counts in the means over a row and over everything, (m,).
        self._worth = repeats.weights.astype(np.float32)
        #: Who is heard only where nobody else votes, (m,).
        self._quiet = np.zeros(votes.shape[1], dtype=bool)
        self._readings, logits = self._read(votes, rows, weight)
        quiet = _worth_nothing(votes, repeats)
        if quiet.any():
            before = self._readings, logits
            self._quiet = quiet
            self._readings, logits = self._read(votes, rows, weight)
            if weight @ (logits.argmax(axis=1) != before[1].argmax(axis=1)) > _FEW * weight.sum():
                self._quiet = np.zeros_like(quiet)
                self._readings, logits = before
        self.params["heard_only_where_alone"] = [self.voters[j] for j in np.flatnonzero(self._quiet)]
        if gold is not None:
            self._calibrate(votes, gold)
        if class_prior is not None:
            self._shift(logits, weight, class_prior)
        balance = np.asarray(weight @ self._proba(logits) / weight.sum())
        self.class_prior_ = balance if class_prior is None else class_prior
        self.given_up = collapse_notes(weight, self._proba(logits), majority_balance(context, self.n_classes))
        self.report = FitReport(
            method=self.method,
            reason=reason,
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=len(context.counts),
            class_balance=tuple(balance.tolist()),
            notes=(*self.given_up, *repeats.notes),
        )

    def _read(
        self, votes: VoteMatrix, context: sparse.csr_array, weight: FloatArray
    ) -> tuple[list[_Reading], FloatArray]:
        """Return what each network makes of the context, and the logits of its rows."""
        given = np.bincount(self._heard(votes.rows).indices, minlength=votes.shape[1])
        coverage = np.log10(np.maximum(given, 1) / votes.shape[0]).astype(np.float32)
        heard = self._heard(context)
        # Many classes and many voters are read by fewer networks: time grows with both.
        affordable = max(1, _MOST_WORK // max(heard.nnz * self.n_classes, 1))
        networks = _networks()[:affordable]
        readings = [
            _Reading(network, _Cells(heard, self._worth), weight, coverage, self.n_classes) for network in networks
        ]
        return readings, np.mean([reading.context for reading in readings], axis=0)

    def _heard(self, rows: sparse.csr_array) -> sparse.csr_array:
        """Return the rows without what quiet voters say where others vote."""
        if not self._quiet.any():
            return rows
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        quiet = self._quiet[rows.indices]
        kept = ~quiet | (np.bincount(row[~quiet], minlength=rows.shape[0]) == 0)[row]
        pointers = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
        return sparse.csr_array((rows.data[kept], rows.indices[kept], pointers), shape=rows.shape)

    def _logits(self, rows: sparse.csr_array) -> FloatArray:
        """Return logits before calibration, shape (rows, k); every row has a vote."""
        read = (
            np.mean([reading.logits(chunk) for reading in self._readings], axis=0)
            for chunk in (_Cells(some, self._worth) for some in _chunks(self._heard(rows)))
        )
        return np.concatenate([np.zeros((0, self.n_classes)), *read])

    def _proba(self, logits: FloatArray) -> FloatArray:
        return normalised(logits * self._scale + self._bias)[0]

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


class _Reading:
    """What a network makes of the context: for each class and layer, what it adds for a voter and for everything."""

    def __init__(self, network: _Network, cells: _Cells, weight: FloatArray, coverage: Array, n_classes: int) -> None:
        self._network, self._coverage, self._n_classes = network, coverage, n_classes
        rows = cells.rows
        share = weight[cells.row].astype(np.float32) * cells.worth
        n_voters = len(coverage)
        per_voter = np.maximum(np.bincount(rows.indices, share, n_voters), 1e-9).astype(np.float32)[:, None]
        everything = max(float(share.sum()), 1e-9)
        pick = sparse.csr_array((share, (rows.indices, np.arange(rows.nnz))), shape=(n_voters, rows.nnz))
        #: Of each class, a list over layers: (m, width) and (width,).
        self._added: list[list[tuple[Array, Array]]] = []
        columns = []
        for c in range(n_classes):
            h = self._signs(rows, c)
            added = []
            for cell, bias in network.layers:
                sums = np.asarray(pick @ h, dtype=np.float32)
                added.append(((sums / per_voter) @ cell[2], (sums.sum(axis=0) / everything) @ cell[3] + bias))
                h = _layer(h, cells, cell, *added[-1])
            self._added.append(added)
            columns.append(self._head(h, cells))
        #: The logits of the context, (rows, k).
        self.context = np.stack(columns, axis=1)

    def logits(self, cells: _Cells) -> FloatArray:
        """Return (rows, k)."""
        columns = []
        for c in range(self._n_classes):
            h = self._signs(cells.rows, c)
            for (cell, _), added in zip(self._network.layers, self._added[c], strict=True):
                h = _layer(h, cells, cell, *added)
            columns.append(self._head(h, cells))
        return np.stack(columns, axis=1)

    def _head(self, h: Array, cells: _Cells) -> FloatArray:
        network = self._network
        pooled = np.hstack([cells.row_means(h), np.log(cells.count)])
        hidden = _leaky(pooled @ network.hidden_weight.T + network.hidden_bias)
        return np.asarray(hidden @ network.out_weight[0] + network.out_bias[0], dtype=np.float64)

    def _signs(self, rows: sparse.csr_array, c: int) -> Array:
        sign = np.where(rows.data == c + 1, np.float32(1), np.float32(-1))
        return np.stack([sign, self._coverage[rows.indices]], axis=1)


class _Cells:
    """The votes of some rows, one after the other, which row each belongs to, and what each counts."""

    def __init__(self, rows: sparse.csr_array, worth: Array) -> None:
        self.rows = rows
        self.row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        self.worth = worth[rows.indices]
        self._sums = sparse.csr_array((self.worth, np.arange(rows.nnz), rows.indptr), shape=(rows.shape[0], rows.nnz))
        total: Array = np.asarray(self._sums.sum(axis=1), dtype=np.float32)[:, None]
        self._total = total
        #: What counts less than a vote is one all the same: a row has no fewer.
        self.count: Array = np.maximum(total, np.float32(1))

    def row_means(self, h: Array) -> Array:
        """Return the mean of each row's votes, (rows, width)."""
        means: Array = np.asarray(self._sums @ h, dtype=np.float32) / self._total
        return means


@dataclass(frozen=True)
class _Network:
    """The weights of one network, as the training writes them."""

    layers: tuple[tuple[Array, Array], ...]
    hidden_weight: Array
    hidden_bias: Array
    out_weight: Array
    out_bias: Array


@cache
def _networks() -> tuple[_Network, ...]:
    with files(__package__).joinpath("hyper_weights.npz").open("rb") as stream, np.load(stream) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return tuple(_network(arrays, number) for number in range(1 + max(int(name.partition(".")[0]) for name in arrays)))


def _network(arrays: dict[str, Array], number: int) -> _Network:
    mine = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{number}.")}
    depth = sum(name.startswith("cell_") for name in mine)
    layers = tuple((mine.pop(f"cell_{layer}"), mine.pop(f"bias_{layer}")) for layer in range(depth))
    return _Network(layers, **mine)


def _worth_nothing(votes: VoteMatrix, repeats: Repeats) -> npt.NDArray[np.bool_]:
    """Return which broad voters the weighted majority gives the least weight, (m,); none if they are the narrower."""
    given = np.bincount(votes.rows.indices, minlength=votes.shape[1]) / max(int(votes.covered.sum()), 1)
    if votes.shape[0] > _JUDGED_ROWS:
        rows = np.random.default_rng(0).choice(votes.shape[0], _JUDGED_ROWS, replace=False)
        votes = votes.take(np.sort(rows))
    least = (WeightedMajority(votes, repeats=repeats).weights_ <= LEAST * repeats.weights) & (given >= _BROAD)
    broader = least.any() and not least.all() and given[least].mean() >= given[~least].mean()
    return least if broader else np.zeros_like(least)


def _context(votes: VoteMatrix) -> Patterns:
    """Return the distinct covered rows and how often each occurs; where there are very many, of a sample of rows."""
    covered = np.flatnonzero(votes.covered)
    if len(covered) > 2 * _CONTEXT_ROWS:
        drawn = np.random.default_rng(0).choice(covered, 2 * _CONTEXT_ROWS)
        if len(distinct_rows(votes.rows[drawn]).counts) > _CONTEXT_ROWS:
            return distinct_rows(votes.rows[drawn[:_CONTEXT_ROWS]])
    patterns = votes.patterns()
    kept = np.flatnonzero(np.diff(patterns.matrix.indptr) > 0)
    counts = patterns.counts[kept]
    if len(kept) > _CONTEXT_ROWS:
        drawn = np.random.default_rng(0).choice(len(kept), _CONTEXT_ROWS, p=counts / counts.sum())
        chosen, counts = np.unique(drawn, return_counts=True)
        kept = kept[chosen]
    return Patterns(sparse.csr_array(patterns.matrix[kept]), counts, np.repeat(np.arange(len(kept)), counts))


def _chunks(rows: sparse.csr_array) -> Iterator[sparse.csr_array]:
    start = 0
    while start < rows.shape[0]:
        end = int(np.searchsorted(rows.indptr, rows.indptr[start] + _CHUNK_VOTES, side="right")) - 1
        end = max(end, start + 1)
        yield sparse.csr_array(rows[start:end])
        start = end


def _layer(h: Array, cells: _Cells, cell: Array, voter: Array, whole: Array) -> Array:
    mixed = h @ cell[0]
    mixed += (cells.row_means(h) @ cell[1] + whole)[cells.row]
    mixed += voter[cells.rows.indices]
    return _leaky(mixed)


def _leaky(values: Array) -> Array:
    leaky: Array = np.maximum(values, _LEAK * values)
    return leaky
