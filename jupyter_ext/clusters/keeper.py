"""The keeper: the parent of a Ray head, and the only one who ends it.

``python -m jupyter_ext.clusters.keeper FOLDER`` goes into the background and runs the command in
``FOLDER/launch.json`` until it is told to stop (SIGTERM), the command ends, or nobody renews the lease. Then it ends
every process that came of the command, and itself.

It outlives the Jupyter server, so that jobs go on while the server restarts; the lease bounds for how long. While it
lives it holds a lock on ``FOLDER/keeper.lock``: who finds the lock held knows that the pid in the file is the keeper's,
and no other process that got a recycled number.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

LOCK = "keeper.lock"
LAUNCH = "launch.json"
LEASE = "lease"
LOG = "head.log"

_TICK_SECONDS = 0.25
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def lock_holder(folder: Path) -> int | None:
    """Return the pid of the living keeper of ``folder``, or None."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # Empty for a moment: it took the lock and goes into the background.
        while not (pid := os.pread(handle, 32, 0)):
            time.sleep(0.01)
        return int(pid)
    else:
        return None
    finally:
        os.close(handle)


def _take_lock(folder: Path) -> int | None:
    """Return the descriptor that holds the lock, or None when another keeper has it."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Who looks whether a keeper lives holds the lock for a moment too.
    for _ in range(20):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(handle, 0)
            return handle
        except BlockingIOError:
            time.sleep(0.05)
    os.close(handle)
    return None


class Keeper:
    """Runs a command, and ends all that came of it.

    Parameters
    ----------
    folder
        Holds ``launch.json``: ``{"command": [...], "vital": name, "scratch": path, "orphan_timeout": seconds, "grace":
        seconds}``. The end of the child process called ``vital`` is the end of the command; without that name only its
        own is. ``scratch`` is removed at the end.
    """

    def __init__(self, folder: Path) -> None:
        launch = json.loads((folder / LAUNCH).read_text())
        self._command: list[str] = launch["command"]
        self._vital: str | None = launch.get("vital")
        self._scratch = Path(launch["scratch"])
        self._orphan_timeout = float(launch["orphan_timeout"])
        self._grace = float(launch["grace"])
        self._folder = folder
        self._asked_to_stop = False

    def run(self) -> int:
        """Keep the command until its end; return 0 when we ended it, its own exit code otherwise."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        _adopt_orphans()
        with (self._folder / LOG).open("ab") as log:
            # A group of its own: the terminal's Ctrl-C, and our own end, come to the head through us.
            head = subprocess.Popen(  # noqa: S603 - the command is our own
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_end_with_parent(),
            )
        try:
            self._wait(head)
            code = head.poll()
            _end(head, self._grace)
        finally:
            _end_descendants()
            shutil.rmtree(self._scratch, ignore_errors=True)
        return 0 if code is None else code

    def _wait(self, head: subprocess.Popen[bytes]) -> None:
        seen, since = -1.0, time.monotonic()
        vital: psutil.Process | None = None
        while head.poll() is None and not self._asked_to_stop:
            _reap_orphans(head)
            if self._vital is not None:
                vital = vital or _child(head, self._vital)
                if vital is not None and not _lives(vital):
                    return
            try:
                renewed = (self._folder / LEASE).stat().st_mtime
            except FileNotFoundError:
                # The workspace was removed: nobody will come back for this head.
                return
            # Our own clock, because it stands still while a laptop sleeps, and so does who renews the lease.
            if renewed != seen:
                seen, since = renewed, time.monotonic()
            elif time.monotonic() - since > self._orphan_timeout:
                return
            time.sleep(_TICK_SECONDS)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._asked_to_stop = True


def _child(head: subprocess.Popen[bytes], name: str) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        return next((child for child in psutil.Process(head.pid).children() if child.name() == name), None)
    return None


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _reap_orphans(head: subprocess.Popen[bytes]) -> None:
    """Let go of adopted children that have ended; the head's own end is for `subprocess` to see."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != head.pid:
            os.waitpid(ended.si_pid, 0)


def _end(head: subprocess.Popen[bytes], grace: float) -> None:
    if head.poll() is not None:
        return
    head.terminate()
    try:
        head.wait(grace)
    except subprocess.TimeoutExpired:
        head.kill()
        head.wait()


def _end_descendants() -> None:
    """Kill what is left: Ray's workers lead groups of their own, and users' processes may have any."""
    session = os.getsid(0)
    me = psutil.Process()
    while True:
        left = {process.pid: process for process in me.children(recursive=True)}
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == session and process.pid != me.pid:
                    left.setdefault(process.pid, process)
            except (ProcessLookupError, PermissionError):
                continue
        if not left:
            return
        for process in left.values():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(list(left.values()), timeout=1)


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none escapes (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_parent() -> Callable[[], None] | None:
    """Return what makes a child get SIGTERM when we are killed and cannot end it ourselves (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return before_exec


def main(folder: Path) -> int:
    """Become the keeper of ``folder`` in the background.

    Returns 0 when it keeps, 1 when another does. The lock is taken here and passed on by the fork, so whoever waits
    for this process finds it held afterwards; and the keeper is nobody's child who would have to reap it.
    """
    keeper = Keeper(folder)
    lock = _take_lock(folder)
    if lock is None:
        return 1
    pid = os.fork()
    if pid:
        os.pwrite(lock, str(pid).encode(), 0)
        os._exit(0)
    os.setsid()
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
