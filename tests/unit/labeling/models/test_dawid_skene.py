from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.labeling import VoteMatrix, fit_label_model


def simulate(n: int, confusions: list[np.ndarray], prior: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes and votes; column k of a confusion matrix (if it has one) is silence."""
    random = np.random.default_rng(seed)
    k = len(prior)
    truth = random.choice(k, size=n, p=prior)
    votes = np.empty((n, len(confusions)), dtype=int)
    for j, confusion in enumerate(confusions):
        drawn = (random.random((n, 1)) > confusion.cumsum(axis=1)[truth]).sum(axis=1)
        votes[:, j] = np.where(drawn == k, -1, drawn)
    return truth, votes


GOOD = np.array([[0.9, 0.1], [0.15, 0.85]])
WEAK = np.array([[0.6, 0.4], [0.4, 0.6]])
LIAR = np.array([[0.2, 0.8], [0.75, 0.25]])


def test_it_finds_the_confusion_matrices_it_was_simulated_from():
    truth, votes = simulate(20_000, [GOOD, GOOD, WEAK, LIAR, GOOD], [0.7, 0.3])
    model = fit_label_model(votes, method="dawid_skene", missing="missing")
    for voter, confusion in zip(model.voters, [GOOD, GOOD, WEAK, LIAR, GOOD], strict=True):
        np.testing.assert_allclose(model.confusion(voter)[:, :2], confusion, atol=0.03)
    np.testing.assert_allclose(model.class_prior_, [0.7, 0.3], atol=0.02)
    assert model.report.converged
    majority = fit_label_model(votes, method="majority")
    assert (model.predict(votes) == truth).mean() > (majority.predict(votes) == truth).mean() + 0.03


def test_probabilities_are_calibrated():
    truth, votes = simulate(20_000, [GOOD, WEAK, GOOD], [0.5, 0.5], seed=1)
    proba = fit_label_model(votes, method="dawid_skene", missing="missing").predict_proba(votes)[:, 1]
    for low in (0.0, 0.3, 0.6, 0.9):
        inside = (proba >= low) & (proba < low + 0.1)
        if inside.sum() > 300:
            assert truth[inside].mean() == pytest.approx(proba[inside].mean(), abs=0.05)


def test_the_posterior_is_bayes_theorem():
    """Closed form: with the fitted parameters, by hand, cell by cell."""
    _, votes = simulate(500, [GOOD, np.array([[0.5, 0.1, 0.4], [0.1, 0.7, 0.2]]), WEAK], [0.6, 0.4], seed=2)
    for missing in ("symbol", "missing"):
        model = fit_label_model(votes, method="dawid_skene", missing=missing)
        theta = [model.confusion(voter) for voter in model.voters]
        joint = np.tile(model.class_prior_, (len(votes), 1))
        for j in range(votes.shape[1]):
            silent = votes[:, j] < 0
            joint[~silent] *= theta[j][:, votes[~silent, j]].T
            if missing == "symbol":
                joint[silent] *= theta[j][:, -1]
        covered = (votes >= 0).any(axis=1)
        expected = joint / joint.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.predict_proba(votes)[covered], expected[covered], atol=1e-9)
        if missing == "symbol":
            np.testing.assert_allclose([t.sum(axis=1) for t in theta], 1, atol=0.01)


def test_the_likelihood_never_falls():
    _, votes = simulate(300, [GOOD, WEAK, WEAK], [0.5, 0.5], seed=3)
    from jupyter_ext.labeling.models.dawid_skene import DawidSkene

    matrix = VoteMatrix.from_dense(votes)
    symbol = np.zeros(3, dtype=bool)
    reached = [
        DawidSkene(matrix, symbol=symbol, max_iterations=n, smoothing=1e-9).report.log_likelihood for n in range(2, 30)
    ]
    assert (np.diff(reached) >= -1e-6).all()


def test_voters_who_guess_tell_nothing():
    """Null: with coins for voters the fit is no better than a coin, and says nothing else about the true class."""
    random = np.random.default_rng(4)
    truth, votes = random.integers(0, 2, 3000), random.integers(0, 2, (3000, 5))
    model = fit_label_model(votes, method="dawid_skene", missing="missing")
    assert (model.predict(votes) == truth).mean() == pytest.approx(0.5, abs=0.04)


def test_silence_of_functions_is_a_symbol_and_of_people_is_not():
    functions = VoteMatrix.from_dense([[0, 1], [1, -1], [0, 0], [1, 1]], voters=["f", "g"])
    people = VoteMatrix.from_triples([0, 1, 2], ["ana"] * 3, [0, 1, 0], n_items=4)
    model = fit_label_model(VoteMatrix.concat([functions, people]), method="dawid_skene")
    assert model.params["silence_is_a_symbol"] == [True, True, False]


def test_known_answers_and_a_known_prior_are_held():
    _, votes = simulate(400, [GOOD, WEAK], [0.5, 0.5], seed=5)
    gold = np.full(400, -1)
    gold[:50] = 1 - np.maximum(votes[:50, 0], 0)
    with_gold = fit_label_model(votes, method="dawid_skene", gold=gold, class_prior=[0.25, 0.75], missing="missing")
    without = fit_label_model(votes, method="dawid_skene", class_prior=[0.25, 0.75], missing="missing")
    assert with_gold.class_prior_.tolist() == pytest.approx([0.25, 0.75])
    # 50 rows say that voter 0 is always wrong; the fit trusts it less.
    first = with_gold.voters[0]
    assert with_gold.confusion(first)[0, 0] < without.confusion(first)[0, 0]
    assert with_gold.params["n_gold"] == 50


def test_an_explanation_adds_up_to_the_log_odds():
    _, votes = simulate(500, [GOOD, np.array([[0.5, 0.1, 0.4], [0.1, 0.7, 0.2]]), WEAK], [0.6, 0.4], seed=6)
    for missing in ("symbol", "missing"):
        model = fit_label_model(votes, method="dawid_skene", missing=missing)
        silent = int(np.flatnonzero(votes[:, 1] < 0)[0])
        for i in (0, silent):
            proba = model.predict_proba(votes)[i]
            table = model.explain(votes, i)
            assert table["weight"].sum() == pytest.approx(np.log(proba.max() / proba.min()))
            assert table["weight"].abs().is_monotonic_decreasing


def test_it_says_when_it_collapses():
    # Two keyword functions that never meet: with silence read as missing, one class explains everything.
    votes = np.full((200, 3), -1)
    votes[:100, 0], votes[100:, 1] = 0, 1
    votes[:20, 2], votes[100:160, 2] = 1, 1
    with pytest.warns(UserWarning, match="COLLAPSED: class 0"):
        model = fit_label_model(votes, method="dawid_skene", missing="missing", class_prior=[0.001, 0.999])
    assert model.collapsed
    assert "COLLAPSED" in str(model.report)


def test_votes_that_the_fit_never_saw_tell_nothing():
    model = fit_label_model([[0, 0], [1, 1], [0, 1]], n_classes=3, method="dawid_skene", missing="missing")
    assert model.predict([[2, 1]]).tolist() == model.predict([[-1, 1]]).tolist()
