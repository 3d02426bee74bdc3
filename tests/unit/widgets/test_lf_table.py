from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, lf_summary
from jupyter_ext.widgets import LFTable
from jupyter_ext.widgets._view import MAX_STATE_BYTES
from jupyter_ext.widgets.lf_table import MAX_CLASSES, PAGE_SIZE
from support.html import assert_self_contained

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
VOTES = [[1, -1, 0], [1, 0, 0], [-1, -1, -1], [-1, 0, 0], [0, 0, 0]]
GOLD = [1, 1, -1, -1, 0]
NAMES = ["short", "links", "polite"]


def matrix(votes=VOTES, names=NAMES, **more):
    return VoteMatrix.from_dense(votes, voters=names, **more)


def frame(n=5, **more):
    return pd.DataFrame({"text": [f"comment {row}" for row in range(n)], "likes": range(n), **more})


def state_size(view):
    return len(json.dumps(view.get_state(), ensure_ascii=False, allow_nan=False).encode())


@pytest.fixture
def view():
    return LFTable(matrix(), GOLD, frame=frame(), classes=["ham", "spam"])


@pytest.fixture
def many():
    """A thousand functions with long names, all in conflict, over texts that are long in bytes."""
    random = np.random.default_rng(5)
    names = [f"a rather long name of a function, number {number}" for number in range(1_000)]
    votes = random.integers(-1, 3, size=(60, 1_000))
    texts = frame(60, body=['\n"é' * 4_000] * 60, more="日本" * 900)
    gold = random.integers(-1, 3, size=60)
    return LFTable(matrix(votes, names), gold, frame=texts, classes=["a" * 99, "b" * 99, "c" * 99])


@pytest.mark.parametrize(
    ("votes", "says"),
    [
        (VOTES, "3 functions vote on 80 % of 5 rows; 50 % of those are in conflict."),
        ([[0], [0]], "1 function votes on 100 % of 2 rows; none of those are in conflict."),
        ([[-1, -1]], "2 functions vote on none of 1 row."),
        (np.empty((4, 0), int), "There are no functions yet."),
        (np.empty((0, 2), int), "2 functions vote on none of 0 rows."),
        ([[0, 0]] * 399 + [[0, 1]], "2 functions vote on 100 % of 400 rows; under 1 % of those are in conflict."),
    ],
)
def test_the_first_line_says_what_is_there(votes, says):
    assert repr(LFTable(votes)) == f"<LFTable: {says}>"


def test_the_table_is_that_of_the_summary(view):
    pd.testing.assert_frame_equal(view.table, lf_summary(matrix(), GOLD))
    mine = view.table
    mine.loc["short", "coverage"] = 9.0
    assert view.table.loc["short", "coverage"] == 0.6


def test_each_function_has_a_line_in_the_order_of_the_votes(view):
    assert [line["name"] for line in view._rows] == NAMES
    short = view._rows[0]
    assert (short["votes_for"], short["coverage"], short["overlaps"], short["conflicts"]) == (
        "ham, spam",
        0.6,
        0.6,
        0.4,
    )
    assert (short["correct"], short["known"], short["accuracy"]) == (3, 3, 1.0)
    assert 0 < short["low"] < 1
    assert short["high"] == 1
    assert short["note"] == lf_summary(matrix(), GOLD).loc["short", "note"] != ""


def test_without_gold_nothing_is_said_of_accuracy():
    view = LFTable(matrix())
    assert "accuracy" not in view._rows[0]
    assert "Give gold= to see accuracies" in view._facts["basis"]
    view.selected = "short"
    assert "gold" not in view._detail["rows"][0]
    assert "Accuracy" not in assert_self_contained(view.static_html())


def test_no_known_answer_is_no_accuracy_of_nothing():
    line = LFTable(matrix(), [-1] * 5)._rows[0]
    assert line["accuracy"] is None
    assert "no known answers" in assert_self_contained(LFTable(matrix(), [-1] * 5).static_html())


def test_opening_a_function_shows_counts_and_conflicting_rows(view):
    view.selected = "short"
    detail = view._detail
    assert detail["counts"] == [
        {"name": "spam", "votes": 2, "share": 0.6667, "known": 2, "correct": 2},
        {"name": "ham", "votes": 1, "share": 0.3333, "known": 1, "correct": 1},
    ]
    assert detail["n_conflicts"] == 2
    assert detail["rows"][1] == {
        "row": 1,
        "key": None,
        "vote": "spam",
        "others": [["ham", "links, polite"]],
        "fields": [["text", "comment 1"]],
        "gold": "spam",
        "right": True,
    }
    view.selected = None
    assert view._detail == {}


def test_a_function_that_is_not_there_cannot_be_opened(view):
    view.selected = "links"
    with pytest.raises(Invalid, match="no function 'liks'"):
        view.selected = "liks"
    assert view.selected == "links"


def test_a_function_that_never_votes_or_is_never_contradicted_opens_too():
    view = LFTable([[0, -1], [1, -1]], classes=["ham", "spam"])
    view.selected = "voter_1"
    assert (view._detail["counts"], view._detail["rows"], view._detail["note"]) == ([], [], "it never votes")
    assert "No other function contradicts it" in assert_self_contained(view.static_html())


def test_conflicting_rows_come_a_page_at_a_time():
    n = 2 * PAGE_SIZE + 3
    view = LFTable([[0, 1]] * n + [[0, 0]], frame=frame(n + 1))
    view.selected = "voter_0"
    assert [row["row"] for row in view._detail["rows"]] == list(range(PAGE_SIZE))
    view._page = 2
    assert [row["row"] for row in view._detail["rows"]] == [n - 3, n - 2, n - 1]
    assert view._detail["rows"][0]["fields"] == [["text", f"comment {n - 3}"]]
    view._page = 50
    assert (view._page, view._detail["page"], view._detail["n_pages"]) == (2, 2, 3)
    view.selected = "voter_1"
    assert (view._page, view._detail["page"]) == (0, 0)


def test_what_the_browser_asks_for_is_answered(view):
    view.set_state({"selected": "links", "_page": 0})
    assert view._detail["voter"] == view.selected == "links"
    view.set_state({"_sort": {"by": "name", "falling": False}})
    text = assert_self_contained(view.static_html())
    assert text.index("links") < text.index("polite") < text.index("short")


def test_a_function_that_vanished_while_the_browser_asked_for_it_opens_nothing(view):
    with pytest.raises(Invalid):
        view.set_state({"selected": "gone", "_page": 0})
    assert (view.selected, view._detail) == (None, {})
    view.selected = "short"
    assert view._detail["voter"] == "short"


def test_an_update_keeps_the_open_function_the_order_and_the_gold(view):
    view.selected = "short"
    view._sort = {"by": "conflicts", "falling": True}
    view.update(matrix([[0, 1], [0, 1], [0, -1], [-1, -1], [-1, -1]], ["short", "new"]))
    assert (view.selected, view._sort) == ("short", {"by": "conflicts", "falling": True})
    assert [line["name"] for line in view._rows] == ["short", "new"]
    assert view._detail["n_conflicts"] == 2
    assert view._rows[0]["known"] == 2
    view.update(matrix([[0]] * 5, ["new"]), gold=None)
    assert (view.selected, view._detail) == (None, {})
    assert "accuracy" not in view._rows[0]


def test_a_refused_update_changes_nothing(view):
    before = view.get_state()
    for votes, gold in [([[0]] * 4, None), (VOTES, [0]), ([[7]] * 5, None)]:
        with pytest.raises(Invalid):
            view.update(votes, gold=gold)
    assert view.get_state() == before
    view.update(matrix())
    assert view.get_state() == before


def test_displayed_twins_follow_an_update(view):
    class Handle:
        bundle: dict[str, str] = {}

        def update(self, bundle, raw):
            self.bundle = bundle

    handle = Handle()
    view._handles.append(handle)
    view.update(matrix([[1]] * 5, ["fresh"]))
    assert "fresh" in handle.bundle["text/html"]
    view.selected = "fresh"
    assert "No other function contradicts it" in handle.bundle["text/html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame": frame(4)}, "frame has 4 rows, and there are votes on 5"),
        ({"gold": [0, 1]}, "Gold must have one entry a row"),
        ({"gold": [0, 1, 2, 0, 0]}, "Gold must hold classes 0 to 1"),
        ({"frame": frame(), "columns": ["text", "txt"]}, "doesn't have: txt"),
        ({"frame": frame(), "columns": []}, "columns= is empty"),
        ({"columns": ["text"]}, "no frame= is given"),
        ({"frame": ["a"] * 5}, "DataFrame, not as list"),
        ({"frame": pd.DataFrame([[1, 2]] * 5, columns=["a", "a"])}, "same name"),
        ({"classes": ["ham"]}, "two classes or more"),
        ({"classes": ["ham", "ham"]}, "two classes or more"),
        ({"classes": "ab"}, "list of names"),
    ],
)
def test_bad_input_is_told(arguments, message):
    with pytest.raises(Invalid, match=message):
        LFTable(matrix(), **arguments)


def test_votes_outside_the_named_classes_are_refused():
    with pytest.raises(Invalid, match="vote for class 2"):
        LFTable(matrix([[0], [2]], ["a"]), classes=["ham", "spam"])


def test_columns_are_the_texts_or_those_that_are_named():
    def shown(**arguments):
        view = LFTable(matrix(), **arguments)
        view.selected = "short"
        return view._detail["rows"][0]["fields"]

    assert shown(frame=frame()) == [["text", "comment 0"]]
    assert shown(frame=frame(), columns=["likes", "text"]) == [["likes", "0"], ["text", "comment 0"]]
    assert shown(frame=frame(), columns="likes") == [["likes", "0"]]
    assert shown(frame=pd.DataFrame({"x": [0.1 + 0.2] * 5, "y": [None] * 5})) == [["x", "0.3"], ["y", None]]
    wide = shown(frame=pd.DataFrame({f"x{number}": [1] * 5 for number in range(30)}))
    assert wide[-1] == ["…", "22 more columns; choose some with columns="]
    assert shown() == []


def test_rows_are_called_what_the_frame_calls_them():
    view = LFTable(matrix(), frame=frame().set_axis(["a", "a", None, "b", "c"]))
    view.selected = "short"
    assert [row["key"] for row in view._detail["rows"]] == ["a", "a"]


def test_many_who_contradict_are_counted():
    view = LFTable([[0, *([1] * 8), *range(2, 9)]])
    view.selected = "voter_0"
    others = view._detail["rows"][0]["others"]
    assert others[0] == ["1", "voter_1, voter_2, voter_3, voter_4, voter_5 and 3 more"]
    assert others[-1] == ["3 other classes", ""]


def test_many_classes_are_folded():
    view = LFTable(np.arange(100).reshape(-1, 1), [*range(100)])
    view.selected = "voter_0"
    counts = view._detail["counts"]
    assert counts[-1] == {"name": "70 other classes", "votes": 70, "share": 0.7}
    assert len(counts) == MAX_CLASSES + 1
    assert view._rows[0]["votes_for"] == "0, 1, 2 and 97 more"
    assert_self_contained(view.static_html())


def test_the_static_twin_says_the_same(view):
    view.selected = "short"
    data, _ = view._repr_mimebundle_()
    text = assert_self_contained(data["text/html"])
    for expected in (
        "3 functions vote on 80 % of 5 rows",
        "3 known answers; whiskers are 95 % intervals",
        "accuracy 100 %, between",
        "1 to 2 of 2 rows on which others contradict it",
        "comment 1",
        "ham links, polite",
    ):
        assert expected in text
    assert 'class="jx-flag"' in data["text/html"]
    assert data["text/plain"].startswith("<LFTable: ")


def test_hostile_names_and_texts_are_shown_as_text():
    names = [HOSTILE, "b"]
    texts = pd.DataFrame({HOSTILE: [HOSTILE], "x": [1]}, index=[HOSTILE])
    view = LFTable(matrix([[0, 1]], names), [0], frame=texts, classes=[HOSTILE, "c"], columns=[HOSTILE, "x"])
    view.selected = HOSTILE
    assert HOSTILE in assert_self_contained(view.static_html())


def test_a_thousand_functions_stay_small_and_can_all_be_found(many):
    many.selected = "a rather long name of a function, number 999"
    assert len(many._detail["rows"]) == PAGE_SIZE
    assert state_size(many) <= MAX_STATE_BYTES
    assert len(many.static_html().encode()) <= MAX_STATE_BYTES
    assert 50 < len(many._rows) < 1_000
    assert "more functions are in .table" in assert_self_contained(many.static_html())

    many._sort = {"by": "conflicts", "falling": True}
    most = many.table["conflicts"].sort_values(ascending=False)
    assert many._rows[0]["conflicts"] == pytest.approx(most.iloc[0], rel=1e-3)
    assert many._rows[-1]["conflicts"] == pytest.approx(most.iloc[len(many._rows) - 1], rel=1e-3)
    many._query = "Number 77"
    assert sorted(line["place"] for line in many._rows) == [77, *range(770, 780)]
    assert state_size(many) <= MAX_STATE_BYTES


def test_a_million_rows_open_at_once():
    random = np.random.default_rng(7)
    items = np.tile(np.arange(1_000_000), 3)
    voters = np.repeat(np.arange(3), 1_000_000)
    votes = VoteMatrix.from_columns(
        items, voters, random.integers(0, 2, 3_000_000), 1_000_000, ["a", "b", "c"], 2, kind="function"
    )
    view = LFTable(votes, frame=pd.DataFrame({"text": pd.Series(["t"]).repeat(1_000_000).array}))
    view.selected = "a"
    assert view._detail["n_conflicts"] == pytest.approx(750_000, rel=0.01)
    view._page = 30_000
    assert len(view._detail["rows"]) == PAGE_SIZE
    assert state_size(view) <= MAX_STATE_BYTES
