"""Fixtures of all tests: real stores, a real workspace, real servers."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import postgres
from support import server as servers

pytest_plugins = ("pytest_jupyter.jupyter_server",)

Api = Callable[..., Awaitable[tuple[int, Any]]]

_TOLD = "told"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FailuresAtOnce(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file that starts servers, clusters or browsers together: its fixtures are made once, in one process."""
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if room in ("browser", "integration") and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("loadgroup", False):
        apart = [item for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if apart:
            raise pytest.UsageError(f"pytest-xdist does not group tests with this pytest: {apart[0].nodeid}")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell what a test has measured; it is printed at the end of the run."""

    def say(text: str) -> None:
        print(text)
        request.node.user_properties.append((_TOLD, text))

    return say


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    told = {
        report.nodeid: [text for name, text in report.user_properties if name == _TOLD]
        for report in reports
        if getattr(report, "when", None) == "call"
    }
    if any(told.values()):
        terminalreporter.section("measured")
        for nodeid, texts in sorted(told.items()):
            if texts:
                terminalreporter.write_line(nodeid.rpartition("/")[2].partition("@")[0])
                terminalreporter.write_line("".join(f"  {line}\n" for text in texts for line in text.splitlines()))


class _FailuresAtOnce:
    """A test that failed is named at once: a run that somebody cuts off would else name none."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            why = (report.longreprtext.strip().splitlines() or [""])[-1]
            terminal.write_line(f"\n{report.nodeid}: {report.when} failed after {report.duration:.0f} s ({why})")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL of this test process, with a migrated database called ``template``."""
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    from jupyter_ext.store import Database, migrate

    running = postgres.start()
    try:
        running.run("CREATE DATABASE template")
        database = Database(running.url("template"))
        migrate.upgrade(database)
        database.close()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy."""
    from jupyter_ext.store import Database, migrate

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    migrate.upgrade(database)
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URLs of fresh, migrated databases: the test runs once on each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "workspace.db")
        yield f"sqlite:///{tmp_path / 'workspace.db'}"
    else:
        running = request.getfixturevalue("postgres_server")
        url = running.create(template="template")
        yield url
        running.drop(url)


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Any]:
    """A Store on a fresh database (SQLite, then PostgreSQL) and a folder."""
    from jupyter_ext.store import Store

    opened = Store(database_url, tmp_path / "objects")
    yield opened
    opened.close()


@pytest.fixture
def workspace(tmp_path: Path, sqlite_template: Path) -> Iterator[Any]:
    """A whole Workspace on SQLite and a folder; nothing runs in its background."""
    from jupyter_ext.workspace import Workspace

    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "workspace.db")
    opened = Workspace(home=str(home), user="ada", multi_user=False)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def jp_server_config(tmp_path: Path, sqlite_template: Path) -> dict[str, Any]:
    """The in-process server loads the extension, on a workspace of its own, and lets nobody in without a token."""
    (tmp_path / "home").mkdir()
    shutil.copy(sqlite_template, tmp_path / "home" / "workspace.db")
    return {
        "ServerApp": {
            "jpserver_extensions": {"jupyter_ext": True, "jupyter_server_terminals": False},
            "allow_unauthenticated_access": False,
        },
        "Workspace": {"home": str(tmp_path / "home"), "user": "ada", "multi_user": False},
    }


@pytest.fixture
def api(jp_serverapp: Any, jp_fetch: Any, jp_asyncio_loop: Any) -> Api:
    """Call the API of an in-process server: ``status, payload = await api("POST", "/jobs", json={...})``."""
    from tornado.httpclient import HTTPClientError

    # The plugin initializes the server; a real one also starts its extensions. It stops them when the test ends.
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.start_all_extensions())

    async def call(
        method: str, path: str, *, json: Any = None, data: bytes | None = None, **how: Any
    ) -> tuple[int, Any]:
        body = data if data is not None else (_json(json) if json is not None else None)
        try:
            answer = await jp_fetch(
                "jupyter-ext", "api", "v1", *path.strip("/").split("/"),
                method=method, body=body, allow_nonstandard_methods=True, **how,
            )  # fmt: skip
        except HTTPClientError as error:
            assert error.response is not None
            answer = error.response
        if method == "HEAD" or "application/json" not in answer.headers.get("Content-Type", ""):
            return answer.code, answer.body
        return answer.code, json_loads(answer.body)

    return call


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def json_loads(data: bytes) -> Any:
    """Parse JSON (the fixture's ``json`` argument hides the module)."""
    return json.loads(data)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A Jupyter server with the extension as a child process, shared by the tests of this process."""
    running = servers.start(tmp_path_factory.mktemp("server"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(server: servers.Server) -> Iterator[Any]:
    """A client of the shared server."""
    connected = importlib.import_module("jupyter_ext").connect(server.url, server.token)
    yield connected
    connected.transport.close()
