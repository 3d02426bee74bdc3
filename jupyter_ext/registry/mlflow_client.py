"""The server's side of the MLflow worker: starts it when needed, asks it one thing at a time, survives its death."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from jupyter_ext.errors import JupyterExtError, Unavailable, from_payload

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PYTHONUNBUFFERED": "1",
}


class _Died(Exception):
    """The worker ended before it answered: what it was asked may or may not have happened."""


class MlflowWorker:
    """A child process that talks to MLflow for us.

    Importing mlflow takes seconds and 200 MB and holds the interpreter's lock; in a process of its own, the server's
    event loop does not notice. Every method of the worker is idempotent, so a request whose fate is unknown because the
    worker died is simply asked again, once.

    Parameters
    ----------
    connect
        What `MlflowRegistry` takes. Sent over the pipe: a URI can hold a password, and arguments can be seen by all.
    idle_stop_s
        The worker ends by itself after so many seconds without a request; the next request starts it again.
    start_timeout_s
        How long importing mlflow and creating its database may take.
    command
        What to start; its standard input and output speak the worker's protocol.
    log
        Receives what the worker prints, at the level debug.
    """

    def __init__(
        self,
        connect: dict[str, Any],
        *,
        idle_stop_s: float = 1800,
        start_timeout_s: float = 180,
        command: Sequence[str] = (sys.executable, "-m", "jupyter_ext.registry.mlflow_worker"),
        log: logging.Logger | Any = None,
    ) -> None:
        self._connect = connect
        self._idle_stop_s = idle_stop_s
        self._start_timeout_s = start_timeout_s
        self._command = command
        self._log = log or logging.getLogger(__name__)
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: queue.Queue[bytes | None] = queue.Queue()
        self._said: deque[str] = deque(maxlen=20)
        self._number = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def call(self, method: str, *, timeout_s: float = 60, **params: Any) -> Any:
        """Ask the worker and wait for its answer.

        Raises
        ------
        Unavailable
            The worker does not start, dies twice on this request, or does not answer in time.
        JupyterExtError
            What the worker answered.
        """
        if not self._turn.acquire(timeout=self._start_timeout_s + timeout_s):
            raise Unavailable("MLflow is busy with another request that takes very long. Try again later.")
        try:
            for _ in range(2):
                try:
                    self._ensure_started()
                    return self._ask(method, params, timeout_s)
                except _Died:
                    # Its pipe can close before the system calls it dead.
                    self._reap()
                    self._log.warning("The MLflow worker ended during %r.", method)
        finally:
            self._turn.release()
        raise Unavailable(f"The MLflow worker ended twice during {method!r}. {self._last_words()}", method=method)

    def close(self) -> None:
        """Stop the worker. A request under way fails; later ones are refused."""
        self._closed = True
        while not self._turn.acquire(timeout=0.1):
            # Whoever has the turn waits for this process, or is about to start one.
            process = self._process
            if process is not None:
                process.kill()
        try:
            self._reap()
        finally:
            self._turn.release()

    def _ensure_started(self) -> None:
        if self._closed:
            raise Unavailable("The registry is shutting down.")
        if self.pid is not None:
            return
        self._reap()
        process = subprocess.Popen(  # noqa: S603 - our own module, no words of a user's
            [*self._command, str(self._idle_stop_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT,
            # Ctrl-C in the server's terminal is the server's to handle: it closes us when it is done.
            start_new_session=True,
        )
        self._process = process
        self._replies = queue.Queue()
        self._said.clear()
        for reader, name in ((self._read_replies, "replies"), (self._read_prints, "prints")):
            threading.Thread(target=reader, args=(process, self._replies), name=f"mlflow-{name}", daemon=True).start()
        started = time.monotonic()
        try:
            versions = self._ask("connect", self._connect, self._start_timeout_s)
        except JupyterExtError:
            self._reap()
            raise
        self._log.info("MLflow %s is ready after %.1f s.", versions["mlflow"], time.monotonic() - started)

    def _ask(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        try:
            self._process.stdin.write(json.dumps(request, allow_nan=False).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise _Died from error
        try:
            line = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._process.kill()
            raise Unavailable(
                f"MLflow did not answer {method!r} within {timeout_s:g} s. {self._last_words()}", method=method
            ) from None
        if line is None:
            if self._closed:
                raise Unavailable("The registry is shutting down.")
            raise _Died
        reply = json.loads(line)
        if "error" in reply:
            raise from_payload(reply["error"]["status"], reply["error"])
        return reply["result"]

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None
        try:
            process.stdin.close()
        except OSError:
            # Bytes that the dead worker never took; they were for nobody.
            self._log.debug("The MLflow worker ended with a request in its pipe.")

    @staticmethod
    def _read_replies(process: subprocess.Popen[bytes], replies: queue.Queue[bytes | None]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    replies.put(line)
        replies.put(None)

    def _read_prints(self, process: subprocess.Popen[bytes], _replies: Any) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self._said.append(text)
                self._log.debug("mlflow: %s", text)

    def _last_words(self) -> str:
        return f"It last said: {self._said[-1]}" if self._said else "It said nothing; the server's log may."
