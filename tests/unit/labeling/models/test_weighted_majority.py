from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from jupyter_ext.labeling import VoteMatrix, fit_label_model
from jupyter_ext.labeling.dependencies import Repeats
from jupyter_ext.labeling.models.weighted_majority import WeightedMajority


def voters(n: int = 1000, accuracies: tuple[float, ...] = (0.95, 0.55, 0.55, 0.55, 0.55), seed: int = 0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, n)
    right = random.random((n, len(accuracies))) < accuracies
    return truth, VoteMatrix.from_dense(np.where(right, truth[:, None], 1 - truth[:, None]))


def test_the_better_voter_counts_more():
    truth, votes = voters(accuracies=(0.95, 0.8, 0.6, 0.6, 0.6))
    model = fit_label_model(votes, method="weighted_majority")
    majority = fit_label_model(votes, method="majority")
    assert (model.predict(votes) == truth).mean() > (majority.predict(votes) == truth).mean() + 0.02
    assert model.weights_.argmax() == 0
    assert model.report.converged


def test_known_answers_tell_who_is_better_where_voters_alone_do_not():
    truth, votes = voters()
    gold = np.where(np.arange(len(truth)) < 300, truth, -1)
    blind, told = (fit_label_model(votes, method="weighted_majority", gold=known) for known in (None, gold))
    assert (told.predict(votes)[300:] == truth[300:]).mean() > (blind.predict(votes)[300:] == truth[300:]).mean()
    assert told.weights_.argmax() == 0


@pytest.mark.parametrize("class_prior", [None, [0.5, 0.3, 0.2]])
def test_the_balance_is_that_of_the_rows_that_have_votes(class_prior):
    random = np.random.default_rng(0)
    truth = random.choice(3, 2000, p=[0.5, 0.3, 0.2])
    dense = np.where(random.random((2000, 4)) < 0.7, truth[:, None], random.integers(0, 3, (2000, 4)))
    dense[random.random((2000, 4)) < 0.6] = -1
    gold = np.where(np.arange(2000) < 100, 2 - truth, -1)
    model = fit_label_model(dense, method="weighted_majority", class_prior=class_prior, gold=gold)
    # Answers against the votes don't keep the labels of the others from settling.
    assert model.report.converged
    covered = (dense >= 0).any(axis=1)
    np.testing.assert_allclose(model.report.class_balance, model.predict_proba(dense)[covered].mean(axis=0))


def test_a_fit_takes_no_table_of_rows_by_classes():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2000, 20_000)
    dense = np.where(random.random((20_000, 5)) < 0.7, truth[:, None], random.integers(0, 2000, (20_000, 5)))
    votes = VoteMatrix.from_dense(dense, n_classes=2000)
    tracemalloc.start()
    try:
        WeightedMajority(votes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000  # such a table is 320 MB


def with_copies(n: int = 4000, seed: int = 0):
    """Draw five functions that are right with 0.75, one with 0.6, and five noisy copies of that one."""
    truth, votes = voters(n, (0.75,) * 5 + (0.6,), seed)
    L = votes.to_dense()
    flipped = np.random.default_rng(seed).random((n, 5)) < 0.05
    return truth, L, np.column_stack([L, np.where(flipped, 1 - L[:, [5]], L[:, [5]])])


def test_copies_weigh_together_what_one_would():
    truth, alone, copied = with_copies()
    model = fit_label_model(copied, method="weighted_majority")
    right = (model.predict(copied) == truth).mean()
    assert right == pytest.approx(
        (fit_label_model(alone, method="weighted_majority").predict(alone) == truth).mean(), abs=0.01
    )
    assert right > (fit_label_model(copied, method="majority").predict(copied) == truth).mean() + 0.2
    assert model.weights_[5:].sum() < model.weights_[:5].min()
    (note,) = model.report.notes
    assert note.startswith("voter_5, voter_6, voter_7, voter_8, voter_9 and voter_10 repeat each other")
    uncounted = WeightedMajority(VoteMatrix.from_dense(copied), repeats=Repeats(np.ones(11)))
    assert (uncounted.predict(copied) == truth).mean() < right - 0.2


def test_explains_a_row_by_weights():
    _, votes = voters()
    model = fit_label_model(votes, method="weighted_majority", class_prior=[0.5, 0.5])
    table = model.explain(votes, 0)
    proba = model.predict_proba(votes)[0]
    assert table["weight"].sum() == pytest.approx(np.log(proba.max() / proba.min()))
