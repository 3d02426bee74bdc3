"""What the KubeRay operator, Ray's autoscaler, the kubelet and the garbage collector do, for tests: as threads' ticks.

Written after KubeRay v1.7 (``raycluster_controller.go``): names, labels, conditions and the order of things are its.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from support.kube_api import KubeApi

Object = dict[str, Any]
_TICK = 0.02


@dataclass
class Operator:
    """Turns RayClusters into pods. ``held`` keeps pods of groups from running, with a status (``headgroup``: the head).

    ``autoscales``: the autoscaler follows ``minReplicas``, up and (nodes being idle at once) down.
    """

    api: KubeApi
    held: dict[str, Object] = field(default_factory=dict)
    autoscales: bool = True
    #: Why it can create no pods, as the API server says it.
    refuses: str = ""
    runs: bool = True
    #: Pods that don't end when they are told to.
    stubborn: bool = False

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def start(self) -> Operator:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; raises what went wrong."""
        self._end.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def fail_head(self, cluster: str, namespace: str = "ray") -> None:
        """Let a head's pod fail, as with a lost machine. It is replaced."""
        for pod in self.api.all("pods", {"ray.io/cluster": cluster, "ray.io/node-type": "head"}):
            if pod["metadata"]["namespace"] == namespace:
                self.api.edit("pods", pod["metadata"]["name"], _set_failed, namespace)

    def _run(self) -> None:
        try:
            while not self._end.wait(_TICK):
                with self.api.changed:
                    self._tick()
        except Exception as error:
            self.failure = error

    def _tick(self) -> None:
        if self.runs:
            for cluster in self.api.all("rayclusters"):
                if "deletionTimestamp" not in cluster["metadata"]:
                    self._reconcile(cluster)
        for pod in self.api.all("pods"):
            self._kubelet(pod)
        self.api.collect_garbage()

    def _reconcile(self, cluster: Object) -> None:
        name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
        pods = [
            pod
            for pod in self.api.all("pods", {"ray.io/cluster": name})
            if pod["metadata"]["namespace"] == namespace and pod["metadata"]["labels"]["ray.io/is-ray-node"] == "yes"
        ]
        heads = [pod for pod in pods if pod["metadata"]["labels"]["ray.io/node-type"] == "head"]
        failure = ""
        if cluster["spec"].get("suspend"):
            for pod in pods:
                self.api.remove("pods", pod["metadata"]["name"], namespace)
        else:
            try:
                self._reconcile_pods(cluster, pods, heads)
            except RuntimeError as error:
                failure = str(error)
        self.api.edit("rayclusters", name, lambda item: self._set_status(item, heads, failure), namespace)

    def _reconcile_pods(self, cluster: Object, pods: list[Object], heads: list[Object]) -> None:
        namespace = cluster["metadata"]["namespace"]
        spec = cluster["spec"]
        if not heads:
            self._create(cluster, "head", "headgroup", spec["headGroupSpec"])
            return
        if heads[0]["status"]["phase"] == "Failed":
            self.api.remove("pods", heads[0]["metadata"]["name"], namespace)
            return
        for index, group in enumerate(spec["workerGroupSpecs"]):
            if self.autoscales and group.get("replicas") != group["minReplicas"]:
                self._set_replicas(cluster, index, group["minReplicas"])
            replicas = min(max(group.get("replicas") or 0, group["minReplicas"]), group["maxReplicas"])
            name = group["groupName"]
            mine = [
                pod
                for pod in pods
                if pod["metadata"]["labels"]["ray.io/group"] == name and "deletionTimestamp" not in pod["metadata"]
            ]
            for _ in range(replicas - len(mine)):
                self._create(cluster, "worker", name, group)
            for pod in mine[replicas:] if self.autoscales else []:
                self.api.remove("pods", pod["metadata"]["name"], namespace)

    def _set_replicas(self, cluster: Object, index: int, replicas: int) -> None:
        def change(item: Object) -> None:
            item["spec"]["workerGroupSpecs"][index]["replicas"] = replicas

        self.api.edit("rayclusters", cluster["metadata"]["name"], change, cluster["metadata"]["namespace"])

    def _create(self, cluster: Object, role: str, group: str, spec: Object) -> None:
        metadata = cluster["metadata"]
        if self.refuses:
            raise RuntimeError(self.refuses)
        account = spec["template"]["spec"]["serviceAccountName"]
        if self.api.get("serviceaccounts", account, metadata["namespace"]) is None:
            raise RuntimeError(f'error looking up service account: serviceaccount "{account}" not found')
        prefix = metadata["name"] if role == "head" else f"{metadata['name']}-{group}"
        owner = {
            "apiVersion": cluster["apiVersion"], "kind": cluster["kind"], "name": metadata["name"],
            "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    **spec["template"]["metadata"],
                    "name": f"{prefix[:50]}-{role}-{uuid.uuid4().hex[:5]}",
                    "namespace": metadata["namespace"],
                    "labels": {
                        **spec["template"]["metadata"]["labels"],
                        "ray.io/is-ray-node": "yes",
                        "ray.io/cluster": metadata["name"],
                        "ray.io/node-type": role,
                        "ray.io/group": group,
                    },
                    "ownerReferences": [owner],
                },
                "spec": spec["template"]["spec"],
                "status": {"phase": "Pending"},
            }
        )

    def _kubelet(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            if not self.stubborn:
                self.api.end_pod(metadata["name"], metadata["namespace"])
            return
        held = self.held.get(metadata["labels"]["ray.io/group"])
        if pod["status"]["phase"] == "Pending":
            status = held if held is not None else _running()
            self.api.edit("pods", metadata["name"], lambda item: item.update(status=status), metadata["namespace"])

    def _set_status(self, item: Object, heads: list[Object], failure: str) -> None:
        ready = bool(heads) and _is_ready(heads[0])
        conditions = [_condition("HeadPodReady", ready, "HeadPodRunningAndReady" if ready else "HeadPodNotFound")]
        suspended = bool(item["spec"].get("suspend")) and not heads
        conditions.append(_condition("RayClusterSuspended", suspended, "RayClusterSuspended"))
        if failure:
            conditions.append(_condition("ReplicaFailure", True, "FailedCreateHeadPod", failure))
        head = {"serviceName": f"{item['metadata']['name']}-head-svc"}
        if heads:
            head["podName"] = heads[0]["metadata"]["name"]
        item["status"] = {"conditions": conditions, "head": head}


def _condition(kind: str, true: bool, reason: str, message: str = "") -> Object:
    return {
        "type": kind, "status": "True" if true else "False", "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-21T00:00:00Z",
    }  # fmt: skip


def _running() -> Object:
    return {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "ray", "restartCount": 0, "state": {"running": {}}}],
    }


def _set_failed(pod: Object) -> None:
    pod["status"] = {"phase": "Failed", "reason": "NodeLost", "message": "The machine is gone."}


def _is_ready(pod: Object) -> bool:
    return any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions") or [])
