from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.votes import as_gold, as_votes


def random_votes(n: int = 200, m: int = 7, k: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, k, size=(n, m))


def test_dense_votes_come_back():
    dense = random_votes()
    votes = VoteMatrix.from_dense(dense)
    assert votes.shape == (200, 7)
    assert votes.n_classes == 4
    assert votes.n_votes == (dense >= 0).sum()
    np.testing.assert_array_equal(votes.to_dense(), dense)


def test_class_zero_is_a_vote_and_not_silence():
    votes = VoteMatrix.from_dense([[0, -1]])
    assert votes.n_votes == 1
    assert votes.covered.tolist() == [True]


def test_triples_equal_dense():
    dense = random_votes()
    items, voters = np.nonzero(dense >= 0)
    votes = VoteMatrix.from_triples(items, voters, dense[items, voters], n_items=200)
    np.testing.assert_array_equal(votes.to_dense(), dense)
    assert votes.voters == tuple("0123456")


def test_a_later_triple_replaces_an_earlier_one_and_minus_one_withdraws():
    votes = VoteMatrix.from_triples([0, 0, 1, 1], ["a", "a", "a", "a"], [0, 1, 1, -1])
    assert votes.to_dense().tolist() == [[1], [-1]]


def test_concat_keeps_names_kinds_and_the_larger_number_of_classes():
    rules = VoteMatrix.from_dense([[0], [1]], voters=["rule"])
    people = VoteMatrix.from_triples([1], ["ana"], [2], n_items=2)
    both = VoteMatrix.concat([rules, people])
    assert both.voters == ("rule", "ana")
    assert both.kinds == ("function", "person")
    assert both.n_classes == 3
    assert both.to_dense().tolist() == [[0, -1], [1, 2]]


def test_a_column_is_one_voters_votes():
    rows, classes = VoteMatrix.from_dense([[0, -1], [1, 1]], voters=["a", "b"]).column("b")
    assert (rows.tolist(), classes.tolist()) == ([1], [1])


def test_class_counts():
    counts = VoteMatrix.from_dense([[0, 0, 1], [-1, -1, -1], [1, 1, 1]]).class_counts().toarray()
    assert counts.tolist() == [[2, 1], [0, 0], [0, 3]]


def test_patterns_are_the_distinct_rows():
    dense = random_votes(m=2, k=2)
    patterns = VoteMatrix.from_dense(dense).patterns()
    rows = patterns.matrix.toarray() - 1
    assert len({tuple(row) for row in rows}) == len(rows) == len(np.unique(dense, axis=0))
    np.testing.assert_array_equal(rows[patterns.inverse], dense)
    np.testing.assert_array_equal(np.bincount(patterns.inverse), patterns.counts)


def test_patterns_tell_known_answers_apart():
    patterns = VoteMatrix.from_dense([[0], [0], [0]]).patterns(np.array([-1, 0, 1]))
    assert sorted(patterns.counts.tolist()) == [1, 1, 1]


def test_a_million_rows_by_a_hundred_voters_is_held_sparse():
    random = np.random.default_rng(0)
    cells = np.unique(random.integers(0, 100_000_000, 300_000))
    votes = VoteMatrix.from_triples(cells // 100, cells % 100, np.ones(len(cells), int), n_items=1_000_000)
    assert votes.shape == (1_000_000, 100)
    assert votes._stored.data.nbytes + votes._stored.indices.nbytes < 3_000_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([[0, 1], [0]], "not a regular array"),
        ([0, 1], "two dimensions"),
        ([[0, -2]], "no class"),
        ([[0.5, 1.0]], "whole numbers"),
        ([[np.nan, 1.0]], "NaN"),
        ([["spam"]], "whole numbers"),
    ],
)
def test_what_is_no_vote_is_refused(wrong, says):
    with pytest.raises(Invalid, match=says):
        VoteMatrix.from_dense(wrong)


def test_votes_outside_the_classes_are_refused():
    with pytest.raises(Invalid, match="from 0 to 1"):
        VoteMatrix.from_dense([[0, 2]], n_classes=2)
    with pytest.raises(Invalid, match="class 2"):
        as_votes(VoteMatrix.from_dense([[0, 2]]), n_classes=2)


def test_one_class_is_too_few():
    with pytest.raises(Invalid, match="number of classes"):
        VoteMatrix.from_dense([[0]], n_classes=1)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(Invalid, match="one length"):
        VoteMatrix.from_triples([0, 1], ["a"], [0, 1])
    with pytest.raises(Invalid, match="3 columns of votes and 1 names"):
        VoteMatrix.from_dense([[0, 1, 1]], voters=["a"])
    with pytest.raises(Invalid, match="Row numbers"):
        VoteMatrix.from_triples([5], ["a"], [0], n_items=2)
    with pytest.raises(Invalid, match="different numbers of rows"):
        VoteMatrix.concat([VoteMatrix.from_dense([[0]]), VoteMatrix.from_dense([[0], [1]])])


def test_voters_of_one_name_are_refused():
    with pytest.raises(Invalid, match="same name: a"):
        VoteMatrix.from_dense([[0, 1]], voters=["a", "a"])


@pytest.mark.parametrize(
    ("gold", "says"), [([0], "one entry a row"), ([0, 7], "classes 0 to 1"), ([0, -3], "-1 where")]
)
def test_gold_must_fit(gold, says):
    with pytest.raises(Invalid, match=says):
        as_gold(gold, VoteMatrix.from_dense([[0], [1]]))


def test_counting_votes_leaves_the_matrix_as_it_is():
    votes = VoteMatrix.from_dense([[1, 1, -1], [0, -1, 1]])
    assert votes.class_counts().toarray().tolist() == [[0, 2], [1, 1]]
    assert votes.rows.toarray().tolist() == [[2, 2, 0], [1, 0, 2]]
    assert votes.class_counts().toarray().tolist() == [[0, 2], [1, 1]]
