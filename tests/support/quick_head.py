"""A head that answers as Ray's dashboard and job agent do, in a tenth of a second: for tests of what is around Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jupyter_ext.clusters.backends.local import LocalBackend

_SCRIPT = """
import http.server, json, os, sys, threading, time
arguments = dict(argument[2:].split("=", 1) for argument in sys.argv[1:] if "=" in argument)
print("This head takes its options from the command line", flush=True)
if "--no-such-option" in sys.argv:
    sys.exit("Error: No such option: --no-such-option")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/api/local_raylet_healthz":
            return self.answer(503 if "--never-ready" in sys.argv else 200, "success")
        if self.headers.get("Authorization") != "Bearer " + os.environ["RAY_AUTH_TOKEN"]:
            return self.answer(401, "Unauthorized")
        total = {"CPU": 3.0, "node:127.0.0.1": 1.0}
        node = {"node_id": "n", "is_head_node": True, "state": "ALIVE", "resources_total": total}
        answers = {
            "/api/version": {"ray_version": "2.60.0"},
            "/api/v0/nodes": {"data": {"result": {"result": [node]}}},
            "/nodes": {"data": {"nodeLogicalResources": {"n": "1.0/3.0 CPU"}}},
            "/environ": dict(os.environ),
        }
        self.answer(200 if path in answers else 404, json.dumps(answers.get(path)))

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass

for name in ("dashboard-port", "dashboard-agent-listen-port"):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(arguments[name])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
time.sleep(600)
"""


class QuickBackend(LocalBackend):
    """A local backend whose heads are not Ray's."""

    def _command(self, ports: dict[str, int], scratch: Path) -> list[str]:
        command: list[Any] = super()._command(ports, scratch)
        return [sys.executable, "-c", _SCRIPT, *command[command.index("start") :]]
