"""Ray Train in jobs on a real Ray head: workers and drivers are killed, and the training goes on."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import psutil
import pytest

from jupyter_ext.jobs.values import JobDetail, JobQuery, JobSpec, JobState, LogQuery, Resources
from jupyter_ext.workspace import Workspace

OWNER = "ada"
STEPS = 12

pytestmark = pytest.mark.ray

TRAIN = (Path(__file__).parents[2] / "examples" / "jobs" / "ray_train_numpy.py").read_text()


class Shop:
    """A workspace with its background work."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def submit(self) -> str:
        asked = Resources(workers=2, cpus=0.5)
        spec = JobSpec(name="train", source=TRAIN, fetch=("states",), resources=asked)
        return self.workspace.jobs.submit(spec, owner=OWNER).id

    def until(self, job_id: str, reached: Callable[[JobDetail], bool], timeout_s: float = 150.0) -> JobDetail:
        deadline = time.monotonic() + timeout_s
        while not reached(job := self.workspace.jobs.get(job_id, owner=OWNER)):
            waits = time.monotonic() < deadline and not job.state.final
            assert waits, f"{job.state}: {job.message}\n{self.log(job_id)}"
            time.sleep(0.05)
        return job

    def log(self, job_id: str) -> str:
        return self.workspace.jobs.read_log(job_id, LogQuery(limit=1_000_000), owner=OWNER).text

    def driver(self, job_id: str) -> psutil.Process:
        for process in psutil.process_iter(["cmdline", "environ"]):
            runs = "jupyter_ext.jobs.runner" in (process.info["cmdline"] or [])
            if runs and job_id in (process.info["environ"] or {}).get("JUPYTER_EXT_JOB", ""):
                return process
        raise AssertionError(f"no process runs {job_id}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(sqlite_template, home / "workspace.db")
    workspace = Workspace(home=str(home), user=OWNER, multi_user=False)
    workspace.config.LocalBackend.num_cpus = 2
    workspace.open()
    workspace.start(lambda noun, data: None)
    try:
        yield Shop(workspace)
    finally:
        for job in workspace.jobs.list(JobQuery(state="live"), owner=OWNER).items:
            workspace.jobs.cancel(job.id, owner=OWNER)
        workspace.supervisor.stop()
        workspace.clusters.stop(OWNER)
        workspace.close()


def reached(step: int) -> Callable[[JobDetail], bool]:
    return lambda job: bool(job.attempts) and (job.attempts[-1].durable_step or -1) >= step


def succeeded(job: JobDetail) -> bool:
    return job.state is JobState.SUCCEEDED


def check_result(shop: Shop, job_id: str) -> None:
    states = cloudpickle.loads(shop.workspace.jobs.result(job_id, owner=OWNER))["states"]
    assert [state["history"] for state in states] == [list(range(STEPS))] * 2
    assert [state["weights"] for state in states] == [undisturbed(0), undisturbed(1)]


def undisturbed(rank: int) -> list[float]:
    """What a worker ends with when nothing happens to it."""
    import numpy as np

    x = np.arange(rank, 100, 2) / 100
    weights = np.zeros(2)
    for _ in range(STEPS):
        error = weights[0] * x + weights[1] - (3 * x + 1)
        weights -= 0.5 * np.array([(error * x).mean(), error.mean()])
    return list(weights)


def test_a_killed_worker_goes_on_within_the_attempt(shop: Shop, tell: Callable[[str], None]) -> None:
    job_id = shop.submit()
    shop.until(job_id, reached(3))
    pid = re.search(r"pid=(\d+)\) world_rank=1", shop.log(job_id))
    assert pid is not None, shop.log(job_id)
    psutil.Process(int(pid[1])).send_signal(signal.SIGKILL)
    killed = time.monotonic()
    shop.until(job_id, lambda job: "goes on after step" in shop.log(job_id))
    tell(f"after a killed worker: {time.monotonic() - killed:.1f} s until it went on")
    job = shop.until(job_id, succeeded)
    assert job.attempt == 1
    check_result(shop, job_id)
    assert job.progress is not None
    assert (job.progress.step, job.progress.total) == (STEPS - 1, STEPS)
    assert 0 < job.progress.metrics["loss"] < 1


def test_a_killed_driver_goes_on_with_the_next_attempt(shop: Shop, tell: Callable[[str], None]) -> None:
    job_id = shop.submit()
    shop.until(job_id, reached(3))
    shop.driver(job_id).send_signal(signal.SIGKILL)
    killed = time.monotonic()
    job = shop.until(job_id, lambda job: len(job.attempts) == 2 and job.attempts[1].resumed_step is not None)
    resumed = job.attempts[1].resumed_step
    assert resumed is not None
    assert resumed >= 3
    shop.until(job_id, lambda job: f"goes on after step {resumed}" in shop.log(job_id))
    tell(f"after a killed driver: {time.monotonic() - killed:.1f} s until it went on")
    shop.until(job_id, succeeded)
    check_result(shop, job_id)


def test_a_paused_run_goes_on_when_it_is_resumed(shop: Shop) -> None:
    job_id = shop.submit()
    shop.until(job_id, reached(2))
    shop.workspace.jobs.pause(job_id, owner=OWNER)
    job = shop.until(job_id, lambda job: job.state is JobState.PAUSED)
    assert "it goes on from step" in job.message
    shop.workspace.jobs.resume(job_id, owner=OWNER)
    job = shop.until(job_id, succeeded)
    assert (job.attempts[1].resumed_step or -1) >= 2
    check_result(shop, job_id)
