from __future__ import annotations

import json

import pandas as pd
import pytest

from jupyter_ext.errors import Invalid, StorageFull, Unavailable
from jupyter_ext.widgets import Annotator
from jupyter_ext.widgets._view import MAX_STATE_BYTES
from support.html import assert_self_contained

CLASSES = ["benign", "malignant"]
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


class Server:
    """A task that keeps votes as a server does, and can be out of order."""

    name = "Biopsies"
    classes = tuple(CLASSES)

    def __init__(self) -> None:
        self.votes: dict[str, str] = {}
        self.requests: list[dict[str, str | None]] = []
        self.error: Exception | None = None

    def vote(self, votes):
        self.requests.append(votes)
        if self.error is not None:
            raise self.error
        for key, label in votes.items():
            if label is None:
                self.votes.pop(key, None)
            else:
                self.votes[key] = label


class Browser:
    """What a view sends, and what it hears."""

    def __init__(self, annotator, monkeypatch) -> None:
        self.annotator = annotator
        self.heard: list[tuple[dict, list]] = []
        monkeypatch.setattr(annotator, "send", lambda content, buffers=None: self.heard.append((content, buffers)))

    def do(self, **content):
        data = {"method": "custom", "content": content}
        self.annotator._handle_msg({"content": {"data": data}, "buffers": []})
        return self.heard[-1][0]

    @property
    def state(self):
        return self.annotator.get_state(["_state"])["_state"]


@pytest.fixture
def frame():
    return pd.DataFrame({"radius": [17.9, 7.8, 12.0], "texture": [10, 20, 30]}, index=["a", "b", "c"])


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def annotator(frame, server):
    return Annotator(frame, task=server)


def test_votes_go_to_the_task_and_count_when_it_has_them(annotator, server):
    annotator.label("a", "malignant")
    annotator.submit({"b": "benign", "c": "benign"})
    assert server.votes == annotator.votes == {"a": "malignant", "b": "benign", "c": "benign"}
    assert annotator.done
    assert annotator.remaining == []


def test_a_changed_mind_and_undo_reach_the_task(annotator, server):
    annotator.label("a", "malignant")
    annotator.label("a", "benign")
    annotator.undo()
    assert server.votes == annotator.votes == {"a": "malignant"}
    annotator.undo()
    assert server.votes == annotator.votes == {}
    assert server.requests[-1] == {"a": None}
    with pytest.raises(Invalid, match="nothing to undo"):
        annotator.undo()


def test_keys_of_any_type_reach_the_task_as_text(server):
    annotator = Annotator(pd.Series([1.0, 2.0], index=[7, 8]), task=server)
    annotator.submit({7: "benign", "8": "malignant"})
    assert annotator.votes == {7: "benign", 8: "malignant"}
    assert server.votes == {"7": "benign", "8": "malignant"}


@pytest.mark.parametrize("votes", [{"a": "malignant", "z": "benign"}, {"a": "malignant", "b": "perhaps"}])
def test_a_wrong_vote_sends_nothing(annotator, server, votes):
    with pytest.raises(Invalid):
        annotator.submit(votes)
    assert server.requests == []
    assert annotator.votes == annotator.unsaved == {}


def test_a_vote_that_cannot_be_saved_is_kept_until_it_is(annotator, server):
    server.error = StorageFull("The object store is full.")
    with pytest.raises(StorageFull):
        annotator.submit({"a": "malignant", "b": "benign"})
    assert annotator.votes == {}
    assert annotator.unsaved == {"a": "malignant", "b": "benign"}
    assert len(annotator.remaining) == 3
    with pytest.raises(StorageFull):
        annotator.retry()
    server.error = None
    annotator.label("b", "malignant")
    assert annotator.unsaved == {"a": "malignant"}
    annotator.retry()
    assert annotator.votes == server.votes == {"a": "malignant", "b": "malignant"}
    assert annotator.unsaved == {}


def test_an_undo_that_cannot_be_saved_changes_nothing(annotator, server):
    annotator.label("a", "malignant")
    server.error = Unavailable("The database doesn't answer.")
    with pytest.raises(Unavailable):
        annotator.undo()
    server.error = None
    assert annotator.votes == {"a": "malignant"}
    annotator.undo()
    assert annotator.votes == server.votes == {}


def test_a_callback_sees_votes_before_they_count(frame):
    seen = []
    annotator = Annotator(frame, classes=CLASSES, on_submit=lambda votes: seen.append((votes, dict(annotator.votes))))
    annotator.label("a", "benign")
    assert seen == [({"a": "benign"}, {})]


def test_a_view_hears_that_its_vote_is_saved_and_sees_the_next_item(annotator, server, monkeypatch):
    browser = Browser(annotator, monkeypatch)
    assert [item["key"] for item in browser.state["items"]] == ["a", "b"]
    assert browser.do(do="vote", id="1", place=0, label="malignant") == {"answer": "1", "problem": None}
    assert server.votes == {"a": "malignant"}
    state = browser.state
    assert (state["place"], state["labelled"], state["counts"], state["can_undo"]) == (1, 1, [0, 1], True)
    assert [item["key"] for item in state["items"]] == ["b", "c"]


def test_a_view_hears_why_its_vote_is_not_saved_and_stays(annotator, server, monkeypatch):
    browser = Browser(annotator, monkeypatch)
    server.error = Unavailable("The database doesn't answer.")
    answer = browser.do(do="vote", id="1", place=1, label="malignant")
    assert answer == {"answer": "1", "problem": "The database doesn't answer."}
    assert browser.state["place"] == 1
    assert browser.state["items"][0]["unsaved"] == "malignant"
    assert (browser.state["n_unsaved"], browser.state["problem"]) == (1, "The database doesn't answer.")
    server.error = None
    assert browser.do(do="retry", id="2") == {"answer": "2", "problem": None}
    assert (browser.state["n_unsaved"], browser.state["problem"], browser.state["place"]) == (0, None, 2)
    assert server.votes == {"b": "malignant"}


def test_an_error_of_a_callback_is_told_by_its_kind(frame, monkeypatch):
    def fail(votes):
        raise ZeroDivisionError("by zero")

    browser = Browser(Annotator(frame, classes=CLASSES, on_submit=fail), monkeypatch)
    assert browser.do(do="vote", id="1", place=0, label="benign")["problem"] == "ZeroDivisionError: by zero"


@pytest.mark.parametrize(
    "message",
    [{"do": "vote", "place": 99, "label": "benign"}, {"do": "vote", "place": 0, "label": "x"}, {"do": "dance"}, {}],
)
def test_a_message_that_makes_no_sense_is_answered_and_changes_nothing(annotator, server, monkeypatch, message):
    browser = Browser(annotator, monkeypatch)
    answer = browser.do(id="1", **message)
    assert answer["answer"] == "1"
    assert answer["problem"]
    assert server.votes == {}


def test_a_view_moves_through_the_queue(annotator, monkeypatch):
    browser = Browser(annotator, monkeypatch)
    browser.do(do="show", id="1", place=2)
    assert browser.state["place"] == 2
    browser.do(do="show", id="2", place=99)
    assert browser.state["place"] == 2
    browser.do(do="vote", id="3", place=2, label="benign")
    assert browser.state["place"] == 0
    browser.do(do="skip", id="4", place=0)
    assert browser.state["place"] == 1
    browser.do(do="undo", id="5")
    assert browser.state["place"] == 2


def test_when_all_is_done_no_item_is_shown(annotator, monkeypatch):
    annotator.submit(dict.fromkeys("abc", "benign"))
    browser = Browser(annotator, monkeypatch)
    assert (browser.state["place"], browser.state["items"]) == (None, [])
    assert "All 3 items labelled" in annotator.static_html()
    browser.do(do="show", id="1", place=2)
    assert browser.state["items"][0]["label"] == "benign"


def test_an_image_travels_when_asked_for_and_not_in_the_state(monkeypatch):
    annotator = Annotator(
        pd.Series([PNG, b"text", None], dtype=object), classes=CLASSES, kind="image", columns=["value"], order=[0]
    )
    browser = Browser(annotator, monkeypatch)
    assert browser.do(do="image", place=0) == {"image": 0, "media": "image/png"}
    assert browser.heard[-1][1] == [PNG]
    assert len(json.dumps(browser.state)) < 500


def test_an_unreadable_image_is_told(monkeypatch):
    annotator = Annotator(pd.Series(["nowhere.png"]), classes=CLASSES)
    assert "can't be read" in Browser(annotator, monkeypatch).do(do="image", place=0)["problem"]


def test_suggestions_come_as_labels_and_as_probabilities(frame):
    suggestions = {"a": "benign", "b": {"malignant": 0.9}, "c": [0.25, 0.75]}
    annotator = Annotator(frame, classes=CLASSES, suggestions=suggestions)
    assert annotator._item(0)["suggestion"] == {"label": "benign", "shares": None}
    assert annotator._item(1)["suggestion"] == {"label": "malignant", "shares": [0.0, 0.9]}
    assert annotator._item(2)["suggestion"] == {"label": "malignant", "shares": [0.25, 0.75]}


@pytest.mark.parametrize("suggestion", ["perhaps", {"perhaps": 1.0}, [0.5], [2.0, 0.0], [float("nan"), 0.0]])
def test_wrong_suggestions_are_refused(frame, suggestion):
    with pytest.raises(Invalid, match="suggestion"):
        Annotator(frame, classes=CLASSES, suggestions={"a": suggestion})


def test_classes_come_from_the_task_or_are_some_of_its(frame, server):
    assert Annotator(frame, task=server).classes == ("benign", "malignant")
    with pytest.raises(Invalid, match="doesn't have all of these classes"):
        Annotator(frame, task=server, classes=["benign", "unsure"])
    with pytest.raises(Invalid, match="Name the classes"):
        Annotator(frame)


def test_an_empty_order_is_refused(frame):
    with pytest.raises(Invalid, match="nothing to ask"):
        Annotator(frame, classes=CLASSES, order=[])


def test_the_frame_is_left_as_it_was(frame, server):
    before = frame.copy()
    Annotator(frame, task=server).label("a", "benign")
    pd.testing.assert_frame_equal(frame, before)


def test_a_display_carries_the_view_and_a_static_twin(annotator):
    annotator.label("a", "malignant")
    data, _ = annotator._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert data["text/plain"] == "<Annotator 'Biopsies': 1 of 3 labelled>"
    assert_self_contained(data["text/html"])
    for expected in ("1 of 3 labelled", "item 2", "texture", "malignant", "×1"):
        assert expected in assert_self_contained(data["text/html"])


def test_hostile_content_is_shown_as_text():
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "x"], "long": [HOSTILE * 10, "y"]}, index=[HOSTILE, "b"])
    for kind in ("row", "text"):
        page = Annotator(frame, classes=[HOSTILE, "no"], title=HOSTILE, kind=kind, columns=list(frame)).static_html()
        assert HOSTILE in assert_self_contained(page)


def test_an_image_is_kept_in_the_saved_notebook_if_it_is_small():
    small, large = (Annotator(pd.Series([PNG + bytes(n)]), classes=CLASSES).static_html() for n in (0, 500_000))
    assert "data:image/png;base64," in small
    assert "image/png, 500 kB" in assert_self_contained(large)
    assert len(large) < MAX_STATE_BYTES


def test_the_saved_state_stays_small_whatever_the_frame(monkeypatch):
    wide = pd.DataFrame([{f"column {number}": "é" * 1_000 for number in range(400)}] * 3)
    texts = pd.Series(["é" * 50_000] * 3)
    for frame in (wide, texts):
        annotator = Annotator(frame, classes=[f"class {number}" for number in range(100)])
        assert len(json.dumps(annotator.get_state(), ensure_ascii=False).encode()) < MAX_STATE_BYTES
        assert len(annotator.static_html().encode()) < MAX_STATE_BYTES
