"""Outliers: no worse than an isolation forest on real sets, p-values that keep their word, columns that are named."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import OutlierDetector, fit_outlier_detector
from jupyter_ext.monitoring.mixed_rows import Rows
from jupyter_ext.monitoring.oddness import Forest, Neighbours, Space

ADBENCH = Path(__file__).parents[4] / "shared" / "data" / "monitoring" / "adbench_small"


def mixed(seed: int, n: int) -> pd.DataFrame:
    """Rows of every kind, with missing values and many categories."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    return pd.DataFrame(
        {
            "a": common + rng.normal(size=n),
            "b": 100 + 10 * common + rng.normal(size=n),
            "price": rng.lognormal(3, 1, n),
            "visits": rng.poisson(3, n),
            "day": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 8760, n), unit="h"),
            "colour": rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1]),
            "city": [f"c{i}" for i in rng.zipf(1.5, n).clip(max=200)],
            "member": rng.random(n) < 0.3,
            "income": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
        }
    )


@pytest.fixture(scope="module")
def detector() -> OutlierDetector:
    return fit_outlier_detector(mixed(0, 3000))


@pytest.mark.skipif(not ADBENCH.is_dir(), reason="the shared data is absent")
def test_the_mean_auroc_over_adbench_is_above_that_of_an_isolation_forest() -> None:
    ours, theirs = [], []
    for path in sorted(ADBENCH.glob("*.npz")):
        with np.load(path) as file:
            X, y = file["X"].astype(float), file["y"]
        if len(X) > 1000:
            keep = np.random.default_rng(0).permutation(len(X))[:1000]
            X, y = X[keep], y[keep]
        frame = pd.DataFrame(X)
        ours.append(roc_auc_score(y, fit_outlier_detector(frame).score(frame)))
        theirs.append(roc_auc_score(y, -IsolationForest(random_state=0).fit(X).score_samples(X)))
    assert np.mean(ours) > np.mean(theirs) + 0.02
    assert np.mean(ours) > 0.86


@pytest.mark.parametrize(("n", "replicates"), [(60, 15), (1000, 4)])
def test_p_values_of_held_out_inliers_are_uniform(n: int, replicates: int) -> None:
    p = np.concatenate(
        [
            fit_outlier_detector(mixed(seed, n), random_state=seed).p_value(mixed(1000 + seed, 400))
            for seed in range(replicates)
        ]
    )
    for alpha in (0.02, 0.05, 0.1, 0.5, 0.9):
        share = (p <= alpha).mean()
        assert share <= alpha + 0.015  # what is promised
        assert share >= 0.6 * alpha - 0.01  # and not by never alarming


@pytest.mark.parametrize(("method", "power"), [("auto", 1.0), ("neighbours", 1.0), ("isolation_forest", 0.4)])
def test_planted_outliers_have_small_p_values(method: str, power: float) -> None:
    usual, planted = mixed(0, 1000), mixed(1, 50)
    planted["a"] += 8 * np.sign(planted["a"])
    planted["b"] -= 80
    detector = fit_outlier_detector(usual, method=method)  # type: ignore[arg-type]
    assert detector.method == method
    assert (detector.p_value(planted) <= 0.05).mean() >= power
    assert detector.score(planted).min() > detector.score(mixed(2, 500)).median()


def test_the_culprit_column_is_named(detector: OutlierDetector) -> None:
    rows, right, n = mixed(5, 90), 0, 0
    strange = {
        "a": 14.0,
        "b": -20.0,
        "price": 5000.0,
        "visits": 40,
        "day": pd.Timestamp("2031-01-01"),
        "colour": "mauve",
        "city": "Atlantis",
        "member": None,
        "income": -11.0,
    }
    for i in range(len(rows)):
        column = rows.columns[i % rows.shape[1]]
        explained = detector.explain({**rows.iloc[i].to_dict(), column: strange[column]})
        right += explained.index[0] == column
        n += 1
        assert explained["share"].sum() == pytest.approx(1.0)
    assert right / n >= 0.95


def test_an_explanation_says_what_is_usual(detector: OutlierDetector) -> None:
    row = mixed(5, 1).assign(visits=50)
    explained = detector.explain(row)
    assert explained.index.name == "column"
    assert explained.loc["visits", "value"] == 50
    assert explained.loc["visits", "usual"] == "0 to 6"
    assert explained.loc["colour", "usual"].startswith("red (6")


def test_values_that_never_were_in_the_reference_count() -> None:
    rng = np.random.default_rng(0)
    usual = pd.DataFrame({"x": rng.normal(size=400), "kind": rng.choice(["a", "b"], 400)})
    detector = fit_outlier_detector(usual)
    odd = pd.DataFrame({"x": [0.0, np.nan, 0.0, 0.0], "kind": ["a", "a", None, "new"]})
    assert (detector.p_value(odd) < 0.02).tolist() == [False, True, True, True]


def test_categories_alone_are_enough() -> None:
    rng = np.random.default_rng(0)
    usual = pd.DataFrame({"colour": rng.choice(["red", "blue"], 300), "member": rng.random(300) < 0.3})
    odd = pd.DataFrame({"colour": ["red", "mauve"], "member": [True, False]})
    for method in ("auto", "neighbours"):
        detector = fit_outlier_detector(usual, method)  # type: ignore[arg-type]
        assert (detector.p_value(odd) < 0.02).tolist() == [False, True]
        assert detector.explain(odd.iloc[[1]]).index[0] == "colour"
    assert fit_outlier_detector(usual, "isolation_forest").p_value(odd).between(0, 1).all()


def test_a_missing_value_has_many_names() -> None:
    rng = np.random.default_rng(0)
    usual = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200)})
    detector = fit_outlier_detector(usual)
    for missing in (None, np.nan, pd.NA):
        assert detector.explain({"x": missing, "y": 0.0}).index[0] == "x"


def test_joint_oddness_of_ordinary_values_is_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    kind = np.where(rng.random(2000) < 0.5, "low", "high")
    usual = pd.DataFrame({"x": x, "y": x + rng.normal(scale=0.1, size=2000), "z": np.where(kind == "low", -3, 3.0)})
    usual = usual.assign(kind=kind)
    odd = pd.DataFrame({"x": [1.5, 0.0], "y": [-1.5, 0.0], "z": [3.0, -3.0], "kind": ["high", "high"]})
    assert (fit_outlier_detector(usual).p_value(odd) < 0.01).all()


def test_one_row_at_a_time_has_the_answers_of_all_at_once(tell: Callable[[str], None]) -> None:
    detector = fit_outlier_detector(mixed(0, 100_000))
    rows = mixed(1, 40)
    took, scores, p_values = [], [], []
    for i in range(len(rows)):
        row = rows.iloc[[i]]
        start = time.process_time()
        scores.append(detector.score(row).iloc[0])
        p_values.append(detector.p_value(row).iloc[0])
        took.append(time.process_time() - start)
    np.testing.assert_allclose(scores, detector.score(rows))
    np.testing.assert_allclose(p_values, detector.p_value(rows))
    tell(f"score and p-value of one row: {1e3 * np.median(took):.1f} ms in the middle")


def test_the_answer_does_not_depend_on_the_other_rows_or_on_what_was_asked_before(detector: OutlierDetector) -> None:
    rows = mixed(9, 30)
    together = detector.p_value(rows)
    assert [detector.p_value(rows.iloc[[i]]).iloc[0] for i in range(30)] == together.tolist()
    assert detector.score(rows).index.equals(rows.index)


def test_a_detector_pickles_and_repeats_itself(detector: OutlierDetector) -> None:
    rows = mixed(7, 100)
    before = rows.copy(deep=True)
    again = pickle.loads(pickle.dumps(detector))
    assert again.score(rows).equals(detector.score(rows))
    detector.score(rows[:1])
    assert not pickle.loads(pickle.dumps(detector))._last
    assert fit_outlier_detector(mixed(0, 3000)).score(rows).equals(detector.score(rows))
    assert not fit_outlier_detector(mixed(0, 3000), random_state=1).score(rows).equals(detector.score(rows))
    pd.testing.assert_frame_equal(rows, before)
    assert repr(detector) == "OutlierDetector(method='auto', 3,000 reference rows, 9 columns)"


def test_constants_and_identifiers_are_said() -> None:
    frame = pd.DataFrame(
        {"x": np.random.default_rng(0).normal(size=100), "same": 3, "name": [f"n{i}" for i in range(100)]}
    )
    frame["vector"] = list(np.random.default_rng(1).normal(size=(100, 4)))
    detector = fit_outlier_detector(frame)
    assert "vectors" in detector.notes["vector"]
    assert "constant" in detector.notes["same"]
    assert "left out" in detector.notes["name"]
    assert detector.columns == ("x", "same")
    odd = pd.DataFrame({"x": [0.0, 0.0], "same": [3, 4]})
    assert (detector.p_value(odd) < 0.05).tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.head(0), "has no rows"),
        (lambda f: f.drop(columns="b"), "missing: b"),
        (lambda f: f.assign(a=np.inf), "Column 'a' holds infinite values"),
        (lambda f: f.assign(a=1e200), "Column 'a' holds numbers beyond"),
        (lambda f: f.assign(a="text"), "Column 'a' cannot be read as numbers"),
        (lambda f: f.assign(a=f["day"]), "Column 'a' cannot be read as numbers"),
        (lambda f: f.assign(day=1.5), "Column 'day' cannot be read as datetimes"),
    ],
)
def test_wrong_rows_are_refused(detector: OutlierDetector, change: object, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        detector.score(change(mixed(1, 5)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame(), "has no columns"),
        (pd.DataFrame({"x": []}), "has no rows"),
        (pd.DataFrame({"x": range(29)}), "has 29 rows. .* at least 30"),
        (pd.DataFrame({"x": [1.0] * 40}), "constant"),
        (pd.DataFrame({"x": [1.0, np.inf] * 40}), "infinite"),
        ([1, 2], "must be a DataFrame"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused(frame: object, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        fit_outlier_detector(frame)


def test_other_mistakes_are_refused(detector: OutlierDetector) -> None:
    with pytest.raises(Invalid, match="method must be one of auto, neighbours, isolation_forest"):
        fit_outlier_detector(mixed(0, 50), method="ecod")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="random_state must be a seed"):
        fit_outlier_detector(mixed(0, 50), random_state="seed")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="must be a DataFrame or an Arrow table, not Series"):
        detector.score(mixed(0, 1).iloc[0])
    with pytest.raises(Invalid, match="one row, not 2"):
        detector.explain(mixed(0, 2))


def test_the_forest_scores_as_scikit_learn_does() -> None:
    X = np.random.default_rng(0).normal(size=(500, 4))
    ours = Forest.of(X, 20, 256, np.random.default_rng(3))
    seed = int(np.random.default_rng(3).integers(2**31))
    theirs = IsolationForest(n_estimators=20, max_samples=256, random_state=seed).fit(X)
    np.testing.assert_allclose(ours.score(X), -theirs.score_samples(X), atol=1e-9)


def test_a_row_is_not_its_own_neighbour() -> None:
    places = np.array([[0.0], [1.0], [3.0], [6.0]])
    assert Neighbours(places[None], k=1).score(places).tolist() == [1.0, 1.0, 2.0, 3.0]
    assert Neighbours(places[None], k=1).score(np.array([[0.5]])).tolist() == [0.5]


def test_every_column_weighs_alike() -> None:
    rng = np.random.default_rng(0)
    rows = Rows(
        np.column_stack([rng.normal(5, 1000, 5000), rng.normal(size=5000)]),
        np.column_stack([rng.integers(0, 3, 5000), rng.integers(0, 2, 5000)]),
    )
    # Two numbers, three and two categories, and what was never seen.
    variances = Space.of(rows, [3, 2]).places(rows).plain.var(axis=0)
    assert variances[:2] == pytest.approx([1, 1])
    assert variances[2:5].sum() == pytest.approx(1)
    assert variances[5:7].sum() == pytest.approx(1)
    assert variances[-1] == 0
