from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.labeling import VoteMatrix, fit_label_model


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


def test_explains_a_row_by_weights():
    _, votes = voters()
    model = fit_label_model(votes, method="weighted_majority", class_prior=[0.5, 0.5])
    table = model.explain(votes, 0)
    proba = model.predict_proba(votes)[0]
    assert table["weight"].sum() == pytest.approx(np.log(proba.max() / proba.min()))
