"""The runner's voice: hands log, progress and heartbeat to the object store, and watches the fence."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.jobs.logs import LogWriter
from jupyter_ext.jobs.patience import until
from jupyter_ext.jobs.protocol import FLUSH_S, HEARTBEAT_S, Context, Status, attempt_path, now
from jupyter_ext.jobs.report import Reported
from jupyter_ext.jobs.states import EXIT_FENCED
from jupyter_ext.jobs.values import Progress

_MAX_LINE_BYTES = 64 * 1024


class Reporter:
    """Reports one attempt from a thread of its own.

    While the storage fails, what is to be said is kept and said later; the job itself goes on.

    Parameters
    ----------
    fenced
        Called when a newer attempt has taken over; it must end this process.
    """

    def __init__(self, context: Context, fenced: Callable[[], None] | None = None) -> None:
        self._context = context
        self._fenced = fenced or _leave
        self._log = LogWriter(context.objects, context.job_id, context.attempt)
        self._said = Reported()
        self._said_at = now()
        self._line = b""
        self._lock = threading.Lock()
        self._written: Status | None = None
        self._beat = 0.0
        self._peak_memory = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jupyter-ext-reporter", daemon=True)

    def start(self) -> None:
        """Say the first word and begin."""
        self.report()
        self._thread.start()

    def feed(self, data: bytes) -> None:
        """Take in a piece of the log."""
        self._log.append(data)
        with self._lock:
            *lines, rest = (self._line + data).split(b"\n")
            self._line = rest[-_MAX_LINE_BYTES:]
            for line in lines:
                if self._said.read(line):
                    self._said_at = now()

    def report(self, *, finished: bool = False) -> None:
        """Flush the log, then write the status when it says something new or is due as a heartbeat."""
        self._log.flush()
        with self._lock:
            said = self._said
            progress = None
            if said.step is not None:
                progress = Progress(step=said.step, total=said.total, metrics=said.metrics or {}, at=self._said_at)
            if time.monotonic() - self._beat >= HEARTBEAT_S or self._written is None or finished:
                self._peak_memory = max(self._peak_memory, _memory())
            status = Status(
                at=now(),
                log_size=self._log.size,
                progress=progress,
                durable_step=said.durable_step,
                resumed_step=said.resumed_step,
                peak_memory_bytes=self._peak_memory,
                finished=finished,
            )
        due = time.monotonic() - self._beat >= HEARTBEAT_S
        news = self._written is None or status.model_copy(update={"at": self._written.at}) != self._written
        if due and not self._context.holds_fence():
            self._fenced()
        if due or news:
            path = attempt_path(self._context.job_id, self._context.attempt, "status.json")
            self._context.objects.put(path, status.model_dump_json().encode())
            self._written = status
            self._beat = time.monotonic()

    def close(self, *, patience_s: float = 60.0) -> None:
        """Say the rest. Raises the storage's error when it fails for longer than ``patience_s``."""
        self._stopping.set()
        self._thread.join()
        with self._lock:
            line, self._line = self._line, b""
        if line:
            self.feed(b"\n")
        until(self.report, patience_s)

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            try:
                self.report()
            except JupyterExtError:
                # The storage is away; nothing is lost, the next round says it.
                continue


def _memory() -> int:
    """Return the bytes that this process and all that came of it use now."""
    import psutil

    total = 0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _leave() -> None:
    os._exit(EXIT_FENCED)
