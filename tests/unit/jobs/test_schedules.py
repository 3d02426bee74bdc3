from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs.schedules import next_moment
from jupyter_ext.jobs.service import JobService
from jupyter_ext.jobs.tables import schedule
from jupyter_ext.jobs.values import JobQuery, JobSpec, Resources, ScheduleSpec
from jupyter_ext.store import now
from jupyter_ext.values import Query

OWNER = "ada"
EVERY_MINUTE = ScheduleSpec(name="nightly", cron="* * * * *", job=JobSpec(name="train", source="x = 1"))


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of the schedules: with the next minute, what comes every minute is due again."""
    moment = now()
    monkeypatch.setattr("jupyter_ext.jobs.schedules.now", lambda: moment)


def make_due(jobs: JobService, schedule_id: str, minutes: int = 3) -> None:
    with jobs.store.write() as tx:
        past = now().replace(microsecond=0) - timedelta(minutes=minutes)
        tx.execute(sa.update(schedule).where(schedule.c.id == schedule_id).values(next_at=past))


def submitted(jobs: JobService) -> list[str]:
    return [job.name for job in jobs.list(JobQuery(), owner=OWNER).items]


def test_a_schedule_fires_once_for_all_that_it_missed(jobs: JobService) -> None:
    made = jobs.schedules.create(EVERY_MINUTE, owner=OWNER)
    assert made.next_at is not None
    assert jobs.schedules.fire() == 0
    make_due(jobs, made.id)
    assert jobs.schedules.fire() == 1
    assert jobs.schedules.fire() == 0
    assert submitted(jobs) == ["train"]
    (found,) = jobs.schedules.list(Query(), owner=OWNER).items
    assert found.next_at is not None
    assert found.next_at > now() - timedelta(seconds=1)
    assert found.message == "Submitted 'train'."
    assert found.last_job_id == jobs.list(JobQuery(), owner=OWNER).items[0].id


def test_two_that_look_at_once_submit_once(jobs: JobService) -> None:
    made = jobs.schedules.create(EVERY_MINUTE, owner=OWNER)
    make_due(jobs, made.id)
    with jobs.store.read() as tx:
        (row,) = tx.all(sa.select(schedule))
    # Both have read the same row; the second comes when the first is through.
    jobs.schedules._fire(row, now())
    jobs.schedules._fire(row, now())
    assert submitted(jobs) == ["train"]


def test_paused_schedules_rest_and_do_not_catch_up(jobs: JobService) -> None:
    made = jobs.schedules.create(EVERY_MINUTE, owner=OWNER)
    assert jobs.schedules.change(made.id, enabled=False, owner=OWNER).next_at is None
    assert jobs.schedules.fire() == 0
    again = jobs.schedules.change(made.id, enabled=True, owner=OWNER)
    assert again.next_at is not None
    assert again.next_at > now() - timedelta(seconds=1)


def test_what_can_no_longer_run_is_told_and_the_schedule_goes_on(jobs: JobService) -> None:
    spec = JobSpec(name="big", source="x = 1", resources=Resources(cpus=99))
    made = jobs.schedules.create(EVERY_MINUTE.model_copy(update={"job": spec}), owner=OWNER)
    make_due(jobs, made.id)
    jobs.schedules.fire()
    (found,) = jobs.schedules.list(Query(), owner=OWNER).items
    assert found.message.startswith("Not submitted: The job asks for 99 CPUs")
    assert found.next_at is not None
    assert submitted(jobs) == []


def test_names_owners_and_deletion(jobs: JobService) -> None:
    made = jobs.schedules.create(EVERY_MINUTE, owner=OWNER)
    with pytest.raises(Conflict, match="already"):
        jobs.schedules.create(EVERY_MINUTE, owner=OWNER)
    jobs.schedules.create(EVERY_MINUTE, owner="bob")
    with pytest.raises(NotFound):
        jobs.schedules.delete(made.id, owner="bob")
    jobs.schedules.delete(made.id, owner=OWNER)
    assert jobs.schedules.list(Query(), owner=OWNER).items == []


@pytest.mark.parametrize(
    ("cron", "timezone", "told"),
    [
        ("every day", "UTC", "is no schedule"),
        ("61 * * * *", "UTC", "is no schedule"),
        ("0 6 * * *", "Europe/Atlantis", "There is no time zone"),
        ("0 0 30 2 *", "UTC", "is no schedule|never fires"),
    ],
)
def test_what_can_not_be_read_is_told(jobs: JobService, cron: str, timezone: str, told: str) -> None:
    spec = EVERY_MINUTE.model_copy(update={"cron": cron, "timezone": timezone})
    with pytest.raises(Invalid, match=told):
        jobs.schedules.create(spec, owner=OWNER)


def test_clocks_are_put_forward_and_back() -> None:
    spring = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
    assert next_moment("30 2 * * *", "Europe/Berlin", spring) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    autumn = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)
    first = next_moment("30 2 * * *", "Europe/Berlin", autumn)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_moment("30 2 * * *", "Europe/Berlin", first) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
