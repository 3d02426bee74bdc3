"""The spawner of the laptop: a process a user, each with a folder of their own and no system account."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

from jupyterhub.spawner import SimpleLocalProcessSpawner
from tornado.httpclient import AsyncHTTPClient, HTTPError
from traitlets import Unicode, default

from jupyter_ext.hub.laptop import user_folder


class LaptopSpawner(SimpleLocalProcessSpawner):  # type: ignore[misc]
    """Run each user's server as the hub's own account, in a folder below `home`.

    There is no isolation between users: this is for one person, or for trying things out.
    """

    popen_kwargs: dict[str, Any]

    home = Unicode(help="The folder below which every user gets a folder.").tag(config=True)

    @default("home_dir")
    def _home_dir_of_user(self) -> str:
        return str(user_folder(Path(self.home), self.user.name))

    async def start(self) -> Any:
        """Start the server, with its output in ``server.log`` of the user's folder, and return when it answers."""
        os.makedirs(self.home_dir, mode=0o700, exist_ok=True)
        with open(os.path.join(self.home_dir, "server.log"), "ab") as log:
            self.popen_kwargs = {**self.popen_kwargs, "stdout": log, "stderr": subprocess.STDOUT}
            address = await super().start()
        # The hub would find out too, but looks less and less often: up to five seconds late.
        while await self.poll() is None and not await self._answers(*address):
            await asyncio.sleep(0.1)
        return address

    async def _answers(self, ip: str, port: int) -> bool:
        try:
            await AsyncHTTPClient().fetch(
                f"http://{ip}:{port}{self.server.base_url}api", raise_error=False, request_timeout=self.start_timeout
            )
        except (HTTPError, OSError):
            return False
        return True

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Return ``env`` with the user's folder as home, and without what would lead out of it."""
        env = dict(super().user_env(env))
        env["JUPYTER_EXT_HOME"] = os.path.join(self.home_dir, ".jupyter-ext")
        return env

    @default("env_keep")
    def _keep_what_processes_need(self) -> list[str]:
        return [*super()._env_keep_default(), "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"]
