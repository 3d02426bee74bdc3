"""Everything a job prints, at the level of file descriptors: C libraries, subprocesses, Ray's forwarded lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TextIO

_READ_BYTES = 64 * 1024
#: How long the end of the capture waits for what the job's own left-over subprocesses still hold open.
_DRAIN_S = 2.0


class Capture:
    """Sends what is written to stdout and stderr to ``sink`` as well as where it went before.

    Parameters
    ----------
    sink
        Called with bytes, from a thread of the capture.
    """

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._closed = False
        self._saved = (os.dup(1), os.dup(2))
        reading, writing = os.pipe()
        self._reading = reading
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        # New streams: the old ones remember whether they wrote to a file, and fail on a pipe; and these are
        # line-buffered, so that a line is seen when it is printed.
        sys.stdout = line_buffered(1)
        sys.stderr = line_buffered(2)
        self._thread = threading.Thread(target=self._pump, name="jupyter-ext-capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop: both streams go where they went before, and what was written until now has reached the sink."""
        if self._closed:
            return
        self._closed = True
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(self._saved[0], 1)
        os.dup2(self._saved[1], 2)
        self._thread.join(_DRAIN_S)

    def _pump(self) -> None:
        while data := os.read(self._reading, _READ_BYTES):
            write_all(self._saved[0], data)
            self._sink(data)


def line_buffered(descriptor: int) -> TextIO:
    """Return a stream of text to a file descriptor, which it does not close. Each line is written when it ends."""
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``: a pipe may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
