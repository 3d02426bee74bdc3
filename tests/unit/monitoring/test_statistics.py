"""Each statistic: closed form, false alarms when nothing moved, power when something did."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jupyter_ext.monitoring.statistics import (
    chi2_test,
    fold,
    ks_distance,
    ks_p_value,
    ks_test,
    ks_threshold,
    pool,
    population_stability_index,
    psi_test,
    q_values,
    rejection_level,
)


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
    assert ks_p_value(ks_distance(x, y), 20_000, 5_000) == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "step"), [(30, 40, 10 / 1_200), (5_000, 800, 1e-4)])
def test_a_ks_distance_at_its_threshold_is_the_least_significant_one(n: int, m: int, step: float) -> None:
    threshold = ks_threshold(0.05, n, m)
    assert threshold is not None
    assert ks_p_value(threshold + 1e-9, n, m) <= 0.05
    assert ks_p_value(threshold - step, n, m) > 0.05


def test_missing_rows_lie_below_every_number() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert ks_distance(values[2:], values, x_below=2, y_below=0) == 0.5
    assert ks_distance(values[:0], values, x_below=5, y_below=0) == 1.0


def test_three_rows_a_side_can_never_alarm_and_say_so() -> None:
    outcome = ks_test(1.0, 3, 3)
    assert outcome.threshold(0.05) is None
    assert outcome.p_value == pytest.approx(0.1)


def test_chi2_is_scipys_contingency_test() -> None:
    reference, current = np.array([300, 120, 80]), np.array([2_900, 1_300, 900])
    expected = stats.chi2_contingency([reference, current], correction=False)
    outcome = chi2_test(reference, current)
    assert outcome.statistic == pytest.approx(expected.statistic)
    assert outcome.p_value == pytest.approx(expected.pvalue)
    assert outcome.threshold(0.05) == pytest.approx(stats.chi2.isf(0.05, 2))


def test_psi_of_two_cells_by_hand() -> None:
    index = population_stability_index(np.array([8_000, 2_000]), np.array([6_000, 4_000]))
    assert index == pytest.approx((0.8 - 0.6) * np.log(0.8 / 0.6) + (0.2 - 0.4) * np.log(0.2 / 0.4), rel=1e-3)


def test_the_psi_threshold_follows_the_sample_sizes() -> None:
    small, large = (psi_test(np.full(10, n), np.full(10, n)).threshold(0.05) for n in (10, 100_000))
    assert small == pytest.approx(stats.chi2.isf(0.05, 9) * 2 / 100)
    assert large == pytest.approx(small / 10_000)
    assert small > 0.25, "a hundred rows show more than the customary alarm limit by chance"


def test_cells_too_thin_for_the_law_are_joined() -> None:
    reference, current = pool(np.array([100, 1, 1, 1, 90]), np.array([90, 0, 2, 1, 100]))
    assert reference.sum() == 193
    assert current.sum() == 193
    assert len(reference) == 2
    assert [list(side) for side in fold(np.array([1, 1, 50, 50, 1]), np.array([0, 2, 40, 60, 0]))] == [
        [52, 51],
        [42, 60],
    ]


@pytest.mark.parametrize(("n", "m"), [(100, 100), (100, 1_000), (1_000, 1_000), (2_000, 300)])
def test_false_alarms_stay_at_the_level(n: int, m: int) -> None:
    """Each test alarms within two points of 5 %, give or take what 1,000 replicates may miss."""
    rng = np.random.default_rng(20_26 + n + m)
    alarms = {"ks": 0, "psi": 0, "chi2": 0}
    shares = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    for _ in range(1_000):
        x, y = sample(rng, n), sample(rng, m)
        alarms["ks"] += ks_p_value(ks_distance(x, y), n, m) <= 0.05
        deciles = x[(np.arange(1, 10) * n) // 10 - 1]
        cells = [np.diff(np.searchsorted(side, deciles, "right"), prepend=0, append=len(side)) for side in (x, y)]
        alarms["psi"] += psi_test(*fold(*cells)).p_value <= 0.05
        alarms["chi2"] += chi2_test(*pool(rng.multinomial(n, shares), rng.multinomial(m, shares))).p_value <= 0.05
    for method, count in alarms.items():
        assert 0.03 - 0.012 <= count / 1_000 <= 0.07 + 0.012, (method, count)


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
