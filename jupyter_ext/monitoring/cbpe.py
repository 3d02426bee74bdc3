"""Confidence-based performance estimation: what a classifier's own calibrated scores say of its performance.

A row with the calibrated probability p of the positive class is p of a positive and 1 - p of a negative. A metric over
such fractions is its expectation (or, where it is a ratio, very nearly so), without a single label. With labels in
place of p the same functions give the realised metric.

Source: Białek, Kuberski, Perrakis, Bifet, "Estimating model performance under covariate shift without labels", 2024,
and the documentation of NannyML, whose answers these reproduce.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from jupyter_ext.monitoring.statistics import Floats

#: (weight in the numerator, weight in the denominator) of every row, from p and from whether it is predicted positive.
_Ratio = Callable[[Floats, Floats], tuple[Floats, Floats]]
_RATIOS: dict[str, _Ratio] = {
    "accuracy": lambda p, hit: (p * hit + (1 - p) * (1 - hit), np.ones_like(p)),
    "precision": lambda p, hit: (p * hit, hit),
    "recall": lambda p, hit: (p * hit, p),
    "specificity": lambda p, hit: ((1 - p) * (1 - hit), 1 - p),
    "f1": lambda p, hit: (2 * p * hit, p + hit),
    "true_positives": lambda p, hit: (p * hit, np.ones_like(p)),
    "true_negatives": lambda p, hit: ((1 - p) * (1 - hit), np.ones_like(p)),
    "false_positives": lambda p, hit: ((1 - p) * hit, np.ones_like(p)),
    "false_negatives": lambda p, hit: (p * (1 - hit), np.ones_like(p)),
}
CLASSIFICATION_METRICS = ("roc_auc", *_RATIOS)
#: Bins and splits with which is decided whether calibrating helps.
_BINS, _SPLITS, _FOLDS = 10, 3, 10
#: The fewest rows that these splits hold out; a smaller reference is held out as a whole, a tenth at a time.
_HELD_OUT = 1_000
#: Scores that tell the classes apart this well are not calibrated: isotonic regression would only fit their few errors.
_PERFECT_AUC = 0.999


@dataclass(frozen=True)
class ClassScores:
    """One class against the others: rows with their score, prediction and probability, shapes (n,).

    Parameters
    ----------
    p
        Probability of the class: calibrated, or 1 and 0 where the label is known.
    score
        As the model gave it; orders the rows for ``roc_auc``.
    hit
        1 where the model predicts this class, else 0.
    """

    p: Floats
    score: Floats
    hit: Floats


def class_metric(metric: str, rows: ClassScores) -> tuple[float, Floats, Floats]:
    """Return a metric of one class, and each row's influence on it if it is of the class and if not, shapes (n,).

    All are NaN where the metric is not defined. The influences are those of the delta method for ratios, and for
    ``roc_auc`` the placements of DeLong, DeLong, Clarke-Pearson (1988); their mean square over the labels that p makes
    likely, divided by n, is the variance of the realised metric.

    Examples
    --------
    >>> rows = ClassScores(np.array([0.9, 0.6, 0.2]), np.array([0.8, 0.7, 0.1]), np.array([1.0, 1.0, 0.0]))
    >>> round(class_metric("precision", rows)[0], 3), round(class_metric("recall", rows)[0], 3)
    (0.75, 0.882)
    >>> labelled = ClassScores(np.array([1.0, 0.0, 1.0]), np.array([0.8, 0.3, 0.3]), np.array([1.0, 0.0, 0.0]))
    >>> class_metric("roc_auc", labelled)[0]
    0.75
    """
    if metric == "roc_auc":
        return _roc_auc(rows)
    n, ones = len(rows.p), np.ones_like(rows.p)
    numerator, denominator = _RATIOS[metric](rows.p, rows.hit)
    total = denominator.sum()
    if total <= 0:
        return np.nan, ones * np.nan, ones * np.nan
    value = float(numerator.sum() / total)
    either = [_RATIOS[metric](label, rows.hit) for label in (ones, 0 * ones)]
    if_member, if_not = ((above - value * below) * n / total for above, below in either)
    return value, if_member, if_not


def _roc_auc(rows: ClassScores) -> tuple[float, Floats, Floats]:
    n, positives = len(rows.p), float(rows.p.sum())
    negatives = n - positives
    if positives <= 0 or negatives <= 0:
        return np.nan, np.full(n, np.nan), np.full(n, np.nan)
    _, group = np.unique(rows.score, return_inverse=True)
    in_group = np.bincount(group, rows.p), np.bincount(group, 1 - rows.p)
    # What share of the negatives lies below a row, and of the positives above; ties count half.
    below = ((np.cumsum(in_group[1]) - in_group[1] / 2) / negatives)[group]
    above = (1 - (np.cumsum(in_group[0]) - in_group[0] / 2) / positives)[group]
    value = float((rows.p * below).sum() / positives)
    return value, (below - value) * n / positives, (above - value) * n / negatives


def calibrator(score: Floats, y: Floats) -> Callable[[Floats], Floats]:
    """Return what turns scores of one class into probabilities: isotonic regression, or nothing where it does not help.

    It helps where the expected calibration error on held-out tenths gets smaller: of three stratified splits as
    published, and of all ten where three hold too few rows to say.

    Parameters
    ----------
    score, y
        The reference's scores and labels (1 or 0), shapes (n,); both labels occur at least twice.
    """
    labelled = ClassScores(y, score, np.zeros_like(y))
    if class_metric("roc_auc", labelled)[0] > _PERFECT_AUC:
        return _as_it_is
    # The splits are part of the method as published, so their seed is not the caller's.
    splits: StratifiedShuffleSplit | StratifiedKFold
    splits = StratifiedShuffleSplit(n_splits=_SPLITS, test_size=1 / _FOLDS, random_state=42)
    if _SPLITS * len(y) < _FOLDS * _HELD_OUT:
        fewest = int(min(y.sum(), len(y) - y.sum()))
        splits = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=42)
    held_out = [(test, _isotonic(score[train], y[train])(score[test])) for train, test in splits.split(score, y)]
    rows = np.concatenate([test for test, _ in held_out])
    calibrated = np.concatenate([p for _, p in held_out])
    if _calibration_error(score[rows], y[rows]) <= _calibration_error(calibrated, y[rows]):
        return _as_it_is
    return _isotonic(score, y)


def _as_it_is(score: Floats) -> Floats:
    return score


def _isotonic(score: Floats, y: Floats) -> Callable[[Floats], Floats]:
    predict: Callable[[Floats], Floats] = IsotonicRegression(out_of_bounds="clip").fit(score, y).predict
    return predict


def _calibration_error(p: Floats, y: Floats) -> float:
    """Return the mean distance between predicted and observed shares, over bins of equally many rows."""
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, min(_BINS, max(1, len(p) // 2)))
    return sum(len(rows) * abs(float(p[rows].mean() - y[rows].mean())) for rows in bins) / len(p)
