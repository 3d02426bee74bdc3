"""What our durability costs: a trivial job through us, beside the same thing submitted to the same Ray head.

In turn on one warm head, so both meet the same machine. Then through us again, while 500 jobs of 20 other users wait in
the queue.
"""

from __future__ import annotations

import getpass
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from jupyter_ext.client import Client
from jupyter_ext.jobs.values import JobSpec
from jupyter_ext.workspace import Workspace
from support import server as servers

_QUEUED, _USERS = 500, 20


def _queue(home: Path) -> None:
    """Put jobs of others into the workspace's queue, whom their quota lets run none."""
    workspace = Workspace(home=str(home))
    workspace.open()
    for number in range(_QUEUED):
        workspace.jobs.submit(JobSpec(name="waits", source="pass"), owner=f"user{number % _USERS}")
    workspace.close()


def _bare(head: dict[str, Any]) -> float:
    """Submit ``python -c pass`` to Ray's own API, and return the seconds until Ray says that it has ended."""
    start = time.perf_counter()
    headers = {"Authorization": f"Bearer {head['token']}"}
    with httpx.Client(base_url=head["url"], headers=headers, trust_env=False, verify=False) as ray:  # loopback, no TLS
        body = {"entrypoint": "exec python -c pass", "entrypoint_num_cpus": 0.5}
        submission = ray.post("/api/jobs/", json=body).raise_for_status().json()["submission_id"]
        while ray.get(f"/api/jobs/{submission}").json()["status"] not in ("SUCCEEDED", "FAILED"):
            time.sleep(0.02)
    return time.perf_counter() - start


def _command(head: dict[str, Any]) -> float:
    """Run ``ray job submit -- python -c pass``, which waits for the end, and return the seconds it took."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head["token"]}
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", f"--address={head['url']}"]
    start = time.perf_counter()
    subprocess.run(
        [*command, "--entrypoint-num-cpus=0.5", "--", "exec", "python", "-c", "pass"],
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def _ours(client: Client) -> tuple[float, float, float]:
    """Submit ``pass``, and return the seconds until accepted, until listed, and until succeeded."""
    start = time.perf_counter()
    job = client.jobs.submit("pass", name="bench", cpus=0.5)
    accepted = time.perf_counter() - start
    while client.transport.get("jobs", limit=1)["items"][0]["id"] != job.id:
        time.sleep(0.005)
    listed = time.perf_counter() - start
    while client.transport.get(f"jobs/{job.id}")["state"] not in ("succeeded", "failed"):
        time.sleep(0.02)
    return accepted, listed, time.perf_counter() - start


def measure(runs: int = 5) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        quotas = {"*": {"jobs": 0}, getpass.getuser(): {}}
        running = servers.start(Path(folder), config={"Supervisor": {"quotas": quotas}})
        client = Client(running.url, running.token)
        try:
            start = time.perf_counter()
            client.clusters.start()
            ready = time.perf_counter() - start
            [state] = (running.home / "clusters").glob("*/head.json")
            head = json.loads(state.read_text())
            _ours(client), _bare(head), _command(head)
            rounds = [(_ours(client), _bare(head), _command(head)) for _ in range(runs)]
            _queue(running.home)
            queued = [_ours(client) for _ in range(runs)]
        finally:
            client.clusters.stop()
            client.transport.close()
            running.stop()
    ours, bare, command = zip(*rounds, strict=True)
    accepted, listed, ended = (statistics.median(times[n] for times in ours) for n in range(3))
    _, listed_behind, ended_behind = (statistics.median(times[n] for times in queued) for n in range(3))
    over_bare, over_command = (
        statistics.median(mine[2] / theirs for mine, theirs in zip(ours, peer, strict=True)) for peer in (bare, command)
    )
    return [
        ("a Ray head is ready", f"{ready:.1f} s", ""),
        ("submit a job", f"{accepted * 1e3:.0f} ms", ""),
        ("submit → visible in the list", f"{listed * 1e3:.0f} ms", "≤ 1500 ms"),
        (
            "a trivial job, from submit to its end",
            f"{ended:.1f} s; `ray job submit`: {statistics.median(command):.1f} s, {over_command:.2f} ×",
            "≤ 1.15 × `ray job submit`",
        ),
        ("the same over Ray's bare HTTP", f"{statistics.median(bare):.1f} s, {over_bare:.2f} ×", ""),
        (f"{_QUEUED} jobs of {_USERS} users wait: submit → visible", f"{listed_behind * 1e3:.0f} ms", "≤ 1500 ms"),
        ("and a trivial job, from submit to its end", f"{ended_behind:.1f} s", ""),
    ]
