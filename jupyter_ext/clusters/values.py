"""Values of clusters: what a user sees of their Ray cluster. Tokens never appear in one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from jupyter_ext.values import Query, Value


class ClusterState(StrEnum):
    """Where a cluster is in its life. ``unreachable`` is not dead: the process may live and not answer."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    STOPPING = "stopping"


class Cluster(Value):
    """A user's Ray cluster.

    ``total`` and ``available`` are logical resources by Ray's names (CPU, GPU, memory in bytes); a stopped cluster's
    ``total`` is what it would have.
    """

    name: str
    owner: str
    backend: str
    state: ClusterState
    ray_version: str | None = None
    dashboard_url: str | None = None
    total: dict[str, float] = {}
    available: dict[str, float] = {}
    message: str = ""
    started_at: datetime | None = None


class ClusterQuery(Query):
    """Filter of clusters."""

    state: ClusterState | None = None
