"""What a backend of clusters does: start a head, find it again, keep it, stop it."""

from __future__ import annotations

import sys
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyter_ext.clusters.values import Node, WorkerKind
from jupyter_ext.errors import Invalid


@dataclass(frozen=True)
class Head:
    """A head that lives: where it answers, what lets one in, and which one it is.

    ``ready_url`` answers 200 as soon as the head's job agent does: the dashboard alone takes no jobs yet.
    ``incarnation`` is another for every head that was ever started: what one head was told, the next knows nothing of.
    """

    owner: str
    name: str
    url: str
    ready_url: str
    token: str = field(repr=False)
    incarnation: str


class ClusterBackend(LoggingConfigurable):
    """Starts and stops heads somewhere. A cluster is named by its owner and a name.

    The service sees to it that ``start`` and ``stop`` of one cluster are never under way twice on one workspace.

    Parameters
    ----------
    home
        The workspace's folder.
    """

    #: What a user reads in `Cluster.backend`.
    kind: str
    #: The interpreter that runs jobs on a cluster's nodes: where they are this machine, the one that runs this.
    python: str = sys.executable

    def __init__(self, home: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.home = home

    @abstractmethod
    def start(self, owner: str, name: str) -> Head:
        """Begin to start a head, and return at once; it is ready some seconds later."""

    @abstractmethod
    def find(self, owner: str, name: str) -> Head | None:
        """Return the head that lives (ready or not), also one that another server started; None when there is none."""

    @abstractmethod
    def known(self) -> list[tuple[str, str]]:
        """Return owner and name of every cluster of this workspace that was started and not stopped, alive or not."""

    @abstractmethod
    def keep(self, head: Head) -> None:
        """Say that the head is still wanted. Without it a head ends by itself after a while."""

    @abstractmethod
    def stop(self, owner: str, name: str) -> None:
        """End the head and all that runs in it; return when nothing is left. Nothing happens when there is none."""

    @abstractmethod
    def log_tail(self, owner: str, name: str) -> str:
        """Return the last lines that the head wrote."""

    @abstractmethod
    def capacity(self) -> dict[str, float]:
        """Return the resources that a cluster can grow to, by Ray's names, without starting one."""

    def head_resources(self) -> dict[str, float]:
        """Return what of `capacity` the head itself has: all of it, where clusters never grow."""
        return self.capacity()

    def kinds(self, owner: str, name: str) -> list[WorkerKind]:
        """Return the kinds of workers a cluster may grow by, with its own limits; none where it never grows."""
        return []

    def resize(self, owner: str, name: str, limits: dict[str, int]) -> None:
        """Set how many workers of some kinds a cluster may have at most. It holds until the cluster is stopped."""
        raise Invalid("This cluster has one node and can't be resized.")

    def want(self, head: Head, bundles: list[dict[str, float]]) -> None:
        """Tell what a cluster is to have room for at once, in all; each call replaces the last. Idle nodes may go.

        It is the only way in which a cluster grows ahead of what runs in it, and it has one caller: the queue.
        """

    def nodes(self, head: Head) -> list[Node]:
        """Return the nodes of a running cluster, those that start too, the head first."""
        return []
