"""A JupyterHub for one machine: no system users, one password, every state in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_ext.errors import Invalid

_UNSAFE = re.compile(r"[^a-z0-9_-]+")
_MIN_PASSWORD = 8


def user_folder(home: Path, user: str) -> Path:
    """Return the folder of a user below the hub's home.

    A name that is not a plain folder name is made one and told apart by a hash, so no name leaves ``home`` and no two
    names share a folder.

    Examples
    --------
    >>> user_folder(Path("hub"), "ana").as_posix()
    'hub/users/ana'
    >>> user_folder(Path("hub"), "a@b").as_posix()
    'hub/users/a-b-7508d8b5'
    >>> user_folder(Path("hub"), "..").parent.as_posix()
    'hub/users'
    """
    plain = _UNSAFE.sub("-", user)[:40]
    if plain != user:
        plain = f"{plain}-{hashlib.sha256(user.encode()).hexdigest()[:8]}"
    return home / "users" / plain


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on now, all different.

    Examples
    --------
    >>> len(set(free_ports(3)))
    3
    """
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass(frozen=True)
class LaptopSettings:
    """What differs from one laptop hub to the next.

    Parameters
    ----------
    home
        The folder of the hub's database, cookie secret and every user's files.
    password
        What everybody types to sign in, at least 8 characters. Whoever knows it can sign in under any allowed name.
    port
        The port on 127.0.0.1; 0 takes a free one.
    users
        Who may sign in; empty lets every name in.
    proxy
        The command of configurable-http-proxy (a Node program that the hub starts).

    Raises
    ------
    Invalid
        If the password is too short.
    """

    home: Path
    password: str
    port: int = 0
    users: tuple[str, ...] = ()
    proxy: str = "configurable-http-proxy"

    def __post_init__(self) -> None:
        if len(self.password) < _MIN_PASSWORD:
            raise Invalid(f"The hub's password needs at least {_MIN_PASSWORD} characters, not {len(self.password)}.")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> LaptopSettings:
        """Read ``JUPYTER_EXT_HUB_{HOME,PASSWORD,PORT,USERS,PROXY}``; each has a default, the password a random one.

        Examples
        --------
        >>> settings = LaptopSettings.from_environment({"JUPYTER_EXT_HUB_USERS": "ana,ben"})
        >>> settings.port, settings.users, len(settings.password)
        (0, ('ana', 'ben'), 16)
        """
        port = environ.get("JUPYTER_EXT_HUB_PORT", "0")
        if not port.isdigit() or int(port) > 65535:
            raise Invalid(f"JUPYTER_EXT_HUB_PORT must be a port number from 0 to 65535, not {port!r}.")
        return cls(
            home=Path(environ.get("JUPYTER_EXT_HUB_HOME", "~/.jupyter-ext/hub")).expanduser().absolute(),
            password=environ.get("JUPYTER_EXT_HUB_PASSWORD") or secrets.token_urlsafe(12),
            port=int(port),
            users=tuple(filter(None, environ.get("JUPYTER_EXT_HUB_USERS", "").split(","))),
            proxy=environ.get("JUPYTER_EXT_HUB_PROXY", cls.proxy),
        )

    def to_environment(self) -> dict[str, str]:
        """Return the variables that `from_environment` reads back as these settings."""
        return {
            "JUPYTER_EXT_HUB_HOME": str(self.home),
            "JUPYTER_EXT_HUB_PASSWORD": self.password,
            "JUPYTER_EXT_HUB_PORT": str(self.port),
            "JUPYTER_EXT_HUB_USERS": ",".join(self.users),
            "JUPYTER_EXT_HUB_PROXY": self.proxy,
        }


def configure_laptop(c: Any, settings: LaptopSettings) -> None:
    """Configure a JupyterHub that serves this machine only.

    Parameters
    ----------
    c
        The ``get_config()`` of a ``jupyterhub_config.py``.
    settings
        What differs from one laptop to the next.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    chosen = free_ports(3)
    port = settings.port or chosen[0]

    c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{chosen[1]}"
    c.JupyterHub.db_url = f"sqlite:///{home / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret_file = str(home / "cookie_secret")
    # A spawn answers at once, so that the page and the API show its progress instead of waiting for it.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{chosen[2]}"
    c.ConfigurableHTTPProxy.pid_file = str(home / "proxy.pid")
    c.ConfigurableHTTPProxy.command = [settings.proxy]

    c.JupyterHub.authenticator_class = "shared-password"
    c.SharedPasswordAuthenticator.user_password = settings.password
    c.Authenticator.allow_all = not settings.users
    c.Authenticator.allowed_users = set(settings.users)

    _configure_spawner(c, home)


def _configure_spawner(c: Any, home: Path) -> None:
    from jupyter_ext.hub.spawner import LaptopSpawner

    c.JupyterHub.spawner_class = LaptopSpawner
    c.LaptopSpawner.home = str(home)
    # By the interpreter, not by a name on PATH: the extension is installed beside it.
    c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
    c.Spawner.args = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    c.Spawner.environment = {"JUPYTER_CONFIG_PATH": str(_write_lab_defaults(home))}
    c.Spawner.default_url = "/lab"
    c.Spawner.start_timeout = 120
    c.Spawner.http_timeout = 120
    # Time for the extension to end its children (a Ray head, the MLflow worker) before the hub kills the server.
    c.LocalProcessSpawner.interrupt_timeout = 30


def _write_lab_defaults(home: Path) -> Path:
    """Write what JupyterLab starts with here: it neither asks about news nor looks for updates on the network."""
    config = home / "config"
    (config / "labconfig").mkdir(parents=True, exist_ok=True)
    defaults = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(defaults))
    return config
