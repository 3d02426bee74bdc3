"""Run a notebook in a kernel of a user's server, through the doors a browser uses: REST and the kernel's websocket."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import websocket
from jupyter_server.services.kernels.connection.base import deserialize_binary_message
from nbclient.client import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat import NotebookNode

from jupyter_ext.hub import HubSession

#: The server answers once the kernel has; a busy machine takes its time to start one.
_START_SECONDS = 120.0
#: How often to look at the clock while the kernel says nothing.
_LISTEN_SECONDS = 5.0


class CellFailed(Exception):
    """A cell raised an error, or its kernel ended; the message is the cell's traceback."""


@dataclass(frozen=True)
class CellRun:
    """A code cell that ran: its number among the code cells, what it is about, and how long it took."""

    number: int
    title: str
    seconds: float


class RemoteKernel:
    """A kernel that belongs to a notebook on a user's server.

    Parameters
    ----------
    session
        The signed-in user; their server runs.
    path
        The notebook's path on that server.
    name
        The kernelspec.
    """

    def __init__(self, session: HubSession, path: str, name: str) -> None:
        self._session = session
        asked = {"path": path, "name": path, "type": "notebook", "kernel": {"name": name}}
        answer = session.request("POST", "/api/sessions", json=asked)
        answer.raise_for_status()
        self._id = answer.json()["id"]
        self._client_id = uuid.uuid4().hex
        kernel_id = answer.json()["kernel"]["id"]
        address = session.server_url.replace("http", "ws", 1)
        self._socket = websocket.create_connection(
            f"{address}/api/kernels/{kernel_id}/channels?session_id={self._client_id}",
            header=[f"Authorization: token {session.token}"],
            timeout=_START_SECONDS,
            http_no_proxy=["*"],
        )
        self._socket.settimeout(_LISTEN_SECONDS)

    def execute(self, code: str, timeout: float) -> Iterator[dict[str, Any]]:
        """Run code and yield every message of the output channel until the kernel has answered and is idle.

        Raises
        ------
        CellFailed
            If the kernel ends, or takes longer than ``timeout`` seconds.
        """
        message_id = self._send(code)
        waiting = {"reply", "idle"}
        deadline = time.monotonic() + timeout
        while waiting:
            message = self._receive()
            if message is None:
                if time.monotonic() > deadline:
                    raise CellFailed(f"The cell still runs after {timeout:.0f} s.")
                continue
            kind, state = message["msg_type"], message["content"].get("execution_state")
            if kind == "status" and state in ("dead", "restarting", "autorestarting"):
                raise CellFailed("The kernel ended while the cell ran; the server's log says why.")
            ours = message["parent_header"].get("msg_id") == message_id
            if ours and kind == "execute_reply":
                waiting.discard("reply")
            elif ours and kind == "status" and state == "idle":
                waiting.discard("idle")
            elif message["channel"] == "iopub" and (ours or kind == "update_display_data" or kind.startswith("comm")):
                yield message

    def _send(self, code: str) -> str:
        message_id = uuid.uuid4().hex
        header = {
            "msg_id": message_id,
            "msg_type": "execute_request",
            "session": self._client_id,
            "username": self._session.user,
            "version": "5.3",
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        return message_id

    def _receive(self) -> dict[str, Any] | None:
        try:
            data = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except websocket.WebSocketConnectionClosedException as error:
            raise CellFailed("The server closed the connection to the kernel.") from error
        message: dict[str, Any] = deserialize_binary_message(data) if isinstance(data, bytes) else json.loads(data)
        return message

    def close(self) -> None:
        """Shut the kernel down."""
        self._socket.close()
        self._session.request("DELETE", f"/api/sessions/{self._id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def titles(notebook: NotebookNode) -> list[str]:
    """Return for every cell the last heading at or above it."""
    title, found = "", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            title = headings[-1] if headings else title
        found.append(title)
    return found


def run_notebook(kernel: RemoteKernel, notebook: NotebookNode, timeout: float) -> Iterator[CellRun]:
    """Run every code cell, put its outputs into ``notebook`` and yield it; end at the first error.

    Raises
    ------
    CellFailed
        With the traceback of the cell; ``notebook`` holds the outputs so far.
    """
    # nbclient knows what each message does to a notebook: streams, updates, cleared outputs, widgets' state.
    outputs = NotebookClient(notebook, record_timing=False)
    outputs.reset_execution_trackers()
    number = 0
    for index, (cell, title) in enumerate(zip(notebook.cells, titles(notebook), strict=True)):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += 1
        cell.outputs = []
        outputs.clear_before_next_output = False
        began = time.monotonic()
        try:
            for message in kernel.execute(cell.source, timeout):
                _apply(outputs, message, cell, index)
        finally:
            outputs.set_widgets_metadata()
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                raise CellFailed("\n".join(output.traceback) or f"{output.ename}: {output.evalue}")
        yield CellRun(number, title, time.monotonic() - began)


def _apply(outputs: NotebookClient, message: dict[str, Any], cell: NotebookNode, index: int) -> None:
    try:
        outputs.process_message(message, cell, index)
    except CellExecutionComplete:  # another request's idle status: the end of this one is watched by the kernel
        return
