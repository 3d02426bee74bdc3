"""Two-sample tests over rows of numbers, shape (n, d): kernels, a density difference, a classifier, reconstruction.

Each compares the whole distribution of the rows, not one column after the other. Rows are encoded by
`jupyter_ext.monitoring.encode`. Nulls come from permuting the rows of both sides, or hold without permutation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from jupyter_ext.monitoring.statistics import DRAWS, Counts, Floats, Outcome, deals, simulated_test, untested

if TYPE_CHECKING:
    from typing import Self

#: Rows of each side that a kernel looks at: its matrix has the square of both together.
KERNEL_ROWS = 1000
#: Rows of each side that a classifier looks at.
CLASSIFIER_ROWS = 10_000
#: Rows of each side that these tests need.
LEAST_ROWS = 20
#: Why components that describe every row compare nothing.
NOTHING_LEFT = "the components describe every row; it needs more columns, some of them related"
_CENTRES = 100
_PERMUTATIONS = 299
#: Rows whose distances give a kernel its width.
_WIDTH_ROWS = 300
#: A kernel that this many factors describe is taken by them: one number a row, or categories, make it so.
_FACTORS, _LEFT_OUT = 64, 1e-7
#: Rows of a kernel that are held at a time.
_BLOCK = 256
#: Trees of a classifier, how many leaves one has at most, and the fewest rows of a leaf.
_TREES, _LEAVES, _LEAST_LEAF = 15, 40, 5


def _subset(rows: Any, most: int, rng: np.random.Generator) -> Any:
    count: int = rows.shape[0]
    return rows if count <= most else rows[np.sort(rng.choice(count, most, replace=False))]


def _looked_at(n: int, m: int, most: int) -> str | None:
    return f"decided on a random sample of {most:,} rows a side" if max(n, m) > most else None


def _deals(n: int, m: int, rng: np.random.Generator) -> Floats:
    """Return 1 where a row counts as x and 0 where as y, first as they are, then dealt anew; shape (1 + B, n + m)."""
    return np.vstack([np.arange(n + m) < n, deals(n, m, _PERMUTATIONS, rng)]).astype(np.float64)


def _median_squared_distance(rows: Floats) -> float:
    squared = pdist(rows, "sqeuclidean")
    return float(np.median(squared)) or float(squared.mean()) or 1.0


def _kernel_factors(pool: Floats, width: float) -> Floats | None:
    """Return L with L L' = the kernel of these rows, shape (n, k); None where that takes more than `_FACTORS`.

    Cholesky's factorisation, always of the row that is described worst so far, until what is left out is negligible
    (Fine and Scheinberg, "Efficient SVM training using low-rank kernel representations", 2001).
    """
    if pool.shape[1] > _FACTORS:
        return None
    left = np.ones(len(pool))
    factors = np.empty((_FACTORS, len(pool)))
    for k in range(_FACTORS + 1):
        if left.sum() <= _LEFT_OUT * len(pool):
            return factors[:k].T
        if k < _FACTORS:
            worst = int(np.argmax(left))
            column = np.exp(cdist(pool, pool[worst : worst + 1], "sqeuclidean")[:, 0] / (-2 * width))
            factors[k] = (column - factors[:k, worst] @ factors[:k]) / math.sqrt(left[worst])
            left = np.maximum(left - factors[k] ** 2, 0.0)
    return None


def _kernel_sums(pool: Floats, width: float, is_x: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the sums of a Gaussian kernel over pairs of different rows: of x, of y, and of one each; shapes (B,).

    Parameters
    ----------
    is_x
        For each deal, 1 where a row counts as x and 0 where as y; shape (B, n + m).
    """
    factors = _kernel_factors(pool, width)
    if factors is not None:
        own = (factors**2).sum(axis=1)
        x = is_x @ factors
        y = factors.sum(axis=0) - x
        of_x = is_x @ own
        return (x**2).sum(axis=1) - of_x, (y**2).sum(axis=1) - (own.sum() - of_x), (x * y).sum(axis=1)
    # The upper triangle, block by block. A last column of ones sums over all rows.
    member = np.column_stack([is_x.T, np.ones(len(pool))]).astype(np.float32)
    centred = (pool - np.median(pool, axis=0)) / math.sqrt(width)
    half = (centred**2).sum(axis=1, keepdims=True) / 2
    left, right = np.hstack([centred, -half, np.ones_like(half)]), np.hstack([centred, np.ones_like(half), -half])
    sums = np.zeros((3, len(is_x) + 1))
    for start in range(0, len(pool), _BLOCK):
        rows = slice(start, start + _BLOCK)
        kernel = np.exp((left[rows] @ right[start:].T).astype(np.float32))
        np.fill_diagonal(kernel, 0.0)
        kernel[:, _BLOCK:] *= 2
        totals = kernel @ member[start:]
        sums[0] += np.einsum("ij,ij->j", member[rows], totals, dtype=np.float64)
        sums[1] += totals.sum(axis=0, dtype=np.float64)
        sums[2] += totals[:, -1].astype(np.float64) @ member[rows]
    x_x, x_any = sums[0, :-1], (sums[1] + sums[2])[:-1] / 2
    return x_x, sums[0, -1] - 2 * x_any + x_x, x_any - x_x


def mmd_test(x: Floats, y: Floats, rng: np.random.Generator) -> Outcome:
    """Test the maximum mean discrepancy: how far apart a kernel's means of both sides are.

    Notes
    -----
    MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over pairs of different rows (unbiased; Gretton et al., "A
    kernel two-sample test", 2012, equation 3), k(a, b) = exp(-|a - b|² / (2 s²)) with s² the median of |a - b|²
    over the rows of both sides, or `_WIDTH_ROWS` of them. Null: permutations of the pool, p = (1 + #{T* >= T}) /
    (1 + B). At most `KERNEL_ROWS` rows of each side are looked at.

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
    width = _median_squared_distance(_subset(pool, _WIDTH_ROWS, rng))
    x_x, y_y, x_y = _kernel_sums(pool, width, _deals(n, m, rng))
    found = x_x / (n * (n - 1)) + y_y / (m * (m - 1)) - 2 * x_y / (n * m)
    return _noted(simulated_test(float(found[0]), found[1:], n, m, power=1.0), note)


def lsdd_test(x: Floats, y: Floats, rng: np.random.Generator) -> Outcome:
    """Test the least-squares density difference: the integral of (p - q)².

    Notes
    -----
    p - q is modelled by Gaussians at up to 100 rows of the pool; with H their overlaps and h the difference of their
    means over both sides, theta = (H + lambda I)⁻¹ h and LSDD = 2 theta'h - theta'H theta (Sugiyama et al., "Density
    difference estimation", 2013, section 3; Bu, Alippi and Zhao 2018). Width: the median distance of these rows;
    lambda: 1 % of the mean overlap of a Gaussian with itself. The integral is in units of the kernel's own. Null:
    permutations of the pool. At most `KERNEL_ROWS` rows of each side are looked at.

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
    width = _median_squared_distance(centres)
    features = np.exp(cdist(pool, centres, "sqeuclidean") / (-2 * width))
    overlap = np.exp(cdist(centres, centres, "sqeuclidean") / (-4 * width))
    solved = np.linalg.inv(overlap + 0.01 * np.eye(len(centres)))
    quadratic = 2 * solved - solved @ overlap @ solved
    # Means of x less means of y, from the sums over x alone.
    h = (_deals(n, m, rng) @ features) * (1 / n + 1 / m) - features.sum(axis=0) / m
    found = ((h @ quadratic) * h).sum(axis=1)
    return _noted(simulated_test(float(found[0]), found[1:], n, m, power=1.0), note)


def c2st_test(x: Any, y: Any, rng: np.random.Generator, model: Callable[[int], Any] | None = None) -> Outcome:
    """Test whether a classifier can tell the two sides apart, better than by chance.

    Parameters
    ----------
    x, y
        Rows of both sides, arrays or sparse matrices.
    model
        Makes an untrained classifier from a seed. Default: `Trees`.

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
    classifier = (model or Trees)(seed)
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


class Trees:
    """A classifier of extremely randomised trees (Geurts, Ernst and Wehenkel, 2006) for labels 0 and 1.

    The trees are scikit-learn's; its forest costs several times as much as they do where rows are few. They regress on
    the labels, whose variance is half of Gini's impurity: the same trees, with fewer checks. A leaf holds at least a
    fortieth of the rows: less sees less of a shift, and no more of what is local.

    Parameters
    ----------
    seed
        Of the trees' random splits.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._trees: list[Any] = []

    def fit(self, rows: Floats, labels: Counts, sample_weight: Floats) -> Self:
        """Learn from rows, shape (n, d), their labels and weights, shape (n,)."""
        from sklearn.tree import ExtraTreeRegressor

        leaf = max(_LEAST_LEAF, len(rows) // _LEAVES)
        rows32, targets = rows.astype(np.float32), labels.astype(np.float64)
        weights = sample_weight if np.ptp(sample_weight) > 0 else None
        with _unchecked():
            for place in range(_TREES):
                tree = ExtraTreeRegressor(min_samples_leaf=leaf, random_state=self._seed + place)
                self._trees.append(tree.fit(rows32, targets, sample_weight=weights, check_input=False))
        return self

    def predict_proba(self, rows: Floats) -> Floats:
        """Return the shares of both labels, mean over the trees, shape (n, 2)."""
        rows32 = rows.astype(np.float32)
        with _unchecked():
            share = sum(tree.predict(rows32, check_input=False) for tree in self._trees) / _TREES
        return np.column_stack([1 - share, share])


def _unchecked() -> AbstractContextManager[None]:
    from sklearn import config_context

    context: AbstractContextManager[None] = config_context(assume_finite=True, skip_parameter_validation=True)
    return context


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

    @property
    def is_whole(self) -> bool:
        """Whether there are as many components as columns: nothing is left over then but rounding."""
        columns, kept = self.components.shape
        return bool(kept == columns)

    def errors(self, rows: Floats) -> Floats:
        """Return the distance of each row to its reconstruction, shape (n,)."""
        if self.is_whole:
            return np.zeros(len(rows))
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
    if model.is_whole:
        return untested(0.0, NOTHING_LEFT)
    first, second = model.errors(x[order[half:]]), model.errors(y)
    n, m = len(first), len(second)
    gap = abs(float(second.mean() - first.mean()))
    errors = np.concatenate([first, second])
    if n + m > 4000:
        deviation = math.sqrt(float(errors.var()) * (1 / n + 1 / m)) or 1.0
        return Outcome(
            gap, float(2 * stats.norm.sf(gap / deviation)), lambda level: deviation * float(stats.norm.isf(level / 2))
        )
    drawn = deals(n, m, DRAWS, rng) @ errors
    return simulated_test(gap, np.abs(drawn / n - (errors.sum() - drawn) / m), n, m)


def _noted(outcome: Outcome, note: str | None) -> Outcome:
    return replace(outcome, note=note)
