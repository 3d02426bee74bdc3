"""How odd a row is against a sample of others: distances to neighbours in two scalings, isolation by random trees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import IsolationForest

from jupyter_ext.monitoring.mixed_rows import Rows
from jupyter_ext.monitoring.statistics import Floats

#: Rows of a subsample: large ones see local outliers less well and hide those that come in groups.
BAG = 256
#: Which neighbour's distance counts.
NEIGHBOUR = 10
#: Categories of a column that get a dimension of their own; of the others only their rarity counts.
_NAMED = 10
_BATCH = 1024
#: Distances below this share of the rows' own lengths are rounding of the expanded square.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Categories:
    """One column of categories. The last of each array is what was never seen, code -1.

    Parameters
    ----------
    places
        Coordinates for distances, of variance 1 together, shape (c + 1, k).
    ranks
        Logarithm of the place by frequency, for cuts: the rare at one end, shape (c + 1,).
    surprise
        How surprising an unseen category is, shape (c + 1,), 0 for seen ones: the logarithm of how rarely one is met,
        by as many as were met once (Good, 1953).
    """

    places: Floats
    ranks: Floats
    surprise: Floats

    @classmethod
    def of(cls, codes: Any, n: int) -> Categories:
        """Measure the codes of a sample, of which n were known beforehand."""
        counts = np.append(np.bincount(codes[codes >= 0], minlength=n), 0)
        shares = counts / len(codes)
        named = np.argsort(-shares, kind="stable")[:_NAMED]
        named = named[(shares[named] > 0) & (shares[named] < 1)]
        spread = np.sqrt(shares[named] * (1 - shares[named]) * max(1, len(named)))
        places = (np.equal.outer(np.arange(n + 1), named) - shares[named]) / spread
        seen = shares > 0
        if seen.sum() > _NAMED:
            rarity = -np.log(shares, where=seen, out=np.zeros(n + 1))
            mean = float(shares @ rarity)
            deviation = np.sqrt(float(shares @ (rarity - mean) ** 2)) or 1.0
            places = np.column_stack([places, (rarity - mean) / deviation])
        surprise = -np.log(((counts == 1).sum() + 0.5) / (len(codes) + 1))
        ranks = np.log1p(np.argsort(np.argsort(-shares, kind="stable")))
        return cls(np.where(seen[:, None], places, 0.0), ranks, np.where(seen, 0.0, surprise))


class Places(NamedTuple):
    """Coordinates of rows, shapes (n, k)."""

    #: For distances, numbers by mean and standard deviation.
    plain: Floats
    #: For distances, numbers by median and quartiles on a logarithmic scale.
    robust: Floats
    #: For cuts: one coordinate a column.
    single: Floats


@dataclass(frozen=True)
class Space:
    """Coordinates of encoded rows in which every column weighs alike.

    Parameters
    ----------
    center, scale, middle, width
        Mean, standard deviation, median and interquartile range (as a standard deviation) of the numbers, shape (a,).
    lost
        Share of missing values a number column, shape (a,).
    categories
        One a code column.
    surprise
        How surprising a missing value is where none was missing, and a number where all were.
    """

    center: Floats
    scale: Floats
    middle: Floats
    width: Floats
    lost: Floats
    categories: list[Categories]
    surprise: float

    @classmethod
    def of(cls, rows: Rows, n_categories: list[int]) -> Space:
        """Measure a sample."""
        numbers = rows.numbers
        lost = np.isnan(numbers).mean(axis=0)
        # A column without any number in this sample has neither place nor width.
        known = np.where(lost < 1, numbers, 0.0)
        center = np.nan_to_num(np.nanmean(known, axis=0))
        ranks = [0.05, 0.25, 0.5, 0.75, 0.95]
        # numpy has no quantiles of no columns.
        quantiles = np.nanquantile(known, ranks, axis=0) if known.size else np.zeros((len(ranks), known.shape[1]))
        q05, q25, q50, q75, q95 = np.nan_to_num(quantiles)
        scale = _or_one(np.nanstd(known, axis=0))
        # Most values equal: then the quartiles coincide, and perhaps the tails do too.
        width = np.where(q75 > q25, (q75 - q25) / 1.349, np.where(q95 > q05, (q95 - q05) / 3.29, scale))
        categories = [Categories.of(codes, n) for codes, n in zip(rows.codes.T, n_categories, strict=True)]
        return cls(center, scale, q50, width, lost, categories, float(np.log(2 * (len(rows) + 1))))

    def places(self, rows: Rows) -> Places:
        """Return the rows' coordinates."""
        gone = np.isnan(rows.numbers)
        plain = np.where(gone, 0.0, (rows.numbers - self.center) / self.scale)
        robust = np.where(gone, 0.0, (rows.numbers - self.middle) / self.width)
        robust = np.sign(robust) * np.log1p(np.abs(robust))
        seldom = (self.lost > 0) & (self.lost < 1)
        lost = self.lost[seldom]
        others = [(gone[:, seldom] - lost) / np.sqrt(lost * (1 - lost))]
        never = self.surprise * (gone & (self.lost == 0)).sum(axis=1)
        never += self.surprise * (~gone & (self.lost == 1)).sum(axis=1)
        for codes, column in zip(rows.codes.T, self.categories, strict=True):
            never += column.surprise[codes]
            others.append(column.places[codes])
        others.append(never[:, None])
        ranks = [column.ranks[codes] for codes, column in zip(rows.codes.T, self.categories, strict=True)]
        return Places(
            np.column_stack([plain, *others]),
            np.column_stack([robust, *others]),
            np.column_stack([plain, gone[:, seldom], *ranks, never]),
        )


def _or_one(scale: Floats) -> Floats:
    return np.where(np.nan_to_num(scale) > 0, scale, 1.0)


@dataclass(frozen=True)
class Neighbours:
    """The distance to the k-th neighbour in subsamples, averaged.

    Source: Ramaswamy, Rastogi, Shim, "Efficient algorithms for mining outliers from large data sets", 2000; subsamples:
    Sugiyama, Borgwardt, "Rapid distance-based outlier detection via sampling", 2013.
    """

    #: Shape (subsamples, rows, coordinates).
    bags: Floats
    k: int

    @classmethod
    def of(cls, places: Floats, n_bags: int, size: int, rng: np.random.Generator) -> Neighbours:
        """Draw the subsamples."""
        bags = [places[rng.choice(len(places), size, replace=False)] for _ in range(n_bags)]
        return cls(np.stack(bags), max(1, min(NEIGHBOUR, size // 4)))

    @cached_property
    def _lengths(self) -> Floats:
        return np.asarray((self.bags**2).sum(axis=2))

    def score(self, places: Floats) -> Floats:
        """Return the mean distance, shape (n,)."""
        scores = np.empty(len(places))
        others = self.bags.reshape(-1, self.bags.shape[2]).T
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            length = (part**2).sum(axis=1)[:, None]
            squares = length[:, None] + self._lengths - 2 * (part @ others).reshape(-1, *self._lengths.shape)
            nearest = np.partition(squares, (0, self.k - 1, self.k), axis=2)
            # A distance of nothing is the row itself, in a subsample of which it is part.
            itself = nearest[:, :, 0] <= _ROUNDING * (1 + length)
            square = np.where(itself, nearest[:, :, self.k], nearest[:, :, self.k - 1])
            scores[start : start + _BATCH] = np.sqrt(np.maximum(square, 0.0)).mean(axis=1)
        return scores


@dataclass(frozen=True)
class Forest:
    """How few random cuts isolate a row; grown by scikit-learn, walked here (one row: 1/20 of its time).

    Source: Liu, Ting, Zhou, "Isolation forest", 2008: 2^(-E h(x)/c(ψ)).
    """

    feature: Any
    threshold: Floats
    left: Any
    right: Any
    path: Floats
    roots: Any
    normal: float
    depth: int

    @classmethod
    def of(cls, places: Floats, n_trees: int, size: int, rng: np.random.Generator) -> Forest:
        """Grow the trees."""
        seed = int(rng.integers(2**31))
        forest = IsolationForest(n_estimators=n_trees, max_samples=size, random_state=seed).fit(places)
        trees = [estimator.tree_ for estimator in forest.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        feature, threshold, left, right, path = [], [], [], [], []
        for tree, root in zip(trees, roots, strict=True):
            here = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            feature.append(np.where(leaf, 0, tree.feature))
            threshold.append(tree.threshold)
            # A leaf leads to itself, so that all rows can walk the same number of steps.
            left.append(root + np.where(leaf, here, tree.children_left))
            right.append(root + np.where(leaf, here, tree.children_right))
            path.append(tree.compute_node_depths() - 1 + _mean_path(tree.n_node_samples))
        depth = max(int(tree.max_depth) for tree in trees)
        return cls(
            np.concatenate(feature),
            np.concatenate(threshold),
            np.concatenate(left),
            np.concatenate(right),
            np.concatenate(path),
            roots,
            float(_mean_path(size)),
            depth,
        )

    def score(self, places: Floats) -> Floats:
        """Return the anomaly score in (0, 1), shape (n,)."""
        # The trees were grown on single precision.
        places = places.astype(np.float32)
        scores = np.empty(len(places))
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            rows = np.arange(len(part))[:, None]
            nodes = np.broadcast_to(self.roots, (len(part), len(self.roots)))
            for _ in range(self.depth):
                below = part[rows, self.feature[nodes]] <= self.threshold[nodes]
                nodes = np.where(below, self.left[nodes], self.right[nodes])
            scores[start : start + _BATCH] = 2 ** (-self.path[nodes].mean(axis=1) / self.normal)
        return scores


def _mean_path(n: Any) -> Floats:
    """Return the mean path of an unsuccessful search among n, c(n) of the paper."""
    n = np.asarray(n, dtype=np.float64)
    many = np.maximum(n, 3)
    return np.where(n > 2, 2 * (np.log(many - 1) + np.euler_gamma) - 2 * (many - 1) / many, np.where(n == 2, 1.0, 0.0))
