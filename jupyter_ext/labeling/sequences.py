"""Labels of sequences: from several voters' BIO tags of tokens to one valid tagging, with probabilities."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.majority import class_sums
from jupyter_ext.labeling.models.selection import fit_label_model
from jupyter_ext.labeling.spans import OUTSIDE, Span, bio_names, repair_bio, spans_of_documents, starts_of
from jupyter_ext.labeling.votes import (
    ABSTAIN,
    FloatArray,
    IntArray,
    VoteMatrix,
    as_gold,
    as_integers,
    as_votes,
    distinct_rows,
)

SequenceMethod = Literal["auto", "hmm", "dawid_skene", "majority"]

#: How many tokens of each class the first picture of a voter is worth against the voter's votes.
_PRIOR_TOKENS = 5.0
#: One token is at most 230 nats against a class, so that products of three stay in range of a float.
_LEAST_EMISSION = 1e-100
_BATCH_CELLS = 4_000_000  # 32 MB


def fit_sequence_model(
    votes: VoteMatrix | npt.ArrayLike,
    lengths: npt.ArrayLike,
    labels: Sequence[str],
    *,
    method: SequenceMethod = "auto",
    gold: npt.ArrayLike | None = None,
    random_state: int = 0,
    max_iterations: int = 100,
) -> SequenceModel:
    """Fit a model that turns several voters' tags of tokens into one valid tagging.

    Parameters
    ----------
    votes
        A :class:`~jupyter_ext.labeling.VoteMatrix`, or an integer array (n tokens, m voters): the tokens of all
        documents one after the other. 0 is O, ``1 + 2 i`` is B-``labels[i]``, ``2 + 2 i`` is I-``labels[i]``, -1 is
        silence. :func:`~jupyter_ext.labeling.spans.spans_to_bio` makes such columns from spans.
    lengths
        The number of tokens of each document, shape (d,), which add up to n.
    labels
        Names of the labels.
    method
        ``"hmm"``, or token by token ``"dawid_skene"`` or ``"majority"``, made valid afterwards. ``"auto"`` takes the
        hidden Markov model where three voters or more voted or known answers are given, else the majority.
    gold
        Known classes, shape (n,), -1 where unknown; the majority doesn't use them. An I- that is known to continue
        nothing is read as B-.
    random_state
        Seed of methods that draw; none of these does.
    max_iterations
        Of EM, for ``"hmm"``.

    Returns
    -------
    SequenceModel
        ``predict_proba(votes, lengths)`` (n, k), ``predict(votes, lengths)`` (n,), ``spans(votes, lengths)``,
        ``explain(votes, i, lengths)``, ``method``, ``report``.

    Raises
    ------
    Invalid
        No vote at all, votes outside the BIO classes, NaN, lengths that don't add up, or gold of the wrong shape.

    Warns
    -----
    UserWarning
        The fit collapsed: it gave up a label that voters do use, or spread one over tokens where nobody saw it. The
        majority is used instead, and ``.report`` says so.

    Notes
    -----
    Span F1 on 150 simulated texts with some 400 spans of three labels:

    ==================================================  ========  =============
    voters                                              majority  hidden Markov
    ==================================================  ========  =============
    five that tag everything, three of them poor        0.80      0.88
    five fair ones that tag everything                  0.91      0.94
    three functions, silent but on what they find       0.58      0.80
    six such functions, four of them poor               0.32      0.76
    three fair ones that tag everything                 0.82      0.79
    three poor ones that tag everything                 0.39      0.20
    ==================================================  ========  =============

    It needs voters to compare: two can't tell who is right (up to 0.3 below the majority), and three that are hardly
    ever right mislead it. With known answers for a quarter of the texts it is as good as the majority there, or better.

    Examples
    --------
    >>> votes = [[1, 1, 1], [2, 2, 0], [0, 0, 0], [1, 1, -1], [0, 0, 0]]
    >>> model = fit_sequence_model(votes, [3, 2], ["PER"], method="majority")
    >>> model.predict(votes, [3, 2]).tolist()
    [1, 2, 0, 1, 0]
    >>> model.spans(votes, [3, 2])
    [[(0, 2, 'PER')], [(0, 1, 'PER')]]
    """
    if method not in get_args(SequenceMethod):
        raise Invalid(f"There is no sequence model {method!r}; there are {', '.join(get_args(SequenceMethod))}.")
    if max_iterations < 1:
        raise Invalid(f"EM needs one iteration or more, not {max_iterations}.")
    matrix = as_votes(votes, len(bio_names(labels)))
    tokens = as_lengths(lengths, matrix.shape[0])
    if not matrix.n_votes:
        raise Invalid("There is no vote at all; apply functions or label some documents first.")
    known = None if gold is None else _valid_gold(as_gold(gold, matrix).astype(np.int64), tokens)
    reason = "asked for"
    if method == "auto":
        method, reason = _choose(matrix, known)
    model: SequenceModel
    if method == "majority":
        model = TokenModel(fit_label_model(matrix, method="majority"), labels)
    elif method == "hmm":
        model = HiddenMarkovModel(matrix, tokens, labels, gold=known, max_iterations=max_iterations)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said below, once
            model = TokenModel(fit_label_model(matrix, method=method, gold=known, random_state=random_state), labels)
    model.report = replace(model.report, reason=reason)
    if not model.given_up:
        return model
    fallen = TokenModel(fit_label_model(matrix, method="majority"), labels)
    fallen.report = replace(fallen.report, reason=f"fell back from {method}, which collapsed", notes=model.report.notes)
    warnings.warn(f"{model.given_up[0]} The majority vote is used instead.", UserWarning, stacklevel=2)
    return fallen


def _choose(votes: VoteMatrix, gold: IntArray | None) -> tuple[SequenceMethod, str]:
    if gold is not None and (gold != ABSTAIN).any():
        return "hmm", "chosen because known answers tell how reliable each voter is"
    voted = len(np.unique(votes.rows.indices))
    if voted < 3:
        few = "one voter voted" if voted == 1 else "two voters voted"
        return "majority", f"chosen because only {few}, and comparing them can't tell who is right"
    return "hmm", f"chosen because {voted} voters can be compared"


class SequenceModel(ABC):
    """Base of models of sequences.

    In a sequence silence means O: voters mark what they find, so a token that nobody says anything about is outside
    of all spans, and no method returns -1.

    Attributes
    ----------
    method : str
        Its name, as `fit_sequence_model` takes it.
    labels : tuple of str
    tags : tuple of str (k,)
        Names of the classes: O, B- and I- of each label.
    voters : tuple of str (m,)
    class_prior_ : array (k,)
        The share of each class among the tokens.
    report : FitReport
    given_up : tuple of str
        What the fit gave up, a sentence a label; empty unless it collapsed.
    """

    method: str
    class_prior_: FloatArray
    report: FitReport
    given_up: tuple[str, ...] = ()

    def __init__(self, voters: tuple[str, ...], labels: Sequence[str]) -> None:
        self.voters = voters
        self.labels = tuple(str(label) for label in labels)
        self.tags = bio_names(self.labels)
        self.n_classes = len(self.tags)

    def predict_proba(self, votes: VoteMatrix | npt.ArrayLike, lengths: npt.ArrayLike) -> FloatArray:
        """Return the probability of each class for each token, shape (n, k)."""
        matrix = self._known(votes)
        return self._proba(matrix, as_lengths(lengths, matrix.shape[0]))

    def predict(self, votes: VoteMatrix | npt.ArrayLike, lengths: npt.ArrayLike) -> IntArray:
        """Return the class of each token, shape (n,): valid BIO, and O (never -1) where nobody said anything."""
        matrix = self._known(votes)
        return self._best(matrix, as_lengths(lengths, matrix.shape[0]))

    def spans(self, votes: VoteMatrix | npt.ArrayLike, lengths: npt.ArrayLike) -> list[list[Span]]:
        """Return the predicted spans of each document: (start, end, label), in tokens, end exclusive."""
        matrix = self._known(votes)
        tokens = as_lengths(lengths, matrix.shape[0])
        return spans_of_documents(self._best(matrix, tokens), tokens, self.labels)

    @abstractmethod
    def explain(self, votes: VoteMatrix | npt.ArrayLike, i: int, lengths: npt.ArrayLike | None = None) -> pd.DataFrame:
        """Say which voter moved token ``i``, and how much, as :meth:`LabelModel.explain` does for a row."""

    @abstractmethod
    def _proba(self, votes: VoteMatrix, lengths: IntArray) -> FloatArray:
        """Return the probabilities of checked votes."""

    @abstractmethod
    def _best(self, votes: VoteMatrix, lengths: IntArray) -> IntArray:
        """Return a valid tagging of checked votes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.method!r}, {len(self.voters)} voters, {len(self.labels)} labels)"

    def _known(self, votes: VoteMatrix | npt.ArrayLike) -> VoteMatrix:
        if isinstance(votes, VoteMatrix):
            matrix = as_votes(votes, self.n_classes)
        else:
            dense = as_integers(votes, "votes")
            mine = dense.shape[1:] == (len(self.voters),)
            matrix = VoteMatrix.from_dense(dense, self.voters if mine else None, self.n_classes)
        if matrix.voters != self.voters:
            raise Invalid(
                f"The model was fitted on {len(self.voters)} voters and can't read the votes of "
                f"{len(matrix.voters)} others."
            )
        return matrix


class TokenModel(SequenceModel):
    """A label model applied token by token; a tagging is made valid by reading a stray I- as B-."""

    def __init__(self, model: LabelModel, labels: Sequence[str]) -> None:
        super().__init__(model.voters, labels)
        self.model = model
        self.method = model.method
        self.class_prior_ = model.class_prior_
        self.report = model.report
        self.given_up = model.given_up

    def explain(self, votes: VoteMatrix | npt.ArrayLike, i: int, lengths: npt.ArrayLike | None = None) -> pd.DataFrame:
        """Return what the label model of tokens says; a token's neighbours count for nothing."""
        matrix = self._known(votes)
        if lengths is not None:
            as_lengths(lengths, matrix.shape[0])
        return self.model.explain(matrix, i)

    def _proba(self, votes: VoteMatrix, lengths: IntArray) -> FloatArray:
        proba = self.model.predict_proba(votes)
        proba[~votes.covered] = np.eye(self.n_classes)[OUTSIDE]
        return proba

    def _best(self, votes: VoteMatrix, lengths: IntArray) -> IntArray:
        best = self.model.predict(votes)
        return repair_bio(np.where(best == ABSTAIN, OUTSIDE, best), lengths)


class HiddenMarkovModel(SequenceModel):
    r"""Hidden true tags form a Markov chain; each voter sees a token's tag through confusion matrices of its own.

    ``p(z, L) = Π_d start[z_1] Π_t A[z_t-1, z_t] Π_t Π_j theta_j[g_tj, L_tj, z_t]``, where the chain can't go to I-x but
    from B-x or I-x. To the chain of [1]_ come two things, without which EM drifts away from the truth, because voters
    don't err token by token but span by span:

    - ``g_tj`` is the label of the voter's own vote on the token before, or that there was none [2]_. Who missed the
      beginning of a name misses its end too, and each token of one mistake should not count as one more witness.
    - O is four states: away from spans, right after one, right before one, and between two. Next to a span a vote may
      be an end set too far; elsewhere it is an invention.

    EM filters forwards and smooths backwards [3]_, all documents of like length at once.

    Silence is one more symbol of each voter: a way to say O, how sure a one the voter's own ``theta`` says, because a
    rule that finds some names is silent on the others too. A person's silence is such a symbol within documents where
    they voted at all; elsewhere they were perhaps never asked, and it tells nothing.

    EM starts from the shares of the votes, all silent voters together being one vote for O. ``theta_j`` has a Dirichlet
    prior worth 5 tokens a class, centred on what that start takes voter ``j`` for, which keeps the classes' meanings;
    the chain has one worth 1.

    Parameters
    ----------
    votes, lengths, labels, gold, max_iterations
        As in :func:`fit_sequence_model`.
    tolerance
        EM ends when the objective grows by less than this a token.

    Attributes
    ----------
    states : tuple of str (k + 3,)
        The classes, O being the one away from spans, and the three other kinds of O.
    start_ : array (k + 3,)
    transitions_ : array (k + 3, k + 3)
        From row to column.
    history_ : tuple of float
        The objective of EM at each iteration, log-likelihood plus log prior, up to a constant. It never falls.

    References
    ----------
    .. [1] P. Lison, J. Barnes, A. Hubin, S. Touileb. Named entity recognition without labelled data: a weak
       supervision approach. ACL 2020, section 3.2.
    .. [2] E. Simpson, I. Gurevych. A Bayesian approach for sequence tagging with crowds. EMNLP 2019, section 3, model
       "seq".
    .. [3] G. Kitagawa. Non-Gaussian state-space modeling of nonstationary time series. JASA 82, 1987, equation 2.4.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = np.tile([0, 1, 2, 0, 0], 100)[:, None]
    >>> votes = np.where(random.random((500, 3)) < [0.9, 0.7, 0.6], truth, 0)
    >>> votes[5:10].tolist()
    [[0, 0, 0], [1, 1, 1], [2, 2, 0], [0, 0, 0], [0, 0, 0]]
    >>> model = fit_sequence_model(votes, [5] * 100, ["PER"])
    >>> model.spans(votes[5:10], [5])
    [[(1, 3, 'PER')]]
    """

    method = "hmm"

    def __init__(
        self,
        votes: VoteMatrix,
        lengths: IntArray,
        labels: Sequence[str],
        *,
        gold: IntArray | None = None,
        max_iterations: int = 100,
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__(votes.voters, labels)
        k = self.n_classes
        # Kept, for an array to predict from doesn't say what its voters are.
        self._silence_tells = np.array([kind != "person" for kind in votes.kinds], dtype=np.bool_)
        self.states = (*self.tags, "O after", "O before", "O between")
        chain_allowed, start_allowed = _allowed(k)
        seen = _Seen(votes, lengths, self._silence_tells)
        batches = list(_batches(lengths, k + 3))
        firsts = starts_of(lengths)
        shares = seen.shares()
        _clamp(shares, gold)
        q = _split(shares, lengths)
        chain, emitted = _independent_pairs(q, lengths) * chain_allowed, seen.count(q)
        # A vote that a voter never gave is read at its word.
        at_its_word = np.concatenate([np.eye(k)[:, _class_of(k)], np.zeros((1, k + 3))]) + 0.1 / k
        priors = _Counts(
            first=_shares((q.mean(axis=0, keepdims=True) + 0.01) * start_allowed)[0],
            chain=_shares(chain + 0.01 * chain_allowed),
            emitted=_PRIOR_TOKENS * _shares(emitted + at_its_word, axis=2),
        )
        self._maximise(_Counts(q[firsts].sum(axis=0) * start_allowed, chain, emitted) + priors)
        history: list[float] = []
        converged = False
        for _ in range(max_iterations):
            chain = np.zeros((k + 3, k + 3))
            likelihood = 0.0
            log_emission = seen.emission(self._log_theta)
            for batch in batches:
                emission, scale = _scaled(log_emission, batch.rows, gold)
                q[batch.rows], pairs, evidence = _smooth(emission, self.start_, self.transitions_, batch)
                chain += pairs
                likelihood += scale + evidence
            history.append(likelihood + self._log_prior(priors))
            converged = len(history) > 1 and history[-1] - history[-2] < tolerance * len(q)
            if converged:
                break
            emitted = seen.count(q)
            self._maximise(_Counts(q[firsts].sum(axis=0), chain, emitted) + priors)
        self.history_ = tuple(history)
        self._state_prior = q.mean(axis=0)
        self.class_prior_ = _classes(self._state_prior)
        self._confusion = _shares(_classes((emitted + priors.emitted).sum(axis=1)), axis=1)
        proba = _classes(q)
        self.given_up = _collapse_notes(proba, votes, gold, self.labels)
        self.report = FitReport(
            method=self.method,
            reason="asked for",
            n_rows=votes.shape[0],
            n_covered=int(votes.covered.sum()),
            n_patterns=seen.n_patterns,
            class_balance=tuple(proba[votes.covered].mean(axis=0).tolist()),
            n_iterations=len(history),
            converged=converged,
            log_likelihood=likelihood,
            notes=self.given_up,
        )

    def confusion(self, voter: str) -> FloatArray:
        """Return how a voter votes whatever they said before: true class by vote, (k, k + 1), the last for silence."""
        if voter not in self.voters:
            raise Invalid(f"There is no voter {voter!r}.")
        return np.asarray(self._confusion[self.voters.index(voter)].T)

    def explain(self, votes: VoteMatrix | npt.ArrayLike, i: int, lengths: npt.ArrayLike | None = None) -> pd.DataFrame:
        """Say which voter moved token ``i``, and how much: one line a voter that counts, the strongest first.

        Columns and ``attrs`` are those of :meth:`LabelModel.explain`. With ``lengths`` the line ``(context)`` is what
        the tokens around it say through the chain; without, the token stands alone and ``(prior)`` is the class
        balance.
        """
        matrix = self._known(votes)
        if not 0 <= i < matrix.shape[0]:
            raise Invalid(f"There is no token {i}; tokens are from 0 to {matrix.shape[0] - 1}.")
        tokens = np.ones(matrix.shape[0], np.int64) if lengths is None else as_lengths(lengths, matrix.shape[0])
        document = int(np.searchsorted(np.cumsum(tokens), i, side="right"))
        length = tokens[[document]]
        place = i - int(tokens[:document].sum())
        one = matrix.take(np.arange(i - place, i - place + int(length[0])))
        seen = _Seen(one, length, self._silence_tells)
        cells = seen.cells_of(place)
        heard = np.flatnonzero(cells >= 0)
        gains = self._log_theta.reshape(len(self.voters), -1, len(self.states))[heard, cells[heard]]
        if lengths is None:
            joint = np.log(np.maximum(self._state_prior, 1e-300)) + gains.sum(axis=0)
            q = np.exp(joint - joint.max())
            q /= q.sum()
        else:
            q = self._smoothed(one, length)[place]
        # What a vote says of O is what it says of the kinds of O that this token may be.
        kinds = np.maximum(q, 1e-300)
        gains = np.log(_classes(kinds * np.exp(gains)) / _classes(kinds))
        proba = _classes(q)
        second, first = np.argsort(proba, kind="stable")[-2:]
        weights = gains[:, first] - gains[:, second]
        # What the chain forbids would weigh infinitely.
        log_proba = np.log(np.maximum(proba, 1e-12))
        rest = float(log_proba[first] - log_proba[second] - weights.sum())
        said = one.to_dense()[place]
        lines = [("(prior)" if lengths is None else "(context)", ABSTAIN, rest)]
        lines += [(self.voters[j], int(said[j]), float(weight)) for j, weight in zip(heard, weights, strict=True)]
        table = pd.DataFrame(lines, columns=["voter", "vote", "weight"])
        table.attrs.update(label=int(first), against=int(second), probability=float(proba[first]))
        return table.iloc[np.argsort(-table["weight"].abs().to_numpy(), kind="stable")].reset_index(drop=True)

    def _proba(self, votes: VoteMatrix, lengths: IntArray) -> FloatArray:
        return _classes(self._smoothed(votes, lengths))

    def _smoothed(self, votes: VoteMatrix, lengths: IntArray) -> FloatArray:
        """Return the probability of each state of each token, shape (n, k + 3)."""
        log_emission = _Seen(votes, lengths, self._silence_tells).emission(self._log_theta)
        q = np.empty_like(log_emission)
        for batch in _batches(lengths, len(self.states)):
            emission, _ = _scaled(log_emission, batch.rows, None)
            q[batch.rows] = _smooth(emission, self.start_, self.transitions_, batch)[0]
        return q

    def _best(self, votes: VoteMatrix, lengths: IntArray) -> IntArray:
        log_emission = _Seen(votes, lengths, self._silence_tells).emission(self._log_theta)
        best = np.empty(votes.shape[0], dtype=np.int64)
        with np.errstate(divide="ignore"):
            start, transitions = np.log(self.start_), np.log(self.transitions_)
        for batch in _batches(lengths, len(self.states) ** 2):
            best[batch.rows] = _viterbi(log_emission[batch.rows], start, transitions, batch)
        # Where nobody said anything, the chain alone would speak.
        spoken = _by_document(votes.covered[:, None].astype(np.float64), lengths)[:, 0] > 0
        return np.where(np.repeat(spoken, lengths), _class_of(self.n_classes)[best], OUTSIDE)

    def _maximise(self, counts: _Counts) -> None:
        self.start_ = counts.first / counts.first.sum()
        self.transitions_ = _shares(counts.chain)
        self._log_theta = np.log(_shares(counts.emitted, axis=2))

    def _log_prior(self, priors: _Counts) -> float:
        chain, start = (allowed > 0 for allowed in _allowed(self.n_classes))
        return float(
            (priors.emitted * self._log_theta).sum()
            + (priors.chain[chain] * np.log(self.transitions_[chain])).sum()
            + (priors.first[start] * np.log(self.start_[start])).sum()
        )


@dataclass(frozen=True)
class _Counts:
    """What one step of EM counts, or a prior in the same units.

    ``first`` (k + 3,) states of first tokens, ``chain`` (k + 3, k + 3) pairs of neighbours, and ``emitted``
    (m, g, k + 1, k + 3): the voter, the label of their vote before (0: none), their symbol (the last is silence), and
    the true state.
    """

    first: FloatArray
    chain: FloatArray
    emitted: FloatArray

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.first + other.first, self.chain + other.chain, self.emitted + other.emitted)


class _Seen:
    """The votes as the hidden Markov model reads them.

    A cell of a voter is the pair (label of the vote before, symbol). Only cells other than (none, silence), the base,
    are stored. ``by_document`` (d, m) says in which documents a voter's silence counts: all of those whose
    ``silence_tells`` (m,), else where they voted.
    """

    def __init__(self, votes: VoteMatrix, lengths: IntArray, silence_tells: npt.NDArray[np.bool_]) -> None:
        n, m = votes.shape
        k = votes.n_classes
        self.votes, self.lengths = votes, lengths
        self.shape = (m, (k + 1) // 2, k + 1)
        self.base = k
        self.by_document = np.tile(silence_tells, (len(lengths), 1))
        if not silence_tells.all():
            member = np.repeat(np.arange(len(lengths)), lengths), np.arange(n)
            document = sparse.csr_array((np.ones(n), member), shape=(len(lengths), n))
            said = sparse.csr_array((np.ones(votes.n_votes), votes.rows.indices, votes.rows.indptr), shape=(n, m))
            self.by_document |= (document @ said).toarray() > 0
        self.cells = _cells(votes, lengths)
        patterns = distinct_rows(self.cells)
        rows = patterns.matrix
        self.inverse, self.n_patterns = patterns.inverse, len(patterns.counts)
        columns = rows.indices.astype(np.int64) * (self.shape[1] * (k + 1)) + rows.data - 1
        width = m * self.shape[1] * (k + 1)
        self.onehot = sparse.csr_array((np.ones(rows.nnz), columns, rows.indptr), shape=(self.n_patterns, width))
        self.not_base = sparse.csr_array((np.ones(rows.nnz), rows.indices, rows.indptr), shape=(self.n_patterns, m))
        self.gather = sparse.csr_array((np.ones(n), (self.inverse, np.arange(n))), shape=(self.n_patterns, n))

    def emission(self, log_theta: FloatArray) -> FloatArray:
        """Return the log-probability of each token's votes for each true state, shape (n, k + 3)."""
        silence = log_theta[:, 0, -1]
        by_pattern = self.onehot @ log_theta.reshape(-1, log_theta.shape[-1]) - self.not_base @ silence
        base = self.by_document.astype(np.float64) @ silence
        return np.asarray(by_pattern[self.inverse] + np.repeat(base, self.lengths, axis=0))

    def count(self, q: FloatArray) -> FloatArray:
        """Return the expected number of each cell of each voter by true state, shape (m, g, k + 1, k + 3)."""
        counts = np.asarray(self.onehot.T @ (self.gather @ q)).reshape(*self.shape, q.shape[1])
        heard = self.by_document.T.astype(np.float64) @ _by_document(q, self.lengths)
        counts[:, 0, -1] = np.maximum(heard - counts.sum(axis=(1, 2)), 0.0)
        return counts

    def shares(self) -> FloatArray:
        """Return the vote shares of each token, shape (n, k), the silent voters together being one vote for O.

        A vote each would bury the few functions that find anything; none at all would believe the worst of them.
        """
        sums = class_sums(self.votes.rows, self.votes.n_classes, np.ones(self.votes.n_votes))
        heard = np.repeat(self.by_document.sum(axis=1), self.lengths)
        sums[:, OUTSIDE] += 1 - sums.sum(axis=1) / np.maximum(heard, 1)
        return _shares(sums)

    def cells_of(self, row: int) -> IntArray:
        """Return each voter's cell in a row of the only document, shape (m,), -1 where silence tells nothing."""
        cells = np.where(self.by_document[0], self.base, -1)
        part = slice(self.cells.indptr[row], self.cells.indptr[row + 1])
        cells[self.cells.indices[part]] = self.cells.data[part] - 1
        return cells


def _cells(votes: VoteMatrix, lengths: IntArray) -> sparse.csr_array:
    """Return each voter's cell for each token plus 1, shape (n, m), nothing stored for the base."""
    k = votes.n_classes
    rows = votes.rows
    token = np.repeat(np.arange(votes.shape[0]), np.diff(rows.indptr))
    follows = np.append(_follows(lengths), False)
    label = rows.data.astype(np.int64) // 2
    goes_on = (label > 0) & follows[token + 1]
    # A symbol less k, so that silence is the zero of the sum, plus k + 1 for each number of a label.
    now = sparse.csr_array((rows.data.astype(np.int64) - 1 - k, rows.indices, rows.indptr), shape=votes.shape)
    before = sparse.csr_array(
        (label[goes_on] * (k + 1), (token[goes_on] + 1, rows.indices[goes_on])), shape=votes.shape
    )
    both = sparse.csr_array(now + before)
    both.data += k + 1
    return both


def _class_of(k: int) -> IntArray:
    """Return the class of each state: its own number, and O for the three states behind."""
    return np.concatenate([np.arange(k), np.full(3, OUTSIDE)])


def _classes(by_state: FloatArray) -> FloatArray:
    """Add up the four kinds of O, on the last axis."""
    by_class = by_state[..., :-3].copy()
    by_class[..., OUTSIDE] += by_state[..., -3:].sum(axis=-1)
    return by_class


def _allowed(k: int) -> tuple[FloatArray, FloatArray]:
    """Return 1 where a state may follow another, shape (k + 3, k + 3), and where it may be first, shape (k + 3,)."""
    tag = _class_of(k)
    outside, begins = tag == OUTSIDE, tag % 2 == 1
    inside = ~outside & ~begins
    label = (tag + 1) // 2
    after, before = np.zeros((2, k + 3), dtype=np.bool_)
    after[[k, k + 2]] = before[[k + 1, k + 2]] = True
    chain = ~inside[None, :] | (label[:, None] == label[None, :])
    chain &= ~outside[None, :] | (after[None, :] != outside[:, None])
    chain &= ~outside[:, None] | (before[:, None] == begins[None, :])
    return chain.astype(np.float64), (~inside & ~after).astype(np.float64)


def _split(q: FloatArray, lengths: IntArray) -> FloatArray:
    """Tell apart the four kinds of O as if neighbours were independent: from (n, k) to (n, k + 3)."""
    if not len(q):
        return np.zeros((0, q.shape[1] + 3))
    follows = _follows(lengths)
    after = np.append(0.0, 1 - q[:-1, OUTSIDE]) * follows
    before = np.append((q[:, 1::2].sum(axis=1) * follows)[1:], 0.0)
    kinds = np.stack([(1 - after) * (1 - before), after * (1 - before), (1 - after) * before, after * before], axis=1)
    kinds *= q[:, [OUTSIDE]]
    return np.concatenate([kinds[:, :1], q[:, 1:], kinds[:, 1:]], axis=1)


def _follows(lengths: IntArray) -> npt.NDArray[np.bool_]:
    """Return whether a token has another before it in its document, shape (n,)."""
    follows = np.ones(int(lengths.sum()), dtype=np.bool_)
    follows[starts_of(lengths)] = False
    return follows


def _independent_pairs(q: FloatArray, lengths: IntArray) -> FloatArray:
    """Count pairs of neighbours as if they were independent."""
    later = np.flatnonzero(_follows(lengths))
    return np.asarray(q[later - 1].T @ q[later])


@dataclass(frozen=True)
class _Batch:
    """Documents of like length, token by token: first the first tokens of all, then the second of those that have one.

    ``rows`` (n,) are the tokens' rows in that order, ``offsets`` (t + 1,) where each step begins. The longest documents
    come first, so that those that go on are the beginning of the step before.
    """

    rows: IntArray
    offsets: IntArray

    def steps(self) -> Iterator[tuple[slice, slice]]:
        """Give each step from the second on, with the part of the step before that it continues."""
        for before, now, end in zip(self.offsets[:-2], self.offsets[1:-1], self.offsets[2:], strict=True):
            yield slice(now, end), slice(before, before + end - now)


def _batches(lengths: IntArray, cells_a_token: int) -> Iterator[_Batch]:
    """Sort documents by length, the longest first, and cut them where a batch would pass some 32 MB."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    starts = np.cumsum(lengths) - lengths
    parts = np.cumsum(lengths[order]) * cells_a_token // _BATCH_CELLS
    for some in np.split(order, np.flatnonzero(np.diff(parts)) + 1):
        if not len(some):
            return
        token = np.arange(lengths[some].sum()) - np.repeat(np.cumsum(lengths[some]) - lengths[some], lengths[some])
        rank = np.repeat(np.arange(len(some)), lengths[some])
        by_step = np.lexsort((rank, token))
        rows = np.repeat(starts[some], lengths[some]) + token
        yield _Batch(rows[by_step], np.concatenate([[0], np.cumsum(np.bincount(token))]))


def _smooth(
    emission: FloatArray, start: FloatArray, transitions: FloatArray, batch: _Batch
) -> tuple[FloatArray, FloatArray, float]:
    """Return the probability of each class of each token, the expected pairs (k, k), and the log-likelihood.

    Smoothing divides by the prediction instead of running a second recursion, so nothing under- or overflows.
    """
    filtered, predicted = np.empty_like(emission), np.empty_like(emission)
    evidence = np.empty(len(emission))
    first = slice(0, int(batch.offsets[1]))
    for now, before in [(first, None), *batch.steps()]:
        predicted[now] = start if before is None else filtered[before] @ transitions
        joint = predicted[now] * emission[now]
        evidence[now] = joint.sum(axis=1)
        filtered[now] = joint / evidence[now, None]
    q = filtered.copy()
    ratio = np.zeros_like(emission)
    for now, before in reversed(list(batch.steps())):
        np.divide(q[now], predicted[now], out=ratio[now], where=predicted[now] > 1e-290)
        q[before] = filtered[before] * (ratio[now] @ transitions.T)
        q[before] /= q[before].sum(axis=1, keepdims=True)
    pairs = np.zeros_like(transitions)
    if len(batch.offsets) > 2:
        earlier = np.concatenate([np.arange(before.start, before.stop) for _, before in batch.steps()])
        pairs = transitions * (filtered[earlier].T @ ratio[first.stop :])
    return q, pairs, float(np.log(evidence).sum())


def _viterbi(log_emission: FloatArray, start: FloatArray, transitions: FloatArray, batch: _Batch) -> IntArray:
    """Return the likeliest tagging of each document, in the order of the batch."""
    came_from = np.zeros(log_emission.shape, dtype=np.int16)
    score = np.empty_like(log_emission)
    first = slice(0, int(batch.offsets[1]))
    score[first] = start + log_emission[first]
    for now, before in batch.steps():
        ways = score[before, :, None] + transitions
        came_from[now] = ways.argmax(axis=1)
        score[now] = ways.max(axis=1) + log_emission[now]
    best = score.argmax(axis=1)  # right where a document ends, replaced below where it goes on
    for now, before in reversed(list(batch.steps())):
        best[before] = np.take_along_axis(came_from[now], best[now, None], axis=1)[:, 0]
    return np.asarray(best)


def _scaled(log_emission: FloatArray, rows: IntArray, gold: IntArray | None) -> tuple[FloatArray, float]:
    """Return emissions relative to the largest of each token, and the sum of what was taken off in logarithms."""
    part = log_emission[rows]
    possible = np.ones_like(part)
    if gold is not None:
        known = gold[rows, None]
        possible[(known != ABSTAIN) & (_class_of(part.shape[1] - 3) != known)] = 0.0
    top = np.where(possible > 0, part, -np.inf).max(axis=1)
    # What is impossible may be larger than the largest that isn't.
    emission = np.exp(np.minimum(part - top[:, None], 0.0))
    return np.maximum(emission, _LEAST_EMISSION) * possible, float(top.sum())


def _by_document(values: FloatArray, lengths: IntArray) -> FloatArray:
    """Sum rows by document, shape (d, ...)."""
    sums = np.zeros((len(lengths), values.shape[1]))
    if len(values):
        sums[lengths > 0] = np.add.reduceat(values, starts_of(lengths), axis=0)
    return sums


def _clamp(q: FloatArray, gold: IntArray | None) -> None:
    if gold is not None:
        known = np.flatnonzero(gold != ABSTAIN)
        q[known] = np.eye(q.shape[1])[gold[known]]


def _shares(counts: FloatArray, axis: int = 1) -> FloatArray:
    return np.asarray(counts / counts.sum(axis=axis, keepdims=True))


def _collapse_notes(q: FloatArray, votes: VoteMatrix, gold: IntArray | None, labels: Sequence[str]) -> tuple[str, ...]:
    """Say which labels the fit gave up though most voters see them somewhere, or spread to where no voter does."""
    counts = votes.class_counts()
    total = np.asarray(counts.sum(axis=1)).ravel()
    known = np.zeros(len(q), dtype=np.bool_) if gold is None else gold != ABSTAIN
    notes = []
    for i, label in enumerate(labels):
        both = [1 + 2 * i, 2 + 2 * i]
        here = np.asarray(counts[:, both].sum(axis=1)).ravel()
        seen, mostly = here > 0, here > total / 2
        share = float(q[:, both].sum(axis=1).mean())
        # Known answers may well be against the voters.
        lost = share < mostly.mean() / 10 and mostly.sum() >= 10 and (known & mostly).sum() < 10
        spread = share > 3 * seen.mean() + 0.02
        if lost or spread:
            notes.append(
                f"COLLAPSED: label {label!r} is on {share:.1%} of the tokens; voters see it on {seen.mean():.1%}, "
                f"most of them on {mostly.mean():.1%}. Don't trust this fit."
            )
    return tuple(notes)


def _valid_gold(gold: IntArray, lengths: IntArray) -> IntArray:
    """Make known tags possible: an I- after a known tag of another label, or at the start of a document, is a B-."""
    label = np.where(gold == ABSTAIN, ABSTAIN, (gold + 1) // 2)
    before = np.concatenate([[OUTSIDE], label])[: len(gold)]
    before[starts_of(lengths)] = OUTSIDE
    stray = (gold > OUTSIDE) & (gold % 2 == 0) & (before != ABSTAIN) & (before != label)
    return np.where(stray, gold - 1, gold)


def as_lengths(lengths: npt.ArrayLike, n_rows: int) -> IntArray:
    """Check the documents' numbers of tokens, shape (d,): not negative, and together ``n_rows``.

    Examples
    --------
    >>> as_lengths([3, 2], 5).tolist()
    [3, 2]
    """
    tokens = as_integers(lengths, "lengths")
    if tokens.ndim != 1:
        raise Invalid(f"The lengths must be one list, one number a document, not {tokens.ndim}-dimensional.")
    if len(tokens) and tokens.min() < 0:
        raise Invalid(f"A document has 0 tokens or more, not {tokens.min()}.")
    if int(tokens.sum()) != n_rows:
        raise Invalid(f"The lengths add up to {int(tokens.sum())} tokens, and the votes have {n_rows} rows.")
    return np.asarray(tokens, dtype=np.int64)
