"""A chat endpoint that answers what a test tells it, on a port of its own."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What is sent back: an answer with its tokens, or ``raw`` bytes instead; ``drop`` closes the connection."""

    text: str | None = "yes"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[int, int] | None = (10, 1)
    raw: bytes | None = None
    drop: bool = False

    @property
    def body(self) -> bytes:
        """The bytes on the wire."""
        if self.raw is not None:
            return self.raw
        told: dict[str, Any] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": self.text}}]}
        if self.tokens is not None:
            told["usage"] = {"prompt_tokens": self.tokens[0], "completion_tokens": self.tokens[1]}
        return json.dumps(told).encode()


@dataclass(frozen=True)
class Call:
    """A request that arrived: when (on the monotonic clock), with which key, and what it asked."""

    at: float
    path: str
    key: str | None
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


class ChatServer:
    """A running endpoint. The replies in ``script`` go out first, in order; then ``respond`` makes them."""

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.respond: Callable[[str], Reply | str] = lambda _prompt: "yes"
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="chat-server")
        self._thread.start()

    @property
    def url(self) -> str:
        """What a client is told."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """What was asked, in order of arrival."""
        return [call.prompt for call in self.calls]

    def reply(self, call: Call) -> Reply:
        """Note a request and choose its reply."""
        with self._lock:
            self.calls.append(call)
            if self.script:
                return self.script.popleft()
        reply = self.respond(call.prompt)
        return reply if isinstance(reply, Reply) else Reply(reply)

    def close(self) -> None:
        """Stop, and wait for the requests under way."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests go away in the middle on purpose."""


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        # Ends a handler whose client keeps the connection open for ever.
        timeout = 10

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.reply(Call(time.monotonic(), self.path, self.headers.get("Authorization"), body))
            if reply.drop:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """Run an endpoint for the length of a block."""
    server = ChatServer()
    try:
        yield server
    finally:
        server.close()
