"""The client against a real HTTP server that behaves as Kubernetes' does: conflicts, pages, watches, refusals."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_ext.clusters.backends.kuberay.access import Access
from jupyter_ext.clusters.backends.kuberay.api import Api, Expired
from jupyter_ext.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from support.kube_api import Asked, KubeApi, Refused


@pytest.fixture
def kube() -> Iterator[KubeApi]:
    running = KubeApi().start()
    yield running
    running.stop()


@pytest.fixture
def api(kube: KubeApi) -> Iterator[Api]:
    client = Api(Access(kube.url, token=kube.token), timeout=30)
    yield client
    client.close()


def account(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "ray", **metadata}}


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


# Reading and writing


def test_objects_are_created_once_and_read(api: Api) -> None:
    made = api.create(account("a", labels={"x": "y"}))
    assert made["metadata"]["uid"]
    assert api.get("ServiceAccount", "ray", "a") == made
    with pytest.raises(Conflict, match='"a" already exists'):
        api.create(account("a"))
    with pytest.raises(NotFound, match='"b" not found'):
        api.get("ServiceAccount", "ray", "b")


def test_lists_come_in_pages_and_are_filtered_by_labels(kube: KubeApi, api: Api) -> None:
    for number in range(1203):
        kube.put(account(f"a{number:04}", labels={"half": str(number % 2)}))
    found, version = api.list_all("ServiceAccount", "ray")
    assert names(found) == [f"a{number:04}" for number in range(1203)]
    assert version == str(kube.version)
    assert sum("continue" in asked.query for asked in kube.asked) == 2
    odd, _ = api.list_all("ServiceAccount", None, {"half": "1"})
    assert len(odd) == 601
    # The items of a list of the real server don't say what they are, and are deleted all the same.
    assert odd[0]["kind"] == "ServiceAccount"
    api.delete(odd[0])
    assert kube.get("serviceaccounts", "a0001") is None


def test_a_list_that_is_too_old_for_its_second_page_must_be_begun_anew(kube: KubeApi, api: Api) -> None:
    for number in range(501):
        kube.put(account(f"a{number}"))

    def forget(asked: Asked) -> None:
        if "continue" in asked.query:
            kube.put(account("new"))
            kube.compact()

    kube.before = forget
    with pytest.raises(Expired):
        api.list_all("ServiceAccount", "ray")


def test_applying_takes_what_is_ours_and_leaves_what_is_others(kube: KubeApi, api: Api) -> None:
    api.apply(account("a", labels={"mine": "1", "old": "1"}))
    kube.edit("serviceaccounts", "a", lambda item: item["metadata"]["labels"].update(theirs="1"))
    api.apply(account("a", labels={"mine": "2"}))
    found = kube.get("serviceaccounts", "a")
    assert found is not None
    assert found["metadata"]["labels"] == {"mine": "2", "theirs": "1"}


def test_applying_over_another_managers_field_is_a_conflict_unless_forced(kube: KubeApi, api: Api) -> None:
    api.create(account("a", labels={"x": "1"}))
    with pytest.raises(Conflict, match="Apply failed"):
        api.apply(account("a", labels={"x": "2"}))
    assert api.apply(account("a", labels={"x": "2"}), force=True)["metadata"]["labels"] == {"x": "2"}


def test_applying_to_another_object_of_that_name_is_refused(kube: KubeApi, api: Api) -> None:
    with pytest.raises(Conflict, match="uid mismatch"):
        api.apply(account("a", uid="of-one-that-is-gone"), force=True)
    assert kube.get("serviceaccounts", "a") is None


def test_an_edit_of_what_changed_meanwhile_is_refused(kube: KubeApi, api: Api) -> None:
    read = api.create(account("a", labels={"x": "1"}))
    kube.edit("serviceaccounts", "a", lambda item: item["metadata"]["labels"].update(theirs="1"))
    operation = {"op": "add", "path": "/metadata/labels/x", "value": "2"}
    with pytest.raises(Conflict, match="the object has been modified"):
        api.edit(read, [operation])
    changed = api.edit(api.get("ServiceAccount", "ray", "a"), [operation])
    assert changed["metadata"]["labels"] == {"x": "2", "theirs": "1"}


def test_a_merge_touches_only_what_it_names(kube: KubeApi, api: Api) -> None:
    api.create(account("a", labels={"x": "1", "y": "1"}))
    found = api.merge("ServiceAccount", "ray", "a", {"metadata": {"labels": {"x": None}, "annotations": {"z": "1"}}})
    assert (found["metadata"]["labels"], found["metadata"]["annotations"]) == ({"y": "1"}, {"z": "1"})


def test_only_the_very_object_is_deleted(kube: KubeApi, api: Api) -> None:
    old = api.create(account("a"))
    api.delete(old)
    api.delete(old)
    new = api.create(account("a"))
    api.delete(old)
    assert api.get("ServiceAccount", "ray", "a") == new
    kube.edit("serviceaccounts", "a", lambda item: item["metadata"].update(labels={"x": "1"}))
    with pytest.raises(Conflict):
        api.delete(new, unchanged=True)
    api.delete(new)
    assert kube.get("serviceaccounts", "a") is None


def test_a_misspelt_field_is_refused(api: Api) -> None:
    with pytest.raises(Invalid, match="automountServiceAccountTokn"):
        api.create({**account("a"), "automountServiceAccountTokn": True})


# Errors


@pytest.mark.parametrize(
    ("refused", "error", "said"),
    [
        (Refused(403, "Forbidden", 'User "x" cannot get resource'), Forbidden, 'User "x" cannot get resource'),
        (Refused(409, "Conflict", "modified"), Conflict, "modified"),
        (Refused(410, "Expired", "too old"), Expired, "too old"),
        (Refused(422, "Invalid", "spec.x: Required value"), Invalid, "spec.x: Required value"),
        (Refused(429, "TooManyRequests", "slow down", retry_after=7), Unavailable, "slow down"),
        (Refused(500, "InternalError", "etcd leader changed"), Unavailable, "etcd leader changed"),
        (Refused(503, "ServiceUnavailable", "apiserver is shutting down"), Unavailable, "shutting down"),
    ],
)
def test_refusals_become_our_errors(kube: KubeApi, api: Api, refused: Refused, error: type, said: str) -> None:
    def refuse(asked: Asked) -> None:
        raise refused

    kube.before = refuse
    with pytest.raises(error, match=said) as caught:
        api.get("Pod", "ray", "a")
    assert type(caught.value) is error
    assert caught.value.details == ({"retry_after": 7.0} if refused.code == 429 else {})


def test_a_server_that_is_away_is_unavailable(kube: KubeApi, api: Api) -> None:
    api.list_all("Pod", "ray")
    kube.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        api.get("Pod", "ray", "a")
    kube.start()
    with pytest.raises(NotFound):
        api.get("Pod", "ray", "a")


def test_a_server_that_says_nothing_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Api(Access(f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=0.2)
        with pytest.raises(Unavailable, match="does not answer"):
            api.get("Pod", "ray", "a")
        api.close()


def test_a_wrong_token_is_told_and_never_shown(kube: KubeApi) -> None:
    api = Api(Access(kube.url, token="not-the-token"))
    with pytest.raises(Forbidden, match="does not accept our credentials") as caught:
        api.get("Pod", "ray", "a")
    assert "not-the-token" not in str(caught.value) + repr(api.access)
    api.close()


def test_what_is_no_api_server_is_told(kube: KubeApi, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "answer", lambda asked: "<html>Sign in</html>")
    with pytest.raises(Unavailable, match="no Kubernetes API server"):
        api.get("Pod", "ray", "a")


# Watching


def follow(api: Api, until: str, seconds: float = 20) -> list[list[str]]:
    """The names at each step, until one is there."""
    steps = []
    for found in api.follow("ServiceAccount", "ray", {"app": "x"}, seconds=seconds):
        steps.append(sorted(found))
        if until in found:
            break
    return steps


def later(*actions: Any) -> threading.Thread:
    """Do things one after another, some time apart."""

    def run() -> None:
        for action in actions:
            time.sleep(0.3)
            action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def mine(name: str) -> dict[str, Any]:
    return account(name, labels={"app": "x"})


def test_following_tells_what_there_is_and_each_change(kube: KubeApi, api: Api) -> None:
    kube.put(mine("a"))
    doing = later(
        lambda: kube.put(mine("b")),
        lambda: kube.put(account("other")),
        lambda: kube.remove("serviceaccounts", "a"),
        lambda: kube.put(mine("end")),
    )
    assert follow(api, "end") == [["a"], ["a", "b"], ["b"], ["b", "end"]]
    doing.join()
    assert sum(asked.query.get("watch") == "1" for asked in kube.asked) == 1, "one watch saw it all"


def test_a_watch_that_breaks_off_is_begun_anew_with_a_list(kube: KubeApi, api: Api) -> None:
    doing = later(kube.drop_watches, lambda: kube.put(mine("b")), kube.drop_watches, lambda: kube.put(mine("end")))
    assert follow(api, "end")[-1] == ["b", "end"]
    doing.join()
    assert sum("watch" not in asked.query for asked in kube.asked) >= 3, "what happened meanwhile is not missed"


@pytest.mark.parametrize("by_status", [False, True])
def test_a_watch_from_too_long_ago_is_begun_anew_with_a_list(kube: KubeApi, api: Api, by_status: bool) -> None:
    kube.gone_by_status = by_status
    refused = []

    def forget(asked: Asked) -> None:
        # Between the list and the watch, all that happened is forgotten, and something happens.
        if asked.query.get("watch") == "1" and not refused:
            refused.append(asked)
            kube.put(mine("end"))
            kube.compact()

    kube.before = forget
    assert follow(api, "end") == [[], ["end"]]
    assert refused


def test_bookmarks_let_a_watch_go_on_where_others_events_are_forgotten(kube: KubeApi, api: Api) -> None:
    kube.longest_watch = 0.6
    kube.put(mine("a"))

    def others() -> None:
        kube.put(account("other"))
        # Bookmarks tell that nothing of ours happened until now; then the past is forgotten.
        time.sleep(0.5)
        kube.compact()

    doing = later(others, lambda: kube.put(mine("end")))
    assert follow(api, "end") == [["a"], ["a", "end"]]
    doing.join()
    assert sum("watch" not in asked.query for asked in kube.asked) == 1, "one list was enough"
    assert sum(asked.query.get("watch") == "1" for asked in kube.asked) > 1


def test_following_goes_on_when_a_server_that_was_away_is_back(kube: KubeApi, api: Api) -> None:
    doing = later(kube.stop, lambda: kube.put(mine("end")), kube.start)
    assert follow(api, "end")[-1] == ["end"]
    doing.join()


def test_following_ends_with_its_time(kube: KubeApi, api: Api) -> None:
    begun = time.monotonic()
    assert follow(api, "never", seconds=0.5) == [[]]
    assert 0.4 < time.monotonic() - begun < 60
    kube.stop()
    with pytest.raises(Unavailable):
        follow(api, "never", seconds=0.5)
    kube.start()
