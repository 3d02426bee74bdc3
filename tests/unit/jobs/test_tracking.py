from __future__ import annotations

import pytest

from jupyter_ext.errors import Unavailable
from jupyter_ext.jobs.tracking import Point, Tracking
from jupyter_ext.jobs.values import Job, JobState
from unit.jobs.conftest import Driver

EPOCHS = """
from jupyter_ext.jobs import progress
for epoch in range(1, 4):
    progress(epoch, 3, loss=1 / epoch)
"""


class Kept:
    """Keeps what it is told, when it can."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.ends: list[JobState] = []
        self.away = False

    def track(self, job: Job, points: list[Point], at_ms: int) -> None:
        if self.away:
            raise Unavailable("MLflow is away")
        self.points += points
        if job.ended_at is not None:
            self.ends.append(job.state)


def drain(tracking: Tracking) -> None:
    while tracking.tick():
        pass


def test_every_step_is_handed_on_once_and_the_run_ends_with_the_job(driver: Driver) -> None:
    kept = Kept()
    driver.finish(driver.submit(EPOCHS))
    drain(Tracking(driver.jobs.store, kept))
    assert [(point.step, point.metrics) for point in kept.points] == [
        (1, {"loss": 1.0}),
        (2, {"loss": 0.5}),
        (3, {"loss": 0.333333}),
    ]
    assert kept.ends == [JobState.SUCCEEDED]
    drain(Tracking(driver.jobs.store, kept))
    assert len(kept.points) == 3


def test_metrics_come_while_the_job_runs(driver: Driver) -> None:
    kept = Kept()
    tracking = Tracking(driver.jobs.store, kept)
    source = "import time\nfrom jupyter_ext.jobs import progress\nprogress(1, 2, loss=0.5)\ntime.sleep(60)"
    job_id = driver.submit(source)
    driver.until(job_id, lambda job: job.progress is not None)
    tracking.tick()
    assert kept.points == [Point(1, {"loss": 0.5})]
    assert kept.ends == []
    driver.jobs.cancel(job_id, owner="ada")
    driver.finish(job_id)
    drain(tracking)
    assert kept.ends == [JobState.CANCELLED]
    assert len(kept.points) == 1


def test_a_job_without_metrics_leaves_no_run(driver: Driver) -> None:
    kept = Kept()
    driver.finish(driver.submit("print('hello')"))
    drain(Tracking(driver.jobs.store, kept))
    assert (kept.points, kept.ends) == ([], [])


def test_what_can_not_be_handed_on_now_is_handed_on_later(driver: Driver) -> None:
    kept = Kept()
    kept.away = True
    tracking = Tracking(driver.jobs.store, kept)
    driver.finish(driver.submit(EPOCHS))
    with pytest.raises(Unavailable):
        tracking.tick()
    kept.away = False
    drain(tracking)
    assert len(kept.points) == 3


def test_the_metrics_of_all_attempts_count(driver: Driver) -> None:
    kept = Kept()
    source = EPOCHS + "\nfrom jupyter_ext.jobs import checkpoint\nif checkpoint.latest() is None:\n"
    source += "    checkpoint.save(3, 3)\n    raise ValueError\n"
    driver.finish(driver.submit(source, retries=1))
    drain(Tracking(driver.jobs.store, kept))
    assert [point.step for point in kept.points] == [1, 2, 3, 1, 2, 3]
    assert kept.ends == [JobState.SUCCEEDED]
