"""Clusters on a real Ray: one head for the whole module."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from traitlets.config import Config

from jupyter_ext.clusters import keeper
from jupyter_ext.clusters.backends.local import LocalBackend
from jupyter_ext.clusters.ray_jobs import RayJob, RayJobs
from jupyter_ext.clusters.service import ClusterService, Connection
from jupyter_ext.clusters.values import ClusterState
from jupyter_ext.errors import Forbidden, Invalid, Unavailable
from jupyter_ext.store import Store, migrate
from support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]
pytest.importorskip("ray", reason="Ray is not installed (pip install 'jupyter-ext[ray]')")


def make_service(folder: Path, *options: str) -> ClusterService:
    config = Config({"LocalBackend": {"num_cpus": 2, "object_store_memory": 100 * 2**20, "options": list(options)}})
    store = Store(f"sqlite:///{folder / 'workspace.db'}", folder / "objects")
    migrate.upgrade(store.database)
    return ClusterService(store, home=folder, config=config, start_timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clusters")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[ClusterService]:
    made = make_service(folder)
    yield made
    made.close()
    made.store.close()


@pytest.fixture(scope="module")
def connection(service: ClusterService) -> Connection:
    """The module's head."""
    return service.ensure("ada")


def ended(connection: Connection, submission_id: str) -> RayJob:
    def has_ended() -> bool:
        job = connection.jobs.get(submission_id)
        return job is not None and job.ended

    wait_until(has_ended)
    job = connection.jobs.get(submission_id)
    assert job is not None
    return job


def processes_of(service: ClusterService) -> list[psutil.Process]:
    backend = service.backend
    assert isinstance(backend, LocalBackend)
    holder = keeper.lock_holder(backend._folder("ada", "default"))
    assert holder is not None
    return [psutil.Process(holder), *psutil.Process(holder).children(recursive=True)]


def listens_on(process: psutil.Process) -> set[str]:
    """The addresses at which a process listens; none when it has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {found.laddr.ip for found in process.net_connections("inet") if found.status == psutil.CONN_LISTEN}
    return set()


def test_a_ready_head_takes_a_job_at_once(connection: Connection) -> None:
    remote = "ray.remote(lambda terms: sum(terms)).options(num_cpus=0).remote([20, 22])"
    code = f"import ray; ray.init(); print('sum', ray.get({remote}))"
    arguments = {"env": {"GREETING": "hello"}, "metadata": {"job": "job-1"}, "cpus": 1.0}
    connection.jobs.submit("first", f'echo $GREETING && exec python -c "{code}"', **arguments)
    # Asked again, as a supervisor does that does not know whether it was heard: it runs once.
    connection.jobs.submit("first", "exec false", **arguments)
    job = ended(connection, "first")
    log = connection.jobs.logs("first")
    assert (job.status, job.exit_code, job.metadata) == ("SUCCEEDED", 0, {"job": "job-1"}), log
    assert "hello" in log
    assert "sum 42" in log
    assert [known.submission_id for known in connection.jobs.list()] == ["first"]
    assert connection.jobs.delete("first")
    assert not connection.jobs.delete("first")
    assert connection.jobs.get("first") is None
    assert connection.jobs.logs("first") == ""


def test_a_job_can_be_stopped_and_its_exit_is_told(connection: Connection) -> None:
    connection.jobs.submit("long", "exec sleep 600")
    connection.jobs.submit("wrong", "exec python -c 'raise SystemExit(3)'")
    wait_until(lambda: (job := connection.jobs.get("long")) is not None and job.status == "RUNNING")
    with pytest.raises(Invalid, match="Ray refuses the request"):
        connection.jobs.delete("long")
    assert connection.jobs.stop("long")
    assert ended(connection, "long").status == "STOPPED"
    failed = ended(connection, "wrong")
    assert (failed.status, failed.exit_code) == ("FAILED", 3)
    assert not connection.jobs.stop("unknown")


def test_a_wrong_request_says_what_ray_says(connection: Connection) -> None:
    with pytest.raises(Invalid, match="Ray refuses the request"):
        connection.jobs.submit("bad", "exec true", metadata={"a": 5})  # type: ignore[dict-item]


def test_the_service_tells_what_the_head_has(service: ClusterService, connection: Connection) -> None:
    cluster = service.get("ada")
    assert (cluster.state, cluster.total["CPU"]) == (ClusterState.RUNNING, 2.0)
    assert cluster.available["CPU"] <= 2.0
    assert service.capacity("ada")["CPU"] == 2.0
    assert service.capacity("bob")["CPU"] == 2.0
    assert service.capacity("ada")["memory"] == service.backend.capacity()["memory"]


def test_nobody_gets_in_without_the_token(connection: Connection) -> None:
    stranger = RayJobs(connection.url, "0" * 64)
    with pytest.raises(Forbidden, match="refuses this token"):
        stranger.list()
    stranger.close()
    submission = {"entrypoint": "exec true"}
    assert httpx.post(f"{connection.url}/api/jobs/", json=submission, trust_env=False).status_code == 401


def test_every_port_is_on_the_loopback_and_no_file_is_open_to_others(
    service: ClusterService, connection: Connection
) -> None:
    listening = {address for process in processes_of(service) for address in listens_on(process)}
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    backend = service.backend
    assert isinstance(backend, LocalBackend)
    folder = backend._folder("ada", "default")
    # Ray opens its own folder to everybody; nobody else gets through to it.
    scratch = Path(json.loads((folder / keeper.LAUNCH).read_text())["scratch"])
    assert [inside.name for inside in scratch.iterdir()] == ["r"]
    for private in (folder, scratch):
        assert private.stat().st_mode & 0o077 == 0


def test_a_server_that_follows_finds_the_head_again(folder: Path, connection: Connection) -> None:
    follower = make_service(folder)
    follower.has_live_jobs = lambda owner: True
    found = follower.ensure("ada")
    assert found.incarnation == connection.incarnation
    assert found.jobs.version() == connection.jobs.version()
    follower.close()
    follower.store.close()


def test_a_lost_head_is_noticed_and_stopping_leaves_no_process(service: ClusterService, connection: Connection) -> None:
    connection.jobs.submit("orphan", "exec sleep 600")
    wait_until(lambda: (job := connection.jobs.get("orphan")) is not None and job.status == "RUNNING")
    everything = processes_of(service)
    [gcs] = [process for process in everything if process.name() == "gcs_server"]
    gcs.kill()
    wait_until(lambda: service.get("ada").state is ClusterState.STOPPED)
    assert service.connection("ada") is None
    with pytest.raises(Unavailable):
        connection.jobs.get("orphan")
    assert not [process for process in everything if process.is_running() and process.status() != "zombie"]


def test_a_wrong_option_of_ray_is_told(tmp_path: Path) -> None:
    wrong = make_service(tmp_path, "--no-such-option")
    with pytest.raises(Unavailable, match=r"(?i)no such option"):
        wrong.ensure("ada")
    assert wrong.get("ada").state is ClusterState.STOPPED
    assert wrong.backend.find("ada", "default") is None
    wrong.close()
    wrong.store.close()
