from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.labeling import VoteMatrix, fit_label_model


def people(n: int = 400, accuracies: tuple[float, ...] = (0.9, 0.8, 0.4, 0.4, 0.4), seed: int = 0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n)
    right = random.random((n, len(accuracies))) < accuracies
    wrong = (truth[:, None] + random.integers(1, 3, right.shape)) % 3
    return truth, VoteMatrix.from_dense(np.where(right, truth[:, None], wrong), kind="person")


def test_finds_who_is_reliable():
    truth, votes = people()
    model = fit_label_model(votes, method="ibcc")
    majority = fit_label_model(votes, method="majority")
    assert (model.predict(votes) == truth).mean() > (majority.predict(votes) == truth).mean()
    confusion = [np.diag(model.confusion(voter)).mean() for voter in votes.voters]
    assert confusion[0] > confusion[1] > max(confusion[2:])
    assert model.report.converged


def test_the_prior_steadies_voters_with_one_vote():
    votes = VoteMatrix.from_triples([0, 0, 0, 1], ["a", "b", "c", "d"], [1, 1, 0, 0])
    model = fit_label_model(votes, method="ibcc")
    assert model.predict(votes).tolist() == [1, 0]
    assert 0.5 < model.predict_proba(votes)[1, 0] < 0.99


def test_known_answers_and_a_known_prior_count():
    _, votes = people(50)
    gold = np.full(50, -1)
    gold[:10] = 2
    model = fit_label_model(votes, method="ibcc", gold=gold, class_prior=[0.2, 0.2, 0.6])
    assert model.class_prior_ == pytest.approx([0.2, 0.2, 0.6])
    assert model.params["n_gold"] == 10


def test_functions_that_are_silent_tell_something():
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 2000)
    fires = random.random((2000, 4)) < np.where(truth == 1, 0.6, 0.05)[:, None]
    votes = VoteMatrix.from_dense(np.where(fires, 1, -1), n_classes=2)
    proba = fit_label_model(votes, method="ibcc").predict_proba(votes)[:, 1]
    silent = ~votes.covered
    assert proba[votes.to_dense().max(axis=1) == 1].mean() > 0.5
    assert silent.any()
