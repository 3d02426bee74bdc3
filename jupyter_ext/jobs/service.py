"""Jobs: the verbs. Everything here is a short transaction; what takes time is the supervisor's."""

from __future__ import annotations

import hashlib
import keyword
import threading
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from traitlets import Int
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs import checkpoint, ledger, logs, tables
from jupyter_ext.jobs.protocol import attempt_path, checkpoints_path
from jupyter_ext.jobs.states import UNPLACED
from jupyter_ext.jobs.values import (
    Checkpoint,
    Job,
    JobDetail,
    JobEvent,
    JobQuery,
    JobSpec,
    JobState,
    LogChunk,
    LogQuery,
    Resources,
)
from jupyter_ext.store import Row, Store, Transaction, now, paginate
from jupyter_ext.values import Page, Query, new_id

if TYPE_CHECKING:
    from jupyter_ext.clusters.service import ClusterService
    from jupyter_ext.datasets.service import DatasetService
    from jupyter_ext.labeling.service import LabelService

#: A piece of a log holds at least one whole character, however small a piece is asked for.
_MIN_LOG_BYTES = 4


class JobService(LoggingConfigurable):
    """Takes jobs in, answers what became of them, and cancels them.

    Parameters
    ----------
    clusters
        Knows what a user's cluster can ever offer, so that an impossible request is refused at once.
    datasets, labels
        Know the data set and the label set that a job may name.
    """

    max_result_mb = Int(2_000, min=1, help="The largest result a job may hand back, in megabytes.").tag(config=True)

    def __init__(
        self,
        store: Store,
        *,
        clusters: ClusterService,
        datasets: DatasetService | None = None,
        labels: LabelService | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.clusters = clusters
        self._datasets = datasets
        self._labels = labels
        #: Set when there is something new for the supervisor.
        self.changed = threading.Event()

    def submit(self, spec: JobSpec, *, owner: str) -> Job:
        """Write a job down; it is durable when this returns.

        Raises
        ------
        Invalid
            When the job could never run: it asks for more than the cluster has, or names what is not there.
        Conflict
            When the idempotency key was used for another job.
        """
        self._check(spec, owner)
        facts = spec.model_dump(mode="json")
        key = facts.pop("idempotency_key")
        digest = hashlib.sha256(JobSpec(**facts).model_dump_json().encode()).hexdigest()
        row = self._insert_once(facts, key, digest, owner)
        self.changed.set()
        return ledger.to_job(row)

    def get(self, job_id: str, *, owner: str) -> JobDetail:
        """Return a job with its source and attempts."""
        with self.store.read() as tx:
            return ledger.to_detail(self._find(tx, job_id, owner), ledger.attempts_of(tx, job_id))

    def list(self, query: JobQuery, *, owner: str) -> Page[Job]:
        """Return jobs, newest first."""
        table = tables.job
        statement = sa.select(*ledger.LISTED).where(table.c.owner == owner)
        if query.name is not None:
            statement = statement.where(table.c.name == query.name)
        if query.state == "live":
            statement = statement.where(table.c.ended_at.is_(None))
        elif query.state is not None:
            statement = statement.where(table.c.state == query.state.value)
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, table.c.id, query)
        return Page(items=[ledger.to_job(row) for row in rows], next_cursor=cursor)

    def events(self, job_id: str, query: Query, *, owner: str) -> Page[JobEvent]:
        """Return a job's transitions, newest first."""
        table = tables.job_event
        with self.store.read() as tx:
            self._find(tx, job_id, owner)
            rows, cursor = paginate(tx, sa.select(table).where(table.c.job_id == job_id), table.c.id, query)
        return Page(items=[ledger.to_event(row) for row in rows], next_cursor=cursor)

    def checkpoints(self, job_id: str, query: Query, *, owner: str) -> Page[Checkpoint]:
        """Return a job's checkpoints, newest first."""
        with self.store.read() as tx:
            self._find(tx, job_id, owner)
        folder = checkpoints_path(job_id)
        infos = {info.path: info for info in self.store.objects.list(folder)}
        found = sorted(checkpoint.entries(infos.values()), reverse=True)
        start = int(query.cursor) if query.cursor and query.cursor.isdecimal() else 0
        items = [
            Checkpoint(
                step=entry.step,
                attempt=entry.attempt,
                size_bytes=infos[entry.path].size,
                created_at=infos[entry.path].modified_at,
            )
            for entry in found[start : start + query.limit]
        ]
        after = start + query.limit
        return Page(items=items, next_cursor=str(after) if after < len(found) else None)

    def read_log(self, job_id: str, query: LogQuery, *, owner: str) -> LogChunk:
        """Return a piece of a job's log, over all its attempts."""
        with self.store.read() as tx:
            row = self._find(tx, job_id, owner)
            sizes = [attempt["log_size"] for attempt in ledger.attempts_of(tx, job_id)]
        total = sum(sizes)
        offset = min(query.offset, total)
        data = logs.read_bytes(self.store.objects, job_id, sizes, offset, max(query.limit, _MIN_LOG_BYTES))
        ended = JobState(row["state"]).final and offset + len(data) >= total
        text, taken = logs.decode(data, last=ended)
        complete = ended and offset + taken >= total
        return LogChunk(offset=offset, next_offset=offset + taken, text=text, complete=complete)

    def result(self, job_id: str, *, owner: str) -> bytes:
        """Return what a job that succeeded hands back: cloudpickle of ``{name: value}``. Never unpickled here.

        Raises
        ------
        Conflict
            When the job has not succeeded.
        NotFound
            When it was asked to hand back nothing.
        """
        with self.store.read() as tx:
            row = self._find(tx, job_id, owner)
        state = JobState(row["state"])
        if state is not JobState.SUCCEEDED:
            rest = f": {row['message']}" if state.final else "; wait for it to end."
            raise Conflict(f"Job {row['name']!r} has no result: it is {state.value}{rest}", state=state.value)
        if not row["fetch"]:
            raise NotFound(f"Job {row['name']!r} hands back nothing: it was submitted without variables to fetch.")
        path = attempt_path(job_id, row["attempt"], "result.pkl")
        size = self.store.objects.size(path)
        if size > self.max_result_mb * 1_000_000:
            raise Conflict(
                f"The result of job {row['name']!r} has {size / 1e6:,.0f} MB, over the limit of "
                f"{self.max_result_mb:,} MB. Save large things as checkpoints or data sets."
            )
        return self.store.objects.get(path)

    def cancel(self, job_id: str, *, owner: str) -> Job:
        """Cancel a job: at once when it has no process, otherwise its processes are asked to stop first.

        Cancelling what is being cancelled, or was, changes nothing.

        Raises
        ------
        Conflict
            When the job has succeeded or failed already.
        """
        while True:
            with self.store.write() as tx:
                row = self._find(tx, job_id, owner)
                state = JobState(row["state"])
                if state is JobState.CANCELLED or row["want_state"] == JobState.CANCELLED:
                    return ledger.to_job(row)
                if state.final:
                    raise Conflict(f"Job {row['name']!r} has {state.value} already.", state=state.value)
                moved = self._cancel(tx, row, state, owner)
            if moved is not None:
                self.changed.set()
                return ledger.to_job(moved)

    def has_live_jobs(self, owner: str | None = None) -> bool:
        """Whether a user (or anybody) has jobs that are not at their end."""
        table = tables.job
        statement = sa.select(table.c.id).where(table.c.ended_at.is_(None)).limit(1)
        if owner is not None:
            statement = statement.where(table.c.owner == owner)
        with self.store.read() as tx:
            return tx.scalar(statement) is not None

    def _cancel(self, tx: Transaction, row: Row, state: JobState, owner: str) -> Row | None:
        want = JobState.CANCELLED.value
        if state in UNPLACED:
            return ledger.move(
                tx, row, JobState.CANCELLED, actor=owner, message="Cancelled.", reason="cancelled", want_state=want
            )
        if state is JobState.CANCELLING:  # it is being stopped for its time limit; the user's word goes before
            table = tables.job
            return tx.one_or_none(
                sa.update(table)
                .where(table.c.id == row["id"], table.c.version == row["version"])
                .values(want_state=want, version=table.c.version + 1)
                .returning(table)
            )
        return ledger.move(
            tx,
            row,
            JobState.CANCELLING,
            actor=owner,
            message="Cancelling: its processes are asked to stop.",
            reason="cancelled",
            want_state=want,
        )

    def _check(self, spec: JobSpec, owner: str) -> None:
        if wrong := [name for name in spec.fetch if keyword.iskeyword(name)]:
            raise Invalid(f"{wrong[0]!r} is a word of Python's own and can't be a variable to fetch.", field="fetch")
        if len(set(spec.fetch)) != len(spec.fetch):
            raise Invalid("A variable is named twice in what to fetch.", field="fetch")
        if spec.inputs is not None:
            self.store.blobs.require(spec.inputs)
        if spec.dataset_id is not None and self._datasets is not None:
            self._datasets.get(spec.dataset_id, owner=owner)
        if spec.label_set_id is not None and self._labels is not None:
            self._labels.get_set(spec.label_set_id, owner=owner)
        require_possible(spec.resources, self.clusters.capacity(owner))

    def _insert_once(self, facts: dict[str, Any], key: str | None, digest: str, owner: str) -> Row:
        table = tables.job
        with self.store.write() as tx:
            if key is not None:
                tx.lock("job", owner, key)
                known = tx.one_or_none(sa.select(table).where(table.c.owner == owner, table.c.idempotency_key == key))
                if known is not None:
                    if known["spec_digest"] != digest:
                        raise Conflict(
                            f"The key {key!r} belongs to another job, {known['name']!r} ({known['id']}). "
                            "Use a new key, or submit exactly what was submitted then.",
                            job_id=known["id"],
                        )
                    return known
            values = {
                **facts,
                "id": new_id("job"),
                "owner": owner,
                "spec_digest": digest,
                "idempotency_key": key,
                "state": JobState.QUEUED.value,
                "version": 1,
                "attempt": 0,
                "failures": 0,
                "interruptions": 0,
                "message": "Waiting to be started.",
                "log_size": 0,
                "created_at": now(),
            }
            return ledger.insert(tx, values, actor=owner)

    @staticmethod
    def _find(tx: Transaction, job_id: str, owner: str) -> Row:
        row = ledger.find(tx, job_id)
        if row is None or row["owner"] != owner:
            raise NotFound(f"There is no job {job_id!r}.", job_id=job_id)
        return row


def require_possible(asked: Resources, capacity: dict[str, float]) -> None:
    """Raise `Invalid` when a request can never be met. A capacity that does not name a resource has none of it.

    Examples
    --------
    >>> require_possible(Resources(cpus=2), {"CPU": 2.0})
    >>> require_possible(Resources(gpus=1), {"CPU": 2.0})
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: The job asks for 1 GPU, and your cluster has 0. Ask for at most that.
    """
    for name, wanted in demand(asked).items():
        available = capacity.get(name, 0.0)
        if wanted > available:
            raise Invalid(
                f"The job asks for {_amount(name, wanted)}, and your cluster has "
                f"{_amount(name, available, bare=True)}. Ask for at most that.",
                resource=name,
                asked=wanted,
                available=available,
            )


def demand(asked: Resources) -> dict[str, float]:
    """Return a request by Ray's names, without what is not asked for.

    Examples
    --------
    >>> demand(Resources(cpus=1, memory_bytes=10))
    {'CPU': 1.0, 'memory': 10.0}
    """
    amounts = {"CPU": float(asked.cpus), "GPU": float(asked.gpus), "memory": float(asked.memory_bytes or 0)}
    return {name: amount for name, amount in amounts.items() if amount}


def _amount(name: str, value: float, *, bare: bool = False) -> str:
    if name == "memory":
        return f"{value / 1e9:,.1f} GB" + ("" if bare else " of memory")
    return f"{value:,.6g}" if bare else f"{value:,.6g} {name}{'' if value == 1 else 's'}"
