"""Class probabilities that a caller hands in: one check, one sentence for each thing that can be wrong with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.votes import FloatArray

#: Probabilities that went through float16 or a rounded CSV still add up to one within this.
_SUM_TOLERANCE = 1e-2


def as_proba(values: npt.ArrayLike, what: str = "pred_probs", n_rows: int | None = None) -> FloatArray:
    """Check class probabilities of shape (n rows, k classes) and return them as float64, unchanged.

    Raises
    ------
    Invalid
        Not two-dimensional, fewer than two classes, NaN, negative, rows that don't add up to 1, or another number of
        rows than ``n_rows``.
    """
    proba = as_matrix(values, what, n_rows)
    if proba.shape[1] < 2:
        raise Invalid(f"{what} must have a column a class, two at least, not {proba.shape[1]}.")
    if (proba < 0).any():
        raise Invalid(f"{what} must not be negative; found {proba.min():.3g}. Are these logits? Take their softmax.")
    total = proba.sum(axis=1)
    wrong = np.flatnonzero(np.abs(total - 1) > _SUM_TOLERANCE)
    if len(wrong):
        raise Invalid(
            f"The rows of {what} must add up to 1; row {wrong[0]} adds up to {total[wrong[0]]:.3g}.",
            n_wrong=len(wrong),
        )
    return proba


def as_matrix(values: npt.ArrayLike, what: str, n_rows: int | None = None) -> FloatArray:
    """Check numbers of shape (n rows, d) without NaN or infinity, and return them as float64.

    Raises
    ------
    Invalid
        Not numbers, not two-dimensional, NaN, infinite, or another number of rows than ``n_rows``.
    """
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Invalid(f"{what} must be an array of numbers: {error}.") from None
    if matrix.ndim != 2:
        raise Invalid(f"{what} must have two dimensions, not {matrix.ndim}.", shape=list(matrix.shape))
    if n_rows is not None and len(matrix) != n_rows:
        raise Invalid(f"{what} has {len(matrix)} rows where {n_rows} are needed.")
    strange = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(strange):
        raise Invalid(f"{what} holds NaN or infinity, first in row {strange[0]}.", n_wrong=len(strange))
    return matrix
