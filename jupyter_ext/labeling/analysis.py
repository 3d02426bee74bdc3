"""What each voter contributes: a table of coverage, overlaps, conflicts, and accuracy where answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.votes import ABSTAIN, FloatArray, VoteMatrix, as_gold, as_votes

#: Below so many known answers an accuracy is a guess: at 20 its interval is still 40 points wide.
FEW_ANSWERS = 20


def lf_summary(votes: VoteMatrix | npt.ArrayLike, gold: npt.ArrayLike | None = None) -> pd.DataFrame:
    """Return one line a voter.

    Parameters
    ----------
    votes
        (n rows, m voters), -1 where a voter abstains.
    gold
        Known answers, shape (n,), -1 where unknown.

    Returns
    -------
    DataFrame
        Indexed by voter: ``polarity`` (the classes it votes for), ``coverage`` (share of rows it votes on),
        ``overlaps`` (another votes there too), ``conflicts`` (another votes differently there). With gold also
        ``correct`` and ``incorrect`` (counts), ``accuracy``, and its 95 % Wilson interval, ``accuracy_low`` to
        ``accuracy_high``. Last ``note``: what a reader should be warned of, empty where there is nothing.

    References
    ----------
    E. B. Wilson. Probable inference, the law of succession, and statistical inference. JASA 22, 1927.

    Examples
    --------
    >>> table = lf_summary([[0, 0], [0, 1], [-1, 1], [-1, -1]], gold=[0, 0, 1, 1])
    >>> table[["coverage", "overlaps", "conflicts", "correct", "incorrect"]].to_numpy().tolist()
    [[0.5, 0.5, 0.25, 2.0, 0.0], [0.75, 0.5, 0.25, 2.0, 1.0]]
    """
    matrix = as_votes(votes)
    n_rows, n_voters = matrix.shape
    rows = matrix.rows
    lengths = np.diff(rows.indptr)
    several = lengths > 1
    # A row is in conflict when its least and its greatest vote differ; every voter on it then has an opponent.
    conflict = np.zeros(n_rows, dtype=bool)
    starts = rows.indptr[:-1][lengths > 0]
    if len(starts):
        conflict[lengths > 0] = np.minimum.reduceat(rows.data, starts) != np.maximum.reduceat(rows.data, starts)
    columns = [matrix.column(j) for j in range(n_voters)]
    scale = max(n_rows, 1)
    table: dict[str, Any] = {
        "polarity": [np.unique(classes).tolist() for _, classes in columns],
        "coverage": [len(items) / scale for items, _ in columns],
        "overlaps": [int(several[items].sum()) / scale for items, _ in columns],
        "conflicts": [int(conflict[items].sum()) / scale for items, _ in columns],
    }
    if gold is not None:
        known = as_gold(gold, matrix)
        judged = np.array([int((known[items] != ABSTAIN).sum()) for items, _ in columns])
        correct = np.array([int((known[items] == classes).sum()) for items, classes in columns])
        low, high = wilson_interval(correct, judged)
        table |= {
            "correct": correct,
            "incorrect": judged - correct,
            "accuracy": np.divide(correct, judged, out=np.full(n_voters, np.nan), where=judged > 0),
            "accuracy_low": low,
            "accuracy_high": high,
        }
    summary = pd.DataFrame(table, index=pd.Index(matrix.voters, name="voter"))
    summary["note"] = _notes([len(items) for items, _ in columns], summary, matrix.n_classes)
    return summary


def conflicting_rows(votes: VoteMatrix | npt.ArrayLike, voter: str, gold: npt.ArrayLike | None = None) -> pd.DataFrame:
    """Return the rows on which somebody contradicts ``voter``.

    Parameters
    ----------
    votes
        (n rows, m voters), -1 where a voter abstains.
    voter
        Whose conflicts.
    gold
        Known answers, shape (n,), -1 where unknown.

    Returns
    -------
    DataFrame
        In the order of rows: ``row`` (its number), ``vote`` (the voter's class), ``others`` (who says what else: a list
        of pairs of voter and class), and ``gold`` if given.

    Raises
    ------
    Invalid
        There is no such voter.

    Examples
    --------
    >>> conflicting_rows([[0, 0], [0, 1], [-1, 1]], "voter_0").values.tolist()
    [[1, 0, [('voter_1', 1)]]]
    """
    matrix = as_votes(votes)
    if voter not in matrix.voters:
        raise Invalid(f"There is no voter {voter!r}; the voters are {', '.join(matrix.voters[:20])}.")
    known = None if gold is None else as_gold(gold, matrix)
    items, classes = matrix.column(voter)
    mine = np.full(matrix.shape[0], ABSTAIN, dtype=np.int64)
    mine[items] = classes
    some = matrix.rows[items]
    row = np.repeat(items, np.diff(some.indptr))
    against = some.data - 1 != mine[row]
    others: dict[int, list[tuple[str, int]]] = {}
    for number, j, stored in zip(
        row[against].tolist(), some.indices[against].tolist(), some.data[against].tolist(), strict=True
    ):
        others.setdefault(number, []).append((matrix.voters[j], stored - 1))
    numbers = sorted(others)
    table: dict[str, Any] = {"row": numbers, "vote": mine[numbers], "others": [others[number] for number in numbers]}
    if known is not None:
        table["gold"] = known[numbers]
    return pd.DataFrame(table)


def _notes(n_votes: list[int], summary: pd.DataFrame, n_classes: int) -> list[str]:
    notes = []
    for number, votes in enumerate(n_votes):
        said = []
        if not votes:
            said.append("it never votes")
        elif "correct" in summary:
            line = summary.iloc[number]
            known = int(line["correct"] + line["incorrect"])
            if known < FEW_ANSWERS:
                said.append(f"{known or 'no'} known answer{'' if known == 1 else 's'}: its accuracy is a guess")
            elif line["accuracy_high"] < 1 / n_classes:
                said.append("worse than chance")
        notes.append("; ".join(said))
    return notes


def wilson_interval(
    successes: npt.ArrayLike, trials: npt.ArrayLike, confidence: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Return Wilson's score interval of a proportion; 0 to 1 where there was no trial.

    Examples
    --------
    >>> low, high = wilson_interval([8], [10])
    >>> round(float(low[0]), 4), round(float(high[0]), 4)
    (0.4902, 0.9433)
    """
    s, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    z = norm.ppf((1 + confidence) / 2)
    safe = np.maximum(n, 1.0)
    centre = (s + z**2 / 2) / (safe + z**2)
    half = z / (safe + z**2) * np.sqrt(s * (safe - s) / safe + z**2 / 4)
    none = n == 0
    return np.where(none, 0.0, np.maximum(centre - half, 0.0)), np.where(none, 1.0, np.minimum(centre + half, 1.0))
