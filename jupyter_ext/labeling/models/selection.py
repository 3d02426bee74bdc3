"""Fit a label model, and choose one when asked to."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.models.base import LabelModel
from jupyter_ext.labeling.models.dawid_skene import DawidSkene
from jupyter_ext.labeling.models.majority import MajorityVote
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, VoteMatrix, as_gold, as_votes

Method = Literal["auto", "majority", "dawid_skene"]
Missing = Literal["auto", "symbol", "missing"]

#: From how many known answers on they choose the model; fewer tell too little (a standard error of 9 points at 30).
_ENOUGH_GOLD = 30


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
        ``"majority"``, ``"dawid_skene"``, or ``"auto"``, which chooses and says why in ``.report``.
    class_prior
        Known shares of the classes, shape (k,).
    gold
        Known answers, shape (n,), -1 where unknown. Dawid-Skene holds them fixed; ``"auto"`` chooses by 30 or more.
    missing
        What silence means: ``"symbol"`` (it tells something), ``"missing"`` (it tells nothing), or ``"auto"``: a symbol
        for functions, missing for people.
    random_state
        Seed of methods that draw. Those here don't.

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
    ``"auto"`` takes Dawid-Skene where several classes of every function can be checked against each other, and for
    people; the majority where a function knows one class only (its accuracy can't be told from the class's share),
    where voters gave fewer votes than a confusion matrix has cells, and whenever Dawid-Skene collapses.

    Examples
    --------
    >>> model = fit_label_model([[0, 0, -1], [1, 1, 1], [0, 1, 1], [-1, -1, -1]], method="majority")
    >>> model.predict([[0, 0, -1], [1, 1, 1], [0, 1, 1], [-1, -1, -1]]).tolist()
    [0, 1, 1, -1]
    """
    matrix = as_votes(votes, n_classes)
    if not matrix.n_votes:
        raise Invalid("There is no vote at all; apply functions or label some rows first.")
    prior = None if class_prior is None else _as_prior(class_prior, matrix.n_classes)
    known = None if gold is None else as_gold(gold, matrix)
    symbol = _silence(matrix, missing)
    if method == "majority":
        return MajorityVote(matrix, class_prior=prior)
    if method == "dawid_skene":
        model = DawidSkene(matrix, symbol=symbol, class_prior=prior, gold=known)
        for note in model.report.notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        return model
    if method == "auto":
        return _choose(matrix, symbol, prior, known)
    raise Invalid(f"There is no label model {method!r}; there are 'auto', 'majority' and 'dawid_skene'.")


def _choose(
    votes: VoteMatrix, symbol: npt.NDArray[np.bool_], prior: FloatArray | None, gold: IntArray | None
) -> LabelModel:
    def majority(reason: str, notes: tuple[str, ...] = ()) -> LabelModel:
        return MajorityVote(votes, class_prior=prior, reason=reason, notes=notes)

    usable = np.zeros(0, np.int64) if gold is None else np.flatnonzero((gold != ABSTAIN) & votes.covered)
    if gold is not None and len(usable) >= _ENOUGH_GOLD:
        # Compared without having seen the answers, which would favour the model that holds them fixed.
        loss = {
            model.method: _log_loss(model.predict_proba(votes)[usable], gold[usable])
            for model in (majority(""), DawidSkene(votes, symbol=symbol, class_prior=prior))
        }
        told = (
            f"log loss on {len(usable)} known answers: "
            f"majority {loss['majority']:.3f}, Dawid-Skene {loss['dawid_skene']:.3f}"
        )
        if loss["majority"] <= loss["dawid_skene"]:
            return majority(f"chosen by the {told}")
        reason = f"chosen by the {told}"
    else:
        one_sided = [votes.voters[j] for j in np.flatnonzero(symbol) if len(np.unique(votes.column(int(j))[1])) == 1]
        if one_sided:
            shown = ", ".join(one_sided[:3]) + (", …" if len(one_sided) > 3 else "")
            return majority(
                f"chosen because {len(one_sided)} functions vote for one class only ({shown}): "
                "how often they are right can't be told from votes alone"
            )
        per_voter, cells = votes.n_votes / votes.shape[1], votes.n_classes**2
        if per_voter < cells:
            return majority(
                f"chosen because a voter gave {per_voter:.1f} votes on average, "
                f"too few for the {cells} cells of a confusion matrix"
            )
        reason = "chosen because every voter takes several classes, so their agreement tells how reliable each is"
    model = DawidSkene(votes, symbol=symbol, class_prior=prior, gold=gold, reason=reason)
    if model.collapsed:
        return majority("fell back from Dawid-Skene, which collapsed", notes=model.report.notes)
    apart = float((model.predict(votes) != majority("").predict(votes))[votes.covered].mean())
    model.report = replace(model.report, notes=(f"It differs from the majority on {apart:.1%} of the covered rows.",))
    return model


def _silence(votes: VoteMatrix, missing: Missing) -> npt.NDArray[np.bool_]:
    if missing == "auto":
        return np.array([kind == "function" for kind in votes.kinds])
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
