"""What the queue wants reaches the cluster, once, whoever starts it and whenever; heads that answer as Ray's do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from traitlets.config import Config

from jupyter_ext.clusters import growth
from jupyter_ext.clusters.backends import local_scaling
from jupyter_ext.clusters.backends.local_scaling import Worker
from jupyter_ext.clusters.service import ClusterService
from jupyter_ext.clusters.values import ClusterSize, ClusterState, NodeState
from jupyter_ext.errors import Conflict, Invalid, Unavailable
from jupyter_ext.store import Store
from jupyter_ext.store.schema import outbox
from support.quick_head import QuickBackend
from support.waiting import wait_until

Make = Callable[..., ClusterService]
KINDS = {
    "cpu": {"resources": {"CPU": 4}, "max_nodes": 2},
    "gpu": {"resources": {"CPU": 1, "GPU": 1}, "max_nodes": 3},
}
GPU = {"GPU": 1.0}


@pytest.fixture
def store(sqlite_template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(sqlite_template, tmp_path / "workspace.db")
    opened = Store(f"sqlite:///{tmp_path / 'workspace.db'}", tmp_path / "objects")
    yield opened
    opened.close()


@pytest.fixture
def make(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make services on one home, as servers that follow or accompany each other do."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    made: list[ClusterService] = []

    def service(kinds: dict[str, Any] = KINDS, **traits: Any) -> ClusterService:
        backend = {"num_cpus": 3, "memory": 10, "stop_grace": 2.0, "worker_kinds": kinds}
        config = Config({"QuickBackend": backend})
        new = ClusterService(
            store, home=tmp_path / "home", config=config, backend_class=QuickBackend, check_interval=0.1, **traits
        )
        new.has_live_jobs = lambda owner: True
        made.append(new)
        return new

    yield service
    for each in made:
        each.has_live_jobs = lambda owner: False
        each.close()


def folder(service: ClusterService, owner: str = "ada") -> Path:
    path: Path = service.backend._folder(owner, "default")  # type: ignore[attr-defined]
    return path


def told(service: ClusterService, owner: str = "ada") -> dict[str, int]:
    scaling = local_scaling.read(folder(service, owner))
    assert scaling is not None
    return scaling.wanted


def test_what_is_wanted_is_remembered_until_there_is_a_head_and_told_to_each(make: Make) -> None:
    service = make()
    service.want("ada", [GPU, GPU, {"TPU": 1.0}])
    assert service.get("ada").wanted == (GPU, GPU, {"TPU": 1.0})
    first = service.ensure("ada").incarnation
    assert told(service) == {"gpu": 2}
    service.stop("ada")
    assert not (folder(service) / local_scaling.CONFIG).exists()
    assert service.ensure("ada").incarnation != first
    assert told(service) == {"gpu": 2}
    service.want("ada", [])
    assert told(service) == {}
    # Others' clusters are others'.
    service.want("bob", [GPU])
    assert (told(service), service.get("ada").wanted) == ({}, ())


def test_wanting_the_same_again_costs_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make()
    service.ensure("ada")
    service.want("ada", [GPU])
    with monkeypatch.context() as patch:
        patch.setattr(service.backend, "want", lambda head, bundles: pytest.fail("told again"))
        patch.setattr(service.store, "read", lambda: pytest.fail("read"))
        service.want("ada", [dict(GPU)])


def test_of_many_who_want_at_once_the_last_is_heard(make: Make) -> None:
    service = make({"gpu": {"resources": {"GPU": 1}, "max_nodes": 100}})
    service.ensure("ada")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda count: service.want("ada", [GPU] * count), range(40)))
    assert told(service).get("gpu", 0) == len(service.get("ada").wanted)


def test_a_cluster_that_can_not_be_told_is_no_error_and_is_told_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()
    service.ensure("ada")
    real, tries = service.backend.want, list[int]()

    def fails_twice(head: Any, bundles: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("not now")
        real(head, bundles)

    monkeypatch.setattr(service.backend, "want", fails_twice)
    service.want("ada", [GPU])
    assert told(service) == {}
    service.start_renewing()
    wait_until(lambda: told(service) == {"gpu": 1})


def test_it_is_told_again_in_case_somebody_else_said_otherwise(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_TELL_AGAIN_SECONDS", 0.2)
    service = make()
    service.ensure("ada")
    service.want("ada", [GPU])
    local_scaling.change(folder(service), lambda old: old.wanting([]))
    service.start_renewing()
    wait_until(lambda: told(service) == {"gpu": 1})


def test_what_a_gone_server_wanted_ends_with_the_jobs(make: Make) -> None:
    first = make(stop_on_close=False)
    first.ensure("ada")
    first.want("ada", [GPU])
    first.close()
    busy = make()
    busy.start_renewing()
    busy._look_after("ada", "default")
    assert told(busy) == {"gpu": 1}
    busy.has_live_jobs = lambda owner: False
    wait_until(lambda: told(busy) == {})


def test_what_it_can_grow_to_and_what_fits(make: Make) -> None:
    service = make()
    for _ in ("stopped", "running"):
        capacity = service.capacity("ada")
        assert (capacity["CPU"], capacity["GPU"]) == (3 + 2 * 4 + 3 * 1, 3.0)
        assert [service.fits("ada", bundle) for bundle in ({"CPU": 4}, {"CPU": 5}, GPU, {"CPU": 2, "GPU": 1}, {})] == [
            True, False, True, False, True,
        ]  # fmt: skip
        service.ensure("ada")
    service.resize("ada", "default", ClusterSize(limits={"gpu": 0}))
    assert not service.fits("ada", GPU)
    assert service.fits("bob", GPU)
    assert "GPU" not in service.capacity("ada")
    plain = make({})
    assert (plain.capacity("eve")["CPU"], plain.fits("eve", {"CPU": 3}), plain.fits("eve", GPU)) == (3.0, True, False)


def test_limits_hold_for_every_server_until_the_cluster_is_stopped(make: Make) -> None:
    service = make()
    service.want("ada", [GPU] * 5)
    service.ensure("ada")
    resized = service.resize("ada", "default", ClusterSize(limits={"gpu": 1}))
    assert {kind.name: kind.max_nodes for kind in resized.kinds} == {"cpu": 2, "gpu": 1}
    assert told(service) == {"gpu": 1}
    assert make().get("ada").kinds == resized.kinds
    service.resize("ada", "default", ClusterSize(limits={"cpu": 0}))
    service.resize("ada", "default", ClusterSize(limits={"gpu": 2}))
    assert {kind.name: kind.max_nodes for kind in service.get("ada").kinds} == {"cpu": 0, "gpu": 2}
    assert told(service) == {"gpu": 2}
    service.stop("ada")
    assert {kind.name: kind.max_nodes for kind in service.get("ada").kinds} == {"cpu": 2, "gpu": 3}


def test_a_wrong_size_is_told(make: Make) -> None:
    service = make()
    with pytest.raises(Conflict, match="does not run"):
        service.resize("ada", "default", ClusterSize(limits={"gpu": 1}))
    service.ensure("ada")
    with pytest.raises(Conflict, match="does not run"):
        service.resize("bob", "default", ClusterSize(limits={"gpu": 1}))
    with pytest.raises(Invalid, match="no kind of worker 'tpu'; there is cpu, gpu"):
        service.resize("ada", "default", ClusterSize(limits={"tpu": 1}))
    with pytest.raises(Invalid, match="at most 3 gpu workers"):
        service.resize("ada", "default", ClusterSize(limits={"cpu": 1, "gpu": 4}))
    assert {kind.name: kind.max_nodes for kind in service.get("ada").kinds} == {"cpu": 2, "gpu": 3}
    plain = make({})
    plain.ensure("eve")
    with pytest.raises(Invalid, match="has one node"):
        plain.resize("eve", "default", ClusterSize(limits={"gpu": 1}))


def test_a_scale_up_is_said_and_listeners_hear_of_it(make: Make, store: Store) -> None:
    service = make()
    service.ensure("ada")
    used_at = service._row("ada", "default")["used_at"]
    assert [(node.kind, node.state) for node in service.get("ada").nodes] == [("head", NodeState.RUNNING)]
    starting = [Worker(id=f"w{n}", kind="gpu", state=NodeState.STARTING) for n in (1, 2)]
    failing = Worker(id="w3", kind="cpu", state=NodeState.STARTING, message="A worker did not start: no room")
    local_scaling.tell_workers(folder(service), [*starting, failing])
    said = "Starting 1 cpu worker and 2 gpu workers for the queue. A worker did not start: no room"
    cluster = service.get("ada")
    assert (cluster.message, cluster.state) == (said, ClusterState.RUNNING)
    assert [node.id for node in cluster.nodes] == ["head", "w1", "w2", "w3"]
    assert cluster.total == {"CPU": 3.0}
    local_scaling.tell_workers(folder(service), [Worker(id="w1", kind="gpu", state=NodeState.STOPPING)])
    assert service.get("ada").message == "Running."
    # Seeing it is no use of it.
    assert service._row("ada", "default")["used_at"] == used_at
    with store.read() as tx:
        events = tx.all(sa.select(outbox).order_by(outbox.c.id))
    assert [event["data"]["message"] for event in events if event["noun"] == "cluster"][-3:] == [
        "Running.",
        said,
        "Running.",
    ]
    # A stopped cluster has no nodes, and says why it stopped.
    stopped = service.stop("ada")
    assert (stopped.nodes, stopped.message) == ((), "Stopped.")


def test_listeners_hear_of_it_without_anybody_asking(make: Make) -> None:
    service = make()
    service.ensure("ada")
    service.start_renewing()
    local_scaling.tell_workers(folder(service), [Worker(id="w", kind="gpu", state=NodeState.STARTING)])
    wait_until(lambda: service._row("ada", "default")["message"] == "Starting 1 gpu worker for the queue.")
