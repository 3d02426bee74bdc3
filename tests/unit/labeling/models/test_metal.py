from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.models.majority import MajorityVote, class_sums
from jupyter_ext.labeling.models.metal import MeTaL, _columns, _Objective

ACCURACIES = (0.9, 0.8, 0.75, 0.7, 0.65, 0.6)
UNEQUAL = (0.9, 0.75, 0.5, 0.45, 0.4, 0.4)


def voters(
    n: int,
    prior: tuple[float, ...] = (0.5, 0.5),
    accuracies: tuple[float, ...] = ACCURACIES,
    coverage: float = 0.7,
    seed: int = 0,
) -> tuple[np.ndarray, VoteMatrix]:
    random = np.random.default_rng(seed)
    k = len(prior)
    truth = random.choice(k, n, p=prior)
    shape = (n, len(accuracies))
    wrong = (truth[:, None] + random.integers(1, k, shape)) % k
    said = np.where(random.random(shape) < accuracies, truth[:, None], wrong)
    return truth, VoteMatrix.from_dense(np.where(random.random(shape) < coverage, said, -1), n_classes=k)


def right(model, votes, truth) -> float:
    covered = votes.covered
    return float((model.predict(votes) == truth)[covered].mean())


@pytest.mark.parametrize(
    ("prior", "accuracies"),
    [
        ((0.5, 0.5), ACCURACIES),
        ((0.7, 0.3), ACCURACIES),
        ((0.4, 0.35, 0.25), UNEQUAL),
        ((1 / 3, 1 / 3, 1 / 3), UNEQUAL),
        ((1 / 3, 1 / 3, 1 / 3), ACCURACIES),
    ],
)
def test_finds_the_accuracies_and_votes_as_well_as_who_knows_them(prior, accuracies):
    truth, votes = voters(30_000, prior, accuracies)
    model = MeTaL(votes, class_prior=np.array(prior))
    for voter, accuracy in zip(model.voters, accuracies, strict=True):
        confusion = model.confusion(voter)
        np.testing.assert_allclose(np.diag(confusion[:, :-1]) / 0.7, accuracy, atol=0.06)
        np.testing.assert_allclose(confusion[:, -1], 0.3, atol=0.06)
        np.testing.assert_allclose(confusion.sum(axis=1), 1, atol=0.06)
    chances = np.array(accuracies)
    weights = np.log(chances * (len(prior) - 1) / (1 - chances))
    best = (class_sums(votes.rows, len(prior), weights[votes.rows.indices]) + np.log(prior)).argmax(axis=1)
    covered = votes.covered
    known, majority = (best == truth)[covered].mean(), right(MajorityVote(votes), votes, truth)
    assert right(model, votes, truth) > known - 0.003
    # Where the optimum itself is no better than the majority, MeTaL can't be.
    if known > majority + 0.005:
        assert right(model, votes, truth) > majority + 0.005
    else:
        assert right(model, votes, truth) > majority - 0.001
    assert model.report.converged
    assert model.report.notes == ()
    assert not model.collapsed
    np.testing.assert_allclose(model.report.class_balance, prior, atol=0.05)


@pytest.mark.parametrize("prior", [(0.4, 0.35, 0.25), (1 / 3, 1 / 3, 1 / 3)])
def test_with_many_rows_the_start_pulls_no_longer(prior):
    _, votes = voters(300_000, prior, UNEQUAL)
    model = MeTaL(votes, class_prior=np.array(prior))
    found = np.array([np.diag(model.confusion(voter)[:, :-1]) / 0.7 for voter in model.voters])
    np.testing.assert_allclose(found, np.repeat(np.array(UNEQUAL)[:, None], 3, axis=1), atol=0.015)


@pytest.mark.parametrize(("n", "coverage"), [(300, 0.1), (1000, 0.1)])
@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.7, 0.3)])
def test_few_sparse_votes_are_read_no_worse_than_by_the_majority(n, coverage, prior):
    gains = []
    for seed in range(5):
        truth, votes = voters(n, prior, coverage=coverage, seed=seed)
        gains.append(right(MeTaL(votes), votes, truth) - right(MajorityVote(votes), votes, truth))
    assert np.mean(gains) > -0.01


def test_functions_of_one_class_each():
    random = np.random.default_rng(4)
    truth = random.choice(2, 20_000, p=[0.8, 0.2])
    columns = []
    for c, inside, outside in [
        (0, 0.3, 0.1),
        (0, 0.2, 0.02),
        (0, 0.1, 0.05),
        (1, 0.4, 0.02),
        (1, 0.2, 0.1),
        (1, 0.1, 0),
    ]:
        columns.append(np.where(random.random(len(truth)) < np.where(truth == c, inside, outside), c, -1))
    votes = VoteMatrix.from_dense(np.stack(columns, axis=1))
    model = MeTaL(votes, class_prior=np.array([0.8, 0.2]))
    assert model.confusion("voter_3")[1, 1] == pytest.approx(0.4, abs=0.06)
    assert model.confusion("voter_4")[0, 1] == pytest.approx(0.1, abs=0.03)
    assert right(model, votes, truth) >= right(MajorityVote(votes), votes, truth)


def test_copies_of_a_bad_voter_are_masked():
    random = np.random.default_rng(1)
    truth, good = voters(10_000, accuracies=(0.8, 0.8, 0.75, 0.75, 0.7, 0.55), coverage=1.0)
    L = good.to_dense()
    copies = np.where(random.random((len(L), 4)) < 0.03, 1 - L[:, [5]], L[:, [5]])
    votes = VoteMatrix.from_dense(np.column_stack([L, copies]))
    model = MeTaL(votes)
    among = {name for pair in model.params["correlated"] for name in pair}
    assert among == {f"voter_{j}" for j in range(5, 10)}
    assert len(model.params["correlated"]) == 10
    assert "repeat each other" in model.report.notes[0]
    assert not model.collapsed
    np.testing.assert_allclose(
        [model.confusion(voter)[0, 0] for voter in model.voters],
        [0.8, 0.8, 0.75, 0.75, 0.7] + [0.55] * 5,
        atol=0.06,
    )
    assert right(model, votes, truth) > right(MajorityVote(votes), votes, truth) + 0.1
    assert right(model, votes, truth) > right(MeTaL(votes, correlated=[]), votes, truth) + 0.1


def test_the_gradient_is_that_of_the_loss():
    random = np.random.default_rng(2)
    together = random.random((6, 6))
    together = (together + together.T) / 2
    apart = np.kron(~np.eye(3, dtype=bool), np.ones((2, 2), dtype=bool))
    start = random.random((6, 2)) + 0.1
    objective = _Objective(together, apart, np.array([0.3, 0.7]), start, 0.5)
    for _ in range(3):
        at = random.random(12) * 2
        expected = approx_fprime(at, lambda x: objective(x)[0], 1e-7)
        np.testing.assert_allclose(objective(at)[1], expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_the_paper():
    random = np.random.default_rng(3)
    together, start, mu = random.random((4, 4)), random.random((4, 2)), random.random((4, 2))
    together = (together + together.T) / 2
    prior, apart = np.array([0.4, 0.6]), np.kron(~np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool))
    share = np.diag(together)
    expected = (((together - mu @ np.diag(prior) @ mu.T) * apart) ** 2).sum()
    expected += ((mu @ prior - share) ** 2).sum() + 0.5 * ((mu - start) ** 2).sum()
    loss, _ = _Objective(together, apart, prior, start, 0.5)((mu / start).ravel())
    assert loss * (share**2).sum() == pytest.approx(expected)


def test_columns_are_exchanged_only_among_classes_of_one_share():
    of_class, share = np.array([0, 1, 2, 0, 1, 2]), np.full(6, 0.3)
    right_order = np.tile(np.eye(3) * 0.6 + 0.1, (2, 1))
    shuffled = right_order[:, [2, 0, 1]]
    equal = np.full(3, 1 / 3)
    assert (shuffled[:, _columns(shuffled, share, of_class, equal)] == right_order).all()
    assert _columns(shuffled, share, of_class, np.array([0.2, 0.3, 0.5])).tolist() == [0, 1, 2]
    swapped = right_order[:, [1, 0, 2]]
    assert _columns(swapped, share, of_class, np.array([0.25, 0.25, 0.5])).tolist() == [1, 0, 2]


def test_the_weights_of_a_row_add_up_to_its_log_odds():
    _, votes = voters(2000, (0.5, 0.3, 0.2))
    model = MeTaL(votes)
    proba = model.predict_proba(votes)
    for i in np.flatnonzero(votes.covered)[:20]:
        table = model.explain(votes, i)
        first, second = table.attrs["label"], table.attrs["against"]
        odds = np.log(proba[i, first] / proba[i, second])
        assert table["weight"].sum() == pytest.approx(odds)
        assert len(table) == 1 + (votes.to_dense()[i] >= 0).sum()


def test_a_vote_that_was_never_seen_tells_nothing():
    _, votes = voters(2000)
    L = votes.to_dense()
    L[L[:, 0] == 1, 0] = -1
    model = MeTaL(VoteMatrix.from_dense(L))
    rows = np.full((2, 6), -1)
    rows[:, 1] = 1
    rows[1, 0] = 1
    proba = model.predict_proba(rows)
    np.testing.assert_allclose(proba[0], proba[1])
    assert set(model.explain(rows, 1)["voter"]) == {"(prior)", "voter_0", "voter_1"}
    assert model.predict(np.full((1, 6), -1)).tolist() == [-1]


def test_known_answers_give_the_shares_and_the_start():
    truth, votes = voters(3000, (0.9, 0.1), coverage=0.3)
    gold = np.where(np.arange(len(truth)) % 10 == 0, truth, -1)
    model = MeTaL(votes, gold=gold)
    assert model.class_prior_ == pytest.approx(np.bincount(gold[gold >= 0]) / 300)
    assert model.params["n_gold"] == 300
    assert right(model, votes, truth) > right(MeTaL(votes), votes, truth)
    # A liar is known as such by the answers alone.
    L = votes.to_dense()
    L[:, 2] = np.where(L[:, 2] >= 0, 1 - truth, -1)
    liar = MeTaL(VoteMatrix.from_dense(L), gold=gold).confusion("voter_2")
    assert liar[0, 1] > liar[0, 0]
    few = np.where(np.arange(len(truth)) < 29, truth, -1)
    assert MeTaL(votes, gold=few).class_prior_ == pytest.approx(MeTaL(votes).class_prior_)


def test_a_matrix_with_hardly_any_vote_keeps_the_start():
    L = np.full((10, 3), -1)
    L[0, 1] = 1
    model = MeTaL(VoteMatrix.from_dense(L))
    assert model.predict(L).tolist() == [1] + [-1] * 9


def test_a_fit_is_the_same_each_time():
    _, votes = voters(1000)
    np.testing.assert_array_equal(MeTaL(votes).mu_, MeTaL(votes).mu_)


def test_what_it_refuses():
    with pytest.raises(Invalid, match="three voters at least, not 2"):
        MeTaL(VoteMatrix.from_dense([[0, 1], [1, 1]]))
    _, votes = voters(100)
    with pytest.raises(Invalid, match="no voter 'nobody'"):
        MeTaL(votes, correlated=[("voter_0", "nobody")])
    rows = np.repeat(np.arange(4000), 3)
    wide = VoteMatrix.from_columns(
        rows, np.tile(np.arange(3), 4000), rows, 4000, ["a", "b", "c"], 4000, kind="function"
    )
    with pytest.raises(Invalid, match=r"needs 3.5 GB for 12000 pairs"):
        MeTaL(wide)
