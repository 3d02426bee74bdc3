"""The bins of a feature as a view shows them, and which rows lie in each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jupyter_ext.errors import Invalid
from jupyter_ext.widgets._items import as_text

if TYPE_CHECKING:
    import pandas as pd

MAX_BINS = 40
_DAY = 86_400
_OTHER = "(other)"


@dataclass(frozen=True)
class Bins:
    """Names and shares of bins, at most `MAX_BINS`, the missing values in one of their own.

    ``parts`` are the bins of the histogram that each is made of; the one after its last are the missing values.
    """

    names: list[str]
    reference: list[float]
    current: list[float]
    parts: list[list[int]]

    def shown(self) -> dict[str, list[Any]]:
        """Return what a view carries of them."""
        return {
            "bins": [name[:60] for name in self.names],
            "reference": [round(max(share, 0.0), 4) for share in self.reference],
            "current": [round(max(share, 0.0), 4) for share in self.current],
        }


def bins_of(histogram: Mapping[str, Any] | None, feature: str, kind: str) -> Bins | None:
    """Return the bins of a feature's histogram, None where it has none.

    Raises
    ------
    Invalid
        The shares do not fit the bins.

    Examples
    --------
    >>> bins = bins_of({"edges": [0, 1, 2], "reference": [0.5, 0.5], "current": [0.2, 0.7], "missing": (0, 0.1)},
    ...                "size", "numeric")
    >>> bins.names, bins.current
    (['0 to 1', '1 to 2', 'missing'], [0.2, 0.7, 0.1])
    """
    if not histogram or not len(histogram["reference"]):
        return None
    reference, current = [list(map(float, histogram[side])) for side in ("reference", "current")]
    if histogram.get("categories") is not None:
        names = [as_text(name) or "missing" for name in histogram["categories"]]
    else:
        names = _spans(histogram.get("edges"), len(reference), kind)
    missing = histogram.get("missing", (0, 0))
    if any(missing):
        names, reference, current = [*names, "missing"], [*reference, missing[0]], [*current, missing[1]]
    if not len(names) == len(reference) == len(current):
        raise Invalid(
            f"The histogram of {feature[:100]!r} has {len(names)} bins, {len(reference)} and {len(current)} shares."
        )
    if len(names) <= MAX_BINS:
        return Bins(names, reference, current, [[place] for place in range(len(names))])
    most = sorted(range(len(names)), key=lambda place: -max(reference[place], current[place]))[: MAX_BINS - 1]
    kept = sorted(most)
    others = [place for place in range(len(names)) if place not in most]
    return Bins(
        [*(names[place] for place in kept), f"{len(others)} others"],
        [*(reference[place] for place in kept), 1 - sum(reference[place] for place in kept)],
        [*(current[place] for place in kept), 1 - sum(current[place] for place in kept)],
        [*([place] for place in kept), others],
    )


def bin_of_each(values: pd.Series[Any], histogram: Mapping[str, Any], kind: str) -> npt.NDArray[np.int64]:
    """Return the number of the histogram's bin that each row is in, shape (n,); missing values have the next one.

    Raises
    ------
    Invalid
        The histogram does not say where its bins end, or the column cannot be read as that kind.

    Examples
    --------
    >>> import pandas as pd
    >>> bin_of_each(pd.Series([1.0, 1.5, 9.0, None]), {"edges": [0, 1, 2], "reference": [0.5, 0.5]}, "numeric").tolist()
    [0, 1, 1, 2]
    >>> bin_of_each(pd.Series(["b", "z"]), {"categories": ["a", "b", "(other)"]}, "categorical").tolist()
    [1, 2]
    """
    import pandas as pd

    from jupyter_ext.monitoring.samples import category, numbers

    categories = histogram.get("categories")
    if categories is not None:
        places = {name: place for place, name in reversed(list(enumerate(categories)))}
        rest = len(categories) - 1 if categories[-1] == _OTHER else -1
        codes, distinct = pd.factorize(values)
        known = [places.get(category(value), rest) for value in distinct.tolist()]
        return np.array([*known, len(categories)], dtype=np.int64)[codes]  # the code of a missing value is -1
    edges = histogram.get("edges")
    if edges is None:
        raise Invalid("The report doesn't say where the bins of this feature begin and end.")
    n = len(histogram["reference"])
    ends = np.asarray(edges if len(edges) == n - 1 else edges[1:-1], dtype=np.float64)
    found = numbers(values, "datetime" if kind == "datetime" else "numeric")
    # As the histogram counts: a bin holds its upper end, the outermost all that lies beyond.
    return np.where(np.isnan(found), n, np.searchsorted(ends, found, side="left")).astype(np.int64)


def _spans(edges: Sequence[float] | None, n: int, kind: str = "numeric") -> list[str]:
    """Return the names of bins between edges; the outer ones may be open. Times are in seconds since 1970.

    Examples
    --------
    >>> _spans([0, 1, 2.5], 2)
    ['0 to 1', '1 to 2.5']
    >>> _spans([1], 2), _spans([3, 3], 1)
    (['< 1', '≥ 1'], ['3'])
    >>> _spans([0, 86400], 1, "datetime")
    ['1970-01-01 to 1970-01-02']
    """
    if edges is None:
        return [f"bin {place + 1}" for place in range(n)]
    sides = [-math.inf, *edges, math.inf] if len(edges) == n - 1 else list(edges)
    longest = max((right - left for left, right in itertools.pairwise(sides)), default=0)

    def name(edge: float) -> str:
        if kind != "datetime":
            return f"{edge:.4g}"
        return f"{datetime.fromtimestamp(edge, UTC):{'%Y-%m-%d' if longest >= _DAY else '%m-%d %H:%M'}}"

    names = []
    for left, right in itertools.pairwise(sides):
        if math.isinf(left):
            names.append(f"< {name(right)}")
        elif math.isinf(right):
            names.append(f"≥ {name(left)}")
        else:
            names.append(name(left) if left == right else f"{name(left)} to {name(right)}")
    return names
