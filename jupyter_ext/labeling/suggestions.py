"""Labeling functions that known answers suggest: words that point to a class, thresholds that part the classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.analysis import wilson_interval
from jupyter_ext.labeling.builders import BuiltFunction, keyword, numeric, regex
from jupyter_ext.labeling.votes import ABSTAIN

_MOST_CUTS = 32
#: As a builder finds words, so that a suggestion votes where it was counted.
_WORDS = r"(?u)\w+"


def suggest_functions(
    frame: pd.DataFrame,
    gold: npt.ArrayLike,
    *,
    columns: Sequence[str] | None = None,
    n: int = 20,
    min_votes: int = 5,
    min_precision: float = 0.75,
    confidence: float = 0.9,
) -> pd.DataFrame:
    """Mine labeling functions from rows with known answers.

    In columns of text, words and phrases of up to three words; in columns of numbers, thresholds. What is suggested has
    a lower Wilson bound of its precision of ``min_precision`` or more, and above the share of its class; it is chosen
    one at a time, by how many rows it votes on rightly that no suggestion before it does. The precision was measured
    where the suggestion was found, so it will be lower elsewhere: preview a function before you keep it.

    Parameters
    ----------
    frame
        (n rows); those without a known answer are left out.
    gold
        Known answers, shape (n,), -1 where unknown.
    columns
        Where to look; without, all columns of text and numbers.
    n
        How many to suggest at most.
    min_votes
        Rows with an answer that a suggestion must vote on.
    confidence
        Of the Wilson interval.

    Returns
    -------
    DataFrame
        The best first: ``function`` (a labeling function), ``label``, ``votes`` and ``correct`` on rows with an answer,
        ``precision``, ``precision_low`` (the bound), ``coverage`` of all rows of ``frame``.

    Raises
    ------
    Invalid
        Fewer than two classes are known, an unknown column, or gold of another length.

    Examples
    --------
    >>> frame = pd.DataFrame({"text": ["prize: win", "see you"] * 10, "length": [10, 7] * 10})
    >>> table = suggest_functions(frame, [1, 0] * 10, columns=["text"], n=2)
    >>> [(f.name, label) for f, label in zip(table["function"], table["label"])]
    [('keyword prize', 1), ('keyword see', 0)]
    """
    answers = np.asarray(gold)
    if answers.shape != (len(frame),) or answers.dtype.kind not in "iu":
        raise Invalid(f"gold must hold a class number for each of the {len(frame)} rows, -1 where unknown.")
    unknown = [column for column in columns or () if column not in frame.columns]
    if unknown:
        raise Invalid(f"There is no column {unknown[0]!r}; there are {', '.join(map(str, frame.columns[:20]))}.")
    rows = np.flatnonzero(answers != ABSTAIN)
    known = answers[rows]
    classes = np.unique(known)
    if len(classes) < 2:
        raise Invalid("Suggestions need answers of two classes or more.")
    parts, makers = [sparse.csc_array((len(frame), 0), dtype=bool)], []
    for column in frame.columns if columns is None else columns:
        matrix, found = _candidates(frame[column], str(column), rows, min_votes)
        parts.append(matrix)
        makers += found
    fires = sparse.csc_array(sparse.hstack(parts, format="csc", dtype=np.float64))
    on_known = sparse.csc_array(fires[rows])
    votes = np.asarray(on_known.sum(axis=0), dtype=np.float64).ravel()
    right = np.stack([np.asarray(on_known.T @ (known == c), dtype=np.float64).ravel() for c in classes], axis=1)
    label = right.argmax(axis=1)
    correct = right[np.arange(len(label)), label] if len(label) else np.zeros(0)
    low, _ = wilson_interval(correct, votes, confidence)
    share = np.array([(known == c).mean() for c in classes])
    worth = np.flatnonzero((votes >= min_votes) & (low >= min_precision) & (low > share[label]))
    chosen = _cover(on_known, known, classes, label, low, worth, n)
    table: dict[str, Any] = {
        "function": [_built(makers[j], int(classes[label[j]])) for j in chosen],
        "label": classes[label[chosen]],
        "votes": votes[chosen].astype(np.int64),
        "correct": correct[chosen].astype(np.int64),
        "precision": correct[chosen] / votes[chosen],
        "precision_low": low[chosen],
        "coverage": np.asarray(fires[:, chosen].sum(axis=0)).ravel() / max(len(frame), 1),
    }
    return pd.DataFrame(table)


#: What a suggestion is made from: a builder's arguments without the label.
Maker = tuple[str, dict[str, Any]]


def _candidates(
    cells: pd.Series[Any], column: str, rows: npt.NDArray[np.intp], min_votes: int
) -> tuple[sparse.csc_array, list[Maker]]:
    """Return where each candidate of a column votes, (all rows, candidates), and what it is made from."""
    none = sparse.csc_array((len(cells), 0), dtype=bool)
    if pd.api.types.is_bool_dtype(cells.dtype):
        cells = cells.astype(float)
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return _thresholds(pd.to_numeric(cells).to_numpy(dtype=np.float64, na_value=np.nan), column, rows)
    present = cells.dropna()
    if not len(present) or not all(isinstance(cell, str) for cell in present):
        return none, []
    texts = [cell if isinstance(cell, str) else "" for cell in cells]
    counter = CountVectorizer(binary=True, ngram_range=(1, 3), token_pattern=_WORDS, min_df=min_votes)
    try:
        counter.fit([texts[row] for row in rows])
    except ValueError:  # no word is frequent enough
        return none, []
    fires = sparse.csc_array(counter.transform(texts).astype(bool))
    phrases = counter.get_feature_names_out().tolist()
    return fires, [("keyword", {"words": phrase, "column": column}) for phrase in phrases]


def _thresholds(
    values: npt.NDArray[np.float64], column: str, rows: npt.NDArray[np.intp]
) -> tuple[sparse.csc_array, list[Maker]]:
    some = values[rows]
    some = some[np.isfinite(some)]
    if not len(some):
        return sparse.csc_array((len(values), 0), dtype=bool), []
    cuts = np.unique(np.quantile(some, np.linspace(0, 1, _MOST_CUTS + 2)[1:-1]))
    # A cut that a person can read, as long as it parts the same rows.
    cuts = np.unique([_short(cut, some) for cut in cuts])
    fires, makers = [], []
    for cut in cuts:
        for side, compare in (("at_least", np.greater_equal), ("below", np.less)):
            with np.errstate(invalid="ignore"):
                fires.append(compare(values, cut))
            makers.append(("numeric", {"column": column, side: float(cut)}))
    return sparse.csc_array(np.stack(fires, axis=1)), makers


def _short(cut: float, values: npt.NDArray[np.float64]) -> float:
    above = int((values >= cut).sum())
    for digits in range(1, 12):
        rounded = float(f"{cut:.{digits}g}")
        if int((values >= rounded).sum()) == above:
            return rounded
    return float(cut)


def _cover(
    fires: sparse.csc_array,
    known: npt.NDArray[np.integer[Any]],
    classes: npt.NDArray[np.integer[Any]],
    label: npt.NDArray[np.intp],
    low: npt.NDArray[np.float64],
    worth: npt.NDArray[np.intp],
    n: int,
) -> list[int]:
    """Choose greedily by rows that are newly right; of equals, the surer and the shorter first."""
    right = {int(j): rows[known[rows] == classes[label[j]]] for j in worth if len(rows := _rows_of(fires, j))}
    done = np.zeros(len(known), dtype=bool)
    chosen: list[int] = []
    while right and len(chosen) < n:
        gain = {j: int((~done[rows]).sum()) for j, rows in right.items()}
        best = max(gain, key=lambda j: (gain[j] * low[j], low[j], -j))
        # One more row is no reason for one more function.
        if gain[best] < 2:
            break
        chosen.append(best)
        done[right.pop(best)] = True
    return chosen


def _rows_of(fires: sparse.csc_array, j: int) -> npt.NDArray[np.intp]:
    rows: npt.NDArray[np.intp] = fires.indices[fires.indptr[j] : fires.indptr[j + 1]]
    return rows


def _built(maker: Maker, label: int) -> BuiltFunction:
    builder, facts = maker
    if builder == "numeric":
        return numeric(label=label, **facts)
    return _phrase(facts["words"], label, facts["column"])


def _phrase(words: str, label: int, column: str) -> BuiltFunction:
    """Return a keyword function; a phrase is a pattern, for what stands between its words was not counted."""
    if " " not in words:
        return keyword(words, label, column)
    pattern = r"\b" + r"\W+".join(re.escape(word) for word in words.split()) + r"\b"
    return regex(pattern, label, column, flags=re.IGNORECASE, name=f"phrase {words}")
