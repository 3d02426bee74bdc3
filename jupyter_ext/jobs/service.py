"""Jobs: the verbs. Everything here is a short transaction; what takes time is the supervisor's."""

from __future__ import annotations

import hashlib
import json
import keyword
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from traitlets import Int
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs import checkpoint, ledger, logs, tables
from jupyter_ext.jobs.demands import bundles, require_possible
from jupyter_ext.jobs.protocol import attempt_path, checkpoints_path
from jupyter_ext.jobs.schedules import Schedules
from jupyter_ext.jobs.states import UNPLACED
from jupyter_ext.jobs.values import (
    Checkpoint,
    Job,
    JobDetail,
    JobEvent,
    JobQuery,
    JobSpec,
    JobState,
    JobUsage,
    LogChunk,
    LogQuery,
    UsageQuery,
)
from jupyter_ext.store import Row, Store, Transaction, now, paginate
from jupyter_ext.values import Page, Query, new_id

if TYPE_CHECKING:
    from jupyter_ext.clusters.service import ClusterService
    from jupyter_ext.datasets.service import DatasetService
    from jupyter_ext.labeling.service import LabelService

#: A piece of a log holds at least one whole character, however small a piece is asked for.
_MIN_LOG_BYTES = 4
#: What usage covers when nobody says since when.
_USAGE_DAYS = 30


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
        self.schedules = Schedules(store, self.submit, self.log)

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
        key, fingerprint = facts.pop("idempotency_key"), facts.pop("fingerprint")
        # What the notebook has imported meanwhile makes no other job of the same cell, nor does another kernel.
        asked = JobSpec(**{**facts, "environment": {}, "inputs": fingerprint or spec.inputs})
        digest = hashlib.sha256(asked.model_dump_json(exclude={"fingerprint"}).encode()).hexdigest()
        row = self._insert_once(facts, key, digest, owner)
        self.changed.set()
        return ledger.to_job(row)

    def get(self, job_id: str, *, owner: str) -> JobDetail:
        """Return a job with its source and attempts."""
        with self.store.read() as tx:
            row = self._find(tx, job_id, owner)
            children = ledger.states_of_children(tx, job_id) if row["kind"] == "sweep" else {}
            position = _positions(tx, [row], owner).get(job_id)
            return ledger.to_detail(row, ledger.attempts_of(tx, job_id), children, position)

    def list(self, query: JobQuery, *, owner: str) -> Page[Job]:
        """Return jobs, newest first."""
        table = tables.job
        statement = sa.select(*ledger.LISTED).where(table.c.owner == owner, table.c.parent_id == query.parent)
        if query.name is not None:
            statement = statement.where(table.c.name == query.name)
        if query.state == "live":
            statement = statement.where(table.c.ended_at.is_(None))
        elif query.state is not None:
            statement = statement.where(table.c.state == query.state.value)
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, table.c.id, query)
            positions = _positions(tx, rows, owner)
        return Page(items=[ledger.to_job(row, positions.get(row["id"])) for row in rows], next_cursor=cursor)

    def usage(self, query: UsageQuery, *, owner: str) -> JobUsage:
        """Return what a user's jobs held of their clusters in the attempts that began since a moment, up to now."""
        since = query.since or now() - timedelta(days=_USAGE_DAYS)
        job, attempt = tables.job, tables.attempt
        sums = sa.select(
            sa.func.count(sa.distinct(attempt.c.job_id)).label("jobs"),
            sa.func.count().label("attempts"),
            sa.func.coalesce(sa.func.sum(attempt.c.cpu_seconds), 0.0).label("cpu_seconds"),
            sa.func.coalesce(sa.func.sum(attempt.c.gpu_seconds), 0.0).label("gpu_seconds"),
            sa.func.max(attempt.c.peak_memory_bytes).label("peak_memory_bytes"),
        )
        mine = sums.join(job, job.c.id == attempt.c.job_id).where(job.c.owner == owner, attempt.c.created_at >= since)
        running = (
            sa.select(attempt.c.started_at, attempt.c.ended_at, job.c.resources)
            .join(job, job.c.id == attempt.c.job_id)
            .where(job.c.owner == owner, job.c.ended_at.is_(None), attempt.c.created_at >= since)
            .where(attempt.c.ended_at.is_(None))
        )
        with self.store.read() as tx:
            (row,) = tx.all(mine)
            held = [ledger.held_until_now(one, one["resources"]) for one in tx.all(running)]
        sums_now = {name: row[name] + sum(one[name] for one in held) for name in ("cpu_seconds", "gpu_seconds")}
        return JobUsage(owner=owner, since=since, **{**row, **sums_now})

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
        return self._read_back(attempt_path(job_id, row["attempt"], "result.pkl"), f"result of job {row['name']!r}")

    def notebook(self, job_id: str, *, owner: str) -> bytes:
        """Return the notebook of a job as its last attempt that got so far left it, with outputs.

        Raises
        ------
        NotFound
            When the job runs no notebook, or none of its cells was run yet.
        """
        with self.store.read() as tx:
            row = self._find(tx, job_id, owner)
        if row["kind"] != "notebook":
            raise NotFound(f"Job {row['name']!r} runs no notebook.")
        for number in range(row["attempt"], 0, -1):
            path = attempt_path(job_id, number, "notebook.ipynb")
            if self.store.objects.exists(path):
                return self._read_back(path, f"notebook of job {row['name']!r}")
        raise NotFound(f"Job {row['name']!r} has run no cell yet: {row['message']}")

    def cancel(self, job_id: str, *, owner: str) -> Job:
        """Cancel a job: at once when it has no process, otherwise its processes are asked to stop first.

        Cancelling what is being cancelled, or was, changes nothing. With a sweep go its children.

        Raises
        ------
        Conflict
            When the job has succeeded or failed already.
        """
        return self._end_early(job_id, JobState.CANCELLED, owner)

    def pause(self, job_id: str, *, owner: str) -> Job:
        """Stop a job until it is resumed; it goes on from its last checkpoint then. With a sweep go its children.

        Raises
        ------
        Conflict
            When the job is at its end, or being cancelled.
        """
        return self._end_early(job_id, JobState.PAUSED, owner)

    def resume(self, job_id: str, *, owner: str) -> Job:
        """Put a paused job back into the queue. Resuming what is not paused changes nothing.

        Raises
        ------
        Conflict
            When the job is at its end, or is still being stopped.
        """
        with self.store.write() as tx:
            row = self._find(tx, job_id, owner)
            state = JobState(row["state"])
            if state.final:
                raise Conflict(f"Job {row['name']!r} has {state.value} already.", state=state.value)
            if state is JobState.CANCELLING:
                raise Conflict(f"Job {row['name']!r} is still being stopped; try again in a moment.", state=state.value)
            for paused in (row, *ledger.children_of(tx, job_id)):
                if paused["state"] == JobState.PAUSED:
                    new = ledger.move(
                        tx, paused, JobState.QUEUED, actor=owner, message="Waiting to go on.", want_state=None
                    )
                    row = new if new is not None and paused is row else row
        self.changed.set()
        return ledger.to_job(row)

    def has_live_jobs(self, owner: str | None = None) -> bool:
        """Whether a user (or anybody) has jobs that need a cluster: not at their end, and not paused."""
        table = tables.job
        working = (table.c.ended_at.is_(None)) & (table.c.state != JobState.PAUSED.value)
        statement = sa.select(table.c.id).where(working).limit(1)
        if owner is not None:
            statement = statement.where(table.c.owner == owner)
        with self.store.read() as tx:
            return tx.scalar(statement) is not None

    def _end_early(self, job_id: str, want: JobState, owner: str) -> Job:
        with self.store.write() as tx:
            row = self._find(tx, job_id, owner)
            state = JobState(row["state"])
            if state.final and state is not want:
                raise Conflict(f"Job {row['name']!r} has {state.value} already.", state=state.value)
            if want is JobState.PAUSED and state is JobState.CANCELLING and row["want_state"] != want:
                raise Conflict(f"Job {row['name']!r} is being stopped for good.", state=state.value)
            row = self._stop(tx, row, want, owner)
            for child in ledger.children_of(tx, job_id):
                self._stop(tx, child, want, owner)
        self.changed.set()
        return ledger.to_job(row)

    @staticmethod
    def _stop(tx: Transaction, row: Row, want: JobState, owner: str) -> Row:
        """Move a job towards ``want``, whatever moves it meanwhile; return its row."""
        table = tables.job
        while True:
            state = JobState(row["state"])
            if state.final or state is want or row["want_state"] == want:
                return row
            cancel = want is JobState.CANCELLED
            new: Row | None
            if state in UNPLACED:
                message = "Cancelled." if cancel else "Paused."
                reason = want.value if cancel else None
                new = ledger.move(tx, row, want, actor=owner, message=message, reason=reason, want_state=want.value)
            elif state is JobState.CANCELLING:
                if not cancel:
                    return row
                # It is being stopped for its time limit, or to be paused; the user's last word goes before.
                same = (table.c.id == row["id"]) & (table.c.version == row["version"])
                changed = sa.update(table).where(same).values(want_state=want.value, version=table.c.version + 1)
                new = tx.one_or_none(changed.returning(table))
            else:
                doing = "Cancelling" if cancel else "Pausing"
                message = f"{doing}: its processes are asked to stop."
                new = ledger.move(
                    tx, row, JobState.CANCELLING, actor=owner, message=message, reason=want.value, want_state=want.value
                )
            if new is not None:
                return new
            found = ledger.find(tx, row["id"])
            assert found is not None
            row = found

    def _read_back(self, path: str, what: str) -> bytes:
        size = self.store.objects.size(path)
        if size > self.max_result_mb * 1_000_000:
            raise Conflict(
                f"The {what} has {size / 1e6:,.0f} MB, over the limit of {self.max_result_mb:,} MB. "
                "Save large things as checkpoints or data sets."
            )
        return self.store.objects.get(path)

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
        with self.store.read() as tx:
            for other in spec.after:
                self._find(tx, other, owner)
        for values in (spec.parameters, *spec.sweep):
            if wrong := [name for name in values if keyword.iskeyword(name)]:
                raise Invalid(f"{wrong[0]!r} is a word of Python's own and can't be a parameter.", field="parameters")
        if spec.kind == "notebook":
            _require_notebook(spec.source)
        require_possible(spec.resources, self.clusters.capacity(owner))
        one = bundles(spec.resources)[0]
        if not any(name.startswith("accelerator_type:") for name in one) and not self.clusters.fits(owner, one):
            raise Invalid("No node of your cluster can ever hold that at once. Ask for less, or split it with workers.")

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
            sets = facts.pop("sweep")
            common = {
                **facts,
                "owner": owner,
                "spec_digest": digest,
                "state": JobState.QUEUED.value,
                "version": 1,
                "attempt": 0,
                "failures": 0,
                "interruptions": 0,
                "message": "Waiting to be started.",
                "log_size": 0,
                "tracked": 0,
                "run": False,
                "created_at": now(),
            }
            own = {"id": new_id("job"), "idempotency_key": key}
            if not sets:
                return ledger.insert(tx, {**common, **own}, actor=owner)
            row = ledger.insert(tx, {**common, **own, "kind": "sweep", "fetch": [], "tracked": None}, actor=owner)
            for number, parameters in enumerate(sets, start=1):
                merged = {**facts["parameters"], **parameters}
                child = {"id": new_id("job"), "parent_id": row["id"], "parameters": merged}
                name = f"{facts['name'][:120]}-{number}"
                ledger.insert(tx, {**common, **child, "name": name}, actor=owner)
            return row

    @staticmethod
    def _find(tx: Transaction, job_id: str, owner: str) -> Row:
        row = ledger.find(tx, job_id)
        if row is None or row["owner"] != owner:
            raise NotFound(f"There is no job {job_id!r}.", job_id=job_id)
        return row


def _positions(tx: Transaction, rows: list[Row], owner: str) -> dict[str, int]:
    """Return the places in the queue, from 1, if any of the jobs waits there."""
    if not any(row["state"] == JobState.QUEUED for row in rows):
        return {}
    return {job_id: place for place, job_id in enumerate(ledger.queue_of(tx, owner), start=1)}


def _require_notebook(source: str) -> None:
    try:
        cells = json.loads(source)["cells"]
    except (ValueError, TypeError, KeyError) as error:
        raise Invalid("The source is no notebook: it must be the JSON of an .ipynb file.", field="source") from error
    if not any(isinstance(cell, dict) and cell.get("cell_type") == "code" for cell in cells):
        raise Invalid("The notebook has no code cell.", field="source")
