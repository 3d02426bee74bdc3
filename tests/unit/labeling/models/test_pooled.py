from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.models.pooled import fit_pooled


def people(n: int = 300, unlike: float = 0.0, seed: int = 0):
    """Draw 8 people and 6 questions; 4 see each row, and ``unlike`` is how far each varies by question."""
    random = np.random.default_rng(seed)
    truth = (random.random((n, 6)) < random.uniform(0.1, 0.4, 6)).astype(int)
    odds = random.uniform(0.2, 2.5, (8, 1)) + unlike * random.standard_normal((8, 6))
    right = random.random((n, 8, 6)) < 1 / (1 + np.exp(-odds))
    votes = np.where(right, truth[:, None, :], 1 - truth[:, None, :])
    votes[random.permuted(np.tile(np.arange(8), (n, 1)), axis=1) >= 4] = -1
    return truth, votes


def matrices(votes: np.ndarray) -> list[VoteMatrix]:
    return [VoteMatrix.from_dense(votes[:, :, k], n_classes=2, kind="person") for k in range(votes.shape[2])]


def proba(models, votes: np.ndarray) -> np.ndarray:
    return np.stack([model.predict_proba(some)[:, 1] for model, some in zip(models, matrices(votes), strict=True)], 1)


@pytest.mark.parametrize("gold", [False, True])
@pytest.mark.parametrize("class_prior", [None, np.linspace(0.1, 0.4, 6)])
def test_it_is_the_definition(gold, class_prior):
    truth, votes = people(40)
    answers = np.where(np.arange(40)[:, None] < 10, truth, -1) if gold else None
    models = fit_pooled(matrices(votes), gold=answers, class_prior=class_prior, tolerance=1e-12)
    kappa = models[0].params["kappa"]
    q = proba(models, votes)
    if answers is not None:
        q = np.where(answers >= 0, answers, q)
    true = np.stack([1 - q, q], axis=2)
    counts = np.einsum("nlc,njls->jlcs", true, np.stack([votes == 0, votes == 1], axis=3).astype(float))
    mu = counts.sum(axis=1) + np.array([[4, 1], [1, 4]])
    theta = counts + kappa * (mu / mu.sum(axis=2, keepdims=True))[:, None]
    theta /= theta.sum(axis=3, keepdims=True)
    share = (q.sum(axis=0) + 1) / (len(q) + 2) if class_prior is None else class_prior
    for k, model in enumerate(models):
        np.testing.assert_allclose(model.class_prior_, [1 - share[k], share[k]], atol=1e-6)
        for j, voter in enumerate(model.voters):
            np.testing.assert_allclose(model.confusion(voter), np.pad(theta[j, k], [(0, 0), (0, 1)]), atol=1e-6)
    found = proba(models, votes)
    for i, k in np.ndindex(40, 6):
        odds = share[k] / (1 - share[k])
        for j in np.flatnonzero(votes[i, :, k] >= 0):
            odds *= theta[j, k, 1, votes[i, j, k]] / theta[j, k, 0, votes[i, j, k]]
        assert found[i, k] == pytest.approx(odds / (1 + odds), abs=1e-6)


def test_other_questions_count_for_as_much_as_voters_are_alike():
    kappas = [fit_pooled(matrices(people(1000, unlike)[1]))[0].params["kappa"] for unlike in (0.0, 0.6, 2.0)]
    assert kappas[0] == 128.0
    assert kappas[0] > kappas[1] > kappas[2]


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_who_is_reliable(seed):
    truth, votes = people(seed=seed)
    models = fit_pooled(matrices(votes))
    assert all(model.report.converged and not model.collapsed for model in models)
    majority = (votes == 1).sum(axis=1) / (votes >= 0).sum(axis=1)
    assert ((proba(models, votes) > 0.5) == truth).mean() > ((majority > 0.5) == truth).mean() + 0.005


def test_known_answers_and_known_shares_count():
    truth, votes = people(100)
    answers = np.where(np.arange(100)[:, None] < 50, 1 - truth, -1)  # wrong on purpose: everybody is unreliable
    models = fit_pooled(matrices(votes), gold=answers)
    assert models[0].confusion("voter_0")[1, 1] < fit_pooled(matrices(votes))[0].confusion("voter_0")[1, 1]
    models = fit_pooled(matrices(votes), class_prior=np.array([0.0, 1.0, 0.5, 0.5, 0.5, 0.5]))
    assert [model.class_prior_[1] for model in models][:3] == [0.0, 1.0, 0.5]
    np.testing.assert_allclose(proba(models, votes)[:, :2], np.tile([0.0, 1.0], (100, 1)), atol=1e-12)


def test_the_order_of_rows_voters_and_questions_does_not_count():
    _, votes = people(100)
    random = np.random.default_rng(1)
    rows, voters, questions = (random.permutation(size) for size in votes.shape)
    shuffled = votes[rows][:, voters][:, :, questions]
    np.testing.assert_allclose(
        proba(fit_pooled(matrices(shuffled)), shuffled),
        proba(fit_pooled(matrices(votes)), votes)[rows][:, questions],
        atol=1e-9,
    )


def test_explanations_add_up():
    _, votes = people(50)
    models = fit_pooled(matrices(votes))
    for model, matrix in zip(models, matrices(votes), strict=True):
        for i in range(5):
            table = model.explain(matrix, i)
            assert len(table) == 5  # the prior, and the four who voted
            odds = table.attrs["probability"] / (1 - table.attrs["probability"])
            assert table["weight"].sum() == pytest.approx(np.log(odds))


def test_it_says_what_it_gave_up():
    random = np.random.default_rng(0)
    truth = random.random((200, 6)) < 0.2
    truth[:, 0] = False
    # On the first question only the two who say yes at random say it at all.
    votes = np.stack([truth, *(random.random((2, 200, 6)) < 0.45)], axis=1).astype(int)
    models = fit_pooled(matrices(votes))
    assert [model.collapsed for model in models] == [True] + [False] * 5
    assert models[0].given_up[0].startswith("COLLAPSED: class 1 has a share of")
    assert models[0].given_up[0] in str(models[0].report)


def test_bad_input_is_refused():
    one = VoteMatrix.from_dense([[0, 1], [1, 1]])
    with pytest.raises(Invalid, match="no vote matrix"):
        fit_pooled([])
    for other in (VoteMatrix.from_dense([[0, 1]]), VoteMatrix.from_dense([[0, 1], [1, 1]], ["a", "b"])):
        with pytest.raises(Invalid, match="same rows and the same voters"):
            fit_pooled([one, other])
    with pytest.raises(Invalid, match="two classes"):
        fit_pooled([VoteMatrix.from_dense([[0, 2]])])
    with pytest.raises(Invalid, match="no voter 'x'"):
        fit_pooled([one])[0].confusion("x")
