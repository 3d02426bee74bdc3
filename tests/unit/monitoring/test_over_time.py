"""`drift_over_time`: chunks, thresholds, the published answers, and silence on data that does not move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import Profile, drift, drift_over_time
from jupyter_ext.monitoring.chunks import chunks_of

DATA = Path(__file__).parents[4] / "shared" / "data" / "monitoring"


def frame(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "moved": rng.normal(size=n) + shift * (np.arange(n) >= n / 2),
            "steady": rng.poisson(3, n),
            "colour": rng.choice(["red", "green", "blue"], n),
        }
    )


@pytest.fixture(scope="module")
def car_loan() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    folder = DATA / "nannyml_synthetic_car_loan"
    if not folder.is_dir():
        pytest.skip("shared/data/monitoring/nannyml_synthetic_car_loan is not here")
    known = json.loads((folder / "known_answers.json").read_text())
    reference, current = (
        pd.read_parquet(folder / f"{side}_synthetic_car_loan.parquet")[known["features"]]
        for side in ("reference", "monitoring")
    )
    return reference, current, known


def of(table: pd.DataFrame, feature: str) -> pd.DataFrame:
    return table[table["feature"] == feature].reset_index(drop=True)


@pytest.mark.parametrize(("method", "name", "within"), [("jensen_shannon", "js", 6e-7), ("ks", "ks", 2e-4 + 1e-12)])
def test_the_published_values_and_thresholds_of_one_feature(
    car_loan: tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]], method: Any, name: str, within: float
) -> None:
    reference, current, known = car_loan
    answers, feature = known["debt_to_income_ratio"], "debt_to_income_ratio"
    found = drift_over_time(reference[[feature]], current[[feature]], 5_000, methods=method, threshold="deviation")
    assert found["value"].to_list() == pytest.approx(answers[f"{name}_analysis"], abs=within)
    assert found["threshold"].to_list() == pytest.approx([answers[f"{name}_upper_threshold"]] * 10, abs=within)
    own = drift_over_time(reference[[feature]], reference[[feature]], 5_000, methods=method)
    assert own["value"].to_list() == pytest.approx(answers[f"{name}_reference"], abs=within)
    single = drift(reference[[feature]], current[[feature]][:5_000], methods=method).table
    assert single.loc[feature, "statistic"] == pytest.approx(answers[f"{name}_analysis"][0], abs=within)


@pytest.mark.parametrize("methods", [None, "jensen_shannon", "psi", "hellinger"])
@pytest.mark.parametrize("stored", [False, True])
def test_exactly_the_chunks_that_drifted_alarm(
    car_loan: tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]], methods: Any, stored: bool
) -> None:
    reference, current, known = car_loan
    found = drift_over_time(Profile.of(reference) if stored else reference, current, chunk_size=5_000, methods=methods)
    assert sorted(set(found[found["alarm"]]["chunk"])) == known["drifted_chunks"]
    assert list(found.columns) == ["chunk", "feature", "method", "value", "threshold", "alarm"]
    assert len(found) == 10 * len(known["features"])


def test_the_published_reconstruction_errors(
    car_loan: tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]],
) -> None:
    reference, current, known = car_loan
    answers = known["pca_reconstruction_error"]
    found = drift_over_time(reference, current, chunk_size=5_000, methods="pca_reconstruction")
    assert found["value"].to_list() == pytest.approx(answers["analysis"], abs=6e-6)
    assert found["chunk"][found["alarm"]].to_list() == known["drifted_chunks"]
    assert found["threshold"].to_list() == pytest.approx([answers["thresholds"][1]] * 10, abs=6e-6)
    own = drift_over_time(reference, reference, chunk_size=5_000, methods="pca_reconstruction")
    assert own["value"].to_list() == pytest.approx(answers["reference"], abs=6e-6)


@pytest.mark.parametrize("methods", [None, "psi", "jensen_shannon", "wasserstein"])
def test_a_stream_that_does_not_move_gives_no_alarm(methods: Any) -> None:
    if not (DATA / "sea_stream").is_dir():
        pytest.skip("shared/data/monitoring/sea_stream is not here")
    stream = pd.read_csv(DATA / "sea_stream" / "sea_stream.csv")
    found = drift_over_time(stream[:5_000], stream[5_000:], chunk_size=1_000, methods=methods)
    assert len(found) == 35 * 4
    assert not found["alarm"].any()


def test_an_alarm_is_a_value_at_or_above_its_threshold() -> None:
    for methods in (None, "psi", "tvd", "c2st"):
        found = drift_over_time(frame(800, 1), frame(1_000, 2, shift=0.5), chunk_size=200, methods=methods)
        assert (found["alarm"] == (found["value"] >= found["threshold"] - 1e-9)).all()
        assert set(of(found, "moved")["chunk"][of(found, "moved")["alarm"]]) <= {2, 3, 4}
        assert of(found, "moved")["alarm"].sum() >= 2


def test_chunks_by_time_are_sorted_and_named() -> None:
    current = frame(300, 2, shift=2).assign(at=pd.date_range("2026-01-01", periods=300, freq="h"))
    found = drift_over_time(frame(500, 1), current.sample(frac=1, random_state=0), period="D", timestamp="at")
    moved = of(found, "moved")
    assert moved["chunk"].to_list()[:2] == ["2026-01-01", "2026-01-02"]
    assert "at" not in set(found["feature"])
    assert not moved["alarm"][:6].any()
    assert moved["alarm"][7:12].all()
    by_rows = drift_over_time(frame(500, 1), current.sample(frac=1, random_state=0), 24, timestamp="at")
    assert of(by_rows, "moved")["value"].to_list() == pytest.approx(moved["value"].to_list())


@pytest.mark.parametrize(
    ("period", "rows", "first", "last"),
    [
        ("7D", 168, "2026-01-01/2026-01-07", "2026-01-08/2026-01-14"),
        ("2W", 264, "2025-12-29/2026-01-11", "2026-01-12/2026-01-25"),
        ("36h", 36, "2026-01-01 00:00/2026-01-02 11:00", "2026-01-13 00:00/2026-01-14 11:00"),
        ("2M", 300, "2026-01/2026-02", "2026-01/2026-02"),
    ],
)
def test_periods_are_as_many_units_long_as_they_say(period: str, rows: int, first: str, last: str) -> None:
    current = frame(300, 2).assign(at=pd.date_range("2026-01-01", periods=300, freq="h"))
    chunks = chunks_of(current, None, period, "at")
    assert (chunks[0][0], len(chunks[0][1])) == (first, rows)
    assert chunks[-1][0] == last
    assert sum(len(places) for _, places in chunks) == 300


def test_periods_without_rows_are_left_out() -> None:
    at = pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-20", "2026-01-02"])
    assert [(label, places.tolist()) for label, places in chunks_of(pd.DataFrame({"at": at}), None, "D", "at")] == [
        ("2026-01-01", [0, 1]),
        ("2026-01-02", [3]),
        ("2026-01-20", [2]),
    ]


@pytest.mark.parametrize("kind", ["datetime64[us, Asia/Tokyo]", "timestamp[us, tz=Asia/Tokyo][pyarrow]"])
def test_days_are_those_of_the_columns_own_time_zone(kind: str) -> None:
    at = pd.Series(pd.date_range("2026-01-01", periods=48, freq="h", tz="Asia/Tokyo")).astype(kind)
    assert [label for label, _ in chunks_of(at.to_frame("at"), None, "D", "at")] == ["2026-01-01", "2026-01-02"]
    texts = at.to_frame("at").astype({"at": str})  # of texts, those of UTC
    assert [label for label, _ in chunks_of(texts, None, "D", "at")] == ["2025-12-31", "2026-01-01", "2026-01-02"]


def test_numbers_order_rows_but_are_no_moments() -> None:
    current = pd.DataFrame({"step": [3, 1, 2, 0], "x": range(4), 5: range(4)})
    assert [places.tolist() for _, places in chunks_of(current, 2, None, "step")] == [[3, 1], [2, 0]]
    found = drift_over_time(frame(50, 1).assign(x=1.0), current, 2, timestamp=5)
    assert set(found["feature"]) == {"x"}


def test_a_last_chunk_that_is_too_short_is_said() -> None:
    found = drift_over_time(frame(100, 1), frame(103, 2), chunk_size=50)
    assert found["value"].isna().sum() == 3
    assert found.attrs["notes"][(2, "moved")] == "not tested: ks needs 5 rows on each side"


@pytest.mark.parametrize("threshold", [0.2, (None, 0.2), [None, 0.2], np.float64(0.2)])
def test_a_threshold_of_ones_own(threshold: Any) -> None:
    found = drift_over_time(frame(500, 1), frame(400, 2, shift=1), chunk_size=100, methods="ks", threshold=threshold)
    numeric = found[found["feature"] == "moved"]
    assert numeric["threshold"].to_list() == [0.2] * 4
    assert numeric["alarm"].to_list() == [False, False, True, True]


def test_all_columns_together_over_time() -> None:
    found = drift_over_time(frame(500, 1), frame(400, 2, shift=1), 200, methods={"(all columns)": "c2st"})
    assert of(found, "(all columns)")["alarm"].to_list() == [False, True]


def test_components_that_describe_everything_are_said() -> None:
    """Of two unrelated columns both components are kept: what is left over is rounding, and no drift."""
    rng = np.random.default_rng(0)
    reference, current = (pd.DataFrame(rng.normal(size=(200, 2)) + shift) for shift in (0, 9))
    found = drift_over_time(reference, current, 50, methods="pca_reconstruction")
    assert found["value"].isna().all()
    assert not found["alarm"].any()
    assert found.attrs["notes"][(0, "(all columns)")].startswith("not tested: the components describe every row")


def test_inputs_are_left_alone_and_the_answer_repeats() -> None:
    reference, current = frame(200, 1), frame(200, 2)
    before = reference.copy(), current.copy()
    first = drift_over_time(reference, current, 50, methods="tvd")
    pd.testing.assert_frame_equal(first, drift_over_time(reference, current, 50, methods="tvd"))
    pd.testing.assert_frame_equal(reference, before[0])
    pd.testing.assert_frame_equal(current, before[1])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "Give chunk_size .* or period"),
        ({"chunk_size": 5, "period": "D"}, "and not both"),
        ({"chunk_size": 0}, "chunk_size must be a whole number"),
        ({"period": "D"}, "needs the timestamp column"),
        ({"period": "D", "timestamp": "when"}, "no timestamp column 'when'"),
        ({"period": "D", "timestamp": "colour"}, "'colour' cannot be read as moments"),
        ({"period": 7, "timestamp": "at"}, "no period 7"),
        ({"period": "D", "timestamp": "steady"}, "'steady' holds numbers: a period needs moments"),
        ({"chunk_size": 10, "timestamp": "lost"}, "'lost' has rows without a moment"),
        ({"chunk_size": 10, "threshold": "high"}, "threshold must be a number"),
        ({"chunk_size": 10, "threshold": (0.1,)}, "threshold must be a number"),
        ({"chunk_size": 10, "threshold": (0.2, 0.1)}, "threshold must be a number"),
        ({"chunk_size": 10, "threshold": {"steady": 0.1}}, "threshold must be a number"),
        ({"chunk_size": 10, "threshold": float("nan")}, "threshold must be a number"),
        ({"chunk_size": 40, "threshold": "deviation"}, "50 rows, fewer than two chunks of 40"),
        ({"chunk_size": 10, "alpha": 5}, "alpha must be between 0 and 1"),
        ({"chunk_size": 10, "correction": "fdr"}, "no correction 'fdr'"),
        ({"chunk_size": 10, "random_state": "seed"}, "random_state must be a seed"),
        ({"chunk_size": 10, "methods": "nothing"}, "no method 'nothing'"),
    ],
)
def test_a_wrong_question_is_told(how: dict[str, Any], said: str) -> None:
    days = pd.date_range("2026-01-01", periods=50, freq="D")
    current = frame(50, 2).assign(at=days, lost=days.where(days.day > 1))
    with pytest.raises(Invalid, match=said):
        drift_over_time(frame(50, 1), current, **how)


def test_what_needs_rows_is_told_of_a_profile() -> None:
    profile = Profile.of(frame(50, 1))
    for how in ({"threshold": "deviation"}, {"methods": "pca_reconstruction"}):
        with pytest.raises(Invalid, match="give the frame, not its profile"):
            drift_over_time(profile, frame(50, 2), 10, **how)  # type: ignore[arg-type]
