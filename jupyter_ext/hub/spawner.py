"""The spawner of the laptop: a process a user, each with a folder of their own and no system account."""

from __future__ import annotations

import os
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Unicode, default

from jupyter_ext.hub.laptop import user_folder


class LaptopSpawner(SimpleLocalProcessSpawner):  # type: ignore[misc]
    """Run each user's server as the hub's own account, in a folder below `home`.

    There is no isolation between users: this is for one person, or for trying things out.
    """

    home = Unicode(help="The folder below which every user gets a folder.").tag(config=True)

    @default("home_dir")
    def _home_dir_of_user(self) -> str:
        return str(user_folder(Path(self.home), self.user.name))

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Return ``env`` with the user's folder as home, and without what would lead out of it."""
        env = dict(super().user_env(env))
        os.makedirs(self.home_dir, mode=0o700, exist_ok=True)
        env["JUPYTER_EXT_HOME"] = os.path.join(self.home_dir, ".jupyter-ext")
        return env

    @default("env_keep")
    def _keep_what_processes_need(self) -> list[str]:
        return [*super()._env_keep_default(), "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"]
