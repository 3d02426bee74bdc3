"""Tests of whole rows: closed forms, power, text and embedding columns, and what a profile keeps for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import Profile, drift
from jupyter_ext.monitoring.encode import encoded, projected
from jupyter_ext.monitoring.multivariate import (
    Reconstruction,
    Trees,
    _kernel_sums,
    c2st_test,
    lsdd_test,
    mmd_test,
    pca_test,
)
from jupyter_ext.monitoring.statistics import deals

OLD = np.array(["parcel", "courier", "delivery", "address", "street", "door", "ring", "late", "morning", "van"])
NEW = np.array(["refund", "invoice", "payment", "card", "bank", "amount", "charge", "fee", "euro", "receipt"])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def texts(rng: np.random.Generator, n: int, words: Any = OLD) -> list[str]:
    return [" ".join(chosen) for chosen in rng.choice(words, (n, 8))]


def squared_discrepancy(x: np.ndarray, y: np.ndarray, width: float | None = None) -> float:
    pool, n = np.concatenate([x, y]), len(x)
    squared = cdist(pool, pool, "sqeuclidean")
    kernel = np.exp(-squared / (2 * (width or np.median(squared[np.triu_indices(len(pool), 1)]))))
    within = [(part.sum() - len(part)) / (len(part) * (len(part) - 1)) for part in (kernel[:n, :n], kernel[n:, n:])]
    return sum(within) - 2 * kernel[:n, n:].mean()


def test_mmd_by_the_definition(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(12, 2)), rng.normal(size=(9, 2)) + 1
    assert mmd_test(x, y, rng).statistic == pytest.approx(squared_discrepancy(x, y), abs=1e-6)


@pytest.mark.parametrize("columns", [1, 3, 80])
@pytest.mark.parametrize("far", [1.0, 1e6])
def test_sums_of_a_kernel_are_those_of_all_pairs(columns: int, far: float, rng: np.random.Generator) -> None:
    """By factors (one column), and block by block (more); with a row that is far away, and rows that are equal."""
    pool = rng.normal(size=(600, columns))
    pool[:, 0] = pool[:, 0].round(1)
    pool[7] *= far
    is_x = np.vstack([np.arange(600) < 250, deals(250, 350, 3, rng)]).astype(np.float64)
    x_x, y_y, x_y = _kernel_sums(pool, 2.0 * columns, is_x)
    found = x_x / (250 * 249) + y_y / (350 * 349) - 2 * x_y / (250 * 350)
    for row, value in zip(is_x > 0, found, strict=True):
        assert value == pytest.approx(squared_discrepancy(pool[row], pool[~row], 2.0 * columns), abs=1e-6)


def test_mmd_of_many_rows_takes_the_width_of_some(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(800, 2)), rng.normal(size=(700, 2)) + 0.3
    assert mmd_test(x, y, rng).statistic == pytest.approx(squared_discrepancy(x, y), rel=0.2)


@pytest.mark.parametrize("test", [mmd_test, lsdd_test, c2st_test])
def test_a_dependence_that_no_single_column_shows_is_found(test: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(600, 2))
    y = rng.normal(size=(500, 2))
    y[:, 1] = 0.9 * y[:, 0] + np.sqrt(1 - 0.81) * y[:, 1]
    outcome = test(x, y, rng)
    assert outcome.p_value < 1e-3
    assert outcome.statistic > outcome.threshold(0.01)


def test_reconstruction_is_scikit_learns(rng: np.random.Generator) -> None:
    x = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5))
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    pca = PCA(0.65).fit(scaled)
    expected = np.linalg.norm(scaled - pca.inverse_transform(pca.transform(scaled)), axis=1)
    assert Reconstruction(x).errors(x) == pytest.approx(expected)


def test_reconstruction_finds_broken_correlations(rng: np.random.Generator) -> None:
    base = rng.normal(size=(500, 1))
    x = base + 0.1 * rng.normal(size=(500, 4))
    y = rng.normal(size=(300, 4))
    frames = pd.DataFrame(x).add_prefix("x"), pd.DataFrame(y).add_prefix("x")
    assert pca_test(x, y, rng).p_value < 1e-6
    for reference in (frames[0], Profile.of(frames[0])):
        report = drift(reference, frames[1], methods="pca_reconstruction")
        assert report.drifted == ["(all columns)"]
        assert report.table.loc["(all columns)", "kind"] == "table"
        assert report.to_dict()["features"][0]["feature"] == "(all columns)"


def test_the_classifiers_area_is_that_under_the_curve() -> None:
    x, y = np.arange(40.0)[:, None], np.arange(40.0)[:, None] + 15
    outcome = c2st_test(x, y, np.random.default_rng(0))
    assert outcome.statistic > 0.7
    ours = roc_auc_score([0, 0, 1, 1], [1, 2, 2, 3])
    assert ours == 0.875, "ties count by half in both"


def test_trees_learn_what_no_line_tells_apart(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(2_000, 3))
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)
    shares = Trees(0).fit(rows[:1_000], labels[:1_000], np.ones(1_000)).predict_proba(rows[1_000:])
    assert shares.sum(axis=1) == pytest.approx(1)
    assert roc_auc_score(labels[1_000:], shares[:, 1]) > 0.9


@pytest.mark.parametrize(("test", "least"), [(mmd_test, 27), (lsdd_test, 27), (c2st_test, 24)])
def test_power_against_a_shift_of_a_third_of_a_deviation(test: Any, least: int, rng: np.random.Generator) -> None:
    found = sum(
        test(rng.normal(size=(500, 1)), rng.normal(size=(500, 1)) + 1 / 3, rng).p_value <= 0.05 for _ in range(30)
    )
    assert found >= least


def test_text_that_changes_its_subject_is_drift(rng: np.random.Generator) -> None:
    before, same, after = (pd.DataFrame({"message": texts(rng, 200, words)}) for words in (OLD, OLD, NEW))
    profile = Profile.from_bytes(Profile.of(before).to_bytes())
    assert profile.kinds == {"message": "text"}
    for reference in (before, profile):
        report = drift(reference, after)
        assert report.drifted == ["message"]
        assert report.table.loc["message", ["kind", "method"]].to_list() == ["text", "c2st"]
        assert drift(reference, same).drifted == []
    assert drift(profile, Profile.of(after)).drifted == ["message"]


def test_components_that_leave_nothing_over_decide_nothing(rng: np.random.Generator) -> None:
    base = rng.normal(size=(400, 1))
    related = np.hstack([base, base + 0.1 * rng.normal(size=(400, 1)), rng.normal(size=(400, 1))])
    assert pca_test(related[:200], related[200:], rng).p_value is not None
    # Two columns that have nothing to do with each other take two components: what is left over is rounding.
    outcome = pca_test(rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) + 3, rng)
    assert (outcome.p_value, outcome.statistic) == (None, 0.0)
    assert "describe every row" in (outcome.note or "")


def test_missing_texts_count(rng: np.random.Generator) -> None:
    before, after = (pd.DataFrame({"message": texts(rng, 200)}) for _ in range(2))
    after.loc[::2, "message"] = None
    assert drift(before, after).drifted == ["message"]


@pytest.mark.parametrize("method", ["mmd", "lsdd", "c2st"])
def test_embeddings_that_move_are_drift(method: Any, rng: np.random.Generator) -> None:
    before = pd.DataFrame({"vector": list(rng.normal(size=(300, 24)))})
    after = pd.DataFrame({"vector": list(rng.normal(size=(250, 24)) + 0.6)})
    profile = Profile.of(before)
    for reference, current in ((before, after), (profile, after), (profile, Profile.of(after)), (before, profile)):
        moved = current is not profile
        assert bool(drift(reference, current, methods=method).drifted) == moved


def test_embeddings_of_another_length_are_told(rng: np.random.Generator) -> None:
    before, after = (pd.DataFrame({"vector": list(rng.normal(size=(60, d)))}) for d in (4, 5))
    with pytest.raises(Invalid, match="Embeddings have 4 numbers in the reference and 5"):
        drift(before, after)


def test_texts_and_embeddings_cost_at_most_30_kilobytes_and_merge(rng: np.random.Generator) -> None:
    frame = pd.DataFrame({"message": texts(rng, 900), "vector": list(rng.normal(size=(900, 64)))})
    profile = Profile.of(frame[:300]).update(frame[300:600]).merge(Profile.of(frame[600:]))
    assert profile.n_rows == 900
    for name in frame:
        assert len(Profile.of(frame[[name]]).to_bytes()) <= 30_000
    rows = profile.columns["vector"].rows
    every = projected(np.stack(frame["vector"]))
    assert rows.shape == (400, 16)
    assert {tuple(row) for row in rows.round(6)} <= {tuple(row) for row in every.round(6)}


def test_the_rows_kept_are_the_same_in_all_columns_and_fair(rng: np.random.Generator) -> None:
    frame = pd.DataFrame({"a": np.arange(2_000.0), "b": np.arange(2_000.0) * 2})
    profile = Profile.of(frame[:500]).merge(Profile.of(frame[500:]))
    a, b = (profile.columns[name].rows[:, 0] for name in "ab")
    assert (b == 2 * a).all()
    assert len(set(a)) == 400
    assert 60 < (a < 500).sum() < 140


def test_missing_numbers_are_a_column_of_their_own() -> None:
    x, y = encoded(np.array([[1.0], [np.nan]]), np.array([[3.0]]), "numeric")
    assert x.tolist() == [[-1.0, 0.0], [0.0, 1.0]]
    assert y.tolist() == [[1.0, 0.0]]


def test_too_few_rows_for_a_method_are_said() -> None:
    few = pd.DataFrame({"x": np.arange(10.0), "y": np.arange(10.0)})
    report = drift(few, few + 5, methods="c2st")
    assert report.notes["x"] == "not tested: a classifier needs 20 rows on each side"
    assert np.isnan(report.table.loc["x", "p_value"])
    report = drift(few, few + 5, methods="pca_reconstruction")
    assert report.notes["(all columns)"] == "not tested: principal components need 20 reference rows"
    assert "1 not tested" in report.verdict


def test_large_sides_are_sampled_and_that_is_said(rng: np.random.Generator) -> None:
    before, after = (pd.DataFrame({"x": rng.normal(size=1_500) + shift}) for shift in (0.0, 0.5))
    report = drift(before, after, methods="mmd")
    assert report.drifted == ["x"]
    assert report.notes["x"] == "decided on 1,000 rows of the reference and 1,000 rows of the current data"
    report = drift(Profile.of(before), after[:900], methods="mmd")
    assert report.notes["x"] == "decided on 400 kept rows of the reference's profile"
