"""All Kubernetes objects of a cluster. Plain dicts, no I/O: what is applied can be read, printed and tested."""

from __future__ import annotations

import base64

from jupyter_ext.clusters.backends.kuberay import names
from jupyter_ext.clusters.backends.kuberay.names import Identity, label_value
from jupyter_ext.clusters.backends.kuberay.options import FaultTolerance, Kind, Object, Options
from jupyter_ext.clusters.backends.kuberay.pods import (
    PORTS,
    autoscaler_mounts,
    container_security,
    head_template,
    service_account,
    worker_template,
)

#: Where KubeRay looks for the token in the Secret.
TOKEN_KEY = "auth_token"  # noqa: S105 - a key's name
#: Ray calls a node as Kubernetes calls its pod. A shell runs KubeRay's command, and knows the pod's name.
_NODE_NAME = {"node-name": "$RAY_CLOUD_INSTANCE_ID"}
#: The addresses that cluster DNS has: its pods', and the one of NodeLocal DNSCache.
_DNS = (
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
    {"ipBlock": {"cidr": "169.254.20.10/32"}},
)


def ray_cluster(identity: Identity, options: Options, *, suspend: bool = False) -> Object:
    """Return the RayCluster.

    Examples
    --------
    >>> options = Options(image="ray:2", worker_kinds={"gpu": {"cpu": 8, "gpu": 1, "memory": "64Gi", "max_nodes": 2}})
    >>> made = ray_cluster(Identity("team", "ada", "default", namespace="ray"), options)
    >>> made["metadata"]["name"], made["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"]
    ('ray-ada--default', '0')
    >>> [(group["groupName"], group["minReplicas"], group["maxReplicas"]) for group in
    ...  made["spec"]["workerGroupSpecs"]]
    [('gpu', 0, 2)]
    """
    spec: Object = {
        "rayVersion": options.ray_version,
        "suspend": suspend,
        "authOptions": {"mode": "token", "secretName": secret_name(identity)},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": options.idle_timeout,
            "upscalingMode": options.upscaling,
            "imagePullPolicy": options.image_pull_policy,
            "securityContext": container_security(),
            "volumeMounts": autoscaler_mounts(),
        },
        "headGroupSpec": {
            # Tasks run elsewhere: one that takes the head's memory would take the whole cluster along.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0", **_NODE_NAME},  # noqa: S104 - in its pod
            "template": head_template(identity, options),
        },
        "workerGroupSpecs": [_worker_group(identity, options, kind) for kind in options.kinds],
    }
    if options.fault_tolerance is not None:
        spec["gcsFaultToleranceOptions"] = _fault_tolerance(options.fault_tolerance)
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": _metadata(identity), "spec": spec}


def dependents(identity: Identity, options: Options, token: str) -> list[Object]:
    """Return the objects that accompany a RayCluster and go with it."""
    made = [
        secret(identity, token),
        _account(identity, options, "head"),
        _account(identity, options, "worker"),
        disruption_budget(identity),
    ]
    return made if options.network is None else [*made, *network_policies(identity, options)]


def dependent_names(identity: Identity) -> list[tuple[str, str]]:
    """Return kind and name of all objects that `dependents` can give, whatever is configured."""
    name = identity.object_name
    return [
        ("Secret", secret_name(identity)),
        *(("ServiceAccount", service_account(identity, role)) for role in ("head", "worker")),
        ("PodDisruptionBudget", name),
        ("NetworkPolicy", name),
        ("NetworkPolicy", _head_policy(identity)),
    ]


def namespace_objects(identity: Identity, options: Options) -> list[Object]:
    """Return what a user's own namespace has besides: the namespace, what all in it may use, defaults of containers.

    They stay when a cluster ends.
    """
    if not options.own_namespace:
        return []
    labels = {key: value for key, value in identity.labels.items() if key != names.CLUSTER}
    annotations = {key: value for key, value in identity.annotations.items() if key != names.CLUSTER}
    meta: Object = {"labels": labels, "annotations": annotations}
    # Nothing of Ray's needs more than this standard grants.
    guarded = {**meta, "labels": {**labels, "pod-security.kubernetes.io/enforce": "baseline"}}
    made: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": identity.namespace, **guarded}}
    ]
    named = {"name": "ray", "namespace": identity.namespace, **meta}
    if options.quota:
        quota = {"hard": dict(options.quota)}
        made.append({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": named, "spec": quota})
    if options.limits:
        limits = {"limits": [{"type": "Container", **options.limits}]}
        made.append({"apiVersion": "v1", "kind": "LimitRange", "metadata": named, "spec": limits})
    return made


def secret_name(identity: Identity) -> str:
    """Return the name of the Secret that holds a cluster's token."""
    return f"{identity.object_name}-token"


def secret(identity: Identity, token: str) -> Object:
    """Return the Secret with the token that lets one into the cluster."""
    data = {TOKEN_KEY: base64.b64encode(token.encode()).decode()}
    metadata = _metadata(identity, secret_name(identity))
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def disruption_budget(identity: Identity) -> Object:
    """Return the budget that keeps the head's pod from being evicted while it is well.

    Its pods' controller has no scale, which allows an integer ``minAvailable`` only.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(identity),
        "spec": {
            "minAvailable": 1,
            "selector": {"matchLabels": _head_pods(identity)},
            # A head that is broken anyway must not block the drain of its node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def network_policies(identity: Identity, options: Options) -> list[Object]:
    """Return the policies of all pods of a cluster, and of its head.

    Among each other the pods may do everything. From outside only the head is reached, by the owner's notebook and by
    the supervisor; outwards go DNS, what ``Network.egress`` says, and from the head (the autoscaler) the API server.
    """
    network = options.network
    assert network is not None
    same = {"podSelector": {"matchLabels": {names.RAY_CLUSTER: identity.object_name}}}
    dns = {"to": list(_DNS), "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
    redis = options.fault_tolerance is not None and options.fault_tolerance.redis_port
    # Also from the pod with which KubeRay cleans the Redis up when the cluster has ended.
    to_redis = [{"ports": [{"protocol": "TCP", "port": redis}]}] if redis else []
    everyone: Object = {
        "podSelector": same["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [same]}, *network.ingress],
        "egress": [{"to": [same]}, dns, *to_redis, *network.egress],
    }
    callers = []
    for labels in (network.notebook, network.supervisor):
        if labels:
            caller: Object = {
                "podSelector": {
                    "matchLabels": {
                        key: label_value(identity.owner) if value == "{user}" else value
                        for key, value in labels.items()
                    }
                }
            }
            if network.namespace:
                caller["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": network.namespace}}
            callers.append(caller)
    api_server = {
        "to": [{"ipBlock": {"cidr": cidr}} for cidr in network.api_server],
        "ports": [{"protocol": "TCP", "port": port} for port in network.api_server_ports],
    }
    ports = [{"protocol": "TCP", "port": PORTS[name]} for name in ("dashboard", "job-agent")]
    head: Object = {
        "podSelector": {"matchLabels": _head_pods(identity)},
        "policyTypes": ["Ingress", "Egress"],
        # A rule with an empty `from` lets everybody in: without callers there must be no rule.
        "ingress": [{"from": callers, "ports": ports}] if callers else [],
        "egress": [api_server] if network.api_server else [],
    }
    api = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return [
        {**api, "metadata": _metadata(identity), "spec": everyone},
        {**api, "metadata": _metadata(identity, _head_policy(identity)), "spec": head},
    ]


def _account(identity: Identity, options: Options, role: str) -> Object:
    metadata = _metadata(identity, service_account(identity, role))
    metadata["annotations"].update(options.service_account_annotations)
    # KubeRay binds its role for the autoscaler to the head's. Pods mount a token where they need one.
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def _worker_group(identity: Identity, options: Options, kind: Kind) -> Object:
    # No `replicas`: it is the autoscaler's, and who else writes it deletes nodes with work on them.
    group: Object = {
        "groupName": kind.name,
        "minReplicas": kind.min_nodes,
        "maxReplicas": kind.max_nodes,
        "rayStartParams": dict(_NODE_NAME),
        "template": worker_template(identity, options, kind),
    }
    if kind.idle_timeout is not None:
        group["idleTimeoutSeconds"] = kind.idle_timeout
    if kind.priority is not None:
        group["priority"] = kind.priority
    if kind.labels:
        group["labels"] = dict(kind.labels)
    return group


def _fault_tolerance(chosen: FaultTolerance) -> Object:
    if chosen.backend == "rocksdb":
        storage: Object = {"size": chosen.size, "deletionPolicy": "DeleteWithCluster"}
        if chosen.storage_class:
            storage["storageClassName"] = chosen.storage_class
        return {"backend": "rocksdb", "storage": storage}
    made: Object = {"backend": "redis", "redisAddress": chosen.redis_address}
    if chosen.redis_username:
        made["redisUsername"] = {"value": chosen.redis_username}
    if chosen.redis_secret:
        reference = {"name": chosen.redis_secret, "key": "password"}
        made["redisPassword"] = {"valueFrom": {"secretKeyRef": reference}}
    return made


def _metadata(identity: Identity, name: str = "") -> Object:
    return {
        "name": name or identity.object_name,
        "namespace": identity.namespace,
        "labels": dict(identity.labels),
        "annotations": dict(identity.annotations),
    }


def _head_policy(identity: Identity) -> str:
    return f"{identity.object_name}-head"


def _head_pods(identity: Identity) -> dict[str, str]:
    return {names.RAY_CLUSTER: identity.object_name, names.RAY_NODE_TYPE: "head"}
