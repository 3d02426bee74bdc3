"""Tests of whole rows on what `drift` is given: rows of frames, or the sample of rows that a profile keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.columns import CategoryColumn, NumericColumn, RowsColumn
from jupyter_ext.monitoring.encode import encoded, filled, frequencies, hashed_ngrams, projected, rows_of
from jupyter_ext.monitoring.methods import Method
from jupyter_ext.monitoring.multivariate import (
    CLASSIFIER_ROWS,
    KERNEL_ROWS,
    c2st_test,
    linear_model,
    lsdd_test,
    mmd_test,
    pca_test,
)
from jupyter_ext.monitoring.profile import Profile
from jupyter_ext.monitoring.samples import NumericSample, RowsSample, infer_kind, label_code
from jupyter_ext.monitoring.statistics import Floats, Outcome

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.monitoring.columns import Column
    from jupyter_ext.monitoring.samples import Sample
    from jupyter_ext.monitoring.values import Kind

Kept = NumericColumn | CategoryColumn | RowsColumn
_TESTS = {"mmd": mmd_test, "lsdd": lsdd_test, "c2st": c2st_test, "pca_reconstruction": pca_test}


def rows_test(
    reference: Sample | Column, current: Sample | Column, method: Method, rng: np.random.Generator
) -> Outcome:
    """Test one feature by its rows.

    Parameters
    ----------
    reference, current
        Both sides of the feature, of one kind. Of a column of a profile, the rows it keeps are taken.
    """
    most = CLASSIFIER_ROWS if method == "c2st" else KERNEL_ROWS
    outcome = _test_rows(reference, current, method, most, rng)
    few = [
        f"{len(side.rows):,} kept rows of the {what}'s profile"
        if isinstance(side, Kept)
        else f"{most:,} rows of the {what}"
        for side, what in ((reference, "reference"), (current, "current data"))
        if side.n > (len(side.rows) if isinstance(side, Kept) else most)
    ]
    return replace(outcome, note=f"decided on {' and '.join(few)}") if few and not outcome.note else outcome


def _test_rows(
    reference: Sample | Column, current: Sample | Column, method: Method, most: int, rng: np.random.Generator
) -> Outcome:
    kept = isinstance(reference, RowsColumn) or isinstance(current, RowsColumn)
    # Texts and vectors of a profile are projections: then the other side's are projected too.
    x, y = (_rows_of_side(side, most, rng, kept) for side in (reference, current))
    if isinstance(x, list):
        if method == "c2st":
            return c2st_test(hashed_ngrams(x), hashed_ngrams(y), rng, linear_model)
        x, y = projected(x), projected(y)
    if x.shape[1] != y.shape[1]:
        raise Invalid(f"Embeddings have {x.shape[1]} numbers in the reference and {y.shape[1]} in the current data.")
    x, y = encoded(x, y, reference.kind)
    if method == "c2st":
        return c2st_test(x, y, rng, linear_model if reference.kind in ("text", "embedding") else None)
    return _TESTS[method](x, y, rng)


def _rows_of_side(side: Sample | Column, most: int, rng: np.random.Generator, project: bool) -> Any:
    if isinstance(side, Kept):
        return side.rows
    picked = np.arange(side.n) if side.n <= most else np.sort(rng.choice(side.n, most, replace=False))
    if isinstance(side, RowsSample):
        rows = [side.rows[place] for place in picked] if isinstance(side.rows, list) else side.rows[picked]
        return projected(rows) if project else rows
    if isinstance(side, NumericSample):
        values = np.append(side.ordered, np.full(side.missing, np.nan))
    else:
        codes = np.array([label_code(name) for name in side.counts] + [np.nan])
        values = np.repeat(codes, [*side.counts.values(), side.missing])
    return values[picked][:, None]


def joint_test(
    reference: pd.DataFrame | Profile,
    current: pd.DataFrame | Profile,
    features: list[str],
    method: Method,
    rng: np.random.Generator,
) -> Outcome:
    """Test all features together by their rows; of a profile, by the rows it keeps."""
    most = KERNEL_ROWS if method in ("mmd", "lsdd") else CLASSIFIER_ROWS
    columns = table_rows(reference, current, features, most, rng)
    pairs = []
    for x, y, kind in columns:
        if method != "pca_reconstruction":
            pairs.append(encoded(x, y, kind))
        else:
            # Shares and means of both sides together: the reference's own would fit the reference better.
            pool = np.concatenate([x, y])
            pairs.append((for_components(pool, x, kind)[1], for_components(pool, y, kind)[1]))
    x, y = (np.column_stack(side) for side in zip(*pairs, strict=True))
    return _TESTS[method](x, y, rng)


def for_components(x: Floats, y: Floats, kind: Kind) -> tuple[Floats, Floats]:
    """Return columns as principal components take them: categories by their share of the reference, no gaps."""
    if kind in ("categorical", "boolean"):
        return frequencies(x, y)
    if kind in ("text", "embedding"):
        return np.nan_to_num(x), np.nan_to_num(y)
    return filled(x, y)


def table_rows(
    reference: pd.DataFrame | Profile,
    current: pd.DataFrame | Profile,
    features: list[str],
    most: int,
    rng: np.random.Generator,
) -> list[tuple[Floats, Floats, Kind]]:
    """Return the rows of each feature on both sides, and its kind: at most so many rows, the same in all features."""

    def picked(side: pd.DataFrame | Profile) -> pd.DataFrame | Profile:
        if isinstance(side, Profile) or len(side) <= most:
            return side
        return side.iloc[np.sort(rng.choice(len(side), most, replace=False))]

    def rows(side: pd.DataFrame | Profile, feature: str, kind: Kind) -> Floats:
        if isinstance(side, Profile):
            return side.columns[feature].rows
        found = rows_of(side[feature], kind)
        return projected(found) if kind in ("text", "embedding") else found

    sides = [picked(side) for side in (reference, current)]
    found = []
    for feature in features:
        kinds = [
            side.columns[feature].kind if isinstance(side, Profile) else infer_kind(side[feature]) for side in sides
        ]
        # A profile knows; of two frames, the first that has values.
        kind = next((kind for kind, side in zip(kinds, sides, strict=True) if isinstance(side, Profile)), None)
        kind = kind or kinds[0] or kinds[1] or "numeric"
        found.append((rows(sides[0], feature, kind), rows(sides[1], feature, kind), kind))
    return found
