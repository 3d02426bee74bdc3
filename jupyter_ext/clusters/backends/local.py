"""Heads on this machine: one a cluster, each under a keeper of its own, with ports, files and a token of its own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from traitlets import Dict, Float, Int, List, Unicode, default

from jupyter_ext.clusters import keeper
from jupyter_ext.clusters.backends.base import ClusterBackend, Head
from jupyter_ext.clusters.backends.machine import count_cpus, count_gpus, memory_bytes
from jupyter_ext.errors import Unavailable
from jupyter_ext.values import new_id

_HEAD = "head.json"
#: A Unix socket's path has at most 103 characters (macOS; Linux 107). Ray puts up to 74 behind its folder:
#: ``/session_2026-11-20_23-22-06_786482_1234567/sockets/dash_PlatformEventsHead``; we put ``/r``.
_LONGEST_SCRATCH = 103 - 74 - len("/r")
#: What the head's environment must not take from the server's: its tokens, and settings meant for another Ray.
_KEPT_BACK = ("JUPYTERHUB_", "JUPYTER_EXT_", "JUPYTER_TOKEN", "JPY_", "RAY_")
_PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "runtime-env-agent-port",
    "ray-client-server-port",
)
#: Ray's own settings, in the order: who gets in, who can reach it, what is not needed on one machine.
_RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # Despite its name, on Linux too: with 0 every port of Ray binds to the loopback, not to the network.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Who is in use of what is asked of the head then, and not of an autoscaler that does not run.
    "RAY_enable_autoscaler_v2": "1",
    # Jobs bring a runtime environment, for which workers started ahead are of no use.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # The metrics endpoint asks for no token.
    "RAY_enable_metrics_collection": "0",
}


class LocalBackend(ClusterBackend):
    """Starts heads as processes of this machine (Linux, macOS).

    A cluster has a folder ``<home>/clusters/<digest>``, readable by its user only: the head's address and token, its
    log, the lease. Ray's own session files lie in a temporary folder with a short path.
    """

    kind = "local"

    num_cpus = Int(min=1, help="Logical CPUs of a head. Default: the CPUs this process may use.").tag(config=True)
    num_gpus = Int(
        None, allow_none=True, min=0, help="Logical GPUs of a head. Default: those Ray finds (CUDA_VISIBLE_DEVICES)."
    ).tag(config=True)
    memory = Int(min=1, help="Logical memory of a head in bytes. Default: 70 % of what this process may use.").tag(
        config=True
    )
    object_store_memory = Int(
        min=80 * 2**20, help="Shared memory of a head's object store in bytes. Default: 1/40 of the memory, 0.2-2 GB."
    ).tag(config=True)
    temp_dir = Unicode(
        help="Where Ray's session files and sockets go. Short: sockets' paths are limited. Default: the system's."
    ).tag(config=True)
    options = List(Unicode(), help="Further options of `ray start`.").tag(config=True)
    environment = Dict(help="Further environment variables of the head and of all that runs in it.").tag(config=True)
    orphan_timeout = Float(
        3600.0, min=1.0, help="Seconds after which a head ends by itself when no server asks for it any more."
    ).tag(config=True)
    stop_grace = Float(10.0, min=0.0, help="Seconds that a head has to end in good order.").tag(config=True)

    @default("num_cpus")
    def _default_num_cpus(self) -> int:
        return count_cpus()

    @default("memory")
    def _default_memory(self) -> int:
        return int(memory_bytes() * 0.7)

    @default("object_store_memory")
    def _default_object_store_memory(self) -> int:
        return min(max(memory_bytes() // 40, 200 * 10**6), 2 * 10**9)

    def start(self, owner: str, name: str) -> Head:
        """Start a head under a keeper."""
        folder = self._folder(owner, name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._clear_remains(folder)
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        head = Head(
            owner=owner,
            name=name,
            url=f"http://127.0.0.1:{ports['dashboard-port']}",
            ready_url=f"http://127.0.0.1:{ports['dashboard-agent-listen-port']}/api/local_raylet_healthz",
            token=secrets.token_hex(32),
            incarnation=new_id("head"),
        )
        scratch = self._make_scratch()
        launch = {
            "command": self._command(ports, scratch),
            "scratch": str(scratch),
            "orphan_timeout": self.orphan_timeout,
            "grace": self.stop_grace,
        }
        _write_private(folder / _HEAD, json.dumps(vars(head)))
        _write_private(folder / keeper.LAUNCH, json.dumps(launch))
        _write_private(folder / keeper.LOG, "")
        (folder / keeper.LEASE).touch()
        with (folder / keeper.LOG).open("ab") as log:
            done = subprocess.run(  # noqa: S603 - the command is our own
                [sys.executable, "-m", keeper.__name__, str(folder)],
                env=self._environment(head),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode:
            shutil.rmtree(scratch, ignore_errors=True)
            raise Unavailable(f"The keeper of the Ray head did not start:\n{self.log_tail(owner, name)}")
        return head

    def find(self, owner: str, name: str) -> Head | None:
        """Return the head whose keeper lives."""
        folder = self._folder(owner, name)
        if keeper.lock_holder(folder) is None:
            return None
        try:
            return Head(**json.loads((folder / _HEAD).read_text()))
        except FileNotFoundError:
            return None

    def known(self) -> list[tuple[str, str]]:
        """Return the clusters that have a folder with a head's file in it."""
        found = []
        for path in sorted(self._clusters.glob(f"*/{_HEAD}")):
            head = json.loads(path.read_text())
            found.append((head["owner"], head["name"]))
        return found

    def keep(self, head: Head) -> None:
        """Renew the lease that the keeper watches."""
        (self._folder(head.owner, head.name) / keeper.LEASE).touch()

    def stop(self, owner: str, name: str) -> None:
        """Tell the keeper to end, and wait until it has: it goes last."""
        folder = self._folder(owner, name)
        for number, patience in ((signal.SIGTERM, self.stop_grace + 10), (signal.SIGKILL, 5.0)):
            pid = keeper.lock_holder(folder)
            if pid is None:
                break
            os.kill(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and keeper.lock_holder(folder) == pid:
                time.sleep(0.05)
        if keeper.lock_holder(folder) is not None:
            raise Unavailable(f"The keeper of the Ray cluster {name!r} does not end. See {folder / keeper.LOG}.")
        self._clear_remains(folder)
        (folder / _HEAD).unlink(missing_ok=True)

    def log_tail(self, owner: str, name: str) -> str:
        """Return the last lines of what `ray start` wrote."""
        try:
            lines = (self._folder(owner, name) / keeper.LOG).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(line.rstrip() for line in lines if line.strip())[-2000:]

    def capacity(self) -> dict[str, float]:
        """Return what `start` would give a head."""
        gpus = count_gpus() if self.num_gpus is None else self.num_gpus
        total = {"CPU": self.num_cpus, "GPU": gpus, "memory": self.memory}
        return {name: float(amount) for name, amount in total.items() if amount}

    @property
    def _clusters(self) -> Path:
        return self.home / "clusters"

    def _folder(self, owner: str, name: str) -> Path:
        # A digest, because owners and names may hold what paths may not.
        return self._clusters / hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:16]

    def _clear_remains(self, folder: Path) -> None:
        """Remove the session files of a keeper that was killed before it could."""
        try:
            launch = json.loads((folder / keeper.LAUNCH).read_text())
        except FileNotFoundError:
            return
        shutil.rmtree(launch["scratch"], ignore_errors=True)
        (folder / keeper.LAUNCH).unlink()

    def _make_scratch(self) -> Path:
        chosen = [self.temp_dir] if self.temp_dir else [tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp below
        for base in chosen:
            # mkdtemp: a new folder that only we can enter.
            scratch = Path(tempfile.mkdtemp(prefix="ray-", dir=base))
            if len(str(scratch)) <= _LONGEST_SCRATCH:
                return scratch
            scratch.rmdir()
        raise Unavailable(
            f"The path {chosen[0]!r} is too long for the sockets of a Ray head. "
            "Set c.LocalBackend.temp_dir to a shorter one."
        )

    def _command(self, ports: dict[str, int], scratch: Path) -> list[str]:
        settings: dict[str, Any] = {
            **ports,
            # One deeper: Ray opens the folder it is given to everybody (mode 0777), its parent stays ours alone.
            "temp-dir": scratch / "r",
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "include-dashboard": "true",
            "num-cpus": self.num_cpus,
            "memory": self.memory,
            "object-store-memory": self.object_store_memory,
        }
        if self.num_gpus is not None:
            settings["num-gpus"] = self.num_gpus
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--no-monitor"),
            *(f"--{option}={value}" for option, value in settings.items()),
            *self.options,
        ]

    def _environment(self, head: Head) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_BACK)}
        # A job's `python` is the one that runs this server, also when its environment is not activated.
        programs = [str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]
        return {
            **inherited,
            **_RAY_ENVIRONMENT,
            "PATH": os.pathsep.join(programs),
            "RAY_AUTH_TOKEN": head.token,
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(self.stop_grace / 2),
            "DASHBOARD_METRIC_PORT": str(free_ports(1)[0]),
            **self.environment,
        }


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that are free now, all different, none where Ray's workers take theirs.

    Examples
    --------
    >>> len(set(free_ports(3)))
    3
    """
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            if not 10_000 <= port < 20_000:
                ports.append(port)
    return ports


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
