"""Drift over time as a view carries it: a line for each feature, those with most alarms first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_ext.errors import Invalid
from jupyter_ext.widgets._items import is_missing

if TYPE_CHECKING:
    import pandas as pd

#: The most chunks shown, the last ones.
MAX_CHUNKS = 200
_COLUMNS = ("chunk", "feature", "method", "value", "threshold", "alarm")

_TESTS = {
    "psi": "population stability",
    "ks": "Kolmogorov-Smirnov",
    "chi2": "chi-square",
    "chi_square": "chi-square",
}


def test_name(method: str) -> str:
    """Return what people call a method.

    Examples
    --------
    >>> test_name("ks"), test_name("jensen_shannon")
    ('Kolmogorov-Smirnov', 'jensen shannon')
    """
    return _TESTS.get(method, method.replace("_", " "))


def read_history(history: Any, room: int) -> dict[str, Any]:
    """Return what `drift_over_time` found, as a view carries it, in some ``room`` bytes.

    Parameters
    ----------
    history
        A DataFrame with the columns ``chunk``, ``feature``, ``method``, ``value``, ``threshold`` and ``alarm``.
    room
        Bytes. What does not fit is left out: the features with the fewest alarms, farthest below their thresholds.

    Returns
    -------
    dict
        ``chunks`` (their names), ``lines`` (``feature``, ``method``, ``values`` and ``thresholds`` by chunk, the
        latter a single number where it never changes, ``alarms``: places of chunks), and ``total`` features, ``left``
        chunks that are older than the first, ``n_alarms`` in ``n_alarmed`` chunks of all features.

    Raises
    ------
    Invalid
        It is no such table, has no rows, or has a chunk of a feature twice.

    Examples
    --------
    >>> import pandas as pd
    >>> found = pd.DataFrame({"chunk": [0, 1], "feature": "size", "method": "ks", "value": [0.1, 0.3],
    ...                       "threshold": 0.2, "alarm": [False, True]})
    >>> read_history(found, 1_000)["lines"]
    [{'feature': 'size', 'method': 'Kolmogorov-Smirnov', 'values': [0.1, 0.3], 'thresholds': 0.2, 'alarms': [1]}]
    """
    import pandas as pd

    missing = [name for name in _COLUMNS if name not in getattr(history, "columns", ())]
    if not isinstance(history, pd.DataFrame) or missing:
        what = f"has no column {', '.join(missing)}" if isinstance(history, pd.DataFrame) else "is no DataFrame"
        raise Invalid(f"history is what drift_over_time answers; this {what}.")
    if history.empty:
        raise Invalid("history has no rows: there is no chunk to show.")
    chunks = _in_order(history["chunk"])
    shown = chunks[-MAX_CHUNKS:]
    places = {chunk: place for place, chunk in enumerate(shown)}
    rows = history[history["chunk"].isin(shown)]
    if rows.duplicated(["chunk", "feature", "method"]).any():
        twice = rows[rows.duplicated(["chunk", "feature", "method"])].iloc[0]
        raise Invalid(f"history has chunk {twice['chunk']} of {str(twice['feature'])[:100]!r} twice.")
    lines = [
        _line(str(feature), str(method), group, places)
        for (feature, method), group in rows.groupby(["feature", "method"], sort=False)
    ]
    lines.sort(key=lambda line: (-len(line["alarms"]), -_worst(line)))
    names = _names(shown)
    room -= len(json.dumps(names, ensure_ascii=False).encode())
    kept = 0
    for line in lines:
        room -= len(json.dumps(line, ensure_ascii=False).encode()) + 2
        if room < 0:
            break
        kept += 1
    return {
        "chunks": names,
        "lines": lines[:kept],
        "total": len(lines),
        "left": len(chunks) - len(shown),
        "n_alarms": sum(len(line["alarms"]) for line in lines),
        "n_alarmed": len({place for line in lines for place in line["alarms"]}),
    }


def threshold_at(line: Mapping[str, Any], place: int) -> float | None:
    """Return the threshold of a line in one chunk.

    Examples
    --------
    >>> threshold_at({"thresholds": 0.2}, 7), threshold_at({"thresholds": [0.1, None]}, 1)
    (0.2, None)
    """
    thresholds = line["thresholds"]
    found: float | None = thresholds[place] if isinstance(thresholds, list) else thresholds
    return found


def excess(line: Mapping[str, Any], place: int) -> float | None:
    """Return how far a value is on its way to its threshold, 1 at it; None where there is no value or no threshold.

    Examples
    --------
    >>> line = {"values": [0.1, 0.4, 0.05], "thresholds": [0.2, 0.2, 0.1], "alarms": [1, 2]}
    >>> [excess(line, place) for place in range(3)]  # the last fell below a lower limit
    [0.5, 2.0, 2.0]
    """
    value, threshold = line["values"][place], threshold_at(line, place)
    if value is None or not threshold or threshold < 0:
        return None
    below = value < threshold and place in line["alarms"]
    return float(threshold / value if value > 0 else math.inf) if below else float(value / threshold)


def _worst(line: Mapping[str, Any]) -> float:
    return max((excess(line, place) or 0.0 for place in range(len(line["values"]))), default=0.0)


def _line(feature: str, method: str, rows: pd.DataFrame, places: Mapping[Any, int]) -> dict[str, Any]:
    values: list[float | None] = [None] * len(places)
    thresholds: list[float | None] = [None] * len(places)
    alarms = []
    for chunk, value, threshold, alarm in zip(
        rows["chunk"], rows["value"], rows["threshold"], rows["alarm"], strict=True
    ):
        place = places[chunk]
        values[place], thresholds[place] = _short(value), _short(threshold)
        if not is_missing(alarm) and alarm:
            alarms.append(place)
    same = len(set(thresholds)) == 1
    return {
        "feature": feature[:200],
        "method": test_name(method)[:60],
        "values": values,
        "thresholds": thresholds[0] if same else thresholds,
        "alarms": sorted(alarms),
    }


def _short(value: Any) -> float | None:
    """Return a number to four digits, which is more than a picture shows."""
    return None if is_missing(value) or not math.isfinite(value) else float(f"{value:.4g}")


def _in_order(chunks: pd.Series[Any]) -> list[Any]:
    """Return each chunk once: numbers and times in their order, names as they come."""
    found = list(chunks.unique())
    return found if any(isinstance(chunk, str) for chunk in found) else sorted(found)


def _names(chunks: Sequence[Any]) -> list[str]:
    """Return how chunks are called; moments at midnight are days.

    Examples
    --------
    >>> import pandas as pd
    >>> _names([3, 4]), _names(list(pd.to_datetime(["2026-01-01", "2026-01-02"])))
    (['3', '4'], ['2026-01-01', '2026-01-02'])
    >>> _names([pd.Period("2026-01", "M")])
    ['2026-01']
    """
    moments = [chunk for chunk in chunks if hasattr(chunk, "strftime") and not hasattr(chunk, "freqstr")]
    if len(moments) < len(chunks):
        return [str(chunk)[:40] for chunk in chunks]
    days = all(f"{moment:%H%M%S}" == "000000" for moment in moments)
    return [f"{moment:%Y-%m-%d}" if days else f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
