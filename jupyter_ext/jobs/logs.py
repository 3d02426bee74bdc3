"""A job's log in storage: written in chunks of equal size, read by offset over all attempts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_ext.errors import NotFound
from jupyter_ext.jobs.protocol import LOG_CHUNK_BYTES, log_path

if TYPE_CHECKING:
    from jupyter_ext.store.objects import Objects


class LogWriter:
    """Writes one attempt's log. Every chunk but the last is full, so an offset tells its chunk.

    ``append`` never touches the storage; ``flush`` may raise and be tried again, and then loses nothing.
    Any thread may append; one at a time may flush.
    """

    def __init__(self, objects: Objects, job_id: str, number: int) -> None:
        self._objects = objects
        self._job_id = job_id
        self._number = number
        self._lock = threading.Lock()
        self._chunk = 0
        self._buffer = bytearray()
        self._flushed = 0

    @property
    def size(self) -> int:
        """How many bytes are safe in storage."""
        return self._flushed

    def append(self, data: bytes) -> None:
        """Take in bytes."""
        with self._lock:
            self._buffer += data

    def flush(self) -> None:
        """Write what was appended since."""
        while True:
            start = self._chunk * LOG_CHUNK_BYTES
            with self._lock:
                piece = bytes(self._buffer[:LOG_CHUNK_BYTES])
            if start + len(piece) == self._flushed:
                return
            self._objects.put(log_path(self._job_id, self._number, self._chunk), piece)
            self._flushed = start + len(piece)
            if len(piece) == LOG_CHUNK_BYTES:
                with self._lock:
                    del self._buffer[:LOG_CHUNK_BYTES]
                self._chunk += 1


def stored_size(objects: Objects, job_id: str, number: int) -> int:
    """Return how many bytes of an attempt's log are in storage."""
    prefix = log_path(job_id, number, 0).rpartition("-")[0] + "-"
    chunks = objects.list(f"jobs/{job_id}/logs")
    return sum(info.size for info in chunks if info.path.startswith(prefix))


def read_bytes(objects: Objects, job_id: str, sizes: Sequence[int], offset: int, limit: int) -> bytes:
    """Read at most ``limit`` bytes of a log at ``offset``, counted over all attempts.

    Parameters
    ----------
    sizes
        Bytes of each attempt's log, from attempt 1 on; what lies in storage beyond that is not read.
    """
    parts: list[bytes] = []
    start = 0
    for number, size in enumerate(sizes, start=1):
        position = offset - start
        while limit > 0 and 0 <= position < size:
            chunk, within = divmod(position, LOG_CHUNK_BYTES)
            take = min(limit, size - position, LOG_CHUNK_BYTES - within)
            try:
                part = objects.get(log_path(job_id, number, chunk))[within : within + take]
            except NotFound:
                part = b""
            if not part:
                return b"".join(parts)
            parts.append(part)
            limit -= len(part)
            position += len(part)
            offset += len(part)
        start += size
    return b"".join(parts)


def decode(data: bytes, *, last: bool) -> tuple[str, int]:
    """Decode a piece of a log; return the text and how many bytes it took.

    A character cut off at the end is left for the next piece, unless this is the ``last`` one.

    Examples
    --------
    >>> decode("né".encode()[:2], last=False), decode("né".encode()[:2], last=True)
    (('n', 1), ('n\ufffd', 2))
    """
    for cut in range(0 if last else min(3, len(data)) + 1):
        piece = data[: len(data) - cut]
        try:
            return piece.decode("utf-8"), len(piece)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace"), len(data)
