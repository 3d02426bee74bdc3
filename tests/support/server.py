"""A real Jupyter server with the extension, as a child process on a port of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from support.postgres import free_port

TOKEN = "a-token-of-the-tests"


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what a surrounding Jupyter, hub or Ray left in it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "JPY_", "RAY_", "MLFLOW_")) and name != "IPYTHONDIR"
    }
    return kept | {"PYTHONUNBUFFERED": "1", **more}


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    root: Path
    home: Path

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self.root.parent / "server.log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop it as its user would, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(
    folder: Path,
    *,
    app: str = "jupyter_server",
    base_url: str = "/",
    config: dict[str, object] | None = None,
    port: int | None = None,
) -> Server:
    """Start ``python -m <app>`` with the extension below ``folder`` and wait until it answers."""
    root, home = folder / "root", folder / "home"
    root.mkdir(parents=True, exist_ok=True)
    settings: dict[str, dict[str, object]] = {
        "ServerApp": {"jpserver_extensions": {"jupyter_ext": True}},
        "IdentityProvider": {"token": TOKEN},
        **(config or {}),  # type: ignore[dict-item]
    }
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(settings))
    port = port or free_port()
    with (folder / "server.log").open("ab") as log:
        process = _launch(folder, app, port, base_url, log)
    server = Server(process, f"http://127.0.0.1:{port}{base_url}", TOKEN, root, home)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def _launch(folder: Path, app: str, port: int, base_url: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable, "-m", app, "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
            f"--ServerApp.base_url={base_url}", f"--ServerApp.root_dir={folder / 'root'}",
            *(["--allow-root"] if os.geteuid() == 0 else []),
        ],
        env=clean_environment(
            JUPYTER_EXT_HOME=str(folder / "home"),
            JUPYTER_CONFIG_DIR=str(folder / "config"),
            JUPYTER_DATA_DIR=str(folder / "data"),
            JUPYTER_RUNTIME_DIR=str(folder / "runtime"),
            IPYTHONDIR=str(folder / "ipython"),
        ),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert server.process.poll() is None, f"the server ended:\n{server.log}"
        assert time.monotonic() < deadline, f"the server did not answer within 60 s:\n{server.log}"
        try:
            answer = httpx.get(
                server.url + "jupyter-ext/api/v1/status", headers={"Authorization": f"token {TOKEN}"}, trust_env=False
            )
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == 200:
            return
        assert answer.status_code == 503, answer.text
        time.sleep(0.1)
