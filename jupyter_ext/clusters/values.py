"""Values of clusters: what a user sees of their Ray cluster. Tokens never appear in one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from jupyter_ext.values import Query, Value


class ClusterState(StrEnum):
    """Where a cluster is in its life. ``unreachable`` is not dead: the process may live and not answer."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    STOPPING = "stopping"


class NodeState(StrEnum):
    """Where a node is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    IDLE = "idle"
    STOPPING = "stopping"


class Node(Value):
    """A node of a cluster: the head (``kind`` is ``head``), or a worker of a kind that the backend declares.

    ``total`` and ``used`` are logical resources by Ray's names. ``message`` says what keeps a starting node.
    """

    id: str
    kind: str
    state: NodeState
    total: dict[str, float] = {}
    used: dict[str, float] = {}
    message: str = ""


class WorkerKind(Value):
    """A kind of worker node that a cluster may grow by, and how many it has at least and at most."""

    name: str
    resources: dict[str, float]
    min_nodes: int = 0
    max_nodes: int = 1


class Cluster(Value):
    """A user's Ray cluster.

    ``total`` and ``available`` are logical resources by Ray's names (CPU, GPU, memory in bytes); a stopped cluster's
    ``total`` is what it would have. ``nodes`` and ``kinds`` say what it consists of now and what it may grow by;
    ``wanted`` is what the queue asks it to have room for, a bundle of resources each.
    """

    name: str
    owner: str
    backend: str
    state: ClusterState
    ray_version: str | None = None
    dashboard_url: str | None = None
    total: dict[str, float] = {}
    available: dict[str, float] = {}
    nodes: tuple[Node, ...] = ()
    kinds: tuple[WorkerKind, ...] = ()
    wanted: tuple[dict[str, float], ...] = ()
    message: str = ""
    started_at: datetime | None = None


class ClusterSize(Value):
    """How many workers of some kinds a cluster may have at most. Kinds that are not named stay as they are."""

    limits: dict[str, Annotated[int, Field(ge=0)]] = Field(min_length=1)


class ClusterQuery(Query):
    """Filter of clusters."""

    state: ClusterState | None = None
