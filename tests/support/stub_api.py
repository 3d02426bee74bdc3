"""The few routes that a submission needs, served by this process: it stops and starts at once, and fails as told."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from jupyter_ext.values import new_id
from support.postgres import free_port


class StubApi:
    """A server that takes jobs, once for each idempotency key."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.workspace = "w"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.posts: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        #: What the next submissions meet with: ``(status, message)``, or "lost" for an answer that never arrives.
        self.mishaps: list[Any] = []
        self.delay = 0.0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, _, query = self.path.partition("/api/v1/")[2].partition("?")
                found = api.answer(self.command, path, dict(parse_qsl(query)), body)
                if found is None:
                    self.close_connection = True
                    return
                status, payload = found
                data = b"" if self.command == "HEAD" else json.dumps(payload).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any] | None:
        missing = {"message": "There is none.", "reason": "not_found", "details": {}}
        if path == "status":
            return 200, {"workspace": self.workspace, "user": "ada"}
        if path.startswith("blobs/"):
            digest = path.partition("/")[2]
            if method == "PUT":
                self.blobs[digest] = body
            return (200, None) if digest in self.blobs else (404, missing)
        if (method, path) == ("POST", "jobs"):
            return self._submit(json.loads(body))
        if path == "jobs/schedules":
            if method == "GET":
                return 200, {"items": [self._schedule(asked) for asked in self.schedules], "next_cursor": None}
            self.schedules.append(json.loads(body))
            return 201, self._schedule(self.schedules[-1])
        if path == "jobs/usage":
            since = query.get("since", "2026-01-01T00:00:00Z")
            counts = {"jobs": 3, "attempts": 4, "cpu_seconds": 120.0, "gpu_seconds": 0.0}
            return 200, {"owner": "ada", "since": since, **counts}
        if (method, path) == ("GET", "jobs"):
            found = [job for job in self.jobs.values() if job["name"] == query.get("name", job["name"])]
            return 200, {"items": found[::-1], "next_cursor": None}
        for job in self.jobs.values():
            if path == f"jobs/{job['id']}":
                return 200, {**job, "source": "1"}
        return 404, missing

    def _schedule(self, asked: dict[str, Any]) -> dict[str, Any]:
        moment = datetime.now(UTC).isoformat()
        facts = {name: asked[name] for name in ("name", "cron", "timezone")}
        return {**facts, "id": "schedule-1", "owner": "ada", "enabled": True, "next_at": moment, "created_at": moment}

    def _submit(self, spec: dict[str, Any]) -> tuple[int, Any] | None:
        self.posts.append(spec)
        time.sleep(self.delay)
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if isinstance(mishap, tuple):
            status, message = mishap
            return status, {"message": message, "reason": "invalid" if status == 400 else "unavailable", "details": {}}
        job = {
            "id": new_id("job"), "name": spec["name"], "owner": "ada", "state": "queued", "attempt": 0,
            "resources": spec["resources"], "created_at": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        kept = self.jobs.setdefault(spec["idempotency_key"], job)
        return None if mishap == "lost" else (201, kept)
