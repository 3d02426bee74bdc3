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
from traitlets import Dict, Float, Integer
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.jobs import ledger, tables
from jupyter_ext.jobs.admission import JOBS, Demand, Quota, Rules, Waiting, admit
from jupyter_ext.jobs.demands import bundles, demand
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
#: Seconds between looks at the schedules, and between counts of what users held lately.
_CLOCK_S, _COUNT_S = 1.0, 10.0
#: Seconds between rounds while a job starts or has only just begun: a short one should not wait for its end to be seen.
_HASTE_S, _YOUNG_S = 0.1, 5.0
#: The quota of users who have none of their own.
_ANYBODY = "*"


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
    hung_after_s = Float(
        300.0,
        min=1.0,
        help="Silence after which an attempt is stopped and taken up again although Ray says that it runs. Code that "
        "keeps Python's lock for longer is silent too.",
    ).tag(config=True)
    max_running = Integer(8, min=1, help="How many jobs of one user may run at a time.").tag(config=True)
    quotas = Dict(
        help="What a user may hold at a time, by Ray's names and 'jobs': {'ada': {'GPU': 2}, '*': {'GPU': 1}}; "
        "'*' is for users who are not named, 'group:NAME' for a group together."
    ).tag(config=True)
    groups = Dict(help="Members of groups that have a quota: {'research': ['ada', 'bob']}.").tag(config=True)
    pool = Dict(
        help="What the clusters of all users share, by Ray's names: {'CPU': 64, 'GPU': 8}. Users get fair shares of "
        "it. Empty: every cluster has its own machines."
    ).tag(config=True)
    weights = Dict(help="How many shares of the pool a user has. Default: 1.").tag(config=True)
    fair_share_window_s = Float(
        3600.0, min=1.0, help="For how long what a user has held counts against their share of the pool."
    ).tag(config=True)
    max_interruptions = Integer(
        20,
        min=1,
        help="After how many interruptions in a row, not its own fault, in which it got no further, a job is given up.",
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
        self._swept_at = self._clock_at = self._counted_at = -float("inf")
        self._recent: dict[str, Demand] = {}
        self._hasty = False
        self._wanted: dict[str, list[dict[str, float]]] = {}
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
        young = now() - timedelta(seconds=_YOUNG_S)
        self._hasty = any(
            row["state"] == JobState.STARTING
            or (row["state"] == JobState.RUNNING and row["started_at"] is not None and row["started_at"] > young)
            for row in rows
            if row["id"] in mine
        )
        ready = [
            row["id"]
            for row in rows
            if row["id"] in mine and (row["kind"] == "sweep" or row["state"] not in (JobState.QUEUED, JobState.PAUSED))
        ]
        ready += self._admit(rows, mine)
        self._want(rows, set(ready))
        for job_id in ready:
            self._dispatch(job_id, lambda job_id=job_id: self._steps.advance(job_id))
        if time.monotonic() - self._swept_at > self.poll_s:
            self._swept_at = time.monotonic()
            self._dispatch("", self._sweep)
        if time.monotonic() - self._clock_at > _CLOCK_S:
            self._clock_at = time.monotonic()
            self._dispatch("schedules", self._service.schedules.fire)
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
            pause = self.tick_s if live else self.idle_s
            self._service.changed.wait(min(pause, _HASTE_S) if self._hasty else pause)

    def _live(self) -> list[Row]:
        job, lease = tables.job, tables.lease
        columns = (job.c.id, job.c.owner, job.c.name, job.c.kind, job.c.state, job.c.version, job.c.attempt)
        more = (job.c.resources, job.c.priority, job.c.after, job.c.not_before, job.c.message, job.c.started_at)
        statement = (
            sa.select(*columns, *more, lease.c.holder, lease.c.expires_at)
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
        queue = [
            row
            for row in rows
            if row["state"] == JobState.QUEUED
            and row["kind"] != "sweep"
            and (row["not_before"] is None or row["not_before"] <= moment)
        ]
        queue = self._in_order(queue, mine)
        if not queue:
            return []
        holding = [(row["owner"], _demand(row)) for row in rows if _placed(row)]
        waiting = [Waiting(row["id"], row["owner"], _demand(row), row["priority"]) for row in queue]
        decisions = admit(waiting, holding, self._rules({row["owner"] for row in queue}))
        admitted = []
        for row in queue:
            if row["id"] not in mine:
                continue
            obstacle = decisions[row["id"]]
            if obstacle is not None:
                self._steps.say(row, obstacle)
                continue
            with self._store.write() as tx:
                moved = ledger.move(tx, row, JobState.ADMITTED, actor=ACTOR, message="Admitted.")
            if moved is not None:
                admitted.append(row["id"])
        return admitted

    def _in_order(self, queue: list[Row], mine: set[str]) -> list[Row]:
        """Leave out jobs that come after others which have not succeeded, and end those that can't start any more."""
        named = {other for row in queue for other in row["after"]}
        if not named:
            return queue
        job = tables.job
        with self._store.read() as tx:
            found = tx.all(sa.select(job.c.id, job.c.name, job.c.state).where(job.c.id.in_(named)))
        states = {row["id"]: (row["name"], JobState(row["state"])) for row in found}
        ready = []
        for row in queue:
            before = [states.get(other, (other, JobState.FAILED)) for other in row["after"]]
            lost = [name for name, state in before if state.final and state is not JobState.SUCCEEDED]
            open_ = [name for name, state in before if not state.final]
            if not lost and not open_:
                ready.append(row)
            elif row["id"] not in mine:
                continue
            elif lost:
                message = f"Not started: it comes after {lost[0]!r}, which did not succeed."
                with self._store.write() as tx:
                    ledger.move(tx, row, JobState.FAILED, actor=ACTOR, message=message, reason="after_failed")
            else:
                rest = f" and {len(open_) - 1} more" if len(open_) > 1 else ""
                self._steps.say(row, f"Waiting for {open_[0]!r}{rest} to succeed.")
        return ready

    def _rules(self, owners: set[str]) -> Rules:
        capacity = {
            owner: {**self._service.clusters.capacity(owner), JOBS: float(self.max_running)} for owner in owners
        }
        quotas = [
            Quota(owner, frozenset({owner}), self.quotas.get(owner, self.quotas.get(_ANYBODY, {}))) for owner in owners
        ]
        for group, members in self.groups.items():
            if limits := self.quotas.get(f"group:{group}"):
                quotas.append(Quota(group, frozenset(members), limits))
        pool = dict(self.pool) or None
        return Rules(capacity, tuple(quotas), pool, self._held_lately() if pool else {}, self.weights)

    def _held_lately(self) -> dict[str, Demand]:
        """Return what users held on average within the window, in attempts that have ended."""
        if time.monotonic() - self._counted_at > _COUNT_S:
            job, attempt = tables.job, tables.attempt
            begin = now() - timedelta(seconds=self.fair_share_window_s)
            columns = (attempt.c.started_at, attempt.c.ended_at, attempt.c.cpu_seconds, attempt.c.gpu_seconds)
            ended = (
                sa.select(job.c.owner, *columns)
                .join(job, job.c.id == attempt.c.job_id)
                .where(attempt.c.ended_at > begin, attempt.c.started_at < attempt.c.ended_at)
            )
            with self._store.read() as tx:
                rows = tx.all(ended)
            recent: dict[str, dict[str, float]] = {}
            for row in rows:
                held = recent.setdefault(row["owner"], {"CPU": 0.0, "GPU": 0.0})
                # Of one that began before the window only what lies in it.
                within = (row["ended_at"] - max(begin, row["started_at"])) / (row["ended_at"] - row["started_at"])
                for name in held:
                    held[name] += within * row[f"{name.lower()}_seconds"] / self.fair_share_window_s
            self._recent = dict(recent)
            self._counted_at = time.monotonic()
        return self._recent

    def _want(self, rows: list[Row], ready: set[str]) -> None:
        """Tell each cluster what it is to have room for: the jobs that hold a place, or were given one just now."""
        wanted: dict[str, list[dict[str, float]]] = {owner: [] for owner in self._wanted}
        for row in rows:
            if row["kind"] != "sweep" and (_placed(row) or row["id"] in ready):
                wanted.setdefault(row["owner"], []).extend(bundles(Resources(**row["resources"])))
        for owner, asked in wanted.items():
            if asked != self._wanted.get(owner):
                self._service.clusters.want(owner, asked)
        self._wanted = {owner: asked for owner, asked in wanted.items() if asked}

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


def _placed(row: Row) -> bool:
    """Whether a job holds a place on its cluster. A sweep runs nothing itself."""
    return row["kind"] != "sweep" and JobState(row["state"]) in PLACED
