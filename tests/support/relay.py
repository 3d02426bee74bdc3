"""A wire to a port of this machine that can be cut and mended."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Carries what is said to its own port to another one, and the answers back.

    Parameters
    ----------
    to
        The port of a server on the loopback.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._serve()

    def cut(self, *, silent: bool) -> None:
        """Cut the wire: from now on it carries nothing, without a word, or else it refuses everybody at once."""
        self._whole.clear()
        if not silent:
            self._close()

    def mend(self) -> None:
        """Mend it. What was said meanwhile on connections that held arrives now."""
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._serve()
        self._whole.set()

    def close(self) -> None:
        """Take it away."""
        self._close()
        self._whole.set()

    def _close(self) -> None:
        # A thread that waits for a call is not woken by `close` alone.
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                try:
                    callee = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    caller.close()
                    continue
                self._ends |= {caller, callee}
                for one, other in ((caller, callee), (callee, caller)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._whole.wait()
                other.sendall(data)
        for end in (one, other):
            end.close()
            self._ends.discard(end)
