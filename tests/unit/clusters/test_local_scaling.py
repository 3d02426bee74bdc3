"""What Ray's autoscaler reads is what was decided, whole at any moment, and readable by its owner only."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from jupyter_ext.clusters.backends import local_scaling
from jupyter_ext.clusters.backends.local import LocalBackend
from jupyter_ext.clusters.backends.local_scaling import Scaling, Worker
from jupyter_ext.clusters.values import NodeState, WorkerKind

CPU = WorkerKind(name="cpu", resources={"CPU": 2}, max_nodes=2, min_nodes=1)
GPU = WorkerKind(name="gpu", resources={"CPU": 1, "GPU": 1}, max_nodes=4)


def make() -> Scaling:
    return Scaling(
        head={"CPU": 1.0}, kinds=(CPU, GPU), gcs_address="127.0.0.1:1", sockets="/s", idle_timeout=7.5,
        object_store_memory=10**8,
    )  # fmt: skip


def counts(scaling: Scaling) -> dict[str, tuple[int, int]]:
    types = scaling.ray_config(Path("/c"))["available_node_types"]
    return {name: (found["min_workers"], found["max_workers"]) for name, found in types.items()}


def test_what_is_wanted_is_the_least_there_is_and_never_above_the_limit() -> None:
    scaling = make()
    assert counts(scaling) == {"head": (0, 0), "cpu": (1, 2), "gpu": (0, 4)}
    wanting = scaling.wanting([{"GPU": 1.0}] * 9 + [{"TPU": 1.0}])
    assert counts(wanting)["gpu"] == (4, 4)
    assert wanting.ray_config(Path("/c"))["max_workers"] == 6
    lowered = wanting.model_copy(update={"limits": {"gpu": 1, "cpu": 0}})
    assert counts(lowered) == {"head": (0, 0), "cpu": (0, 0), "gpu": (1, 1)}
    # Those that leave stay for Ray, and are no room for anything new.
    leaving = lowered.model_copy(update={"leaving": {"gpu": 2}})
    assert counts(leaving) == {"head": (0, 0), "cpu": (0, 0), "gpu": (1, 3)}
    assert leaving.ray_config(Path("/c"))["max_workers"] == 3
    assert leaving.current_kinds() == lowered.current_kinds()
    assert counts(wanting.wanting([])) == counts(scaling)
    assert [kind.name for kind in lowered.current_kinds()] == ["cpu", "gpu"]


def test_ray_takes_the_configuration(tmp_path: Path) -> None:
    config = pytest.importorskip("ray.autoscaler.v2.instance_manager.config")
    path = local_scaling.begin(tmp_path, make().wanting([{"GPU": 1.0}]))
    read = config.FileConfigReader(str(path)).get_cached_autoscaling_config()
    assert read.get_head_node_type() == "head"
    assert read.disable_node_updaters()
    gpu = read.get_node_type_configs()["gpu"]
    assert (gpu.min_worker_nodes, gpu.max_worker_nodes, gpu.idle_timeout_s) == (1, 4, 7.5)
    assert gpu.resources == {"CPU": 1, "GPU": 1}


def test_it_is_kept_in_the_configuration_itself(tmp_path: Path) -> None:
    assert local_scaling.read(tmp_path) is None
    assert local_scaling.workers(tmp_path) == []
    # One that doesn't grow is told in vain.
    local_scaling.change(tmp_path, lambda old: old.wanting([{"GPU": 1.0}]))
    assert local_scaling.read(tmp_path) is None
    local_scaling.begin(tmp_path, make())
    local_scaling.change(tmp_path, lambda old: old.wanting([{"GPU": 1.0}]))
    assert local_scaling.read(tmp_path) == make().wanting([{"GPU": 1.0}])
    worker = Worker(id="w", kind="gpu", state=NodeState.STARTING)
    local_scaling.tell_workers(tmp_path, [worker])
    assert local_scaling.workers(tmp_path) == [worker]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    local_scaling.forget(tmp_path)
    assert local_scaling.read(tmp_path) is None


def test_the_same_decision_writes_nothing(tmp_path: Path) -> None:
    path = local_scaling.begin(tmp_path, make())
    before = path.stat()
    local_scaling.change(tmp_path, lambda old: old.wanting([{"CPU": 1.0}]))
    assert path.stat().st_ino == before.st_ino


def test_changes_at_once_are_all_made_and_every_reader_sees_a_whole_file(tmp_path: Path) -> None:
    path = local_scaling.begin(tmp_path, make())

    def raise_limit(_: int) -> None:
        def one_more(old: Scaling) -> Scaling:
            return old.model_copy(update={"limits": {"gpu": old.limits.get("gpu", 0) + 1}})

        local_scaling.change(tmp_path, one_more)
        json.loads(path.read_text())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(raise_limit, range(40)))
    scaling = local_scaling.read(tmp_path)
    assert scaling is not None
    assert scaling.limits == {"gpu": 40}


@pytest.mark.parametrize(
    ("name", "declared", "said"),
    [
        ("GPU", {"resources": {"CPU": 1}}, "small letters"),
        ("head", {"resources": {"CPU": 1}}, "is not 'head'"),
        ("a=b", {"resources": {"CPU": 1}}, "small letters"),
        ("gpu", {"resources": {}}, "which resources"),
        ("gpu", {"resources": {"CPU": 0.5}}, "whole numbers"),
        ("gpu", {"resources": {"CPU": -1}}, "whole numbers"),
        ("gpu", {"resources": {"CPU": 1}, "max_nodes": -1}, "0 to -1 nodes"),
        ("gpu", {"resources": {"CPU": 1}, "min_nodes": 2, "max_nodes": 1}, "2 to 1 nodes"),
        ("gpu", {"resources": {"CPU": 1}, "most": 2}, "most"),
        ("gpu", 3, "gpu"),
    ],
)
def test_a_wrong_kind_is_told_when_it_is_configured(tmp_path: Path, name: str, declared: Any, said: str) -> None:
    with pytest.raises(TraitError, match=said):
        LocalBackend(tmp_path, worker_kinds={name: declared})


def test_declared_gpus_are_the_workers_and_not_more_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {
        "gpu": {"resources": {"CPU": 1, "GPU": 1}, "max_nodes": 8},
        "pair": {"resources": {"GPU": 2}, "max_nodes": 8},
        "cpu": {"resources": {"CPU": 2}, "max_nodes": 2},
    }

    def most(backend: LocalBackend) -> dict[str, int]:
        return {kind.name: kind.max_nodes for kind in backend.kinds("ada", "default")}

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    backend = LocalBackend(tmp_path, num_cpus=2, memory=10, worker_kinds=kinds)
    assert backend.head_resources() == {"CPU": 2.0, "memory": 10.0}
    assert most(backend) == {"gpu": 3, "pair": 1, "cpu": 2}
    assert backend.capacity()["CPU"] == 2 + 3 + 4
    with_one = LocalBackend(tmp_path, num_cpus=2, num_gpus=1, memory=10, worker_kinds=kinds)
    assert with_one.head_resources()["GPU"] == 1.0
    assert most(with_one) == {"gpu": 2, "pair": 1, "cpu": 2}
    # On a machine without any, they are numbers.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert most(backend) == {"gpu": 8, "pair": 8, "cpu": 2}
    assert backend.capacity()["GPU"] == 8 + 16
    # Without kinds all is the head's, as ever.
    assert LocalBackend(tmp_path, num_cpus=2, memory=10).capacity() == {"CPU": 2.0, "memory": 10.0}
