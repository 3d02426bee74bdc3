"""What a profile keeps of one column: mergeable, bounded, and exact wherever drift is decided on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import datasketches
import numpy as np

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.encode import DIRECTIONS
from jupyter_ext.monitoring.samples import BUCKETS, CategorySample, NumericSample, RowsSample, Sample
from jupyter_ext.monitoring.statistics import Counts, Floats
from jupyter_ext.monitoring.values import Kind

#: Of the KLL sketch (Karnin, Lang, Liberty 2016): at most 20 kB of doubles, ranks off by 0.35 % at 99 % confidence.
SKETCH_K = 800
#: Rows kept of every profile, for the tests that compare whole rows.
ROWS = 400
#: The largest cell, as a share of the rows, that a grid common to two columns may have beyond their own cells.
_COARSEST = 0.05
#: How many categories keep their names.
CATEGORIES = 256


def _copy(sketch: Any) -> Any:
    return datasketches.kll_doubles_sketch.deserialize(sketch.serialize())


@dataclass(frozen=True)
class NumericColumn:
    """A numeric or datetime column (seconds since 1970).

    The `counts` on the grid `edges` are exact while every part was counted on grids that have edges in common, as
    those of one distribution have; a part that came with quite another grid is spread over this one by its sketch, and
    `error` says how far a cumulated share may be off then. `rows` are some of the values, the same rows in all columns.
    """

    kind: Kind
    inferred: Kind | None
    missing: int
    n_values: int
    mean: float
    m2: float
    minimum: float
    maximum: float
    sketch: Any
    edges: Floats
    counts: Counts
    error: float
    rows: Floats

    @classmethod
    def of(cls, sample: NumericSample, rows: Floats, edges: Floats | None = None) -> NumericColumn:
        """Profile a sample on its own grid, or on a given one."""
        values, sketch = sample.ordered, datasketches.kll_doubles_sketch(SKETCH_K)
        if len(values):
            sketch.update(values)
        mean = float(values.mean()) if len(values) else 0.0
        grid = sample.edges if edges is None or not len(edges) else edges
        return cls(
            kind=sample.kind,
            inferred=sample.inferred,
            missing=sample.missing,
            n_values=len(values),
            mean=mean,
            m2=float(((values - mean) ** 2).sum()),
            minimum=float(values[0]) if len(values) else 0.0,
            maximum=float(values[-1]) if len(values) else 0.0,
            sketch=sketch,
            edges=grid,
            counts=sample.counts_on(grid)[0],
            error=0.0,
            rows=rows,
        )

    @property
    def n(self) -> int:
        """Rows, missing values among them."""
        return self.n_values + self.missing

    @property
    def std(self) -> float | None:
        """The standard deviation (n - 1 degrees of freedom)."""
        return float(np.sqrt(self.m2 / (self.n_values - 1))) if self.n_values > 1 else None

    def counts_on(self, edges: Floats) -> tuple[Counts, float]:
        """Return the counts in (-inf, e0], …, (e_last, inf), and how far a cumulated share may be off."""
        if np.array_equal(edges, self.edges):
            return self.counts, self.error
        if not self.n_values:
            return np.zeros(len(edges) + 1, np.int64), 0.0
        places = np.searchsorted(self.edges, edges)
        if places.max() < len(self.edges) and np.array_equal(self.edges[places], edges):
            ends = np.append(np.cumsum(self.counts)[places], self.n_values)
            return np.diff(ends, prepend=0), self.error
        cumulated = np.rint(np.array(self.sketch.get_cdf(edges, inclusive=True)) * self.n_values).astype(np.int64)
        return np.diff(cumulated, prepend=0), self.sketch_error

    def edges_with(self, other: NumericColumn) -> Floats:
        """Return the grid on which both columns are counted most exactly, this column's own where there is none."""
        if np.array_equal(self.edges, other.edges) or not other.n_values:
            return self.edges
        # A column of few rows still knows each of them.
        if not other.sketch_error and (self.sketch_error or self.n_values >= other.n_values):
            return self.edges
        if not self.sketch_error:
            return other.edges
        common = np.intersect1d(self.edges, other.edges)
        for column in (self, other):
            widest = column.counts_on(common)[0].max() if len(common) else column.n_values
            if widest > _COARSEST * column.n_values + column.counts.max():
                return self.edges
        return common

    @property
    def sketch_error(self) -> float:
        """How far a rank of the sketch may be off, at 99 % confidence; 0 while it still holds every value."""
        return float(self.sketch.normalized_rank_error(False)) if self.sketch.is_estimation_mode() else 0.0

    def quantiles(self, ranks: Floats) -> Floats:
        """Return the values at these ranks; there must be values."""
        return np.asarray(self.sketch.get_quantiles(ranks))

    def plus(self, other: NumericColumn) -> NumericColumn:
        """Return the profile of both columns' rows, on this column's grid or what both grids share."""
        if not other.n_values:
            return replace(self, missing=self.missing + other.missing)
        if not self.n_values:
            return replace(other, kind=self.kind, missing=self.missing + other.missing)
        edges = self.edges_with(other)
        (counts, error), (own, own_error) = other.counts_on(edges), self.counts_on(edges)
        n = self.n_values + other.n_values
        gap = other.mean - self.mean
        sketch = _copy(self.sketch)
        sketch.merge(other.sketch)
        return replace(
            self,
            inferred=self.inferred or other.inferred,
            missing=self.missing + other.missing,
            n_values=n,
            mean=self.mean + gap * other.n_values / n,
            m2=self.m2 + other.m2 + gap**2 * self.n_values * other.n_values / n,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            sketch=sketch,
            edges=edges,
            counts=own + counts,
            error=(own_error * self.n_values + error * other.n_values) / n,
        )

    def to_parts(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return what JSON can carry, and the rest as bytes."""
        facts = {
            key: getattr(self, key)
            for key in ("kind", "inferred", "missing", "n_values", "mean", "m2", "minimum", "maximum", "error")
        }
        return facts, [
            self.sketch.serialize(),
            self.edges.astype("<f8").tobytes(),
            self.counts.astype("<i8").tobytes(),
            self.rows.astype("<f8").tobytes(),
        ]

    @classmethod
    def from_parts(cls, facts: dict[str, Any], sections: list[bytes]) -> NumericColumn:
        """Rebuild the column; ValueError when the parts do not fit."""
        sketch, edges, counts, rows = sections
        column = cls(
            **facts,
            sketch=datasketches.kll_doubles_sketch.deserialize(sketch),
            edges=np.frombuffer(edges, "<f8").astype(np.float64),
            counts=np.frombuffer(counts, "<i8").astype(np.int64),
            rows=np.frombuffer(rows, "<f8").astype(np.float64)[:, None],
        )
        if len(column.counts) != len(column.edges) + 1 or column.counts.sum() != column.n_values:
            raise ValueError("counts do not fit")
        return column


@dataclass(frozen=True)
class CategoryColumn:
    """A categorical or boolean column.

    `counts` holds up to `CATEGORIES` named categories, each exact; everything else is in `other`. `buckets` counts all
    of them by hash, exactly, so that a column with endless categories can be compared without choosing among them.
    """

    kind: Kind
    inferred: Kind | None
    missing: int
    counts: dict[str, int]
    other: int
    buckets: Counts
    rows: Floats

    @classmethod
    def of(cls, sample: CategorySample, rows: Floats) -> CategoryColumn:
        """Profile a sample; `rows` are codes of the categories of some rows."""
        named, other = _most_frequent(sample.counts)
        return cls(sample.kind, sample.inferred, sample.missing, named, other, sample.buckets, rows)

    @property
    def n(self) -> int:
        """Rows, missing values among them."""
        return sum(self.counts.values()) + self.other + self.missing

    def plus(self, other: CategoryColumn) -> CategoryColumn:
        """Return the profile of both columns' rows."""
        # A category keeps its name where both sides know its count: it is named, or its absence is certain.
        known = {
            category: self.counts.get(category, 0) + other.counts.get(category, 0)
            for category in {**self.counts, **other.counts}
            if (category in self.counts or not self.other) and (category in other.counts or not other.other)
        }
        named, _ = _most_frequent(known)
        missing = self.missing + other.missing
        return replace(
            self,
            inferred=self.inferred or other.inferred,
            missing=missing,
            counts=named,
            other=self.n + other.n - missing - sum(named.values()),
            buckets=self.buckets + other.buckets,
        )

    def to_parts(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return what JSON can carry, and the rest as bytes."""
        facts = {key: getattr(self, key) for key in ("kind", "inferred", "missing", "counts", "other")}
        return facts, [self.buckets.astype("<i8").tobytes(), self.rows.astype("<f8").tobytes()]

    @classmethod
    def from_parts(cls, facts: dict[str, Any], sections: list[bytes]) -> CategoryColumn:
        """Rebuild the column; ValueError when the parts do not fit."""
        buckets, rows = sections
        column = cls(
            **facts,
            buckets=np.frombuffer(buckets, "<i8").astype(np.int64),
            rows=np.frombuffer(rows, "<f8").astype(np.float64)[:, None],
        )
        if column.buckets.sum() != column.n - column.missing or len(column.buckets) != BUCKETS:
            raise ValueError("buckets do not fit")
        return column


@dataclass(frozen=True)
class RowsColumn:
    """A column of texts or embeddings: some of its rows, as projections onto fixed random directions.

    `width` is how many numbers an embedding has, where that is known.
    """

    kind: Kind
    inferred: Kind | None
    missing: int
    n: int
    rows: Floats
    width: int | None = None

    @classmethod
    def of(cls, sample: RowsSample, rows: Floats) -> RowsColumn:
        """Profile a sample."""
        return cls(sample.kind, sample.inferred, sample.missing, sample.n, rows, sample.width)

    def plus(self, other: RowsColumn) -> RowsColumn:
        """Return the profile of both columns' rows."""
        if self.width and other.width and self.width != other.width:
            raise Invalid(f"An embedding has {self.width} numbers in one part and {other.width} in another.")
        return replace(self, missing=self.missing + other.missing, n=self.n + other.n, width=self.width or other.width)

    def to_parts(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return what JSON can carry, and the rest as bytes."""
        facts = {key: getattr(self, key) for key in ("kind", "inferred", "missing", "n", "width")}
        return facts, [self.rows.astype("<f4").tobytes()]

    @classmethod
    def from_parts(cls, facts: dict[str, Any], sections: list[bytes]) -> RowsColumn:
        """Rebuild the column; ValueError when the parts do not fit."""
        (rows,) = sections
        return cls(**facts, rows=np.frombuffer(rows, "<f4").astype(np.float64).reshape(-1, DIRECTIONS))


Column = NumericColumn | CategoryColumn | RowsColumn


def _most_frequent(counts: dict[str, int]) -> tuple[dict[str, int], int]:
    """Return the most frequent categories with their counts, and how many rows the others have."""
    order = sorted(counts, key=lambda category: (-counts[category], category))
    return {c: counts[c] for c in order[:CATEGORIES]}, sum(counts[c] for c in order[CATEGORIES:])


def column_of(sample: Sample, rows: Floats, edges: Floats | None = None) -> Column:
    """Profile a sample; a numeric one on the given grid. `rows` are what is kept of single rows."""
    if isinstance(sample, NumericSample):
        return NumericColumn.of(sample, rows, edges)
    return RowsColumn.of(sample, rows) if isinstance(sample, RowsSample) else CategoryColumn.of(sample, rows)


def column_from_parts(facts: dict[str, Any], sections: list[bytes]) -> Column:
    """Rebuild a column from what `to_parts` gave.

    Raises
    ------
    Invalid
        The parts do not fit together.
    """
    classes: dict[Any, type[NumericColumn | RowsColumn]] = {
        **dict.fromkeys(("numeric", "datetime"), NumericColumn),
        **dict.fromkeys(("text", "embedding"), RowsColumn),
    }
    try:
        return classes.get(facts.get("kind"), CategoryColumn).from_parts(facts, sections)
    except (ValueError, TypeError, RuntimeError, IndexError, KeyError, AttributeError) as error:
        raise Invalid("A column of the profile is damaged. Make and store the profile again.") from error
