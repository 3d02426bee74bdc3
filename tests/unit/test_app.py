"""The extension in a real server: what it sets, what it emits, what counts as activity."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.app import EVENT_ID, EVENTS, JupyterExt


def extension_of(app: Any) -> JupyterExt:
    return next(iter(app.extension_manager.extension_apps["jupyter_ext"]))


async def until(true: Any, seconds: float = 10) -> None:
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not happen in time")


async def test_kernels_of_the_server_find_it_by_their_environment(api: Any, jp_serverapp: Any) -> None:
    assert (await api("GET", "/status"))[0] == 200
    assert os.environ["JUPYTER_EXT_URL"] == jp_serverapp.connection_url
    assert os.environ["JUPYTER_EXT_TOKEN"] == jp_serverapp.identity_provider.token


async def test_requests_act_as_the_owner_of_a_single_user_server(api: Any) -> None:
    assert (await api("GET", "/status"))[1]["user"] == "ada"


async def test_an_event_reaches_the_servers_event_bus(api: Any, jp_serverapp: Any) -> None:
    got: list[dict[str, Any]] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        got.append(data)

    jp_serverapp.event_logger.add_listener(schema_id=EVENT_ID.format(noun="dataset"), listener=listen)
    await api("GET", "/status")
    store = extension_of(jp_serverapp).workspace.store
    data = {"dataset_id": "d-1", "name": "x", "version": 1, "owner": "ada"}
    with store.write() as tx:
        tx.emit("dataset", data)
    await until(lambda: got)
    assert got == [data]


async def test_an_event_that_breaks_its_schema_stays_and_blocks_none_of_the_api(api: Any, jp_serverapp: Any) -> None:
    await api("GET", "/status")
    store = extension_of(jp_serverapp).workspace.store
    with store.write() as tx:
        tx.emit("dataset", {"colour": "red"})
    await asyncio.sleep(0.2)
    assert (await api("GET", "/datasets"))[0] == 200


@pytest.mark.parametrize("schema", sorted(EVENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_event_schema_is_named_after_its_file(schema: Path) -> None:
    from jupyter_events.schema import EventSchema

    assert EventSchema(schema).id == EVENT_ID.format(noun=schema.stem)


async def test_live_jobs_count_as_activity_and_as_a_reason_to_ask_before_shutdown(
    api: Any, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api("GET", "/status")
    extension = extension_of(jp_serverapp)
    await extension._note_activity()
    assert extension.current_activity() is None
    monkeypatch.setattr(extension.workspace.jobs, "has_live_jobs", lambda *_: True)
    await extension._note_activity()
    assert extension.current_activity() == {"jobs": {"live": True}}
    assert "jupyter_ext_jobs" in jp_serverapp.web_app.settings["last_activity_times"]
