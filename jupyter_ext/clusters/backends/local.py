"""Clusters on this machine: a head each, under a keeper of its own, with ports, files and a token of its own.

A head has all the machine's resources, unless kinds of workers are declared (`LocalBackend.worker_kinds`): then the
cluster grows and shrinks with what is asked for, by real nodes on this machine (see ``local_scaling``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError
from traitlets import Dict, Float, Int, List, TraitError, Unicode, default, validate

from jupyter_ext.clusters import keeper
from jupyter_ext.clusters.backends import local_provider, local_scaling
from jupyter_ext.clusters.backends.base import ClusterBackend, Head
from jupyter_ext.clusters.backends.local_scaling import HEAD, Scaling
from jupyter_ext.clusters.backends.machine import count_cpus, count_gpus, gpus, memory_bytes
from jupyter_ext.clusters.packing import total as total_of
from jupyter_ext.clusters.ray_jobs import RayJobs
from jupyter_ext.clusters.values import Node, NodeState, WorkerKind
from jupyter_ext.errors import Invalid, Unavailable
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
    # Endpoints of metrics ask for no token: none is opened, because there is no such port.
    "RAY_enable_metrics_collection": "0",
    "DASHBOARD_METRIC_PORT": "-1",
    "AUTOSCALER_METRIC_PORT": "-1",
    # A job may wait for its worker as long as that takes; who gives up is its supervisor, or its user.
    "RAY_JOB_START_TIMEOUT_SECONDS": "604800",
}
#: What a head that grows has besides.
_SCALING_ENVIRONMENT = {
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_NODE_TYPE_NAME": HEAD,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    # A dead worker is found out after 5 s instead of 15; one that only answers late has 10 s a try, as ever.
    "RAY_health_check_period_ms": "1000",
}
#: What runs a job, by its command line.
_RUNNER = ["-m", "jupyter_ext.jobs.runner"]
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


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
        min=80 * 2**20, help="Shared memory of a node's object store in bytes. Default: 1/40 of the memory, 0.2-2 GB."
    ).tag(config=True)
    worker_kinds = Dict(
        help="Kinds of workers a cluster may grow by on this machine, by name, such as {'gpu': {'resources': {'CPU': "
        "1, 'GPU': 1}, 'max_nodes': 4, 'min_nodes': 0}}. A worker has what is named here and nothing else; the head "
        "then has num_cpus, memory, and GPUs only if num_gpus says so. Without any, a cluster is a head that never "
        "grows.",
    ).tag(config=True)
    worker_idle_timeout = Float(
        60.0, min=0.0, help="Seconds after which a worker ends that nothing runs on and the queue does not want."
    ).tag(config=True)
    temp_dir = Unicode(
        help="Where Ray's session files and sockets go. Short: sockets' paths are limited. Default: the system's."
    ).tag(config=True)
    options = List(Unicode(), help="Further options of `ray start`.").tag(config=True)
    environment = Dict(help="Further environment variables of the head and of all that runs in it.").tag(config=True)
    orphan_timeout = Float(
        3600.0, min=1.0, help="Seconds after which a head ends by itself when no server asks for it any more."
    ).tag(config=True)
    stop_grace = Float(
        10.0, min=0.0, help="Seconds that jobs have to save when their node is stopped, and then the head to end."
    ).tag(config=True)

    @default("num_cpus")
    def _default_num_cpus(self) -> int:
        return count_cpus()

    @default("memory")
    def _default_memory(self) -> int:
        return int(memory_bytes() * 0.7)

    @default("object_store_memory")
    def _default_object_store_memory(self) -> int:
        return min(max(memory_bytes() // 40, 200 * 10**6), 2 * 10**9)

    @validate("worker_kinds")
    def _check_worker_kinds(self, proposal: Any) -> dict[str, Any]:
        kinds: dict[str, Any] = proposal["value"]
        for name, declared in kinds.items():
            _worker_kind(name, declared)
        return kinds

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
        command = self._command(ports, scratch)
        if self.worker_kinds:
            config = local_scaling.begin(folder, self._scaling(ports["port"], scratch))
            command.append(f"--autoscaling-config={config}")
        launch = {
            "command": command,
            # Ray's own watch over its processes lets a raylet go that ended in good order, as it does when one of its
            # agents was killed; what is left says that jobs run and runs none.
            "vital": "raylet",
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
        """Tell the jobs, then the keeper to end, and wait until it has: it goes last."""
        folder = self._folder(owner, name)
        if (pid := keeper.lock_holder(folder)) is not None:
            _give_notice(_runners(pid), self.stop_grace)
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
        local_scaling.forget(folder)
        (folder / _HEAD).unlink(missing_ok=True)

    def nodes(self, head: Head) -> list[Node]:
        """Return the nodes that Ray knows, and the workers that it does not know yet."""
        with closing(RayJobs(head.url, head.token)) as ray:
            alive = {(HEAD if node.is_head else node.name): node for node in ray.nodes()}
        found = [Node(id=HEAD, kind=HEAD, state=alive[HEAD].state, total=alive[HEAD].total, used=alive[HEAD].used)]
        for worker in local_scaling.workers(self._folder(head.owner, head.name)):
            node = alive.get(worker.id)
            state = worker.state
            if state is NodeState.RUNNING:
                # One that is up is shown by Ray a moment later.
                state = NodeState.STARTING if node is None else node.state
            total, used = (node.total, node.used) if node is not None else ({}, {})
            found.append(
                Node(id=worker.id, kind=worker.kind, state=state, total=total, used=used, message=worker.message)
            )
        return found

    def kinds(self, owner: str, name: str) -> list[WorkerKind]:
        """Return the kinds with the limits of a cluster that lives, or else as declared."""
        scaling = local_scaling.read(self._folder(owner, name)) if self.find(owner, name) else None
        return self._declared() if scaling is None else scaling.current_kinds()

    def resize(self, owner: str, name: str, limits: dict[str, int]) -> None:
        """Set limits, up to those declared. Surplus workers end, idle ones first, when the jobs on them have saved."""
        folder = self._folder(owner, name)
        scaling = local_scaling.read(folder) if self.find(owner, name) else None
        if scaling is None:
            super().resize(owner, name, limits)
            return
        declared = {kind.name: kind.max_nodes for kind in scaling.kinds}
        for kind, limit in limits.items():
            if limit > declared[kind]:
                raise Invalid(f"There may be at most {declared[kind]} {kind} workers (c.LocalBackend.worker_kinds).")
        workers = Counter(worker.kind for worker in local_scaling.workers(folder))
        leaving = {kind: surplus for kind, limit in limits.items() if (surplus := workers[kind] - limit) > 0}
        local_scaling.change(
            folder, lambda old: old.model_copy(update={"limits": {**old.limits, **limits}, "leaving": leaving})
        )
        if not leaving:
            return
        # Ray ends a worker without a word, and idle ones first: by then those are, whose jobs were told.
        try:
            if (pid := keeper.lock_holder(folder)) is not None:
                _give_notice(_on_surplus(_runners(pid), local_scaling.workers(folder), limits), self.stop_grace)
        finally:
            local_scaling.change(folder, lambda old: old.model_copy(update={"leaving": {}}))

    def want(self, head: Head, bundles: list[dict[str, float]]) -> None:
        """Write down how many workers of each kind the bundles take; Ray's autoscaler reads it within a second."""
        local_scaling.change(self._folder(head.owner, head.name), lambda old: old.wanting(bundles))

    def log_tail(self, owner: str, name: str) -> str:
        """Return the last lines of what `ray start` wrote."""
        try:
            lines = (self._folder(owner, name) / keeper.LOG).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(line.rstrip() for line in lines if line.strip())[-2000:]

    def capacity(self) -> dict[str, float]:
        """Return what `start` would give a head, and all workers that may be added to it."""
        return total_of(self.head_resources(), self._declared())

    def head_resources(self) -> dict[str, float]:
        """Return what `start` would give a head."""
        amounts = {"CPU": self.num_cpus, "GPU": self._head_gpus(), "memory": self.memory}
        return {name: float(amount) for name, amount in amounts.items() if amount}

    @property
    def _clusters(self) -> Path:
        return self.home / "clusters"

    def _folder(self, owner: str, name: str) -> Path:
        # A digest, because owners and names may hold what paths may not.
        return self._clusters / hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:16]

    def _head_gpus(self) -> int:
        if self.num_gpus is not None:
            return self.num_gpus
        # Declared workers with GPUs get the machine's; otherwise they are the head's, and Ray would find them.
        return 0 if any("GPU" in declared["resources"] for declared in self.worker_kinds.values()) else count_gpus()

    def _worker_gpus(self) -> list[str]:
        return gpus()[self._head_gpus() :]

    def _declared(self) -> list[WorkerKind]:
        """Return the kinds as declared, with no more workers than this machine has GPUs for, if it has any."""
        kinds = [_worker_kind(name, declared) for name, declared in self.worker_kinds.items()]
        if not gpus():
            return kinds
        there = len(self._worker_gpus())
        most = {kind.name: int(there // kind.resources["GPU"]) for kind in kinds if kind.resources.get("GPU")}
        return [
            kind.model_copy(update={"max_nodes": limit, "min_nodes": min(kind.min_nodes, limit)})
            for kind in kinds
            for limit in [min(kind.max_nodes, most.get(kind.name, kind.max_nodes))]
        ]

    def _scaling(self, port: int, scratch: Path) -> Scaling:
        return Scaling(
            head=self.head_resources(),
            kinds=tuple(self._declared()),
            gcs_address=f"127.0.0.1:{port}",
            sockets=str(scratch / "w"),
            idle_timeout=self.worker_idle_timeout,
            object_store_memory=self.object_store_memory,
            gpus=tuple(self._worker_gpus()),
        )

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
        if self.num_gpus is not None or self.worker_kinds:
            settings["num-gpus"] = self._head_gpus()
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            # The process in which the autoscaler runs.
            *([] if self.worker_kinds else ["--no-monitor"]),
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
            **(_SCALING_ENVIRONMENT if self.worker_kinds else {}),
            "PATH": os.pathsep.join(programs),
            "RAY_AUTH_TOKEN": head.token,
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(self.stop_grace / 2),
            **self.environment,
        }


def _worker_kind(name: str, declared: Any) -> WorkerKind:
    """Read one of `LocalBackend.worker_kinds`.

    Examples
    --------
    >>> _worker_kind("gpu", {"resources": {"CPU": 1.5}})
    Traceback (most recent call last):
    traitlets.traitlets.TraitError: worker_kinds['gpu']: CPU is 1.5; a node has whole numbers of a resource.
    """
    here = f"worker_kinds[{name!r}]"
    if not isinstance(name, str) or not _KIND.fullmatch(name) or name == HEAD:
        raise TraitError(f"{here}: a kind's name has small letters, digits, _ and -, and is not {HEAD!r}.")
    try:
        kind = WorkerKind.model_validate({"name": name, **declared})
    except (TypeError, ValidationError) as error:
        raise TraitError(f"{here}: {error}") from error
    if not kind.resources:
        raise TraitError(f"{here}: say which resources such a node has.")
    for resource, amount in kind.resources.items():
        if amount <= 0 or amount != int(amount):
            raise TraitError(f"{here}: {resource} is {amount:g}; a node has whole numbers of a resource.")
    if not 0 <= kind.min_nodes <= kind.max_nodes:
        raise TraitError(f"{here}: there are {kind.min_nodes} to {kind.max_nodes} nodes.")
    return kind


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


def _runners(pid: int) -> list[psutil.Process]:
    """Return the processes of jobs below a process."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.cmdline()[1:3] == _RUNNER:
                    found.append(process)
    return found


def _on_surplus(
    runners: list[psutil.Process], workers: list[local_scaling.Worker], limits: dict[str, int]
) -> list[psutil.Process]:
    """Return those of the runners that are on workers which are too many: those on which the fewest jobs are."""
    on: dict[str, list[psutil.Process]] = {worker.id: [] for worker in workers}
    for runner in runners:
        with suppress(psutil.Error, KeyError):
            on[runner.environ()[local_provider.MARK]].append(runner)
    told = []
    for kind, limit in limits.items():
        each = sorted((on[worker.id] for worker in workers if worker.kind == kind), key=len)
        told += [runner for those in each[: max(0, len(each) - limit)] for runner in those]
    return told


def _give_notice(runners: list[psutil.Process], seconds: float) -> None:
    """Give jobs the notice to stop, and time to save: of Ray they would hear nothing."""
    for runner in runners:
        with suppress(psutil.NoSuchProcess):
            runner.terminate()
    psutil.wait_procs(runners, timeout=seconds)


def _write_private(path: Path, text: str) -> None:
    # Whole or not at all: another server may read it at any moment.
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with open(handle, "w") as file:
        file.write(text)
    os.replace(draft, path)
