"""A queue of GPU jobs on a real Ray: the cluster comes, grows, shrinks and goes with it; GPUs are numbers here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from traitlets.config import Config

from jupyter_ext.clusters.values import ClusterSize, ClusterState, Node, NodeState
from jupyter_ext.jobs.values import JobDetail, JobSpec, JobState, LogQuery, Resources
from jupyter_ext.workspace import Workspace
from support.waiting import wait_until

Tell = Callable[[str], None]

OWNER = "ada"
ONE_GPU = Resources(cpus=1, gpus=1)
UP = (NodeState.RUNNING, NodeState.IDLE)

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("gpu_queue")]

SHORT = """
import os, time
time.sleep(2)
node = os.environ["RAY_CLOUD_INSTANCE_ID"]
"""

SAVES = """
import time
from jupyter_ext.jobs import checkpoint
saved = checkpoint.latest()
if saved is None:
    checkpoint.on_stop(lambda: (7, "saved in time"))
    print("begun", flush=True)
    time.sleep(300)
state = saved.state
"""

WALK = """
import os, time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
seen = saved.state if saved else []
for step in range(len(seen) + 1, 31):
    time.sleep(0.3)
    seen.append(step)
    if step % 5 == 0:
        checkpoint.save(step, seen)
    progress(step, 30)
node = os.environ["RAY_CLOUD_INSTANCE_ID"]
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Workspace]:
    config = Config()
    config.LocalBackend.num_cpus = 1
    config.LocalBackend.object_store_memory = 100 * 2**20
    config.LocalBackend.worker_kinds = {"gpu": {"resources": {"CPU": 1, "GPU": 1}, "max_nodes": 2}}
    config.LocalBackend.worker_idle_timeout = 2.0
    config.ClusterService.idle_timeout = 12.0
    config.ClusterService.check_interval = 0.5
    config.ClusterService.start_timeout = 240.0
    home = tmp_path_factory.mktemp("home")
    shutil.copy(sqlite_template, home / "workspace.db")
    with pytest.MonkeyPatch.context() as patch:
        # The workers' GPUs are numbers, also on a machine that has one.
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        opened = Workspace(home=str(home), user=OWNER, multi_user=False, config=config)
        opened.open()
        opened.start(lambda noun, data: None)
        try:
            yield opened
        finally:
            opened.supervisor.stop()
            opened.clusters.stop(OWNER)
            opened.close()


def submit(workspace: Workspace, source: str, *fetch: str) -> str:
    spec = JobSpec(name="gpu", source=source, fetch=fetch, resources=ONE_GPU)
    return workspace.jobs.submit(spec, owner=OWNER).id


def get(workspace: Workspace, job_id: str) -> JobDetail:
    return workspace.jobs.get(job_id, owner=OWNER)


def result(workspace: Workspace, job_id: str) -> dict[str, Any]:
    job = get(workspace, job_id)
    assert job.state is JobState.SUCCEEDED, job.message
    found: dict[str, Any] = cloudpickle.loads(workspace.jobs.result(job_id, owner=OWNER))
    return found


def workers(workspace: Workspace) -> list[Node]:
    return [node for node in workspace.clusters.get(OWNER).nodes if node.kind == "gpu"]


def test_a_queue_grows_the_cluster_from_none_and_leaves_none(workspace: Workspace, tell: Tell) -> None:
    start = time.monotonic()
    assert workspace.clusters.get(OWNER).state is ClusterState.STOPPED
    ids = [submit(workspace, SHORT, "node") for _ in range(5)]
    reached: dict[int, float] = {}
    said: set[str] = set()
    while not all((job := get(workspace, job_id)).state.final for job_id in ids):
        assert time.monotonic() < start + 240, job.message
        cluster = workspace.clusters.get(OWNER)
        if cluster.state is ClusterState.RUNNING:
            # The head, then the workers.
            up = sum(node.state in UP for node in cluster.nodes)
            for count in range(1, up + 1):
                reached.setdefault(count, time.monotonic() - start)
        said |= {get(workspace, job_id).message for job_id in ids}
        time.sleep(0.1)
    tell(
        f"5 jobs: a head after {reached[1]:.1f} s, the first gpu worker after {reached[2]:.1f} s, the second after "
        f"{reached[3]:.1f} s, all done after {time.monotonic() - start:.1f} s"
    )
    assert max(reached) == 3
    assert "Waiting for GPU: 2 of 2 in use, 1 asked for." in said
    assert len({result(workspace, job_id)["node"] for job_id in ids}) == 2
    tell(f"2 → 0 gpu workers after {wait_until(lambda: workers(workspace) == []):.1f} s")
    gone = wait_until(lambda: workspace.clusters.get(OWNER).state is ClusterState.STOPPED)
    tell(f"the idle head has gone {gone:.1f} s later")
    assert "without jobs" in workspace.clusters.get(OWNER).message


def test_a_job_whose_node_is_killed_goes_on_on_another(workspace: Workspace, tell: Tell) -> None:
    start = time.monotonic()
    # The head is brought back by the next job.
    job_id = submit(workspace, WALK, "node", "seen")
    wait_until(lambda: (progress := get(workspace, job_id).progress) is not None and progress.step >= 8)
    tell(f"stopped → a head, a gpu worker, and 8 steps after {time.monotonic() - start:.1f} s")
    [lost] = workers(workspace)
    killed = time.time()
    raylet_of(lost.id).kill()
    wait_until(lambda: get(workspace, job_id).state.final)
    assert result(workspace, job_id)["seen"] == list(range(1, 31))
    assert result(workspace, job_id)["node"] != lost.id
    job = get(workspace, job_id)
    first, second = job.attempts
    assert first.ended_at is not None
    assert second.started_at is not None
    assert second.resumed_step in (5, 10)
    noticed, resumed = first.ended_at.timestamp() - killed, second.started_at.timestamp() - killed
    tell(f"a node is killed: noticed after {noticed:.1f} s, the job goes on on a new one after {resumed:.1f} s")


def test_jobs_save_before_their_worker_is_taken_away(workspace: Workspace) -> None:
    job_id = submit(workspace, SAVES, "state")
    wait_until(lambda: "begun" in workspace.jobs.read_log(job_id, LogQuery(), owner=OWNER).text)
    workspace.clusters.resize(OWNER, "default", ClusterSize(limits={"gpu": 0}))
    wait_until(lambda: workers(workspace) == [])
    wait_until(lambda: get(workspace, job_id).attempts[0].ended_at is not None)
    assert get(workspace, job_id).attempts[0].durable_step == 7, get(workspace, job_id).message
    workspace.clusters.resize(OWNER, "default", ClusterSize(limits={"gpu": 2}))
    wait_until(lambda: get(workspace, job_id).state.final)
    assert result(workspace, job_id) == {"state": "saved in time"}
    assert [attempt.resumed_step for attempt in get(workspace, job_id).attempts] == [None, 7]


def raylet_of(worker: str) -> psutil.Process:
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"] == "raylet" and process.environ().get("RAY_CLOUD_INSTANCE_ID") == worker:
                return process
    raise AssertionError(f"no raylet of {worker}")
