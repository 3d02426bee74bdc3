"""How big clusters are to be: what the queue wants, what they may grow to, and what there is to say of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jupyter_ext.clusters import packing
from jupyter_ext.clusters.backends.base import ClusterBackend
from jupyter_ext.clusters.values import Node, NodeState
from jupyter_ext.errors import JupyterExtError

if TYPE_CHECKING:
    from jupyter_ext.clusters.service import Connection

#: What the queue wants is told again so often, in case another server on the workspace said otherwise.
_TELL_AGAIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass
class _Told:
    """What a cluster was last told to have room for, and when; the lock is held by who tells."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    incarnation: str = ""
    wanted: tuple[dict[str, float], ...] = ()
    at: float = float("-inf")


class Growth:
    """Remembers what is wanted of clusters and tells them, and knows what they can grow to. Thread-safe.

    Parameters
    ----------
    backend
        What has the nodes.
    connection
        Returns a way into a cluster that runs.
    """

    def __init__(self, backend: ClusterBackend, connection: Callable[[str, str], Connection | None]) -> None:
        self._backend = backend
        self._connection = connection
        self._heads: dict[str, dict[str, float]] = {}
        self._wanted: dict[tuple[str, str], tuple[dict[str, float], ...]] = {}
        self._told: dict[tuple[str, str], _Told] = {}

    def capacity(self, owner: str, name: str) -> dict[str, float]:
        """Return the resources that a cluster can grow to."""
        connection = self._connection(owner, name)
        if connection is None:
            return self._backend.capacity()
        return packing.total(self._head(connection), self._backend.kinds(owner, name))

    def fits(self, owner: str, name: str, bundle: Mapping[str, float]) -> bool:
        """Return whether one node can ever hold a bundle."""
        workers = (kind.resources for kind in self._backend.kinds(owner, name) if kind.max_nodes)
        head = self._head(self._connection(owner, name))
        return any(packing.fits(bundle, node) for node in (head, *workers))

    def wanted(self, owner: str, name: str) -> tuple[dict[str, float], ...]:
        """Return what was last wanted."""
        return self._wanted.get((owner, name), ())

    def want(self, owner: str, name: str, bundles: Iterable[Mapping[str, float]]) -> None:
        """Remember what is wanted and tell it, if it is new."""
        wanted = tuple(dict(bundle) for bundle in bundles)
        before, self._wanted[owner, name] = self._wanted.get((owner, name)), wanted
        if before != wanted:
            self.tell(owner, name)

    def want_nothing_by_default(self, owner: str, name: str) -> None:
        """Want nothing of a cluster of which nothing was said yet."""
        self._wanted.setdefault((owner, name), ())

    def tell(self, owner: str, name: str, *, again: bool = False) -> None:
        """Tell a cluster that runs what is wanted of it, unless it was told just that lately.

        Parameters
        ----------
        again
            Tell it in any case.
        """
        if (owner, name) not in self._wanted:
            return
        told = self._told.setdefault((owner, name), _Told())
        with told.lock:
            # Read under the lock: of two that tell at once, the second tells what was said last.
            wanted = self._wanted[owner, name]
            connection = self._connection(owner, name)
            head = None if connection is None else self._backend.find(owner, name)
            if head is None:
                return
            lately = time.monotonic() - told.at < _TELL_AGAIN_SECONDS
            if (head.incarnation, wanted) == (told.incarnation, told.wanted) and lately and not again:
                return
            try:
                kinds = self._backend.kinds(owner, name)
                self._backend.want(head, packing.place(wanted, self._head(connection), kinds).bundles)
            except (JupyterExtError, OSError) as error:
                # Who looks after the cluster tries again.
                logger.info("Cluster %s of %s was not told what is wanted: %s", name, owner, error)
                return
            told.incarnation, told.wanted, told.at = head.incarnation, wanted, time.monotonic()

    def _head(self, connection: Connection | None) -> dict[str, float]:
        """Return what the head has, which never grows; while it can't be asked, what it would get."""
        if connection is None:
            return self._backend.head_resources()
        if connection.incarnation not in self._heads:
            try:
                [head] = [node for node in connection.jobs.nodes() if node.is_head]
            except (JupyterExtError, ValueError):
                logger.info("Cluster %s of %s does not tell its resources now", connection.name, connection.owner)
                return self._backend.head_resources()
            self._heads[connection.incarnation] = head.total
        return self._heads[connection.incarnation]


def sums(nodes: Iterable[Node]) -> tuple[dict[str, float], dict[str, float]]:
    """Return what the nodes have in all, and of what they report the use of, what is free."""
    total: dict[str, float] = {}
    available: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.total.items():
            total[name] = total.get(name, 0.0) + amount
            if name in node.used:
                available[name] = available.get(name, 0.0) + amount - node.used[name]
    return total, available


def scale_up(nodes: Iterable[Node]) -> str:
    """Say which workers start, and what keeps them; nothing when none does.

    Examples
    --------
    >>> gpu = Node(id="w1", kind="gpu", state=NodeState.STARTING)
    >>> scale_up([gpu, gpu.model_copy(update={"message": "The last one ran out of memory."})])
    'Starting 2 gpu workers for the queue. The last one ran out of memory.'
    """
    starting = [node for node in nodes if node.state is NodeState.STARTING]
    if not starting:
        return ""
    counts = Counter(node.kind for node in starting)
    what = " and ".join(f"{count} {kind} worker{'s' if count > 1 else ''}" for kind, count in sorted(counts.items()))
    troubles = dict.fromkeys(node.message for node in starting if node.message)
    return " ".join([f"Starting {what} for the queue.", *troubles])
