"""What an administrator chooses about clusters on Kubernetes, checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, field_validator, model_validator

from jupyter_ext.clusters.backends.kuberay.quantities import number
from jupyter_ext.clusters.values import WorkerKind
from jupyter_ext.errors import Invalid
from jupyter_ext.values import Value

Object = dict[str, Any]
Pool = Literal["stateful", "stateless"]


def _checked_quantity(quantity: str) -> str:
    try:
        number(quantity)
    except Invalid as error:
        raise ValueError(error.message) from error
    return quantity


Quantity = Annotated[str, AfterValidator(_checked_quantity)]


class HeadOptions(Value):
    """The head: it schedules, runs the drivers of jobs with workers (Ray's part is 135 MB a job), and no tasks."""

    cpu: int = Field(default=2, ge=1)
    memory: Quantity = "8Gi"
    priority_class: str = ""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Object, ...] = ()
    pod: Object = {}


class Kind(Value):
    """A kind of worker node: what one has, how many there may be, and on which machines.

    ``pool`` is ``stateful`` for what must not be moved (drivers, training that is not elastic) and ``stateless`` for
    what may vanish at any time. ``pod`` is merged into the pod template.
    """

    name: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$")
    cpu: int = Field(ge=1)
    memory: Quantity
    gpu: int = Field(default=0, ge=0)
    gpu_resource: str = "nvidia.com/gpu"
    min_nodes: int = Field(default=0, ge=0)
    max_nodes: int = Field(default=1, ge=0)
    idle_timeout: int | None = Field(default=None, ge=0)
    priority: int | None = None
    pool: Pool = "stateful"
    priority_class: str = ""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Object, ...] = ()
    labels: dict[str, str] = {}
    pod: Object = {}

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.name in ("head", "headgroup"):
            raise ValueError(f"{self.name!r} is the head's name")
        if self.min_nodes > self.max_nodes:
            raise ValueError("min_nodes is greater than max_nodes")
        return self

    @property
    def resources(self) -> dict[str, float]:
        """Ray's logical resources of one node, as KubeRay derives them from the limits of its container."""
        amounts = {"CPU": float(self.cpu), "GPU": float(self.gpu), "memory": number(self.memory)}
        return {name: amount for name, amount in amounts.items() if amount}

    def worker_kind(self, max_nodes: int | None = None) -> WorkerKind:
        """Return it as users see it, with a cluster's own limit."""
        most = self.max_nodes if max_nodes is None else max_nodes
        return WorkerKind(name=self.name, resources=self.resources, min_nodes=min(self.min_nodes, most), max_nodes=most)


class FaultTolerance(Value):
    """Where the head's control store (GCS) outlives its pod: in a Redis, or in RocksDB on a volume of the head.

    RocksDB needs KubeRay's feature gate ``GCSFaultToleranceEmbeddedStorage``.
    """

    backend: Literal["redis", "rocksdb"]
    redis_address: str = ""
    redis_username: str = ""
    #: Name of a Secret with the password in its key ``password``.
    redis_secret: str = ""
    size: Quantity = "1Gi"
    storage_class: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.backend == "redis" and not self.redis_address:
            raise ValueError("redis needs redis_address, such as redis:6379")
        if self.backend == "rocksdb" and (self.redis_address or self.redis_username or self.redis_secret):
            raise ValueError("rocksdb takes none of the settings of redis")
        return self

    @property
    def redis_port(self) -> int | None:
        """The port of the Redis; None where there is none.

        Examples
        --------
        >>> FaultTolerance(backend="redis", redis_address="redis://redis.ray:6380").redis_port
        6380
        """
        if not self.redis_address:
            return None
        port = self.redis_address.rpartition(":")[2]
        return int(port) if port.isdigit() else 6379


class Storage(Value):
    """How pods reach the workspace's objects: a Secret whose keys become environment variables, a shared volume."""

    secret: str = ""
    claim: str = ""
    path: str = "/mnt/workspace"


def _web() -> tuple[Object, ...]:
    # Not the cloud's metadata service: it hands out the credentials of the machine.
    anywhere = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}
    return ({"to": [anywhere], "ports": [{"protocol": "TCP", "port": 443}]},)


class Network(Value):
    """Who reaches a cluster's pods, and whom they reach; all else is denied.

    Labels may contain ``{user}``: the owner as KubeSpawner writes it into labels. ``egress`` and ``ingress`` are
    further rules of a NetworkPolicy, the default of ``egress`` is HTTPS to anywhere but the metadata service.
    """

    notebook: dict[str, str] = {
        "app.kubernetes.io/component": "singleuser-server",
        "hub.jupyter.org/username": "{user}",
    }
    supervisor: dict[str, str] = {}
    #: Where notebooks and supervisor run; empty: in the cluster's own namespace.
    namespace: str = ""
    api_server: tuple[str, ...] = ("0.0.0.0/0",)
    api_server_ports: tuple[int, ...] = (443, 6443)
    egress: tuple[Object, ...] = Field(default_factory=_web)
    ingress: tuple[Object, ...] = ()


class Options(Value):
    """All that the builders of objects need to know but whose cluster it is."""

    image: str = Field(min_length=1)
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    ray_version: str = Field(default="2.60.0", pattern=r"^\d+\.\d+\.\d+")
    head: HeadOptions = HeadOptions()
    worker_kinds: dict[str, Kind] = {"cpu": Kind(name="cpu", cpu=4, memory="16Gi", max_nodes=4)}
    pool_label: str = ""
    idle_timeout: int = Field(default=120, ge=0)
    upscaling: Literal["Default", "Aggressive", "Conservative"] = "Default"
    drain_time: int = Field(default=30, ge=0)
    checkpoint_time: int = Field(default=60, ge=0)
    environment: dict[str, str] = {}
    fault_tolerance: FaultTolerance | None = None
    storage: Storage = Storage()
    network: Network | None = Network()
    quota: dict[str, str] = {}
    limits: Object = {}
    service_account_annotations: dict[str, str] = {}
    user_id: int = Field(default=1000, ge=1)
    group_id: int = Field(default=100, ge=0)
    pod: Object = {}
    #: Whether each user has a namespace of their own.
    own_namespace: bool = False

    @field_validator("worker_kinds", mode="before")
    @classmethod
    def _named(cls, declared: Any) -> Any:
        if not isinstance(declared, dict):
            return declared
        return {name: {"name": name, **kind} if isinstance(kind, dict) else kind for name, kind in declared.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.quota or self.limits) and not self.own_namespace:
            raise ValueError("quota and limits hold for a whole namespace: give every user one (namespace with {user})")
        return self

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of workers."""
        return tuple(self.worker_kinds.values())

    @property
    def grace_period(self) -> int:
        """Seconds that a pod has between being told to end and being killed."""
        # Ray drains for drain_time, during which user code saves its state; the rest is for Ray's own shutdown.
        return self.drain_time + self.checkpoint_time + 10


def read_options(values: dict[str, Any]) -> Options:
    """Check settings.

    Raises
    ------
    jupyter_ext.errors.Invalid
        One is wrong; the message names it as the configuration does.

    Examples
    --------
    >>> read_options({"image": "ray:2", "worker_kinds": {"cpu": {"cpu": 4, "memory": "much"}}})
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: c.KubeRayBackend.worker_kinds.cpu.memory: 'much' is no quantity: write a number...
    """
    try:
        return _OPTIONS.validate_python(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"])
        said = found["msg"].removeprefix("Value error, ")
        raise Invalid(f"c.KubeRayBackend{where}: {said}") from error


_OPTIONS: TypeAdapter[Options] = TypeAdapter(Options)
