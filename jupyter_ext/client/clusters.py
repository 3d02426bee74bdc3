"""Clusters from Python: see, start, resize and stop your Ray clusters. Jobs start what they need by themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, overload

from jupyter_ext.client._transport import segment
from jupyter_ext.clusters.values import Cluster, ClusterSize, ClusterState, Node
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
_NODE_HEADS = ("node", "kind", "state", "in use", "message")


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
        all_in_all = _columns([_HEADS, *map(_cells, self._clusters)])
        growing = (
            f"{cluster.name}: {_growth(cluster)}\n{_columns([_NODE_HEADS, *_node_rows(cluster)])}"
            for cluster in filter(_grows, self._clusters)
        )
        return "\n\n".join([all_in_all, *growing])

    def _repr_html_(self) -> str:
        if not self._clusters:
            return "<p>No clusters. The first job starts one.</p>"
        parts = [_html_table(_HEADS, map(_html_row, self._clusters))]
        for cluster in filter(_grows, self._clusters):
            rows = (_html_cells(map(escape, row)) for row in _node_rows(cluster))
            parts.append(f"<p>{escape(cluster.name)}: {escape(_growth(cluster))}</p>{_html_table(_NODE_HEADS, rows)}")
        return "".join(parts)


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

    def resize(self, name: str = DEFAULT, /, **limits: int) -> Cluster:
        """Set how many workers of some kinds a running cluster may have at most, until it is stopped.

        Workers there are too many of go, idle ones first; jobs that lose theirs go on from their last checkpoint.

        Parameters
        ----------
        limits
            By kind, such as ``gpu=2``. Kinds that are not named stay as they are.

        Raises
        ------
        Invalid
            The cluster has no such kind of worker, or may not have so many of it.
        Conflict
            The cluster does not run.
        """
        body = ClusterSize(limits=limits)
        return Cluster.model_validate(self._transport.put(f"clusters/{segment(name)}/size", body))

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


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _html_row(cluster: Cluster) -> str:
    name, state, use, version, where, message = map(escape, _cells(cluster))
    badge = (
        f"<span style='background:{_COLOURS[cluster.state]};color:#fff;border-radius:8px;padding:1px 8px;"
        f"font-size:85%'>{state}</span>"
    )
    return _html_cells((name, badge, use, version, where, message))


def _html_cells(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"


def _html_table(heads: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th style='text-align:left'>{head}</th>" for head in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _grows(cluster: Cluster) -> bool:
    return bool(cluster.kinds) or len(cluster.nodes) > 1


def _growth(cluster: Cluster) -> str:
    """Say what a cluster may grow by, and what the queue wants.

    Examples
    --------
    >>> from jupyter_ext.clusters.values import WorkerKind
    >>> gpu = WorkerKind(name="gpu", resources={"CPU": 1, "GPU": 1}, max_nodes=4)
    >>> _growth(Cluster(name="default", owner="ada", backend="local", state=ClusterState.STOPPED, kinds=(gpu,),
    ...                 wanted=({"GPU": 1.0}, {"GPU": 1.0}, {"CPU": 2.0})))
    'up to 4 gpu workers of 1 CPU, 1 GPU; the queue wants 2 × 1 GPU, 1 × 2 CPUs'
    """
    kinds = [
        f"{kind.max_nodes} {kind.name} worker{'' if kind.max_nodes == 1 else 's'} of {_shares(kind.resources, {})}"
        for kind in cluster.kinds
    ]
    wanted = Counter(_shares(bundle, {}) for bundle in cluster.wanted)
    queue = ", ".join(f"{count} × {bundle}" for bundle, count in wanted.items()) or "nothing"
    return f"{'up to ' + ' and '.join(kinds) if kinds else 'it stays as it is'}; the queue wants {queue}"


def _node_rows(cluster: Cluster) -> list[tuple[str, ...]]:
    return [(node.id, node.kind, node.state.value, _node_use(node, cluster), node.message) for node in cluster.nodes]


def _node_use(node: Node, cluster: Cluster) -> str:
    coming = next((kind.resources for kind in cluster.kinds if kind.name == node.kind), {})
    return _shares(node.total or coming, node.used)


def _use(cluster: Cluster) -> str:
    """Say how much of what a cluster has is in use.

    Examples
    --------
    >>> cluster = Cluster(name="default", owner="ada", backend="local", state=ClusterState.RUNNING,
    ...                   total={"CPU": 4.0, "GPU": 1.0, "memory": 2e9}, available={"CPU": 3.0, "GPU": 1.0})
    >>> _use(cluster)
    '1 of 4 CPUs, 0 of 1 GPU, 2.0 GB memory'
    """
    return _shares(cluster.total, {name: cluster.total[name] - free for name, free in cluster.available.items()})


def _shares(total: Mapping[str, float], used: Mapping[str, float]) -> str:
    shown = []
    for name, amount in sorted(total.items()):
        if name == "memory":
            shown.append(f"{amount / 1e9:.1f} GB memory")
        elif name != "object_store_memory":
            unit = name if amount == 1 or name not in ("CPU", "GPU") else f"{name}s"
            shown.append((f"{used[name]:g} of " if name in used else "") + f"{amount:g} {unit}")
    return ", ".join(shown)
