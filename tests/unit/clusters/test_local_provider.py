"""Workers start, fail, die and end, each once and to the last process; they are sleeps here, and raylets elsewhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jupyter_ext.clusters.backends import local_provider, local_scaling
from jupyter_ext.clusters.backends.local_provider import LocalNodeProvider
from jupyter_ext.clusters.values import NodeState
from support.waiting import wait_until

TAGS = {"ray-user-node-type": "gpu", "ray-node-type": "worker"}
# A raylet with a child that leads a session of its own and does not go by itself.
_RAYLET = """
import signal, subprocess, sys, time
sleep = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
time.sleep(600)
"""


class Node:
    """What Ray's node tells of its processes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def dead_processes(self) -> list[tuple[str, subprocess.Popen[bytes]]]:
        return [] if self.process.poll() is None else [("raylet", self.process)]


class Provider(LocalNodeProvider):
    """Starts sleeps; ``failing`` starts fail first."""

    failing = 0

    def __init__(self, config: dict[str, Any], name: str) -> None:
        super().__init__(config, name)
        self.started: list[subprocess.Popen[bytes]] = []

    def _start(self, worker: Any, gpus: list[str]) -> Any:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("no room")
        environment = {**os.environ, "RAY_CLOUD_INSTANCE_ID": worker.id, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        self.started.append(subprocess.Popen([sys.executable, "-c", _RAYLET], env=environment))
        return Node(self.started[-1])


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Provider]]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(local_provider, "_GRACE_SECONDS", 0.2)
    levels = {
        name: logging.getLogger(name).level for name in ("ray.autoscaler._private.util", "ray.autoscaler.v2.scheduler")
    }
    made: list[Provider] = []

    def provider(*gpus: str) -> Provider:
        config = {"folder": str(tmp_path), "sockets": "/s", "gcs_address": "", "object_store_memory": 1, "gpus": gpus}
        made.append(Provider(config, "head"))
        return made[-1]

    yield provider
    for each in made:
        each.terminate_nodes(each.non_terminated_nodes({}))
        wait_until(lambda each=each: each.non_terminated_nodes({}) == ["head"])  # type: ignore[misc]
        assert all(process.wait(60) is not None for process in each.started)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def begin(provider: Provider, count: int, **resources: int) -> list[str]:
    before = set(provider.non_terminated_nodes({}))
    provider.create_node_with_resources_and_labels({}, TAGS, count, resources or {"CPU": 1}, {})
    return [node for node in provider.non_terminated_nodes({}) if node not in before]


def all_run(provider: Provider, count: int) -> bool:
    found = provider.non_terminated_nodes({"ray-node-type": "worker"})
    return len(found) == count and all(map(provider.is_running, found))


def processes(worker: str) -> list[psutil.Process]:
    return local_provider._processes(worker)


def test_it_starts_as_many_as_asked_for_and_ends_all_of_each(make: Callable[..., Provider], tmp_path: Path) -> None:
    provider = make()
    assert provider.non_terminated_nodes({}) == ["head"]
    assert provider.is_running("head")
    first, second = begin(provider, 2)
    assert provider.node_tags(first) == TAGS
    assert [worker.kind for worker in local_scaling.workers(tmp_path)] == ["gpu", "gpu"]
    wait_until(lambda: all_run(provider, 2) and len(processes(first)) == len(processes(second)) == 2)
    assert {worker.state for worker in local_scaling.workers(tmp_path)} == {NodeState.RUNNING}
    provider.terminate_nodes([first, "unknown"])
    provider.terminate_nodes([first])
    wait_until(lambda: provider.non_terminated_nodes({}) == ["head", second])
    assert processes(first) == []
    assert len(processes(second)) == 2
    assert [worker.id for worker in local_scaling.workers(tmp_path)] == [second]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_one_that_dies_is_gone_with_all_its_processes(make: Callable[..., Provider], tmp_path: Path) -> None:
    provider = make()
    [lost] = begin(provider, 1)
    wait_until(lambda: all_run(provider, 1) and len(processes(lost)) == 2)
    [raylet] = [process for process in processes(lost) if process.ppid() == os.getpid()]
    raylet.kill()
    wait_until(lambda: provider.non_terminated_nodes({}) == ["head"])
    assert processes(lost) == []
    assert provider._troubles["gpu"] == (1, "A worker ended by itself (exit code -9).")
    assert local_scaling.workers(tmp_path) == []
    begin(provider, 1)
    wait_until(lambda: all_run(provider, 1))
    assert provider._troubles == {}


def test_a_failing_start_is_told_and_the_next_one_waits_longer(make: Callable[..., Provider], tmp_path: Path) -> None:
    provider = make()
    provider.failing = 2
    assert provider._pause("gpu") == 0
    for pause in (0, 1):
        begin(provider, 1)
        wait_until(lambda: provider.non_terminated_nodes({}) == ["head"])
        assert provider._pause("gpu") == pause
    assert provider._pause("cpu") == 0
    begin(provider, 1)
    assert local_scaling.workers(tmp_path)[0].message == "A worker did not start: no room"
    wait_until(lambda: all_run(provider, 1))
    assert provider._pause("gpu") == 0
    provider._troubles["gpu"] = (1000, "")
    assert provider._pause("gpu") == 60
    provider._troubles.clear()


def test_one_that_waits_or_starts_can_be_ended(make: Callable[..., Provider]) -> None:
    provider = make()
    provider._troubles["gpu"] = (1000, "trouble")
    waiting = begin(provider, 1)
    provider.terminate_nodes(waiting)
    wait_until(lambda: provider.non_terminated_nodes({}) == ["head"], 30)
    assert processes(waiting[0]) == []
    provider._troubles.clear()


def test_gpus_are_dealt_out_and_come_back(make: Callable[..., Provider], tmp_path: Path) -> None:
    provider = make("GPU-a", "GPU-b", "GPU-c")
    first, second = begin(provider, 1, GPU=2)[0], begin(provider, 1, GPU=1)[0]
    wait_until(lambda: all_run(provider, 2) and processes(first) and processes(second))
    seen = [processes(worker)[0].environ()["CUDA_VISIBLE_DEVICES"].split(",") for worker in (first, second)]
    assert sorted([*seen[0], *seen[1]]) == ["GPU-a", "GPU-b", "GPU-c"]
    assert len(seen[0]) == 2
    begin(provider, 1, GPU=1)
    wait_until(lambda: all_run(provider, 2))
    assert provider._troubles["gpu"][1] == "A worker did not start: it needs 1 GPUs, and 0 of this machine's are free."
    provider.terminate_nodes([second])
    wait_until(lambda: all_run(provider, 1))
    [third] = begin(provider, 1, GPU=1)
    wait_until(lambda: all_run(provider, 2) and processes(third))
    assert processes(third)[0].environ()["CUDA_VISIBLE_DEVICES"] == seen[1][0]
