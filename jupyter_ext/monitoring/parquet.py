"""Profiles of Parquet files that do not fit into one process: a task for each row group and block of columns."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import fsspec
import pyarrow.parquet as pq

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.profile import Profile
from jupyter_ext.monitoring.progress import told_progress
from jupyter_ext.monitoring.values import Kind

Backend = Literal["local", "ray"]
#: Columns that one task reads.
_BLOCK = 64


@dataclass(frozen=True)
class _Task:
    uri: str
    group: int
    columns: tuple[str, ...]
    kinds: Mapping[str, Kind]
    like: bytes | None

    def run(self) -> bytes:
        with fsspec.open(self.uri) as stream:
            table = pq.ParquetFile(stream).read_row_group(self.group, columns=list(self.columns))
        like = None if self.like is None else Profile.from_bytes(self.like)
        # The same rows are kept in every block of columns.
        return Profile.of(table, self.kinds, like, rows_by=f"group {self.group}").to_bytes()


def profile_parquet(
    uri: str | os.PathLike[str],
    kinds: Mapping[str, Kind] | None = None,
    like: Profile | None = None,
    columns: Sequence[str] | None = None,
    backend: Backend = "local",
) -> Profile:
    """Profile a Parquet file, a row group and a block of columns at a time.

    Parameters
    ----------
    uri
        Where it lies, as fsspec writes it (``s3://…``).
    kinds, like
        As in `Profile.of`. Without `like`, the grid is that of the first row group.
    columns
        The columns to profile; default: all.
    backend
        ``"local"``, or ``"ray"``: the tasks of the Ray cluster that this process is a driver of (inside
        ``%%submit_job``, for instance).

    Raises
    ------
    Invalid
        As `Profile.of`; the file cannot be read, lacks a column or has no rows; there is no Ray cluster.
    """
    if backend not in ("local", "ray"):
        raise Invalid(f"There is no backend {backend!r}; there are 'local' and 'ray'.")
    run: Callable[[Sequence[_Task]], Iterator[bytes]] = _here if backend == "local" else _on_ray
    uri = os.fspath(uri)
    names, groups = _layout(uri)
    wanted = list(columns) if columns is not None else names
    lost = [name for name in wanted if name not in names]
    if lost or not wanted or not groups:
        raise Invalid(f"The file lacks {', '.join(lost)}." if lost else "The file has no rows or no columns.")
    blocks = [tuple(wanted[start : start + _BLOCK]) for start in range(0, len(wanted), _BLOCK)]
    given = dict(kinds or {})

    def task(group: int, block: tuple[str, ...], model: bytes | None) -> _Task:
        return _Task(uri, group, block, {name: kind for name, kind in given.items() if name in block}, model)

    unknown = sorted(set(given) - set(wanted))
    if unknown:
        raise Invalid(f"kinds names columns that are not in the file: {', '.join(unknown)}.", columns=unknown)
    model = like.to_bytes() if like is not None else None
    # The first row group settles the kinds and the grid of all others.
    firsts = list(run([task(groups[0], block, model) for block in blocks]))
    rest = [
        task(group, block, first if model is None else model)
        for group in groups[1:]
        for block, first in zip(blocks, firsts, strict=True)
    ]
    profiles = [Profile.from_bytes(first) for first in firsts]
    for place, found in enumerate(told_progress(run(rest), len(rest), "Profiling")):
        block_number = place % len(blocks)
        profiles[block_number] = profiles[block_number].merge(Profile.from_bytes(found))
    return Profile.beside(profiles)


def _layout(uri: str) -> tuple[list[str], list[int]]:
    """Return the names of the columns and the row groups that have rows."""
    try:
        with fsspec.open(uri) as stream:
            file = pq.ParquetFile(stream)
            groups = [g for g in range(file.num_row_groups) if file.metadata.row_group(g).num_rows]
            return list(file.schema_arrow.names), groups
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise Invalid(f"{uri} can't be read as Parquet: {error}") from None


def _here(tasks: Sequence[_Task]) -> Iterator[bytes]:
    return (task.run() for task in tasks)


def _on_ray(tasks: Sequence[_Task]) -> Iterator[bytes]:
    import ray

    if not ray.is_initialized():
        if "RAY_ADDRESS" not in os.environ:
            raise Invalid("There is no Ray cluster here: run inside a job (%%submit_job), or call ray.init first.")
        ray.init()
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    most = 2 * max(1, int(resources.get("CPU", 1)))
    remote = ray.remote(_Task.run)
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(remote.remote(task))
            if len(waiting) >= most:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:
        # The task's own complaint, not Ray's wrapping of it.
        raise (error.cause if isinstance(error.cause, Invalid) else error) from None
    finally:
        for reference in waiting:
            ray.cancel(reference)
