"""Profiles: what a frame looked like, small enough to keep beside every model version."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.columns import (
    ROWS,
    SKETCH_K,
    CategoryColumn,
    Column,
    NumericColumn,
    RowsColumn,
    column_from_parts,
    column_of,
)
from jupyter_ext.monitoring.container import pack, unpack
from jupyter_ext.monitoring.encode import DIRECTIONS, projected, rows_of
from jupyter_ext.monitoring.progress import told_progress
from jupyter_ext.monitoring.samples import (
    BUCKETS,
    GRID,
    CategorySample,
    NumericSample,
    RowsSample,
    Sample,
    as_frame,
    check_kinds,
    infer_kind,
    read_sample,
)
from jupyter_ext.monitoring.statistics import Counts
from jupyter_ext.monitoring.values import Kind

if TYPE_CHECKING:
    from typing import Self

SETTINGS = {"sketch_k": SKETCH_K, "grid": GRID, "buckets": BUCKETS, "rows": ROWS}
Result = TypeVar("Result")
Keys = NDArray[np.uint32]
_HTML_ROWS = 60


class Profile:
    """A mergeable summary of a frame: at most 30 kB a column, however many rows.

    A column keeps its kind, rows, missing values, least and greatest value, mean and variance, a KLL sketch of its
    quantiles, and exact counts: of a numeric column on a grid of 240 of its own quantiles, of a categorical one by
    category (the 256 most frequent) and by hash (all). `drift` decides on the exact counts, so a stored profile gives
    the same false-alarm rate as the frame it was made from. For tests that compare whole rows it keeps a random 400 of
    them: numbers as they are, categories as codes, texts and embeddings as 16 projections.

    Examples
    --------
    >>> day_1 = pd.DataFrame({"size": [1.0, 2.0, None], "colour": ["red", "red", "blue"]})
    >>> profile = Profile.of(day_1).update(pd.DataFrame({"size": [9.0], "colour": ["green"]}))
    >>> profile
    Profile of 4 rows, 2 columns
    >>> profile.table.loc["size", ["kind", "missing", "max", "mean"]].to_dict()
    {'kind': 'numeric', 'missing': 1, 'max': 9.0, 'mean': 4.0}
    >>> Profile.from_bytes(profile.to_bytes()).n_rows
    4
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        n_rows: int,
        settings: Mapping[str, int] = SETTINGS,
        keys: Keys | None = None,
    ) -> None:
        self._columns = dict(columns)
        self._n_rows = n_rows
        self._settings = dict(settings)
        self._keys = np.empty(0, np.uint32) if keys is None else keys

    @classmethod
    def of(
        cls,
        frame: Any,
        kinds: Mapping[str, Kind] | None = None,
        like: Profile | None = None,
        *,
        rows_by: str | None = None,
    ) -> Self:
        """Profile a frame.

        Parameters
        ----------
        frame
            A DataFrame, or anything with ``to_pandas()``.
        kinds
            Kinds of columns whose type misleads, such as ``{"postcode": "categorical"}``.
        like
            Another profile, of a reference: take its kinds and its grid, so that the two compare exactly.
        rows_by
            Which rows are kept follows from this text and their number; by default, from the first row. For parts of
            one frame, profiled apart.

        Raises
        ------
        Invalid
            The frame is empty, or a column holds infinite values or values of no kind we know.
        """
        frame = as_frame(frame)
        given = check_kinds(kinds, list(frame.columns))
        if like is not None and not isinstance(like, Profile):
            raise Invalid(f"like must be a Profile, not {type(like).__name__}.")

        picked, keys = _pick(frame, 0, rows_by)

        def profile(name: str) -> Column:
            model = like._columns.get(name) if like is not None and name not in given else None
            if model is None:
                return _column(frame[name], read_sample(frame[name], given.get(name)), picked)
            return _column(frame[name], read_like(frame[name], model), picked, model)

        names = [str(name) for name in frame.columns]
        return cls(dict(zip(names, in_threads(profile, names, "Profiling"), strict=True)), len(frame), keys=keys)

    @property
    def n_rows(self) -> int:
        """How many rows were profiled."""
        return self._n_rows

    @property
    def columns(self) -> dict[str, Column]:
        """The columns' summaries by name, in the frame's order."""
        return dict(self._columns)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns' kinds by name."""
        return {name: column.kind for name, column in self._columns.items()}

    @property
    def settings(self) -> dict[str, int]:
        """The sizes of sketch, grid and buckets that this profile was made with."""
        return dict(self._settings)

    def update(self, frame: Any) -> Self:
        """Add the rows of a frame with the same columns, and return this profile.

        A numeric column goes on being counted on the grid of the first frame; make that one representative.

        Raises
        ------
        Invalid
            The frame is empty, has other columns, or a column changed its kind. Nothing was added then.
        """
        frame = as_frame(frame)
        self._check_columns(list(frame.columns), "frame")

        picked, new = _pick(frame, self._n_rows)
        keys, kept = _keep(self._keys, new)

        def updated(name: str) -> Column:
            column = self._columns[name]
            return _plus(column, _column(frame[name], read_like(frame[name], column), picked, column), kept)

        self._columns = dict(zip(self._columns, in_threads(updated, list(self._columns), "Profiling"), strict=True))
        self._keys = keys
        self._n_rows += len(frame)
        return self

    def merge(self, other: Profile) -> Profile:
        """Return the profile of both profiles' rows; neither is changed.

        Counts stay exact when `other` was made ``like`` this one (or grew from it), and mostly when it was not: the
        grid then becomes what both have in common. Only where that is too coarse, because the distributions differ
        much, counts are taken from the sketch of `other`, and drift allows for the sketch's error.

        Raises
        ------
        Invalid
            The profiles have other columns, kinds or settings.
        """
        if not isinstance(other, Profile):
            raise Invalid(f"A profile merges with a Profile, not {type(other).__name__}. Rows are added by update.")
        check_settings(self, other)
        self._check_columns(list(other._columns), "profile")
        changed = [
            f"'{name}' ({column.kind}, then {other._columns[name].kind})"
            for name, column in self._columns.items()
            if column.kind != other._columns[name].kind and column.inferred and other._columns[name].inferred
        ]
        if changed:
            raise Invalid(f"The kinds of columns differ between the profiles: {', '.join(changed)}.", columns=changed)
        keys, kept = _keep(self._keys, other._keys)
        columns = {name: _plus(column, other._columns[name], kept) for name, column in self._columns.items()}
        return Profile(columns, self._n_rows + other._n_rows, self._settings, keys)

    @classmethod
    def of_parquet(
        cls,
        uri: str | os.PathLike[str],
        kinds: Mapping[str, Kind] | None = None,
        like: Profile | None = None,
        columns: Sequence[str] | None = None,
        backend: Literal["local", "ray"] = "local",
    ) -> Profile:
        """Profile a Parquet file larger than memory, here or on Ray; see `jupyter_ext.monitoring.parquet`."""
        from jupyter_ext.monitoring.parquet import profile_parquet

        return profile_parquet(uri, kinds, like, columns, backend)

    def only(self, columns: Sequence[str]) -> Profile:
        """Return the profile of some of the columns; all of them must be there."""
        return Profile({name: self._columns[name] for name in columns}, self._n_rows, self._settings, self._keys)

    @staticmethod
    def beside(profiles: Sequence[Profile]) -> Profile:
        """Return one profile of the columns of several, which were made of the same rows."""
        first = profiles[0]
        if any(p.n_rows != first.n_rows or not np.array_equal(p._keys, first._keys) for p in profiles):
            raise Invalid("The profiles were not made of the same rows.")
        columns = {name: column for profile in profiles for name, column in profile._columns.items()}
        return Profile(columns, first.n_rows, first._settings, first._keys)

    def to_bytes(self) -> bytes:
        """Return the profile as bytes, in the format of `jupyter_ext.monitoring.container`."""
        columns, sections = [], [self._keys.astype("<u4").tobytes()]
        for name, column in self._columns.items():
            facts, parts = column.to_parts()
            columns.append({"name": name, "parts": len(parts), **facts})
            sections += parts
        return pack({"n_rows": self._n_rows, "settings": self._settings, "columns": columns}, sections)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read a profile back.

        Raises
        ------
        Invalid
            The bytes are no profile, are damaged, or come from a newer version.
        """
        header, sections = unpack(bytes(data) if isinstance(data, bytearray | memoryview) else data)
        columns: dict[str, Column] = {}
        try:
            keys, sections = np.frombuffer(sections[0], "<u4").astype(np.uint32), sections[1:]
            for entry in header["columns"]:
                facts = dict(entry)
                name, parts = str(facts.pop("name")), int(facts.pop("parts"))
                columns[name], sections = column_from_parts(facts, sections[:parts]), sections[parts:]
                if len(columns[name].rows) != len(keys):
                    raise ValueError("rows do not fit")
            settings = {str(key): int(value) for key, value in header["settings"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise Invalid("The profile's header is damaged. Make and store it again.") from None
        return cls(columns, header["n_rows"], settings, keys)

    @property
    def table(self) -> pd.DataFrame:
        """One row a column: kind, rows, missing values; then what fits the kind, such as mean or top category."""
        rows = {}
        for name, column in self._columns.items():
            row: dict[str, Any] = {"kind": column.kind, "n": column.n, "missing": column.missing}
            if isinstance(column, NumericColumn):
                if column.n_values:
                    median = float(column.quantiles(np.array([0.5]))[0])
                    row |= {"min": column.minimum, "mean": column.mean, "std": column.std, "median": median}
                    row |= {"max": column.maximum}
                if column.kind == "datetime":
                    moments = {
                        key: pd.Timestamp(row[key], unit="s") for key in row.keys() & {"min", "mean", "median", "max"}
                    }
                    row |= {**moments, "std": None}
            elif isinstance(column, CategoryColumn) and column.counts:
                row |= {"categories": len(column.counts) if not column.other else f"> {len(column.counts)}"}
                row |= {"top": next(iter(column.counts))}
            rows[name] = row
        order = ["kind", "n", "missing", "min", "mean", "std", "median", "max", "categories", "top"]
        return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=order).rename_axis("column")

    def __reduce__(self) -> tuple[Callable[[bytes], Profile], tuple[bytes]]:
        # To another process, and for a copy: sketches do not pickle.
        return type(self).from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        rows, columns = self._n_rows, len(self._columns)
        return f"Profile of {rows:,} row{'s' * (rows != 1)}, {columns:,} column{'s' * (columns != 1)}"

    def _repr_html_(self) -> str:
        table = self.table.head(_HTML_ROWS).to_html(na_rep="", float_format="{:.4g}".format, border=0)
        more = f"<p>… and {len(self._columns) - _HTML_ROWS} more columns</p>" if len(self._columns) > _HTML_ROWS else ""
        return f"<p>{self!r}</p>{table}{more}"

    def _check_columns(self, names: list[str], what: str) -> None:
        lost, extra = [c for c in self._columns if c not in set(names)], [c for c in names if c not in self._columns]
        if lost or extra:
            facts = [f"lacks {', '.join(lost)}"] * bool(lost) + [f"has also {', '.join(extra)}"] * bool(extra)
            raise Invalid(
                f"The {what} does not have the profile's columns: it {' and '.join(facts)}.", lost=lost, extra=extra
            )


def check_settings(profile: Profile, other: Profile) -> None:
    """Raise Invalid unless the two profiles were made with the same settings."""
    if profile.settings != other.settings:
        raise Invalid(
            f"The profiles were made with different settings ({profile.settings} and {other.settings}). "
            "Make them again with the same version of jupyter-ext.",
        )


def read_like(series: pd.Series[Any], column: Column | Sample) -> Sample:
    """Read a column of a frame as the kind that another side of it has.

    Raises
    ------
    Invalid
        Its type says another kind than the other side's type said.
    """
    inferred = infer_kind(series)
    if inferred is None or column.inferred is None:
        return read_sample(series, column.kind if inferred is None else None)
    if inferred != column.inferred and {inferred, column.inferred} != {"text", "categorical"}:
        raise Invalid(
            f"Column '{series.name}' changed its kind: it was {column.inferred} and is {inferred} now. "
            "Convert one side with astype, or leave the column out.",
            column=str(series.name),
        )
    return read_sample(series, column.kind)


def all_missing_as(column: Column | Sample, kind: Kind) -> Sample:
    """Return a column that holds nothing but missing values as a sample of this kind."""
    if kind in ("numeric", "datetime"):
        return NumericSample(kind, None, np.empty(0), column.n)
    if kind == "text":
        return RowsSample(kind, None, [""] * column.n, column.n)
    if kind == "embedding":
        return RowsSample(kind, None, np.full((column.n, 1), np.nan), column.n)
    return CategorySample(kind, None, {}, column.n)


def in_threads(function: Callable[[str], Result], items: Sequence[str], doing: str = "Comparing") -> list[Result]:
    """Map over column names in threads: sorting and searching leave the interpreter free.

    Linear algebra stays in the thread it is called from; its own threads would fight over the cores with these. When
    it takes long, a line on the standard error stream says how far it is.
    """
    workers = min(8, os.cpu_count() or 1)
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(told_progress(pool.map(function, items), len(items), doing))


def _pick(frame: pd.DataFrame, before: int, by: str | None = None) -> tuple[Counts, Keys]:
    """Return which rows of a frame to keep, and their keys: of all rows ever seen, those with the least keys are kept.

    A bottom-k sample (Cohen and Kaplan 2007): mergeable, and every row has the same chance. Keys differ from frame to
    frame by what its first row holds.
    """
    by = str(frame.iloc[0].tolist()) if by is None else by
    rng = np.random.default_rng([before, len(frame), zlib.crc32(by.encode())])
    keys = rng.integers(0, 2**32, len(frame), dtype=np.uint32)
    picked = np.argsort(keys, kind="stable")[:ROWS] if len(keys) <= ROWS else np.argpartition(keys, ROWS)[:ROWS]
    return picked, keys[picked]


def _keep(keys: Keys, others: Keys) -> tuple[Keys, Counts]:
    """Return the keys that stay of both, and their places among all."""
    both = np.concatenate([keys, others])
    kept = np.argsort(both, kind="stable")[:ROWS]
    return both[kept], kept


def _column(series: pd.Series[Any], sample: Sample, picked: Counts, model: Column | None = None) -> Column:
    if isinstance(sample, RowsSample):
        chosen = [sample.rows[place] for place in picked] if isinstance(sample.rows, list) else sample.rows[picked]
        rows = projected(chosen)
    else:
        rows = rows_of(series.iloc[picked], sample.kind)
    return column_of(sample, rows, model.edges if isinstance(model, NumericColumn) else None)


def _plus(column: Column, other: Column, kept: Counts) -> Column:
    rows = [column.rows, other.rows]
    if column.kind != other.kind:  # one of them holds nothing but missing values
        kind = other.kind if column.inferred is None else column.kind
        width = DIRECTIONS if kind in ("text", "embedding") else 1
        blank = [np.full((len(part), width), np.nan) for part in rows]
        if column.inferred is None:
            column, rows[0] = column_of(all_missing_as(column, kind), blank[0]), blank[0]
        else:
            other, rows[1] = column_of(all_missing_as(other, kind), blank[1]), blank[1]
    if isinstance(column, NumericColumn) and isinstance(other, NumericColumn):
        return replace(column.plus(other), rows=np.concatenate(rows)[kept])
    if isinstance(column, CategoryColumn) and isinstance(other, CategoryColumn):
        return replace(column.plus(other), rows=np.concatenate(rows)[kept])
    if isinstance(column, RowsColumn) and isinstance(other, RowsColumn):
        return replace(column.plus(other), rows=np.concatenate(rows)[kept])
    raise AssertionError(f"columns of one kind ({column.kind}) are kept in two ways")
