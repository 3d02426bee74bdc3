"""Run labeling functions over some rows, here or in another process, and say what came of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.functions import Batch, LabelingFunction, Preprocessor, unknown_column
from jupyter_ext.labeling.votes import ABSTAIN, IntArray

#: How many failing rows are remembered by number.
SAMPLE_ROWS = 10


@dataclass(frozen=True)
class FunctionErrors:
    """How a function failed: on how many rows, the first few row numbers, and the traceback of the first failure."""

    name: str
    count: int
    rows: tuple[int, ...]
    traceback: str

    def __str__(self) -> str:
        reason = self.traceback.strip().rpartition("\n")[2]
        return f"{self.name} failed on {self.count} rows (first: {', '.join(map(str, self.rows[:3]))}): {reason}"


@dataclass(frozen=True)
class Outcome:
    """What a function said on some rows: row numbers and class numbers of its votes, how it failed, and its seconds."""

    rows: IntArray
    classes: IntArray
    n_rows: int
    failed: IntArray
    traceback: str
    seconds: float

    def at(self, places: IntArray) -> Outcome:
        """Return the same, row ``i`` being called ``places[i]``."""
        return replace(self, rows=places[self.rows], failed=places[self.failed])

    @classmethod
    def merged(cls, parts: Sequence[Outcome]) -> Outcome:
        """Return several parts as one."""
        empty = np.zeros(0, np.int64)
        return cls(
            rows=np.concatenate([empty, *(part.rows for part in parts)]),
            classes=np.concatenate([empty, *(part.classes for part in parts)]),
            n_rows=sum(part.n_rows for part in parts),
            failed=np.sort(np.concatenate([empty, *(part.failed for part in parts)])),
            traceback=next((part.traceback for part in parts if part.traceback), ""),
            seconds=sum(part.seconds for part in parts),
        )


def run_functions(
    lfs: Sequence[LabelingFunction],
    frame: pd.DataFrame,
    n_classes: int | None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Outcome]:
    """Run functions over a frame that fits in memory as Python values; ``advance`` hears of each function's end.

    Raises
    ------
    Invalid
        A function reads a column that the frame has not.
    """
    prepared: dict[tuple[Preprocessor, ...], _Prepared] = {(): _Prepared(frame, _rows(frame), {})}
    outcomes = []
    for lf in lfs:
        try:
            outcomes.append(_Run(lf, n_classes).over(_prepare(prepared, lf.pre)))
        except MissingColumn as error:
            raise unknown_column(lf.name, error.column, frame.columns) from None
        advance(len(frame))
    return outcomes


class Row:
    """A row of a frame: columns as attributes and items. A cell is fetched when a function first asks for it.

    All functions share the rows of a chunk, so the second function to read a cell finds it in the instance's own dict.
    """

    __slots__ = ("_Row__chunk", "_Row__number", "__dict__")

    def __init__(self, chunk: _Chunk, number: int) -> None:
        self.__chunk = chunk
        self.__number = number

    def __getattr__(self, name: str) -> Any:
        # Only called for what the instance does not hold yet.
        value = self.__dict__[name] = self.__chunk.column(name)[self.__number]
        return value

    def __getitem__(self, name: str) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            return self.__getattr__(name)

    def __copy__(self) -> Row:
        twin = Row(self.__chunk, self.__number)
        twin.__dict__.update(self.__dict__)
        return twin

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={self[name]!r}' for name in self.__chunk.frame.columns)})"


class MissingColumn(AttributeError, KeyError):
    """A function asked a row for a column that the frame has not. The applier turns it into `Invalid`."""

    def __init__(self, column: str) -> None:
        super().__init__(f"there is no column {column!r}")
        self.column = column


class _Chunk:
    """Some rows of a frame as lists of Python values, a column at a time, made when first asked for."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._lists: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        try:
            return self._lists[name]
        except KeyError:
            if name not in self.frame.columns:
                raise MissingColumn(name) from None
        values: list[Any] = self.frame[name].tolist()
        self._lists[name] = values
        return values


def _rows(frame: pd.DataFrame) -> list[Any]:
    chunk = _Chunk(frame)
    return [Row(chunk, number) for number in range(len(frame))]


@dataclass(frozen=True)
class _Prepared:
    """Rows after some preprocessors, and the exception of each row that one of them failed on."""

    frame: pd.DataFrame
    rows: list[Any]
    #: In the order of rows.
    failed: dict[int, Exception]


def _prepare(done: dict[tuple[Preprocessor, ...], _Prepared], pre: tuple[Preprocessor, ...]) -> _Prepared:
    if pre not in done:
        before = _prepare(done, pre[:-1])
        rows, failed = list(before.rows), dict(before.failed)
        for number, row in enumerate(before.rows):
            if number in failed:
                continue
            try:
                # A preprocessor may write to its row; the functions without it must not see that.
                rows[number] = pre[-1](row.__copy__() if isinstance(row, Row) else row)
            except MissingColumn:
                raise
            except Exception as error:  # noqa: BLE001 - the user's own code; reported with its traceback
                failed[number] = error
        done[pre] = _Prepared(before.frame, rows, dict(sorted(failed.items())))
    return done[pre]


class _Run:
    """One function on its way over some rows."""

    def __init__(self, lf: LabelingFunction, n_classes: int | None) -> None:
        self.lf = lf
        self._n_classes = n_classes
        self._failed: list[int] = []
        self._traceback = ""

    def over(self, prepared: _Prepared) -> Outcome:
        began = time.perf_counter()
        rows, classes = self._checked(self._call(prepared))
        failed = np.array(sorted(self._failed), dtype=np.int64)
        seconds = time.perf_counter() - began
        return Outcome(rows, classes, len(prepared.rows), failed, self._traceback, seconds)

    def _call(self, prepared: _Prepared) -> list[Any]:
        if self.lf.batch is not None and not self.lf.pre:
            return self._call_at_once(self.lf.batch, prepared.frame)
        function: Callable[[Any], Any] = self.lf.function
        if self.lf.resources:
            function = partial(function, **self.lf.resources)
        votes: list[Any] = []
        rows = iter(prepared.rows)
        left = len(prepared.rows)
        while left:
            number = len(votes)
            try:
                if number in prepared.failed:
                    next(rows)
                    raise prepared.failed[number]
                # The loop over rows runs in C, up to the next row known to fail or the first that does.
                stop = next((row for row in prepared.failed if row > number), len(prepared.rows))
                votes.extend(map(function, islice(rows, stop - number)))
                if len(votes) < stop:
                    raise RuntimeError("the function raised StopIteration")
            except MissingColumn:
                raise
            except Exception as error:  # noqa: BLE001 - the user's own code; reported with its traceback
                self._fail(len(votes), error)
                votes.append(ABSTAIN)
            left = len(prepared.rows) - len(votes)
        return votes

    def _call_at_once(self, batch: Batch, frame: pd.DataFrame) -> list[Any]:
        try:
            votes = list(batch(frame))
            if len(votes) != len(frame):
                raise Invalid(f"{self.lf.name} gave {len(votes)} votes for {len(frame)} rows.")
        except MissingColumn:
            raise
        except Exception as error:  # noqa: BLE001 - a resource of the user's may be at fault; every row failed
            votes = [error] * len(frame)
        for number, vote in enumerate(votes):
            if isinstance(vote, Exception):
                self._fail(number, vote)
                votes[number] = ABSTAIN
        return votes

    def _checked(self, votes: list[Any]) -> tuple[IntArray, IntArray]:
        if not set(map(type, votes)) <= {int}:
            votes = [self._as_vote(vote, number) for number, vote in enumerate(votes)]
        classes = np.array(votes, dtype=np.int64)
        outside = classes < ABSTAIN
        if self._n_classes is not None:
            outside |= classes >= self._n_classes
        for number in np.flatnonzero(outside):
            self._fail(int(number), _no_vote(votes[number], self._n_classes))
        classes[outside] = ABSTAIN
        said = np.flatnonzero(classes != ABSTAIN)
        return said, classes[said]

    def _as_vote(self, vote: Any, row: int) -> int:
        if isinstance(vote, (int, np.integer)) and not isinstance(vote, bool):
            return int(vote)
        self._fail(row, _no_vote(vote, self._n_classes))
        return ABSTAIN

    def _fail(self, row: int, error: Exception) -> None:
        self._failed.append(row)
        if not self._traceback:
            self._traceback = "".join(traceback.format_exception(error))


def _no_vote(vote: Any, n_classes: int | None) -> Invalid:
    classes = "" if n_classes is None else f" from 0 to {n_classes - 1}"
    return Invalid(f"returned {vote!r:.60}; a vote is the number of a class{classes}, or ABSTAIN ({ABSTAIN})")
