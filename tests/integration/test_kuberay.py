"""Clusters on Kubernetes through the service: an API server, an operator and heads that behave as the real ones do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from traitlets.config import Config

from jupyter_ext.clusters.backends.kuberay import KubeRayBackend, looking
from jupyter_ext.clusters.service import ClusterService
from jupyter_ext.clusters.values import ClusterSize, ClusterState, NodeState
from jupyter_ext.errors import NotFound, Unavailable
from jupyter_ext.store import Store, migrate
from jupyter_ext.store.schema import outbox
from support.kube_api import KubeApi
from support.kuberay_heads import Heads
from support.kuberay_operator import Operator
from support.waiting import wait_until

Make = Callable[..., ClusterService]


@pytest.fixture
def kube() -> Iterator[KubeApi]:
    running = KubeApi().start()
    yield running
    running.stop()


@pytest.fixture
def operator(kube: KubeApi) -> Iterator[Operator]:
    running = Operator(kube).start()
    yield running
    running.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'workspace.db'}", tmp_path / "objects")
    migrate.upgrade(opened.database)
    yield opened
    opened.close()


@pytest.fixture
def make(
    kube: KubeApi, operator: Operator, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    monkeypatch.setattr(looking, "_FRESH_SECONDS", 0.05)
    heads = Heads(kube)
    made: list[ClusterService] = []
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "ray"}}],
                "clusters": [{"name": "c", "cluster": {"server": kube.url}}],
                "users": [{"name": "u", "user": {"token": kube.token}}],
            }
        )
    )

    def service(**traits: Any) -> ClusterService:
        settings = {
            "kubeconfig": str(path), "workspace": "team", "image": "ray:1", "address": heads.address,
            "worker_kinds": {"cpu": {"cpu": 4, "memory": "8Gi", "max_nodes": 3}},
            "admission_timeout": 10, "stop_timeout": 10,
        }  # fmt: skip
        new = ClusterService(
            store,
            home=tmp_path / "home",
            config=Config({"KubeRayBackend": settings}),
            backend_class=KubeRayBackend,
            check_interval=0.1,
            **traits,
        )
        made.append(new)
        return new

    yield service
    for each in made:
        each.close()
        each.backend._api.close()  # type: ignore[attr-defined]
    heads.stop()
    assert kube.all("rayclusters") == []


def states(store: Store) -> list[str]:
    with store.read() as tx:
        told = [row["data"]["state"] for row in tx.all(sa.select(outbox).order_by(outbox.c.id))]
    return [state for index, state in enumerate(told) if index == 0 or told[index - 1] != state]


def test_a_cluster_lives_as_the_service_wants_it(make: Make, store: Store, kube: KubeApi) -> None:
    service = make()
    stopped = service.get("ada")
    assert (stopped.state, stopped.total["CPU"]) == (ClusterState.STOPPED, 12.0)
    connection = service.ensure("ada")
    running = service.get("ada")
    assert (running.state, running.backend, running.ray_version) == (ClusterState.RUNNING, "kuberay", "2.60.0")
    assert [(node.kind, node.state) for node in running.nodes] == [("head", NodeState.IDLE)]
    assert service.ensure("ada") == connection

    service.want("ada", [{"CPU": 3}, {"CPU": 3}])
    wait_until(lambda: len(service.get("ada").nodes) == 3)
    wait_until(lambda: service.get("ada").available.get("CPU") == 6.0)
    grown = service.get("ada")
    assert grown.total["CPU"] == 8.0
    assert [node.used for node in grown.nodes if node.kind == "cpu"] == [{"CPU": 1.0}] * 2
    assert grown.wanted == ({"CPU": 3}, {"CPU": 3})

    service.resize("ada", "default", ClusterSize(limits={"cpu": 1}))
    wait_until(lambda: len(service.get("ada").nodes) == 2)
    service.want("ada", [])
    wait_until(lambda: len(service.get("ada").nodes) == 1)

    assert service.stop("ada").state is ClusterState.STOPPED
    assert kube.all("pods") == []
    assert states(store) == ["starting", "running", "stopping", "stopped"]


def test_a_server_that_follows_finds_it_again(make: Make) -> None:
    first = make(stop_on_close=False)
    incarnation = first.ensure("ada").incarnation
    first.close()
    follower = make()
    found = follower.connection("ada")
    assert found is not None
    assert found.incarnation == follower.ensure("ada").incarnation == incarnation
    assert found.jobs.version() == "2.60.0"


def test_a_lost_head_is_replaced_and_is_another(make: Make, operator: Operator) -> None:
    service = make()
    first = service.ensure("ada")
    operator.held["headgroup"] = {"phase": "Pending"}
    operator.fail_head("ray-ada--default")
    wait_until(lambda: service.get("ada").state is ClusterState.UNREACHABLE)
    operator.held.clear()
    wait_until(lambda: service.get("ada").state is ClusterState.RUNNING)
    second = service.ensure("ada")
    assert second.incarnation != first.incarnation
    assert second.jobs.version() == "2.60.0"


def test_an_api_server_that_is_away_for_a_while_costs_nothing(make: Make, store: Store, kube: KubeApi) -> None:
    service = make()
    incarnation = service.ensure("ada").incarnation
    service.start_renewing()
    kube.stop()
    time.sleep(0.5)
    with pytest.raises(Unavailable):
        service.connection("ada")
    kube.start()
    wait_until(lambda: _connects(service))
    assert service.ensure("ada").incarnation == incarnation
    assert service.get("ada").state is ClusterState.RUNNING
    assert "stopped" not in states(store)


def _connects(service: ClusterService) -> bool:
    try:
        return service.connection("ada") is not None
    except Unavailable:
        return False


def test_a_start_that_comes_to_nothing_says_why_and_leaves_nothing(
    make: Make, operator: Operator, kube: KubeApi
) -> None:
    service = make(start_timeout=1.0)
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }  # fmt: skip
    operator.held["headgroup"] = {"phase": "Pending", "conditions": [condition]}
    with pytest.raises(Unavailable, match="No machine has room for it now: 0/3 nodes are available"):
        service.ensure("ada")
    assert service.get("ada").state is ClusterState.STOPPED
    assert "No machine has room" in service.get("ada").message
    assert [item["kind"] for item in kube.items.values() if item["kind"] != "Namespace"] == []


def test_an_idle_cluster_is_stopped(make: Make) -> None:
    service = make(idle_timeout=0.5)
    service.ensure("ada")
    service.start_renewing()
    wait_until(lambda: service.get("ada").state is ClusterState.STOPPED)
    with pytest.raises(NotFound):
        service.get("ada", "other")
