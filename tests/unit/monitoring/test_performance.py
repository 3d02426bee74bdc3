"""Estimated performance: published answers, bands that hold what is realised, an honest word where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import estimate_performance
from jupyter_ext.monitoring.cbpe import ClassScores, calibrator, class_metric
from jupyter_ext.monitoring.dle import loss_of

DATA = Path(__file__).parents[4] / "shared" / "data" / "monitoring"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is absent")


def load(name: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    folder = DATA / f"nannyml_{name}"
    frames = (pd.read_parquet(folder / f"{side}_{name}.parquet") for side in ("reference", "monitoring"))
    return *frames, json.loads((folder / "known_answers.json").read_text())


def binary(seed: int, n: int, center: float = 0.0) -> pd.DataFrame:
    """Rows of a calibrated model."""
    rng = np.random.default_rng(seed)
    x = rng.normal(center, 1, n)
    p = 1 / (1 + np.exp(-2 * x))
    return pd.DataFrame({"x": x, "score": p, "pred": (p > 0.5).astype(int), "y": (rng.random(n) < p).astype(int)})


def classes(seed: int, n: int) -> pd.DataFrame:
    """Rows of a model of three classes."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1, 1, 1], n)
    names = np.array(["a", "b", "c"])
    frame = pd.DataFrame(scores, columns=["p_a", "p_b", "p_c"])
    chosen = (scores.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=2)
    return frame.assign(y=names[chosen], pred=names[scores.argmax(axis=1)])


@needs_data
@pytest.mark.parametrize(("metric", "answers"), [("roc_auc", "roc_auc"), ("f1", "f1_first6")])
def test_the_published_answers_of_the_car_loans(metric: str, answers: str) -> None:
    reference, current, known = load("synthetic_car_loan")
    table = estimate_performance(reference, current, "repaid", "y_pred", "y_pred_proba", metric, chunk_size=5000)
    published = known["cbpe"][answers]
    assert table["estimate"][: len(published)].to_numpy() == pytest.approx(published, abs=5e-6)
    assert table["chunk"][table["alarm"]].tolist() == known["drifted_chunks"]
    assert not table["extrapolating"].any()
    if metric == "roc_auc":
        realised = np.array(known["cbpe"]["roc_auc_realized"])
        assert ((table["low"] <= realised) & (realised <= table["high"])).all()


@needs_data
def test_the_car_prices_change_where_they_do() -> None:
    reference, current, known = load("synthetic_car_price")
    table = estimate_performance(reference, current, "y_true", "y_pred", metric="rmse", chunk_size=6000)
    assert table["chunk"][table["alarm"]].tolist() == known["drifted_chunks"]
    # Published with LightGBM, here by scikit-learn's boosting.
    assert table["estimate"].to_numpy() == pytest.approx(known["dle_rmse_estimated"], rel=0.005)
    realised = np.array(known["rmse_realized_computed_here"])
    assert np.abs(table["estimate"] / realised - 1).max() < 0.05
    assert not table["extrapolating"].any()


@pytest.mark.parametrize(
    ("metric", "realised"),
    [
        ("roc_auc", lambda t: roc_auc_score(t["y"], t["score"])),
        ("f1", lambda t: f1_score(t["y"], t["pred"])),
        ("precision", lambda t: precision_score(t["y"], t["pred"])),
        ("recall", lambda t: recall_score(t["y"], t["pred"])),
        ("specificity", lambda t: recall_score(1 - t["y"], 1 - t["pred"])),
        ("accuracy", lambda t: accuracy_score(t["y"], t["pred"])),
        ("false_positives", lambda t: ((t["y"] == 0) & (t["pred"] == 1)).mean()),
    ],
)
def test_bands_hold_the_realised_metric_under_a_shift(metric: str, realised: Any) -> None:
    reference = binary(0, 5000)
    current = pd.concat([binary(seed, 400, center=0.3) for seed in range(1, 26)], ignore_index=True)
    table = estimate_performance(
        reference, current.drop(columns="y"), "y", "pred", "score", metric=metric, chunk_size=400
    )
    actual = np.array([realised(current[i : i + 400]) for i in range(0, len(current), 400)])
    inside = (table["low"] <= actual) & (actual <= table["high"])
    assert inside.mean() >= 0.95
    # And no wider than three standard errors of what happens.
    errors = np.std(actual - table["estimate"])
    assert np.median(table["high"] - table["estimate"]) < 4.5 * errors


def test_nothing_that_stands_still_alarms() -> None:
    alarms = 0
    for seed in range(5):
        table = estimate_performance(binary(seed, 3000), binary(100 + seed, 3000), "y", "pred", "score", chunk_size=300)
        alarms += table["alarm"].sum()
        assert not table["extrapolating"].any()
    assert alarms == 0


@pytest.mark.parametrize("metric", ["roc_auc", "f1", "accuracy"])
def test_several_classes(metric: str) -> None:
    reference, current = classes(0, 4000), classes(1, 4000)
    columns = {name: f"p_{name}" for name in "abc"}
    table = estimate_performance(reference, current.drop(columns="y"), "y", "pred", columns, metric, chunk_size=1000)
    listed = estimate_performance(reference, current, "y", "pred", list(columns.values()), metric, chunk_size=1000)
    pd.testing.assert_frame_equal(table, listed)
    for i, row in table.iterrows():
        part = current[int(i) * 1000 : (int(i) + 1) * 1000]  # type: ignore[call-overload]
        actual = {
            "roc_auc": roc_auc_score(part["y"], part[list(columns.values())], multi_class="ovr"),
            "f1": f1_score(part["y"], part["pred"], average="macro"),
            "accuracy": accuracy_score(part["y"], part["pred"]),
        }[metric]
        assert row["low"] <= actual <= row["high"]
    assert not table["alarm"].any()


@pytest.mark.parametrize("metric", ["mae", "mape", "mse", "rmse", "msle", "rmsle"])
def test_regression_under_a_shift(metric: str) -> None:
    def rows(seed: int, n: int, low: float) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        x = rng.uniform(low, 10, n)
        kind = rng.choice(["a", "b"], n)
        noise = rng.normal(size=n) * (0.1 + 0.1 * x) * np.where(kind == "a", 1, 2)
        return pd.DataFrame({"x": x, "kind": kind, "pred": 20 + x, "y": 20 + x + noise})

    current = pd.concat([rows(1, 1000, 0), rows(2, 1000, 5)], ignore_index=True)
    table = estimate_performance(rows(0, 4000, 0), current, "y", "pred", metric=metric, chunk_size=1000)
    losses = loss_of(metric, current["y"].to_numpy(), current["pred"].to_numpy()).reshape(2, 1000).mean(axis=1)
    actual = np.sqrt(losses) if metric.startswith("r") else losses
    assert ((table["low"] <= actual) & (actual <= table["high"])).all()
    assert table["alarm"].tolist() == [False, True]
    assert not table["extrapolating"].any()


def classified(X: pd.DataFrame, y: pd.Series[Any], model: Any) -> pd.DataFrame:
    score = model.predict_proba(X)[:, 1]
    return X.assign(y=y, score=score, pred=(score > 0.5).astype(int))


def test_tumours_larger_than_any_of_the_reference_are_flagged() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    rng = np.random.default_rng(0)
    order = np.argsort(X["mean area"].to_numpy())
    small, large = rng.permutation(order[:400]), order[470:]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.iloc[small[:200]], y.iloc[small[:200]])
    reference = classified(X.iloc[small[200:]], y.iloc[small[200:]], model)
    current = classified(X.iloc[large], y.iloc[large], model)
    assert estimate_performance(reference, current, "y", "pred", "score", chunk_size=50)["extrapolating"].all()
    # The same, drawn at random, is not.
    mixed = rng.permutation(len(X))
    fitted, known, new = np.split(mixed, [200, 380])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.iloc[fitted], y.iloc[fitted])
    reference, current = (classified(X.iloc[rows], y.iloc[rows], model) for rows in (known, new))
    assert not estimate_performance(reference, current, "y", "pred", "score")["extrapolating"].any()


def test_digits_in_negative_are_flagged_where_the_estimate_is_wrong() -> None:
    X, y = load_digits(return_X_y=True, as_frame=True)
    y = y % 2
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X[:700], y[:700])
    reference, current = classified(X[700:1300], y[700:1300], model), classified(16 - X[1300:], y[1300:], model)
    table = estimate_performance(reference, current, "y", "pred", "score", metric="accuracy", chunk_size=250)
    realised = (current["y"] == current["pred"]).mean()
    assert (table["estimate"] > realised + 0.3).all()  # sure, and wrong
    assert table["extrapolating"].all()


def test_regression_outside_of_the_reference_is_flagged() -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X, order = X + 0.0, np.random.default_rng(0).permutation(len(X))
    model = RandomForestRegressor(n_estimators=20, random_state=0).fit(X.iloc[order[:150]], y.iloc[order[:150]])
    _, known, new = np.split(order, [150, 320])
    reference, current = (X.iloc[rows].assign(y=y, pred=model.predict(X.iloc[rows])) for rows in (known, new))
    table = estimate_performance(reference, current, "y", "pred", metric="mae", chunk_size=60)
    assert not table["extrapolating"].any()
    current["bmi"] += 0.4
    assert estimate_performance(reference, current, "y", "pred", metric="mae", chunk_size=60)["extrapolating"].all()


def test_a_region_between_known_ones_is_outside() -> None:
    """Rows of a map: each coordinate is well within its range, and other columns say nothing."""
    rng = np.random.default_rng(0)

    def rows(n: int, west: Any, south: Any) -> pd.DataFrame:
        others = {f"other{i}": rng.normal(size=n) for i in range(6)}
        return binary(int(rng.integers(1000)), n).assign(west=west, south=south, **others)

    corner = rng.integers(0, 2, 3000)
    reference = rows(3000, corner + rng.normal(0, 0.1, 3000), corner + rng.normal(0, 0.1, 3000))
    for west, expected in ((0.0, False), (1.0, True)):  # a corner that is known, and one that is not
        current = rows(200, west + rng.normal(0, 0.1, 200), rng.normal(0, 0.1, 200))
        table = estimate_performance(reference, current, "y", "pred", "score", chunk_size=100)
        assert table["extrapolating"].tolist() == [expected] * 2


def test_one_column_of_many_that_left_its_range_is_outside() -> None:
    rng = np.random.default_rng(0)
    reference, current = (
        binary(seed, 1000).join(pd.DataFrame(rng.normal(size=(1000, 150))).add_prefix("v")) for seed in (0, 1)
    )
    current.loc[500:, "v7"] += 8
    table = estimate_performance(reference, current, "y", "pred", "score", chunk_size=250)
    assert table["extrapolating"].tolist() == [False, False, True, True]


@pytest.mark.parametrize(("n", "chunk"), [(100, 10), (300, 50), (3000, 100)])
def test_rows_like_the_references_are_hardly_ever_outside(n: int, chunk: int) -> None:
    flagged = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = binary(seed, n + 5 * chunk).assign(
            tail=rng.standard_cauchy(n + 5 * chunk), colour=rng.choice(["red", "blue", "green"], n + 5 * chunk)
        )
        flagged += estimate_performance(rows[:n], rows[n:], "y", "pred", "score", chunk_size=chunk)[
            "extrapolating"
        ].tolist()
    assert sum(flagged) <= 1


def test_clocks_and_identifiers_are_no_features() -> None:
    reference, current = binary(0, 1000), binary(1, 1000)
    for frame, start in ((reference, 0), (current, 1000)):
        frame["id"] = range(start, start + 1000)
        frame["at"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(frame["id"], unit="h")
        frame["year"] = 2015 if start == 0 else 2016 + frame["id"] // 1200
        frame["day"] = frame["at"].dt.strftime("%Y-%m-%d")
        frame["moment"] = frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert not estimate_performance(reference, current, "y", "pred", "score")["extrapolating"].any()
    named = estimate_performance(reference, current, "y", "pred", "score", features=["x", "id"])
    assert named["extrapolating"].iloc[2:].all()


def test_scores_that_are_calibrated_stay_as_they_are_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    y = (rng.random(20_000) < p).astype(float)
    assert np.abs(calibrator(p, y)(p) - p).mean() < 0.02
    assert np.abs(calibrator(p**3, y)(p**3) - p).mean() < 0.02
    separable = calibrator(p, (p > 0.5).astype(float))
    assert separable(p) is p


def test_a_small_reference_is_calibrated_where_its_scores_are_timid() -> None:
    """A reference of 500 rows, scores shrunk towards one half: the estimate is its own accuracy all the same."""
    rng = np.random.default_rng(0)
    p = ndtr(rng.normal(scale=4, size=500))
    y = (rng.random(500) < p).astype(float)
    timid = 0.5 + 0.6 * (p - 0.5)
    calibrated = calibrator(timid, y)(timid)
    said = timid > 0.5
    assert np.where(said, timid, 1 - timid).mean() < 0.8
    assert np.where(said, calibrated, 1 - calibrated).mean() == pytest.approx((said == y).mean(), abs=0.02)


def test_a_metric_with_labels_is_scikit_learns_and_its_variance_that_of_resampling() -> None:
    table = binary(0, 500).round({"score": 1})  # with ties
    y, score, hit = (table[name].to_numpy(dtype=float) for name in ("y", "score", "pred"))
    value, member, other = class_metric("roc_auc", ClassScores(y, score, hit))
    assert value == pytest.approx(roc_auc_score(y, score))
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 500, 500) for _ in range(300)]
    resampled = np.std([roc_auc_score(y[rows], score[rows]) for rows in drawn])
    assert np.sqrt(np.mean(np.where(y == 1, member, other) ** 2) / 500) == pytest.approx(resampled, rel=0.15)


def test_a_metric_that_is_not_defined_is_nan_and_no_alarm() -> None:
    reference, current = binary(0, 1000), binary(1, 100).assign(pred=0)
    table = estimate_performance(reference, current, "y", "pred", "score", metric="precision", chunk_size=100)
    assert table["estimate"].isna().all()
    assert not table["alarm"].any()


def test_chunks_and_columns_are_as_said_and_inputs_stay() -> None:
    reference, current = binary(0, 500), binary(1, 95)
    before = reference.copy(deep=True), current.copy(deep=True)
    table = estimate_performance(reference, current, "y", "pred", "score")
    assert table.columns.tolist() == ["chunk", "estimate", "low", "high", "alarm", "extrapolating"]
    assert len(table) == 10  # a tenth each; the last has five
    assert estimate_performance(reference, current, "y", None, "score", chunk_size=500)["chunk"].tolist() == [0]
    pd.testing.assert_frame_equal(reference, before[0])
    pd.testing.assert_frame_equal(current, before[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": pd.DataFrame()}, "The reference has no columns"),
        ({"current": binary(0, 0)}, "The current frame has no rows"),
        ({"reference": binary(0, 99)}, "has 99 rows. .* at least 100"),
        ({"reference": binary(0, 200).drop(columns="y")}, "The reference has no column y"),
        ({"current": binary(0, 50).drop(columns="score")}, "The current frame has no column score"),
        ({"reference": binary(0, 200).assign(y=1)}, "must hold both classes"),
        ({"reference": binary(0, 200).assign(y="yes")}, "Column 'y' must hold 1 and 0"),
        ({"reference": binary(0, 200).assign(y=np.nan)}, "Column 'y' has missing values"),
        ({"current": binary(0, 50).assign(score=1.2)}, "between 0 and 1"),
        ({"current": binary(0, 50).assign(score=np.nan)}, "missing or infinite"),
        ({"current": binary(0, 50).assign(score="high")}, "must hold numbers"),
        ({"current": binary(0, 50).assign(x=np.inf)}, "Column 'x' holds infinite values"),
        ({"metric": "auc"}, "metric must be one of roc_auc, accuracy"),
        ({"metric": "f1", "y_pred": None}, "'f1' needs the column of predictions"),
        ({"metric": "mae", "y_pred": None}, "'mae' needs the column of predictions"),
        ({"y_score": None}, "y_score must name"),
        ({"y_score": ["score"]}, "y_score has 1 columns, and 'y' has 2 classes"),
        ({"y_score": {1: "score"}}, "each of several classes"),
        ({"chunk_size": 0}, "chunk_size must be a whole number of rows, at least 10"),
        ({"chunk_size": 100.0}, "chunk_size must be a whole number"),
        ({"features": ["z"]}, "has no column z"),
        ({"features": "price"}, "has no column price"),
        ({"random_state": "seed"}, "random_state must be a seed"),
        ({"metric": "mae", "current": binary(0, 50).assign(pred=pd.Timestamp("2025-01-01"))}, "must hold numbers"),
        ({"metric": "msle", "current": binary(0, 50).assign(pred=-1)}, "msle takes no negative"),
    ],
)
def test_wrong_input_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "reference": binary(0, 200),
        "current": binary(1, 50),
        "y_true": "y",
        "y_pred": "pred",
        "y_score": "score",
    }
    with pytest.raises(Invalid, match=message):
        estimate_performance(**{**given, **change})


def test_wrong_classes_are_refused() -> None:
    reference, current = classes(0, 300), classes(1, 100)
    columns = {name: f"p_{name}" for name in "abc"}
    with pytest.raises(Invalid, match="names no column"):
        estimate_performance(reference.assign(y="d"), current, "y", "pred", columns)
    with pytest.raises(Invalid, match="class 'c' and the others"):
        estimate_performance(reference[reference["y"] != "c"], current, "y", "pred", columns)
    with pytest.raises(Invalid, match="must be the name of one column, the positive one's; it names 3"):
        estimate_performance(reference, current, "y", "pred", columns, "true_positives")


def test_columns_go_by_their_names_as_text() -> None:
    reference, current = binary(0, 300), binary(1, 100)
    named = estimate_performance(reference, current, "y", "pred", "score", "f1", 50)
    numbered = [frame.set_axis(range(4), axis=1) for frame in (reference, current)]
    by_number = estimate_performance(*numbered, 3, 2, 1, "f1", 50)
    pd.testing.assert_frame_equal(by_number, named)


def test_losses_that_are_not_defined_are_refused() -> None:
    with pytest.raises(Invalid, match="mape divides"):
        loss_of("mape", np.array([0.0]), np.array([1.0]))
    with pytest.raises(Invalid, match="rmsle takes no negative"):
        loss_of("rmsle", np.array([1.0]), np.array([-1.0]))
