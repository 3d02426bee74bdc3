from __future__ import annotations

import time

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, select
from jupyter_ext.labeling.selecting import _STRATEGIES, _badge, _pool

_ = -1
RANDOM = np.random.default_rng(0)
PROBA = RANDOM.dirichlet([1, 1, 1], size=200)
VOTES = RANDOM.integers(-1, 3, size=(200, 4))
VECTORS = RANDOM.normal(size=(200, 8))


def all_inputs(strategy):
    # core_set chooses among rows without a vote, so it gets votes on a few.
    votes = np.where(np.arange(200)[:, None] < 20, VOTES, -1)
    return {"pred_probs": PROBA, "votes": votes if strategy == "core_set" else VOTES, "embeddings": VECTORS}


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_distinct_rows_and_the_same_ones_each_time(strategy):
    rows = select(50, strategy, **all_inputs(strategy))
    assert rows.shape == (50,)
    assert np.issubdtype(rows.dtype, np.integer)
    assert len(set(rows.tolist())) == 50
    assert rows.min() >= 0
    assert rows.max() < 200
    assert rows.tolist() == select(50, strategy, **all_inputs(strategy)).tolist()
    assert set(rows.tolist()) != set(select(50, strategy, **all_inputs(strategy), random_state=1).tolist())


@pytest.mark.parametrize("strategy", [name for name in _STRATEGIES if name != "core_set"])
def test_all_rows_can_be_asked_for(strategy):
    assert sorted(select(200, strategy, **all_inputs(strategy))) == list(range(200))


@pytest.mark.parametrize(
    ("strategy", "best"), [("least_confidence", [2, 1, 3]), ("margin", [1, 3, 2]), ("entropy", [2, 1, 3])]
)
def test_uncertainty(strategy, best):
    proba = [[0.98, 0.01, 0.01], [0.48, 0.47, 0.05], [0.4, 0.35, 0.25], [0.5, 0.47, 0.03]]
    if strategy == "margin":
        best = [1, 3, 2]  # gaps .01, .03, .05
    assert select(3, strategy, pred_probs=proba, random_fraction=0).tolist() == best


def test_vote_disagreement_is_the_entropy_of_a_rows_votes():
    votes = [[0, 0, 0], [0, 1, 2], [0, 0, 1], [1, _, _], [_, _, _]]
    assert select(2, "vote_disagreement", votes=votes, random_fraction=0).tolist() == [1, 2]


def test_rows_that_look_alike_are_taken_by_chance():
    flat = np.full((1000, 2), 0.5)
    rows = select(100, "entropy", pred_probs=flat, random_fraction=0)
    assert 350 < rows.mean() < 650  # not the first hundred


def test_density_prefers_the_crowd_to_the_outlier():
    proba = np.full((50, 2), 0.5)
    vectors = np.tile([1.0, 0.1], (50, 1))
    vectors[7] = [-1.0, 0.0]
    assert 7 not in select(49, "density", pred_probs=proba, embeddings=vectors, random_fraction=0)


def test_core_set_covers_the_clusters():
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    vectors = np.repeat(centres, 25, axis=0) + RANDOM.normal(scale=0.1, size=(100, 2))
    assert sorted(select(4, "core_set", embeddings=vectors, random_fraction=0) // 25) == [0, 1, 2, 3]
    # Two clusters have labels already.
    votes = np.full((100, 1), -1)
    votes[[0, 30]] = 1
    assert sorted(select(2, "core_set", votes=votes, embeddings=vectors, random_fraction=0) // 25) == [2, 3]
    with pytest.raises(Invalid, match="Only 98 rows have no vote yet; 99 are asked for"):
        select(99, "core_set", votes=votes, embeddings=vectors, random_fraction=0)


def test_badge_takes_large_gradients_of_different_directions():
    # Half of the rows are sure (a small gradient), the others are in four far clusters.
    proba = np.repeat([[0.999, 0.001], [0.6, 0.4]], 100, axis=0)
    vectors = np.repeat(np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]], 25, axis=0)
    seeds = range(20)
    rows = [select(4, "badge", proba, None, vectors, 0, seed) for seed in seeds]
    # The first is a large one; three more are drawn by squared distance, which small ones have half as much of.
    assert all(each[0] >= 100 for each in rows)
    assert np.mean([(each >= 100).mean() for each in rows]) > 0.6
    assert all(len({*(each % 100 // 25)[each >= 100]}) == (each >= 100).sum() for each in rows)
    # Once every direction is there, the rest is equal to something chosen.
    proba = np.full((200, 2), 0.5)
    assert len(set(select(10, "badge", pred_probs=proba, embeddings=vectors))) == 10


def test_badge_never_makes_the_gradients_but_measures_them_right():
    """The distances by factors are those of the outer products."""
    seen = []

    class Fixed:
        def choice(self, size, p):
            seen.append(p)
            return int(np.argmax(p))

    pool = _pool(PROBA, None, VECTORS)
    rows = _badge(pool, 3, np.ones(200, bool), Fixed())
    residual = PROBA - np.eye(3)[PROBA.argmax(axis=1)]
    gradients = np.einsum("nk,nd->nkd", residual, VECTORS).reshape(200, -1)
    assert rows[0] == (gradients**2).sum(axis=1).argmax()
    nearest = np.min([((gradients - gradients[row]) ** 2).sum(axis=1) for row in rows[:2]], axis=0)
    assert seen[-1] == pytest.approx(nearest / nearest.sum(), abs=1e-12)


class TestActiveLab:
    def ranked(self, votes, proba):
        return select(len(proba), "active_lab", pred_probs=proba, votes=votes, random_fraction=0).tolist()

    def test_relabel_or_new(self):
        agreed = [[0, 0, 0], [1, 1, 1]] * 20
        votes = np.array([*agreed, [0, 1, _], [0, 0, 0], [_, _, _], [_, _, _]])
        proba = np.array([[0.9, 0.1], [0.1, 0.9]] * 20 + [[0.5, 0.5], [0.9, 0.1], [0.55, 0.45], [0.97, 0.03]])
        ranked = self.ranked(votes, proba)
        conflict, agreed_on, unsure, sure = 40, 41, 42, 43
        assert set(ranked[:2]) == {conflict, unsure}
        # One that three people and the model agree on comes after a new one that only the model is sure of.
        assert ranked.index(sure) < ranked.index(agreed_on)

    def test_a_vote_of_a_poor_voter_settles_less(self):
        random = np.random.default_rng(1)
        truth = random.integers(0, 2, 300)
        votes = np.stack([truth, truth, truth, random.integers(0, 2, 300)], axis=1)
        proba = np.where(truth[:, None] == [0, 1], 0.8, 0.2)
        votes = np.concatenate([votes, [[0, _, _, _], [_, _, _, 0]]])
        proba = np.concatenate([proba, [[0.7, 0.3], [0.7, 0.3]]])
        ranked = self.ranked(votes, proba)
        assert ranked.index(301) < ranked.index(300)

    def test_one_vote_a_row(self):
        votes = np.array([[0], [1], [1], [_]])
        proba = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.8, 0.2]])
        assert self.ranked(votes, proba)[0] == 2  # the model contradicts

    def test_no_vote_at_all_is_least_confidence(self):
        votes = VoteMatrix.from_dense(np.full((3, 2), -1))
        assert self.ranked(votes, [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]) == [1, 2, 0]

    def test_one_class_only_is_no_division_by_zero(self):
        assert sorted(self.ranked([[0, 0], [0, 0]], [[0.9, 0.1], [0.6, 0.4]])) == [0, 1]


def test_the_random_part_is_a_sample_of_all_rows():
    sure = np.repeat([[0.5, 0.5], [1.0, 0.0]], 500, axis=0)
    rows = select(400, "entropy", pred_probs=sure, random_fraction=0.5)
    assert (rows[:200] < 500).all()
    assert 70 < (rows[200:] < 500).sum() < 130
    assert (select(10, "entropy", pred_probs=sure, random_fraction=0) < 500).all()


def test_many_rows_in_time():
    random = np.random.default_rng(0)
    proba, vectors = random.dirichlet([1] * 10, size=50_000), random.normal(size=(50_000, 64))
    start = time.process_time()
    select(20, "badge", pred_probs=proba, embeddings=vectors)
    select(20, "core_set", embeddings=vectors)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "best"}, "no strategy 'best'; there are random, least_confidence, margin, entropy"),
        ({"strategy": "badge", "embeddings": None}, "'badge' needs embeddings"),
        ({"strategy": "active_lab", "votes": None, "pred_probs": None}, "needs pred_probs and votes"),
        ({"strategy": "random", "votes": None, "pred_probs": None, "embeddings": None}, "no rows to choose from"),
        ({"n": 201}, "from 1 to the number of rows, 200, not 201"),
        ({"n": 0}, "from 1 to"),
        ({"n": 2.5}, "whole number"),
        ({"embeddings": VECTORS[:3]}, "pred_probs has 200, votes has 200, embeddings has 3"),
        ({"pred_probs": np.where(np.eye(200, 3) > 0, np.nan, PROBA)}, "pred_probs holds NaN"),
        ({"embeddings": np.full((200, 2), np.inf)}, "embeddings holds NaN or infinity"),
        ({"embeddings": VECTORS[:, 0]}, "two dimensions"),
        ({"pred_probs": PROBA * 2}, "add up to 1"),
        ({"pred_probs": PROBA[:, :2] / PROBA[:, :2].sum(axis=1, keepdims=True)}, "votes have 3 classes, pred_probs"),
        ({"random_fraction": 1.5}, "random_fraction must be from 0 to 1"),
    ],
)
def test_bad_input(arguments, message):
    given = {"n": 5, "strategy": "margin", "pred_probs": PROBA, "votes": VOTES, "embeddings": VECTORS, **arguments}
    with pytest.raises(Invalid, match=message):
        select(**given)
