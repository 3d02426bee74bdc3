"""Jobs on a real Ray head: one for the module."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import nbformat
import pandas as pd
import psutil
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.supervisor import Supervisor
from jupyter_ext.jobs.values import JobDetail, JobQuery, JobSpec, JobState, LogQuery
from jupyter_ext.values import Query
from jupyter_ext.workspace import Workspace
from support.waiting import wait_until

OWNER = "ada"

pytestmark = pytest.mark.ray

TRAIN = """
import time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
history = saved.state if saved else []
for step in range(len(history) + 1, 7):
    history.append(step)
    checkpoint.save(step, history)
    progress(step, 6, loss=1 / step)
    if step == 4 and not saved:
        progress(6, 6, loss=0)
        time.sleep(120)
"""


@dataclass
class Shop:
    """A workspace with its background work, and what it told the event stream."""

    workspace: Workspace
    events: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, source: str, **more: Any) -> str:
        return self.workspace.jobs.submit(JobSpec(name="test", source=source, **more), owner=OWNER).id

    def get(self, job_id: str) -> JobDetail:
        return self.workspace.jobs.get(job_id, owner=OWNER)

    def until(self, job_id: str, reached: Callable[[JobDetail], bool], timeout_s: float = 90.0) -> JobDetail:
        deadline = time.monotonic() + timeout_s
        while not reached(job := self.get(job_id)):
            assert time.monotonic() < deadline, f"still {job.state}: {job.message}\n{self.log(job_id)}"
            time.sleep(0.05)
        return job

    def finish(self, job_id: str, timeout_s: float = 90.0) -> JobDetail:
        return self.until(job_id, lambda job: job.state.final, timeout_s)

    def told(self, job_id: str) -> list[str]:
        """The messages of all events of a job that has ended; they are delivered a little after."""
        last = self.get(job_id).state.value
        wait_until(lambda: any(event["state"] == last for event in self._of(job_id)))
        return [event["message"] for event in self._of(job_id)]

    def _of(self, job_id: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event.get("job_id") == job_id]

    def log(self, job_id: str) -> str:
        return self.workspace.jobs.read_log(job_id, LogQuery(limit=1_000_000), owner=OWNER).text

    def states(self, job_id: str) -> list[str]:
        items = self.workspace.jobs.events(job_id, Query(limit=500), owner=OWNER).items
        return [event.to_state.value for event in reversed(items)]

    def driver(self, job_id: str) -> psutil.Process:
        """The process of a job's runner."""
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
    made = Shop(workspace)
    workspace.start(lambda noun, data: made.events.append({"noun": noun, **data}))
    try:
        yield made
    finally:
        for job in workspace.jobs.list(JobQuery(state="live"), owner=OWNER).items:
            workspace.jobs.cancel(job.id, owner=OWNER)
        workspace.supervisor.stop()
        workspace.clusters.stop(OWNER)
        workspace.close()


def test_job_runs_on_a_cluster_that_starts_for_it(shop: Shop) -> None:
    inputs = shop.workspace.store.blobs.put(cloudpickle.dumps({"x": 20}))
    job_id = shop.submit("y = x + 1\nprint('got', y)", inputs=inputs, fetch=("y",))
    job = shop.finish(job_id)
    assert (job.state, job.message) == (JobState.SUCCEEDED, "Done.")
    assert cloudpickle.loads(shop.workspace.jobs.result(job_id, owner=OWNER)) == {"y": 21}
    assert shop.log(job_id) == "got 21\n"
    assert shop.states(job_id) == ["queued", "admitted", "starting", "running", "succeeded"]
    assert "Starting your Ray cluster; this takes some seconds." in shop.told(job_id)


def test_code_of_a_job_can_use_ray_itself(shop: Shop) -> None:
    source = """
import ray
from jupyter_ext.jobs import checkpoint, progress

@ray.remote
def square(x):
    progress(x, 3, square=x * x)
    return x * x

ray.init()
squares = ray.get([square.remote(x) for x in range(4)])
checkpoint.save(3, squares)
"""
    job_id = shop.submit(source, fetch=("squares",))
    job = shop.finish(job_id)
    assert job.state is JobState.SUCCEEDED, shop.log(job_id)
    assert cloudpickle.loads(shop.workspace.jobs.result(job_id, owner=OWNER)) == {"squares": [0, 1, 4, 9]}
    # What a worker reports reaches us through the driver's log.
    assert job.progress is not None, shop.log(job_id)
    assert job.progress.total == 3
    assert job.attempts[0].durable_step == 3


def test_labeling_functions_run_on_the_cluster(shop: Shop, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(25_000)})
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=5_000)
    source = f"""
from jupyter_ext.labeling import LFApplier, labeling_function

@labeling_function(columns=["x"])
def third(row):
    if row.x == 7:
        raise ValueError("seven")
    return 1 if row.x % 3 == 0 else -1

applier = LFApplier([third], backend="ray", n_jobs=-1)
votes = applier.apply({str(tmp_path / "rows.parquet")!r}, progress=False)
found = votes.shape, votes.n_votes, applier.errors["third"].rows
"""
    job_id = shop.submit(source, fetch=("found",))
    job = shop.finish(job_id)
    assert job.state is JobState.SUCCEEDED, shop.log(job_id)
    assert cloudpickle.loads(shop.workspace.jobs.result(job_id, owner=OWNER))["found"] == ((25_000, 1), 8_334, (7,))


def test_failure_of_the_users_code(shop: Shop) -> None:
    job_id = shop.submit("def f():\n    return {}['missing']\nf()")
    job = shop.finish(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "user_error")
    assert job.message == "KeyError: 'missing' (line 3)"
    assert "return {}['missing']" in shop.log(job_id)


def test_result_that_cannot_be_pickled(shop: Shop) -> None:
    job = shop.finish(shop.submit("import threading\nlock = threading.Lock()", fetch=("lock",)))
    assert (job.state, job.reason) == (JobState.FAILED, "result_unpicklable")
    assert "'lock'" in job.message


def test_cancel_ends_the_process(shop: Shop) -> None:
    job_id = shop.submit("import time\nprint('begun')\ntime.sleep(300)")
    shop.until(job_id, lambda job: job.log_size > 0)
    driver = shop.driver(job_id)
    shop.workspace.jobs.cancel(job_id, owner=OWNER)
    job = shop.finish(job_id)
    assert (job.state, job.message) == (JobState.CANCELLED, "Cancelled.")
    driver.wait(timeout=60)
    assert shop.log(job_id).startswith("begun\n")


def test_timeout_ends_the_process(shop: Shop) -> None:
    job = shop.finish(shop.submit("import time\ntime.sleep(300)", timeout_s=1.0))
    assert (job.state, job.reason) == (JobState.FAILED, "timeout")


def test_killed_driver_resumes_at_its_checkpoint(shop: Shop, tell: Callable[[str], None]) -> None:
    job_id = shop.submit(TRAIN, fetch=("history",))
    shop.until(job_id, lambda job: job.progress is not None and job.progress.step == 6)
    killed = time.monotonic()
    shop.driver(job_id).send_signal(signal.SIGKILL)
    resumed = shop.until(job_id, lambda job: len(job.attempts) == 2 and job.attempts[1].resumed_step is not None)
    took = time.monotonic() - killed
    assert resumed.attempts[1].resumed_step == 4
    job = shop.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert "Attempt 2 resumed at step 4; 2 steps redone." in shop.told(job_id)
    assert cloudpickle.loads(shop.workspace.jobs.result(job_id, owner=OWNER)) == {"history": [1, 2, 3, 4, 5, 6]}
    assert shop.states(job_id)[4:7] == ["interrupted", "queued", "admitted"]
    tell(f"a killed driver: the job went on after {took:.1f} s")


def test_failures_are_tried_again(shop: Shop) -> None:
    source = """
from jupyter_ext.jobs import checkpoint
saved = checkpoint.latest()
if saved is None:
    checkpoint.save(1, 'first')
    raise RuntimeError('bad luck')
"""
    job_id = shop.submit(source, retries=1)
    job = shop.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert [attempt.state for attempt in job.attempts] == ["failed", "succeeded"]


def test_another_supervisor_takes_over_without_a_second_run(shop: Shop) -> None:
    job_id = shop.submit("import time\nprint('once')\ntime.sleep(3)")
    shop.until(job_id, lambda job: job.state in (JobState.STARTING, JobState.RUNNING))
    shop.workspace.supervisor.stop()
    shop.workspace.supervisor = Supervisor(shop.workspace.jobs, parent=shop.workspace)
    shop.workspace.supervisor.start()
    job = shop.finish(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert shop.log(job_id) == "once\n"


def test_impossible_resources_are_refused_at_once(shop: Shop) -> None:
    with pytest.raises(Invalid, match=r"asks for 64 CPUs, and your cluster has 2"):
        shop.submit("pass", resources={"cpus": 64})


def test_ray_forgets_what_has_ended(shop: Shop) -> None:
    connection = shop.workspace.clusters.connection(OWNER)
    assert connection is not None
    deadline = time.monotonic() + 60
    while left := [job.submission_id for job in connection.jobs.list() if job.submission_id.startswith("job-")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def test_jobs_save_before_their_cluster_is_stopped_and_go_on_in_the_next(shop: Shop) -> None:
    source = """
import time
from jupyter_ext.jobs import checkpoint
saved = checkpoint.latest()
if saved is None:
    checkpoint.on_stop(lambda: (7, "state"))
    print("begun", flush=True)
    time.sleep(300)
state = saved.state
"""
    job_id = shop.submit(source, fetch=("state",))
    shop.until(job_id, lambda job: "begun" in shop.log(job_id))
    began = time.monotonic()
    assert shop.workspace.clusters.stop(OWNER).state == "stopped"
    assert time.monotonic() - began < 100
    job = shop.finish(job_id, 150.0)
    assert (job.state, len(job.attempts)) == (JobState.SUCCEEDED, 2), shop.log(job_id)
    assert job.attempts[0].message.startswith("Attempt 1 was interrupted: It was told to stop.")
    assert job.attempts[1].resumed_step == 7
    assert cloudpickle.loads(shop.workspace.jobs.result(job_id, owner=OWNER)) == {"state": "state"}


SAVES_AT_THE_STOP = """
import time
import ray
from jupyter_ext.jobs import checkpoint
checkpoint.on_stop(lambda: (7, "state"))
ray.init()  # puts a handler of its own in the place of ours
print("begun", flush=True)
time.sleep(300)
"""


def living(job_id: str) -> list[psutil.Process]:
    """The processes of a job."""
    processes = psutil.process_iter(["environ", "status"])
    mine = (process for process in processes if job_id in (process.info["environ"] or {}).get("JUPYTER_EXT_JOB", ""))
    return [process for process in mine if process.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("kind", ["python", "shell", "notebook"])
def test_what_is_told_to_stop_saves_first_and_leaves_no_process(shop: Shop, kind: str) -> None:
    source = SAVES_AT_THE_STOP
    if kind == "shell":
        source = f"python - <<'END'\n{SAVES_AT_THE_STOP}\nEND\necho never"
    elif kind == "notebook":
        source = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SAVES_AT_THE_STOP)]))
    job_id = shop.submit(source, kind=kind)
    shop.until(job_id, lambda job: "begun" in shop.log(job_id))
    shop.workspace.jobs.pause(job_id, owner=OWNER)
    job = shop.until(job_id, lambda job: job.state is JobState.PAUSED)
    assert job.message == "Paused; it goes on from step 7 when resumed.", shop.log(job_id)
    assert "never" not in shop.log(job_id)
    deadline = time.monotonic() + 20
    while left := living(job_id):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    shop.workspace.jobs.cancel(job_id, owner=OWNER)
