"""Workers of a local cluster: what Ray's autoscaler calls to have a node more or less on this machine.

Ray loads `LocalNodeProvider` in the process of its autoscaler (``monitor.py``), a child of the head. A worker is a
real one: a raylet with its agents, in the head's session folder, with the head's token, on the loopback.

It is started by Ray's own class for a node, as Ray's provider for tests does it (`FakeMultiNodeProvider`), and not by
``ray start --address``: that command refuses to join from the loopback, and without the setting that makes it refuse
every port of the worker would be open to the network. Of Ray's provider it takes nothing else: that one numbers its
workers from one, in every cluster of the machine alike, starts one when asked for several, blocks the autoscaler
meanwhile, never notices that one died, and forgets about a start that fails.

Three things see to it that no worker outlives its cluster: the kernel kills a raylet whose autoscaler dies (Linux),
Ray's own processes end with their raylet, and the keeper ends everything that is left of the head.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from jupyter_ext.clusters.backends import local_scaling
from jupyter_ext.clusters.backends.local_scaling import HEAD, Worker
from jupyter_ext.clusters.values import NodeState
from jupyter_ext.values import new_id

logger = logging.getLogger(__name__)

#: In the environment of every process of a worker, which is known by it.
MARK = "RAY_CLOUD_INSTANCE_ID"
_KIND = "ray-user-node-type"
_TICK_SECONDS = 0.25
#: What a worker has to end in good order.
_GRACE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0
#: What Ray takes as options of a node, and not among its resources.
_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory", "object_store_memory": "object_store_memory"}


@dataclass(eq=False)
class _Process:
    """A worker from the first attempt to start it until nothing of it is left."""

    id: str
    tags: dict[str, str]
    resources: dict[str, int]
    state: NodeState = NodeState.STARTING
    message: str = ""
    told_to_end: threading.Event = field(default_factory=threading.Event)

    @property
    def kind(self) -> str:
        return self.tags[_KIND]


class LocalNodeProvider:
    """Starts and ends workers on this machine for Ray's autoscaler, which calls it from several threads.

    It has the methods of `ray.autoscaler.node_provider.NodeProvider` that the second autoscaler of Ray 2 calls.

    Parameters
    ----------
    provider_config
        ``folder``, ``sockets``, ``gcs_address``, ``object_store_memory`` and ``gpus`` of `Scaling.ray_config`.
    cluster_name
        Unused: every cluster has an autoscaler of its own.
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        self._folder = Path(provider_config["folder"])
        self._sockets = Path(provider_config["sockets"])
        self._gcs_address: str = provider_config["gcs_address"]
        self._object_store_memory: int = provider_config["object_store_memory"]
        self._deals_gpus = bool(provider_config["gpus"])
        self._free_gpus: list[str] = list(provider_config["gpus"])
        self._workers: dict[str, _Process] = {}
        #: By kind, what went wrong since one of it last started: how often in a row, and what it was.
        self._troubles: dict[str, tuple[int, str]] = {}
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        # Which GPUs a worker sees is ours to say, and Ray checks it against the environment of this process.
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        # Every second, they write into the log what they think of fields of the configuration that Ray itself puts
        # there, and which idle worker is kept.
        for noisy in ("ray.autoscaler._private.util", "ray.autoscaler.v2.scheduler"):
            logging.getLogger(noisy).setLevel(logging.ERROR)

    # What Ray calls

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Return the ids of the head and of the workers that have not ended, those that start too."""
        with self._lock:
            return [node for node in (HEAD, *self._workers) if tag_filters.items() <= self.node_tags(node).items()]

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Return the tags that tell Ray the kind of a node."""
        if node_id == HEAD:
            return {"ray-node-type": "head", _KIND: HEAD, "ray-node-status": "up-to-date"}
        with self._lock:
            worker = self._workers.get(node_id)
            return {} if worker is None else dict(worker.tags)

    def is_running(self, node_id: str) -> bool:
        """Return whether a node is up."""
        with self._lock:
            worker = self._workers.get(node_id)
            return node_id == HEAD or (worker is not None and worker.state is NodeState.RUNNING)

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, int],
        labels: dict[str, str],
    ) -> None:
        """Begin to start workers, and return at once."""
        with self._lock:
            for _ in range(count):
                worker = _Process(new_id("worker"), dict(tags), dict(resources))
                _, worker.message = self._troubles.get(worker.kind, (0, ""))
                self._workers[worker.id] = worker
                threading.Thread(target=self._live, args=(worker,), name=worker.id, daemon=True).start()
            self._tell()

    def terminate_nodes(self, node_ids: list[str]) -> None:
        """Begin to end workers, and return at once. One that is not there any more is no error."""
        with self._lock:
            for node_id in node_ids:
                if (worker := self._workers.get(node_id)) is not None:
                    worker.state, worker.message = NodeState.STOPPING, ""
                    worker.told_to_end.set()
            self._tell()

    # The life of one worker, in a thread of its own: the kernel ends a raylet with the thread that started it

    def _live(self, worker: _Process) -> None:
        gpus: list[str] = []
        trouble = ""
        try:
            if not worker.told_to_end.wait(self._pause(worker.kind)):
                gpus = self._deal_gpus(worker.resources.get("GPU", 0))
                node = self._start(worker, gpus)
                trouble = self._watch(worker, node)
        except Exception as error:
            logger.exception("Worker %s did not start", worker.id)
            trouble = f"A worker did not start: {error}"
        finally:
            with self._lock:
                worker.state = NodeState.STOPPING
                self._tell()
            _end(worker.id)
            with self._lock:
                self._free_gpus.extend(gpus)
                del self._workers[worker.id]
                if trouble:
                    self._troubles[worker.kind] = (self._troubles.get(worker.kind, (0, ""))[0] + 1, trouble)
                self._tell()

    def _pause(self, kind: str) -> float:
        """Return the seconds to wait before a start: none after a first failure, then 1, 3, 7 …"""
        with self._lock:
            failures, _ = self._troubles.get(kind, (0, ""))
        return min(_LONGEST_PAUSE_SECONDS, 2.0 ** max(0, min(failures, 10) - 1) - 1)

    def _deal_gpus(self, count: int) -> list[str]:
        if not self._deals_gpus:
            return []
        with self._lock:
            if count > len(self._free_gpus):
                raise RuntimeError(f"it needs {count} GPUs, and {len(self._free_gpus)} of this machine's are free.")
            dealt, self._free_gpus = self._free_gpus[:count], self._free_gpus[count:]
            return dealt

    def _start(self, worker: _Process, gpus: list[str]) -> Any:
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        environment = {MARK: worker.id, "RAY_NODE_TYPE_NAME": worker.kind}
        if self._deals_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        amounts: dict[str, Any] = {"CPU": 0, "GPU": 0, "memory": 0, "object_store_memory": self._object_store_memory}
        amounts |= worker.resources
        number = next(self._numbers)
        parameters = RayParams(
            node_name=worker.id,
            node_ip_address="127.0.0.1",
            gcs_address=self._gcs_address,
            redis_address=self._gcs_address,
            **{option: amounts.pop(name) for name, option in _OPTIONS.items()},
            resources=amounts,
            # By itself, Ray gives two that start at once the same sockets.
            raylet_socket_name=str(self._sockets / f"{number}.raylet"),
            plasma_store_socket_name=str(self._sockets / f"{number}.plasma"),
            # Any free port: the usual ones are the head's.
            min_worker_port=0,
            max_worker_port=0,
            dashboard_port=None,
            dashboard_agent_listen_port=0,
            # The head's reads the folder that all nodes write to.
            include_log_monitor=False,  # type: ignore[arg-type]  # Ray takes a bool and says str
            env_vars=environment,
        )
        return Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=True)

    def _watch(self, worker: _Process, node: Any) -> str:
        """Wait until the worker is told to end, or ends; return what was wrong with that."""
        with self._lock:
            self._troubles.pop(worker.kind, None)
            if not worker.told_to_end.is_set():
                worker.state, worker.message = NodeState.RUNNING, ""
                self._tell()
        while not worker.told_to_end.wait(_TICK_SECONDS):
            for _, process in node.dead_processes():
                # Ray ends an idle one itself, before it tells us to.
                return "" if process.returncode == 0 else f"A worker ended by itself (exit code {process.returncode})."
        return ""

    def _tell(self) -> None:
        found = [Worker(id=w.id, kind=w.kind, state=w.state, message=w.message) for w in self._workers.values()]
        local_scaling.tell_workers(self._folder, found)


def _end(worker_id: str) -> None:
    """End every process of a worker: its raylet in good order, then whatever is left."""
    left = _processes(worker_id)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            # Our own child is the raylet; it ends the others.
            if process.ppid() == os.getpid():
                process.terminate()
    psutil.wait_procs(left, timeout=_GRACE_SECONDS)
    while left := _processes(worker_id):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def _processes(worker_id: str) -> list[psutil.Process]:
    """Return the processes that carry a worker's mark, wherever they hang in the tree."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == worker_id:
                found.append(process)
    return found
