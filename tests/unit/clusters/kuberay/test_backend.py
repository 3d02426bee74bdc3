"""The backend's whole life against an API server and an operator that behave as Kubernetes and KubeRay do."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from jupyter_ext.clusters.backends.base import Head
from jupyter_ext.clusters.backends.kuberay import KubeRayBackend, looking, names, reading
from jupyter_ext.clusters.values import NodeState
from jupyter_ext.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from support.kube_api import Asked, KubeApi, Refused
from support.kuberay_operator import Operator
from support.waiting import wait_until

KINDS = {
    "cpu": {"cpu": 4, "memory": "16Gi", "max_nodes": 4},
    "gpu": {"cpu": 8, "memory": "64Gi", "gpu": 1, "max_nodes": 2},
}
NAME = "ray-ada--default"
#: Nothing listens there, so nobody waits for an answer.
NOWHERE = "http://127.0.0.1:9/{namespace}/{service}/{port}"
Make = Callable[..., KubeRayBackend]


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
def make(kube: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Backends as servers that follow or accompany each other have them."""
    monkeypatch.setattr(looking, "_FRESH_SECONDS", 0.05)
    made: list[KubeRayBackend] = []

    def backend(**traits: Any) -> KubeRayBackend:
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
        settings = {
            "kubeconfig": str(path), "workspace": "team", "image": "ray:1", "worker_kinds": KINDS,
            "admission_timeout": 10, "stop_timeout": 10, "address": NOWHERE, **traits,
        }  # fmt: skip
        new = KubeRayBackend(tmp_path, config=Config({"KubeRayBackend": settings}))
        made.append(new)
        return new

    yield backend
    for each in made:
        each._api.close()


@pytest.fixture
def backend(make: Make, operator: Operator) -> KubeRayBackend:
    return make()


def found(backend: KubeRayBackend, owner: str = "ada", name: str = "default") -> Head:
    head = backend.find(owner, name)
    assert head is not None
    return head


def groups(kube: KubeApi, name: str = NAME) -> dict[str, dict[str, Any]]:
    cluster = kube.get("rayclusters", name)
    assert cluster is not None
    return {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}


def workers(kube: KubeApi, group: str) -> int:
    return sum(
        "deletionTimestamp" not in pod["metadata"] for pod in kube.all("pods", {"ray.io/group": group})
    )  # fmt: skip


def ours(kube: KubeApi) -> list[tuple[str, str]]:
    """All that is left of clusters, whatever it is."""
    return [
        (item["kind"], item["metadata"]["name"])
        for item in kube.items.values()
        if item["kind"] != "Namespace" and item["metadata"]["name"].startswith("ray-")
    ]


# Start, find, stop


def test_a_cluster_starts_is_found_grows_and_ends(backend: KubeRayBackend, kube: KubeApi) -> None:
    assert backend.find("ada", "default") is None
    assert backend.known() == []
    head = backend.start("ada", "default")
    assert (head.owner, head.name) == ("ada", "default")
    assert head.url == f"http://127.0.0.1:9/ray/{NAME}-head-svc/8265"
    assert head.ready_url == f"http://127.0.0.1:9/ray/{NAME}-head-svc/52365/api/local_raylet_healthz"
    assert found(backend) == head, "what starts is what is found"
    assert backend.known() == [("ada", "default")]
    wait_until(lambda: [node.state for node in backend.nodes(head)] == [NodeState.RUNNING])

    backend.want(head, [{"CPU": 4}, {"CPU": 3}, {"GPU": 1, "CPU": 1}])
    wait_until(lambda: workers(kube, "cpu") == 2 and workers(kube, "gpu") == 1)
    wait_until(lambda: {node.state for node in backend.nodes(head)} == {NodeState.RUNNING})
    first, *others = backend.nodes(head)
    assert (first.kind, first.total) == ("head", {"memory": 8 * 2.0**30})
    assert sorted(node.kind for node in others) == ["cpu", "cpu", "gpu"]
    (gpu,) = [node for node in others if node.kind == "gpu"]
    assert gpu.total == {"CPU": 8.0, "GPU": 1.0, "memory": 64 * 2.0**30}
    backend.want(head, [])
    wait_until(lambda: workers(kube, "cpu") == workers(kube, "gpu") == 0)

    backend.stop("ada", "default")
    assert backend.find("ada", "default") is None
    assert backend.known() == []
    assert ours(kube) == []
    backend.stop("ada", "default")


def test_what_is_applied_is_whole_and_goes_with_the_cluster(backend: KubeRayBackend, kube: KubeApi) -> None:
    backend.start("ada", "default")
    cluster = kube.get("rayclusters", NAME)
    assert cluster is not None
    for plural, name in (
        ("secrets", f"{NAME}-token"),
        ("serviceaccounts", f"{NAME}-head"),
        ("serviceaccounts", f"{NAME}-worker"),
        ("poddisruptionbudgets", NAME),
        ("networkpolicies", NAME),
        ("networkpolicies", f"{NAME}-head"),
    ):
        item = kube.get(plural, name)
        assert item is not None, name
        assert [reference["uid"] for reference in item["metadata"]["ownerReferences"]] == [cluster["metadata"]["uid"]]
    # Whoever deletes the RayCluster deletes all of it.
    kube.remove("rayclusters", NAME)
    wait_until(lambda: ours(kube) == [])


def test_starting_again_changes_nothing(backend: KubeRayBackend, kube: KubeApi) -> None:
    head = backend.start("ada", "default")
    backend.resize("ada", "default", {"cpu": 1})
    before = kube.get("secrets", f"{NAME}-token"), groups(kube)["cpu"]["maxReplicas"]
    assert backend.start("ada", "default") == head
    assert (kube.get("secrets", f"{NAME}-token"), groups(kube)["cpu"]["maxReplicas"]) == before


def test_however_many_start_at_once_there_is_one_cluster(make: Make, operator: Operator, kube: KubeApi) -> None:
    backends = [make(), make(), make()]
    with ThreadPoolExecutor(6) as pool:
        heads = [future.result() for future in [pool.submit(each.start, "ada", "default") for each in backends * 2]]
    assert len(set(heads)) == 1
    assert {found(each) for each in backends} == set(heads)
    assert len(kube.all("rayclusters")) == 1


@pytest.mark.parametrize("broken_at", range(1, 14))
def test_a_start_that_was_broken_off_is_finished(make: Make, operator: Operator, kube: KubeApi, broken_at: int) -> None:
    """Each write of a start is the last one once."""
    writes = 0

    def die(asked: Asked) -> None:
        nonlocal writes
        if asked.method in ("POST", "PATCH"):
            writes += 1
            if writes == broken_at:
                raise Refused(503, "ServiceUnavailable", "gone")

    backend = make()
    kube.before = die
    with pytest.raises(Unavailable):
        backend.start("ada", "default")
    kube.before = lambda asked: None
    head = make().start("ada", "default")
    assert found(backend) == head
    for plural in ("secrets", "serviceaccounts", "poddisruptionbudgets", "networkpolicies"):
        assert all(item["metadata"]["ownerReferences"] for item in kube.all(plural))
    backend.stop("ada", "default")
    assert ours(kube) == []


def test_leftovers_of_a_start_that_never_came_to_a_cluster_are_stopped(
    make: Make, operator: Operator, kube: KubeApi
) -> None:
    backend = make()

    def refuse(asked: Asked) -> None:
        if asked.method == "POST" and asked.path.endswith("rayclusters"):
            raise Refused(403, "Forbidden", "exceeded quota: rayclusters")

    kube.before = refuse
    with pytest.raises(Forbidden, match="exceeded quota"):
        backend.start("ada", "default")
    assert ours(kube)
    backend.stop("ada", "default")
    assert ours(kube) == []


def test_what_a_former_cluster_left_is_not_built_upon(make: Make, operator: Operator, kube: KubeApi) -> None:
    backend = make()
    head = backend.start("ada", "default")
    # Somebody deletes the cluster, and the garbage collector has not come to its objects yet.
    left = [item for item in kube.items.values() if item["metadata"]["name"].startswith(NAME)]
    kube.remove("rayclusters", NAME)
    wait_until(lambda: ours(kube) == [])
    with kube.changed:
        for item in left:
            if item["kind"] in ("Secret", "ServiceAccount"):
                kube.items[kube_key(item)] = item
        again = ThreadPoolExecutor(1).submit(backend.start, "ada", "default")
    assert again.result().token != head.token
    wait_until(lambda: backend.nodes(found(backend)))
    assert kube.get("serviceaccounts", f"{NAME}-head") is not None


def kube_key(item: dict[str, Any]) -> tuple[str, str, str]:
    return f"{item['kind'].lower()}s", item["metadata"]["namespace"], item["metadata"]["name"]


def test_a_cluster_that_is_ending_is_awaited_before_the_next_begins(
    make: Make, operator: Operator, kube: KubeApi
) -> None:
    backend = make()
    first = backend.start("ada", "default")
    operator.stubborn = True
    with ThreadPoolExecutor(2) as pool:
        stopping = pool.submit(backend.stop, "ada", "default")
        wait_until(lambda: "deletionTimestamp" in (kube.get("rayclusters", NAME) or {"metadata": {}})["metadata"])
        wait_until(lambda: backend.find("ada", "default") is None)
        starting = pool.submit(make().start, "ada", "default")
        time.sleep(0.3)
        assert not starting.done()
        operator.stubborn = False
        stopping.result()
        second = starting.result()
    assert second.incarnation != first.incarnation
    assert found(backend).incarnation == second.incarnation


def test_a_cluster_that_does_not_end_is_told(make: Make, operator: Operator, kube: KubeApi) -> None:
    backend = make(stop_timeout=1.0)
    backend.start("ada", "default")
    operator.stubborn = True
    with pytest.raises(Unavailable, match="is still ending: a Pod is left"):
        backend.stop("ada", "default")
    operator.stubborn = False
    backend.stop("ada", "default")
    assert ours(kube) == []


def test_finalizers_are_awaited(make: Make, operator: Operator, kube: KubeApi) -> None:
    """KubeRay cleans a Redis up before a RayCluster goes."""
    backend = make()
    backend.start("ada", "default")
    kube.edit("rayclusters", NAME, lambda item: item["metadata"].update(finalizers=["ray.io/gcs-ft-redis-cleanup"]))
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(backend.stop, "ada", "default")
        wait_until(lambda: not kube.all("pods"))
        time.sleep(0.2)
        assert not stopping.done()
        kube.edit("rayclusters", NAME, lambda item: item["metadata"].update(finalizers=[]))
        stopping.result()
    assert ours(kube) == []


def test_a_suspended_cluster_has_no_head_and_is_woken_by_a_start(backend: KubeRayBackend, kube: KubeApi) -> None:
    first = backend.start("ada", "default")
    kube.edit("rayclusters", NAME, lambda item: item["spec"].update(suspend=True))
    wait_until(lambda: not kube.all("pods"))
    assert backend.find("ada", "default") is None
    assert backend.known() == [("ada", "default")]
    assert backend.log_tail("ada", "default") == "It is suspended."
    second = backend.start("ada", "default")
    assert second.incarnation != first.incarnation
    assert second.token == first.token


# What is not ours


def test_an_object_of_somebody_else_is_refused_and_left_alone(make: Make, operator: Operator, kube: KubeApi) -> None:
    backend = make()
    theirs = backend.start("ada", "default")
    kube.edit("rayclusters", NAME, lambda item: item["metadata"]["labels"].pop(names.MANAGED_BY))
    before = kube.get("rayclusters", NAME)
    wait_until(lambda: backend.find("ada", "default") is None)
    with pytest.raises(Conflict, match="belongs to somebody else"):
        backend.start("ada", "default")
    with pytest.raises(NotFound):
        backend.resize("ada", "default", {"cpu": 1})
    backend.want(theirs, [{"CPU": 1}])
    backend.stop("ada", "default")
    after = kube.get("rayclusters", NAME)
    assert before is not None
    assert after is not None
    assert (before["spec"], before["metadata"]) == (after["spec"], after["metadata"])


def test_so_is_any_other_object_of_such_a_name(make: Make, operator: Operator, kube: KubeApi) -> None:
    theirs = kube.put(
        {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"auth_token": "dGhlaXJz"},
            "metadata": {"name": f"{NAME}-token", "namespace": "ray"},
        }
    )  # fmt: skip
    backend = make()
    with pytest.raises(Conflict, match=rf"Secret '{NAME}-token'"):
        backend.start("ada", "default")
    backend.stop("ada", "default")
    assert kube.get("secrets", f"{NAME}-token") == theirs
    assert kube.all("rayclusters") == []


def test_workspaces_do_not_see_each_others_clusters(make: Make, operator: Operator) -> None:
    one, other = make(workspace="one"), make(workspace="other")
    one.start("ada", "default")
    assert other.find("ada", "default") is None
    assert other.known() == []
    with pytest.raises(Conflict, match="namespace of its own"):
        other.start("ada", "default")
    other.stop("ada", "default")
    assert one.known() == [("ada", "default")]


def test_owners_and_names_come_back_as_they_are(backend: KubeRayBackend) -> None:
    backend.start("Ada.Lovelace@example.org", "Big one")
    assert backend.known() == [("Ada.Lovelace@example.org", "Big one")]
    assert found(backend, "Ada.Lovelace@example.org", "Big one").owner == "Ada.Lovelace@example.org"


def test_users_may_have_namespaces_of_their_own(make: Make, operator: Operator, kube: KubeApi) -> None:
    backend = make(
        namespace="ray-{user}", create_namespaces=True, quota={"pods": "9"}, limits={"default": {"memory": "1Gi"}}
    )
    backend.start("ada", "default")
    backend.start("ada", "other")
    backend.start("bob", "default")
    assert backend.known() == [("ada", "default"), ("ada", "other"), ("bob", "default")]
    assert found(backend, "bob").url == "http://127.0.0.1:9/ray-bob/ray-bob--default-head-svc/8265"
    assert kube.get("resourcequotas", "ray", "ray-ada") is not None
    assert kube.get("limitranges", "ray", "ray-bob") is not None
    backend.stop("ada", "default")
    assert backend.known() == [("ada", "other"), ("bob", "default")]
    assert kube.get("namespaces", "ray-ada") is not None


def test_a_namespace_that_is_missing_is_told(make: Make, operator: Operator) -> None:
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        make(namespace="nowhere").start("ada", "default")


# Size


def test_limits_are_set_within_what_is_configured(backend: KubeRayBackend, kube: KubeApi) -> None:
    assert [(kind.name, kind.max_nodes) for kind in backend.kinds("ada", "default")] == [("cpu", 4), ("gpu", 2)]
    with pytest.raises(NotFound, match="does not run"):
        backend.resize("ada", "default", {"cpu": 1})
    head = backend.start("ada", "default")
    backend.want(head, [{"CPU": 4}] * 4)
    assert groups(kube)["cpu"]["minReplicas"] == 4
    backend.resize("ada", "default", {"cpu": 1, "gpu": 0})
    assert [(kind.name, kind.max_nodes) for kind in backend.kinds("ada", "default")] == [("cpu", 1), ("gpu", 0)]
    # KubeRay refuses a cluster whose least is more than its most.
    assert groups(kube)["cpu"]["minReplicas"] == 1
    backend.want(head, [{"CPU": 4}] * 4 + [{"GPU": 1}])
    assert (groups(kube)["cpu"]["minReplicas"], groups(kube)["gpu"]["minReplicas"]) == (1, 0)
    with pytest.raises(Invalid, match="0 to 4 workers of the kind 'cpu'"):
        backend.resize("ada", "default", {"cpu": 5})
    with pytest.raises(Invalid, match=r"no kind of worker 'tpu'\. There are: cpu, gpu"):
        backend.resize("ada", "default", {"tpu": 1})


def test_limits_hold_until_the_cluster_is_stopped(backend: KubeRayBackend) -> None:
    backend.start("ada", "default")
    backend.resize("ada", "default", {"cpu": 1})
    backend.stop("ada", "default")
    backend.start("ada", "default")
    assert [kind.max_nodes for kind in backend.kinds("ada", "default")] == [4, 2]


def test_the_autoscalers_numbers_are_never_written(make: Make, kube: KubeApi) -> None:
    operator = Operator(kube, autoscales=False).start()
    backend = make()
    head = backend.start("ada", "default")

    def autoscale(item: dict[str, Any]) -> None:
        item["spec"]["workerGroupSpecs"][0].update(replicas=3, scaleStrategy={"workersToDelete": ["a"]})

    kube.edit("rayclusters", NAME, autoscale)
    kube.asked.clear()
    backend.want(head, [{"GPU": 1}])
    backend.resize("ada", "default", {"cpu": 2})
    backend.keep(head)
    backend.start("ada", "default")
    cpu = groups(kube)["cpu"]
    assert (cpu["replicas"], cpu["scaleStrategy"]) == (3, {"workersToDelete": ["a"]})
    # They touch one number each, by its path.
    patches = [asked.body for asked in kube.asked if asked.content_type == "application/json-patch+json"]
    written = {operation["path"] for patch in patches for operation in patch}
    assert written == {
        "/metadata/resourceVersion", "/spec/workerGroupSpecs/1/minReplicas", "/spec/workerGroupSpecs/0/maxReplicas",
    }  # fmt: skip
    operator.stop()


def test_a_change_by_another_writer_at_the_same_time_is_not_lost(backend: KubeRayBackend, kube: KubeApi) -> None:
    head = backend.start("ada", "default")
    conflicts = 0

    def interfere(asked: Asked) -> None:
        nonlocal conflicts
        if asked.method == "PATCH" and conflicts < 3:
            conflicts += 1
            kube.edit("rayclusters", NAME, lambda item: item["metadata"]["labels"].update(step=str(conflicts)))

    kube.before = interfere
    backend.want(head, [{"CPU": 1}])
    assert conflicts == 3
    assert groups(kube)["cpu"]["minReplicas"] == 1
    cluster = kube.get("rayclusters", NAME)
    assert cluster is not None
    assert cluster["metadata"]["labels"]["step"] == "3"


def test_a_cluster_that_never_holds_still_is_told(
    backend: KubeRayBackend, kube: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = backend.start("ada", "default")

    def interfere(asked: Asked) -> None:
        if asked.method == "PATCH":
            kube.edit("rayclusters", NAME, lambda item: item["metadata"]["labels"].update(step=str(time.time_ns())))

    kube.before = interfere
    with pytest.raises(Unavailable, match="being changed all the time"):
        backend.want(head, [{"CPU": 1}])


def test_wanting_the_same_again_writes_nothing(backend: KubeRayBackend, kube: KubeApi) -> None:
    head = backend.start("ada", "default")
    backend.want(head, [{"CPU": 1}])
    kube.asked.clear()
    for _ in range(5):
        backend.want(head, [{"CPU": 1}])
    assert not [asked for asked in kube.asked if asked.method != "GET"]


def test_least_numbers_of_the_configuration_hold(make: Make, operator: Operator, kube: KubeApi) -> None:
    backend = make(worker_kinds={"cpu": {**KINDS["cpu"], "min_nodes": 1}})
    head = backend.start("ada", "default")
    wait_until(lambda: workers(kube, "cpu") == 1)
    backend.want(head, [{"CPU": 4}] * 2)
    assert groups(kube)["cpu"]["minReplicas"] == 2
    backend.want(head, [])
    assert groups(kube)["cpu"]["minReplicas"] == 1


def test_capacity_is_what_it_can_grow_to(make: Make) -> None:
    backend = make(head={"memory": "4Gi"})
    gib = 2.0**30
    assert backend.capacity() == {"CPU": 32.0, "GPU": 2.0, "memory": (4 + 4 * 16 + 2 * 64) * gib}
    assert backend.head_resources() == {"memory": 4 * gib}


# What becomes of heads


def test_a_head_that_was_replaced_is_another_and_never_gone(
    backend: KubeRayBackend, kube: KubeApi, operator: Operator
) -> None:
    first = backend.start("ada", "default")
    seen = set()
    operator.fail_head(NAME)

    def is_another() -> bool:
        head = found(backend)
        seen.add(head.incarnation)
        return head.incarnation not in (first.incarnation, f"{uid}/none")

    cluster = kube.get("rayclusters", NAME)
    assert cluster is not None
    uid = cluster["metadata"]["uid"]
    wait_until(is_another)
    assert found(backend).url == first.url
    assert found(backend).token == first.token


def test_a_head_between_two_pods_is_another_too(backend: KubeRayBackend, kube: KubeApi, operator: Operator) -> None:
    first = backend.start("ada", "default")
    operator.refuses = "no room"
    operator.fail_head(NAME)
    wait_until(lambda: not kube.all("pods"))
    wait_until(lambda: found(backend).incarnation != first.incarnation)
    wait_until(lambda: backend.log_tail("ada", "default") == "KubeRay can't create its pods: no room")


def test_a_restarted_container_is_another_head(backend: KubeRayBackend, kube: KubeApi) -> None:
    first = backend.start("ada", "default")
    wait_until(lambda: backend.nodes(first)[0].state is NodeState.RUNNING)

    def restart(pod: dict[str, Any]) -> None:
        pod["status"]["containerStatuses"][0]["restartCount"] = 1

    kube.edit("pods", kube.all("pods")[0]["metadata"]["name"], restart)
    wait_until(lambda: found(backend).incarnation != first.incarnation)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/3 nodes are available: 3 Insufficient memory."}]},
            "No machine has room for it now: 0/3 nodes are available: 3 Insufficient memory.",
        ),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [
                {"name": "ray", "image": "ray:1", "restartCount": 0, "state": {"waiting": {
                    "reason": "ImagePullBackOff", "message": 'Back-off pulling image "ray:1"'}}}]},
            'The image ray:1 can\'t be fetched: Back-off pulling image "ray:1"',
        ),
        (
            {"phase": "Pending", "containerStatuses": [{"name": "ray", "image": "ray:1", "restartCount": 0,
             "state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}}]},
            'Something that it needs is missing: secret "x" not found',
        ),
        ({"phase": "Pending"}, "It waits for a machine."),
    ],
)  # fmt: skip
def test_what_keeps_a_head_is_said_in_plain_words(
    backend: KubeRayBackend, operator: Operator, status: dict[str, Any], said: str
) -> None:
    operator.held["headgroup"] = status
    head = backend.start("ada", "default")
    wait_until(lambda: backend.nodes(head)[0].message == said)
    assert backend.nodes(head)[0].state is NodeState.STARTING
    assert backend.log_tail("ada", "default") == said


def test_workers_that_wait_say_why(backend: KubeRayBackend, operator: Operator) -> None:
    head = backend.start("ada", "default")
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }  # fmt: skip
    operator.held["gpu"] = {"phase": "Pending", "conditions": [condition]}
    backend.want(head, [{"GPU": 1}])
    wait_until(lambda: len(backend.nodes(head)) == 2)
    wait_until(lambda: "Insufficient nvidia.com/gpu" in backend.nodes(head)[1].message)
    waiting = backend.nodes(head)[1]
    assert (waiting.kind, waiting.state) == ("gpu", NodeState.STARTING)


def test_the_end_of_a_log_is_told(backend: KubeRayBackend, kube: KubeApi) -> None:
    assert backend.log_tail("ada", "default") == ""
    head = backend.start("ada", "default")
    wait_until(lambda: backend.nodes(head)[0].state is NodeState.RUNNING)
    kube.logs[kube.all("pods")[0]["metadata"]["name"]] = "".join(f"line {number}\n\n" for number in range(900))
    tail = backend.log_tail("ada", "default")
    assert tail.endswith("line 899")
    assert len(tail) <= 2000


def test_without_kuberay_a_start_says_so(make: Make, kube: KubeApi) -> None:
    backend = make(admission_timeout=1.0)
    with pytest.raises(Unavailable, match=r"no pod after 1 s\. KubeRay has not looked at it\. Does its operator run"):
        backend.start("ada", "default")
    operator = Operator(kube).start()
    assert backend.start("ada", "default") == found(backend)
    operator.stop()


def test_why_kuberay_makes_no_pod_is_told(make: Make, operator: Operator) -> None:
    operator.refuses = 'pods "ray-ada" is forbidden: exceeded quota: ray, requested: pods=1, used: pods=9'
    with pytest.raises(Unavailable, match=r"KubeRay can't create its pods.*exceeded quota"):
        make(admission_timeout=1.0).start("ada", "default")


# When the API server is away


def test_an_api_server_that_is_away_never_means_dead(
    backend: KubeRayBackend, kube: KubeApi, caplog: pytest.LogCaptureFixture
) -> None:
    head = backend.start("ada", "default")
    assert backend.known() == [("ada", "default")]
    kube.stop()
    time.sleep(0.1)
    for call in (
        lambda: backend.find("ada", "default"),
        lambda: backend.start("ada", "default"),
        lambda: backend.stop("ada", "default"),
        lambda: backend.want(head, [{"CPU": 1}]),
        lambda: backend.resize("ada", "default", {"cpu": 1}),
        lambda: backend.nodes(head),
    ):
        with pytest.raises(Unavailable, match="does not answer"):
            call()
    # Who watches over clusters goes by this list, and must not forget them.
    assert backend.known() == [("ada", "default")]
    assert [kind.name for kind in backend.kinds("ada", "default")] == ["cpu", "gpu"]
    assert "does not answer" in backend.log_tail("ada", "default")
    time.sleep(0.1)
    backend.known()
    assert caplog.text.count("Which clusters there are is not known now") == 1, "asked every few seconds, told once"
    kube.start()
    wait_until(lambda: _finds(backend, head))


def _finds(backend: KubeRayBackend, head: Head) -> bool:
    try:
        return backend.find("ada", "default") == head
    except Unavailable:
        return False


def test_a_server_in_trouble_is_no_answer_either(backend: KubeRayBackend, kube: KubeApi) -> None:
    backend.start("ada", "default")

    def trouble(asked: Asked) -> None:
        raise Refused(429, "TooManyRequests", "too many requests", retry_after=1)

    kube.before = trouble
    time.sleep(0.1)
    with pytest.raises(Unavailable, match="too many requests") as caught:
        backend.find("ada", "default")
    assert caught.value.details == {"retry_after": 1.0}


def test_rights_that_are_missing_are_told_as_kubernetes_says_it(make: Make, kube: KubeApi) -> None:
    kube.rules = [
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    ]
    with pytest.raises(Forbidden, match='cannot create resource "serviceaccounts"'):
        make().start("ada", "default")


@pytest.mark.parametrize("trouble", ["drop", "compact"])
def test_a_start_gets_over_broken_and_outdated_watches(make: Make, kube: KubeApi, trouble: str) -> None:
    operator = Operator(kube)
    backend = make()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(backend.start, "ada", "default")
        wait_until(lambda: any(asked.query.get("watch") for asked in kube.asked))
        if trouble == "compact":
            kube.compact()
        for _ in range(3):
            kube.drop_watches()
            time.sleep(0.1)
        assert not starting.done()
        operator.start()
        assert starting.result() == found(backend)
    operator.stop()


# How often it asks


def test_many_that_ask_are_answered_from_one_look(
    make: Make, operator: Operator, kube: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make()
    backend.start("ada", "default")
    backend.start("bob", "default")
    monkeypatch.setattr(looking, "_FRESH_SECONDS", 30.0)
    backend.find("ada", "default"), backend.find("bob", "default")
    kube.asked.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda owner: backend.find(owner, "default"), ["ada", "bob"] * 50))
    backend.known(), backend.kinds("ada", "default")
    assert kube.asked == []
    # What it writes itself it sees at once.
    backend.resize("ada", "default", {"cpu": 1})
    assert backend.kinds("ada", "default")[0].max_nodes == 1
    backend.stop("ada", "default")
    assert backend.find("ada", "default") is None
    assert backend.known() == [("bob", "default")]


def test_keeping_writes_once_a_minute_and_nothing_else(
    backend: KubeRayBackend, make: Make, kube: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = backend.start("ada", "default")
    before = kube.get("rayclusters", NAME)
    assert before is not None
    kept = before["metadata"]["annotations"][names.KEPT_AT]
    follower = make()
    kube.asked.clear()
    for _ in range(5):
        follower.keep(head)
    (patch,) = [asked for asked in kube.asked if asked.method != "GET"]
    assert list(patch.body) == ["metadata"]
    assert list(patch.body["metadata"]) == ["annotations"]
    assert list(patch.body["metadata"]["annotations"]) == [names.KEPT_AT]
    after = kube.get("rayclusters", NAME)
    assert after is not None
    assert after["metadata"]["annotations"][names.KEPT_AT] >= kept
    assert after["spec"] == before["spec"]
    # A minute later.
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    follower.keep(head)
    assert len([asked for asked in kube.asked if asked.method != "GET"]) == 2


# Settings and secrets


def test_an_image_is_needed(make: Make) -> None:
    with pytest.raises(Invalid, match=r"Set c\.KubeRayBackend\.image"):
        make(image="").start("ada", "default")


def test_wrong_settings_are_told_when_they_are_needed(make: Make) -> None:
    backend = make(worker_kinds={"cpu": {"cpu": 1, "memory": "1 GB"}})
    with pytest.raises(Invalid, match=r"c\.KubeRayBackend\.worker_kinds\.cpu\.memory"):
        backend.capacity()


def test_without_a_way_to_kubernetes_there_are_no_clusters_and_a_start_says_so(make: Make, tmp_path: Path) -> None:
    backend = make()
    backend.kubeconfig = str(tmp_path / "none")
    assert backend.known() == []
    with pytest.raises(Invalid, match=r"Set c\.KubeRayBackend\.kubeconfig"):
        backend.start("ada", "default")
    backend.kubeconfig = str(tmp_path / "kubeconfig")


def test_heads_are_reached_by_their_service(make: Make, operator: Operator) -> None:
    backend = make(address=KubeRayBackend.address.default_value)
    head = backend.start("ada", "default")
    assert head.url == f"http://{NAME}-head-svc.ray.svc:8265"
    assert head.ready_url == f"http://{NAME}-head-svc.ray.svc:52365/api/local_raylet_healthz"


def test_workspaces_are_named_after_the_hubs_user_or_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_NAME", "jupyter-ext")
    assert KubeRayBackend(tmp_path).workspace == "jupyter-ext"
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    assert KubeRayBackend(tmp_path).workspace == "ada"


def test_every_cluster_has_a_token_of_its_own(backend: KubeRayBackend, make: Make) -> None:
    one, other = backend.start("ada", "default"), backend.start("bob", "default")
    assert one.token != other.token
    assert len(one.token) == 64
    assert found(make()).token == one.token
    backend.stop("ada", "default")
    assert backend.start("ada", "default").token != one.token


def test_a_lost_token_is_told(backend: KubeRayBackend, make: Make, kube: KubeApi) -> None:
    backend.start("ada", "default")
    kube.remove("secrets", f"{NAME}-token")
    with pytest.raises(Unavailable, match="token of cluster 'default' is lost"):
        make().find("ada", "default")


def test_tokens_are_in_no_log_and_no_representation(
    make: Make, operator: Operator, kube: KubeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = make()
    head = backend.start("ada", "default")
    backend.want(head, [{"CPU": 1}, {"TPU": 1}])
    backend.keep(head)
    with pytest.raises(Invalid):
        backend._api.merge("Secret", "ray", f"{NAME}-token", {"typo": 1})
    kube.stop()
    time.sleep(0.1)
    with pytest.raises(Unavailable) as caught:
        backend.find("ada", "default")
    backend.known()
    kube.start()
    said = caplog.text + repr(head) + repr(backend._api.access) + str(caught.value) + repr(backend._look.last().failure)
    assert head.token not in said
    assert kube.token not in said
    assert head.token not in json.dumps(kube.all("rayclusters"))


def test_nothing_of_it_runs_on_when_it_is_not_asked(backend: KubeRayBackend) -> None:
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("jupyter-ext")}
    backend.start("ada", "default")
    assert {thread for thread in threading.enumerate() if thread.name.startswith("jupyter-ext")} == threads


def test_loading_it_costs_little() -> None:
    code = "import sys, jupyter_ext.clusters.backends.kuberay; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"ray", "pandas", "httpx", "yaml", "kubernetes", "kubernetes_asyncio"})


def test_reading_needs_little() -> None:
    pod: dict[str, Any] = {"metadata": {"name": "a", "uid": "u"}}
    assert reading.living_head([pod]) is None
    assert reading.incarnation({"metadata": {"uid": "c"}}, pod) == "u/0"
    assert reading.why({**pod, "status": {"phase": "Failed", "reason": "Evicted"}}) == "Evicted."
    terminated = {"name": "ray", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    assert reading.why({**pod, "status": {"containerStatuses": [terminated]}}) == "It ran out of memory."
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    assert reading.why({**pod, "status": {"conditions": [gated]}}) == "It is held back from scheduling."
    node = reading.node({**pod, "status": {"phase": "Succeeded"}}, {})
    assert (node.kind, node.state) == ("", NodeState.STOPPING)
