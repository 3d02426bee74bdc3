"""The heads of clusters that an `Operator` runs, for tests: they answer as Ray's dashboard and job agent do."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.kube_api import KubeApi


@dataclass
class Heads:
    """One server for all heads; ``address`` goes into ``c.KubeRayBackend.address``. A head is up when its pod is."""

    api: KubeApi
    #: Bundles of resources in use, by the name of a pod.
    used: str = "1.0/4.0 CPU"

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def address(self) -> str:
        """Where the ports of heads are."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{{namespace}}/{{service}}/{{port}}"

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, authorization: str | None) -> tuple[int, Any]:
        """What the head behind a path says."""
        _, namespace, service, port, rest = path.partition("?")[0].split("/", 4)
        cluster = service.removesuffix("-head-svc")
        pods = [
            pod
            for pod in self.api.all("pods", {"ray.io/cluster": cluster})
            if pod["metadata"]["namespace"] == namespace and pod["status"]["phase"] == "Running"
        ]
        if not any(pod["metadata"]["labels"]["ray.io/node-type"] == "head" for pod in pods):
            return 503, "no endpoints available for the service"
        if (port, rest) == ("52365", "api/local_raylet_healthz"):
            return 200, "success"
        secret = self.api.get("secrets", f"{cluster}-token", namespace) or {"data": {"auth_token": ""}}
        if authorization != f"Bearer {base64.b64decode(secret['data']['auth_token']).decode()}" or port != "8265":
            return 401, "Unauthorized"
        nodes = [
            {
                "node_id": pod["metadata"]["uid"],
                "node_name": pod["metadata"]["name"],
                "is_head_node": pod["metadata"]["labels"]["ray.io/node-type"] == "head",
                "state": "ALIVE",
                "resources_total": {"memory": 4.0}
                if pod["metadata"]["labels"]["ray.io/node-type"] == "head"
                else {"CPU": 4.0, "memory": 8.0},
            }
            for pod in pods
        ]
        usage = {node["node_id"]: self.used for node in nodes if "CPU" in node["resources_total"]}
        answers = {
            "api/version": {"ray_version": "2.60.0"},
            "api/v0/nodes": {"data": {"result": {"result": nodes}}},
            "nodes": {"data": {"nodeLogicalResources": usage}},
        }
        return (200, answers[rest]) if rest in answers else (404, "no such page")


def _handler(heads: Heads) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, answer = heads.answer(self.path, self.headers.get("Authorization"))
            payload = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
