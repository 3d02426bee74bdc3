"""Templates of the pods of a cluster: the head's, and one a kind of worker. Plain dicts, no I/O."""

from __future__ import annotations

from jupyter_ext.clusters.backends.kuberay import names
from jupyter_ext.clusters.backends.kuberay.merging import merge
from jupyter_ext.clusters.backends.kuberay.names import Identity
from jupyter_ext.clusters.backends.kuberay.options import Kind, Object, Options, Pool

#: Ray's container in every pod. KubeRay takes the first one for it; its own containers come behind.
CONTAINER = "ray"
#: Where the head's control store, dashboard, Ray Client and job agent listen: KubeRay's defaults.
PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "job-agent": 52365}
#: The volume with the service account's token.
_API_ACCESS = "api-access"


def autoscaler_mounts() -> list[Object]:
    """Return what the autoscaler's container needs besides KubeRay's own: its way into the API server."""
    # Where every client looks for it.
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    return [{"name": _API_ACCESS, "mountPath": path, "readOnly": True}]


def container_security() -> Object:
    """Return what a container may not do. User and seccomp profile are set once for its pod."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def head_template(identity: Identity, options: Options) -> Object:
    """Return the template of the head's pod."""
    head = options.head
    container = _container(options, cpu=head.cpu, memory=head.memory)
    # The job agent among them, because KubeRay's service of the head has the ports that its container names.
    container["ports"] = [{"name": name, "containerPort": port} for name, port in PORTS.items()]
    template = _template(
        identity,
        options,
        container,
        pool="stateful",
        account=service_account(identity, "head"),
        priority_class=head.priority_class,
        node_selector=head.node_selector,
        tolerations=list(head.tolerations),
    )
    template["spec"].setdefault("volumes", []).append(_api_access())
    return merge(merge(template, options.pod), head.pod)


def worker_template(identity: Identity, options: Options, kind: Kind) -> Object:
    """Return the template of the pods of a kind of worker."""
    container = _container(options, cpu=kind.cpu, memory=kind.memory)
    tolerations = list(kind.tolerations)
    if kind.gpu:
        for amounts in container["resources"].values():
            amounts[kind.gpu_resource] = str(kind.gpu)
        # Nodes with GPUs are tainted so by all clouds, to keep what needs none away.
        tolerations.append({"key": kind.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    template = _template(
        identity,
        options,
        container,
        pool=kind.pool,
        account=service_account(identity, "worker"),
        priority_class=kind.priority_class,
        node_selector=kind.node_selector,
        tolerations=tolerations,
    )
    return merge(merge(template, options.pod), kind.pod)


def service_account(identity: Identity, role: str) -> str:
    """Return the name of the service account of a cluster's head or workers."""
    return f"{identity.object_name}-{role}"


def _container(options: Options, *, cpu: int, memory: str) -> Object:
    # Requests are limits: the scheduler counts what Ray will use, and no neighbour's memory is at stake.
    amounts = {"cpu": str(cpu), "memory": memory}
    environment = {
        # How long a node that is told to end waits for what runs on it: user code is warned meanwhile.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(options.drain_time),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A job may wait for its node as long as that takes; who gives up is its supervisor, or its user.
        "RAY_JOB_START_TIMEOUT_SECONDS": "604800",
        **options.environment,
    }
    container: Object = {
        "name": CONTAINER,
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "securityContext": container_security(),
        # Ray warns only Ray Train of its node's end; jobs' drivers hear of it before Ray does.
        "lifecycle": {"preStop": {"exec": {"command": ["python", "-m", "jupyter_ext.jobs.give_notice"]}}},
    }
    if options.storage.secret:
        container["envFrom"] = [{"secretRef": {"name": options.storage.secret}}]
    if options.storage.claim:
        container["volumeMounts"] = [{"name": "workspace", "mountPath": options.storage.path}]
    return container


def _template(
    identity: Identity,
    options: Options,
    container: Object,
    *,
    pool: Pool,
    account: str,
    priority_class: str,
    node_selector: dict[str, str],
    tolerations: list[Object],
) -> Object:
    spec: Object = {
        "serviceAccountName": account,
        # User code runs in Ray's containers, and nothing of it talks to the API server.
        "automountServiceAccountToken": False,
        # Ray's autoscaler replaces nodes; a container that came back in its place would be a node it does not know.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options.grace_period,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": options.user_id,
            "runAsGroup": options.group_id,
            "fsGroup": options.group_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": _affinity(options, pool),
        "tolerations": [*_pool_tolerations(options, pool), *tolerations],
        "containers": [container],
    }
    if node_selector:
        spec["nodeSelector"] = dict(node_selector)
    if priority_class:
        spec["priorityClassName"] = priority_class
    if options.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
    if options.storage.claim:
        spec["volumes"] = [{"name": "workspace", "persistentVolumeClaim": {"claimName": options.storage.claim}}]
    return {
        "metadata": {
            "labels": {**identity.labels, names.POOL: pool},
            "annotations": {**identity.annotations, **_eviction(pool)},
        },
        "spec": spec,
    }


def _api_access() -> Object:
    """Return the volume that Kubernetes would mount into every container by itself, for the autoscaler's alone.

    KubeRay lets that account change the pods and RayClusters of its namespace, other users' among them.
    """
    sources: list[Object] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": _API_ACCESS, "projected": {"sources": sources}}


def _eviction(pool: Pool) -> dict[str, str]:
    """Ask the cluster's autoscalers (Cluster Autoscaler, Karpenter) to leave alone what must not be moved."""
    if pool == "stateless":
        return {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
    return {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def _affinity(options: Options, pool: Pool) -> Object:
    # Pods of one pool gather on few nodes, so that others become empty and go.
    near: Object = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {names.MANAGED_BY: names.MANAGER, names.POOL: pool}},
    }
    if options.own_namespace:
        near["namespaceSelector"] = {}
    affinity: Object = {
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": near}]}
    }
    if options.pool_label:
        terms = [{"matchExpressions": [{"key": options.pool_label, "operator": "In", "values": [pool]}]}]
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return affinity


def _pool_tolerations(options: Options, pool: Pool) -> list[Object]:
    if not options.pool_label:
        return []
    return [{"key": options.pool_label, "operator": "Equal", "value": pool, "effect": "NoSchedule"}]
