"""Which given labels are probably wrong: confident learning over out-of-sample predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.probabilities import as_proba
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, IntArray, as_integers


def find_label_errors(given_labels: npt.ArrayLike, pred_probs: npt.ArrayLike) -> pd.DataFrame:
    """Return the rows whose label the predictions speak against, the worst first.

    The predictions must be *out of sample*: a model that has seen a wrong label repeats it. Take
    ``sklearn.model_selection.cross_val_predict(model, X, given_labels, method="predict_proba")``.

    Parameters
    ----------
    given_labels
        Class numbers, shape (n,); -1 where there is none, which is skipped.
    pred_probs
        Predicted probability of each class, shape (n, k).

    Returns
    -------
    DataFrame
        ``row`` (row number), ``given`` and ``suggested`` (class numbers), ``score``: the probability of the given
        label, 0 to 1, small is bad. ``.attrs["n_expected"]`` says how many labels are wrong by the calibrated joint of
        given and true labels: review about so many lines from the top.

    Raises
    ------
    Invalid
        Labels outside the classes, unequal lengths, NaN, rows of ``pred_probs`` that don't add up to 1, or no label.

    Notes
    -----
    A class is *confident* on a row where it is at least as probable as on average where it was given. A row is a
    candidate where the likeliest of its confident classes is another than the given one, or where no class is
    confident and another is likelier.

    Candidates come in the order of self-confidence, the probability of the given label. Where that ties, which a
    model with many zeros does often, the row comes first whose prediction has less entropy: to be sure of another
    class tells more than to be at a loss. Stronger departures from self-confidence (margins, class-wise thresholds,
    candidates of the joint first) gain at some depths and lose at others on human-reviewed sets, so none is made.

    References
    ----------
    C. Northcutt, L. Jiang, I. Chuang. Confident learning: estimating uncertainty in dataset labels. JAIR 70, 2021,
    sections 3.1 and 3.2.

    Examples
    --------
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    >>> find_label_errors([0, 1, 1, 1, 0], proba)
       row  given  suggested  score
    0    1      1          0    0.2
    1    4      0          1    0.3
    """
    labels, proba = _checked(given_labels, pred_probs)
    rows = np.flatnonzero(labels != ABSTAIN)
    given, proba = labels[rows], proba[rows]
    each = np.arange(len(rows))
    score = proba[each, given]

    confident = _confident_class(proba, _thresholds(given, proba))
    others = proba.copy()
    others[each, given] = -1.0
    likeliest = others.argmax(axis=1)
    by_confidence = (confident != ABSTAIN) & (confident != given)
    suggested = np.where(by_confidence, confident, likeliest)
    found = np.flatnonzero(by_confidence | ((confident == ABSTAIN) & (others[each, likeliest] > score)))

    entropy = -(proba[found] * np.log(np.maximum(proba[found], 1e-300))).sum(axis=1)
    order = found[np.lexsort((entropy, score[found]))]
    table = pd.DataFrame(
        {"row": rows[order], "given": given[order], "suggested": suggested[order], "score": score[order]}
    )
    joint = _joint(given, confident, proba.shape[1])
    table.attrs["n_expected"] = round(len(rows) * float(1 - np.trace(joint)))
    return table


def confident_joint(given_labels: npt.ArrayLike, pred_probs: npt.ArrayLike) -> FloatArray:
    """Estimate the joint distribution of given (rows) and true labels (columns), shape (k, k), which adds up to 1.

    Counts of confident classes, each line calibrated to how often its label was given. Parameters and errors are those
    of :func:`find_label_errors`.

    Examples
    --------
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    >>> confident_joint([0, 1, 1, 1, 0], proba).round(2).tolist()
    [[0.2, 0.2], [0.2, 0.4]]
    """
    labels, proba = _checked(given_labels, pred_probs)
    known = labels != ABSTAIN
    given, proba = labels[known], proba[known]
    return _joint(given, _confident_class(proba, _thresholds(given, proba)), proba.shape[1])


def _checked(given_labels: npt.ArrayLike, pred_probs: npt.ArrayLike) -> tuple[IntArray, FloatArray]:
    proba = as_proba(pred_probs)
    labels = as_integers(given_labels, "given_labels")
    n, k = proba.shape
    if labels.shape != (n,):
        raise Invalid(f"given_labels must have one entry a row of pred_probs, shape ({n},), not {labels.shape}.")
    wrong = np.flatnonzero((labels < ABSTAIN) | (labels >= k))
    if len(wrong):
        raise Invalid(
            f"given_labels must hold classes 0 to {k - 1}, or -1 where unknown; row {wrong[0]} has {labels[wrong[0]]}.",
            n_wrong=len(wrong),
        )
    if not (labels != ABSTAIN).any():
        raise Invalid("given_labels holds no label at all.")
    return labels, proba


def _thresholds(given: IntArray, proba: FloatArray) -> FloatArray:
    """Return how probable each class is on average where it was given, (k,); infinite for one that never was."""
    k = proba.shape[1]
    counts = np.bincount(given, minlength=k)
    total = np.bincount(given, weights=proba[np.arange(len(given)), given], minlength=k)
    mean: FloatArray = np.divide(total, counts, out=np.full(k, np.inf), where=counts > 0)
    return mean


def _confident_class(proba: FloatArray, thresholds: FloatArray) -> IntArray:
    """Return the likeliest class of each row among those over their threshold, -1 where none is."""
    # An average of equal numbers can be larger than each of them in the last digit.
    over = np.where(proba >= thresholds - 1e-12, proba, -1.0)
    best = over.argmax(axis=1)
    return np.where(over[np.arange(len(over)), best] >= 0, best, ABSTAIN)


def _joint(given: IntArray, confident: IntArray, k: int) -> FloatArray:
    sure = confident != ABSTAIN
    counts = np.bincount(given[sure] * k + confident[sure], minlength=k * k).reshape(k, k).astype(np.float64)
    # A label whose rows are all unsure is taken as right.
    empty = counts.sum(axis=1) == 0
    counts[empty, empty] = 1.0
    share = np.bincount(given, minlength=k) / len(given)
    joint: FloatArray = counts / counts.sum(axis=1, keepdims=True) * share[:, None]
    return joint
