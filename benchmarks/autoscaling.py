"""How fast a local cluster grows and shrinks: from what is wanted to a node that lives, and back to none.

GPUs are numbers here. What a worker's start costs is Ray's: a raylet and two agents; on top come at most a second until
the autoscaler looks, and a quarter of one until our provider does.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from traitlets.config import Config

from jupyter_ext.clusters.service import ClusterService
from jupyter_ext.clusters.values import ClusterSize, NodeState
from jupyter_ext.store import Store, migrate

_IDLE_SECONDS = 2.0
_GPU = {"CPU": 1.0, "GPU": 1.0}


def _until(true: Callable[[], bool], seconds: float = 120) -> float:
    start = time.perf_counter()
    while not true():
        if time.perf_counter() - start > seconds:
            raise TimeoutError("The cluster does not get there.")
        time.sleep(0.05)
    return time.perf_counter() - start


def measure(runs: int = 3) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    backend = {
        "num_cpus": 1,
        "object_store_memory": 100 * 2**20,
        "worker_kinds": {"gpu": {"resources": {"CPU": 1, "GPU": 1}, "max_nodes": 2}},
        "worker_idle_timeout": _IDLE_SECONDS,
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = Store(f"sqlite:///{folder}/workspace.db", f"{folder}/objects")
        migrate.upgrade(store.database)
        service = ClusterService(store, home=Path(folder), config=Config({"LocalBackend": backend}), start_timeout=240)
        try:
            return _measure(service, runs)
        finally:
            service.close()
            store.close()


def _measure(service: ClusterService, runs: int) -> list[tuple[str, str, str]]:
    connection = service.ensure("ada")
    head = service.backend.find("ada", "default")
    assert head is not None

    def workers() -> int:
        return len(service.backend.nodes(head)) - 1

    def up(count: int) -> bool:
        found = service.backend.nodes(head)[1:]
        return sum(node.state in (NodeState.RUNNING, NodeState.IDLE) for node in found) == count

    def ended(name: str) -> bool:
        found = connection.jobs.get(name)
        return found is not None and found.ended

    one, two, gone, job, resized = (list[float]() for _ in range(5))
    for run in range(runs):
        for count, times in ((1, one), (2, two)):
            service.want("ada", [_GPU] * count)
            times.append(_until(partial(up, count)))
            # Long enough to be idle for too long as soon as nobody wants it.
            time.sleep(_IDLE_SECONDS)
            service.want("ada", [])
            gone.append(_until(lambda: workers() == 0))
        connection.jobs.submit(f"job-{run}", "exec true", gpus=1.0)
        job.append(_until(partial(up, 1)))
        service.resize("ada", "default", ClusterSize(limits={"gpu": 0}))
        resized.append(_until(lambda: workers() == 0))
        service.resize("ada", "default", ClusterSize(limits={"gpu": 2}))
        _until(partial(ended, f"job-{run}"))
        _until(lambda: workers() == 0)
    rows = (
        ("wanted → 1 worker lives", one),
        ("wanted → 2 workers live", two),
        ("a job asks Ray for a GPU → a worker lives", job),
        ("not wanted, idle long enough → gone", gone),
        ("limit 0 → gone", resized),
    )
    return [(what, f"{statistics.median(times):.1f} s", "") for what, times in rows]
