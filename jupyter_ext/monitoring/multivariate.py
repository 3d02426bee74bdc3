"""Two-sample tests over rows of numbers, shape (n, d): kernels, a density difference, a classifier, reconstruction.

Each compares the whole distribution of the rows, not one column after the other. Rows are encoded by
`jupyter_ext.monitoring.encode`. Nulls come from permuting the rows of both sides, or hold without permutation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from jupyter_ext.monitoring.statistics import DRAWS, Floats, Outcome, simulated_test, untested

#: Rows of each side that a kernel looks at: its matrix has the square of both together.
KERNEL_ROWS = 1000
#: Rows of each side that a classifier looks at.
CLASSIFIER_ROWS = 10_000
#: Rows of each side that these tests need.
LEAST_ROWS = 20
_CENTRES = 100
_PERMUTATIONS = 299


def _subset(rows: Any, most: int, rng: np.random.Generator) -> Any:
    count: int = rows.shape[0]
    return rows if count <= most else rows[np.sort(rng.choice(count, most, replace=False))]


def _looked_at(n: int, m: int, most: int) -> str | None:
    return f"decided on a random sample of {most:,} rows a side" if max(n, m) > most else None


def _labels(n: int, m: int, count: int, rng: np.random.Generator) -> Floats:
    """Return weights 1/n and -1/m of the rows: as they are, then permuted; shape (n + m, 1 + count)."""
    weights = np.repeat([1 / n, -1 / m], [n, m])
    return np.column_stack([weights, rng.permuted(np.tile(weights, (count, 1)), axis=1).T])


def _median_squared_distance(squared: Floats) -> float:
    upper = squared[np.triu_indices(len(squared), 1)]
    return float(np.median(upper)) or float(upper.mean()) or 1.0


def mmd_test(x: Floats, y: Floats, rng: np.random.Generator) -> Outcome:
    """Test the maximum mean discrepancy: how far apart a kernel's means of both sides are.

    Notes
    -----
    MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over pairs of different rows (unbiased; Gretton et al., "A
    kernel two-sample test", 2012, equation 3), k(a, b) = exp(-|a - b|² / (2 s²)) with s² the median of |a - b|²
    over the rows of both sides. Null: permutations of the pool, p = (1 + #{T* >= T}) / (1 + B). At most `KERNEL_ROWS`
    rows of each side are looked at.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mmd_test(rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 1, rng).p_value < 0.001
    True
    """
    note = _looked_at(len(x), len(y), KERNEL_ROWS)
    x, y = _subset(x, KERNEL_ROWS, rng), _subset(y, KERNEL_ROWS, rng)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return untested(0.0, "a kernel compares at least 2 rows a side")
    pool = np.concatenate([x, y])
    squared = cdist(pool, pool, "sqeuclidean")
    kernel = np.exp(squared / (-2 * _median_squared_distance(squared))).astype(np.float32)
    np.fill_diagonal(kernel, 0.0)
    is_x = _labels(n, m, _PERMUTATIONS, rng) > 0
    first = is_x.astype(np.float32)
    totals = kernel @ first  # of each row, over the rows that count as x
    x_x = np.einsum("ij,ij->j", first, totals, dtype=np.float64)
    x_any = kernel.sum(axis=1, dtype=np.float64) @ first
    x_y = x_any - x_x
    y_y = float(kernel.sum(dtype=np.float64)) - x_x - 2 * x_y
    found = x_x / (n * (n - 1)) + y_y / (m * (m - 1)) - 2 * x_y / (n * m)
    return _noted(simulated_test(float(found[0]), found[1:], n, m, power=1.0), note)


def lsdd_test(x: Floats, y: Floats, rng: np.random.Generator) -> Outcome:
    """Test the least-squares density difference: the integral of (p - q)².

    Notes
    -----
    p - q is modelled by Gaussians at up to 100 rows of the pool; with H their overlaps and h the difference of their
    means over both sides, theta = (H + lambda I)⁻¹ h and LSDD = 2 theta'h - theta'H theta (Sugiyama et al., "Density
    difference estimation", 2013, section 3; Bu, Alippi and Zhao 2018). Width: the median distance, as in `mmd_test`;
    lambda: 1 % of the mean overlap of a Gaussian with itself. The integral is in units of the kernel's own. Null:
    permutations of the pool.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> lsdd_test(rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 1, rng).p_value < 0.001
    True
    """
    note = _looked_at(len(x), len(y), KERNEL_ROWS)
    x, y = _subset(x, KERNEL_ROWS, rng), _subset(y, KERNEL_ROWS, rng)
    n, m = len(x), len(y)
    pool = np.concatenate([x, y])
    centres = _subset(pool, _CENTRES, rng)
    width = _median_squared_distance(cdist(centres, centres, "sqeuclidean"))
    features = np.exp(cdist(pool, centres, "sqeuclidean") / (-2 * width))
    overlap = np.exp(cdist(centres, centres, "sqeuclidean") / (-4 * width))
    solved = np.linalg.inv(overlap + 0.01 * np.eye(len(centres)))
    quadratic = 2 * solved - solved @ overlap @ solved
    h = features.T @ _labels(n, m, _PERMUTATIONS, rng)
    found = (h * (quadratic @ h)).sum(axis=0)
    return _noted(simulated_test(float(found[0]), found[1:], n, m, power=1.0), note)


def c2st_test(x: Any, y: Any, rng: np.random.Generator, model: Callable[[int], Any] | None = None) -> Outcome:
    """Test whether a classifier can tell the two sides apart, better than by chance.

    Parameters
    ----------
    x, y
        Rows of both sides, arrays or sparse matrices.
    model
        Makes an untrained classifier from a seed. Default: extremely randomised trees.

    Notes
    -----
    Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", 2017. The classifier learns on one half of each
    side; the statistic is its area under the ROC curve on the other half, which under the null is Mann and Whitney's
    statistic whatever was learned: mean 1/2, variance (n + m + 1) / (12 n m) of the halves tested, less for ties. A
    cross-validated area has no such law. At most `CLASSIFIER_ROWS` rows of each side are looked at.
    """
    note = _looked_at(x.shape[0], y.shape[0], CLASSIFIER_ROWS)
    if min(x.shape[0], y.shape[0]) < LEAST_ROWS:
        return untested(0.5, f"a classifier needs {LEAST_ROWS} rows on each side")
    sides, halves = [], []
    for rows in (x, y):
        rows = _subset(rows, CLASSIFIER_ROWS, rng)
        order = rng.permutation(rows.shape[0])
        half = rows.shape[0] // 2
        sides.append(rows[order[:half]])
        halves.append(rows[order[half:]])
    stack = _stacker(x)
    seed = int(rng.integers(2**31))
    classifier = (model or _trees)(seed)
    labels = np.repeat([0, 1], [side.shape[0] for side in sides])
    classifier.fit(stack(sides), labels, sample_weight=len(labels) / (2 * np.bincount(labels))[labels])
    scores = classifier.predict_proba(stack(halves))[:, 1]
    n, m = (half.shape[0] for half in halves)
    area = float((stats.rankdata(scores)[n:].sum() - m * (m + 1) / 2) / (n * m))
    ties = np.unique(scores, return_counts=True)[1].astype(np.float64)
    total = n + m
    variance = (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1))) / (12 * n * m)
    if variance <= 1e-12:
        return Outcome(area, 1.0, lambda level: None, note)
    deviation = math.sqrt(variance)

    def threshold(level: float) -> float | None:
        least = 0.5 + deviation * float(stats.norm.isf(level))
        return least if least <= 1 else None

    return Outcome(area, float(stats.norm.sf((area - 0.5) / deviation)), threshold, note)


def _stacker(rows: Any) -> Callable[[list[Any]], Any]:
    if isinstance(rows, np.ndarray):
        return np.concatenate
    from scipy import sparse

    return lambda parts: sparse.vstack(parts).tocsr()


def _trees(seed: int) -> Any:
    # One process, no OpenMP: many features are tested at a time, in threads.
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=25, max_depth=10, min_samples_leaf=5, random_state=seed)


def linear_model(seed: int) -> Any:
    """Return the classifier for embeddings and hashed text."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", alpha=1e-4, max_iter=20, tol=None, random_state=seed)


class Reconstruction:
    """Principal components of a reference, and how well they describe other rows.

    Parameters
    ----------
    x
        Rows of the reference, shape (n, d).
    share
        Of the variance, how much the components kept must explain.

    Notes
    -----
    Columns are standardised, components are kept until they explain `share` of the variance, and the error of a row is
    its Euclidean distance to its projection (NannyML, "Data reconstruction with PCA").
    """

    def __init__(self, x: Floats, share: float = 0.65) -> None:
        self.mean = x.mean(axis=0)
        deviation = x.std(axis=0)
        self.deviation = np.where(deviation > 0, deviation, 1.0)
        scaled = (x - self.mean) / self.deviation
        variances, vectors = np.linalg.eigh(scaled.T @ scaled / max(1, len(x) - 1))
        variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
        total = variances.sum()
        explained = np.cumsum(variances) / total if total else np.ones(len(variances))
        self.components = vectors[:, : int(np.searchsorted(explained, share, side="right")) + 1]

    def errors(self, rows: Floats) -> Floats:
        """Return the distance of each row to its reconstruction, shape (n,)."""
        scaled = (rows - self.mean) / self.deviation
        distances: Floats = np.linalg.norm(scaled - scaled @ self.components @ self.components.T, axis=1)
        return distances


def pca_test(x: Floats, y: Floats, rng: np.random.Generator) -> Outcome:
    """Test whether the reference's principal components describe the current rows as well as its own.

    Notes
    -----
    Components are taken from one half of the reference (`Reconstruction`); the statistic is the absolute difference of
    the mean error of the current rows and that of the other half: taken on the same rows, the components would always
    fit the reference better. Null: permutations of the errors, given the components.
    """
    if len(x) < LEAST_ROWS or len(y) < 2:
        return untested(0.0, f"principal components need {LEAST_ROWS} reference rows")
    if x.shape[1] < 2:
        return untested(0.0, "principal components need two columns")
    order = rng.permutation(len(x))
    half = len(x) // 2
    model = Reconstruction(x[order[:half]])
    first, second = model.errors(x[order[half:]]), model.errors(y)
    n, m = len(first), len(second)
    gap = abs(float(second.mean() - first.mean()))
    errors = np.concatenate([first, second])
    if n + m > 4000:
        deviation = math.sqrt(float(errors.var()) * (1 / n + 1 / m)) or 1.0
        return Outcome(
            gap, float(2 * stats.norm.sf(gap / deviation)), lambda level: deviation * float(stats.norm.isf(level / 2))
        )
    drawn = errors @ np.abs(_labels(n, m, DRAWS, rng)[:, 1:] > 0)
    return simulated_test(gap, np.abs(drawn / n - (errors.sum() - drawn) / m), n, m)


def _noted(outcome: Outcome, note: str | None) -> Outcome:
    return replace(outcome, note=note)
