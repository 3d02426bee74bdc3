"""The supervisor: sees to it that every job comes to its end. A thread of the server; several servers may run one."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.jobs import ledger, tables
from jupyter_ext.jobs.admission import Waiting, admit
from jupyter_ext.jobs.service import demand
from jupyter_ext.jobs.states import PLACED
from jupyter_ext.jobs.steps import ACTOR, Steps
from jupyter_ext.jobs.values import JobState, Resources
from jupyter_ext.store import Row, now

if TYPE_CHECKING:
    from jupyter_ext.jobs.service import JobService

#: How long to leave a cluster that would not start alone before trying again.
_START_AGAIN_S = 10.0
#: How many Ray records of ended attempts one round deletes.
_SWEEP = 20


class Supervisor(LoggingConfigurable):
    """Moves jobs from queue to end.

    A round (`tick`) takes leases on live jobs, admits queued ones, and hands every other one to a thread pool, where
    one step is taken (`steps.Steps`); so no job waits for another, and starting a cluster holds up nobody.

    Parameters
    ----------
    service
        The jobs. Its ``changed`` event wakes the supervisor at once.
    """

    tick_s = Float(0.5, min=0.05, help="Seconds between rounds while jobs are live.").tag(config=True)
    idle_s = Float(5.0, min=0.05, help="Seconds between rounds while none is; a new job is seen at once.").tag(
        config=True
    )
    poll_s = Float(2.0, min=0.1, help="Seconds between questions to Ray about one job.").tag(config=True)
    lease_s = Float(30.0, min=1.0, help="After how long a supervisor that died is replaced by another.").tag(
        config=True
    )
    lost_after_s = Float(
        15.0, min=1.0, help="Silence after which an attempt that its cluster lost counts as ended. Three heartbeats."
    ).tag(config=True)
    max_running = Integer(8, min=1, help="How many jobs of one user may run at a time.").tag(config=True)
    max_interruptions = Integer(
        20, min=1, help="After how many interruptions that were not its own fault a job is given up."
    ).tag(config=True)
    stop_grace_s = Integer(10, min=1, help="Seconds between asking a job to stop and killing it.").tag(config=True)
    workers = Integer(8, min=1, help="Threads that look after jobs.").tag(config=True)

    def __init__(self, service: JobService, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._service = service
        self._store = service.store
        self._id = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"[:64]
        self._steps = Steps(service, self, self._start_cluster, self.log)
        self._pool: ThreadPoolExecutor | None = None
        self._starters: ThreadPoolExecutor | None = None
        self._in_flight: dict[str, Future[None]] = {}
        self._starting: dict[str, Future[Any]] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._held: set[str] = set()
        self._swept_at = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="jupyter-ext-supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking after jobs, and give the leases back. The jobs themselves go on."""
        self._stopping.set()
        self._service.changed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for pool in (self._pool, self._starters):
            if pool is not None:
                pool.shutdown(wait=pool is self._pool, cancel_futures=True)
        self._pool = self._starters = None
        self._in_flight.clear()
        if self._held:
            try:
                self._release(self._held)
            except JupyterExtError as error:
                self.log.warning("The leases on jobs could not be given back, they run out by themselves: %s", error)

    def tick(self) -> int:
        """Take one round; return how many live jobs are in our care. Steps go on in the background, see `drain`."""
        rows = self._live()
        mine = self._take(rows)
        ready = [row["id"] for row in rows if row["id"] in mine and row["state"] != JobState.QUEUED]
        ready += self._admit(rows, mine)
        for job_id in ready:
            self._dispatch(job_id, lambda job_id=job_id: self._steps.advance(job_id))
        if time.monotonic() - self._swept_at > self.poll_s:
            self._swept_at = time.monotonic()
            self._dispatch("", self._sweep)
        return len(mine)

    def drain(self, timeout_s: float | None = None) -> None:
        """Wait for the steps under way."""
        wait(list(self._in_flight.values()), timeout=timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._service.changed.clear()
            live = 0
            try:
                live = self.tick()
            except JupyterExtError as error:
                self.log.warning("Jobs can't be looked after now, trying again: %s", error)
                live = 1
            except Exception:
                # The thread outlives any single round: jobs of all users depend on it.
                self.log.exception("A round of the jobs' supervisor failed; the next one follows")
                live = 1
            self._service.changed.wait(self.tick_s if live else self.idle_s)

    def _live(self) -> list[Row]:
        job, lease = tables.job, tables.lease
        columns = (job.c.id, job.c.owner, job.c.name, job.c.state, job.c.version, job.c.attempt, job.c.resources)
        more = (job.c.not_before, job.c.message, lease.c.holder, lease.c.expires_at)
        statement = (
            sa.select(*columns, *more)
            .outerjoin(lease, lease.c.job_id == job.c.id)
            .where(job.c.ended_at.is_(None))
            .order_by(job.c.id)
        )
        with self._store.read() as tx:
            return tx.all(statement)

    def _take(self, rows: list[Row]) -> set[str]:
        """Take or renew leases; return the ids of the jobs in our care. A lease is renewed at a third of its term."""
        moment = now()
        renew_before = moment + timedelta(seconds=self.lease_s * 2 / 3)
        mine, due = set(), []
        for row in rows:
            free = row["expires_at"] is None or row["expires_at"] < moment
            if row["holder"] == self._id and not free:
                mine.add(row["id"])
                if row["expires_at"] < renew_before:
                    due.append(row["id"])
            elif free:
                due.append(row["id"])
        if gone := self._held - {row["id"] for row in rows}:
            self._release(gone)
        if due:
            mine |= self._lease(due)
        self._held = set(mine)
        return mine

    def _lease(self, ids: list[str]) -> set[str]:
        table = tables.lease
        insert: Any = postgresql.insert if self._store.database.dialect == "postgresql" else sqlite.insert
        moment = now()
        expires = moment + timedelta(seconds=self.lease_s)
        statement = insert(table).values([{"job_id": i, "holder": self._id, "expires_at": expires} for i in ids])
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.job_id],
            set_={"holder": self._id, "expires_at": expires},
            where=sa.or_(table.c.holder == self._id, table.c.expires_at < moment),
        ).returning(table.c.job_id)
        with self._store.write() as tx:
            return {row["job_id"] for row in tx.execute(statement).mappings()}

    def _release(self, ids: set[str]) -> None:
        table = tables.lease
        with self._store.write() as tx:
            tx.execute(sa.delete(table).where(table.c.holder == self._id, table.c.job_id.in_(ids)))
        self._held -= ids

    def _admit(self, rows: list[Row], mine: set[str]) -> list[str]:
        """Admit queued jobs that may start, tell the others why they wait; return the ids of the admitted."""
        moment = now()
        queues: dict[str, list[Row]] = {}
        for row in rows:
            waits = row["not_before"] is not None and row["not_before"] > moment
            if row["state"] == JobState.QUEUED and not waits:
                queues.setdefault(row["owner"], []).append(row)
        admitted = []
        for owner, queue in queues.items():
            placed = [row for row in rows if row["owner"] == owner and JobState(row["state"]) in PLACED]
            decisions = admit(
                [Waiting(row["id"], _demand(row)) for row in queue],
                [_demand(row) for row in placed],
                self._service.clusters.capacity(owner),
                self.max_running,
            )
            for row in queue:
                obstacle = decisions[row["id"]]
                if row["id"] not in mine:
                    continue
                if obstacle is not None:
                    self._steps.say(row, obstacle)
                    continue
                with self._store.write() as tx:
                    moved = ledger.move(tx, row, JobState.ADMITTED, actor=ACTOR, message="Admitted.")
                if moved is not None:
                    admitted.append(row["id"])
        return admitted

    def _dispatch(self, key: str, work: Any) -> None:
        flying = self._in_flight.get(key)
        if flying is not None and not flying.done():
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="jupyter-ext-jobs")
        self._in_flight = {name: future for name, future in self._in_flight.items() if not future.done()}
        self._in_flight[key] = self._pool.submit(self._guarded, key, work)

    def _guarded(self, key: str, work: Any) -> None:
        try:
            work()
        except JupyterExtError as error:
            self.log.warning("Job %s: %s Trying again.", key or "records", error)
        except Exception:
            # One job's trouble must not end another's care; it is logged and the step is taken again.
            self.log.exception("A step of job %s failed; it is tried again", key or "records")

    def _start_cluster(self, owner: str) -> str:
        """Begin to start a cluster, unless that is under way; return what to tell the user."""
        flying = self._starting.get(owner)
        if flying is not None and flying.done():
            del self._starting[owner]
            error = flying.exception()
            if error is not None:
                self.log.warning("The Ray cluster of %s did not start: %s", owner, error)
                # What follows the first line is the head's log; it is in ours.
                said = str(error).partition("\n")[0][:500]
                message = f"Your Ray cluster did not start, trying again. {said}"
                self._refused[owner] = (time.monotonic() + _START_AGAIN_S, message)
            flying = None
        until, message = self._refused.get(owner, (0.0, ""))
        if time.monotonic() < until:
            return message
        if flying is None:
            if self._starters is None:
                self._starters = ThreadPoolExecutor(4, thread_name_prefix="jupyter-ext-start")
            self._starting[owner] = self._starters.submit(self._service.clusters.ensure, owner)
            self._starting[owner].add_done_callback(lambda _: self._service.changed.set())
        return "Starting your Ray cluster; this takes some seconds."

    def _sweep(self) -> None:
        """Delete Ray's records of ended attempts: they are in our tables now, and Ray's dashboard slows with each.

        Not at once: Ray's own watcher of a job, when the record goes before it has looked, writes a new one that says
        FAILED. And a record counts as deleted only when Ray no longer knows it.
        """
        job, attempt = tables.job, tables.attempt
        settled = now() - timedelta(seconds=self.stop_grace_s)
        statement = (
            sa.select(attempt, job.c.owner)
            .join(job, job.c.id == attempt.c.job_id)
            .where(attempt.c.in_ray.is_(True), attempt.c.ended_at < settled)
            .limit(_SWEEP)
        )
        with self._store.read() as tx:
            rows = tx.all(statement)
        gone = []
        for row in rows:
            connection = self._service.clusters.connection(row["owner"])
            if connection is None or connection.incarnation != row["incarnation"]:
                gone.append(row["submission_id"])
                continue
            info = connection.jobs.get(row["submission_id"])
            if info is None:
                gone.append(row["submission_id"])
            elif info.ended:
                connection.jobs.delete(row["submission_id"])
            else:
                # Its outcome is in, so what still runs there is only in the way of others.
                connection.jobs.stop(row["submission_id"])
        if gone:
            with self._store.write() as tx:
                tx.execute(sa.update(attempt).where(attempt.c.submission_id.in_(gone)).values(in_ray=False))


def _demand(row: Row) -> dict[str, float]:
    return demand(Resources(**row["resources"]))
