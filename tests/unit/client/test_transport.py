"""The wire: our errors arrive as our classes, and what is not our server is told apart."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import jupyter_ext
from jupyter_ext.client._transport import Transport
from jupyter_ext.errors import Invalid, JupyterExtError, NotFound, Unavailable
from support.postgres import free_port
from support.server import clean_environment


def test_an_error_of_the_service_arrives_as_its_class(client: Any) -> None:
    with pytest.raises(NotFound, match="no blob") as caught:
        client.transport.download("blobs/" + "0" * 64)
    assert caught.value.details == {"blob": "0" * 64}
    with pytest.raises(Invalid, match="name"):
        client.transport.post("datasets", {"name": ""})


def test_a_blob_is_sent_once(client: Any) -> None:
    digest = client.transport.upload(b"hello")
    assert client.transport.upload(b"hello") == digest
    assert client.transport.download(f"blobs/{digest}") == b"hello"


def test_a_wrong_token_is_told(server: Any) -> None:
    with pytest.raises(JupyterExtError, match="refuses this token"):
        jupyter_ext.connect(server.url, "wrong")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        jupyter_ext.connect(f"http://127.0.0.1:{free_port()}/", "x")


def test_a_kernel_without_a_server_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTER_EXT_URL", raising=False)
    with pytest.raises(Unavailable, match=r"connect\(url, token\)"):
        jupyter_ext.connect()


@pytest.fixture
def bare_server(tmp_path: Path) -> Iterator[str]:
    """A Jupyter server without the extension."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--no-browser"],
        env=clean_environment(
            JUPYTER_CONFIG_DIR=str(tmp_path), JUPYTER_DATA_DIR=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path / "run"),
            JUPYTER_TOKEN="x", JUPYTER_NO_CONFIG="1",
        ),
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(url + "api", trust_env=False)
            break
        except httpx.TransportError:
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(timeout=60)


def test_a_server_without_the_extension_is_told(bare_server: str) -> None:
    transport = Transport(bare_server, "x")
    with pytest.raises(Unavailable, match="runs without jupyter-ext"):
        transport.get("status")
    transport.close()
