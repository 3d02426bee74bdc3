from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.dependencies import _adjusted, find_correlated, find_repeats, vote_weights


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


@pytest.mark.parametrize(
    ("n", "k", "good", "weak", "noise"),
    [(5000, 2, 0.75, 0.6, 0.05), (5000, 2, 0.75, 0.6, 0.1), (1000, 2, 0.75, 0.6, 0.05), (5000, 3, 0.65, 0.45, 0.05)],
)
def test_noisy_copies_are_found_though_they_outnumber_the_good(n, k, good, weak, noise):
    for seed in range(3):
        _, L = voters(n, np.array([good] * 5 + [weak]), k, seed=seed)
        random = np.random.default_rng(seed)
        other = (L[:, [5]] + random.integers(1, k, (n, 5))) % k
        L = np.column_stack([L, np.where(random.random((n, 5)) < noise, other, L[:, [5]])])
        weights = vote_weights(L)
        assert (weights[:5] == 1).all()
        assert weights[5:].sum() < 1.6


def test_copies_that_abstain_by_themselves_are_found():
    _, L = voters(20_000, np.array([0.75] * 5 + [0.6]))
    random = np.random.default_rng(0)
    L = np.column_stack([L, np.where(random.random((len(L), 5)) < 0.05, 1 - L[:, [5]], L[:, [5]])])
    assert {name for pair in pairs(np.where(random.random(L.shape) < 0.5, L, -1)) for name in pair} == set(range(5, 11))


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


@pytest.mark.parametrize("n", [1, 2, 50])
def test_p_values_are_adjusted_as_scipy_does(n):
    p_values = np.random.default_rng(n).random(n) ** 4
    np.testing.assert_allclose(_adjusted(p_values), false_discovery_control(p_values, method="by"))


def some_matrices() -> list[np.ndarray]:
    """Draw small matrices of every odd shape: no row, no voter, one of either, one vote, no overlap, one class."""
    random = np.random.default_rng(0)
    matrices = []
    for n, m, coverage in product((0, 1, 3, 30), (0, 1, 2, 5), (0.1, 1.0)):
        L = np.where(random.random((n, m)) < coverage, random.integers(0, 4, (n, m)), -1)
        apart = np.arange(n)[:, None] % max(m, 1) == np.arange(m)
        matrices += [
            L,
            np.full_like(L, -1),
            np.where(L >= 0, 0, -1),
            np.where(apart, L, -1),
            np.repeat(L[:, :1], m, axis=1),
        ]
    return matrices


@pytest.mark.parametrize("most_cells", [4000, 1])
@pytest.mark.parametrize("kind", ["function", "person"])
def test_no_odd_matrix_breaks_it(monkeypatch, kind, most_cells):
    monkeypatch.setattr("jupyter_ext.labeling.dependencies._MOST_CELLS", most_cells)
    for L in some_matrices():
        votes = VoteMatrix.from_dense(L, n_classes=4, kind=kind)
        table, weights = find_correlated(votes), vote_weights(votes)
        assert np.isfinite(table["excess"]).all()
        assert weights.shape == (votes.shape[1],)
        assert ((weights > 0) & (weights <= 1)).all()
        assert find_repeats(votes).weights.shape == weights.shape


def with_copies(n: int = 3000) -> np.ndarray:
    """Draw five good voters, and one that four others repeat with some noise."""
    _, L = voters(n, np.array([0.8, 0.8, 0.75, 0.75, 0.7, 0.6]))
    flipped = np.random.default_rng(1).random((n, 4)) < 0.03
    return np.column_stack([L, np.where(flipped, 1 - L[:, [5]], L[:, [5]])])


def test_what_a_fit_needs_to_know_of_repeats():
    found = find_repeats(VoteMatrix.from_dense(with_copies()))
    assert {j for pair in found.pairs for j in pair} == set(range(5, 10))
    assert (found.weights[:5] == 1).all()
    assert found.weights[5:] == pytest.approx(0.2, abs=0.01)
    (note,) = found.notes
    assert note.startswith("voter_5, voter_6, voter_7, voter_8 and voter_9 repeat each other (excess 0.8")
    assert "each counts 0.2" in note
    assert find_repeats(VoteMatrix.from_dense(with_copies()[:, :6])).notes == ()


def test_a_note_names_only_some_of_many():
    _, L = voters(2000, np.full(6, 0.75))
    (note,) = find_repeats(VoteMatrix.from_dense(np.column_stack([L, *[L[:, 0]] * 9]))).notes
    assert "voter_0, voter_6, voter_7, voter_8, voter_9, voter_10 and 4 others repeat each other" in note


def test_people_are_not_counted_less():
    L = with_copies()
    people = VoteMatrix.from_dense(L[:, 7:], [f"p{j}" for j in range(3)], kind="person")
    assert find_repeats(people).weights.tolist() == [1.0] * 3
    both = VoteMatrix.concat([people, VoteMatrix.from_dense(L[:, :7])])
    found = find_repeats(both)
    assert found.pairs == ((8, 9),)
    assert found.weights == pytest.approx([1.0] * 8 + [0.5] * 2, abs=0.02)
    assert found.notes[0].startswith("voter_5 and voter_6 repeat each other")


def test_a_fit_looks_at_a_sample_and_not_at_too_much(monkeypatch):
    votes = VoteMatrix.from_dense(with_copies(20_000))
    all_rows = find_repeats(votes)
    monkeypatch.setattr("jupyter_ext.labeling.dependencies._SAMPLE_PRODUCTS", 0)
    monkeypatch.setattr("jupyter_ext.labeling.dependencies._LEAST_ROWS", 2000)
    some_rows = find_repeats(votes)
    assert some_rows.pairs == all_rows.pairs
    assert some_rows.notes != all_rows.notes
    assert some_rows.weights == pytest.approx(all_rows.weights, abs=0.02)
    monkeypatch.setattr("jupyter_ext.labeling.dependencies._MOST_WORK", 100.0)
    given_up = find_repeats(votes)
    assert given_up.pairs == ()
    assert given_up.weights.tolist() == [1.0] * 10
    assert given_up.notes == (
        "Voters that repeat each other were not looked for: 10 voters and 2 classes are too many.",
    )


def test_many_classes_go_class_by_class(monkeypatch):
    _, L = voters(5000, np.linspace(0.6, 0.8, 8), k=4)
    L = np.column_stack([L, L[:, 2]])
    monkeypatch.setattr("jupyter_ext.labeling.dependencies._MOST_CELLS", 10)
    assert pairs(L, 4) == {(2, 8)}


def test_a_million_rows(tell):
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
    tell(f"1,000,000 rows, 100 voters: {time.perf_counter() - started:.1f} s")
    assert table[["voter", "other"]].to_numpy().tolist() == [["v0", "v99"]]
