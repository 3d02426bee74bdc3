"""Jobs that are submitted again and again, by the clock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from jupyter_ext.errors import Conflict, Invalid, JupyterExtError, NotFound
from jupyter_ext.jobs.tables import schedule
from jupyter_ext.jobs.values import Job, JobSpec, Schedule, ScheduleSpec
from jupyter_ext.store import Row, Store, Transaction, now, paginate
from jupyter_ext.values import Page, Query, new_id

_FIELDS = tuple(Schedule.model_fields)


class Schedules:
    """Schedules of jobs.

    A schedule fires once at each of its moments, however many supervisors look, and moments that passed while nobody
    looked fire once together.

    Parameters
    ----------
    submit
        `JobService.submit`, which refuses what could never run.
    """

    def __init__(self, store: Store, submit: Callable[..., Job], log: Any = None) -> None:
        self._store = store
        self._submit = submit
        self._log = log or logging.getLogger(__name__)

    def create(self, spec: ScheduleSpec, *, owner: str) -> Schedule:
        """Make a schedule, which fires from now on.

        Raises
        ------
        Invalid
            The expression or the time zone can't be read.
        Conflict
            There is a schedule of that name.
        """
        moment = now()
        values = {
            "id": new_id("schedule"),
            "owner": owner,
            "name": spec.name,
            "cron": spec.cron,
            "timezone": spec.timezone,
            "spec": spec.job.model_dump(mode="json"),
            "enabled": True,
            "next_at": next_moment(spec.cron, spec.timezone, moment),
            "message": "",
            "created_at": moment,
        }
        with self._store.write() as tx:
            tx.lock("job_schedule", owner, spec.name)
            taken = sa.select(schedule.c.id).where(schedule.c.owner == owner, schedule.c.name == spec.name)
            if tx.scalar(taken) is not None:
                raise Conflict(f"There is a schedule {spec.name!r} already; delete it first, or take another name.")
            row = tx.one_or_none(sa.insert(schedule).values(values).returning(schedule))
        assert row is not None
        return _value(row)

    def list(self, query: Query, *, owner: str) -> Page[Schedule]:
        """Return schedules, newest first."""
        with self._store.read() as tx:
            statement = sa.select(schedule).where(schedule.c.owner == owner)
            rows, cursor = paginate(tx, statement, schedule.c.id, query)
        return Page(items=[_value(row) for row in rows], next_cursor=cursor)

    def change(self, schedule_id: str, *, enabled: bool, owner: str) -> Schedule:
        """Pause a schedule, or let it go on from now; what it missed meanwhile does not fire."""
        with self._store.write() as tx:
            row = _find(tx, schedule_id, owner)
            if row["enabled"] != enabled:
                after = next_moment(row["cron"], row["timezone"], now()) if enabled else None
                changed = sa.update(schedule).where(schedule.c.id == schedule_id)
                new = tx.one_or_none(changed.values(enabled=enabled, next_at=after).returning(schedule))
                row = new or row
        return _value(row)

    def delete(self, schedule_id: str, *, owner: str) -> None:
        """Delete a schedule. The jobs it submitted stay."""
        with self._store.write() as tx:
            _find(tx, schedule_id, owner)
            tx.execute(sa.delete(schedule).where(schedule.c.id == schedule_id))

    def fire(self) -> int:
        """Submit what is due; return how much of it was."""
        moment = now()
        with self._store.read() as tx:
            due = tx.all(sa.select(schedule).where(schedule.c.next_at <= moment).order_by(schedule.c.next_at).limit(50))
        for row in due:
            self._fire(row, moment)
        return len(due)

    def _fire(self, row: Row, moment: datetime) -> None:
        # The job first, under a key made of schedule and moment: cut off between the two, it is the same job again.
        spec = JobSpec.model_validate(row["spec"])
        key = f"{row['id']}@{row['next_at']:%Y%m%dT%H%M%SZ}"
        facts: dict[str, Any] = {"last_at": moment}
        try:
            job = self._submit(spec.model_copy(update={"idempotency_key": key}), owner=row["owner"])
            facts |= {"last_job_id": job.id, "message": f"Submitted {job.name!r}."}
        except (Invalid, NotFound, Conflict) as error:
            facts |= {"message": f"Not submitted: {error.message}"[:2000]}
            self._log.warning("Schedule %s of %s did not submit its job: %s", row["name"], row["owner"], error)
        except JupyterExtError as error:  # the storage is away, say: the next round tries again
            self._log.warning("Schedule %s of %s waits: %s", row["name"], row["owner"], error)
            return
        facts["next_at"] = next_moment(row["cron"], row["timezone"], moment)
        with self._store.write() as tx:
            same = (schedule.c.id == row["id"]) & (schedule.c.next_at == row["next_at"])
            tx.execute(sa.update(schedule).where(same).values(**facts))


def next_moment(cron: str, timezone: str, after: datetime) -> datetime:
    """Return the first moment of a cron expression after another moment.

    Where clocks are put forward, a moment that does not exist comes right after the gap; where they are put back, one
    that exists twice comes once.

    Raises
    ------
    Invalid
        The expression or the time zone can't be read, or there is no such moment.

    Examples
    --------
    >>> next_moment("0 6 * * mon", "UTC", datetime(2026, 1, 1, tzinfo=UTC)).isoformat()
    '2026-01-05T06:00:00+00:00'
    """
    from cronsim import CronSim, CronSimError

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Invalid(f"There is no time zone {timezone!r}; write Europe/Berlin or UTC.", field="timezone") from error
    try:
        return next(CronSim(cron, after.astimezone(zone))).astimezone(UTC)
    except CronSimError as error:
        raise Invalid(
            f"{cron!r} is no schedule: {error}. Write minute, hour, day of the month, month, day of the week: "
            "'0 6 * * mon-fri' is six in the morning of every working day.",
            field="cron",
        ) from error
    except StopIteration as error:
        raise Invalid(f"The schedule {cron!r} never fires.", field="cron") from error


def _find(tx: Transaction, schedule_id: str, owner: str) -> Row:
    row = tx.one_or_none(sa.select(schedule).where(schedule.c.id == schedule_id, schedule.c.owner == owner))
    if row is None:
        raise NotFound(f"There is no schedule {schedule_id!r}.")
    return row


def _value(row: Row) -> Schedule:
    return Schedule(**{name: row[name] for name in _FIELDS})
