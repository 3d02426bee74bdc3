from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.labeling import VoteMatrix, fit_label_model
from jupyter_ext.labeling.models.ebcc import EBCC


def people(n: int = 600, seed: int = 0):
    """Two people who are mostly right, and three who are at a loss on one kind of row and good on the other."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n)
    hard = random.random(n) < 0.5
    accuracy = np.where(hard[:, None], [0.9, 0.8, 0.4, 0.4, 0.4], [0.9, 0.8, 0.9, 0.9, 0.9])
    wrong = (truth[:, None] + random.integers(1, 3, (n, 5))) % 3
    return truth, VoteMatrix.from_dense(
        np.where(random.random((n, 5)) < accuracy, truth[:, None], wrong), kind="person"
    )


def test_finds_who_is_reliable():
    truth, votes = people()
    model = fit_label_model(votes, method="ebcc")
    majority = fit_label_model(votes, method="majority")
    assert (model.predict(votes) == truth).mean() > (majority.predict(votes) == truth).mean()
    assert model.predict_proba(votes).sum(axis=1) == pytest.approx(1.0)
    assert not model.collapsed


def test_the_same_seed_gives_the_same_model_and_more_starts_no_worse_a_bound():
    _, votes = people(200)
    silent = np.zeros(5, dtype=bool)
    one = EBCC(votes, symbol=silent, n_restarts=1)
    np.testing.assert_array_equal(
        one.predict_proba(votes), EBCC(votes, symbol=silent, n_restarts=1).predict_proba(votes)
    )
    assert EBCC(votes, symbol=silent, n_restarts=4).report.log_likelihood >= one.report.log_likelihood


def test_the_bound_does_not_fall_as_the_fit_goes_on():
    _, votes = people(200)
    silent = np.zeros(5, dtype=bool)
    bounds = [
        EBCC(votes, symbol=silent, n_restarts=1, max_iterations=rounds).report.log_likelihood
        for rounds in (2, 4, 8, 16)
    ]
    assert bounds == sorted(bounds)


def test_known_answers_hold():
    truth, votes = people(100)
    gold = np.full(100, -1)
    gold[:30] = truth[:30]
    model = fit_label_model(votes, method="ebcc", gold=gold)
    assert model.params["n_gold"] == 30
    assert (model.predict(votes)[:30] == truth[:30]).mean() > 0.9


def test_explains_a_row_by_what_each_voter_adds():
    _, votes = people(200)
    table = fit_label_model(votes, method="ebcc").explain(votes, 0)
    assert set(table["voter"]) == {"(prior)", *votes.voters}
    winner = table.attrs["label"]
    voted = table[table["voter"] != "(prior)"]
    assert (voted.loc[voted["vote"] == winner, "weight"] > 0).all()
