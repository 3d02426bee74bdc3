from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, agreement

_ = -1
#: Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C: 4 observers, 12 units, classes 1 to 5.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T


def by_definition(dense: np.ndarray) -> float:
    """The coincidence matrix, pair by pair."""
    k = dense.max() + 1
    coincidences = np.zeros((k, k))
    for unit in dense:
        votes = unit[unit >= 0]
        for one, other in itertools.permutations(range(len(votes)), 2):
            coincidences[votes[one], votes[other]] += 1 / (len(votes) - 1)
    n_c, n = coincidences.sum(axis=1), coincidences.sum()
    observed = n - np.trace(coincidences)
    expected = (n * n - (n_c**2).sum()) / (n - 1)
    return 1 - observed / expected


def test_the_published_answer():
    result = agreement(PUBLISHED)
    assert round(result.value, 3) == 0.743
    assert result.n_items == 11
    assert result.low < result.value < result.high <= 1


def test_it_is_the_definition():
    random = np.random.default_rng(1)
    for _round in range(5):
        dense = random.integers(-1, 4, size=(40, 5))
        assert agreement(dense, n_bootstrap=1).value == pytest.approx(by_definition(dense))


def test_full_agreement_is_one_and_full_disagreement_is_negative():
    assert agreement([[0, 0], [1, 1], [2, 2]]).value == 1.0
    assert agreement([[0, 1], [1, 0], [0, 1], [1, 0]]).value < 0


def test_the_interval_holds_what_chance_gives():
    """Null: voters who throw coins. The 95 % interval leaves out the truth, 0, in about 5 % of the cases."""
    random = np.random.default_rng(2)
    missed = 0
    for _round in range(200):
        result = agreement(random.integers(0, 3, size=(100, 4)), n_bootstrap=200)
        missed += not result.low <= 0 <= result.high
    assert missed <= 24  # P(binomial(200, 0.05) > 24) < 1e-4, and the bootstrap is a little too narrow


def test_the_interval_finds_agreement():
    """Power: voters who are right nine times of ten agree far beyond chance."""
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, size=300)
    dense = np.where(random.random((300, 3)) < 0.9, truth[:, None], 1 - truth[:, None])
    result = agreement(dense)
    # Two such voters agree with probability .82 and by chance with .5.
    assert result.low < (0.82 - 0.5) / 0.5 < result.high
    assert result.low > 0.4


def test_items_with_one_vote_tell_nothing():
    assert agreement([[0, 0], [1, 1], [0, 1], [0, -1], [-1, -1]])[:1] == agreement([[0, 0], [1, 1], [0, 1]])[:1]


def test_where_nothing_can_be_told_it_is_nan():
    result = agreement([[0, -1], [-1, 1]])
    assert math.isnan(result.value)
    assert result.n_items == 0


def test_one_class_only_is_full_agreement():
    assert agreement([[0, 0], [0, 0]])[:3] == (1.0, 1.0, 1.0)


def test_it_takes_a_vote_matrix_and_is_the_same_every_time():
    votes = VoteMatrix.from_dense(PUBLISHED)
    assert agreement(votes) == agreement(PUBLISHED)


@pytest.mark.parametrize(
    ("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_the_published_answers_at_each_level(level, value):
    """Krippendorff's own four answers for his data."""
    assert agreement(PUBLISHED, level=level, n_bootstrap=10).value == pytest.approx(value, abs=0.0005)


@pytest.mark.parametrize(("metric", "value"), [("percent", 0.81818), ("fleiss", 0.76117), ("gwet", 0.77544)])
def test_the_published_answers_of_other_metrics(metric, value):
    """K. L. Gwet, Handbook of Inter-Rater Reliability, 4th edition (2014): the same data, five classes."""
    classes = np.where(PUBLISHED > 0, PUBLISHED - 1, -1)
    result = agreement(classes, metric=metric)
    assert result.value == pytest.approx(value, abs=0.00001)
    assert result.low < result.value < result.high
    assert result.n_items == 11


def test_kappa_of_two():
    """The worked example of the method: 20 yes-yes, 5 and 10 apart, 15 no-no gives 0.4."""
    votes = [[0, 0]] * 20 + [[0, 1]] * 5 + [[1, 0]] * 10 + [[1, 1]] * 15
    assert agreement(votes, metric="cohen").value == pytest.approx(0.4)
    assert agreement([*votes, [0, -1]], metric="cohen").n_items == 50


def test_weighted_kappa_forgives_near_misses():
    near, far = [[0, 0], [1, 1], [2, 2], [0, 1]], [[0, 0], [1, 1], [2, 2], [0, 2]]
    for level in ("ordinal", "interval"):
        values = [agreement(votes, metric="cohen", level=level).value for votes in (near, far)]
        assert values[0] > values[1]


def test_bad_arguments():
    with pytest.raises(Invalid, match="no metric 'kappa'; there are krippendorff, percent, cohen"):
        agreement(PUBLISHED, metric="kappa")
    with pytest.raises(Invalid, match="no level 'fine'"):
        agreement(PUBLISHED, level="fine")
    with pytest.raises(Invalid, match="knows no 'ratio' level"):
        agreement(PUBLISHED, metric="fleiss", level="ratio")
    with pytest.raises(Invalid, match="two voters, not 4"):
        agreement(PUBLISHED, metric="cohen")
    with pytest.raises(Invalid, match="confidence"):
        agreement(PUBLISHED, confidence=95)
