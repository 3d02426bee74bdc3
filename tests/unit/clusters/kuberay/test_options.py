"""Wrong settings are told by their names; what is added to pods is merged as Kubernetes merges."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_ext.clusters.backends.kuberay.merging import merge
from jupyter_ext.clusters.backends.kuberay.options import FaultTolerance, Kind, read_options
from jupyter_ext.clusters.backends.kuberay.quantities import number
from jupyter_ext.errors import Invalid

CPU = {"cpu": 1, "memory": "1Gi"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"worker_kinds": {"cpu": {"memory": "1Gi"}}}, r"c\.KubeRayBackend\.worker_kinds\.cpu\.cpu: Field required"),
        ({"worker_kinds": {"cpu": {**CPU, "gpus": 1}}}, r"worker_kinds\.cpu\.gpus: Extra inputs"),
        ({"worker_kinds": {"A b": CPU}}, r"worker_kinds\.A b\.name: String should match"),
        ({"worker_kinds": {"head": CPU}}, "'head' is the head's name"),
        ({"worker_kinds": {"cpu": {**CPU, "min_nodes": 2}}}, "min_nodes is greater"),
        ({"worker_kinds": [CPU]}, "worker_kinds: Input should be a valid dictionary"),
        ({"head": {"memory": "8 GB"}}, r"head\.memory: '8 GB' is no quantity"),
        ({"fault_tolerance": {"backend": "redis"}}, "redis needs redis_address"),
        ({"fault_tolerance": {"backend": "rocksdb", "redis_address": "a:1"}}, "rocksdb takes none"),
        ({"quota": {"pods": "1"}}, "give every user one"),
        ({"ray_version": "nightly"}, r"ray_version: String should match"),
        ({"network": {"egres": []}}, r"network\.egres: Extra inputs"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read_options({"image": "ray:1", **settings})


def test_a_cluster_may_have_fewer_nodes_than_the_configuration_keeps() -> None:
    kind = Kind(name="cpu", cpu=1, memory="1Gi", min_nodes=2, max_nodes=4)
    assert (kind.worker_kind().min_nodes, kind.worker_kind().max_nodes) == (2, 4)
    assert (kind.worker_kind(1).min_nodes, kind.worker_kind(1).max_nodes) == (1, 1)


@pytest.mark.parametrize(("address", "port"), [("redis:6380", 6380), ("redis", 6379), ("rediss://a.b:7000", 7000)])
def test_ports_of_redis(address: str, port: int) -> None:
    assert FaultTolerance(backend="redis", redis_address=address).redis_port == port


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("250m", 0.25), ("1k", 1e3), ("1Ki", 1024.0), ("2G", 2e9),
        ("1.5Gi", 1.5 * 2**30), ("1e3", 1e3), ("1E3", 1e3), ("1E", 1e18), ("1Ei", 2.0**60), (4, 4.0),
    ],
)  # fmt: skip
def test_quantities(quantity: str | float, expected: float) -> None:
    assert number(quantity) == expected


@pytest.mark.parametrize("quantity", ["", "Gi", "1 Gi", "1GB", "-1", "1e", "one", "1,5"])
def test_no_quantities(quantity: str) -> None:
    with pytest.raises(Invalid, match="no quantity"):
        number(quantity)


def test_merging_adds_replaces_and_removes() -> None:
    base = {"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": 1, "value": 1}
    extra = {"a": {"c": 3, "d": 4}, "list": [2, 3], "gone": None, "value": {"x": 1}, "absent": None}
    assert merge(base, extra) == {"a": {"b": 1, "c": 3, "d": 4}, "list": [1, 2, 3], "value": {"x": 1}}
    assert base == {"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": 1, "value": 1}


def test_named_things_are_merged_by_their_names() -> None:
    base = {"containers": [{"name": "ray", "ports": [{"name": "a", "containerPort": 1}]}]}
    extra = {
        "containers": [
            {"name": "other"},
            {
                "name": "ray",
                "ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 2}],
                "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}],
            },
        ]
    }
    ray, other = merge(base, extra)["containers"]
    assert other == {"name": "other"}
    assert ray["ports"] == [{"name": "a", "containerPort": 1, "protocol": "TCP"}, {"containerPort": 2}]
    assert [mount["mountPath"] for mount in ray["volumeMounts"]] == ["/a", "/b"]
