"""The only writer of the tables of jobs: rows to values, and transitions that happen once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jupyter_ext.jobs import tables
from jupyter_ext.jobs.demands import demand
from jupyter_ext.jobs.states import MOVES
from jupyter_ext.jobs.values import Attempt, Job, JobDetail, JobEvent, JobState, Progress, Resources
from jupyter_ext.store import Row, Transaction, now

#: All but what is counted when it is asked for.
_JOB_FIELDS = tuple(name for name in Job.model_fields if name != "position")
_ATTEMPT_FIELDS = tuple(Attempt.model_fields)
_EVENT_FIELDS = tuple(JobEvent.model_fields)
#: What a list shows: everything but the source, which may be long.
LISTED = tuple(tables.job.c[name] for name in _JOB_FIELDS)


def to_job(row: Row, position: int | None = None) -> Job:
    """Return a row of ``job`` as a value."""
    return Job(**{name: row[name] for name in _JOB_FIELDS}, position=position)


def to_detail(row: Row, attempts: list[Row], children: dict[JobState, int], position: int | None) -> JobDetail:
    """Return a row of ``job``, its attempts and the states of its children as a value."""
    fields = {name: row[name] for name in (*_JOB_FIELDS, "source", "environment")}
    told = tuple(to_attempt(one, row["resources"]) for one in attempts)
    return JobDetail(**fields, attempts=told, children=children, position=position)


def to_attempt(row: Row, resources: dict[str, Any]) -> Attempt:
    """Return a row of ``attempt`` as a value; while it runs, with what it has held until now."""
    fields = {name: row[name] for name in _ATTEMPT_FIELDS}
    return Attempt(**fields if row["ended_at"] is not None else fields | held_until_now(row, resources))


def held_until_now(attempt: Row, resources: dict[str, Any]) -> dict[str, float]:
    """Return the CPU- and GPU-seconds of an attempt that runs, or is ending now."""
    begun = attempt["started_at"]
    seconds = (now() - begun).total_seconds() if begun is not None else 0.0
    held = demand(Resources(**resources))
    return {"cpu_seconds": seconds * held.get("CPU", 0.0), "gpu_seconds": seconds * held.get("GPU", 0.0)}


def to_event(row: Row) -> JobEvent:
    """Return a row of ``job_event`` as a value."""
    return JobEvent(**{name: row[name] for name in _EVENT_FIELDS})


def find(tx: Transaction, job_id: str) -> Row | None:
    """Return a job's row."""
    return tx.one_or_none(sa.select(tables.job).where(tables.job.c.id == job_id))


def find_attempt(tx: Transaction, job_id: str, number: int) -> Row | None:
    """Return an attempt's row."""
    table = tables.attempt
    return tx.one_or_none(sa.select(table).where(table.c.job_id == job_id, table.c.number == number))


def attempts_of(tx: Transaction, job_id: str) -> list[Row]:
    """Return a job's attempts, oldest first."""
    table = tables.attempt
    return tx.all(sa.select(table).where(table.c.job_id == job_id).order_by(table.c.number))


def children_of(tx: Transaction, job_id: str) -> list[Row]:
    """Return the children of a sweep, in their order, without their source."""
    table = tables.job
    columns = (*LISTED, table.c.version, table.c.want_state)
    return tx.all(sa.select(*columns).where(table.c.parent_id == job_id).order_by(table.c.id))


def states_of_children(tx: Transaction, job_id: str) -> dict[JobState, int]:
    """Return how many children of a sweep are in which state."""
    table = tables.job
    counts = sa.select(table.c.state, sa.func.count().label("n")).where(table.c.parent_id == job_id)
    return {JobState(row["state"]): row["n"] for row in tx.all(counts.group_by(table.c.state))}


def queue_of(tx: Transaction, owner: str) -> list[str]:
    """Return the ids of a user's queued jobs in the order in which they will start."""
    table = tables.job
    queued = sa.select(table.c.id).where(
        table.c.owner == owner, table.c.state == JobState.QUEUED.value, table.c.kind != "sweep"
    )
    return [row["id"] for row in tx.all(queued.order_by(table.c.priority.desc(), table.c.id))]


def insert(tx: Transaction, values: dict[str, Any], *, actor: str) -> Row:
    """Insert a job that is queued, with its first event."""
    row = tx.one_or_none(sa.insert(tables.job).values(values).returning(tables.job))
    assert row is not None
    _record(tx, row, None, actor)
    return row


def move(
    tx: Transaction,
    row: Row,
    to: JobState,
    *,
    actor: str,
    message: str,
    reason: str | None = None,
    **values: Any,
) -> Row | None:
    """Move a job on: one conditional UPDATE, its event row and its outbox event, in this transaction.

    Returns
    -------
    Row or None
        The new row; None when another writer moved the job since ``row`` was read. Then nothing was written.
    """
    source = JobState(row["state"])
    if to not in MOVES[source]:
        raise RuntimeError(f"a job never goes from {source} to {to}")
    table = tables.job
    if to.final:
        values["ended_at"] = now()
    new = tx.one_or_none(
        sa.update(table)
        .where(table.c.id == row["id"], table.c.version == row["version"], table.c.state == source.value)
        .values(state=to.value, version=table.c.version + 1, message=message, reason=reason, **values)
        .returning(table)
    )
    if new is not None:
        _record(tx, new, source, actor)
    return new


def end_attempt(tx: Transaction, job_id: str, number: int, state: JobState, **values: Any) -> None:
    """Close an attempt."""
    table = tables.attempt
    tx.execute(
        sa.update(table)
        .where(table.c.job_id == job_id, table.c.number == number)
        .values(state=state.value, ended_at=now(), **values)
    )


def log_total(number: int, job_id: str, size: int) -> sa.ColumnElement[Any]:
    """Return the expression of a job's log size when its attempt ``number`` has ``size`` bytes."""
    table = tables.attempt
    before = sa.select(sa.func.coalesce(sa.func.sum(table.c.log_size), 0)).where(
        table.c.job_id == job_id, table.c.number < number
    )
    return before.scalar_subquery() + size


def announce(tx: Transaction, row: Row, what: str) -> None:
    """Write an event to the outbox."""
    progress = Progress.model_validate(row["progress"]) if row["progress"] else None
    tx.emit(
        "job",
        {
            "job_id": row["id"],
            "name": row["name"],
            "owner": row["owner"],
            "what": what,
            "state": row["state"],
            "attempt": row["attempt"],
            "message": row["message"],
            "progress": progress.model_dump(mode="json") if progress else None,
            "log_size": row["log_size"],
        },
    )


def _record(tx: Transaction, row: Row, source: JobState | None, actor: str) -> None:
    tx.execute(
        sa.insert(tables.job_event).values(
            job_id=row["id"],
            attempt=row["attempt"],
            from_state=source.value if source else None,
            to_state=row["state"],
            actor=actor,
            reason=row["reason"],
            message=row["message"],
            at=now(),
        )
    )
    announce(tx, row, "state")
