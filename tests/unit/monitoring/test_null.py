"""False alarms: when nothing moves, every test alarms as often as its level says (all of it: benchmarks/monitoring)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jupyter_ext.monitoring import Profile, drift

LEVEL = 0.05
WORDS = np.array(["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "elit", "sed", "tempor", "magna"])


def normal(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(n, k)))


def tied(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    """Counts, numbers half of which are zero, and rounded numbers with gaps."""
    parts = [
        rng.poisson(1.5, (n, k // 3)),
        np.where(rng.random((n, k // 3)) < 0.5, 0.0, rng.exponential(size=(n, k // 3))),
        np.where(rng.random((n, k // 3)) < 0.1, np.nan, rng.normal(size=(n, k // 3)).round(1)),
    ]
    return pd.DataFrame(np.column_stack(parts))


def rare(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    """Categories, some of them of a hundredth of the rows."""
    shares = [0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.01, 0.01]
    return pd.DataFrame(rng.choice(list("abcdefgh"), p=shares, size=(n, k)))


def texts(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    return pd.DataFrame({i: [" ".join(words) for words in rng.choice(WORDS, (n, 7))] for i in range(k)})


def embeddings(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    return pd.DataFrame({i: list(rng.normal(size=(n, 6))) for i in range(k)})


def sides(reference: pd.DataFrame, current: pd.DataFrame) -> Iterator[tuple[str, Any, Any]]:
    profile = Profile.from_bytes(Profile.of(reference).to_bytes())
    yield "frames", reference, current
    yield "profile and frame", profile, current
    yield "profiles", profile, Profile.of(current)


def holds(alarms: int, tests: int) -> bool:
    """Whether so many alarms agree with a level within two points of 5 %; a true one fails once in ten thousand."""
    high = stats.binomtest(alarms, tests, LEVEL + 0.02, "greater").pvalue
    low = stats.binomtest(alarms, tests, LEVEL - 0.02, "less").pvalue
    return bool(min(high, low) > 1e-4)


@pytest.mark.parametrize(
    ("draw", "method"),
    [
        *[(normal, method) for method in ("ks", "psi", "jensen_shannon", "hellinger", "tvd")],
        *[(tied, method) for method in ("ks", "psi", "jensen_shannon")],
        *[(rare, method) for method in ("chi2", "g_test", "psi", "tvd")],
    ],
)
@pytest.mark.parametrize(("n", "m"), [(100, 100), (100, 1_000)])
def test_methods_of_order_and_of_counts(draw: Any, method: Any, n: int, m: int) -> None:
    rng = np.random.default_rng([n, m, len(method)])
    k = 36
    for form, reference, current in sides(draw(rng, n, k), draw(rng, m, k)):
        alarms = int((drift(reference, current, correction="none", methods=method).table["p_value"] <= LEVEL).sum())
        assert holds(alarms, k), (form, alarms, k)


@pytest.mark.parametrize("method", ["ks", "psi", "jensen_shannon", "wasserstein"])
def test_many_rows(method: Any) -> None:
    rng = np.random.default_rng(4)
    k = 12
    for n, m in ((100_000, 100_000), (100_000, 1_000)):
        for form, reference, current in sides(normal(rng, n, k), normal(rng, m, k)):
            alarms = int((drift(reference, current, correction="none", methods=method).table["p_value"] <= LEVEL).sum())
            assert holds(alarms, k), (form, n, m, alarms, k)


@pytest.mark.parametrize(
    ("draw", "method", "k"),
    [
        (tied, "wasserstein", 60),
        (normal, "mmd", 30),
        (rare, "mmd", 30),
        (normal, "lsdd", 30),
        (tied, "c2st", 8),
        (texts, "c2st", 20),
        (embeddings, "mmd", 30),
        (embeddings, "c2st", 30),
    ],
)
def test_methods_of_rows(draw: Any, method: Any, k: int) -> None:
    rng = np.random.default_rng(9)
    for form, reference, current in sides(draw(rng, 100, k), draw(rng, 150, k)):
        table = drift(reference, current, correction="none", methods=method).table
        assert set(table["method"]) == {method}
        alarms = int((table["p_value"] <= LEVEL).sum())
        assert holds(alarms, k), (form, alarms, k)


def test_all_columns_together() -> None:
    rng = np.random.default_rng(3)
    alarms = dict.fromkeys(("frames", "profile and frame", "profiles"), 0)
    for _ in range(25):
        for form, reference, current in sides(normal(rng, 100, 3), normal(rng, 80, 3)):
            table = drift(reference, current, correction="none", methods="pca_reconstruction").table
            alarms[form] += int(table.loc["(all columns)", "p_value"] <= LEVEL)
    for form, count in alarms.items():
        assert holds(count, 25), (form, count)


@pytest.mark.parametrize("method", ["psi", "jensen_shannon", "hellinger", "tvd"])
def test_thresholds_depend_on_both_sizes(method: Any) -> None:
    rng = np.random.default_rng(0)
    limits = [
        float(drift(rare(rng, n, 1), rare(rng, m, 1), methods=method).table["threshold"].iloc[0])
        for n, m in ((200, 200), (200, 20_000), (20_000, 20_000))
    ]
    assert limits[0] > 1.1 * limits[1] > 5 * limits[2]


@pytest.mark.parametrize("form", ["frames", "profiles"])
def test_the_false_discovery_rate_holds_over_mixed_features(form: str) -> None:
    rng = np.random.default_rng(11)
    shares = []
    for _ in range(3):
        reference = pd.concat([normal(rng, 300, 20), tied(rng, 300, 18), rare(rng, 300, 20)], axis=1, ignore_index=True)
        current = pd.concat([normal(rng, 300, 20), tied(rng, 300, 18), rare(rng, 300, 20)], axis=1, ignore_index=True)
        current.iloc[:, :12] += 0.7
        left, right = {name: (a, b) for name, a, b in sides(reference, current)}[form]
        drifted = [int(name) for name in drift(left, right, alpha=0.1).drifted]
        assert set(range(12)) <= set(drifted)
        shares.append(np.mean([feature >= 12 for feature in drifted]))
    assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / np.sqrt(len(shares))


@pytest.mark.parametrize("method", ["chi2", "jensen_shannon"])
def test_a_small_reference_and_many_current_rows(method: Any) -> None:
    """Bins by the reference's own deciles would make chi-square alarm twice as often here, and Jensen-Shannon half."""
    rng = np.random.default_rng(2)
    reference, current = normal(rng, 100, 300), normal(rng, 1_000, 300)
    for form, left, right in sides(reference, current):
        alarms = int((drift(left, right, correction="none", methods=method).table["p_value"] <= LEVEL).sum())
        assert stats.binomtest(alarms, 300, LEVEL).pvalue > 1e-3, (form, alarms)
