"""Fit a label model, and choose one when asked to."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.models.base import LabelModel
from jupyter_ext.labeling.models.dawid_skene import DawidSkene
from jupyter_ext.labeling.models.ebcc import EBCC
from jupyter_ext.labeling.models.hyper import MOST_CLASSES, HyperLabelModel
from jupyter_ext.labeling.models.ibcc import IBCC
from jupyter_ext.labeling.models.majority import MajorityVote
from jupyter_ext.labeling.models.metal import MeTaL
from jupyter_ext.labeling.models.triplet import Triplet
from jupyter_ext.labeling.models.weighted_majority import WeightedMajority
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix, as_gold, as_votes

Method = Literal["auto", "majority", "weighted_majority", "triplet", "dawid_skene", "ibcc", "ebcc", "hyper", "metal"]
Missing = Literal["auto", "symbol", "missing"]

#: From how many known answers on they choose the model; fewer tell too little (a standard error of 9 points at 30).
_ENOUGH_GOLD = 30
#: Rows that tell how far two models differ, to a percent.
_SAMPLE = 2_500


def fit_label_model(
    votes: VoteMatrix | npt.ArrayLike,
    n_classes: int | None = None,
    method: Method = "auto",
    class_prior: npt.ArrayLike | None = None,
    gold: npt.ArrayLike | None = None,
    missing: Missing = "auto",
    random_state: int = 0,
) -> LabelModel:
    """Fit a model that turns votes into labels with probabilities.

    Parameters
    ----------
    votes
        A :class:`~jupyter_ext.labeling.VoteMatrix`, or an integer array (n rows, m voters), -1 where a voter abstains.
    n_classes
        How many classes there are; the matrix's own number without.
    method
        ``"majority"``, ``"weighted_majority"``, ``"triplet"``, ``"dawid_skene"``, ``"ibcc"``, ``"ebcc"``, ``"hyper"``,
        ``"metal"``, or ``"auto"``, which chooses and says why in ``.report``.
    class_prior
        Known shares of the classes, shape (k,).
    gold
        Known answers, shape (n,), -1 where unknown. The weighted majority, Dawid-Skene, iBCC and EBCC hold them fixed,
        the hyper label model is calibrated to them, and MeTaL starts from them. From 30 on they give MeTaL the shares
        of the classes, and ``"auto"`` chooses by them.
    missing
        What silence means: ``"symbol"`` (it tells something), ``"missing"`` (it tells nothing), or ``"auto"``: a symbol
        for functions and models, missing for people.
    random_state
        Seed of methods that draw: EBCC's starts.

    Returns
    -------
    LabelModel
        ``predict_proba(votes)`` (n, k), ``predict(votes)`` (n,) with -1 where nothing voted, ``explain(votes, i)``,
        ``method``, ``report``, ``class_prior_``.

    Raises
    ------
    Invalid
        No vote at all, votes outside the classes, NaN, fewer than two classes, gold or prior of the wrong length.

    Notes
    -----
    Functions that repeat each other are found by the weighted majority, the hyper label model and MeTaL, which count
    them less; ``.report.notes`` names them. The other methods count every vote.

    ``"auto"`` takes the hyper label model for functions. For people alone it takes Dawid-Skene where each gave as many
    votes as a confusion matrix has cells, else iBCC, whose prior steadies voters with few votes. Above 100 classes it
    takes the majority, and also whenever the model collapses: gives up a class that a good share of the votes is for.

    Examples
    --------
    >>> model = fit_label_model([[0, 0, -1], [1, 1, 1], [0, 1, 1], [-1, -1, -1]], method="majority")
    >>> model.predict([[0, 0, -1], [1, 1, 1], [0, 1, 1], [-1, -1, -1]]).tolist()
    [0, 1, 1, -1]
    """
    matrix = as_votes(votes, n_classes)
    if not matrix.n_votes:
        raise Invalid("There is no vote at all; apply functions or label some rows first.")
    ask = _Request(
        matrix,
        symbol=_silence(matrix, missing),
        prior=None if class_prior is None else _as_prior(class_prior, matrix.n_classes),
        gold=None if gold is None else as_gold(gold, matrix),
        random_state=random_state,
    )
    if method == "auto":
        return _choose(ask)
    if method not in _FITS:
        known = ", ".join(repr(name) for name in _FITS)
        raise Invalid(f"There is no label model {method!r}; there are 'auto', {known}.")
    model = ask.fit(method)
    for note in model.given_up:
        warnings.warn(note, UserWarning, stacklevel=2)
    return model


@dataclass(frozen=True)
class _Request:
    """What was asked for: everything but the method."""

    votes: VoteMatrix
    symbol: npt.NDArray[np.bool_]
    prior: FloatArray | None
    gold: IntArray | None
    random_state: int

    def fit(self, method: str, reason: str = "asked for") -> LabelModel:
        return _FITS[method](self, reason)


_FITS: dict[str, Callable[[_Request, str], LabelModel]] = {
    "majority": lambda ask, reason: MajorityVote(ask.votes, class_prior=ask.prior, reason=reason),
    "weighted_majority": lambda ask, reason: WeightedMajority(
        ask.votes, class_prior=ask.prior, gold=ask.gold, reason=reason
    ),
    "triplet": lambda ask, reason: Triplet(ask.votes, class_prior=ask.prior, reason=reason),
    "dawid_skene": lambda ask, reason: DawidSkene(
        ask.votes, symbol=ask.symbol, class_prior=ask.prior, gold=ask.gold, reason=reason
    ),
    "ibcc": lambda ask, reason: IBCC(ask.votes, symbol=ask.symbol, class_prior=ask.prior, gold=ask.gold, reason=reason),
    "ebcc": lambda ask, reason: EBCC(
        ask.votes,
        symbol=ask.symbol,
        class_prior=ask.prior,
        gold=ask.gold,
        random_state=ask.random_state,
        reason=reason,
    ),
    "hyper": lambda ask, reason: HyperLabelModel(ask.votes, class_prior=ask.prior, gold=ask.gold, reason=reason),
    "metal": lambda ask, reason: MeTaL(ask.votes, class_prior=ask.prior, gold=ask.gold, reason=reason),
}


def _choose(ask: _Request) -> LabelModel:
    """Choose by known answers where there are enough, else by what the voters are; fall back to the majority aloud."""
    votes = ask.votes
    usable = np.zeros(0, np.int64) if ask.gold is None else np.flatnonzero((ask.gold != ABSTAIN) & votes.covered)
    if ask.gold is not None and len(usable) >= _ENOUGH_GOLD:
        method, reason = _by_gold(ask, usable, ask.gold[usable])
    else:
        method, reason = _by_voters(ask)
    model = ask.fit(method, reason)
    if method == "majority":
        return model
    if model.collapsed:
        notes = model.report.notes
        fallen = MajorityVote(
            votes, class_prior=ask.prior, reason=f"fell back from {method}, which collapsed", notes=notes
        )
        warnings.warn(f"{model.given_up[0]} The majority vote is used instead.", UserWarning, stacklevel=3)
        return fallen
    notes = (*model.report.notes, f"It differs from the majority on {_apart(model, votes):.1%} of the covered rows.")
    model.report = replace(model.report, notes=notes)
    return model


def _apart(model: LabelModel, votes: VoteMatrix) -> float:
    """Return the share of covered rows that the model labels otherwise than the majority, from a sample of them."""
    rows = np.flatnonzero(votes.covered)
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
    some = votes.take(rows)
    return float((model.predict(some) != MajorityVote(some).predict(some)).mean())


def _by_gold(ask: _Request, rows: IntArray, known: IntArray) -> tuple[str, str]:
    # Compared without having seen the answers, which would favour the models that hold them fixed.
    blind = replace(ask, gold=None)
    methods = ["majority", "dawid_skene", "ibcc"]
    if ask.votes.n_classes <= MOST_CLASSES:
        methods.append("hyper")
    loss = {method: _log_loss(blind.fit(method).predict_proba(ask.votes)[rows], known) for method in methods}
    best = min(methods, key=lambda method: loss[method])
    told = ", ".join(f"{method} {value:.3f}" for method, value in loss.items())
    return best, f"chosen by the log loss on {len(rows)} known answers: {told}"


def _by_voters(ask: _Request) -> tuple[str, str]:
    votes, k = ask.votes, ask.votes.n_classes
    per_voter = votes.n_votes / votes.shape[1]
    if k > MOST_CLASSES:
        return "majority", f"chosen because {k} classes are too many to learn how voters confuse them"
    if ask.symbol.any():
        return "hyper", "chosen because it reads functions of every kind without a fit that could go astray"
    if per_voter < k**2:
        return (
            "ibcc",
            f"chosen because a person gave {per_voter:.1f} votes on average, too few for the {k**2} cells of a "
            "confusion matrix without a prior",
        )
    return "dawid_skene", "chosen because every person gave enough votes to tell how reliable each is"


def _silence(votes: VoteMatrix, missing: Missing) -> npt.NDArray[np.bool_]:
    if missing == "auto":
        return np.array([kind != "person" for kind in votes.kinds])
    if missing not in ("symbol", "missing"):
        raise Invalid(f"missing must be 'auto', 'symbol' or 'missing', not {missing!r}.")
    return np.full(votes.shape[1], missing == "symbol")


def _as_prior(class_prior: npt.ArrayLike, n_classes: int) -> FloatArray:
    prior = np.asarray(class_prior, dtype=np.float64)
    if prior.shape != (n_classes,) or not np.isfinite(prior).all() or (prior < 0).any() or abs(prior.sum() - 1) > 1e-6:
        raise Invalid(f"A class prior must be {n_classes} shares that add up to 1.")
    return prior


def _log_loss(proba: FloatArray, gold: IntArray) -> float:
    return float(-np.log(np.clip(proba[np.arange(len(gold)), gold], 1e-3, 1.0)).mean())
