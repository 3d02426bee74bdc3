from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, agreement
from jupyter_ext.labeling.masi import masi_agreement, masi_distance


def matrices(votes) -> list[VoteMatrix]:
    array = np.asarray(votes)
    return [VoteMatrix.from_dense(array[:, :, k], n_classes=2) for k in range(array.shape[2])]


def distance(one: set[int], other: set[int]) -> float:
    """Passonneau 2006, word by word."""
    if one == other:
        return 0.0
    shared = one & other
    alike = 0.0 if not shared else 2 / 3 if one < other or other < one else 1 / 3
    return 1 - len(shared) / len(one | other) * alike


def by_definition(votes: np.ndarray) -> float:
    rows = []
    for row in votes:
        sets = [set(np.flatnonzero(voter == 1)) for voter in row if (voter >= 0).any()]
        if len(sets) >= 2:
            rows.append(sets)
    every = [some for sets in rows for some in sets]
    observed = sum(distance(a, b) / (len(sets) - 1) for sets in rows for a in sets for b in sets) / len(every)
    expected = sum(distance(a, b) for a in every for b in every) / (len(every) * (len(every) - 1))
    return 1 - observed / expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({1, 2}, {1, 2}, 0.0),
        ({1, 2}, {1, 2, 3, 4}, 1 - 2 / 4 * 2 / 3),  # 0.665 in nltk, which rounds 2/3 to 0.67
        ({1, 2, 3}, {1}, 1 - 1 / 3 * 2 / 3),
        ({1, 2}, {2, 3}, 1 - 1 / 3 * 1 / 3),
        ({1}, {2}, 1.0),
        (set(), {1}, 1.0),
        (set(), set(), 0.0),
    ],
)
def test_the_distance_is_the_published_one(one, other, expected):
    assert masi_distance(len(one & other), len(one), len(other)) == pytest.approx(expected)
    assert distance(one, other) == pytest.approx(expected)


def test_alpha_by_hand():
    # {a} {a} | {b} {b} | {a, b} {a}. Observed: 2 * 2/3 over 6 answers. Expected, over 6 * 5 ordered pairs of answers:
    # 3 {a} and 2 {b} at 1, 3 {a} and 1 {a, b} at 2/3, 2 {b} and 1 {a, b} at 2/3.
    votes = [[[1, 0], [1, 0]], [[0, 1], [0, 1]], [[1, 1], [1, 0]]]
    observed, expected = 2 * 2 / 3 / 6, 2 * (6 + 2 + 4 / 3) / 30
    result = masi_agreement(matrices(votes))
    assert result.value == pytest.approx(1 - observed / expected)
    assert result.n_items == 3


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_the_definition(seed):
    random = np.random.default_rng(seed)
    truth = random.random((40, 1, 5)) < 0.4
    votes = np.where(random.random((40, 6, 5)) < 0.8, truth, ~truth).astype(int)
    votes[random.random((40, 6)) < 0.4] = -1  # who didn't see the row
    votes[random.random(votes.shape) < 0.05] = -1  # who left one label open
    assert masi_agreement(matrices(votes)).value == pytest.approx(by_definition(votes))


def test_sets_of_one_are_names():
    """Where each voter chooses exactly one label, MASI is the nominal distance."""
    random = np.random.default_rng(0)
    classes = np.where(random.random((200, 4)) < 0.6, random.integers(0, 3, (200, 1)), random.integers(0, 3, (200, 4)))
    classes[random.random((200, 4)) < 0.3] = -1
    votes = np.where(classes[:, :, None] >= 0, classes[:, :, None] == np.arange(3), -1)
    sets, names = masi_agreement(matrices(votes)), agreement(classes)
    assert sets.value == pytest.approx(names.value)
    assert sets.n_items == names.n_items
    assert (sets.low, sets.high) == pytest.approx((names.low, names.high), abs=0.03)


def test_chance_is_nought_and_the_interval_covers_it():
    random = np.random.default_rng(0)
    outside = 0
    for seed in range(40):
        result = masi_agreement(matrices(random.integers(0, 2, (80, 3, 4))), n_bootstrap=200, random_state=seed)
        assert abs(result.value) < 0.15
        outside += not result.low <= 0 <= result.high
    assert outside <= 6


def test_nothing_to_compare_and_nothing_to_tell_apart():
    alone = masi_agreement(matrices([[[1, 0], [-1, -1]], [[-1, -1], [0, 1]]]))
    assert np.isnan(alone.value)
    assert alone.n_items == 0
    assert masi_agreement(matrices(np.full((3, 2, 2), -1))).n_items == 0
    assert masi_agreement(matrices(np.ones((3, 2, 2), dtype=int))).value == 1.0
    assert masi_agreement(matrices(np.zeros((3, 2, 2), dtype=int))).value == 1.0


def test_many_sets_come_in_parts(monkeypatch):
    random = np.random.default_rng(1)
    votes = matrices(random.integers(0, 2, (60, 5, 8)))
    whole = masi_agreement(votes)
    monkeypatch.setattr("jupyter_ext.labeling.masi._CHUNK_CELLS", 100)
    assert masi_agreement(votes).value == pytest.approx(whole.value)


def test_bad_input_is_refused():
    one = VoteMatrix.from_dense([[0, 1], [1, 1]])
    with pytest.raises(Invalid, match="one label or more"):
        masi_agreement([])
    with pytest.raises(Invalid, match="same rows and voters"):
        masi_agreement([one, VoteMatrix.from_dense([[0, 1]])])
    with pytest.raises(Invalid, match="two classes"):
        masi_agreement([VoteMatrix.from_dense([[0, 2]])])
    with pytest.raises(Invalid, match="between 0 and 1"):
        masi_agreement([one], confidence=1.0)
    with pytest.raises(Invalid, match="one sample"):
        masi_agreement([one], n_bootstrap=0)
