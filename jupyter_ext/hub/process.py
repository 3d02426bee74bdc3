"""A hub of this machine as a child process: what the demo, ``make lab`` and the tests sign in to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from jupyter_ext.errors import Unavailable
from jupyter_ext.hub.laptop import LaptopSettings, free_ports


def tail(path: Path, lines: int = 30) -> str:
    """Return the last lines of a text file, or a sentence that there is none."""
    if not path.exists():
        return f"({path} was not written)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


class LocalHub:
    """Start a JupyterHub with a given configuration file, and stop it with everything it started.

    Parameters
    ----------
    settings
        Passed to the configuration through its environment; port 0 is replaced by a free one.
    config
        A ``jupyterhub_config.py``.
    environment
        More variables for the hub's process.
    """

    def __init__(self, settings: LaptopSettings, config: Path, environment: Mapping[str, str] | None = None) -> None:
        self.settings = settings if settings.port else replace(settings, port=free_ports(1)[0])
        self.config = config.absolute()
        self.environment = dict(environment or {})
        self.log_path = settings.home / "hub.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The public address, without a trailing slash."""
        return f"http://127.0.0.1:{self.settings.port}"

    def start(self, timeout: float = 120) -> None:
        """Start the hub and wait until it answers.

        Raises
        ------
        Unavailable
            If it ends, or does not answer in ``timeout`` seconds; the message ends with its log's last lines.
        """
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own interpreter, the caller's configuration file
                [sys.executable, "-m", "jupyterhub", "-f", str(self.config)],
                cwd=self.settings.home,
                env={**os.environ, **self.environment, **self.settings.to_environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we then stop the hub in order
            )
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self.process.poll() is not None:
                raise Unavailable(f"The hub ended with status {self.process.returncode}:\n{tail(self.log_path)}")
            if time.monotonic() > deadline:
                self.stop()
                raise Unavailable(f"The hub did not answer within {timeout:.0f} s:\n{tail(self.log_path)}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/hub/api/", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def stop(self, timeout: float = 60) -> None:
        """End the hub, its proxy and its users' servers; kill the hub if it takes longer than ``timeout`` seconds."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
