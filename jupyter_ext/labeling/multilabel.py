"""Tasks where a row may have several labels at once: a yes or no for each label of each row."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.masi import masi_agreement
from jupyter_ext.labeling.models.base import FitReport, LabelModel
from jupyter_ext.labeling.models.pooled import fit_pooled
from jupyter_ext.labeling.models.selection import Method, Missing, fit_label_model
from jupyter_ext.labeling.quality import agreement
from jupyter_ext.labeling.votes import (
    ABSTAIN,
    FloatArray,
    IntArray,
    VoteMatrix,
    as_integers,
    as_votes,
)

MultiLabelMethod = Literal[Method, "pooled"]

#: An array (n rows, m voters, l labels), 1 yes, 0 no, -1 silent; or for each label its votes, (n, m).
Votes: TypeAlias = npt.ArrayLike | Mapping[str, VoteMatrix | npt.ArrayLike]

#: The line of the sets in :func:`multilabel_agreement`.
SETS = "(sets)"


def fit_multilabel_model(
    votes: Votes,
    labels: Sequence[str] | None = None,
    method: MultiLabelMethod = "auto",
    gold: npt.ArrayLike | None = None,
    class_prior: npt.ArrayLike | None = None,
    missing: Missing = "auto",
    random_state: int = 0,
) -> MultiLabelModel:
    """Fit a model that turns votes on each label into a probability of each label: one label model a label.

    No is a vote. Whoever saw a row and chose some of its labels said no (0) to the others; -1 is for what they were
    never asked, or for a function that has no opinion.

    Parameters
    ----------
    votes
        An array (n rows, m voters, l labels): 1 yes, 0 no, -1 silent. Or, sparse, a mapping from each label to its
        votes: a :class:`~jupyter_ext.labeling.VoteMatrix` of two classes, 0 no and 1 yes, or an array (n, m), all with
        the same voters. Voters of arrays are functions; build matrices with ``kind="person"`` for people.
    labels
        Names of the labels, in the order of the columns of what is returned; the mapping's own without.
    method
        A method of :func:`~jupyter_ext.labeling.fit_label_model` for each label by itself, or ``"pooled"``:
        Dawid-Skene over all labels, where what a voter is like on the others steadies each. It reads silence as
        missing. ``"auto"`` takes it for people who voted on two labels or more, and else chooses for each label.
    gold
        Known answers, shape (n, l): 1, 0, and -1 where unknown.
    class_prior
        Known shares of the rows that have each label, shape (l,).
    missing, random_state
        As in :func:`~jupyter_ext.labeling.fit_label_model`.

    Returns
    -------
    MultiLabelModel
        ``predict_proba(votes)`` (n, l), ``predict(votes)`` (n, l) of 1, 0, and -1 where nothing voted about a label,
        ``explain(votes, i, label)``, ``models``, ``report``, ``class_prior_``.

    Raises
    ------
    Invalid
        No vote at all, votes other than 1, 0 and -1, NaN, labels that differ from those of the votes, labels with other
        rows or voters than the rest, gold or prior of the wrong shape.

    Warns
    -----
    UserWarning
        Nobody voted about a label, everybody only ever said yes to it, or its fit collapsed (``"auto"`` then takes the
        majority for it). The other labels are as good as without it.

    Notes
    -----
    Mean F1 of the labels, then log loss, on 400 simulated rows with 15 labels of 2 to 30 % of the rows; each row was
    seen by 3 of 30 people, who find two thirds of what is there on average:

    ============================  ============  ============  ============
    people                        majority      Dawid-Skene   pooled
    ============================  ============  ============  ============
    alike on all labels           0.77   0.20   0.74   0.25   0.79   0.14
    unlike from label to label    0.73   0.22   0.74   0.25   0.75   0.16
    very unlike                   0.63   0.32   0.72   0.27   0.73   0.18
    labels of 1 to 5 % only       0.65   0.11   0.45   0.20   0.65   0.06
    ============================  ============  ============  ============

    Labels are fitted as if they didn't depend on each other.

    Examples
    --------
    >>> votes = {
    ...     "spam": [[1, 1, 0], [0, 0, -1], [1, 1, 1], [-1, -1, -1]],
    ...     "rude": [[0, 0, 0], [1, 1, -1], [1, 0, 1], [-1, -1, -1]],
    ... }
    >>> model = fit_multilabel_model(votes, method="majority")
    >>> model.predict(votes).tolist()
    [[1, 0], [0, 1], [1, 1], [-1, -1]]
    >>> model.predict_proba(votes).round(2).tolist()[0]
    [0.67, 0.0]
    """
    names = _as_labels(votes, labels)
    if method not in get_args(MultiLabelMethod):
        known = ", ".join(repr(name) for name in get_args(MultiLabelMethod))
        raise Invalid(f"There is no model of several labels {method!r}; there are {known}.")
    if missing not in get_args(Missing):
        raise Invalid(f"missing must be 'auto', 'symbol' or 'missing', not {missing!r}.")
    if method == "pooled" and missing == "symbol":
        raise Invalid("The method 'pooled' reads silence as missing; it can't be a symbol.")
    matrices = _by_label(votes, names)
    prior = None if class_prior is None else _as_shares(class_prior, names, "class prior")
    answers = None if gold is None else _as_answers(gold, matrices)
    voted = [k for k, label in enumerate(names) if matrices[label].n_votes]
    if not voted:
        raise Invalid("There is no vote at all; apply functions or label some rows first.")

    def fit(k: int, method: Method) -> LabelModel:
        return fit_label_model(
            matrices[names[k]],
            method=method,
            class_prior=None if prior is None else [1 - prior[k], prior[k]],
            gold=None if answers is None else answers[:, k],
            missing=missing,
            random_state=random_state,
        )

    models: dict[str, LabelModel] = {}
    told: list[str] = []
    if method == "pooled" or (method == "auto" and len(voted) > 1 and _silence_is_missing(matrices, missing)):
        pooled = fit_pooled(
            [matrices[names[k]] for k in voted],
            class_prior=None if prior is None else prior[voted],
            gold=None if answers is None else answers[:, voted],
            reason="asked for" if method == "pooled" else "chosen because people are often alike on several labels",
        )
        for k, model in zip(voted, pooled, strict=True):
            models[names[k]] = model
            if not model.collapsed:
                continue
            told.append(f"Label {names[k]!r}: {model.given_up[0]}")
            if method == "auto":
                told[-1] += " The majority vote is used instead."
                models[names[k]] = fallen = fit(k, "majority")
                fallen.report = replace(
                    fallen.report, reason="fell back from pooled, which collapsed", notes=model.report.notes
                )
    else:
        for k in voted:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                models[names[k]] = fit(k, method)
            told += [f"Label {names[k]!r}: {warning.message}" for warning in heard]
    silent = [label for label in names if label not in models]
    if silent:
        told.append(
            f"Nobody voted about {_some(silent)}: no row is predicted to have it, and its probability is the class "
            "prior, NaN where none is given."
        )
    only_yes = [names[k] for k in voted if (matrices[names[k]].rows.data == 2).all()]
    if only_yes:
        told.append(
            f"All votes about {_some(only_yes)} are yes, so nothing tells which rows don't have it; who means no "
            "must vote 0."
        )
    for message in told:
        warnings.warn(message, UserWarning, stacklevel=2)
    n_rows = matrices[names[0]].shape[0]
    return MultiLabelModel(names, matrices[names[0]].voters, method, models, prior, n_rows)


class MultiLabelModel:
    """A label model for each label, and what they say together.

    Attributes
    ----------
    labels : tuple of str (l,)
    voters : tuple of str (m,)
    method : str
        As asked for; ``report`` tells what each label got.
    models : dict
        The :class:`LabelModel` of each label that anybody voted about; its classes are 0 (no) and 1 (yes).
    report : dict
        The :class:`FitReport` of each label.
    class_prior_ : array (l,)
        The share of rows with each label before any vote; NaN where nobody voted and no prior is given.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        voters: tuple[str, ...],
        method: str,
        models: dict[str, LabelModel],
        class_prior: FloatArray | None,
        n_rows: int,
    ) -> None:
        self.labels = labels
        self.voters = voters
        self.method = method
        self.models = models
        self.class_prior_ = np.full(len(labels), np.nan) if class_prior is None else class_prior.copy()
        self.report: dict[str, FitReport] = {}
        for k, label in enumerate(labels):
            if label in models:
                self.class_prior_[k] = models[label].class_prior_[1]
                self.report[label] = models[label].report
            else:
                balance = (1 - float(self.class_prior_[k]), float(self.class_prior_[k]))
                self.report[label] = FitReport("none", "nobody voted about it", n_rows, 0, 0, balance)

    def predict_proba(self, votes: Votes) -> FloatArray:
        """Return the probability that each row has each label, shape (n, l).

        Where nothing voted about a label it is ``class_prior_``: for a label that nobody ever voted about, the class
        prior that was given, and NaN without.
        """
        matrices = self._known(votes)
        proba = np.tile(self.class_prior_, (matrices[self.labels[0]].shape[0], 1))
        for k, label in enumerate(self.labels):
            if label in self.models:
                proba[:, k] = self.models[label].predict_proba(matrices[label])[:, 1]
        return proba

    def predict(self, votes: Votes, threshold: npt.ArrayLike = 0.5) -> npt.NDArray[np.int8]:
        """Return whether each row has each label, shape (n, l): 1, 0, and -1 where nothing voted about the label.

        A row has a label when its probability is at least the threshold, one for all labels or one each, (l,). At 0.5 a
        tie goes where :meth:`LabelModel.predict` sends it.
        """
        matrices = self._known(votes)
        one_for_all = np.ndim(threshold) == 0
        thresholds = _as_shares(
            np.full(len(self.labels), threshold) if one_for_all else threshold, self.labels, "threshold"
        )
        yes = np.full((matrices[self.labels[0]].shape[0], len(self.labels)), ABSTAIN, dtype=np.int8)
        for k, (label, least) in enumerate(zip(self.labels, thresholds, strict=True)):
            if label not in self.models:
                continue
            model, matrix = self.models[label], matrices[label]
            if least == 0.5:
                yes[:, k] = model.predict(matrix)
            else:
                yes[:, k] = np.where(matrix.covered, model.predict_proba(matrix)[:, 1] >= least, ABSTAIN)
        return yes

    def explain(self, votes: Votes, i: int, label: str) -> pd.DataFrame:
        """Say which voter moved ``label`` of row ``i``, and how much, as :meth:`LabelModel.explain` does.

        Raises
        ------
        Invalid
            There is no such row or label, or nobody voted about the label in the fit.
        """
        if label not in self.labels:
            raise Invalid(f"There is no label {label!r}; there are {_some(self.labels)}.")
        if label not in self.models:
            raise Invalid(f"Nobody voted about {label!r} when the model was fitted, so there is nothing to explain.")
        return self.models[label].explain(self._known(votes)[label], i)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.method!r}, {len(self.voters)} voters, {len(self.labels)} labels)"

    def _known(self, votes: Votes) -> dict[str, VoteMatrix]:
        matrices = _by_label(votes, self.labels, self.voters)
        others = matrices[self.labels[0]].voters
        if others != self.voters:
            raise Invalid(
                f"The model was fitted on {len(self.voters)} voters and can't read the votes of {len(others)} others."
            )
        return matrices


def multilabel_agreement(
    votes: Votes,
    labels: Sequence[str] | None = None,
    confidence: float = 0.95,
    *,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Return how far voters agree on each label, and on the sets of labels of a row: Krippendorff's alpha.

    A rare label may have a low alpha though its voters hardly ever differ; the sets tell whether they mean the same
    rows on the whole, and sets that overlap agree in part (:func:`~jupyter_ext.labeling.masi.masi_agreement`).

    Parameters
    ----------
    votes, labels
        As in :func:`fit_multilabel_model`.
    confidence
        Of the intervals, percentile bootstraps over rows.
    n_bootstrap, random_state
        How many samples the intervals rest on, and their seed.

    Returns
    -------
    DataFrame
        A line a label, and one named ``(sets)``: ``alpha``, ``low``, ``high``, ``n_items`` (rows with two votes or
        more). NaN where there is no such row; 1.0 where all votes are the same.

    Raises
    ------
    Invalid
        As :func:`fit_multilabel_model`, or a confidence outside of 0 to 1.

    Examples
    --------
    >>> votes = {"spam": [[1, 1], [0, 0], [1, 1]], "rude": [[0, 0], [1, 1], [1, 0]]}
    >>> multilabel_agreement(votes)[["alpha", "n_items"]].round(3)
            alpha  n_items
    spam    1.000        3
    rude    0.444        3
    (sets)  0.643        3
    """
    names = _as_labels(votes, labels)
    matrices = _by_label(votes, names)
    sets = masi_agreement(list(matrices.values()), confidence, n_bootstrap=n_bootstrap, random_state=random_state)
    lines = [
        agreement(matrices[label], confidence=confidence, n_bootstrap=n_bootstrap, random_state=random_state)
        for label in names
    ]
    table = pd.DataFrame([*lines, sets], index=[*names, SETS])
    return table.rename(columns={"value": "alpha"})


def _as_labels(votes: Votes, labels: Sequence[str] | None) -> tuple[str, ...]:
    if labels is None:
        if not isinstance(votes, Mapping):
            raise Invalid("An array of votes needs the names of its labels, in the order of its last dimension.")
        labels = list(votes)
    if isinstance(labels, str) or not len(labels):
        raise Invalid("Labels must be a list of one name or more, such as ['spam', 'rude'].")
    names = tuple(str(label) for label in labels)
    if len(set(names)) < len(names):
        raise Invalid("The labels must differ from each other.")
    return names


def _by_label(votes: Votes, labels: tuple[str, ...], voters: tuple[str, ...] | None = None) -> dict[str, VoteMatrix]:
    """Return the votes of each label as matrices of the same rows and voters; ``voters`` name the columns of arrays."""
    each: dict[str, VoteMatrix | npt.ArrayLike]
    if isinstance(votes, Mapping):
        each = {str(label): some for label, some in votes.items()}
        if set(each) != set(labels):
            lacking, unknown = ([x for x in a if x not in b] for a, b in ((labels, each), (each, labels)))
            raise Invalid(
                "The votes are not about the same labels: "
                + " and ".join(
                    f"{_some(names)} {what}" for names, what in ((lacking, "lacking"), (unknown, "unknown")) if names
                )
                + "."
            )
    else:
        array = as_integers(votes, "votes")
        if array.ndim != 3 or array.shape[2] != len(labels):
            raise Invalid(
                f"Votes must have three dimensions (rows, voters, {len(labels)} labels), not the shape {array.shape}."
            )
        each = {label: array[:, :, k] for k, label in enumerate(labels)}
    matrices = {}
    for label in labels:
        try:
            matrices[label] = _as_matrix(each[label], voters)
        except Invalid as error:
            raise Invalid(f"Label {label!r}: {error.message}", **error.details) from None
    first = matrices[labels[0]]
    for label, matrix in matrices.items():
        if matrix.shape[0] != first.shape[0]:
            raise Invalid(
                f"Label {label!r} has votes on {matrix.shape[0]} rows and label {labels[0]!r} on {first.shape[0]}."
            )
        if matrix.voters != first.voters:
            raise Invalid(
                f"Label {label!r} and label {labels[0]!r} have other voters. Give each label a column for every voter, "
                "in the same order, empty where they didn't vote."
            )
    return matrices


def _as_matrix(votes: VoteMatrix | npt.ArrayLike, voters: tuple[str, ...] | None) -> VoteMatrix:
    if isinstance(votes, VoteMatrix):
        return as_votes(votes, 2)
    dense = as_integers(votes, "votes")
    mine = voters is not None and dense.shape[1:] == (len(voters),)
    return VoteMatrix.from_dense(dense, voters if mine else None, 2)


def _as_answers(gold: npt.ArrayLike, matrices: Mapping[str, VoteMatrix]) -> IntArray:
    answers = as_integers(gold, "gold")
    shape = next(iter(matrices.values())).shape[0], len(matrices)
    if answers.shape != shape:
        raise Invalid(f"Gold must have one entry a row and label, shape {shape}, not {answers.shape}.")
    if answers.size and (answers.min() < ABSTAIN or answers.max() > 1):
        raise Invalid(f"Gold must be 1, 0, or -1 where unknown; found {answers.min()} to {answers.max()}.")
    return answers.astype(np.int64)


def _as_shares(values: npt.ArrayLike, labels: Sequence[str], what: str) -> FloatArray:
    """Check numbers from 0 to 1, one for each label."""
    try:
        shares = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.array(np.nan)
    if shares.shape != (len(labels),) or not ((shares >= 0) & (shares <= 1)).all():
        raise Invalid(f"A {what} must be {len(labels)} numbers from 0 to 1, one a label.")
    return shares


def _silence_is_missing(matrices: Mapping[str, VoteMatrix], missing: Missing) -> bool:
    people = all(kind == "person" for matrix in matrices.values() for kind in matrix.kinds)
    return missing == "missing" or (missing == "auto" and people)


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (f", … ({len(names)} labels)" if len(names) > 5 else "")
