from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jupyter_ext.client import _job_views as views
from jupyter_ext.client._job import Job as Handle
from jupyter_ext.client._job import JobList
from jupyter_ext.client._schedules import Schedule, ScheduleList
from jupyter_ext.client._watching import LineView
from jupyter_ext.client.jobs import Usage
from jupyter_ext.jobs.values import Attempt, Job, JobDetail, JobState, Progress, Resources

NOW = datetime.now(UTC)


def job(as_: type[Job] = Job, **fields: Any) -> Any:
    more = {"source": "1"} if as_ is JobDetail else {}
    common = {"id": "job-1", "name": "train", "owner": "ada", "state": "running", "attempt": 1}
    return as_(**{**common, "resources": Resources(), "created_at": NOW, **more, **fields})


def attempt(number: int, **fields: Any) -> Attempt:
    return Attempt(
        **{"number": number, "submission_id": f"a{number}", "state": "interrupted", "started_at": NOW, **fields}
    )


LOST = attempt(1, last_step=1214, durable_step=1200, message="Attempt 1 was interrupted: <its node> went away.")
FAILED = attempt(
    2, state="failed", resumed_step=1200, last_step=1210, message="Attempt 2 failed: no room. Trying again."
)


def test_attempts_are_told_in_plain_words() -> None:
    third = attempt(3, state="running", resumed_step=1213, message="Attempt 3 resumed at step 1213; 1 step redone.")
    assert views.story([LOST, FAILED, third]) == [
        "Attempt 1 was interrupted: <its node> went away.",
        "Attempt 2 resumed at step 1200; 14 steps redone.",
        "Attempt 2 failed: no room. Trying again.",
        "Attempt 3 resumed at step 1213; 1 step redone.",
    ]
    assert views.story([LOST, attempt(2, state="running")])[-1] == "Attempt 2 began from nothing."
    assert views.story([LOST]) == []
    assert views.story([]) == []


def test_a_card_tells_what_happened_once() -> None:
    third = attempt(3, state="running", resumed_step=1213, cpu_seconds=192.0, peak_memory_bytes=310_000_000)
    message = "Attempt 3 resumed at step 1213; 1 step redone."
    card = views.card(job(JobDetail, attempt=3, attempts=(LOST, FAILED, third), message=message, priority=5))
    assert card.count(message) == 1
    assert "&lt;its node&gt;" in card
    for fact in ("attempt 3", "priority 5", "3 min of CPU", "peak 310 MB", "last checkpoint: step 1200"):
        assert fact in card


def test_a_long_story_is_cut_at_its_beginning() -> None:
    attempts = [attempt(number, message=f"Attempt {number} was interrupted.") for number in range(1, 20)]
    card = views.card(job(JobDetail, attempt=19, attempts=tuple(attempts), message="Running."))
    assert "… 13 more …" in card
    assert "Attempt 18 was" in card
    assert "Attempt 3 was" not in card


def test_a_place_in_the_queue_is_told() -> None:
    waiting = job(state="queued", position=2, message="Waiting for CPU: 4 of 4 in use, 1 asked for.")
    assert views.line(waiting) == "Job('train', queued, place 2: Waiting for CPU: 4 of 4 in use, 1 asked for.)"
    assert "queued, place 2" in views.lines([waiting])
    assert "queued, place 2" in views.table([waiting])
    assert "Waiting for CPU" in views.card(waiting)


def test_a_sweep_shows_its_jobs() -> None:
    done = Progress(step=3, total=3, metrics={"loss": 0.12345}, at=NOW)
    children = [job(name=f"train-{n}", parameters={"lr": n / 10}, progress=done) for n in range(25)]
    card = views.card(job(JobDetail, kind="sweep"), "", children)
    assert "train-3" in card
    assert "lr=0.3" in card
    assert "3/3 loss=0.1235" in card
    assert "and 5 more" in card
    assert "train-21" not in card
    assert views.family([]) == ""


def test_a_paused_job_is_told_apart() -> None:
    assert "paused</span>" in views.card(job(JobDetail, state="paused", message="Paused; it goes on from step 3."))


def test_schedules_are_told_in_their_own_time() -> None:
    common = {"id": "s-1", "name": "nightly", "owner": "ada", "cron": "0 6 * * *", "created_at": NOW}
    six = datetime(2026, 7, 1, 4, tzinfo=UTC)
    due = Schedule(**common, timezone="Europe/Berlin", enabled=True, next_at=six, message="Submitted 'x'.")
    still = Schedule(**common, timezone="UTC", enabled=False)
    assert repr(due) == "nightly  0 6 * * * (Europe/Berlin)  next Wed 01 Jul 06:00  Submitted 'x'."
    assert "paused" in ScheduleList([due, still])._repr_html_()
    assert repr(ScheduleList()) == "No schedules."
    assert "No schedules" in ScheduleList()._repr_html_()


def test_usage_is_a_sentence() -> None:
    common = {"owner": "ada", "since": NOW - timedelta(days=7), "jobs": 1, "attempts": 1200}
    used = Usage(**common, cpu_seconds=7200.0, gpu_seconds=90.0, peak_memory_bytes=2_500_000_000)
    assert ": 1 job in 1,200 attempts held 2 h of CPU, 2 min of GPU; at most 2.5 GB of memory at a time." in repr(used)
    assert "at a time" not in repr(Usage(**common, cpu_seconds=0.0, gpu_seconds=0.0))


def test_lists_are_tables() -> None:
    class Nobody:
        transport = None

    listed = JobList([Handle(Nobody(), job()), Handle(Nobody(), job(name="other"))])  # type: ignore[arg-type]
    assert [line.split()[0] for line in repr(listed).splitlines()] == ["train", "other"]
    assert listed._repr_html_().count("<tr>") == 3
    assert repr(JobList()) == "No jobs."
    assert "No jobs" in JobList()._repr_html_()


def test_a_terminal_hears_what_is_new(capsys: Any) -> None:
    view = LineView()
    running = job(JobDetail, message="Running.")
    view.update(running, "one\n")
    view.update(running, "two")
    view.update(job(JobDetail, state=JobState.SUCCEEDED), "")
    assert capsys.readouterr().out == "one\n[job] train: running, Running.\ntwo\n[job] train: succeeded\n"
