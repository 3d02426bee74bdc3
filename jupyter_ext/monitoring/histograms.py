"""Twin histograms for a drift report: shares of both sides in the same bins, small enough to draw anywhere."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from jupyter_ext.monitoring.columns import CategoryColumn, NumericColumn
from jupyter_ext.monitoring.samples import CategorySample, NumericSample

#: The most bins or categories drawn.
MAX_BINS = 20
#: The range drawn leaves out this share of either side at both ends; what lies beyond is in the outermost bins.
_TAIL = 0.005


#: At which shares of the values of either side a histogram keeps the quantiles: its own ends, and every twentieth.
RANKS = (_TAIL, *(place / 20 for place in range(1, 20)), 1 - _TAIL)


class Quantiles(TypedDict):
    """The values below which the share `ranks` of each side lies; datetimes in seconds since 1970."""

    ranks: list[float]
    reference: list[float]
    current: list[float]


class Histogram(TypedDict):
    """Shares of all rows of each side. Numeric: `edges` (bins + 1; datetimes in seconds since 1970) and no
    `categories`; categorical the reverse, "(other)" last. The shares and those of the `missing` add up to 1.
    `quantiles` are those of numbers and datetimes where both sides have values."""

    edges: list[float] | None
    categories: list[str] | None
    reference: list[float]
    current: list[float]
    missing: tuple[float, float]
    quantiles: Quantiles | None


def numeric_histogram(
    reference: NumericSample | NumericColumn, current: NumericSample | NumericColumn, bins: int = MAX_BINS
) -> Histogram:
    """Return the histogram of two numeric sides over bins of equal width.

    Examples
    --------
    >>> import pandas as pd
    >>> from jupyter_ext.monitoring.samples import read_sample
    >>> low, high = read_sample(pd.Series([0, 1, 2, 3])), read_sample(pd.Series([2, 3, 4, None]))
    >>> numeric_histogram(low, high, bins=2)["current"]
    [0.25, 0.5]
    """
    sides = (reference, current)
    known = [side.quantiles(np.array(RANKS)).tolist() for side in sides if side.n > side.missing]
    low = min((values[0] for values in known), default=0.0)
    high = max((values[-1] for values in known), default=0.0)
    edges = np.linspace(low, high, bins + 1) if low < high else np.array([low, low])
    inner = edges[1:-1]
    if not np.all(np.diff(edges) > 0):  # a constant, or a range too narrow to divide
        inner = np.empty(0)
        edges = edges[[0, -1]]
    shares = []
    for side in sides:
        counts = side.counts_on(inner)[0] if len(inner) else np.array([side.n - side.missing])
        shares.append([float(count) / side.n for count in counts])
    return Histogram(
        edges=edges.tolist(),
        categories=None,
        reference=shares[0],
        current=shares[1],
        missing=(reference.missing / reference.n, current.missing / current.n),
        quantiles=Quantiles(ranks=list(RANKS), reference=known[0], current=known[1]) if len(known) == 2 else None,
    )


def category_histogram(
    reference: CategorySample | CategoryColumn, current: CategorySample | CategoryColumn, bins: int = MAX_BINS
) -> Histogram:
    """Return the histogram of two categorical sides: the most frequent categories of both, then "(other)"."""
    sides = (reference, current)
    weight = {
        category: sum(side.counts.get(category, 0) / side.n for side in sides)
        for category in {**reference.counts, **current.counts}
    }
    order = sorted(weight, key=lambda category: (-weight[category], category))
    hidden = len(order) > bins or reference.other or current.other
    shown = order[: bins - 1] if hidden else order
    shares = []
    for side in sides:
        counts = [side.counts.get(category, 0) for category in shown]
        counts += [side.n - side.missing - sum(counts)] if hidden else []
        shares.append([count / side.n for count in counts])
    return Histogram(
        edges=None,
        categories=shown + ["(other)"] * bool(hidden),
        reference=shares[0],
        current=shares[1],
        missing=(reference.missing / reference.n, current.missing / current.n),
        quantiles=None,
    )
