"""Metrics that jobs report, handed on to a tracking server as they come."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.jobs import ledger, logs, tables
from jupyter_ext.jobs.report import Reported
from jupyter_ext.jobs.values import Job
from jupyter_ext.store import Row, now

if TYPE_CHECKING:
    from jupyter_ext.store import Store

_EVERY_S, _AGAIN_S = 2.0, 30.0
_JOBS, _READ_BYTES = 50, 1_000_000


@dataclass(frozen=True)
class Point:
    """What a job reported with one step."""

    step: int
    metrics: dict[str, float]


class Tracker(Protocol):
    """Where metrics go. Telling the same points twice must do no harm."""

    def track(self, job: Job, points: list[Point], at_ms: int) -> None:
        """Keep some points; with a job in a final state, end its run."""


class Tracking:
    """Reads what jobs have reported from their logs, and hands it on, in a thread of its own.

    The log is the one record of what was reported, so nothing is lost while the tracking server is away: how far it was
    read is written down after it was handed on. A job that reports no metrics leaves no run behind.
    """

    def __init__(self, store: Store, tracker: Tracker, log: Any = None) -> None:
        self._store = store
        self._tracker = tracker
        self.log = log or logging.getLogger(__name__)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="jupyter-ext-tracking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was not handed on is the next one's."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def tick(self) -> int:
        """Hand on what is new; return of how many jobs."""
        job = tables.job
        news = (job.c.log_size > job.c.tracked) | job.c.ended_at.is_not(None)
        statement = sa.select(job).where(job.c.tracked.is_not(None), news).order_by(job.c.id).limit(_JOBS)
        with self._store.read() as tx:
            rows = tx.all(statement)
            sizes = {row["id"]: [one["log_size"] for one in ledger.attempts_of(tx, row["id"])] for row in rows}
        for row in rows:
            self._hand_on(row, sizes[row["id"]])
        return len(rows)

    def _run(self) -> None:
        pause = _EVERY_S
        while not self._stopping.wait(pause):
            try:
                self.tick()
                pause = _EVERY_S
            except JupyterExtError as error:
                if pause == _EVERY_S:
                    self.log.warning("Metrics of jobs can't be handed on now, trying again: %s", error)
                pause = _AGAIN_S
            except Exception:
                # The thread outlives any single round: the metrics of all jobs depend on it.
                self.log.exception("Handing on the metrics of jobs failed; trying again")
                pause = _AGAIN_S

    def _hand_on(self, row: Row, sizes: list[int]) -> None:
        job = ledger.to_job(row)
        start, total = row["tracked"], sum(sizes)
        data = logs.read_bytes(self._store.objects, job.id, sizes, start, _READ_BYTES)
        last = job.state.final and (not data or start + len(data) >= total)
        # A line that is being written is left for the next time, unless it is longer than any that counts.
        cut = len(data) if last or len(data) == _READ_BYTES else data.rfind(b"\n") + 1
        points = points_of(data[:cut])
        if points or (last and row["run"]):
            self._tracker.track(job if last else job.model_copy(update={"ended_at": None}), points, _now_ms())
        if cut == 0 and not last:
            return
        table = tables.job
        with self._store.write() as tx:
            tx.execute(
                sa.update(table)
                .where(table.c.id == job.id, table.c.tracked == start)
                .values(tracked=None if last else start + cut, run=row["run"] or bool(points))
            )


def points_of(text: bytes) -> list[Point]:
    """Return the metrics that the lines of a log report.

    Examples
    --------
    >>> points_of(b"epoch done\\n[progress] 1/3 loss=0.5\\n[progress] 2/3\\n")
    [Point(step=1, metrics={'loss': 0.5})]
    """
    points = []
    for line in text.split(b"\n"):
        if b"[progress] " not in line:
            continue
        said = Reported()
        if said.read(line) and said.metrics and said.step is not None:
            points.append(Point(said.step, said.metrics))
    return points


def _now_ms() -> int:
    return int(now().timestamp() * 1000)
