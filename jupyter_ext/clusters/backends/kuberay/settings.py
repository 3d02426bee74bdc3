"""The settings of clusters on Kubernetes, as traits: ``c.KubeRayBackend.…``."""

from __future__ import annotations

import getpass
import os
from functools import cached_property
from importlib import metadata

from traitlets import Bool, Dict, Float, Int, List, Unicode, default

from jupyter_ext.clusters.backends.base import ClusterBackend
from jupyter_ext.clusters.backends.kuberay.options import Options, read_options
from jupyter_ext.errors import Invalid

#: What stands for the owner in a namespace's name.
USER = "{user}"


class KubeRaySettings(ClusterBackend):
    """What an administrator may set. What is wrong in it is told when it is first needed, by its name."""

    kubeconfig = Unicode(
        help="A kubeconfig. Default: the pod's own service account, or else $KUBECONFIG or ~/.kube/config."
    ).tag(config=True)
    context = Unicode(help="The context of the kubeconfig. Default: its current one.").tag(config=True)
    namespace = Unicode(
        help="Where clusters live. With {user} in it, every user has a namespace of their own. Default: the server's."
    ).tag(config=True)
    create_namespaces = Bool(
        False, help="Whether users' own namespaces, their quota and limits are created. Needs rights on the cluster."
    ).tag(config=True)
    workspace = Unicode(
        help="Tells workspaces in one namespace apart: servers with one database have one name. "
        "Default: the hub's user or service that the server belongs to."
    ).tag(config=True)
    address = Unicode(
        "http://{service}.{namespace}.svc:{port}", help="How the ports of a head are reached from the server."
    ).tag(config=True)

    python = Unicode("python", help="The interpreter in the image that runs jobs: a name on its PATH, or a path.").tag(
        config=True
    )
    image = Unicode(help="Image of heads and workers: Ray, jupyter-ext, the kernel's Python, what jobs import.").tag(
        config=True
    )
    image_pull_policy = Unicode("IfNotPresent", help="Always, IfNotPresent or Never.").tag(config=True)
    image_pull_secrets = List(Unicode(), help="Names of Secrets that let one fetch the image.").tag(config=True)
    ray_version = Unicode(help="Version of Ray in the image. Default: the one installed here, or 2.60.0.").tag(
        config=True
    )
    head = Dict(help="The head's cpu, memory, priority_class, node_selector, tolerations, pod.").tag(config=True)
    worker_kinds = Dict(
        {"cpu": {"cpu": 4, "memory": "16Gi", "max_nodes": 4}},
        help="Kinds of workers a cluster may grow by, by name, such as {'gpu': {'cpu': 8, 'memory': '64Gi', 'gpu': 1, "
        "'max_nodes': 4}}. Also: gpu_resource, min_nodes, idle_timeout, priority, pool (stateful or stateless), "
        "priority_class, node_selector, tolerations, labels, pod.",
    ).tag(config=True)
    pool_label = Unicode(
        help="Label and taint of machines whose value is their pool, stateful or stateless. Default: they aren't split."
    ).tag(config=True)
    idle_timeout = Int(120, min=0, help="Seconds without work after which a worker goes.").tag(config=True)
    upscaling = Unicode("Default", help="Default, Aggressive or Conservative.").tag(config=True)
    drain_time = Int(30, min=0, help="Seconds that work on a node has when it is told to end.").tag(config=True)
    checkpoint_time = Int(60, min=0, help="Seconds more, for saving what it has reached.").tag(config=True)
    environment = Dict(help="Environment variables of heads and workers.").tag(config=True)
    fault_tolerance = Dict(
        help="Keep the head's control store: backend (redis or rocksdb), redis_address, redis_username, redis_secret, "
        "size, storage_class. Default: it goes with the head."
    ).tag(config=True)
    storage = Dict(help="secret (its keys become environment variables), claim (a volume), path.").tag(config=True)
    network = Dict(
        help="Who reaches pods, and whom they: notebook, supervisor, namespace, api_server, api_server_ports, egress, "
        "ingress.",
    ).tag(config=True)
    network_policy = Bool(True, help="Whether clusters get network policies at all.").tag(config=True)
    quota = Dict(help="What each user may use in all, such as {'requests.nvidia.com/gpu': '4'}.").tag(config=True)
    limits = Dict(help="A LimitRange for containers in users' own namespaces.").tag(config=True)
    service_account_annotations = Dict(help="Annotations of service accounts: cloud identities.").tag(config=True)
    user_id = Int(1000, min=1, help="User that containers run as.").tag(config=True)
    group_id = Int(100, min=0, help="Group that containers run as.").tag(config=True)
    pod = Dict(help="Merged into the templates of all pods.").tag(config=True)

    admission_timeout = Float(
        60.0, min=1.0, help="Seconds until a head's pod must exist; how long it may take to run is the service's."
    ).tag(config=True)
    stop_timeout = Float(
        help="Seconds that a cluster may take to end. Default: its pods' grace period, and a minute."
    ).tag(config=True)

    @default("workspace")
    def _default_workspace(self) -> str:
        told = (os.environ.get(name) for name in ("JUPYTERHUB_USER", "JUPYTERHUB_SERVICE_NAME"))
        return next((name for name in told if name), None) or getpass.getuser()

    @default("ray_version")
    def _default_ray_version(self) -> str:
        try:
            return metadata.version("ray")
        except metadata.PackageNotFoundError:
            return "2.60.0"

    @default("stop_timeout")
    def _default_stop_timeout(self) -> float:
        return self.drain_time + self.checkpoint_time + 70.0

    @cached_property
    def options(self) -> Options:
        """The settings that objects are made from.

        Raises
        ------
        jupyter_ext.errors.Invalid
            One is wrong, or there is no image.
        """
        if not self.image:
            raise Invalid(
                "Clusters on Kubernetes need an image with Ray and jupyter-ext. Set c.KubeRayBackend.image; "
                "docs/kubernetes.md says what must be in it."
            )
        settings = {name: getattr(self, name) for name in Options.model_fields if self.has_trait(name)}
        return read_options(
            {
                **settings,
                "network": self.network if self.network_policy else None,
                "fault_tolerance": self.fault_tolerance or None,
                "own_namespace": USER in self.namespace,
            }
        )
