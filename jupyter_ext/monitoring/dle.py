"""Direct loss estimation: a regressor's loss, learned on a reference from the features and the prediction.

Source: the documentation of NannyML; here with scikit-learn's gradient boosting in
place of LightGBM, and its defaults, which are nearly the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.mixed_rows import Encoder
from jupyter_ext.monitoring.statistics import Floats

REGRESSION_METRICS = ("mae", "mape", "mse", "rmse", "msle", "rmsle")
#: Categories of a column that the boosting can hold.
_CATEGORIES = 254


def loss_of(metric: str, true: Floats, predicted: Floats) -> Floats:
    """Return the loss of each row, shape (n,), whose mean (or its root) is the metric.

    Raises
    ------
    Invalid
        A logarithmic metric of negative numbers, or a relative one where a label is 0.
    """
    if metric == "mae":
        return np.abs(true - predicted)
    if metric == "mape":
        if (true == 0).any():
            raise Invalid("mape divides by the labels, and some are 0. Choose mae.")
        return np.abs((true - predicted) / true)
    if metric in ("msle", "rmsle"):
        if min(true.min(), predicted.min()) < 0:
            raise Invalid(f"{metric} takes no negative labels or predictions. Choose mse.")
        return (np.log1p(true) - np.log1p(predicted)) ** 2
    return (true - predicted) ** 2


def loss_metric(metric: str, losses: Floats, scatter: float = 0.0) -> Callable[[slice], tuple[float, float]]:
    """Return what gives the metric of some rows, and n times its variance.

    Parameters
    ----------
    losses
        Of every row, realised or expected, shape (n,).
    scatter
        The variance of realised losses about expected ones.

    Examples
    --------
    >>> loss_metric("rmse", np.array([1.0, 7.0]))(slice(None))
    (2.0, 0.5625)
    """

    def measure(part: slice) -> tuple[float, float]:
        mean, variance = float(losses[part].mean()), float(losses[part].var()) + scatter
        if not metric.startswith("r"):
            return mean, variance
        return float(np.sqrt(mean)), variance / (4 * mean) if mean > 0 else 0.0

    return measure


@dataclass(frozen=True)
class LossModel:
    """Predicts the loss of rows without labels."""

    metric: str
    encoder: Encoder
    model: Any
    #: The variance of the reference's realised losses about the predicted ones.
    scatter: float

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        columns: list[str],
        true: Floats,
        predicted: Floats,
        metric: str,
        rng: np.random.Generator,
    ) -> LossModel:
        """Learn the losses of a reference."""
        used = frame[list(dict.fromkeys(columns))]
        encoder = Encoder.of(used)
        losses = loss_of(metric, true, predicted)
        n_numbers = len(encoder.numbers)
        model = HistGradientBoostingRegressor(
            categorical_features=list(range(n_numbers, n_numbers + len(encoder.categories))),
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        )
        learned = cls(metric, encoder, model, 0.0)
        table = learned._table(used)
        model.fit(table, losses)
        return cls(metric, encoder, model, float(np.var(losses - model.predict(table))))

    def realised(self, true: Floats, predicted: Floats) -> Floats:
        """Return the losses of rows with labels, shape (n,)."""
        return loss_of(self.metric, true, predicted)

    def expected(self, frame: pd.DataFrame, predicted: Floats) -> Floats:
        """Return the expected losses of rows, shape (n,).

        Raises
        ------
        Invalid
            A logarithmic metric of negative predictions.
        """
        loss_of(self.metric, np.ones_like(predicted), predicted)
        return np.asarray(np.maximum(self.model.predict(self._table(frame)), 0.0))

    def _table(self, frame: pd.DataFrame) -> Floats:
        rows = self.encoder.rows(frame)
        # Unseen categories, and those beyond what the boosting holds, are as good as missing.
        codes = np.where((rows.codes < 0) | (rows.codes > _CATEGORIES), np.nan, rows.codes)
        return np.column_stack([rows.numbers, codes])
