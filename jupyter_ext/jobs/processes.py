"""Processes that the runner starts: a group that ends as one, also when the runner itself is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from types import TracebackType
from typing import Self

#: The guard waits for the end of its standard input, which comes when the runner closes it or is no more. Told to stop
#: like every process of a job, it stays: the runner may yet be killed.
_GUARD = 'trap "" HUP INT TERM; read _; kill -s KILL -- "-$1"'
_POLL_S = 0.05
#: How long what was told to stop by others has to show it, before it is told by us.
_HEARD_S = 0.5


class Group:
    """The processes of a process group. The ``with`` block's end is theirs.

    Parameters
    ----------
    leader
        The process id of the first of them, which was started with ``start_new_session=True``.
    """

    def __init__(self, leader: int) -> None:
        self._id = leader
        self._guard = subprocess.Popen(  # noqa: S603 - the command is our own
            ["/bin/sh", "-c", _GUARD, "jupyter-ext-guard", str(leader)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def tell(self, number: int) -> None:
        """Send a signal to all of them."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter is macOS' word for zombies
            os.killpg(self._id, number)

    def tell_stop(self) -> None:
        """Send all of them SIGTERM, if half a second passes and some still run.

        Ray, when it stops a job, tells every process of it. Told by us in the same moment, a process that has called
        ``ray.init()`` would hang in Ray's own handler, which can't be entered twice, and save nothing.
        """
        if not self._ended(_HEARD_S):
            self.tell(signal.SIGTERM)

    def _ended(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    @property
    def alive(self) -> bool:
        """Whether one of them runs. Zombies, which nobody may reap in a container, don't."""
        import psutil

        for pid in psutil.pids():
            try:
                if os.getpgid(pid) == self._id and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    return True
            except (OSError, psutil.Error):
                continue  # ended since they were listed
        return False

    def end(self, patience_s: float) -> None:
        """Ask all of them to end, and kill what is left after ``patience_s`` seconds."""
        if patience_s > 0:
            self.tell(signal.SIGTERM)
            self._ended(patience_s)
        self.tell(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.tell(signal.SIGKILL)
        # Before its input closes: the number of the group may soon be another's.
        self._guard.kill()
        self._guard.wait()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
