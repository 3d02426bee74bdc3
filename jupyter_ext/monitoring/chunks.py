"""Chunks of a frame: so many rows each, or as long as a period of time. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from jupyter_ext.errors import Invalid

#: A chunk's label and the places of its rows, in order.
Chunk = tuple[Any, NDArray[np.int64]]


def chunks_of(frame: pd.DataFrame, chunk_size: Any, period: Any, timestamp: str | None) -> list[Chunk]:
    """Cut a frame by rows or by time.

    Parameters
    ----------
    chunk_size, period
        Rows of a chunk, or its length as pandas writes it (``"D"``, ``"6h"``, ``"2W"``); one of them. Periods that are
        several units long begin with the day (week, month …) of the first row.
    timestamp
        The column by which rows are ordered, and cut by period in its own time zone.

    Raises
    ------
    Invalid
        Neither or both are given, or one that makes no sense; an unknown timestamp column, or one without moments.

    Examples
    --------
    >>> frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=10, freq="D")})
    >>> [(label, len(rows)) for label, rows in chunks_of(frame, None, "7D", "at")]
    [('2026-01-01/2026-01-07', 7), ('2026-01-08/2026-01-14', 3)]
    """
    if (chunk_size is None) == (period is None):
        raise Invalid("Give chunk_size (rows of a chunk) or period (its length, such as 'D'), and not both.")
    if period is not None and timestamp is None:
        raise Invalid("A period needs the timestamp column: timestamp='…'.")
    clock = None if timestamp is None else _clock(frame, timestamp)
    places = np.arange(len(frame)) if clock is None else np.asarray(clock.argsort(kind="stable"))
    if period is None:
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int | np.integer) or chunk_size < 1:
            raise Invalid(f"chunk_size must be a whole number of rows, not {chunk_size!r}.")
        size = int(chunk_size)
        return [(start // size, places[start : start + size]) for start in range(0, len(places), size)]
    assert clock is not None
    if not pd.api.types.is_datetime64_any_dtype(clock.dtype):
        raise Invalid(
            f"Column {timestamp!r} holds numbers: a period needs moments. Convert them, for example by "
            "pd.to_datetime(…, unit='s').",
            column=timestamp,
        )
    return _by_period(clock.iloc[places].reset_index(drop=True), places, period)


def _clock(frame: pd.DataFrame, timestamp: str) -> pd.Series[Any]:
    """Return what rows are ordered by, numbers or moments of the column's own time zone, numbered from 0."""
    if timestamp not in frame.columns:
        raise Invalid(f"There is no timestamp column {timestamp!r}.", column=timestamp)
    given = frame[timestamp].reset_index(drop=True)
    if isinstance(given.dtype, pd.CategoricalDtype):
        given = given.astype(given.cat.categories.dtype)
    if given.isna().any():
        raise Invalid(f"Column {timestamp!r} has rows without a moment. Drop them first.", column=timestamp)
    types = pd.api.types
    if types.is_numeric_dtype(given) and not types.is_bool_dtype(given):
        return given
    text = types.is_string_dtype(given) or types.is_object_dtype(given)
    try:
        moments = pd.to_datetime(given, utc=True, format="ISO8601" if text else None)
    except (ValueError, TypeError):
        raise Invalid(f"Column {timestamp!r} cannot be read as moments in time (ISO 8601).", column=timestamp) from None
    zone = _zone(given.dtype)
    return moments if zone is None else moments.dt.tz_convert(zone)


def _zone(dtype: Any) -> Any:
    if isinstance(dtype, pd.DatetimeTZDtype):
        return dtype.tz
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_timestamp(dtype.pyarrow_dtype):
        return dtype.pyarrow_dtype.tz
    return None


def _by_period(moments: pd.Series[Any], places: NDArray[np.int64], period: Any) -> list[Chunk]:
    """Group sorted moments by period; pandas leaves out of a "7D" that it is seven days."""
    walls = moments.dt.tz_localize(None)
    try:
        periods = walls.dt.to_period(period).array
    except (ValueError, TypeError):
        raise Invalid(
            f"There is no period {period!r}; write one as pandas does, such as 'h', 'D', 'W' or 'M'."
        ) from None
    unit, units = periods.freq.base, int(periods.freq.n)
    origin = pd.Period(walls.iloc[0].normalize(), freq=unit).ordinal
    numbers = (periods.asi8 - origin) // units
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    chunks = []
    for start, end in zip(starts, [*starts[1:], len(places)], strict=True):
        first = origin + int(numbers[start]) * units
        ends = [str(pd.Period(ordinal=ordinal, freq=unit)) for ordinal in (first, first + units - 1)]
        label = ends[0] if units == 1 else f"{ends[0].split('/')[0]}/{ends[1].split('/')[-1]}"
        chunks.append((label, places[start:end]))
    return chunks
