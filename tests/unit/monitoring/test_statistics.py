"""Each statistic: closed form, false alarms when nothing moved, power when something did."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from jupyter_ext.monitoring.cells import MEASURES, cells_test, population_stability_index
from jupyter_ext.monitoring.ranks import (
    Places,
    doane_edges,
    ks_distance,
    ks_p_value,
    ks_test,
    ks_threshold,
    mass_of,
    places_of,
    sample_distance,
    wasserstein_test,
)
from jupyter_ext.monitoring.statistics import deals, q_values, rejection_level, simulated_test


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def sample(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.sort(rng.normal(size=n))


@pytest.mark.parametrize(("n", "m"), [(10, 10), (7, 100), (250, 300), (40, 41)])
def test_ks_is_scipys_exact_test_on_small_samples(n: int, m: int) -> None:
    rng = np.random.default_rng(n * m)
    x, y = np.sort(rng.integers(0, 30, n).astype(float)), np.sort(rng.integers(0, 35, m).astype(float))
    expected = stats.ks_2samp(x, y, method="exact")
    distance = ks_distance(x, y)
    assert distance == pytest.approx(expected.statistic, abs=1e-12)
    assert ks_p_value(distance, n, m) == pytest.approx(expected.pvalue, rel=1e-9)


def test_ks_is_scipys_asymptotic_test_on_large_samples() -> None:
    rng = np.random.default_rng(1)
    x, y = sample(rng, 20_000), sample(rng, 5_000) + 0.02
    expected = stats.ks_2samp(x, y, method="asymp")
    assert ks_distance(x, y) == pytest.approx(expected.statistic, abs=1e-12)
    assert ks_p_value(ks_distance(x, y), 20_000, 5_000) == pytest.approx(expected.pvalue, rel=1e-4)


@pytest.mark.parametrize(("n", "m", "step"), [(30, 40, 10 / 1_200), (5_000, 800, 1e-4)])
def test_a_ks_distance_at_its_threshold_is_the_least_significant_one(n: int, m: int, step: float) -> None:
    threshold = ks_threshold(0.05, n, m)
    assert threshold is not None
    assert ks_test(threshold + 1e-9, n, m).p_value <= 0.05
    assert ks_test(threshold - step, n, m).p_value > 0.05


def test_missing_rows_lie_below_every_number() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert ks_distance(values[2:], values, x_below=2, y_below=0) == 0.5
    assert ks_distance(values[:0], values, x_below=5, y_below=0) == 1.0


def test_three_rows_a_side_can_never_alarm_and_say_so() -> None:
    outcome = ks_test(1.0, 3, 3)
    assert outcome.threshold(0.05) is None
    assert outcome.p_value == pytest.approx(0.1)


def test_ties_are_counted_exactly_on_few_rows() -> None:
    """Against all C(10, 4) = 210 ways to deal ten tied values to the two sides."""
    pooled = np.array([0.0, 0, 0, 1, 1, 1, 1, 2, 2, 5])
    distances = []
    for chosen in itertools.combinations(range(10), 4):
        others = np.setdiff1d(np.arange(10), chosen)
        distances.append(ks_distance(pooled[list(chosen)], pooled[others]))
    places = places_of(pooled[:4], pooled[4:])
    for found in sorted(set(distances)):
        share = np.mean(np.array(distances) >= found - 1e-12)
        assert ks_p_value(found, 4, 6, places) == pytest.approx(share), found


@pytest.mark.parametrize("shares", [[0.5, 0.3, 0.1, 0.1], [1 / 240] * 240, [0.5] + [0.005] * 100, [0.9, 0.05, 0.05]])
def test_the_law_of_ties_is_that_of_a_bridge_looked_at_between_them(shares: list[float]) -> None:
    steps = np.array(shares)
    walk = np.cumsum(np.random.default_rng(1).normal(size=(20_000, len(steps))) * np.sqrt(steps), axis=1)
    reached = np.abs(walk - np.cumsum(steps) * walk[:, -1:]).max(axis=1)
    n = 1_000_000
    rows = np.rint(2 * n * steps).astype(np.int64)
    places = Places(np.cumsum(rows), rows)
    for level in (0.1, 0.05, 0.01):
        critical = float(np.quantile(reached, 1 - level))
        found = ks_p_value(critical * np.sqrt(2 / n), n, n, places)
        assert found == pytest.approx(level, abs=4 * np.sqrt(level / 20_000)), level
    outcome = ks_test(0.01, n, n, places)
    threshold = outcome.threshold(0.05)
    assert threshold is not None
    assert ks_p_value(threshold, n, n, places) == pytest.approx(0.05, rel=1e-3)


def test_chi2_is_scipys_contingency_test(rng: np.random.Generator) -> None:
    reference, current = np.array([300, 120, 80]), np.array([2_900, 1_300, 900])
    expected = stats.chi2_contingency([reference, current], correction=False)
    outcome = cells_test("chi2", reference, current, rng)
    assert outcome.statistic == pytest.approx(expected.statistic)
    assert outcome.p_value == pytest.approx(expected.pvalue)
    assert outcome.threshold(0.05) == pytest.approx(stats.chi2.isf(0.05, 2))
    likelihood = stats.chi2_contingency([reference, current], correction=False, lambda_="log-likelihood")
    assert cells_test("g_test", reference, current, rng).statistic == pytest.approx(likelihood.statistic)


def test_distances_of_counts_are_scipys(rng: np.random.Generator) -> None:
    reference, current = np.array([30, 0, 50, 20]), np.array([5, 5, 20, 10])
    p, q = reference / 100, current / 40
    found = {name: float(measure(reference * 1.0, current * 1.0)) for name, measure in MEASURES.items()}
    assert found["jensen_shannon"] == pytest.approx(distance.jensenshannon(p, q, base=2))
    assert found["hellinger"] == pytest.approx(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2))
    assert found["tvd"] == pytest.approx(np.abs(p - q).sum() / 2)


def test_wasserstein_is_scipys(rng: np.random.Generator) -> None:
    x, y = np.sort(rng.normal(size=500)), np.sort(rng.integers(0, 4, 300).astype(float))
    expected = stats.wasserstein_distance(x, y)
    assert sample_distance(x, y) == pytest.approx(expected)
    assert wasserstein_test(mass_of(x, y), 2.0, rng).statistic == pytest.approx(expected / 2, rel=2e-3)
    assert wasserstein_test(mass_of(x[:99], y[:60]), 1.0, rng).statistic == pytest.approx(
        stats.wasserstein_distance(x[:99], y[:60])
    )


def test_psi_of_two_cells_by_hand() -> None:
    index = population_stability_index(np.array([8_000, 2_000]), np.array([6_000, 4_000]))
    assert index == pytest.approx((0.8 - 0.6) * np.log(0.8 / 0.6) + (0.2 - 0.4) * np.log(0.2 / 0.4), rel=1e-3)


@pytest.mark.parametrize(("method", "power"), [("psi", 1.0), ("jensen_shannon", 0.5), ("hellinger", 0.5)])
def test_thresholds_follow_the_sample_sizes(method: str, power: float, rng: np.random.Generator) -> None:
    small, large = (cells_test(method, np.full(10, n), np.full(10, n), rng).threshold(0.05) for n in (100, 1_000_000))
    assert large == pytest.approx(small / 10_000**power)
    few = cells_test("psi", np.full(10, 10), np.full(10, 10), rng).threshold(0.05)
    assert few == pytest.approx(stats.chi2.isf(0.05, 9) * 2 / 100, rel=0.1)
    assert few > 0.25, "a hundred rows show more than the customary alarm limit by chance"


def test_a_simulated_tail_goes_on_where_the_draws_end(rng: np.random.Generator) -> None:
    """The root of a chi-square: its p-values far out, from 999 draws, within a factor of three on the log scale."""
    law = stats.chi(4)
    for seed in range(5):
        draws = law.rvs(999, random_state=seed)
        for level in (1e-3, 1e-5):
            found = simulated_test(float(law.isf(level)), draws, 500, 500)
            assert level / 20 < found.p_value < level * 30
            threshold = found.threshold(level)
            assert threshold is not None
            assert simulated_test(threshold, draws, 500, 500).p_value == pytest.approx(level)


def test_every_deal_is_as_likely_as_another(rng: np.random.Generator) -> None:
    found = deals(2, 3, 20_000, rng)
    assert (found.sum(axis=1) == 2).all()
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 10
    assert stats.chisquare(counts).pvalue > 1e-3


def test_three_rows_a_side_have_no_rare_permutation(rng: np.random.Generator) -> None:
    outcome = cells_test("tvd", np.array([3, 0]), np.array([0, 3]), rng)
    assert outcome.threshold(0.01) is None
    assert outcome.p_value >= 0.05


def test_doanes_bins_are_numpys(rng: np.random.Generator) -> None:
    values = np.sort(rng.normal(size=1_000))
    assert doane_edges(values).tolist() == np.histogram_bin_edges(values, "doane").tolist()


def test_power_against_a_shift_of_a_third_of_a_deviation() -> None:
    rng = np.random.default_rng(3)
    detected = sum(
        ks_p_value(ks_distance(sample(rng, 500), sample(rng, 500) + 1 / 3), 500, 500) <= 0.05 for _ in range(60)
    )
    assert detected >= 57


def test_the_error_of_sketches_is_allowed_for() -> None:
    exact, sketched = ks_test(0.02, 50_000, 50_000), ks_test(0.02, 50_000, 50_000, error=0.015)
    assert exact.p_value < 1e-6
    assert sketched.p_value > 0.3
    assert sketched.threshold(0.05) == pytest.approx(exact.threshold(0.05) + 0.015)


@pytest.mark.parametrize("correction", ["bh", "by"])
def test_q_values_are_scipys(correction: str) -> None:
    p_values = np.random.default_rng(0).random(50) ** 2
    assert q_values(p_values, correction) == pytest.approx(stats.false_discovery_control(p_values, method=correction))


@pytest.mark.parametrize("correction", ["bh", "by", "bonferroni", "none"])
def test_p_below_its_level_is_the_same_as_q_below_alpha(correction: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        p_values = rng.random(30) ** rng.integers(1, 6)
        level = rejection_level(p_values, 0.1, correction)
        assert list(q_values(p_values, correction) <= 0.1) == list(p_values <= level)


def test_no_feature_to_correct_is_no_error() -> None:
    assert q_values(np.array([])).shape == (0,)
    assert rejection_level(np.array([]), 0.05) == 0.05
