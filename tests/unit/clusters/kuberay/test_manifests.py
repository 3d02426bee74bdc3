"""What k8s/ holds is valid, and the rights in it are those that are needed: no fewer, no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from traitlets.config import Config

from jupyter_ext.clusters.backends.kuberay import KubeRayBackend, looking, names, reaper
from jupyter_ext.clusters.backends.kuberay.access import Access
from jupyter_ext.clusters.backends.kuberay.api import Api
from support.kube_api import KINDS, Asked, KubeApi
from support.kuberay_operator import Operator

FOLDER = Path(__file__).parents[4] / "k8s"
NOWHERE = "http://127.0.0.1:9/{namespace}/{service}/{port}"
FILES = sorted(FOLDER.glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def rules(file: str, kind: str, name: str) -> list[dict[str, Any]]:
    """The rules of a role in a file."""
    (role,) = [item for item in documents(FOLDER / file) if item["kind"] == kind and item["metadata"]["name"] == name]
    found: list[dict[str, Any]] = role["rules"]
    return found


def allowed(granted: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(resource, verb) for rule in granted for resource in rule["resources"] for verb in rule["verbs"]}


def used(asked: list[Asked]) -> set[tuple[str, str]]:
    """What was done with which resources."""
    found = set()
    for each in asked:
        parts = each.path.split("/")
        plural = next(part for part in reversed(parts) if part in KINDS)
        named, log = parts[-1] != plural, parts[-1] == "log"
        verb = {
            "GET": "get" if named else "watch" if "watch" in each.query else "list",
            "POST": "create", "PATCH": "patch", "DELETE": "delete",
        }[each.method]  # fmt: skip
        found.add((f"{plural}/log" if log else plural, verb))
    return found


def foreground(item: dict[str, Any]) -> list[str]:
    return [name for name in item["metadata"].get("finalizers") or [] if name == "foregroundDeletion"]


@pytest.fixture
def kube() -> Iterator[KubeApi]:
    running = KubeApi().start()
    operator = Operator(running).start()
    yield running
    operator.stop()
    running.stop()


@pytest.fixture
def live(kube: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do everything that a backend does."""
    monkeypatch.setattr(looking, "_FRESH_SECONDS", 0.0)

    def run(**traits: Any) -> None:
        settings = {
            "image": "ray:1",
            "workspace": "team",
            "namespace": "ray",
            "stop_timeout": 10,
            "address": NOWHERE,
            **traits,
        }
        backend = KubeRayBackend(tmp_path, config=Config({"KubeRayBackend": settings}))
        backend._api = Api(Access(kube.url, token=kube.token))
        head = backend.start("ada", "default")
        namespace = head.url.split("/")[3]

        def change(what: Callable[[dict[str, Any]], Any]) -> None:
            kube.edit("rayclusters", "ray-ada--default", what, namespace)

        def hold(finalizers: list[str]) -> None:
            change(lambda item: item["metadata"].update(finalizers=[*finalizers, *foreground(item)]))

        # What a start that was broken off left is brought up to date.
        kube.remove("poddisruptionbudgets", "ray-ada--default", namespace)
        assert backend.start("ada", "default") == head == backend.find("ada", "default")
        change(lambda item: item["spec"].update(suspend=True))
        backend.start("ada", "default")
        backend.keep(head)
        backend._kept.clear()
        backend.keep(head)
        backend.want(head, [{"CPU": 1}])
        backend.resize("ada", "default", {"cpu": 1})
        backend.nodes(head)
        backend.log_tail("ada", "default")
        assert backend.known() == [("ada", "default")]
        # KubeRay has something to clean up, so the RayCluster goes some time after its pods.
        hold(["ray.io/gcs-ft-redis-cleanup-finalizer"])
        release = threading.Timer(0.5, hold, [[]])
        release.start()
        backend.stop("ada", "default")
        release.join()
        backend._api.close()

    return run


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_manifests_are_valid_to_the_last_field(path: Path) -> None:
    found = documents(path)
    assert found
    for item in found:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_the_servers_rights_are_enough_and_all_needed(kube: KubeApi, live: Callable[..., None]) -> None:
    kube.rules = rules("rbac.yaml", "Role", "jupyter-ext")
    live()
    assert used(kube.asked) == allowed(kube.rules)


def test_so_are_those_for_users_own_namespaces(kube: KubeApi, live: Callable[..., None]) -> None:
    kube.rules = rules("rbac-own-namespaces.yaml", "ClusterRole", "jupyter-ext")
    live(namespace="ray-{user}", create_namespaces=True, quota={"pods": "9"}, limits={"default": {"memory": "1Gi"}})
    # A second cluster in a namespace that is there already.
    live(namespace="ray-{user}", create_namespaces=True, quota={"pods": "9"}, limits={"default": {"memory": "1Gi"}})
    assert used(kube.asked) == allowed(kube.rules)


def test_the_reapers_rights_are_enough_and_all_needed(kube: KubeApi) -> None:
    for owner, year in (("ada", 2020), ("bob", 2999)):
        kube.put(
            {
                "apiVersion": "ray.io/v1", "kind": "RayCluster",
                "metadata": {
                    "name": f"ray-{owner}--default", "namespace": "ray", "labels": names.workspace_labels("team"),
                    "annotations": {names.KEPT_AT: f"{year}-01-01T00:00:00Z"},
                },
                "spec": {"suspend": True, "headGroupSpec": {}, "workerGroupSpecs": []},
            }
        )  # fmt: skip
    kube.put(
        {
            "apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": {"suspend": True, "workerGroupSpecs": []},
            "metadata": {"name": "theirs", "namespace": "ray", "annotations": {names.KEPT_AT: "2020-01-01T00:00:00Z"}},
        }
    )  # fmt: skip
    kube.rules = rules("reaper.yaml", "Role", "jupyter-ext-reaper")
    api = Api(Access(kube.url, token=kube.token))
    assert reaper.reap(api, "ray", after=timedelta(hours=1)) == ["ray-ada--default"]
    assert reaper.reap(api, "ray", after=timedelta(hours=1)) == []
    assert [item["metadata"]["name"] for item in kube.all("rayclusters")] == ["ray-bob--default", "theirs"]
    assert used(kube.asked) == allowed(kube.rules)
    api.close()


def test_the_reaper_spares_what_is_kept_at_that_moment(kube: KubeApi) -> None:
    kube.put(
        {
            "apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": {"suspend": True, "workerGroupSpecs": []},
            "metadata": {"name": "a", "namespace": "ray", "labels": names.workspace_labels("team")},
        }
    )  # fmt: skip

    def keep(asked: Asked) -> None:
        if asked.method == "DELETE":
            kept = {names.KEPT_AT: datetime.now(UTC).isoformat()}
            kube.edit("rayclusters", "a", lambda item: item["metadata"].update(annotations=kept))

    kube.before = keep
    api = Api(Access(kube.url, token=kube.token))
    kube.edit(
        "rayclusters", "a", lambda item: item["metadata"].update(annotations={names.KEPT_AT: "2020-01-01T00:00Z"})
    )
    assert reaper.reap(api, "ray", after=timedelta(hours=1)) == []
    assert "DELETE" in {asked.method for asked in kube.asked}
    assert kube.get("rayclusters", "a") is not None
    api.close()


def test_the_reaper_runs_by_itself(kube: KubeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "ray"}}],
                "clusters": [{"name": "c", "cluster": {"server": kube.url}}],
                "users": [{"name": "u", "user": {"token": kube.token}}],
            }
        )
    )
    kube.put(
        {
            "apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": {"suspend": True, "workerGroupSpecs": []},
            "metadata": {"name": "a", "namespace": "ray", "labels": names.workspace_labels("team")},
        }
    )  # fmt: skip
    caplog.set_level("INFO")
    reaper.main(["--kubeconfig", str(tmp_path / "kubeconfig"), "--after", "0"])
    assert "Ended a: no server kept it for 0 s." in caplog.text
    assert kube.all("rayclusters") == []


def test_the_reapers_job_calls_what_there_is() -> None:
    (job,) = [item for item in documents(FOLDER / "reaper.yaml") if item["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["python", "-m", reaper.__name__]


def test_priorities_are_in_order() -> None:
    values = {item["metadata"]["name"]: item["value"] for item in documents(FOLDER / "priorities.yaml")}
    order = ["ray-head", "ray-training", "ray-preprocessing", "ray-placeholder"]
    assert sorted(values, key=lambda name: -values[name]) == order
