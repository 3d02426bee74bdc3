"""Columns of a frame, read for comparison: values in order or counts of categories, and how many are missing."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.encode import category_names, rows_of
from jupyter_ext.monitoring.statistics import Counts, Floats
from jupyter_ext.monitoring.values import Kind

KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "datetime", "text", "embedding")
#: Quantile steps of the grid on which a numeric column is counted exactly. A multiple of 10, the bins of a PSI.
GRID = 240
#: Hash buckets over which a column with too many categories to keep is counted exactly.
BUCKETS = 64
#: From how many words a text on average is prose, judged by the first rows.
_PROSE_WORDS, _LOOKED_AT, _FEWEST_TEXTS = 5.0, 1000, 20
#: The longest category kept, in bytes of JSON; a longer one is cut and told apart by a hash.
CATEGORY_BYTES = 64
#: Beyond, squares of numbers overflow.
LARGEST = 1e140


@dataclass(frozen=True)
class NumericSample:
    """The numbers of one column, sorted; datetimes are seconds since 1970."""

    kind: Kind
    inferred: Kind | None
    ordered: Floats
    missing: int

    @property
    def n(self) -> int:
        """Rows, missing values among them."""
        return len(self.ordered) + self.missing

    @property
    def minimum(self) -> float:
        """The least value, 0 where there is none."""
        return float(self.ordered[0]) if len(self.ordered) else 0.0

    @property
    def maximum(self) -> float:
        """The greatest value, 0 where there is none."""
        return float(self.ordered[-1]) if len(self.ordered) else 0.0

    @property
    def std(self) -> float | None:
        """The standard deviation (n - 1 degrees of freedom)."""
        return float(self.ordered.std(ddof=1)) if len(self.ordered) > 1 else None

    @cached_property
    def edges(self) -> Floats:
        """The grid: in each of `GRID` equal parts of the values, the roundest number.

        A value that fills a part by itself, and the least one, have an edge on either side: what is a little less is
        another value.
        """
        if not len(self.ordered):
            return np.empty(0)
        last = np.unique(np.ceil(np.arange(1, GRID + 1) / GRID * len(self.ordered)).astype(np.int64) - 1)
        first = np.append(0, last[:-1] + 1)
        low, high = self.ordered[first], self.ordered[last]
        alone = low[(low == high) & (last > first)]
        below = np.nextafter(np.append(low[0], alone), -np.inf)
        return np.unique(np.concatenate([below, roundest(low, high)]))

    def counts_on(self, edges: Floats) -> tuple[Counts, float]:
        """Return the counts in (-inf, e0], (e0, e1], …, (e_last, inf), and how far a cumulated share may be off: 0."""
        return np.diff(np.searchsorted(self.ordered, edges, side="right"), prepend=0, append=len(self.ordered)), 0.0

    def quantiles(self, ranks: Floats) -> Floats:
        """Return the values at these ranks; there must be values."""
        return self.ordered[np.minimum((ranks * len(self.ordered)).astype(np.int64), len(self.ordered) - 1)]


@dataclass(frozen=True)
class CategorySample:
    """The categories of one column with their counts, all of them exact."""

    kind: Kind
    inferred: Kind | None
    counts: dict[str, int]
    missing: int

    other = 0

    @property
    def n(self) -> int:
        """Rows, missing values among them."""
        return sum(self.counts.values()) + self.missing

    @cached_property
    def buckets(self) -> Counts:
        """Counts by hash of the category, shape (BUCKETS,)."""
        codes = np.fromiter((zlib.crc32(c.encode()) % BUCKETS for c in self.counts), np.int64, len(self.counts))
        weights = np.fromiter(self.counts.values(), np.int64, len(self.counts))
        return np.bincount(codes, weights, minlength=BUCKETS).astype(np.int64)


@dataclass(frozen=True)
class RowsSample:
    """A column of texts or embeddings, row by row: texts as a list, vectors as an array (n, d)."""

    kind: Kind
    inferred: Kind | None
    rows: Any
    missing: int

    @property
    def n(self) -> int:
        """Rows, missing values among them."""
        return len(self.rows)

    @property
    def width(self) -> int | None:
        """How many numbers an embedding has; None of texts, and where all are missing."""
        return None if isinstance(self.rows, list) or self.missing == self.n else int(self.rows.shape[1])


Sample = NumericSample | CategorySample | RowsSample


def roundest(low: Floats, high: Floats) -> Floats:
    """Return the number between each low and high (both allowed) that is a multiple of the greatest power of two.

    Two samples of one distribution mostly choose the same numbers, so that what was counted on one grid can be
    compared with what was counted on another, exactly.

    Examples
    --------
    >>> roundest(np.array([0.3, 5.1, 7.0, -0.2]), np.array([0.7, 9.7, 7.0, 0.9])).tolist()
    [0.5, 8.0, 7.0, 0.0]
    """
    width = high - low
    found = high.copy()
    wide = width > np.maximum(np.abs(low), np.abs(high)) * 1e-14
    step = np.exp2(np.floor(np.log2(np.where(wide, width, 1.0))))
    # A multiple of `step` is surely there, perhaps one of a coarser step too.
    for _ in range(1100):
        candidate = np.ceil(low / step) * step
        wide = wide & (candidate <= high) & np.isfinite(candidate)
        if not wide.any():
            break
        found = np.where(wide, candidate, found)
        wide = wide & (candidate != 0)  # nothing is rounder
        step = np.where(wide, step * 2, step)
    return found + 0.0


def as_frame(data: Any, what: str = "The frame", *, or_profile: bool = False) -> pd.DataFrame:
    """Return a DataFrame from one or from anything with ``to_pandas()``, checked; column names as text.

    `or_profile` says that a profile would do too, for the error.

    Raises
    ------
    Invalid
        It is no frame, has no rows or no columns, or two columns share a name.
    """
    frame = data.to_pandas() if not isinstance(data, pd.DataFrame) and hasattr(data, "to_pandas") else data
    if not isinstance(frame, pd.DataFrame):
        fits = "a DataFrame, an Arrow table or a Profile" if or_profile else "a DataFrame or an Arrow table"
        raise Invalid(f"{what} must be {fits}, not {type(data).__name__}.")
    if not frame.shape[1]:
        raise Invalid(f"{what} has no columns.")
    if not len(frame):
        raise Invalid(f"{what} has no rows.")
    if frame.columns.is_unique and all(isinstance(name, str) for name in frame.columns):
        return frame
    names = frame.columns.map(str)
    if names.has_duplicates:
        twice = sorted(set(names[names.duplicated()]))
        raise Invalid(f"{what} has several columns of the same name: {', '.join(twice)}. Rename them.", columns=twice)
    return frame.set_axis(names, axis=1)


def check_kinds(kinds: Mapping[str, Kind] | None, columns: list[str]) -> dict[str, Kind]:
    """Return kinds given by hand after checking their columns and names."""
    if kinds is not None and not isinstance(kinds, Mapping):
        raise Invalid(f"kinds must be a mapping from columns to kinds, not {type(kinds).__name__}.")
    kinds = {str(column): kind for column, kind in (kinds or {}).items()}
    unknown = sorted(set(kinds) - set(columns))
    if unknown:
        raise Invalid(f"kinds names columns that are not in the frame: {', '.join(unknown)}.", columns=unknown)
    for column, kind in kinds.items():
        if kind not in KINDS:
            raise Invalid(f"Column '{column}' cannot be {kind!r}: a kind is one of {', '.join(KINDS)}.")
    return kinds


def read_sample(series: pd.Series[Any], kind: Kind | None = None) -> Sample:
    """Read one column.

    Parameters
    ----------
    series
        The column; its name is used in errors.
    kind
        Read it as this kind; by default, as what its type says.

    Raises
    ------
    Invalid
        The column holds infinite values, or cannot be read as that kind.

    Examples
    --------
    >>> sample = read_sample(pd.Series([3.0, None, 1.0], name="size"))
    >>> sample.kind, sample.ordered.tolist(), sample.missing
    ('numeric', [1.0, 3.0], 1)
    >>> read_sample(pd.Series(["b", "a", "b", None])).counts
    {'b': 2, 'a': 1}
    """
    inferred = infer_kind(series)
    kind = kind or inferred or ("numeric" if pd.api.types.is_float_dtype(series.dtype) else "categorical")
    if kind in ("categorical", "boolean"):
        counts = _category_counts(series)
        if kind == "boolean" and not counts.keys() <= {"True", "False"}:
            raise Invalid(f"Column '{series.name}' is not boolean: it holds other values than true and false.")
        return CategorySample(kind, inferred, counts, len(series) - sum(counts.values()))
    if kind in ("text", "embedding"):
        return RowsSample(kind, inferred, rows_of(series, kind), int(series.isna().sum()))
    values = numbers(series, kind)
    missing = int(np.isnan(values).sum())
    values = np.sort(values)  # a copy, with NaN last
    values = values[: len(values) - missing]
    return NumericSample(kind, inferred, values, missing)


def infer_kind(series: pd.Series[Any]) -> Kind | None:
    """Return the kind that a column's type says, None when every value is missing.

    Examples
    --------
    >>> infer_kind(pd.Series([1, 2])), infer_kind(pd.Series([True])), infer_kind(pd.Series(["a"]))
    ('numeric', 'boolean', 'categorical')
    """
    types, dtype = pd.api.types, series.dtype
    if series.first_valid_index() is None:
        return None
    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical"
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_dictionary(dtype.pyarrow_dtype):
        return "categorical"
    if isinstance(dtype, pd.ArrowDtype) and _is_list(dtype.pyarrow_dtype):
        return "embedding"
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return "numeric"
    content = types.infer_dtype(series, skipna=True)
    if content == "boolean":
        return "boolean"
    if content in ("datetime", "datetime64", "date"):
        return "datetime"
    if content in ("integer", "floating", "mixed-integer-float", "decimal"):
        return "numeric"
    if content in ("string", "mixed", "mixed-integer", "categorical", "bytes"):
        if content != "string" and types.is_list_like(series[series.first_valid_index()]):
            return "embedding"
        return "text" if _is_prose(series) else "categorical"
    raise Invalid(
        f"Column '{series.name}' holds {content} values ({dtype}), which cannot be profiled. "
        "Drop it or turn it into numbers, categories, booleans or datetimes.",
        column=str(series.name),
    )


def _is_list(dtype: pa.DataType) -> bool:
    return any(is_one(dtype) for is_one in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _is_prose(series: pd.Series[Any]) -> bool:
    """Tell texts from categories by the first thousand: many words each, and hardly one twice."""
    head = [str(value) for value in series.iloc[:_LOOKED_AT].dropna()]
    words = sum(text.count(" ") for text in head) / len(head) + 1 if head else 0.0
    return words >= _PROSE_WORDS and len(set(head)) > max(_FEWEST_TEXTS, 0.5 * len(head))


def numbers(series: pd.Series[Any], kind: Kind) -> Floats:
    """Return a column as numbers, datetimes in seconds since 1970, missing values as NaN; shape (n,).

    Raises
    ------
    Invalid
        It cannot be read as that kind, or holds infinite values.
    """
    try:
        if kind == "numeric":
            if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
                values = np.asarray(series, dtype=np.float64)
            else:
                values = as_floats(series)
        else:
            moments = pd.to_datetime(series, utc=True).dt.as_unit("us")
            values = np.where(moments.isna(), np.nan, moments.astype("int64").to_numpy() / 1e6)
    except (ValueError, TypeError, OverflowError):
        raise Invalid(f"Column '{series.name}' cannot be read as {kind}.", column=str(series.name)) from None
    check_range(values, str(series.name))
    return values


def as_floats(series: pd.Series[Any]) -> Floats:
    """Return a column of any type as floats, missing values as NaN; ValueError or TypeError where it holds others."""
    if series.dtype == object:  # pd.NA among them is no float
        series = series.where(series.notna(), np.nan)
    return np.asarray(series.astype("float64").to_numpy(dtype=np.float64, na_value=np.nan))


def largest(values: Floats) -> float:
    """Return the largest magnitude among numbers, 0 where all are missing; makes no copy of them."""
    high, low = (reduce(values, axis=None, initial=0.0) for reduce in (np.fmax.reduce, np.fmin.reduce))
    return max(float(high), -float(low))


def check_range(values: Floats, column: str) -> None:
    """Raise Invalid where numbers are infinite, or too large to compute with."""
    most = largest(values)
    if np.isinf(most):
        raise Invalid(
            f"Column '{column}' holds infinite values. Replace them, for example by "
            "frame.replace([np.inf, -np.inf], np.nan), or drop the rows.",
            column=column,
        )
    if most > LARGEST:
        raise Invalid(
            f"Column '{column}' holds numbers beyond ±{LARGEST:.0e}. Numbers like that mostly stand for missing ones: "
            "replace them by NaN, or drop the rows.",
            column=column,
        )


def _category_counts(series: pd.Series[Any]) -> dict[str, int]:
    found = category_names(series).value_counts(sort=False, dropna=True)
    counts: dict[str, int] = {}
    for value, count in zip(found.index.tolist(), found.tolist(), strict=True):
        if count:
            label = category(value)
            counts[label] = counts.get(label, 0) + count
    return counts


def label_code(name: str) -> float:
    """Return the number that stands for a category among rows, the same in every process."""
    return float(zlib.crc32(name.encode()))


def category(value: Any) -> str:
    """Return the name under which a category is counted: its text, bounded.

    Examples
    --------
    >>> category("red"), category(1.0), category(True)
    ('red', '1', 'True')
    >>> len(category("x" * 1000))
    58
    """
    # A column of whole numbers turns to floats when a value goes missing: 1 and 1.0 are one category.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    data = text.encode(errors="replace")
    # A character takes up to six bytes of JSON, as an escape.
    if len(text) * 6 <= CATEGORY_BYTES or len(data) <= CATEGORY_BYTES >= len(json.dumps(text, ensure_ascii=False)):
        return data.decode()
    head = re.sub(r'[\x00-\x1f"\\]', " ", data[: CATEGORY_BYTES - 24].decode(errors="ignore"))
    return f"{head}… {hashlib.blake2b(data, digest_size=8).hexdigest()}"
