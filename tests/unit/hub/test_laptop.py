"""The laptop's configuration, as JupyterHub's own classes read it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from jupyterhub.auth import Authenticator
from jupyterhub.authenticators.shared import SharedPasswordAuthenticator
from traitlets.config import Config

from jupyter_ext.errors import Invalid
from jupyter_ext.hub import LaptopSettings, configure_laptop, user_folder
from jupyter_ext.hub.laptop import free_ports


def configured(settings: LaptopSettings) -> Config:
    c = Config()
    configure_laptop(c, settings)
    return c


def test_settings_cross_the_environment(tmp_path: Path) -> None:
    settings = LaptopSettings(tmp_path, "a long password", port=8123, users=("ada", "a@b"), proxy="/opt/chp")
    assert LaptopSettings.from_environment(settings.to_environment()) == settings


def test_every_run_without_a_password_gets_its_own() -> None:
    first, second = LaptopSettings.from_environment({}), LaptopSettings.from_environment({})
    assert len(first.password) >= 16
    assert first.password != second.password


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="at least 8 characters, not 5"):
        LaptopSettings(tmp_path, "short")


@pytest.mark.parametrize("port", ["http", "-1", "65536", ""])
def test_a_wrong_port_is_refused(port: str) -> None:
    with pytest.raises(Invalid, match="JUPYTER_EXT_HUB_PORT must be a port number"):
        LaptopSettings.from_environment({"JUPYTER_EXT_HUB_PORT": port})


def test_the_hub_listens_on_this_machine_only_and_keeps_all_state_in_its_home(tmp_path: Path) -> None:
    c = configured(LaptopSettings(tmp_path / "hub", "a long password", port=8123))
    assert c.JupyterHub.bind_url == "http://127.0.0.1:8123"
    assert c.JupyterHub.hub_bind_url.startswith("http://127.0.0.1:")
    assert c.ConfigurableHTTPProxy.api_url.startswith("http://127.0.0.1:")
    for path in (c.JupyterHub.db_url, c.JupyterHub.cookie_secret_file, c.ConfigurableHTTPProxy.pid_file):
        assert str(tmp_path / "hub") in path
    assert (tmp_path / "hub").stat().st_mode & 0o077 == 0


async def test_only_the_named_users_with_the_password_get_in(tmp_path: Path) -> None:
    authenticator = SharedPasswordAuthenticator(
        config=configured(LaptopSettings(tmp_path, "a long password", users=("ada",)))
    )

    async def signs_in(user: str, password: str) -> bool:
        return await authenticator.get_authenticated_user(None, {"username": user, "password": password}) is not None

    assert await signs_in("ada", "a long password")
    assert not await signs_in("ada", "another password")
    assert not await signs_in("eve", "a long password")


def test_no_users_named_lets_every_name_in(tmp_path: Path) -> None:
    assert Authenticator(config=configured(LaptopSettings(tmp_path, "a long password"))).allow_all


def test_root_is_allowed_only_where_the_hub_runs_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LaptopSettings(tmp_path, "a long password")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "--allow-root" not in configured(settings).Spawner.args
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "--allow-root" in configured(settings).Spawner.args


@pytest.mark.parametrize("name", ["..", ".", "../../etc", "a b", "Zoë", "a" * 300, "users", "~", "%2e%2e"])
def test_no_name_leaves_the_home(name: str) -> None:
    folder = user_folder(Path("/hub"), name)
    assert folder.parent == Path("/hub/users")
    assert folder.name not in {"", ".", ".."}
    assert len(folder.name) <= 60


def test_names_that_look_alike_get_folders_of_their_own() -> None:
    names = ["a@b", "a-b", "a b", "a+b", "a/b", "a.b"]
    assert len({user_folder(Path("/hub"), name) for name in names}) == len(names)


def test_free_ports_are_free_and_differ() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
