"""Run labeling functions over a frame."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.functions import Batch, LabelingFunction, Preprocessor, unknown_column
from jupyter_ext.labeling.votes import ABSTAIN, IntArray, VoteMatrix

_CHUNK_ROWS = 10_000
_SAMPLE_ROWS = 10


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


class LFApplier:
    """Runs labeling functions over the rows of a frame.

    A function that raises, or returns what is no vote, abstains on that row and is reported in :attr:`errors`; the
    votes of the others stand.

    Parameters
    ----------
    lfs
        The functions; their names must differ.
    n_classes
        How many classes there are. A vote outside them is an error of its function.

    Attributes
    ----------
    errors : dict of str to FunctionErrors
        Of the last run, by function; empty when all went well.
    timings : dict of str to float
        Seconds that each function took in the last run.

    Examples
    --------
    >>> import pandas as pd
    >>> from jupyter_ext.labeling import ABSTAIN, LFApplier, labeling_function
    >>> @labeling_function()
    ... def shouts(row):
    ...     return 1 if row.text.isupper() else ABSTAIN
    >>> LFApplier([shouts]).apply(pd.DataFrame({"text": ["BUY", "hello"]})).to_dense().tolist()
    [[1], [-1]]
    """

    def __init__(self, lfs: Sequence[LabelingFunction], n_classes: int | None = None) -> None:
        self.lfs = list(lfs)
        self.n_classes = n_classes
        for lf in self.lfs:
            if not isinstance(lf, LabelingFunction):
                raise Invalid(f"{lf!r} is no labeling function; decorate it with @labeling_function().")
        names = [lf.name for lf in self.lfs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(f"Two labeling functions have the same name: {', '.join(twice)}.")
        self.errors: dict[str, FunctionErrors] = {}
        self.timings: dict[str, float] = {}

    def apply(self, frame: pd.DataFrame, progress: bool = True) -> VoteMatrix:
        """Return the votes, shape (rows of ``frame``, functions).

        Parameters
        ----------
        frame
            The rows. It is not changed.
        progress
            Show a progress line on the standard error stream when it takes longer than a second.

        Raises
        ------
        Invalid
            A function reads a column that the frame has not.
        """
        if not frame.columns.is_unique:
            raise Invalid("The frame has two columns of one name; rename one.")
        for lf in self.lfs:
            for column in lf.columns or ():
                if column not in frame.columns:
                    raise unknown_column(lf.name, column, frame.columns)
        runs = [_Run(lf, self.n_classes) for lf in self.lfs]
        bar = _Progress(len(frame) * len(runs), progress)
        for start in range(0, len(frame), _CHUNK_ROWS):
            part = frame.iloc[start : start + _CHUNK_ROWS]
            prepared: dict[tuple[Preprocessor, ...], _Prepared] = {(): _Prepared(part, _rows(part), {})}
            for run in runs:
                try:
                    run.over(_prepare(prepared, run.lf.pre), start)
                except MissingColumn as error:
                    raise unknown_column(run.lf.name, error.column, frame.columns) from None
                bar.advance(len(part))
        bar.close()
        self.errors = {run.lf.name: run.report() for run in runs if run.n_errors}
        self.timings = {run.lf.name: run.seconds for run in runs}
        return self._matrix(runs, len(frame))

    def _matrix(self, runs: list[_Run], n_rows: int) -> VoteMatrix:
        voted = [run.votes() for run in runs]
        names = tuple(lf.name for lf in self.lfs)
        items = np.concatenate([rows for rows, _ in voted] or [np.zeros(0, np.int64)])
        columns = np.repeat(np.arange(len(runs)), [len(rows) for rows, _ in voted])
        values = np.concatenate([classes for _, classes in voted] or [np.zeros(0, np.int64)])
        return VoteMatrix.from_columns(items, columns, values, n_rows, names, self.n_classes, kind="function")


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
    """One function on its way through the chunks: votes so far, failures so far, time so far."""

    def __init__(self, lf: LabelingFunction, n_classes: int | None) -> None:
        self.lf = lf
        self.seconds = 0.0
        self.n_errors = 0
        self._n_classes = n_classes
        self._sample: list[int] = []
        self._traceback = ""
        self._rows: list[IntArray] = []
        self._classes: list[IntArray] = []

    def over(self, prepared: _Prepared, start: int) -> None:
        began = time.perf_counter()
        self._keep(self._call(prepared, start), start)
        self.seconds += time.perf_counter() - began

    def votes(self) -> tuple[IntArray, IntArray]:
        empty = [np.zeros(0, np.int64)]
        return np.concatenate(self._rows or empty), np.concatenate(self._classes or empty)

    def report(self) -> FunctionErrors:
        return FunctionErrors(self.lf.name, self.n_errors, tuple(self._sample), self._traceback)

    def _call(self, prepared: _Prepared, start: int) -> list[Any]:
        if self.lf.batch is not None and not self.lf.pre:
            return self._call_at_once(self.lf.batch, prepared.frame, start)
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
                self._failed(start + len(votes), error)
                votes.append(ABSTAIN)
            left = len(prepared.rows) - len(votes)
        return votes

    def _call_at_once(self, batch: Batch, frame: pd.DataFrame, start: int) -> list[Any]:
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
                self._failed(start + number, vote)
                votes[number] = ABSTAIN
        return votes

    def _keep(self, votes: list[Any], start: int) -> None:
        if not set(map(type, votes)) <= {int}:
            votes = [self._as_vote(vote, start + number) for number, vote in enumerate(votes)]
        classes = np.array(votes, dtype=np.int64)
        outside = classes < ABSTAIN
        if self._n_classes is not None:
            outside |= classes >= self._n_classes
        for number in np.flatnonzero(outside):
            self._failed(start + int(number), _no_vote(votes[number], self._n_classes))
        classes[outside] = ABSTAIN
        said = np.flatnonzero(classes != ABSTAIN)
        self._rows.append(said + start)
        self._classes.append(classes[said])

    def _as_vote(self, vote: Any, row: int) -> int:
        if isinstance(vote, (int, np.integer)) and not isinstance(vote, bool):
            return int(vote)
        self._failed(row, _no_vote(vote, self._n_classes))
        return ABSTAIN

    def _failed(self, row: int, error: Exception) -> None:
        self.n_errors += 1
        if len(self._sample) < _SAMPLE_ROWS:
            self._sample.append(row)
        if not self._traceback:
            self._traceback = "".join(traceback.format_exception(error))


def _no_vote(vote: Any, n_classes: int | None) -> Invalid:
    classes = "" if n_classes is None else f" from 0 to {n_classes - 1}"
    return Invalid(f"returned {vote!r:.60}; a vote is the number of a class{classes}, or ABSTAIN ({ABSTAIN})")


class _Progress:
    """A line on stderr with the share done and the time left, once a second has passed."""

    def __init__(self, total: int, wanted: bool) -> None:
        self._total, self._wanted = max(total, 1), wanted
        self._done = 0
        self._began = self._shown = time.monotonic()
        self._visible = False

    def advance(self, count: int) -> None:
        self._done += count
        moment = time.monotonic()
        if not self._wanted or moment - self._shown < (0.2 if self._visible else 1.0):
            return
        self._shown, self._visible = moment, True
        left = (moment - self._began) * (self._total - self._done) / self._done
        blocks = 30 * self._done // self._total
        bar = "█" * blocks + "░" * (30 - blocks)
        print(
            f"\rlabeling functions {bar} {self._done / self._total:4.0%}, {left:.0f} s left ", end="", file=sys.stderr
        )

    def close(self) -> None:
        if self._visible:
            print(f"\rlabeling functions done in {time.monotonic() - self._began:.1f} s{' ' * 40}", file=sys.stderr)
