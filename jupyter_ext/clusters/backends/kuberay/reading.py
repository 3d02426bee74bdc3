"""What Kubernetes' objects say about a cluster, in our values and in plain words. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from jupyter_ext.clusters.backends.kuberay import names
from jupyter_ext.clusters.backends.kuberay.names import Identity
from jupyter_ext.clusters.backends.kuberay.options import Object
from jupyter_ext.clusters.backends.kuberay.pods import CONTAINER
from jupyter_ext.clusters.values import Node, NodeState

#: Why a container waits, in plain words; Kubernetes' own message follows.
_WAITING = {
    "ContainerCreating": "Its containers are being created; the first time on a machine, the image is fetched",
    "PodInitializing": "It waits for the head",
    "ErrImagePull": "The image {image} can't be fetched",
    "ImagePullBackOff": "The image {image} can't be fetched",
    "InvalidImageName": "{image} is no name of an image",
    "ErrImageNeverPull": "The image {image} is not on the machine, and fetching it is forbidden",
    "CreateContainerConfigError": "Something that it needs is missing",
    "CreateContainerError": "Its container can't be created",
    "RunContainerError": "Its container can't be started",
    "CrashLoopBackOff": "It ends as soon as it starts, again and again",
}


def identity_of(item: Object) -> tuple[str, str, str] | None:
    """Return workspace, owner and name of the cluster that an object belongs to; None for an object not of ours.

    Examples
    --------
    >>> identity_of({"metadata": {"name": "theirs"}}) is None
    True
    """
    metadata = item["metadata"]
    if (metadata.get("labels") or {}).get(names.MANAGED_BY) != names.MANAGER:
        return None
    said = metadata.get("annotations") or {}
    return said.get(names.WORKSPACE, ""), said.get(names.OWNER, ""), said.get(names.CLUSTER, "")


def same_owner(item: Object, ours: Object) -> bool:
    """Tell whether an object that exists is the one that we mean, and not another of the same name."""
    return identity_of(item) == identity_of(ours)


def is_of(uid: str, item: Object) -> bool:
    """Tell whether an object is the one with a uid, or is owned by it."""
    references = item["metadata"].get("ownerReferences") or []
    return uid == item["metadata"]["uid"] or any(reference["uid"] == uid for reference in references)


def belongs(item: Object, identity: Identity) -> bool:
    """Tell whether an object is one of a cluster."""
    return identity_of(item) == (identity.workspace, identity.owner, identity.name)


def cluster_of(identity: Identity, clusters: Iterable[Object]) -> Object | None:
    """Return the RayCluster of a cluster; None when it is not there."""
    where = (identity.namespace, identity.object_name)
    for cluster in clusters:
        if (cluster["metadata"]["namespace"], cluster["metadata"]["name"]) == where and belongs(cluster, identity):
            return cluster
    return None


def pods_of(identity: Identity, pods: Iterable[Object]) -> list[Object]:
    """Return the pods of a cluster."""
    where = (identity.namespace, identity.object_name)
    return [
        pod for pod in pods if (pod["metadata"]["namespace"], pod["metadata"]["labels"].get(names.RAY_CLUSTER)) == where
    ]


def is_leaving(item: Object) -> bool:
    """Tell whether an object is being deleted."""
    return bool(item["metadata"].get("deletionTimestamp"))


def living_head(pods: Iterable[Object]) -> Object | None:
    """Return the head's pod among a cluster's pods, ready or not; None while there is none, or it has ended.

    Examples
    --------
    >>> labels = {"ray.io/node-type": "head"}
    >>> living_head([{"metadata": {"name": "a", "labels": labels}, "status": {"phase": "Failed"}}]) is None
    True
    """
    living = [
        pod
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(names.RAY_NODE_TYPE) == "head"
        and not is_leaving(pod)
        and pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
    ]
    return max(living, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or "")) if living else None


def incarnation(cluster: Object, pod: Object | None) -> str:
    """Return what is another for every head: its pod, and how often Ray was restarted in it.

    Between two pods of a cluster, and before its first, it is the cluster's own: nobody was told anything then.
    """
    if pod is None:
        return f"{cluster['metadata']['uid']}/none"
    statuses = pod.get("status", {}).get("containerStatuses") or []
    restarts = sum(status.get("restartCount", 0) for status in statuses if status["name"] == CONTAINER)
    return f"{pod['metadata']['uid']}/{restarts}"


def limits(cluster: Object) -> dict[str, int]:
    """Return how many nodes of each kind a RayCluster has at most."""
    return {group["groupName"]: int(group.get("maxReplicas") or 0) for group in _groups(cluster)}


def differs(cluster: Object, change: Callable[[Object], dict[str, int]]) -> bool:
    """Tell whether any worker group of a RayCluster is not as a change would make it."""
    return any(group.get(key) != value for group in _groups(cluster) for key, value in change(group).items())


def trouble(cluster: Object) -> str:
    """Return why a RayCluster has no head, in plain words; empty when nothing is known.

    Examples
    --------
    >>> trouble({"metadata": {"name": "a"}, "spec": {}})
    'KubeRay has not looked at it. Does its operator run, and does it watch this namespace?'
    """
    conditions = {item["type"]: item for item in cluster.get("status", {}).get("conditions") or []}
    if cluster["spec"].get("suspend"):
        return "It is suspended."
    if conditions.get("ReplicaFailure", {}).get("status") == "True":
        return f"KubeRay can't create its pods: {conditions['ReplicaFailure'].get('message', '')}"
    if not cluster.get("status"):
        return "KubeRay has not looked at it. Does its operator run, and does it watch this namespace?"
    return ""


def why(pod: Object) -> str:
    """Return what keeps a pod from running, or what ended it, in plain words; empty when it runs.

    Examples
    --------
    >>> unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    ...                  "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}
    >>> why({"metadata": {}, "status": {"phase": "Pending", "conditions": [unschedulable]}})
    'No machine has room for it now: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.'
    """
    status = pod.get("status", {})
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            said = condition.get("message", "")
            if condition.get("reason") == "SchedulingGated":
                return "It is held back from scheduling."
            return f"No machine has room for it now: {said}" if said else "No machine has room for it now."
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        if "waiting" in state:
            reason, said = state["waiting"].get("reason", ""), state["waiting"].get("message", "")
            words = _WAITING.get(reason, reason or "It waits").format(image=container.get("image", ""))
            return f"{words}: {said}" if said else f"{words}."
        if "terminated" in state and state["terminated"].get("exitCode", 0) != 0:
            reason, code = state["terminated"].get("reason", "Error"), state["terminated"].get("exitCode")
            words = "It ran out of memory" if reason == "OOMKilled" else f"It ended with exit code {code}"
            said = state["terminated"].get("message", "")
            return f"{words}: {said}" if said else f"{words}."
    if status.get("phase") == "Failed":
        said = status.get("message", "")
        return f"{status.get('reason') or 'It failed'}: {said}" if said else f"{status.get('reason') or 'It failed'}."
    if status.get("phase") == "Pending":
        return "It waits for a machine."
    return "" if _is_ready(pod) else "It is not ready yet."


def node(pod: Object, resources: Mapping[str, dict[str, float]]) -> Node:
    """Return a pod of a cluster as a node.

    Parameters
    ----------
    pod
        The pod.
    resources
        What nodes of each kind have, the head's among them.
    """
    labels = pod["metadata"].get("labels") or {}
    kind = "head" if labels.get(names.RAY_NODE_TYPE) == "head" else str(labels.get(names.RAY_GROUP, ""))
    message = why(pod)
    if is_leaving(pod) or pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
        state, message = NodeState.STOPPING, "" if is_leaving(pod) else message
    else:
        state = NodeState.STARTING if message else NodeState.RUNNING
    return Node(id=pod["metadata"]["name"], kind=kind, state=state, total=resources.get(kind, {}), message=message)


def _groups(cluster: Object) -> list[Object]:
    return list(cluster["spec"].get("workerGroupSpecs") or [])


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
