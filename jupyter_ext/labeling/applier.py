"""Apply labeling functions to a frame: in this process, in several, or on Ray."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cloudpickle
import fsspec
import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling._running import SAMPLE_ROWS, FunctionErrors, Outcome, run_functions
from jupyter_ext.labeling._vote_cache import VoteCache
from jupyter_ext.labeling.functions import LabelingFunction, unknown_column
from jupyter_ext.labeling.votes import IntArray, VoteMatrix

#: Rows that become Python values at a time.
_CHUNK_ROWS = 10_000


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
    n_jobs
        Processes to run in; -1 for one a core. Below some ten thousand rows, one is the fastest.
    backend
        ``"local"``, or ``"ray"``: the tasks of the Ray cluster that this process is a driver of (inside
        ``%%submit_job``, for instance); ``n_jobs`` is then how many run at a time, -1 as many as the cluster has cores.
    cache
        A folder for votes. Only changed functions and new rows are run again; what was finished before a run was
        interrupted counts. A function is the same while its ``digest`` is.

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

    def __init__(
        self,
        lfs: Sequence[LabelingFunction],
        n_classes: int | None = None,
        *,
        n_jobs: int = 1,
        backend: Literal["local", "ray"] = "local",
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self.lfs = list(lfs)
        self.n_classes = n_classes
        for lf in self.lfs:
            if not isinstance(lf, LabelingFunction):
                raise Invalid(f"{lf!r} is no labeling function; decorate it with @labeling_function().")
        names = [lf.name for lf in self.lfs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(f"Two labeling functions have the same name: {', '.join(twice)}.")
        if n_jobs == 0 or n_jobs < -1:
            raise Invalid(f"n_jobs must be 1 or more, or -1 for all cores, not {n_jobs}.")
        if backend not in _BACKENDS:
            raise Invalid(f"There is no backend {backend!r}; there are 'local' and 'ray'.")
        self.n_jobs = n_jobs
        self.backend = backend
        self.cache = cache
        self.errors: dict[str, FunctionErrors] = {}
        self.timings: dict[str, float] = {}

    def apply(self, frame: pd.DataFrame | str | os.PathLike[str], progress: bool = True) -> VoteMatrix:
        """Return the votes, shape (rows of ``frame``, functions).

        Parameters
        ----------
        frame
            The rows; they are not changed. Or where a Parquet file lies, as fsspec writes it (``s3://…``): its row
            groups are read where they are worked on, so that it may be larger than memory.
        progress
            Show a progress line on the standard error stream when it takes longer than a second.

        Raises
        ------
        Invalid
            A function reads a column that the frame has not.
        """
        cache = None
        if isinstance(frame, pd.DataFrame):
            if not frame.columns.is_unique:
                raise Invalid("The frame has two columns of one name; rename one.")
            self._require_columns(frame.columns)
            n_rows = len(frame)
            todo: list[tuple[list[int], IntArray]] = [(list(range(len(self.lfs))), np.arange(n_rows))]
            kept: dict[int, Outcome] = {}
            if self.cache is not None:
                cache = VoteCache(self.cache)
                todo, kept = self._new(cache, frame)
            tasks = [task for functions, rows in todo for task in _slices(frame, functions, rows)]
        else:
            if self.cache is not None:
                raise Invalid("A cache of votes is for frames in memory; a Parquet file is read by the workers.")
            columns, tasks = _row_groups(str(frame), len(self.lfs))
            self._require_columns(columns)
            n_rows, kept = sum(len(task.rows) for task in tasks), {}
        done: dict[int, list[Outcome]] = {number: [] for number in range(len(self.lfs))}
        ran: dict[int, list[IntArray]] = {number: [] for number in range(len(self.lfs))}
        try:
            for task, outcomes in self._run(tasks, progress):
                for number, outcome in zip(task.functions, outcomes, strict=True):
                    done[number].append(outcome.at(task.rows))
                    ran[number].append(task.rows)
        finally:
            # Interrupted or not, what was done need not be done again.
            if cache is not None and isinstance(frame, pd.DataFrame):
                for number, lf in enumerate(self.lfs):
                    if ran[number]:
                        cache.keep(lf, frame, np.concatenate(ran[number]), Outcome.merged(done[number]))
        merged = [Outcome.merged(done[number]) for number in range(len(self.lfs))]
        self.errors = {
            lf.name: FunctionErrors(
                lf.name, len(outcome.failed), tuple(outcome.failed[:SAMPLE_ROWS].tolist()), outcome.traceback
            )
            for lf, outcome in zip(self.lfs, merged, strict=True)
            if len(outcome.failed)
        }
        self.timings = {lf.name: outcome.seconds for lf, outcome in zip(self.lfs, merged, strict=True)}
        whole = [
            Outcome.merged([kept[number], outcome]) if number in kept else outcome
            for number, outcome in enumerate(merged)
        ]
        return self._matrix(whole, n_rows)

    def _require_columns(self, columns: pd.Index[Any]) -> None:
        for lf in self.lfs:
            for column in lf.columns or ():
                if column not in columns:
                    raise unknown_column(lf.name, column, columns)

    def _new(
        self, cache: VoteCache, frame: pd.DataFrame
    ) -> tuple[list[tuple[list[int], IntArray]], dict[int, Outcome]]:
        """Return which functions have to run on which rows, and what is known of the others."""
        kept: dict[int, Outcome] = {}
        todo: dict[bytes, tuple[list[int], IntArray]] = {}
        for number, lf in enumerate(self.lfs):
            rows, votes = cache.known(lf, frame)
            said = votes >= 0
            kept[number] = Outcome(rows[said], votes[said], len(rows), np.zeros(0, np.int64), "", 0.0)
            new = np.setdiff1d(np.arange(len(frame)), rows)
            if len(new):
                todo.setdefault(new.tobytes(), ([], new))[0].append(number)
        return list(todo.values()), kept

    def _run(self, tasks: Sequence[_Task], progress: bool) -> Iterator[tuple[_Task, list[Outcome]]]:
        bar = _Progress(sum(len(task.rows) * len(task.functions) for task in tasks), progress)
        if self.backend == "local" and (self.n_jobs == 1 or len(tasks) <= 1):
            for task in tasks:
                lfs = [self.lfs[number] for number in task.functions]
                yield task, run_functions(lfs, task.read(), self.n_classes, bar.advance)
        else:
            payload = cloudpickle.dumps((self.lfs, self.n_classes))
            # Results come in the order of the tasks.
            for task, outcomes in zip(tasks, _BACKENDS[self.backend](payload, tasks, self.n_jobs), strict=True):
                bar.advance(len(task.rows) * len(task.functions))
                yield task, outcomes
        bar.close()

    def _matrix(self, outcomes: list[Outcome], n_rows: int) -> VoteMatrix:
        names = tuple(lf.name for lf in self.lfs)
        items = np.concatenate([np.zeros(0, np.int64), *(outcome.rows for outcome in outcomes)])
        columns = np.repeat(np.arange(len(outcomes)), [len(outcome.rows) for outcome in outcomes])
        values = np.concatenate([np.zeros(0, np.int64), *(outcome.classes for outcome in outcomes)])
        kinds = [lf.kind for lf in self.lfs]
        return VoteMatrix.from_columns(items, columns, values, n_rows, names, self.n_classes, kind=kinds)


@dataclass(frozen=True)
class _Task:
    """Some functions on some rows, which are at hand or in a row group of a Parquet file."""

    functions: tuple[int, ...]
    rows: IntArray
    source: pd.DataFrame | tuple[str, int]

    def read(self) -> pd.DataFrame:
        if isinstance(self.source, pd.DataFrame):
            return self.source
        uri, group = self.source
        with fsspec.open(uri) as stream:
            frame: pd.DataFrame = pq.ParquetFile(stream).read_row_group(group).to_pandas()
        return frame


def _slices(frame: pd.DataFrame, functions: list[int], rows: IntArray) -> list[_Task]:
    return [
        _Task(tuple(functions), part, frame.iloc[part])
        for part in (rows[start : start + _CHUNK_ROWS] for start in range(0, len(rows), _CHUNK_ROWS))
    ]


def _row_groups(uri: str, n_functions: int) -> tuple[pd.Index[Any], list[_Task]]:
    try:
        with fsspec.open(uri) as stream:
            file = pq.ParquetFile(stream)
            columns = pd.Index(file.schema_arrow.names)
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise Invalid(f"{uri} can't be read as Parquet: {error}") from None
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return columns, [
        _Task(tuple(range(n_functions)), np.arange(starts[group], starts[group + 1]), (uri, group))
        for group in range(len(counts))
    ]


@lru_cache(maxsize=2)
def _loaded(payload: bytes) -> tuple[list[LabelingFunction], int | None]:
    lfs, n_classes = cloudpickle.loads(payload)
    return lfs, n_classes


def _work(payload: bytes, task: _Task) -> list[Outcome]:
    lfs, n_classes = _loaded(payload)
    return run_functions([lfs[number] for number in task.functions], task.read(), n_classes)


def _in_processes(payload: bytes, tasks: Sequence[_Task], n_jobs: int) -> Iterator[list[Outcome]]:
    outcomes: Iterator[list[Outcome]] = joblib.Parallel(n_jobs, backend="loky", return_as="generator")(
        joblib.delayed(_work)(payload, task) for task in tasks
    )
    return outcomes


def _on_ray(payload: bytes, tasks: Sequence[_Task], n_jobs: int) -> Iterator[list[Outcome]]:
    import ray

    if not ray.is_initialized():
        if "RAY_ADDRESS" not in os.environ:
            raise Invalid("There is no Ray cluster here: apply inside a job (%%submit_job), or call ray.init first.")
        ray.init()
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    # More are under way than there are cores, so that none waits for its next task.
    most = n_jobs if n_jobs > 0 else 2 * max(1, int(resources.get("CPU", 1)))
    shared, remote = ray.put(payload), ray.remote(_work)
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(remote.remote(shared, task))
            if len(waiting) >= most:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:
        # The function's own complaint, not Ray's wrapping of it.
        raise (error.cause if isinstance(error.cause, Invalid) else error) from None
    finally:
        for reference in waiting:
            ray.cancel(reference)


_BACKENDS: dict[str, Callable[[bytes, Sequence[_Task], int], Iterator[list[Outcome]]]] = {
    "local": _in_processes,
    "ray": _on_ray,
}


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
