from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, lf_summary
from jupyter_ext.labeling.analysis import conflicting_rows, wilson_interval


def test_every_column_by_hand():
    votes = VoteMatrix.from_dense([[0, 0, -1], [0, 1, -1], [-1, 1, -1], [-1, -1, -1]], voters=["a", "b", "c"])
    table = lf_summary(votes, gold=[0, 1, -1, 0])
    assert table.index.tolist() == ["a", "b", "c"]
    assert table["polarity"].tolist() == [[0], [0, 1], []]
    assert table["coverage"].tolist() == [0.5, 0.75, 0.0]
    assert table["overlaps"].tolist() == [0.5, 0.5, 0.0]
    assert table["conflicts"].tolist() == [0.25, 0.25, 0.0]
    assert table["correct"].tolist() == [1, 2, 0]
    assert table["incorrect"].tolist() == [1, 0, 0]
    assert table["accuracy"].tolist()[:2] == [0.5, 1.0]
    assert np.isnan(table["accuracy"]["c"])
    assert (table["accuracy_low"]["c"], table["accuracy_high"]["c"]) == (0, 1)


def test_it_is_the_definition():
    dense = np.random.default_rng(0).integers(-1, 3, size=(300, 6))
    table = lf_summary(dense)
    for j in range(6):
        mine = dense[:, j]
        others = np.delete(dense, j, axis=1)
        overlap = (mine >= 0) & (others >= 0).any(axis=1)
        conflict = (mine >= 0) & ((others >= 0) & (others != mine[:, None])).any(axis=1)
        assert table["overlaps"].iloc[j] == overlap.mean()
        assert table["conflicts"].iloc[j] == conflict.mean()


def test_without_gold_there_is_no_accuracy():
    assert list(lf_summary([[0], [1]]).columns) == ["polarity", "coverage", "overlaps", "conflicts", "note"]


def test_what_a_reader_should_be_warned_of_is_noted():
    votes = np.full((40, 4), -1)
    votes[:, 0] = 1
    votes[:30, 1] = 0
    votes[:3, 2] = 0
    votes[0, 2] = 1
    table = lf_summary(votes, gold=[0] * 40)
    assert table["note"].tolist() == [
        "worse than chance",
        "",
        "3 known answers: its accuracy is a guess",
        "it never votes",
    ]
    assert lf_summary(votes)["note"].tolist() == ["", "", "", "it never votes"]


def test_conflicting_rows_say_who_says_otherwise():
    votes = VoteMatrix.from_dense([[0, 0, -1], [0, 1, 1], [1, 1, -1], [-1, 0, 1]], voters=["a", "b", "c"])
    table = conflicting_rows(votes, "a", gold=[0, 1, -1, 1])
    assert table.to_dict("records") == [{"row": 1, "vote": 0, "others": [("b", 1), ("c", 1)], "gold": 1}]
    assert conflicting_rows(votes, "b")["row"].tolist() == [1, 3]
    assert len(conflicting_rows(votes, "b")) == round(lf_summary(votes)["conflicts"]["b"] * 4)


def test_conflicting_rows_of_nobody_are_refused():
    with pytest.raises(Invalid, match="no voter 'd'"):
        conflicting_rows([[0], [1]], "d")


def test_no_votes_is_a_table_of_zeros():
    assert lf_summary([[-1, -1], [-1, -1]])["coverage"].tolist() == [0, 0]


def test_gold_of_another_length_is_refused():
    with pytest.raises(Invalid, match="one entry a row"):
        lf_summary([[0], [1]], gold=[0])


def test_wilsons_interval_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    for rate, n in [(0.5, 30), (0.9, 50), (0.05, 100)]:
        low, high = wilson_interval(random.binomial(n, rate, size=4000), np.full(4000, n))
        assert ((low <= rate) & (rate <= high)).mean() == pytest.approx(0.95, abs=0.025)


def test_wilsons_interval_stays_between_zero_and_one():
    low, high = wilson_interval([0, 5], [5, 5])
    assert (low[0], high[1]) == (0.0, 1.0)
    assert 0 < high[0] < 0.5 < low[1] < 1
