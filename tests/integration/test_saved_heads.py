"""Heads that come back with what they knew, wires to them that are cut: what ran goes on, what died is found dead."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest

from jupyter_ext.clusters.ray_jobs import RayJobs
from jupyter_ext.jobs.service import JobService
from jupyter_ext.jobs.supervisor import Supervisor
from jupyter_ext.jobs.values import JobDetail, JobSpec, JobState
from jupyter_ext.store import Store
from support.relay import Relay
from support.saved_head import Connection, SavedHead

OWNER = "ada"

pytestmark = [
    pytest.mark.ray,
    pytest.mark.xdist_group("saved_heads"),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

WALK = """
import time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
seen = saved.state if saved else []
for step in range(len(seen) + 1, 61):
    time.sleep(0.25)
    seen.append(step)
    checkpoint.save(step, seen)
    progress(step, 60)
"""


class Clusters:
    """The one cluster there is."""

    def __init__(self, head: SavedHead) -> None:
        self._head = head

    def connection(self, owner: str) -> Any:
        return self._head.connection

    def ensure(self, owner: str) -> Any:
        return self._head.connection

    def capacity(self, owner: str) -> dict[str, float]:
        return {"CPU": 2.0}

    def fits(self, owner: str, bundle: dict[str, float]) -> bool:
        return True

    def want(self, owner: str, bundles: list[dict[str, float]]) -> None:
        pass

    def environment_to_tell(self, owner: str, incarnation: str) -> None:
        pass


@pytest.fixture(scope="module")
def head() -> Iterator[SavedHead]:
    scratch = Path(tempfile.mkdtemp(prefix="saved-"))
    running = SavedHead(scratch)
    try:
        running.start()
        running.wait(1)
        running.start_worker()
        running.wait(2)
        yield running
    finally:
        running.close()
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def jobs(store: Store, head: SavedHead) -> Iterator[JobService]:
    service = JobService(store, clusters=Clusters(head))  # type: ignore[arg-type]
    supervisor = Supervisor(service, poll_s=0.5, lost_after_s=10.0)
    supervisor.start()
    yield service
    supervisor.stop()


def until(jobs: JobService, job_id: str, reached: Callable[[JobDetail], bool], timeout_s: float = 150.0) -> JobDetail:
    deadline = time.monotonic() + timeout_s
    while not reached(job := jobs.get(job_id, owner=OWNER)):
        assert time.monotonic() < deadline, f"still {job.state}: {job.message}"
        time.sleep(0.1)
    return job


def driver(job_id: str) -> psutil.Process:
    for process in psutil.process_iter(["cmdline", "environ"]):
        runs = "jupyter_ext.jobs.runner" in (process.info["cmdline"] or [])
        if runs and job_id in (process.info["environ"] or {}).get("JUPYTER_EXT_JOB", ""):
            return process
    raise AssertionError(f"no process runs {job_id}")


@pytest.mark.parametrize("driver_dies", [False, True])
def test_the_head_is_killed_and_comes_back(head: SavedHead, jobs: JobService, driver_dies: bool) -> None:
    job_id = jobs.submit(JobSpec(name="walk", source=WALK, fetch=("seen",)), owner=OWNER).id
    until(jobs, job_id, lambda job: job.progress is not None and job.progress.step >= 4)
    head.kill()
    if driver_dies:
        driver(job_id).kill()
    until(jobs, job_id, lambda job: "can't be reached" in job.message)
    head.start()
    head.wait(2)
    job = until(jobs, job_id, lambda job: job.state.final)
    assert job.state is JobState.SUCCEEDED, job.message
    assert cloudpickle.loads(jobs.result(job_id, owner=OWNER))["seen"] == list(range(1, 61))
    # A driver beside a head outlives it; nobody started a second one.
    assert job.attempt == (2 if driver_dies else 1)
    assert all(attempt.resumed_step for attempt in job.attempts[1:])


@pytest.fixture
def relay(head: SavedHead, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """What the supervisor says to the head goes over this wire."""
    reached = head.connection.jobs
    wire = Relay(int(reached.url.rpartition(":")[2]))
    through = RayJobs(f"http://127.0.0.1:{wire.port}", reached._token, timeout=2.0)
    monkeypatch.setattr(head, "connection", Connection(through))
    yield wire
    through.close()
    wire.close()


def test_a_job_ends_well_behind_a_cut_network(relay: Relay, jobs: JobService) -> None:
    job_id = jobs.submit(JobSpec(name="walk", source=WALK, fetch=("seen",)), owner=OWNER).id
    until(jobs, job_id, lambda job: job.progress is not None and job.progress.step >= 4)
    relay.cut(silent=True)
    until(jobs, job_id, lambda job: "can't be reached" in job.message)
    job = until(jobs, job_id, lambda job: job.state.final)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), job.message
    assert cloudpickle.loads(jobs.result(job_id, owner=OWNER))["seen"] == list(range(1, 61))


def test_what_dies_behind_a_cut_network_is_given_up_when_it_is_mended(relay: Relay, jobs: JobService) -> None:
    job_id = jobs.submit(JobSpec(name="walk", source=WALK, fetch=("seen",)), owner=OWNER).id
    until(jobs, job_id, lambda job: job.progress is not None and job.progress.step >= 4)
    relay.cut(silent=False)
    driver(job_id).kill()
    # Longer than the silence after which a job is given up that its cluster has lost.
    time.sleep(14)
    job = jobs.get(job_id, owner=OWNER)
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    assert "can't be reached" in job.message
    relay.mend()
    job = until(jobs, job_id, lambda job: job.state.final)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2), job.message
    assert (job.attempts[1].resumed_step or 0) >= 4
    assert cloudpickle.loads(jobs.result(job_id, owner=OWNER))["seen"] == list(range(1, 61))
