"""How a local cluster grows: the file that Ray's autoscaler reads, and the one in which our node provider answers.

Both lie in the cluster's private folder. `Scaling` is what we decide: which kinds of workers there are, how many of
each at most, and how many the queue wants now. It is kept in the autoscaler's own configuration, which Ray reads again
every second. What the queue wants becomes ``min_workers`` there, and not a call of Ray's ``request_resources``:

- that is one ask for the whole cluster, in which the last caller wins; a job that uses Ray Data or asks by itself
  would undo the queue's, and leave its own behind. Ray adds what jobs ask for to ``min_workers``;
- Ray ignores such an ask as a whole when one bundle of it can't be had. A number of nodes can;
- whoever calls it imports Ray and must be a process of its own, which starts, dies and comes back. A file survives
  every one of these, and a server without a head can write it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_ext.clusters.packing import place
from jupyter_ext.clusters.values import NodeState, WorkerKind
from jupyter_ext.values import Value

CONFIG = "autoscaling.json"
WORKERS = "workers.json"
#: The head's name, as a node and as a kind of node.
HEAD = "head"
PROVIDER = "jupyter_ext.clusters.backends.local_provider.LocalNodeProvider"

_LOCK = "scaling.lock"


class Worker(Value):
    """A worker as its provider sees it: a process or the attempt to start one."""

    id: str
    kind: str
    state: NodeState
    message: str = ""


class Scaling(Value):
    """What a cluster may grow to, and what it is to have now.

    ``kinds`` are as declared; ``limits``, ``wanted`` and ``leaving`` count workers by kind. Those that leave are beyond
    the limit, and stay for Ray while the jobs on them save; nothing new is to begin there. ``gpus`` names the devices
    that are dealt out among the workers; without any, GPUs are numbers only, as everywhere in Ray.
    """

    head: dict[str, float]
    kinds: tuple[WorkerKind, ...]
    limits: dict[str, int] = {}
    wanted: dict[str, int] = {}
    leaving: dict[str, int] = {}
    gcs_address: str
    sockets: str
    idle_timeout: float
    object_store_memory: int
    gpus: tuple[str, ...] = ()

    def current_kinds(self) -> list[WorkerKind]:
        """Return the kinds with the limits that hold now."""
        return [
            kind.model_copy(update={"max_nodes": limit, "min_nodes": min(kind.min_nodes, limit)})
            for kind in self.kinds
            for limit in [self.limits.get(kind.name, kind.max_nodes)]
        ]

    def wanting(self, bundles: list[dict[str, float]]) -> Scaling:
        """Return it with as many workers as it takes to hold the bundles at once, in all."""
        return self.model_copy(update={"wanted": place(bundles, self.head, self.current_kinds()).nodes})

    def ray_config(self, folder: Path) -> dict[str, Any]:
        """Return the configuration for Ray's autoscaler, with ourselves in the part that Ray does not read.

        Examples
        --------
        >>> gpu = WorkerKind(name="gpu", resources={"GPU": 1}, max_nodes=4)
        >>> scaling = Scaling(head={"CPU": 2}, kinds=(gpu,), gcs_address="127.0.0.1:6379", sockets="/s",
        ...                   idle_timeout=60, object_store_memory=10**8)
        >>> config = scaling.wanting([{"GPU": 1}, {"GPU": 1}]).ray_config(Path("/c"))
        >>> config["available_node_types"]["gpu"]["min_workers"], config["max_workers"]
        (2, 4)
        """
        types: dict[str, Any] = {HEAD: {**_node_type(self.head), "min_workers": 0, "max_workers": 0}}
        for kind in self.current_kinds():
            types[kind.name] = {
                **_node_type(kind.resources),
                "min_workers": max(kind.min_nodes, min(self.wanted.get(kind.name, 0), kind.max_nodes)),
                "max_workers": kind.max_nodes + self.leaving.get(kind.name, 0),
                "idle_timeout_s": self.idle_timeout,
            }
        most = sum(kind.max_nodes for kind in self.current_kinds()) + sum(self.leaving.values())
        commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        return {
            "cluster_name": HEAD,
            "max_workers": most,
            # All that are wanted at once; Ray's default starts one, then two, then four.
            "upscaling_speed": float(max(1, most)),
            "head_node_type": HEAD,
            "available_node_types": types,
            "provider": {
                "type": "external",
                "module": PROVIDER,
                # Nothing is installed on a worker over SSH.
                "disable_node_updaters": True,
                "folder": str(folder),
                "gcs_address": self.gcs_address,
                "sockets": self.sockets,
                "object_store_memory": self.object_store_memory,
                "gpus": list(self.gpus),
            },
            # Ray misses each of these that is not there.
            **{f"{name}_commands": [] for name in commands},
            "initialization_commands": [],
            "cluster_synced_files": [],
            "file_mounts": {},
            "metadata": self.model_dump(mode="json"),
        }


def begin(folder: Path, scaling: Scaling) -> Path:
    """Write the files of a cluster that starts, and return the one for Ray."""
    with _locked(folder):
        _write(folder / WORKERS, [])
        _write(folder / CONFIG, scaling.ray_config(folder))
    return folder / CONFIG


def read(folder: Path) -> Scaling | None:
    """Return how a cluster grows; None for one that doesn't."""
    try:
        return Scaling.model_validate(json.loads((folder / CONFIG).read_text())["metadata"])
    except FileNotFoundError:
        return None


def change(folder: Path, how: Callable[[Scaling], Scaling]) -> None:
    """Change how a cluster grows, for all threads and servers in turn. Nothing happens to one that doesn't grow."""
    with _locked(folder):
        before = read(folder)
        if before is None:
            return
        after = how(before)
        if after != before:
            _write(folder / CONFIG, after.ray_config(folder))


def forget(folder: Path) -> None:
    """Remove the files of a cluster that was stopped."""
    (folder / CONFIG).unlink(missing_ok=True)
    (folder / WORKERS).unlink(missing_ok=True)


def workers(folder: Path) -> list[Worker]:
    """Return the workers that are there or start, as their provider last wrote them."""
    try:
        return [Worker.model_validate(item) for item in json.loads((folder / WORKERS).read_text())]
    except FileNotFoundError:
        return []


def tell_workers(folder: Path, found: list[Worker]) -> None:
    """Write down the workers there are. Called by their provider alone."""
    _write(folder / WORKERS, [worker.model_dump(mode="json") for worker in found])


def _node_type(resources: dict[str, float]) -> dict[str, Any]:
    return {"resources": {name: int(amount) for name, amount in resources.items()}, "node_config": {}}


def _write(path: Path, content: Any) -> None:
    """Put a file in place at once: who reads it finds the old one or the new one, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
    draft.replace(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
