"""A backend of clusters on Kubernetes: it applies a RayCluster and what belongs to it; KubeRay makes pods of that."""

from __future__ import annotations

import base64
import secrets
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jupyter_ext.clusters import packing
from jupyter_ext.clusters.backends.base import Head
from jupyter_ext.clusters.backends.kuberay import names, objects, reading
from jupyter_ext.clusters.backends.kuberay.access import find_access
from jupyter_ext.clusters.backends.kuberay.api import Api
from jupyter_ext.clusters.backends.kuberay.looking import Look, Seen
from jupyter_ext.clusters.backends.kuberay.names import Identity
from jupyter_ext.clusters.backends.kuberay.options import Object
from jupyter_ext.clusters.backends.kuberay.pods import CONTAINER, PORTS
from jupyter_ext.clusters.backends.kuberay.quantities import number
from jupyter_ext.clusters.backends.kuberay.settings import USER, KubeRaySettings
from jupyter_ext.clusters.backends.kuberay.writing import Writer
from jupyter_ext.clusters.ray_jobs import RayJobs, RayNode
from jupyter_ext.clusters.values import Node, NodeState, WorkerKind
from jupyter_ext.errors import Forbidden, Invalid, JupyterExtError, NotFound, Unavailable

_KEEP_SECONDS = 60.0
_PROBE_SECONDS = 3.0
_LOG_CHARACTERS = 2000


class KubeRayBackend(KubeRaySettings):
    """Starts heads, and the workers that they need, as pods of a Kubernetes cluster with the KubeRay operator.

    The state of a cluster is in Kubernetes alone, so any server of the workspace finds it. An API server that does
    not answer raises `Unavailable`; it never means that a head is dead.
    """

    kind = "kuberay"

    def __init__(self, home: Path, **kwargs: Any) -> None:
        super().__init__(home, **kwargs)
        #: By the uid of the RayCluster: a token holds as long as that does.
        self._tokens: dict[str, str] = {}
        self._kept: dict[Identity, float] = {}
        self._away = False

    def start(self, owner: str, name: str) -> Head:
        """Apply the cluster's objects, and wait until the head's pod exists (not: runs). Starting twice starts once.

        Raises
        ------
        Conflict
            Somebody else has an object of such a name.
        Unavailable
            There is no pod yet; the message says why, as far as KubeRay and the API server tell.
        """
        identity = self._identity(owner, name)
        writer = self._writer(identity)
        writer.await_former()
        for item in objects.namespace_objects(identity, self.options) if self.create_namespaces else ():
            writer.put(item)
        # What pods need must be there before KubeRay sees the cluster; whose it is can be said only after.
        made = [writer.put(item) for item in objects.dependents(identity, self.options, secrets.token_hex(32))]
        wanted = objects.ray_cluster(identity, self.options)
        wanted["metadata"]["annotations"][names.KEPT_AT] = _now()
        cluster = writer.put(wanted)
        writer.adopt(made, cluster)
        pod = writer.await_head(self.admission_timeout)
        self._look.forget()
        return self._head(identity, cluster, pod)

    def find(self, owner: str, name: str) -> Head | None:
        """Return the head; None when there is no such RayCluster, or it is ending or suspended.

        While KubeRay replaces a lost pod of the head, the cluster still has one, which just does not answer.
        """
        identity = self._identity(owner, name)
        seen = self._look.now()
        cluster = reading.cluster_of(identity, seen.clusters)
        if cluster is None or reading.is_leaving(cluster) or cluster["spec"].get("suspend"):
            return None
        return self._head(identity, cluster, reading.living_head(reading.pods_of(identity, seen.heads)))

    def known(self) -> list[tuple[str, str]]:
        """Return the clusters that have a RayCluster. While the API server does not answer, those that were last seen.

        Who watches over clusters goes by this list: an empty one would say that there are none.
        """
        try:
            seen = self._look.last()
        except Invalid as error:
            # There is no way to an API server, and never was.
            seen = Seen(failure=error)
        if seen.failure is not None and not self._away:
            self.log.warning("Which clusters there are is not known now: %s", seen.failure)
        self._away = seen.failure is not None
        found = [reading.identity_of(cluster) for cluster in seen.clusters]
        return sorted({(told[1], told[2]) for told in found if told is not None})

    def keep(self, head: Head) -> None:
        """Note the time in an annotation of the RayCluster, once a minute; nothing else of it is touched.

        The `reaper` ends what nobody keeps any more.
        """
        identity = self._identity(head.owner, head.name)
        if time.monotonic() - self._kept.get(identity, float("-inf")) < _KEEP_SECONDS:
            return
        change = {"metadata": {"annotations": {names.KEPT_AT: _now()}}}
        self._api.merge("RayCluster", identity.namespace, identity.object_name, change)
        self._kept[identity] = time.monotonic()

    def stop(self, owner: str, name: str) -> None:
        """Delete the RayCluster and all that belongs to it, and wait until its pods are gone.

        Deleted, not suspended, also where the head's control store is kept: jobs live in our own database, nothing in
        that store is worth a volume and a name that stay; and a cluster that comes back would run what was running.
        """
        identity = self._identity(owner, name)
        try:
            self._writer(identity).delete()
        finally:
            self._look.forget()
            self._kept.pop(identity, None)

    def log_tail(self, owner: str, name: str) -> str:
        """Return what keeps the head's pod from running, if anything does, and the last lines that the head wrote."""
        identity = self._identity(owner, name)
        try:
            cluster = self._writer(identity).get()
            if cluster is None:
                return ""
            labels = {names.RAY_CLUSTER: identity.object_name, names.RAY_NODE_TYPE: "head"}
            pods, _ = self._api.list_all("Pod", identity.namespace, labels)
            if not pods:
                return reading.trouble(cluster)
            pod = reading.living_head(pods) or pods[-1]
            return f"{reading.why(pod)}\n{self._log(identity, pod)}".strip()[-_LOG_CHARACTERS:]
        except (Unavailable, Forbidden) as error:
            return error.message

    def capacity(self) -> dict[str, float]:
        """Return what the head and all workers of all kinds have together."""
        return packing.total(self.head_resources(), self._kinds(None))

    def head_resources(self) -> dict[str, float]:
        """Return what the head has: memory, and no CPUs for tasks."""
        return {"memory": number(self.options.head.memory)}

    def kinds(self, owner: str, name: str) -> list[WorkerKind]:
        """Return the kinds of workers, with the limits of the cluster where there is one."""
        # As they were last seen, while the API server does not answer: limits say nothing of what lives.
        return self._kinds(reading.cluster_of(self._identity(owner, name), self._look.last().clusters))

    def resize(self, owner: str, name: str, limits: dict[str, int]) -> None:
        """Set how many workers of some kinds a cluster has at most. Those that work stay until they are idle.

        Raises
        ------
        Invalid
            There is no such kind, or the limit is beyond what the configuration allows.
        NotFound
            The cluster does not run.
        """
        kinds = {kind.name: kind for kind in self.options.kinds}
        for kind, most in limits.items():
            if kind not in kinds:
                raise Invalid(f"There is no kind of worker {kind!r}. There are: {', '.join(kinds) or 'none'}.")
            if not 0 <= most <= kinds[kind].max_nodes:
                raise Invalid(f"A cluster may have 0 to {kinds[kind].max_nodes} workers of the kind {kind!r}.")

        def change(group: Object) -> dict[str, int]:
            if group["groupName"] not in limits:
                return {}
            most = limits[group["groupName"]]
            # KubeRay refuses the whole cluster when the least is more than the most.
            return {"maxReplicas": most, "minReplicas": min(group.get("minReplicas") or 0, most)}

        self._writer(self._identity(owner, name)).edit_groups(change)
        self._look.forget()

    def want(self, head: Head, bundles: list[dict[str, float]]) -> None:
        """Set how many workers of each kind there are at least: as many as hold all bundles at once.

        ``replicas`` is left to Ray's autoscaler, which goes on from there and takes idle nodes away.
        """
        identity = self._identity(head.owner, head.name)
        cluster = reading.cluster_of(identity, self._look.now().clusters)
        if cluster is None:
            return
        kinds = self._kinds(cluster)
        nodes = packing.place(bundles, self.head_resources(), kinds).nodes
        least = {kind.name: max(kind.min_nodes, nodes.get(kind.name, 0)) for kind in kinds}

        def change(group: Object) -> dict[str, int]:
            if group["groupName"] not in least:
                return {}
            return {"minReplicas": min(least[group["groupName"]], group.get("maxReplicas") or 0)}

        # The queue asks every few seconds, and mostly for the same.
        if reading.differs(cluster, change):
            self._writer(identity).edit_groups(change)
            self._look.forget()

    def nodes(self, head: Head) -> list[Node]:
        """Return the pods of a cluster as nodes, the head first, then the oldest; those that wait say what for.

        What is in use of them is Ray's to tell; while the head does not answer, it is left out.
        """
        identity = self._identity(head.owner, head.name)
        pods, _ = self._api.list_all("Pod", identity.namespace, {names.RAY_CLUSTER: identity.object_name})
        pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))
        resources = {"head": self.head_resources(), **{kind.name: kind.resources for kind in self.options.kinds}}
        nodes = [reading.node(pod, resources) for pod in pods]
        try:
            with closing(RayJobs(head.url, head.token, timeout=_PROBE_SECONDS)) as ray:
                alive = {node.name: node for node in ray.nodes()}
            nodes = [_in_use(node, alive.get(node.id)) for node in nodes]
        except JupyterExtError as error:
            self.log.info("The head of cluster %s of %s does not tell its nodes: %s", head.name, head.owner, error)
        return sorted(nodes, key=lambda node: node.kind != "head")

    @cached_property
    def _api(self) -> Api:
        return Api(find_access(self.kubeconfig, self.context))

    @cached_property
    def _look(self) -> Look:
        return Look(self._api, self.workspace, None if USER in self._namespace else self._namespace)

    @cached_property
    def _namespace(self) -> str:
        return self.namespace or self._api.access.namespace

    def _identity(self, owner: str, name: str) -> Identity:
        return Identity(self.workspace, owner, name, names.namespace_for(self._namespace, owner))

    def _writer(self, identity: Identity) -> Writer:
        return Writer(self._api, identity, patience=self.stop_timeout)

    def _kinds(self, cluster: Object | None) -> list[WorkerKind]:
        most = {} if cluster is None else reading.limits(cluster)
        return [kind.worker_kind(most.get(kind.name)) for kind in self.options.kinds]

    def _head(self, identity: Identity, cluster: Object, pod: Object | None) -> Head:
        # KubeRay's rule. Its status says the same, but only some time after the start.
        service = f"{identity.object_name}-head-svc"

        def address(port: str) -> str:
            return self.address.format(service=service, namespace=identity.namespace, port=PORTS[port])

        return Head(
            owner=identity.owner,
            name=identity.name,
            url=address("dashboard"),
            ready_url=address("job-agent") + "/api/local_raylet_healthz",
            token=self._token(identity, cluster),
            incarnation=reading.incarnation(cluster, pod),
        )

    def _token(self, identity: Identity, cluster: Object) -> str:
        uid = cluster["metadata"]["uid"]
        if uid not in self._tokens:
            found = self._writer(identity).get("Secret", objects.secret_name(identity))
            if found is None:
                raise Unavailable(f"The token of cluster {identity.name!r} is lost. Stop the cluster and start it.")
            self._tokens[uid] = base64.b64decode(found["data"][objects.TOKEN_KEY]).decode()
        return self._tokens[uid]

    def _log(self, identity: Identity, pod: Object) -> str:
        try:
            text = self._api.log(identity.namespace, pod["metadata"]["name"], CONTAINER)
        except (Invalid, NotFound):
            # Its container did not start yet.
            return ""
        return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _in_use(node: Node, known: RayNode | None) -> Node:
    if node.state is not NodeState.RUNNING:
        return node
    if known is None:
        # One that is up is known to Ray a moment later.
        return node.model_copy(update={"state": NodeState.STARTING})
    return node.model_copy(update={"state": known.state, "total": known.total, "used": known.used})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
