from __future__ import annotations

import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.widgets._ballot import Ballot, unique_classes

CLASSES = ("yes", "no")


def test_keys_are_found_as_they_are_and_by_their_text():
    ballot = Ballot([1, 2], CLASSES)
    assert ballot.check({1: "yes", "2": "no"}) == {1: "yes", 2: "no"}


def test_two_keys_of_the_same_text_are_refused():
    with pytest.raises(Invalid, match=r"more than once: 1\."):
        Ballot([1, 2, "1"], CLASSES)


def test_an_order_asks_only_its_keys_and_in_its_order():
    ballot = Ballot("abcd", CLASSES, order="cab")
    assert ballot.queue == ["c", "a", "b"]
    assert (ballot.place("a"), ballot.place("d")) == (1, None)
    ballot.record({"d": "yes"})
    assert ballot.remaining == ["c", "a", "b"]
    assert ballot.n_labelled == 0


def test_an_order_with_a_key_twice_is_refused():
    with pytest.raises(Invalid, match="more than once"):
        Ballot("abc", CLASSES, order="aba")


def test_an_unknown_key_anywhere_is_named():
    for arguments in ({"order": ["z"]}, {"votes": {"z": "yes"}}):
        with pytest.raises(Invalid, match="no item with the key 'z'"):
            Ballot("abc", CLASSES, **arguments)


def test_a_label_outside_the_classes_is_named_with_them():
    with pytest.raises(Invalid, match=r"'perhaps' is none of the classes: yes, no\."):
        Ballot("abc", CLASSES).check({"a": "perhaps"})


def test_a_mis_shaped_vote_is_refused():
    with pytest.raises(Invalid, match=r"\{key: label\}"):
        Ballot("abc", CLASSES).check([("a", "yes")])


def test_a_changed_mind_replaces_and_undo_goes_back_step_by_step():
    ballot = Ballot("abc", CLASSES, votes={"a": "no"})
    ballot.record({"a": "yes", "b": "yes"})
    ballot.record({"a": "no"})
    assert ballot.counts() == [1, 1]
    assert ballot.undo() == ["a"]
    assert ballot.votes == {"a": "yes", "b": "yes"}
    assert ballot.undo() == ["a", "b"]
    assert ballot.votes == {"a": "no"}
    with pytest.raises(Invalid, match="nothing to undo"):
        ballot.undo()


def test_a_withdrawn_vote_can_be_restored():
    ballot = Ballot("abc", CLASSES, votes={"a": "no"})
    ballot.record({"a": None})
    assert ballot.votes == {}
    ballot.undo()
    assert ballot.votes == {"a": "no"}


def test_the_next_open_item_goes_round_and_ends():
    ballot = Ballot("abc", CLASSES)
    assert [ballot.next_open(place) for place in (-1, 0, 2)] == [0, 1, 0]
    ballot.record({"b": "yes"})
    assert ballot.next_open(0) == 2
    ballot.record({"a": "yes", "c": "no"})
    assert ballot.next_open(1) is None


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a"], "2 to 100 classes"),
        ([str(number) for number in range(101)], "not 101"),
        (["a", "b", "a"], "given twice: a"),
        (["a", ""], "non-empty"),
        (["a", 3], "non-empty text"),
        ("ab", "list of names"),
    ],
)
def test_wrong_classes_are_refused(classes, message):
    with pytest.raises(Invalid, match=message):
        unique_classes(classes)
