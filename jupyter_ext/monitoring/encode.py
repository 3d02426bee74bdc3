"""Rows as numbers: columns of any kind as matrices, for the tests that compare rows. Pure functions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.statistics import Floats
from jupyter_ext.monitoring.values import Kind

#: Directions onto which texts and embeddings are projected, where only a sample of them is kept.
DIRECTIONS = 16
#: Categories that get a column of their own.
_ONE_HOT = 50
_HASHES = 2**18
_NGRAMS = (3, 5)


def rows_of(series: pd.Series[Any], kind: Kind) -> Any:
    """Return a column as rows: numbers (n, 1), codes of categories (n, 1), vectors (n, d), or a list of texts.

    Missing values are NaN, missing texts are empty.
    """
    from jupyter_ext.monitoring.samples import numbers

    if kind in ("numeric", "datetime"):
        return numbers(series, kind)[:, None]
    if kind == "text":
        return ["" if missing else str(text) for text, missing in zip(series, series.isna(), strict=True)]
    if kind == "embedding":
        return vectors(series)
    return category_codes(series)[:, None]


def category_codes(series: pd.Series[Any]) -> Floats:
    """Return a number for each row's category, the same in every process; NaN where it is missing; shape (n,)."""
    from jupyter_ext.monitoring.samples import category, label_code

    codes, found = pd.factorize(category_names(series))
    names = np.array([label_code(category(value)) for value in found] + [np.nan])
    return names[codes]


def category_names(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column with the names of its categories where it holds Python objects, and any other as it is.

    Counted as they are, True would be 1, by whichever of them comes first; and lists cannot be counted.
    """
    from jupyter_ext.monitoring.samples import category

    if series.dtype != object or pd.api.types.infer_dtype(series, skipna=True) == "string":
        return series
    return series.map(category, na_action="ignore")


def vectors(series: pd.Series[Any]) -> Floats:
    """Return a column of equally long lists of numbers as a matrix, missing ones as NaN; shape (n, d).

    Raises
    ------
    Invalid
        Lengths differ, or there are infinite values.
    """
    given = series.notna().to_numpy()
    if not given.any():
        return np.full((len(series), 1), np.nan)
    try:
        found = np.array([np.asarray(value, np.float64) for value in series[given]])
    except (ValueError, TypeError):
        found = np.empty(0)
    if found.ndim != 2 or not found.shape[1]:
        raise Invalid(
            f"Column '{series.name}' holds lists that are not equally long rows of numbers. Drop it or make it text.",
            column=str(series.name),
        )
    if not np.isfinite(found).all():
        raise Invalid(f"Column '{series.name}' holds infinite or missing numbers in its vectors.", column=series.name)
    if given.all():
        return found
    rows = np.full((len(series), found.shape[1]), np.nan)
    rows[given] = found
    return rows


def hashed_ngrams(texts: list[str], features: int = _HASHES) -> Any:
    """Return texts as weights of hashed character 3- to 5-grams: a sparse matrix (n, features).

    Within words, lower case, rows of length one; no vocabulary and no language (Weinberger et al., "Feature hashing
    for large scale multitask learning", 2009).
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer="char_wb", ngram_range=_NGRAMS, n_features=features).transform(texts)


@lru_cache(maxsize=32)
def _directions(width: int) -> Floats:
    # The same in every process, or the projections of two profiles could not be compared.
    return np.random.default_rng(width).normal(size=(width, DIRECTIONS))


def projected(rows: Any) -> Floats:
    """Return texts or vectors as projections onto fixed random directions, shape (n, DIRECTIONS).

    Johnson and Lindenstrauss 1984: distances are kept within a factor, so rows that differ still do.
    """
    if isinstance(rows, list):
        hashed = hashed_ngrams(rows, 2**12)
        return np.asarray(hashed @ _directions(2**12), np.float64)
    return np.asarray(rows @ _directions(rows.shape[1]), np.float64)


def encoded(reference: Floats, current: Floats, kind: Kind) -> tuple[Floats, Floats]:
    """Return rows of both sides as finite numbers on one scale; shapes (n, w), (m, w) to (n, d), (m, d).

    Numbers are standardised over both sides, missing ones become 0 with a mark in a column of their own; categories
    get a column each, the rarest share one.
    """
    pool = np.concatenate([reference, current])
    if kind in ("categorical", "boolean"):
        names, codes, counts = np.unique(pool[:, 0], return_inverse=True, return_counts=True)
        place = np.full(len(names), min(len(names), _ONE_HOT) - 1)
        order = np.argsort(-counts, kind="stable")[: _ONE_HOT - 1]
        place[order] = np.arange(len(order))
        # Two rows of different categories are at distance one.
        matrix = np.zeros((len(pool), place.max() + 1))
        matrix[np.arange(len(pool)), place[codes]] = np.sqrt(0.5)
    else:
        missing = np.isnan(pool[:, :1])
        known = pool[~missing[:, 0]]
        mean, deviation = (known.mean(axis=0), known.std(axis=0)) if len(known) else (0.0, np.ones(pool.shape[1]))
        matrix = np.where(missing, 0.0, (pool - mean) / np.where(deviation > 0, deviation, 1.0))
        if missing.any():
            matrix = np.column_stack([matrix, missing])
    return matrix[: len(reference)], matrix[len(reference) :]


def frequencies(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Return codes of categories as their share of the reference, 0 for unseen ones; shapes (n, 1), (m, 1)."""
    names, counts = np.unique(reference[:, 0], return_counts=True)
    shares = counts / counts.sum()

    def share(codes: Floats) -> Floats:
        place = np.minimum(np.searchsorted(names, codes), len(names) - 1)
        same = (names[place] == codes) | (np.isnan(names[place]) & np.isnan(codes))
        return np.where(same, shares[place], 0.0)[:, None]

    return share(reference[:, 0]), share(current[:, 0])


def filled(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Return numbers with missing ones replaced by the reference's mean; shapes (n, 1), (m, 1)."""
    known = reference[~np.isnan(reference)]
    mean = float(known.mean()) if len(known) else 0.0
    return np.where(np.isnan(reference), mean, reference), np.where(np.isnan(current), mean, current)
