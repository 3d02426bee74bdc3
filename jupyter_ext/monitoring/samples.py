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

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.statistics import Counts, Floats
from jupyter_ext.monitoring.values import Kind

KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "datetime")
#: Quantile steps of the grid on which a numeric column is counted exactly. A multiple of 10, the bins of a PSI.
GRID = 240
#: Hash buckets over which a column with too many categories to keep is counted exactly.
BUCKETS = 64
#: The longest category kept, in bytes of JSON; a longer one is cut and told apart by a hash.
CATEGORY_BYTES = 64


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

    @cached_property
    def edges(self) -> Floats:
        """The grid: just below the least value, then the quantiles in `GRID` steps up to the greatest."""
        if not len(self.ordered):
            return np.empty(0)
        ranks = np.ceil(np.arange(1, GRID + 1) / GRID * len(self.ordered)).astype(np.int64) - 1
        below = np.nextafter(self.ordered[0], -np.inf)
        return np.unique(np.append(below, self.ordered[ranks]))

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


Sample = NumericSample | CategorySample


def as_frame(data: Any, what: str = "The frame") -> pd.DataFrame:
    """Return a DataFrame from one or from anything with ``to_pandas()``, checked; column names as text.

    Raises
    ------
    Invalid
        It is no frame, has no rows or no columns, or two columns share a name.
    """
    frame = data.to_pandas() if not isinstance(data, pd.DataFrame) and hasattr(data, "to_pandas") else data
    if not isinstance(frame, pd.DataFrame):
        raise Invalid(f"{what} must be a DataFrame, an Arrow table or a Profile, not {type(data).__name__}.")
    if not frame.shape[1]:
        raise Invalid(f"{what} has no columns.")
    if not len(frame):
        raise Invalid(f"{what} has no rows.")
    names = frame.columns.map(str)
    if names.has_duplicates:
        twice = sorted(set(names[names.duplicated()]))
        raise Invalid(f"{what} has several columns of the same name: {', '.join(twice)}. Rename them.", columns=twice)
    return frame if names.equals(frame.columns) else frame.set_axis(names, axis=1)


def check_kinds(kinds: Mapping[str, Kind] | None, columns: list[str]) -> dict[str, Kind]:
    """Return kinds given by hand after checking their columns and names."""
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
    values = _numbers(series, kind)
    missing = int(np.isnan(values).sum())
    values = np.sort(values)  # a copy, with NaN last
    values = values[: len(values) - missing]
    if len(values) and not (np.isfinite(values[0]) and np.isfinite(values[-1])):
        raise Invalid(
            f"Column '{series.name}' holds infinite values. Replace them, for example by "
            f"frame.replace([np.inf, -np.inf], np.nan), or drop the rows.",
            column=str(series.name),
        )
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
        if content != "string" and series.map(types.is_list_like).any():
            raise Invalid(
                f"Column '{series.name}' holds lists, which cannot be profiled. Drop it or make it text.",
                column=str(series.name),
            )
        return "categorical"
    raise Invalid(
        f"Column '{series.name}' holds {content} values ({dtype}), which cannot be profiled. "
        "Drop it or turn it into numbers, categories, booleans or datetimes.",
        column=str(series.name),
    )


def _numbers(series: pd.Series[Any], kind: Kind) -> Floats:
    try:
        if kind == "numeric":
            if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
                return np.asarray(series, dtype=np.float64)
            return np.asarray(series.astype("float64").to_numpy(dtype=np.float64, na_value=np.nan))
        moments = pd.to_datetime(series, utc=True).dt.as_unit("us")
        return np.where(moments.isna(), np.nan, moments.astype("int64").to_numpy() / 1e6)
    except (ValueError, TypeError, OverflowError):
        raise Invalid(f"Column '{series.name}' cannot be read as {kind}.", column=str(series.name)) from None


def _category_counts(series: pd.Series[Any]) -> dict[str, int]:
    found = series.value_counts(sort=False, dropna=True)
    counts: dict[str, int] = {}
    for value, count in zip(found.index.tolist(), found.tolist(), strict=True):
        if count:
            label = category(value)
            counts[label] = counts.get(label, 0) + count
    return counts


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
