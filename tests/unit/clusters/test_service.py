"""Clusters start once, are found again, are watched and end, on heads that answer as Ray's do."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa
from traitlets.config import Config

from jupyter_ext.clusters import keeper
from jupyter_ext.clusters.service import ClusterService
from jupyter_ext.clusters.values import ClusterQuery, ClusterState
from jupyter_ext.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from jupyter_ext.store import Store
from jupyter_ext.store.schema import outbox
from support.quick_head import QuickBackend
from support.waiting import wait_until

Make = Callable[..., ClusterService]


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Iterator[Make]:
    """Make services on one home, as servers that follow or accompany each other do."""
    made: list[ClusterService] = []

    def service(
        options: list[str] | None = None, backend: dict[str, Any] | None = None, **traits: Any
    ) -> ClusterService:
        config = Config(
            {"QuickBackend": {"options": options or [], "num_cpus": 3, "stop_grace": 2.0, **(backend or {})}}
        )
        new = ClusterService(
            store, home=tmp_path / "home", config=config, backend_class=QuickBackend, check_interval=0.1, **traits
        )
        made.append(new)
        return new

    yield service
    for each in made:
        each.has_live_jobs = lambda owner: False
        each.close()
    assert not any(made[0].backend.find(*known) for known in (made[0].backend.known() if made else ()))


def keeper_of(service: ClusterService, owner: str = "ada", name: str = "default") -> psutil.Process:
    pid = keeper.lock_holder(service.backend._folder(owner, name))  # type: ignore[attr-defined]
    assert pid is not None
    return psutil.Process(pid)


def states(store: Store) -> list[str]:
    with store.read() as tx:
        return [
            row["data"]["state"] for row in tx.all(sa.select(outbox).order_by(outbox.c.id)) if row["noun"] == "cluster"
        ]


def test_nobody_has_a_running_cluster_at_first(make: Make) -> None:
    service = make()
    assert service.connection("ada") is None
    cluster = service.get("ada")
    assert (cluster.state, cluster.total["CPU"]) == (ClusterState.STOPPED, 3.0)
    assert service.list(ClusterQuery(), owner="ada").items == []
    assert service.stop("ada").state is ClusterState.STOPPED
    with pytest.raises(NotFound, match="no cluster 'big'"):
        service.get("ada", "big")


def test_it_starts_once_however_many_ask(make: Make) -> None:
    one, other = make(), make()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(service.ensure, "ada") for service in (one, other) * 3]
        connections = {future.result().incarnation for future in asked}
    assert len(connections) == 1


def test_its_life_is_told_in_order(make: Make, store: Store) -> None:
    service = make()
    connection = service.ensure("ada")
    running = service.get("ada")
    assert running.state is ClusterState.RUNNING
    assert (running.total, running.available) == ({"CPU": 3.0}, {"CPU": 2.0})
    assert (running.ray_version, running.dashboard_url) == ("2.60.0", connection.url)
    assert running.started_at is not None
    assert connection.token not in running.model_dump_json() + repr(connection)
    stopped = service.stop("ada")
    assert (stopped.state, stopped.message, stopped.dashboard_url) == (ClusterState.STOPPED, "Stopped.", None)
    assert states(store) == ["starting", "running", "stopping", "stopped"]
    assert service.connection("ada") is None
    assert service.ensure("ada").incarnation != connection.incarnation


def test_start_returns_at_once_and_says_how_it_went(make: Make) -> None:
    service = make()
    assert service.start("ada").state in (ClusterState.STARTING, ClusterState.RUNNING)
    wait_until(lambda: service.get("ada").state is ClusterState.RUNNING)
    first = service.ensure("ada").incarnation
    assert service.start("ada").state is ClusterState.RUNNING
    assert service.ensure("ada").incarnation == first


def test_a_server_that_follows_finds_the_head_again(make: Make) -> None:
    first = make(stop_on_close=False)
    incarnation = first.ensure("ada").incarnation
    first.close()
    follower = make()
    found = follower.connection("ada")
    assert found is not None
    assert found.incarnation == follower.ensure("ada").incarnation == incarnation
    assert found.jobs.version() == "2.60.0"


def test_a_start_that_a_server_left_behind_is_finished_by_the_next(make: Make) -> None:
    first = make()
    head = first.backend.start("ada", "default")
    first._move("ada", "default", ClusterState.STARTING, "Starting.")
    assert make().ensure("ada").incarnation == head.incarnation


def test_closing_leaves_heads_with_live_jobs(make: Make) -> None:
    first = make()
    first.has_live_jobs = lambda owner: owner == "ada"
    busy, idle = first.ensure("ada"), first.ensure("bob")
    first.close()
    follower = make()
    found = follower.connection("ada")
    assert found is not None
    assert found.incarnation == busy.incarnation
    assert follower.connection("bob") is None
    with pytest.raises(Unavailable, match="does not answer"):
        idle.jobs.version()


def test_a_dead_head_is_told_and_replaced(make: Make) -> None:
    service = make()
    service.start_renewing()
    lost = service.ensure("ada")
    for process in keeper_of(service).children():
        process.kill()
    wait_until(lambda: service._row("ada", "default")["state"] == ClusterState.STOPPED)
    assert "ended by itself" in service.get("ada").message
    assert service.connection("ada") is None
    assert service.ensure("ada").incarnation != lost.incarnation


def test_a_head_that_does_not_answer_is_not_taken_for_dead(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_ext.clusters.service._PROBE_SECONDS", 0.5)
    service = make()
    incarnation = service.ensure("ada").incarnation
    [frozen] = keeper_of(service).children()
    frozen.suspend()
    try:
        assert service.get("ada").state is ClusterState.UNREACHABLE
        found = service.connection("ada")
        assert found is not None
        assert found.incarnation == incarnation
    finally:
        frozen.resume()
    wait_until(lambda: service.get("ada").state is ClusterState.RUNNING)


def test_a_failed_start_says_why_and_leaves_nothing(make: Make) -> None:
    service = make("--no-such-option")
    with pytest.raises(Unavailable, match=r"(?s)ended while it started.*No such option"):
        service.ensure("ada")
    cluster = service.get("ada")
    assert cluster.state is ClusterState.STOPPED
    assert "No such option" in cluster.message
    assert service.backend.find("ada", "default") is None


def test_a_head_that_never_gets_ready_is_ended(make: Make) -> None:
    service = make("--never-ready", start_timeout=2.0)
    with pytest.raises(Unavailable, match="did not accept jobs within 2 s"):
        service.ensure("ada")
    assert service.get("ada").state is ClusterState.STOPPED
    assert service.backend.find("ada", "default") is None


def test_stopping_while_it_starts_ends_the_start(make: Make) -> None:
    service = make("--never-ready")
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(service.ensure, "ada")
        wait_until(lambda: service.backend.find("ada", "default") is not None)
        assert service.stop("ada").state is ClusterState.STOPPED
        with pytest.raises(Unavailable, match="stopped while it started"):
            starting.result(timeout=60)
    assert service.backend.find("ada", "default") is None


def test_a_start_waits_for_a_stop_that_is_under_way(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make()
    first = service.ensure("ada").incarnation
    stops, may_stop = service.backend.stop, threading.Event()

    def slowly(owner: str, name: str) -> None:
        assert may_stop.wait(60)
        stops(owner, name)

    monkeypatch.setattr(service.backend, "stop", slowly)
    with ThreadPoolExecutor(2) as pool:
        stopping = pool.submit(service.stop, "ada")
        wait_until(lambda: service._row("ada", "default")["state"] == ClusterState.STOPPING)
        starting = pool.submit(service.ensure, "ada")
        time.sleep(0.5)
        assert not starting.done()
        may_stop.set()
        assert starting.result(timeout=60).incarnation != first
        stopping.result()
    assert service.get("ada").state is ClusterState.RUNNING


def test_an_idle_head_is_stopped_and_one_with_jobs_is_not(make: Make) -> None:
    service = make(idle_timeout=1.0)
    service.has_live_jobs = lambda owner: owner == "ada"
    busy = service.ensure("ada")
    service.ensure("bob")
    service.start_renewing()
    wait_until(lambda: service._row("bob", "default")["state"] == ClusterState.STOPPED)
    assert "without jobs" in service.get("bob").message
    found = service.connection("ada")
    assert found is not None
    assert found.incarnation == busy.incarnation


def test_the_lease_is_renewed_while_a_server_watches(make: Make) -> None:
    service = make(backend={"orphan_timeout": 1.5}, stop_on_close=False)
    service.start_renewing()
    incarnation = service.ensure("ada").incarnation
    time.sleep(3)
    found = service.connection("ada")
    assert found is not None
    assert found.incarnation == incarnation
    service.close()
    wait_until(lambda: service.backend.find("ada", "default") is None)
    assert service.get("ada").state is ClusterState.STOPPED


def test_users_cannot_enter_each_others_heads(make: Make, tmp_path: Path) -> None:
    service = make()
    ada, bob = service.ensure("ada"), service.ensure("bob")
    assert ada.token != bob.token
    assert httpx.get(f"{ada.url}/api/version", trust_env=False).status_code == 401
    assert httpx.get(f"{ada.url}/api/version", headers={"Authorization": f"Bearer {bob.token}"}).status_code == 401
    with pytest.raises(Forbidden, match="refuses this token"):
        type(ada.jobs)(ada.url, bob.token).version()
    folders = [tmp_path / "home" / "clusters", *(tmp_path / "home" / "clusters").glob("*/")]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.name != keeper.LEASE]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_head_does_not_inherit_the_servers_secrets(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"JUPYTERHUB_API_TOKEN": "s", "JUPYTER_EXT_TOKEN": "s", "RAY_ADDRESS": "10.0.0.1:6379", "KEPT": "yes"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    connection = make(backend={"environment": {"RAY_DEDUP_LOGS": "0"}}).ensure("ada")
    headers = {"Authorization": f"Bearer {connection.token}"}
    inherited = httpx.get(f"{connection.url}/environ", headers=headers, trust_env=False).json()
    assert not {"JUPYTERHUB_API_TOKEN", "JUPYTER_EXT_TOKEN", "RAY_ADDRESS"} & set(inherited)
    assert (inherited["KEPT"], inherited["RAY_AUTH_MODE"], inherited["RAY_DEDUP_LOGS"]) == ("yes", "token", "0")


def test_a_user_has_several_clusters_up_to_a_limit(make: Make) -> None:
    service = make(max_clusters=2)
    first, second = service.ensure("ada"), service.ensure("ada", "big one")
    assert first.incarnation != second.incarnation
    with pytest.raises(Conflict, match="2 clusters running"):
        service.start("ada", "third")
    page = service.list(ClusterQuery(limit=1), owner="ada")
    assert [cluster.name for cluster in page.items] == ["big one"]
    rest = service.list(ClusterQuery(limit=1, cursor=page.next_cursor), owner="ada")
    assert ([cluster.name for cluster in rest.items], rest.next_cursor) == (["default"], None)
    service.stop("ada")
    assert [c.name for c in service.list(ClusterQuery(state=ClusterState.RUNNING), owner="ada").items] == ["big one"]
    assert service.list(ClusterQuery(), owner="bob").items == []


@pytest.mark.parametrize("name", ["", "../x", "a" * 129, "x\ny"])
def test_a_wrong_name_is_refused(make: Make, name: str) -> None:
    with pytest.raises(Invalid, match="no name for a cluster"):
        make().start("ada", name)


def test_capacity_is_what_a_head_has_or_would_have(make: Make) -> None:
    service = make()
    assert service.capacity("ada")["CPU"] == 3.0
    assert service.backend.find("ada", "default") is None
    service.ensure("ada")
    assert service.capacity("ada") == {"CPU": 3.0}


def test_what_is_installed_elsewhere_is_known_from_the_first_job(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make()
    here = service.environment("ada")
    assert service.environment_to_tell("ada", "head-1") is None
    monkeypatch.setattr(QuickBackend, "kind", "elsewhere")
    with pytest.raises(NotFound, match="is not known here"):
        service.environment("ada")
    incarnation = service.ensure("ada").incarnation
    path = service.environment_to_tell("ada", incarnation)
    assert path is not None
    assert path == service.environment_to_tell("ada", incarnation)
    assert path != service.environment_to_tell("bob", incarnation)
    service.store.objects.put(path, b"no environment at all")
    with pytest.raises(NotFound, match="its first job tells"):
        service.environment("ada")
    service.store.objects.put(path, here.model_dump_json().encode())
    assert service.environment("ada") == here.model_copy(update={"executable": None})
    assert service.environment_to_tell("ada", incarnation) is None
    with pytest.raises(NotFound):
        service.environment("bob")
    # Another head may have another image.
    service.stop("ada")
    following = service.ensure("ada").incarnation
    with pytest.raises(NotFound):
        service.environment("ada")
    assert service.environment_to_tell("ada", following) not in (None, path)
    assert not service.store.objects.exists(path)


def test_a_keeper_killed_hard_leaves_a_cluster_that_starts_again(make: Make) -> None:
    service = make()
    service.ensure("ada")
    process = keeper_of(service)
    [head] = process.children()
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: service.backend.find("ada", "default") is None)
    assert service.get("ada").state is ClusterState.STOPPED
    service.ensure("ada")
    wait_until(lambda: not head.is_running() or head.status() == psutil.STATUS_ZOMBIE)
