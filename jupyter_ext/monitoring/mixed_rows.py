"""Rows of a frame as numbers and category codes, read by what a reference frame was like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.samples import LARGEST, as_floats, category, check_range, infer_kind, largest
from jupyter_ext.monitoring.statistics import Floats

Codes = NDArray[np.int64]
#: A text column with more different values than this share of its rows names the rows; it says nothing about them.
_IDENTIFIER = 0.5


@dataclass(frozen=True)
class Rows:
    """Encoded rows: numbers of shape (n, a), NaN where missing, and codes of shape (n, b), -1 where unseen."""

    numbers: Floats
    codes: Codes

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> Rows:
        return Rows(self.numbers[rows], self.codes[rows])

    def repeated(self, times: int) -> Rows:
        """Return every row `times` times, one after the other."""
        return Rows(np.repeat(self.numbers, times, axis=0), np.repeat(self.codes, times, axis=0))


@dataclass(frozen=True)
class Encoder:
    """Which columns there are, which of them are numbers, and the categories of the others.

    A missing category is a category. So is every column that has one value only: any other value is unseen then.
    """

    numbers: tuple[str, ...]
    moments: frozenset[str]
    categories: dict[str, dict[str, int]]
    #: What a person should know of a column: constant, or left out and why.
    notes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Encoder:
        """Read the columns of a reference.

        Raises
        ------
        Invalid
            A column holds infinite values or what cannot be read, or no column has two values.
        """
        numbers, moments, categories, notes = [], set(), {}, {}
        for name in frame.columns:
            series = frame[name]
            kind = infer_kind(series)
            if kind == "embedding":
                notes[name] = "left out: it holds vectors"
                continue
            if kind in ("numeric", "datetime"):
                values = _numbers(series, is_moment=kind == "datetime")
                found = values[~np.isnan(values)]
                if np.isinf(found).any() or found.min() < found.max():
                    numbers.append(name)
                    if kind == "datetime":
                        moments.add(name)
                    continue
            labels = _labels(series)
            known = {label: code for code, label in enumerate(dict.fromkeys(labels))}
            if len(known) == 1:
                notes[name] = "constant in the reference: any other value is odd"
            elif len(known) > max(2, _IDENTIFIER * len(labels)):
                notes[name] = "left out: it has other values in almost every row, as names and identifiers do"
                continue
            categories[name] = known
        if all(name in notes for name in frame.columns):
            raise Invalid(
                "Every column of the reference is constant or an identifier: no row can be told from another."
            )
        return cls(tuple(numbers), frozenset(moments), categories, notes)

    @property
    def columns(self) -> list[str]:
        """The columns in use: those of `Rows.numbers`, then those of `Rows.codes`."""
        return [*self.numbers, *self.categories]

    def rows(self, frame: pd.DataFrame) -> Rows:
        """Encode rows.

        Raises
        ------
        Invalid
            A column is missing, changed its kind, or holds infinite values.
        """
        absent = [name for name in self.columns if name not in frame.columns]
        if absent:
            raise Invalid(f"Columns of the reference are missing: {', '.join(absent)}.", columns=absent)
        n = len(frame)
        numbers = np.empty((n, len(self.numbers)))
        # Plain numbers together: of one row, taking columns one by one would be most of the work.
        plain = {str(name) for name, dtype in frame.dtypes.items() if _is_plain(dtype)} - self.moments
        at_once = [place for place, name in enumerate(self.numbers) if name in plain]
        numbers[:, at_once] = frame[[self.numbers[place] for place in at_once]].to_numpy(np.float64)
        for place, name in enumerate(self.numbers):
            if name not in plain:
                numbers[:, place] = _numbers(frame[name], is_moment=name in self.moments)
        if largest(numbers) > LARGEST:
            for name, values in zip(self.numbers, numbers.T, strict=True):
                check_range(values, name)
        codes = [
            np.fromiter((known.get(label, -1) for label in _labels(frame[name])), np.int64, n)
            for name, known in self.categories.items()
        ]
        return Rows(
            numbers,
            np.column_stack(codes) if codes else np.empty((n, 0), np.int64),
        )


def _labels(series: pd.Series[Any]) -> list[str]:
    # A missing value has a name that no text has.
    return ["\0" if _is_missing(value) else category(value) for value in series.tolist()]


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iufb"


def _numbers(series: pd.Series[Any], *, is_moment: bool) -> Floats:
    dtype = series.dtype
    if not is_moment and _is_plain(dtype):
        return np.asarray(series, dtype=np.float64)
    wrong = Invalid(
        f"Column '{series.name}' cannot be read as {'datetimes' if is_moment else 'numbers'}, as the reference's is.",
        column=str(series.name),
    )
    try:
        if is_moment:
            if pd.api.types.is_numeric_dtype(dtype):
                raise wrong
            moments = pd.to_datetime(series, utc=True).dt.as_unit("us")
            return np.where(moments.isna(), np.nan, moments.astype("int64").to_numpy() / 1e6)
        if pd.api.types.is_datetime64_any_dtype(dtype):
            raise wrong
        return as_floats(series)
    except (ValueError, TypeError, OverflowError):
        raise wrong from None
