"""A Ray head that keeps its state on disk, and comes back after it was killed, as KubeRay's with fault tolerance do."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from jupyter_ext.clusters.backends.base import Head
from jupyter_ext.clusters.backends.local import LocalBackend, free_ports
from jupyter_ext.clusters.ray_jobs import RayJobs
from jupyter_ext.errors import Unavailable

_PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
_TOKEN = "t" * 64


@dataclass(frozen=True)
class Connection:
    """A reached cluster. Its state outlives its head, so it is the same one after a restart."""

    jobs: RayJobs
    incarnation: str = "saved"
    python: str = sys.executable


class SavedHead:
    """A head without CPUs, and one worker that has them: drivers run beside the head's processes, not below.

    Parameters
    ----------
    scratch
        A short path: sockets are below it.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._backend = LocalBackend(home=scratch / "home", options=["--num-cpus=0"])
        self._ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        url = f"http://127.0.0.1:{self._ports['dashboard-port']}"
        self._head = Head(owner="ada", name="saved", url=url, ready_url="", token=_TOKEN, incarnation="saved")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.connection = Connection(RayJobs(url, _TOKEN, timeout=5.0))

    def start(self) -> None:
        """Start the head, or start it again with what it saved."""
        # Ray takes a worker's raylet for a head that runs already; on machines of its own it sees none.
        (self._scratch / "r" / "ray_current_cluster").unlink(missing_ok=True)
        self._run("head", self._backend._command(self._ports, self._scratch))

    def start_worker(self) -> None:
        """Start the worker."""
        port, *own = free_ports(4)
        names = ("dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port")
        options = {"dashboard-agent-listen-port": port, **dict(zip(names, own, strict=True))}
        self._run(
            "worker",
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=2"),
                f"--address=127.0.0.1:{self._ports['port']}",
                "--node-ip-address=127.0.0.1",
                *(f"--{name}={value}" for name, value in options.items()),
            ],
        )

    def kill(self) -> None:
        """Kill all processes of the head, and none of the worker."""
        self._kill("head")

    def wait(self, nodes: int, timeout_s: float = 240.0) -> None:
        """Wait until so many nodes live. What ended meanwhile is started again: Ray gives a node 30 s for its start."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if len(self.connection.jobs.nodes()) >= nodes:
                    return
            except Unavailable:
                pass
            assert time.monotonic() < deadline, self.log()
            for name, running in list(self._processes.items()):
                if running.poll() is not None:
                    {"head": self.start, "worker": self.start_worker}[name]()
            time.sleep(0.2)

    def log(self) -> str:
        """What `ray start` said."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(self._scratch.glob("*.log")))

    def close(self) -> None:
        """End all."""
        self.connection.jobs.close()
        for name in list(self._processes):
            self._kill(name)

    def _run(self, name: str, command: list[str]) -> None:
        environment = {
            **self._backend._environment(self._head),
            # Ray refuses a second `ray start` at the loopback without it, on every system.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(self._scratch / "gcs"),
        }
        with (self._scratch / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _kill(self, name: str) -> None:
        running = self._processes.pop(name)
        try:
            below = psutil.Process(running.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            below = []
        running.kill()
        running.wait()
        for process in below:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(below, timeout=10)
