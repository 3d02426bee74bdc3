"""Clusters from Python: see, start and stop your Ray clusters. Jobs start what they need by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, overload

from jupyter_ext.client._transport import segment
from jupyter_ext.clusters.values import Cluster, ClusterState
from jupyter_ext.errors import Unavailable

if TYPE_CHECKING:
    from jupyter_ext.client import Client

DEFAULT = "default"
_POLL_SECONDS = 0.3
#: Colours that carry on light and dark alike; the word stands beside, so colour is never alone.
_COLOURS = {
    ClusterState.RUNNING: "#2e7d32",
    ClusterState.STARTING: "#1565c0",
    ClusterState.STOPPING: "#b26a00",
    ClusterState.UNREACHABLE: "#c62828",
    ClusterState.STOPPED: "#757575",
}
_HEADS = ("cluster", "state", "in use", "Ray", "where", "message")


class ClusterTable(Sequence[Cluster]):
    """Clusters, shown as a table in a notebook."""

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self._clusters = tuple(clusters)

    @overload
    def __getitem__(self, index: int) -> Cluster: ...
    @overload
    def __getitem__(self, index: slice) -> ClusterTable: ...
    def __getitem__(self, index: int | slice) -> Cluster | ClusterTable:
        """Return one cluster, or some of them as a table."""
        return ClusterTable(self._clusters[index]) if isinstance(index, slice) else self._clusters[index]

    def __len__(self) -> int:
        return len(self._clusters)

    def __iter__(self) -> Iterator[Cluster]:
        return iter(self._clusters)

    def __repr__(self) -> str:
        if not self._clusters:
            return "No clusters. The first job starts one."
        rows = [_HEADS, *map(_cells, self._clusters)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def _repr_html_(self) -> str:
        if not self._clusters:
            return "<p>No clusters. The first job starts one.</p>"
        heads = "".join(f"<th style='text-align:left'>{head}</th>" for head in _HEADS)
        rows = "".join(_html_row(cluster) for cluster in self._clusters)
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


class Clusters:
    """Your Ray clusters.

    Examples
    --------
    >>> client.clusters.start().state
    <ClusterState.RUNNING: 'running'>
    """

    def __init__(self, client: Client) -> None:
        self._transport = client.transport

    def list(self) -> ClusterTable:
        """Return all your clusters, newest first."""
        return ClusterTable([Cluster.model_validate(item) for item in self._transport.pages("clusters")])

    def get(self, name: str = DEFAULT) -> Cluster:
        """Return a cluster.

        Raises
        ------
        NotFound
            You never started one of that name.
        """
        return Cluster.model_validate(self._transport.get(f"clusters/{segment(name)}"))

    def start(self, name: str = DEFAULT, *, wait: bool = True, timeout: float = 180.0) -> Cluster:
        """Start a cluster, unless it runs, and wait until it takes jobs.

        Parameters
        ----------
        wait
            False returns at once, with the cluster still starting.
        timeout
            Seconds to wait at most. The start itself goes on.

        Raises
        ------
        Unavailable
            It did not start; the message says why.
        TimeoutError
            It has not started in time.
        """
        cluster = Cluster.model_validate(self._transport.post(f"clusters/{segment(name)}/start"))
        deadline = time.monotonic() + timeout
        while wait and cluster.state is ClusterState.STARTING:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Cluster {name!r} still starts after {timeout:g} s; see %cluster status.")
            time.sleep(_POLL_SECONDS)
            cluster = self.get(name)
        if wait and cluster.state is not ClusterState.RUNNING:
            raise Unavailable(cluster.message, cluster=name)
        return cluster

    def stop(self, name: str = DEFAULT) -> Cluster:
        """Stop a cluster and everything that runs in it; return when nothing of it is left."""
        return Cluster.model_validate(self._transport.post(f"clusters/{segment(name)}/stop"))


def _cells(cluster: Cluster) -> tuple[str, ...]:
    return (
        cluster.name,
        cluster.state.value,
        _use(cluster),
        cluster.ray_version or "",
        cluster.dashboard_url or "",
        cluster.message.partition("\n")[0],
    )


def _html_row(cluster: Cluster) -> str:
    name, state, use, version, where, message = map(escape, _cells(cluster))
    badge = (
        f"<span style='background:{_COLOURS[cluster.state]};color:#fff;border-radius:8px;padding:1px 8px;"
        f"font-size:85%'>{state}</span>"
    )
    cells = "".join(f"<td style='text-align:left'>{cell}</td>" for cell in (name, badge, use, version, where, message))
    return f"<tr>{cells}</tr>"


def _use(cluster: Cluster) -> str:
    """Say how much of what a cluster has is in use.

    Examples
    --------
    >>> cluster = Cluster(name="default", owner="ada", backend="local", state=ClusterState.RUNNING,
    ...                   total={"CPU": 4.0, "GPU": 1.0, "memory": 2e9}, available={"CPU": 3.0, "GPU": 1.0})
    >>> _use(cluster)
    '1 of 4 CPUs, 0 of 1 GPU, 2.0 GB memory'
    """
    shown = []
    for name, total in sorted(cluster.total.items()):
        if name == "memory":
            shown.append(f"{total / 1e9:.1f} GB memory")
        elif name != "object_store_memory":
            unit = name if total == 1 or name not in ("CPU", "GPU") else f"{name}s"
            used = f"{total - cluster.available[name]:g} of " if name in cluster.available else ""
            shown.append(f"{used}{total:g} {unit}")
    return ", ".join(shown)
