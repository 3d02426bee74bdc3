"""A real JupyterHub of the tests, with the laptop's configuration and a password of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.hub import HubSession, LaptopSettings, LocalHub

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "hub_config" / "jupyterhub_config.py"
API = "/jupyter-ext/api/v1"


def proxy() -> str:
    """Return the hub's proxy, or skip the test when there is none."""
    ours = ROOT / "tools" / "proxy" / "node_modules" / ".bin" / "configurable-http-proxy"
    found = str(ours) if ours.exists() else shutil.which("configurable-http-proxy")
    if found is None or shutil.which("node") is None:
        pytest.skip("the hub's proxy is not installed (Node and `npm ci --prefix tools/proxy`; `make set-up` does it)")
    return found


@contextmanager
def running(home: Path) -> Iterator[LocalHub]:
    """Run a hub that lets every name in, with its state below ``home``."""
    with LocalHub(LaptopSettings(home=home, password=secrets.token_urlsafe(12), proxy=proxy()), CONFIG) as hub:
        yield hub


def start_server(session: HubSession) -> list[tuple[int, str]]:
    """Start the user's server, wait until the extension is open, and return the progress that the hub reported."""
    steps = [(step.progress, step.message) for step in session.start_server()]
    wait_for(lambda: session.request("GET", f"{API}/status").status_code == 200, 60, "the extension's status")
    return steps


def stop_server(session: HubSession) -> None:
    """Stop the user's Ray clusters, which outlive the server, and the server."""
    for cluster in session.request("GET", f"{API}/clusters").json()["items"]:
        stopped = session.request("POST", f"{API}/clusters/{cluster['name']}/stop", timeout=120)
        assert stopped.status_code == 200, stopped.text
    session.stop_server()


def job(session: HubSession, job_id: str) -> dict[str, Any]:
    """Return a job as the user's server tells it."""
    answer = session.request("GET", f"{API}/jobs/{job_id}")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def submit(session: HubSession, name: str, source: str) -> str:
    """Submit a job of one small CPU share and return its id."""
    spec = {"name": name, "source": source, "resources": {"cpus": 0.5}}
    answer = session.request("POST", f"{API}/jobs", json=spec)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def wait_for(ready: Callable[[], bool], timeout: float, what: str) -> None:
    """Ask every quarter of a second until ``ready`` says so."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not come within {timeout:.0f} s"
        time.sleep(0.25)


def environment() -> dict[str, str]:
    """Return the environment in which ``tools/demo.py`` finds the hub's proxy."""
    return {**os.environ, "JUPYTER_EXT_HUB_PROXY": proxy()}
