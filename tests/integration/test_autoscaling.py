"""Local clusters that grow with what is wanted, on a real Ray: times are told at the end of the run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from traitlets.config import Config

from jupyter_ext.clusters import keeper
from jupyter_ext.clusters.backends.local import LocalBackend
from jupyter_ext.clusters.ray_jobs import RayJobs
from jupyter_ext.clusters.service import ClusterService, Connection
from jupyter_ext.clusters.values import ClusterSize, ClusterState, Node, NodeState
from jupyter_ext.errors import Forbidden, Invalid, NotFound, Unavailable
from jupyter_ext.store import Store, migrate
from support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]
pytest.importorskip("ray", reason="Ray is not installed (pip install 'jupyter-ext[ray]')")

Tell = Callable[[str], None]

GPU = {"CPU": 1.0, "GPU": 1.0}
UP = (NodeState.RUNNING, NodeState.IDLE)


def make_service(folder: Path) -> ClusterService:
    backend = {
        "num_cpus": 1,
        "object_store_memory": 100 * 2**20,
        "worker_kinds": {"gpu": {"resources": {"CPU": 1, "GPU": 1}, "max_nodes": 2}},
        "worker_idle_timeout": 2.0,
    }
    folder.mkdir(mode=0o700, exist_ok=True)
    store = Store(f"sqlite:///{folder / 'workspace.db'}", folder / "objects")
    migrate.upgrade(store.database)
    return ClusterService(store, home=folder, config=Config({"LocalBackend": backend}), start_timeout=240)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ClusterService]]:
    """Make a service with a home of its own, as every user's server has."""
    made: list[ClusterService] = []

    def service(user: str) -> ClusterService:
        made.append(make_service(tmp_path_factory.mktemp(user)))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        # The workers' GPUs are numbers, also on a machine that has one.
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield service
        for each in made:
            each.close()
            each.store.close()


@pytest.fixture(scope="module")
def service(make: Callable[[str], ClusterService]) -> ClusterService:
    return make("ada")


@pytest.fixture(scope="module")
def connection(service: ClusterService) -> Connection:
    start = time.monotonic()
    connection = service.ensure("ada")
    print(f"\nhead ready after {time.monotonic() - start:.1f} s")
    return connection


def workers(service: ClusterService, owner: str = "ada") -> list[Node]:
    head = service.backend.find(owner, "default")
    assert head is not None
    [first, *others] = service.backend.nodes(head)
    assert first.kind == "head"
    return others


def count_up(service: ClusterService, owner: str = "ada") -> int:
    return sum(node.state in UP for node in workers(service, owner))


def processes_of(connection: Connection, *, worker: str | None = None) -> list[psutil.Process]:
    """The processes of a cluster, or of one worker of it, by their environment: wherever they hang in the tree."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            mine = environment.get("RAY_AUTH_TOKEN") == connection.token
            if mine and (worker is None or environment.get("RAY_CLOUD_INSTANCE_ID") == worker):
                found.append(process)
    return found


def raylet_of(connection: Connection, worker: str) -> psutil.Process:
    [raylet] = [process for process in processes_of(connection, worker=worker) if process.name() == "raylet"]
    return raylet


def test_it_grows_and_shrinks_with_what_the_queue_wants(
    service: ClusterService, connection: Connection, tell: Tell
) -> None:
    assert [kind.name for kind in service.get("ada").kinds] == ["gpu"]
    assert workers(service) == []
    assert {name: service.capacity("ada")[name] for name in ("CPU", "GPU")} == {"CPU": 3.0, "GPU": 2.0}
    start = time.monotonic()
    # One more than there may be, and one that no node holds: what can be had is had.
    service.want("ada", [GPU, GPU, GPU, {"GPU": 8.0}])
    wait_until(lambda: len(workers(service)) == 2)
    growing = service.get("ada")
    assert growing.message == "Starting 2 gpu workers for the queue."
    assert growing.wanted == (GPU, GPU, GPU, {"GPU": 8.0})
    wait_until(lambda: count_up(service) == 2)
    tell(f"0 → 2 gpu workers after {time.monotonic() - start:.1f} s")
    # How much is in use, Ray tells a moment later.
    wait_until(lambda: service.get("ada").available.get("GPU") == 2.0)
    grown = service.get("ada")
    assert (grown.message, grown.total["GPU"]) == ("Running.", 2.0)
    assert [(node.kind, node.state, node.total.get("GPU", 0.0)) for node in grown.nodes] == [
        ("head", NodeState.IDLE, 0.0),
        ("gpu", NodeState.IDLE, 1.0),
        ("gpu", NodeState.IDLE, 1.0),
    ]
    ids = [node.id for node in workers(service)]
    for worker in ids:
        for process in processes_of(connection, worker=worker):
            addresses = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
            assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    service.want("ada", [])
    tell(f"2 → 0 gpu workers after {wait_until(lambda: workers(service) == []):.1f} s")
    for worker in ids:
        assert processes_of(connection, worker=worker) == []


def test_it_grows_for_a_job_that_waits_in_ray(service: ClusterService, connection: Connection, tell: Tell) -> None:
    start = time.monotonic()
    connection.jobs.submit("gpu-job", "exec python -c 'print(42)'", gpus=1.0)
    wait_until(lambda: count_up(service) == 1)
    tell(f"a job that asks for a GPU → gpu worker after {time.monotonic() - start:.1f} s")
    wait_until(lambda: (job := connection.jobs.get("gpu-job")) is not None and job.ended)
    tell(f"its end after {time.monotonic() - start:.1f} s")
    job = connection.jobs.get("gpu-job")
    assert job is not None
    assert job.status == "SUCCEEDED", connection.jobs.logs("gpu-job")
    tell(f"idle → gone after {wait_until(lambda: workers(service) == []):.1f} s")


def test_a_worker_that_is_killed_is_replaced(service: ClusterService, connection: Connection, tell: Tell) -> None:
    service.want("ada", [GPU])
    wait_until(lambda: count_up(service) == 1)
    [lost] = workers(service)
    raylet_of(connection, lost.id).kill()
    taken = wait_until(lambda: [node.id for node in workers(service) if node.state in UP] not in ([], [lost.id]))
    tell(f"a killed worker is replaced after {taken:.1f} s")
    assert processes_of(connection, worker=lost.id) == []


def test_its_limits_can_be_lowered_and_raised(service: ClusterService, tell: Tell) -> None:
    # The one before wants one worker, which is there.
    lowered = service.resize("ada", "default", ClusterSize(limits={"gpu": 1}))
    assert [kind.max_nodes for kind in lowered.kinds] == [1]
    service.want("ada", [GPU, GPU])
    assert (service.capacity("ada")["GPU"], count_up(service), len(workers(service))) == (1.0, 1, 1)
    service.resize("ada", "default", ClusterSize(limits={"gpu": 2}))
    tell(f"limit 1 → 2: 2 gpu workers after {wait_until(lambda: count_up(service) == 2):.1f} s")
    service.resize("ada", "default", ClusterSize(limits={"gpu": 0}))
    assert not service.fits("ada", GPU)
    tell(f"limit 2 → 0: none after {wait_until(lambda: workers(service) == []):.1f} s")
    with pytest.raises(Invalid, match="at most 2 gpu workers"):
        service.resize("ada", "default", ClusterSize(limits={"gpu": 3}))
    with pytest.raises(Invalid, match="no kind of worker 'tpu'; there is gpu"):
        service.resize("ada", "default", ClusterSize(limits={"tpu": 1}))


def test_users_of_one_machine_have_nothing_to_do_with_each_other(
    service: ClusterService, connection: Connection, make: Callable[[str], ClusterService], tell: Tell
) -> None:
    other = make("bob")
    other.want("bob", [GPU])
    bobs = other.ensure("bob")
    service.resize("ada", "default", ClusterSize(limits={"gpu": 1}))
    wait_until(lambda: count_up(other, "bob") == 1 and count_up(service) == 1)

    # They don't see each other.
    assert service.get("bob").state is ClusterState.STOPPED
    assert service.connection("bob") is None
    with pytest.raises(NotFound):
        service.get("bob", "other")
    # They don't get in, at the head or at a worker.
    intruder = RayJobs(connection.url, bobs.token)
    with pytest.raises(Forbidden, match="refuses this token"):
        intruder.submit("theft", "exec true")
    intruder.close()
    ports = {
        found.laddr.port
        for process in processes_of(connection)
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    }
    theirs = {"Authorization": f"Bearer {bobs.token}"}
    for port in ports:
        with suppress(httpx.TransportError):
            for path in ("/api/jobs/", "/api/job_agent/jobs/", "/metrics"):
                answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=theirs, trust_env=False, timeout=1)
                assert answer.status_code in (401, 403, 404), (port, path)
    # They share no port and no folder, and enter none of each other's.
    bobs_processes = processes_of(bobs)
    assert not {p.pid for p in processes_of(connection)} & {p.pid for p in bobs_processes}
    for each, owner in ((service, "ada"), (other, "bob")):
        backend = each.backend
        assert isinstance(backend, LocalBackend)
        folder = backend._folder(owner, "default")
        assert folder.stat().st_mode & 0o777 == 0o700
        private = [path for path in folder.iterdir() if path.name != keeper.LEASE]
        assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    # What one stops or kills is one's own, and nothing of it is left.
    scratch = Path(json.loads((folder / keeper.LAUNCH).read_text())["scratch"])
    assert scratch.stat().st_mode & 0o777 == 0o700
    holder = keeper.lock_holder(folder)
    assert holder in {process.pid for process in bobs_processes}
    os.kill(holder, signal.SIGKILL)
    tell(f"a killed keeper's cluster is gone after {wait_until(lambda: processes_of(bobs) == []):.1f} s")
    assert other.get("bob").state is ClusterState.STOPPED
    assert other.stop("bob").state is ClusterState.STOPPED
    assert not scratch.exists()
    assert connection.jobs.version()
    assert count_up(service) == 1


def test_stopping_it_ends_the_workers_too(service: ClusterService, connection: Connection, tell: Tell) -> None:
    start = time.monotonic()
    assert service.stop("ada").state is ClusterState.STOPPED
    tell(f"stopped after {time.monotonic() - start:.1f} s")
    assert processes_of(connection) == []
    with pytest.raises(Unavailable):
        connection.jobs.version()
