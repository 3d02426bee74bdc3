"""Clusters over REST, in a server whose heads answer as Ray's do."""

from __future__ import annotations

import asyncio
import platform
import sys
from typing import Any

import pytest

from support.quick_head import QuickBackend


@pytest.fixture
def jp_server_config(jp_server_config: dict[str, Any]) -> dict[str, Any]:
    kinds = {"cpu": {"resources": {"CPU": 2}, "max_nodes": 2}}
    return jp_server_config | {
        "ClusterService": {"backend_class": QuickBackend},
        "QuickBackend": {"worker_kinds": kinds},
    }


async def test_a_cluster_starts_and_stops(api: Any) -> None:
    assert await api("GET", "/clusters") == (200, {"items": [], "next_cursor": None})
    status, cluster = await api("GET", "/clusters/default")
    assert (status, cluster["state"]) == (200, "stopped")
    status, cluster = await api("POST", "/clusters/default/start")
    assert (status, cluster["owner"]) == (200, "ada")
    for _ in range(600):
        status, cluster = await api("GET", "/clusters/default")
        if cluster["state"] != "starting":
            break
        await asyncio.sleep(0.1)
    assert (cluster["state"], cluster["ray_version"], cluster["available"]) == ("running", "2.60.0", {"CPU": 2.0})
    assert "token" not in cluster
    assert [(node["id"], node["kind"], node["state"]) for node in cluster["nodes"]] == [("head", "head", "running")]
    status, cluster = await api("PUT", "/clusters/default/size", json={"limits": {"cpu": 1}})
    assert (status, cluster["kinds"]) == (
        200,
        [{"name": "cpu", "resources": {"CPU": 2.0}, "min_nodes": 0, "max_nodes": 1}],
    )
    status, listed = await api("GET", "/clusters", params={"state": "running"})
    assert (status, [item["name"] for item in listed["items"]]) == (200, ["default"])
    status, cluster = await api("POST", "/clusters/default/stop")
    assert (status, cluster["state"], cluster["message"]) == (200, "stopped", "Stopped.")


async def test_the_environment_of_a_local_cluster_is_the_servers(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    status, environment = await api("GET", "/clusters/default/environment")
    assert (status, environment["python"]) == (200, platform.python_version())
    assert environment["executable"] == sys.executable
    assert environment["modules"]["ray"] == ["ray"]
    assert environment["packages"]["ray"]
    monkeypatch.setattr(QuickBackend, "kind", "elsewhere")
    assert (await api("GET", "/clusters/default/environment"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/clusters/unknown", 404, "not_found"),
        ("POST", "/clusters/unknown/stop", 404, "not_found"),
        ("POST", "/clusters/..%2Fx/start", 400, "invalid"),
        ("GET", "/clusters/%0A", 400, "invalid"),
    ],
)
async def test_wrong_requests_are_told(api: Any, method: str, path: str, status: int, reason: str) -> None:
    answered, payload = await api(method, path)
    assert (answered, payload["reason"]) == (status, reason)


@pytest.mark.parametrize("body", [{}, {"limits": {}}, {"limits": {"cpu": -1}}, {"limits": {"cpu": 1.5}}, {"cpu": 1}])
async def test_a_wrong_size_is_told(api: Any, body: dict[str, Any]) -> None:
    status, payload = await api("PUT", "/clusters/default/size", json=body)
    assert (status, payload["reason"]) == (400, "invalid")


async def test_a_cluster_that_does_not_run_has_no_size(api: Any) -> None:
    status, payload = await api("PUT", "/clusters/default/size", json={"limits": {"cpu": 1}})
    assert (status, payload["reason"]) == (409, "conflict")
    assert "%cluster start" in payload["message"]


async def test_a_wrong_state_is_told(api: Any) -> None:
    status, payload = await api("GET", "/clusters", params={"state": "asleep"})
    assert (status, payload["reason"]) == (400, "invalid")
