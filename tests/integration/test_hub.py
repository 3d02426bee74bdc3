"""A real JupyterHub: people sign in, get servers of their own, and find their work again after a restart."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from jupyter_ext.errors import Forbidden
from jupyter_ext.hub import HubSession, LocalHub, user_folder
from support import hub as hubs

pytestmark = [pytest.mark.xdist_group("hub")]
ODD = "a@b c"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with hubs.running(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def odd(hub: LocalHub) -> Iterator[HubSession]:
    """A user whose name has to be quoted in addresses and in paths; their server runs."""
    with HubSession(hub.url, ODD, hub.settings.password) as session:
        hubs.start_server(session)
        yield session
        hubs.stop_server(session)


def test_a_wrong_password_is_refused(hub: LocalHub) -> None:
    with pytest.raises(Forbidden, match="refused to sign in 'eve'"):
        HubSession(hub.url, "eve", hub.settings.password + "x")


def test_a_spawn_tells_its_progress_and_a_stop_is_complete(hub: LocalHub) -> None:
    with HubSession(hub.url, "ben", hub.settings.password) as session:
        steps = hubs.start_server(session)
        assert [progress for progress, _ in steps][-1] == 100
        assert len(steps) > 1
        assert list(session.start_server()) == []  # it runs already
        assert "JupyterHub" in (user_folder(hub.settings.home, "ben") / "server.log").read_text()
        session.stop_server()
        session.stop_server()
        assert session.request("GET", f"{hubs.API}/status").status_code != 200


def test_the_api_is_reachable_below_an_odd_name(odd: HubSession) -> None:
    answer = odd.request("GET", f"{hubs.API}/jobs")
    assert answer.status_code == 200
    assert set(answer.json()) == {"items", "next_cursor"}


def test_another_user_and_a_stranger_cannot_reach_the_server(hub: LocalHub, odd: HubSession) -> None:
    with HubSession(hub.url, "eve", hub.settings.password) as eve:
        for method, path in (("GET", f"{hubs.API}/jobs"), ("POST", f"{hubs.API}/jobs"), ("GET", "/api/contents")):
            answer = eve.http.request(method, odd.server_url + path, json={} if method == "POST" else None)
            assert answer.status_code == 403, (method, path, answer.text)
    for token in ("", "token not-a-token"):
        answer = httpx.get(odd.server_url + f"{hubs.API}/jobs", headers={"Authorization": token}, trust_env=False)
        assert answer.status_code in (302, 403)


@pytest.mark.ray
def test_jobs_and_their_events_survive_a_restart_of_the_server(odd: HubSession) -> None:
    done = hubs.submit(odd, "before", "print('from before the restart')")
    hubs.wait_for(lambda: hubs.job(odd, done)["state"] == "succeeded", 120, "the first job's success")
    before = hubs.job(odd, done)
    events = odd.request("GET", f"{hubs.API}/jobs/{done}/events").json()
    waiting = hubs.submit(odd, "across", "import time; time.sleep(1); print('still here')")

    odd.stop_server()
    hubs.start_server(odd)

    assert hubs.job(odd, done) == before
    assert before["owner"] == ODD
    assert odd.request("GET", f"{hubs.API}/jobs/{done}/events").json() == events
    assert "from before the restart" in odd.request("GET", f"{hubs.API}/jobs/{done}/logs").json()["text"]
    hubs.wait_for(lambda: hubs.job(odd, waiting)["state"] == "succeeded", 120, "the second job's success")
    states = [each["to_state"] for each in odd.request("GET", f"{hubs.API}/jobs/{waiting}/events").json()["items"]]
    assert states[0] == "succeeded"
    assert states[-1] == "queued"
