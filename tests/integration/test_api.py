"""The API as a whole: who may, what a wrong request is told, what the OpenAPI document promises."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

import jupyter_ext
from jupyter_ext.server.handlers import all_routes
from jupyter_ext.server.routing import Route
from support import server as servers

ROUTES = all_routes()
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def filled(route: Route) -> str:
    """The route's path with something in place of every parameter."""
    return re.sub(r"{\w+}", "x", route.path)


async def status_of(jp_fetch: Any, route: Route, **how: Any) -> tuple[int, dict[str, Any]]:
    from tornado.httpclient import HTTPClientError

    body = b"{}" if route.method in ("POST", "PUT", "PATCH") else None
    try:
        answer = await jp_fetch(
            "jupyter-ext", "api", "v1", *filled(route).strip("/").split("/"),
            method=route.method, body=body, allow_nonstandard_methods=True, **how,
        )  # fmt: skip
    except HTTPClientError as error:
        assert error.response is not None
        answer = error.response
    return answer.code, json.loads(answer.body or b"{}") if route.method != "HEAD" else {}


async def test_no_route_lets_a_stranger_in(jp_serverapp: Any, jp_fetch: Any) -> None:
    for route in ROUTES:
        code, _ = await status_of(jp_fetch, route, headers={"Authorization": "token wrong"}, follow_redirects=False)
        assert code in (302, 403), name_of(route)


async def test_every_route_asks_the_authorizer_about_its_resource_and_verb(
    api: Any, jp_serverapp: Any, jp_fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class Refuses:
        def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
            asked.append((action, resource))
            return False

    monkeypatch.setitem(jp_serverapp.web_app.settings, "authorizer", Refuses())
    for route in ROUTES:
        code, answer = await status_of(jp_fetch, route)
        assert code == 403, name_of(route)
        assert asked.pop() == ("read" if route.method in ("GET", "HEAD") else "write", route.resource)
        if route.method != "HEAD":
            assert answer["reason"] == "forbidden"


def test_every_noun_is_authorised_under_its_own_name() -> None:
    assert {route.resource for route in ROUTES} == {
        "status", "blobs", "datasets", "labels", "jobs", "clusters", "models", "monitors",
    }  # fmt: skip


async def test_an_unknown_path_and_verb_are_told_in_json(api: Any) -> None:
    code, answer = await api("GET", "/nothing/here")
    assert (code, answer["reason"]) == (404, "not_found")
    code, answer = await api("PATCH", "/jobs", json={})
    assert (code, answer["reason"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"", "should be an object"),
        (b"[]", "should be an object"),
        (b'{"name": "x", "colour": 1}', "colour: Extra inputs are not permitted"),
        (b'{"name": ""}', "name: String should have at least 1 character"),
        (b'"\\ud800"', "The body is wrong"),
    ],
)
async def test_a_wrong_body_is_400_and_says_which_field(api: Any, body: bytes, said: str) -> None:
    code, answer = await api("POST", "/datasets", data=body)
    assert (code, answer["reason"]) == (400, "invalid")
    assert said in answer["message"]


async def test_a_wrong_query_is_400(api: Any) -> None:
    for params, said in (({"limit": "0"}, "limit"), ({"limit": "many"}, "limit"), ({"colour": "red"}, "colour")):
        code, answer = await api("GET", "/jobs", params=params)
        assert (code, answer["reason"]) == (400, "invalid")
        assert said in answer["message"]


async def test_jupyterlabs_own_query_arguments_are_no_mistake(api: Any) -> None:
    code, _ = await api("GET", "/jobs", params={"1700000000000": "", "no_track_activity": "1"})
    assert code == 200


async def test_errors_never_repeat_the_input(api: Any) -> None:
    _, answer = await api("POST", "/jobs", json={"name": "secret-of-the-user\n", "source": 3})
    assert "secret-of-the-user" not in json.dumps(answer)


async def test_a_blob_goes_up_and_comes_down(api: Any) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (await api("HEAD", f"/blobs/{digest}"))[0] == 404
    code, answer = await api("PUT", f"/blobs/{digest}", data=b"hello")
    assert (code, answer) == (201, {"digest": digest, "size_bytes": 5})
    assert (await api("HEAD", f"/blobs/{digest}"))[0] == 200
    assert await api("GET", f"/blobs/{digest}") == (200, b"hello")
    code, answer = await api("PUT", f"/blobs/{digest}", data=b"hellO")
    assert (code, answer["reason"]) == (400, "invalid")
    code, answer = await api("PUT", "/blobs/UPPER", data=b"x")
    assert (code, answer["reason"]) == (400, "invalid")


async def test_a_full_disk_is_507_and_leaves_nothing(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (await api("GET", "/status"))[0] == 200

    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_room)
        code, answer = await api("PUT", f"/blobs/{digest}", data=b"hello")
    assert (code, answer["reason"]) == (507, "storage_full")
    assert (await api("HEAD", f"/blobs/{digest}"))[0] == 404
    assert (await api("PUT", f"/blobs/{digest}", data=b"hello"))[0] == 201


async def test_the_served_openapi_document_is_valid_and_complete(api: Any) -> None:
    code, document = await api("GET", "/openapi.json")
    assert code == 200
    validate(document)
    served = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert served == {name_of(route) for route in ROUTES}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], f"{method} {path} has no summary"


async def test_a_polling_panel_is_no_activity(api: Any, jp_serverapp: Any) -> None:
    settings = jp_serverapp.web_app.settings
    await api("GET", "/datasets")
    before = settings["api_last_activity"]
    await api("GET", "/datasets", params={"no_track_activity": "1"})
    await api("GET", "/jobs")
    await api("GET", "/status")
    assert settings["api_last_activity"] == before


def test_a_server_under_an_odd_base_url_answers(tmp_path: Path) -> None:
    running = servers.start(tmp_path, base_url="/user/a%40b%20c/")
    try:
        client = jupyter_ext.connect(running.url, running.token)
        assert client.transport.get("datasets")["items"] == []
        client.transport.close()
    finally:
        running.stop()


def test_a_database_from_a_newer_version_gives_one_clear_answer(tmp_path: Path) -> None:
    """The server starts, so that notebooks open; every call of ours says what is wrong and what to do."""
    import sqlalchemy as sa

    from jupyter_ext.workspace import Workspace

    workspace = Workspace(home=str(tmp_path / "home"), user="ada")
    workspace.open()
    with workspace.store.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    workspace.close()
    with pytest.raises(AssertionError, match="newer version"):
        servers.start(tmp_path)


@pytest.fixture
def idle_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A server of its own, on which no job is ever admitted."""
    running = servers.start(tmp_path / "server", config={"Supervisor": {"quotas": {"*": {"jobs": 0}}}})
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.timeout(1300)
def test_schemathesis_finds_no_server_error(idle_server: servers.Server, tmp_path: Path) -> None:
    """Odd requests by the thousand: never a 5xx, never an answer that the document does not know.

    Hundreds of them submit jobs, which would keep every later test of a shared server waiting in the queue.
    """
    server = idle_server
    document = httpx.get(
        server.url + "jupyter-ext/api/v1/openapi.json",
        headers={"Authorization": f"token {server.token}"},
        trust_env=False,
    ).json()
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", str(tmp_path / "openapi.json"),
            "--url", server.url + "jupyter-ext/api/v1",
            "--header", f"Authorization: token {server.token}",
            "--checks", CHECKS,
            "--max-examples", "8", "--request-timeout", "60", "--seed", "1",
            "--phases", "examples,coverage,fuzzing", "--no-color",
            "--generation-database", "none",
            # A head that starts for every odd name would only measure this machine's patience.
            "--exclude-operation-id", "start_cluster",
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=1200, env=servers.clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
