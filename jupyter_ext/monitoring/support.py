"""Whether rows lie where a reference has rows: nothing learned on it can be trusted elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.tree import DecisionTreeClassifier

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.mixed_rows import Encoder, Rows
from jupyter_ext.monitoring.outliers import OutlierDetector, fit_outlier_detector
from jupyter_ext.monitoring.statistics import Floats

#: A row is strange to the reference at this p-value, or where the reference has this share of what the chunk has.
STRANGE = 0.01
#: A chunk is outside of the support with this share of strange rows, unless chance does that once in a thousand.
OUTSIDE, _CHANCE = 0.1, 0.001
#: Rows of a chunk that are looked at, evenly spaced: by the distances, and by the tree.
_AT_DISTANCES, _AT_PARTS = 300, 1000
#: Of the tree: leaves; and rows of the reference, as many as these cells allow.
_LEAVES, _CELLS, _FEWEST, _MOST = 32, 600_000, 500, 6000


@dataclass(frozen=True)
class Support:
    """Where a reference has rows.

    Two questions are asked of the rows of a chunk, since each misses something:

    - Are they far from all rows of the reference, over all columns together? `STRANGE` is the p-value of the outlier
      detector.
    - Are they in a part of the space where the reference has hardly any? A tree learns to tell half of the chunk from
      half of the reference; of each of its leaves, the other halves say which share of either is there. A row is
      strange in a leaf where the reference has a hundredth of the chunk's share, or less. One column that left its
      range is found by this among hundreds that did not, and so is a region, as of a map, between known ones.
    """

    detector: OutlierDetector | None
    encoder: Encoder | None
    #: The reference's numbers, sorted a column; and its halves as the tree sees them.
    ordered: list[Floats]
    halves: tuple[Floats, Floats]
    rng: np.random.Generator

    @classmethod
    def of(cls, reference: pd.DataFrame, rng: np.random.Generator) -> Support:
        """Look at a reference; constant columns alone have no support to leave."""
        try:
            detector, encoder = fit_outlier_detector(reference, "neighbours", rng), Encoder.of(reference)
        except Invalid as error:
            if "constant" in error.message:
                return cls(None, None, [], (np.empty((0, 0)), np.empty((0, 0))), rng)
            raise
        most = int(np.clip(_CELLS // len(encoder.columns), _FEWEST, _MOST))
        rows = encoder.rows(reference.iloc[rng.permutation(len(reference))[:most]])
        ordered = [np.sort(values[~np.isnan(values)]) for values in rows.numbers.T]
        places = _places(rows, ordered)
        return cls(detector, encoder, ordered, (places[::2], places[1::2]), rng)

    def is_left_by(self, chunk: pd.DataFrame) -> bool:
        """Say whether many of the chunk's rows lie where the reference has none."""
        if self.detector is None:
            return False
        some = chunk.iloc[_evenly(len(chunk), _AT_DISTANCES)]
        far = int((self.detector.p_value(some) <= STRANGE).sum())
        return _many(far, len(some)) or _many(*self._apart(chunk.iloc[_evenly(len(chunk), _AT_PARTS)]))

    def _apart(self, chunk: pd.DataFrame) -> tuple[int, int]:
        """Return how many rows are in leaves where the reference has hardly any, and of how many."""
        assert self.encoder is not None
        places = _places(self.encoder.rows(chunk), self.ordered)[self.rng.permutation(len(chunk))]
        parts, strange = (places[::2], places[1::2]), 0
        if len(chunk) < 2:
            return 0, len(chunk)
        for learned, counted in ((0, 1), (1, 0)):
            known, new = self.halves[learned], parts[learned]
            tree = DecisionTreeClassifier(
                max_leaf_nodes=_LEAVES,
                min_samples_leaf=max(5, len(new) // 50),
                class_weight="balanced",
                random_state=0,
            ).fit(np.concatenate([known, new]), np.repeat([0, 1], [len(known), len(new)]))
            here, leaves = tree.apply(parts[counted]), tree.tree_.node_count
            ours = np.bincount(here, minlength=leaves) / len(here)
            theirs = np.bincount(tree.apply(self.halves[counted]), minlength=leaves) + 0.5
            strange += int((theirs / len(self.halves[counted]) <= STRANGE * ours)[here].sum())
        return strange, len(chunk)


def _places(rows: Rows, ordered: list[Floats]) -> Floats:
    """Return rows as ranks among the reference's numbers (a tree needs no more), and codes of categories."""
    ranks = [
        np.where(np.isnan(values), np.nan, np.searchsorted(known, values) + np.searchsorted(known, values, "right"))
        for known, values in zip(ordered, rows.numbers.T, strict=True)
    ]
    return np.column_stack([*ranks, rows.codes]).astype(np.float64)


def _evenly(n: int, most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.unique(np.linspace(0, n - 1, most).astype(np.int64))


def _many(strange: int, n: int) -> bool:
    # Of few rows, some may be strange by chance.
    return strange >= OUTSIDE * n and bool(stats.binom.sf(strange - 1, n, STRANGE) < _CHANCE)
