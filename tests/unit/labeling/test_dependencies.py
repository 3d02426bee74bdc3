from __future__ import annotations

import time

import numpy as np
import pytest

from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.dependencies import find_correlated, vote_weights


def keywords(
    n: int, prior: tuple[float, ...], coverage: tuple[float, float], each: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw functions that vote for one class only, ``each`` a class, independent given the true class."""
    random = np.random.default_rng(seed)
    truth = random.choice(len(prior), n, p=prior)
    columns = []
    for c in np.repeat(np.arange(len(prior)), each):
        covers, right = np.exp(random.uniform(*np.log(coverage))), random.uniform(0.6, 0.98)
        inside, outside = covers * right / prior[c], covers * (1 - right) / (1 - prior[c])
        fires = random.random(n) < np.minimum(np.where(truth == c, inside, outside), 0.97)
        columns.append(np.where(fires, c, -1))
    return truth, np.stack(columns, axis=1)


def voters(
    n: int, accuracies: np.ndarray, k: int = 2, coverage: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw voters of all classes, independent given the true class."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    shape = (n, len(accuracies))
    wrong = (truth[:, None] + random.integers(1, k, shape)) % k
    said = np.where(random.random(shape) < accuracies, truth[:, None], wrong)
    return truth, np.where(random.random(shape) < coverage, said, -1)


def pairs(L: np.ndarray, n_classes: int = 2, **options: float) -> set[tuple[int, int]]:
    table = find_correlated(VoteMatrix.from_dense(L, n_classes=n_classes), **options)
    return {(int(a[6:]), int(b[6:])) for a, b in zip(table["voter"], table["other"], strict=True)}


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.9, 0.1), (0.97, 0.03), (0.6, 0.3, 0.1)])
@pytest.mark.parametrize("coverage", [(0.005, 0.02), (0.005, 0.6), (0.1, 0.6)])
@pytest.mark.parametrize(("n", "each"), [(2000, 3), (20_000, 8)])
def test_keywords_of_one_class_are_no_copies_of_each_other(prior, coverage, n, each):
    for seed in range(2):
        _, L = keywords(n, prior, coverage, each, seed)
        assert pairs(L, len(prior), threshold=0.05) == set()


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.9, 0.1), (0.6, 0.3, 0.1)])
@pytest.mark.parametrize("coverage", [(0.01, 0.03), (0.05, 0.6)])
def test_a_noisy_copy_of_a_keyword_is_found(prior, coverage):
    for seed in range(3):
        _, L = keywords(20_000, prior, coverage, 8, seed)
        copied = 3 + 4 * seed
        copy = np.where(np.random.default_rng(seed).random(len(L)) < 0.1, -1, L[:, copied])
        found = pairs(np.column_stack([L, copy]), len(prior))
        assert found == {(copied, L.shape[1])}


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("coverage", [1.0, 0.6])
@pytest.mark.parametrize("n", [500, 20_000])
def test_good_voters_are_no_copies_of_each_other(k, coverage, n):
    for seed in range(2):
        _, L = voters(n, np.linspace(0.55, 0.95, 8), k, coverage, seed)
        assert pairs(L, k, threshold=0.05) == set()


def test_copies_of_a_bad_voter_are_found_though_they_outnumber_the_good():
    _, L = voters(5000, np.array([0.8] * 5 + [0.55]))
    L = np.column_stack([L, L[:, [5, 5, 5, 5]]])
    table = find_correlated(L)
    assert len(table) == 10
    assert set(table["voter"]) | set(table["other"]) == {f"voter_{j}" for j in range(5, 10)}
    assert table["excess"].to_numpy() == pytest.approx(1.0)
    assert set(table["cluster"]) == {0}
    assert vote_weights(L) == pytest.approx([1.0] * 5 + [0.2] * 5)


def test_the_weight_falls_with_the_strength_of_the_dependence():
    _, L = voters(10_000, np.linspace(0.65, 0.85, 8))
    random = np.random.default_rng(1)
    weights = []
    for kept in (0.0, 0.4, 0.6, 0.8, 1.0):
        copy = np.where(random.random(len(L)) < kept, L[:, 0], random.integers(0, 2, len(L)))
        weights.append(vote_weights(np.column_stack([L, copy]))[-1])
    assert weights[0] == 1.0
    assert weights[-1] == pytest.approx(0.5)
    assert np.all(np.diff(weights) <= 0)
    assert len({round(weight, 3) for weight in weights}) >= 4


def test_a_pattern_within_a_broad_one_loses_weight_and_the_broad_one_keeps_it():
    _, L = keywords(20_000, (0.6, 0.4), (0.05, 0.3), 6)
    within = np.where(np.random.default_rng(2).random(len(L)) < 0.1, L[:, 0], -1)
    weights = vote_weights(np.column_stack([L, within]))
    assert weights[-1] == pytest.approx(0.5, abs=0.05)
    assert weights[0] > 0.9
    assert (weights[1:-1] == 1).all()


def test_people_who_get_the_same_batches_are_no_copies():
    """Each pair of people sees rows that hardly anybody else sees; what counts is how they vote there."""
    _, L = voters(6000, np.linspace(0.7, 0.9, 6), coverage=1.0)
    batch = np.arange(len(L)) // 1000
    hidden = np.stack([(batch + j) % 6 > 3 for j in (0, 0, 1, 2, 3, 4)], axis=1)
    L = np.where(hidden, -1, L)
    rows, columns = np.nonzero(L >= 0)
    asked = VoteMatrix.from_triples(rows, [f"p{j}" for j in columns], L[rows, columns], 2, n_items=len(L))
    assert find_correlated(asked).empty
    L[:, 1] = np.where(np.random.default_rng(3).random(len(L)) < 0.05, 1 - L[:, 0], L[:, 0])
    L[hidden[:, 1], 1] = -1
    asked = VoteMatrix.from_triples(rows, [f"p{j}" for j in columns], L[rows, columns], 2, n_items=len(L))
    assert find_correlated(asked)[["voter", "other"]].to_numpy().tolist() == [["p0", "p1"]]


def test_hardly_any_overlap_tells_nothing():
    L = np.full((1000, 6), -1)
    L[:5, 0] = L[:5, 1] = 1
    L[5:400, 2:5] = 0
    assert (0, 1) not in pairs(L)
    assert (0, 1) in pairs(L, min_overlap=3)


@pytest.mark.parametrize("L", [np.full((5, 3), -1), np.zeros((5, 1), int), np.zeros((0, 3), int)])
def test_nothing_to_compare(L):
    table = find_correlated(L)
    assert table.columns.tolist() == ["voter", "other", "excess", "p_value", "cluster"]
    assert table.empty
    assert vote_weights(L).tolist() == [1.0] * L.shape[1]


def test_many_classes_go_class_by_class(monkeypatch):
    _, L = voters(5000, np.linspace(0.6, 0.8, 8), k=4)
    L = np.column_stack([L, L[:, 2]])
    monkeypatch.setattr("jupyter_ext.labeling.dependencies._MOST_CELLS", 10)
    assert pairs(L, 4) == {(2, 8)}


def test_a_million_rows_take_seconds():
    random = np.random.default_rng(0)
    n, m = 1_000_000, 100
    truth = random.integers(0, 2, n)
    rows = [np.unique(random.integers(0, n, 20_000)) for _ in range(m)]
    rows[-1] = rows[0]
    classes = [np.where(random.random(len(some)) < 0.8, truth[some], 1 - truth[some]) for some in rows]
    classes[-1] = classes[0]
    columns = np.repeat(np.arange(m), [len(some) for some in rows])
    votes = VoteMatrix.from_columns(
        np.concatenate(rows), columns, np.concatenate(classes), n, [f"v{j}" for j in range(m)], 2, kind="function"
    )
    started = time.perf_counter()
    table = find_correlated(votes)
    assert time.perf_counter() - started < 20
    assert table[["voter", "other"]].to_numpy().tolist() == [["v0", "v99"]]
