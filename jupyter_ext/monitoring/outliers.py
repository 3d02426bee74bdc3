"""Rows unlike a reference: how odd each is, how often an ordinary row would be as odd, and which columns make it so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.mixed_rows import Encoder, Rows
from jupyter_ext.monitoring.oddness import BAG, Forest, Neighbours, Places, Space
from jupyter_ext.monitoring.randomness import generator
from jupyter_ext.monitoring.samples import as_frame
from jupyter_ext.monitoring.statistics import Floats

OutlierMethod = Literal["auto", "neighbours", "isolation_forest"]
METHODS: tuple[OutlierMethod, ...] = get_args(OutlierMethod)
#: The fewest rows of a reference: each fold must hold some, and every subsample ten times what one row is held against.
MIN_ROWS = 30
#: A larger reference is sampled.
MAX_ROWS = 50_000
_FOLDS = 5
_BAGS, _TREES = 2, 20  # a fold
#: Held-out rows a fold, against which p-values are counted.
_HELD_OUT = 2000
#: Of each method: weights of the distances on the plain and on the robust scaling, and of the isolation.
_WEIGHTS: dict[OutlierMethod, tuple[float, float, float]] = {
    "auto": (2.0, 2.0, 1.0),
    "neighbours": (1.0, 1.0, 0.0),
    "isolation_forest": (0.0, 0.0, 1.0),
}
#: Rows of a request whose scores are remembered until the next.
_REQUEST = 16
#: Reference rows whose values `explain` puts in the place of a row's own.
_DRAWS = 32


@dataclass(frozen=True)
class _Voice:
    """One opinion of how odd a row is, brought to mean 0 and deviation 1 over the reference."""

    weight: float
    #: Which of the `Places` it looks at.
    which: int
    scorer: Neighbours | Forest
    mean: float
    deviation: float

    def score(self, places: Places) -> Floats:
        return (self.scorer.score(places[self.which]) - self.mean) / self.deviation


@dataclass(frozen=True)
class _Fold:
    """What was learned without one fifth of the reference, and how that fifth scores."""

    space: Space
    voices: tuple[_Voice, ...]
    held_out: Floats

    @classmethod
    def of(cls, train: Rows, held_out: Rows, space: Space, method: OutlierMethod, rng: np.random.Generator) -> _Fold:
        size = min(BAG, (len(train) + len(held_out)) // 2)
        places = space.places(train)
        some = rng.choice(len(train), min(len(train), 1000), replace=False)
        voices = []
        for which, weight in enumerate(_WEIGHTS[method]):
            if not weight:
                continue
            scorer: Neighbours | Forest
            if which < 2:
                scorer = Neighbours.of(places[which], _BAGS, size, rng)
            else:
                scorer = Forest.of(places[which], _TREES, size, rng)
            scores = scorer.score(places[which][some])
            voices.append(_Voice(weight, which, scorer, float(scores.mean()), float(scores.std()) or 1.0))
        learned = cls(space, tuple(voices), np.empty(0))
        return replace(learned, held_out=np.sort(learned.score(held_out)))

    def score(self, rows: Rows) -> Floats:
        places = self.space.places(rows)
        total = sum(voice.weight * voice.score(places) for voice in self.voices)
        return np.asarray(total / sum(voice.weight for voice in self.voices))


@dataclass(frozen=True, repr=False, eq=False)
class OutlierDetector:
    """What `fit_outlier_detector` returns; pickles.

    Parameters
    ----------
    method
        ``"auto"``, ``"neighbours"`` or ``"isolation_forest"``.
    n_reference
        Rows of the reference.
    columns
        Columns of the reference that are used.
    notes
        What else there is to know of a column: constant, or left out and why.
    """

    method: OutlierMethod
    n_reference: int
    columns: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    _encoder: Encoder = field(kw_only=True)
    _folds: tuple[_Fold, ...] = field(kw_only=True)
    _draws: Rows = field(kw_only=True)
    _usual: Mapping[str, str] = field(kw_only=True)
    _last: dict[str, tuple[tuple[bytes, bytes], Floats]] = field(kw_only=True, default_factory=dict)

    def score(self, frame: Any) -> pd.Series[float]:
        """Return how odd each row is: larger is odder, about 0 is usual; shape (n,), indexed as the frame.

        Raises
        ------
        Invalid
            Columns of the reference are missing or of another kind, there are no rows, or values are infinite.
        """
        frame = as_frame(frame)
        return pd.Series(self._scores(self._encoder.rows(frame)).mean(axis=1), index=frame.index, name="score")

    def p_value(self, frame: Any) -> pd.Series[float]:
        """Return the chance that a row like the reference's is at least this odd; shape (n,), indexed as the frame.

        Raises
        ------
        Invalid
            As `score`.

        Notes
        -----
        Cross-conformal: of each fold's rows, which took no part in what scores them, the share that scores at least as
        much, (1 + Σ_k #{held-out scores of k ≥ s_k(x)}) / (1 + n). Where rows are exchangeable with the reference's,
        p ≤ α happens with a chance of about α (Vovk, "Cross-conformal predictors", 2015; twice that is the bound that
        is proven). The smallest possible value is 1/(n + 1).
        """
        frame = as_frame(frame)
        scores = self._scores(self._encoder.rows(frame))
        above, n = np.zeros(len(frame)), 0
        for column, fold in zip(scores.T, self._folds, strict=True):
            above += len(fold.held_out) - np.searchsorted(fold.held_out, column, side="left")
            n += len(fold.held_out)
        return pd.Series((1 + above) / (1 + n), index=frame.index, name="p_value")

    def explain(self, row: Any) -> pd.DataFrame:
        """Say which columns made a row odd.

        Parameters
        ----------
        row
            A mapping, a Series, or a frame of one row.

        Returns
        -------
        DataFrame
            Indexed by column, the most telling first: ``share`` (of the oddness; together 1, or all 0 for a row that
            is not odd), ``value`` (the row's own), ``usual`` (the reference's middle 90 %, or its usual categories).

        Raises
        ------
        Invalid
            It is not one row, or as `score`.

        Notes
        -----
        A column's share is by how much the score falls, on average, when the column's value is replaced by those of
        rows of the reference: the prediction difference of Robnik-Šikonja and Kononenko (2008).

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> usual = pd.DataFrame({"size": rng.normal(10, 1, 500), "weight": rng.normal(70, 5, 500)})
        >>> fit_outlier_detector(usual).explain({"size": 10.2, "weight": 160.0}).index[0]
        'weight'
        """
        frame = _one_row(row)
        x = self._encoder.rows(frame)
        n_draws, n_numbers = len(self._draws), x.numbers.shape[1]
        columns = self._encoder.columns
        changed = x.repeated(n_draws * len(columns))
        for place in range(len(columns)):
            rows = slice(place * n_draws, (place + 1) * n_draws)
            if place < n_numbers:
                changed.numbers[rows, place] = self._draws.numbers[:, place]
            else:
                changed.codes[rows, place - n_numbers] = self._draws.codes[:, place - n_numbers]
        without = self._scores(changed).mean(axis=1).reshape(len(columns), n_draws).mean(axis=1)
        falls = np.maximum(self._scores(x).mean() - without, 0.0)
        total = falls.sum()
        table = pd.DataFrame(
            {
                "share": falls / total if total > 0 else falls,
                "value": [frame[name].iloc[0] for name in columns],
                "usual": [self._usual[name] for name in columns],
            },
            index=pd.Index(columns, name="column"),
        )
        return table.sort_values("share", ascending=False, kind="stable")

    def _scores(self, rows: Rows) -> Floats:
        """Return each fold's score of each row, shape (n, folds)."""
        # Whoever asks for the score of a request asks for its p-value next.
        asked = (rows.numbers.tobytes(), rows.codes.tobytes()) if len(rows) <= _REQUEST else None
        remembered = self._last.get("request")
        if asked and remembered and remembered[0] == asked:
            return remembered[1]
        scores = np.column_stack([fold.score(rows) for fold in self._folds])
        if asked:
            self._last["request"] = asked, scores
        return scores

    def __getstate__(self) -> dict[str, Any]:
        # What was asked last is nobody else's.
        return {**self.__dict__, "_last": {}}

    def __repr__(self) -> str:
        return (
            f"OutlierDetector(method={self.method!r}, {self.n_reference:,} reference rows, "
            f"{len(self.columns)} column{'s' * (len(self.columns) != 1)})"
        )


def fit_outlier_detector(
    frame: Any, method: OutlierMethod = "auto", random_state: int | np.random.Generator = 0
) -> OutlierDetector:
    """Learn what is usual, to find rows that are not.

    Parameters
    ----------
    frame
        The reference: a DataFrame or an Arrow table. Numbers, categories, booleans and datetimes; missing values may
        be part of it. Some outliers among the rows do no harm. Of more than 50,000 rows a sample is used.
    method
        ``"neighbours"``: the distance to the tenth neighbour in subsamples of 256 rows, on two scalings.
        ``"isolation_forest"``: isolation by random cuts, blind to what the reference never had. ``"auto"``: both, the
        distances counting four times as much, which was best on sets of many kinds (docs/outliers.md).
    random_state
        Seed, or a Generator.

    Raises
    ------
    Invalid
        Fewer than 30 rows, no column that varies, infinite values, an unknown method.

    Notes
    -----
    Each voice is standardised by its mean and deviation over the reference. Missing values and unseen categories count
    by how rare they are in the reference. There is no share of outliers to guess: decide on `p_value`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> usual = pd.DataFrame({"size": rng.normal(size=1000), "colour": rng.choice(["red", "blue"], 1000)})
    >>> detector = fit_outlier_detector(usual)
    >>> today = pd.DataFrame({"size": [0.1, 9.0, 0.1], "colour": ["red", "red", "green"]})
    >>> (detector.p_value(today) < 0.01).tolist()
    [False, True, True]
    """
    if method not in METHODS:
        raise Invalid(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
    frame = as_frame(frame, "The reference")
    n = len(frame)
    if n < MIN_ROWS:
        raise Invalid(f"The reference has {n} rows. An outlier detector needs at least {MIN_ROWS}.")
    rng = generator(random_state)
    order = rng.permutation(n)[:MAX_ROWS]
    frame = frame.iloc[order]
    encoder = Encoder.of(frame)
    rows = encoder.rows(frame)
    n_categories = [len(known) for known in encoder.categories.values()]
    parts = np.array_split(np.arange(len(rows)), _FOLDS)
    folds = []
    for part in parts:
        train = np.setdiff1d(np.arange(len(rows)), part, assume_unique=True)
        space = Space.of(rows[train], n_categories)
        folds.append(_Fold.of(rows[train], rows[part[:_HELD_OUT]], space, method, rng))
    return OutlierDetector(
        method,
        n,
        tuple(encoder.columns),
        encoder.notes,
        _encoder=encoder,
        _folds=tuple(folds),
        _draws=rows[:_DRAWS],
        _usual={name: _usual(frame[name], name in encoder.categories) for name in encoder.columns},
    )


def _one_row(row: Any) -> pd.DataFrame:
    if isinstance(row, Mapping):
        row = pd.Series(dict(row), dtype=object)
    if isinstance(row, pd.Series):
        # A Series has one type for all; each value finds its own again.
        row = row.to_frame().T.infer_objects()
    frame = as_frame(row, "The row")
    if len(frame) != 1:
        raise Invalid(f"explain takes one row, not {len(frame)}. Choose one, for example frame.iloc[[0]].")
    return frame


def _usual(series: pd.Series[Any], is_category: bool) -> str:
    if is_category:
        shares = series.value_counts(normalize=True, dropna=False)
        return ", ".join(f"{value} ({share:.0%})" for value, share in shares.head(3).items())
    low, high = series.quantile([0.05, 0.95], interpolation="nearest")
    return f"{low:.4g} to {high:.4g}" if isinstance(low, int | float | np.number) else f"{low} to {high}"
