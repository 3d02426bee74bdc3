"""What checks measure: every kind of column, what is missing or new, how often chance is taken for an outlier."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.checks import Reference, evaluate, measure, windows
from jupyter_ext.monitoring.profile import Profile
from jupyter_ext.monitoring.run import span
from jupyter_ext.monitoring.values import Check, DriftCheck, Measured, MetricCheck, OutlierCheck, QualityCheck


def rows(seed: int, n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "color": rng.choice(["red", "green"], n),
            "ok": rng.random(n) < 0.5,
            "born": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="h"),
        }
    )


def quality(current: pd.DataFrame, check: QualityCheck | None = None, reference: Any = None) -> dict[Any, Measured]:
    found = measure(current, [check or QualityCheck()], reference or Reference(Profile.of(rows(0))))
    return {(one.feature, one.aspect): one for one in found}


def broken(found: dict[Any, Measured], share: float = 0.01) -> dict[Any, float]:
    return {rule: round(one.value or 0.0, 4) for rule, one in found.items() if (one.value or 0.0) > share}


def test_the_reference_itself_breaks_no_rule() -> None:
    found = quality(rows(0))
    assert broken(found, 0.0) == {}
    assert set(found) == {
        ("size", "outside"), ("size", "missing"), ("color", "unseen"), ("color", "missing"), ("ok", "unseen"),
        ("ok", "missing"), ("born", "missing"),  # times go on: their range is no rule
    }  # fmt: skip


def test_what_should_not_be_there_is_counted() -> None:
    wrong = rows(1).assign(size=0.0)
    wrong.loc[:39, "size"] = 99.0
    wrong.loc[40:59, "size"] = np.inf
    wrong.loc[60:79, "size"] = -np.inf
    wrong.loc[:99, "color"] = "blue"
    wrong.loc[100:119, "color"] = None
    assert broken(quality(wrong)) == {("size", "outside"): 0.2, ("color", "unseen"): 0.25, ("color", "missing"): 0.05}
    assert quality(wrong)["color", "unseen"].note == "blue"


def test_a_column_that_is_gone_is_missing_in_every_row() -> None:
    found = quality(rows(1).drop(columns="size"))
    assert broken(found) == {("size", "missing"): 1.0}
    assert found["size", "missing"].note == "The column is gone."


def test_what_is_named_counts_and_is_enough() -> None:
    check = QualityCheck(
        ranges={"size": (None, 0.0)}, categories={"color": ("red",)}, missing={"born": 0.5}, learned=False
    )
    current = rows(1)
    current.loc[:299, "born"] = pd.NaT
    found = quality(current, check, Reference())
    assert set(found) == {("size", "outside"), ("color", "unseen"), ("born", "missing")}
    assert found["size", "outside"].value == pytest.approx((current["size"] > 0).mean())
    assert found["color", "unseen"].value == pytest.approx((current["color"] == "green").mean())
    assert found["born", "missing"].value == pytest.approx(0.25)
    with pytest.raises(Invalid, match="looks at weight, which the rows have not"):
        quality(rows(1), QualityCheck(ranges={"weight": (0, 1)}, learned=False), Reference())


def test_drift_is_measured_by_q_values_of_the_features_asked_for() -> None:
    moved = rows(1).assign(size=lambda frame: frame["size"] + 1)
    reference = Reference(Profile.of(rows(0)))
    found = measure(moved, [DriftCheck(), DriftCheck(name="colors", features=("color",))], reference)
    values = {(one.check, one.feature): one.value for one in found}
    assert set(values) == {("drift", name) for name in moved.columns} | {("colors", "color")}
    assert (values["drift", "size"] or 1) < 1e-20
    assert (values["drift", "ok"] or 0) > 0.01
    with pytest.raises(Invalid, match="compares weight, which the reference has not"):
        measure(moved, [DriftCheck(features=("weight",))], reference)
    # A profile of the window is enough for drift, and for nothing else.
    found = measure(Profile.of(moved), [DriftCheck()], reference)
    assert min((one.value or 1, one.feature) for one in found)[1] == "size"
    with pytest.raises(Invalid, match="needs the rows of the window"):
        measure(Profile.of(moved), [QualityCheck()], reference)


def test_what_was_not_tested_has_no_value_and_says_why() -> None:
    (one,) = measure(pd.DataFrame({"x": [1.0, 2.0]}), [DriftCheck()], Reference(Profile.of(pd.DataFrame({"x": [1.0]}))))
    assert one.value is None
    assert one.note.startswith("not tested")


def test_outliers_are_more_than_chance_when_there_are_more() -> None:
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(1000, 3)), columns=list("abc"))
    check = OutlierCheck(level=0.02)
    usual = pd.DataFrame(rng.normal(size=(500, 3)), columns=list("abc"))
    odd = usual.copy()
    odd.iloc[:40] += 8
    for current, least, most in ((usual, 0.001, 1.0), (odd, 0.0, 1e-6)):
        (one,) = measure(current, [check], Reference(rows=lambda: reference))
        assert least <= (one.value if one.value is not None else -1) <= most
    assert one.statistic == pytest.approx(0.1, abs=0.03)
    with pytest.raises(Invalid, match="needs the rows of the reference"):
        measure(usual, [check], Reference())
    (one,) = measure(usual, [OutlierCheck(level=0.0005)], Reference(rows=lambda: reference))
    assert one.value is None
    assert "too few for p-values of 0.0005" in one.note


def test_outliers_alarm_at_their_level_when_nothing_happened() -> None:
    """Of 20 windows, each with a reference of its own, 2 alarm at 10 % (at most 6: three deviations more)."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(20):
        both = pd.DataFrame(rng.normal(size=(320, 2)), columns=list("ab"))
        reference = both[:200]
        (one,) = measure(both[200:], [OutlierCheck(level=0.05)], Reference(rows=lambda known=reference: known))
        alarms += (one.value or 0.0) <= 0.1
    assert alarms <= 6


class Model:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def predict(self, frame: pd.DataFrame) -> Any:
        return self._answer(frame)


def metric(over: str = "mean") -> Check:
    return MetricCheck(model="m/1", over=over, comparator=">", threshold=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("over", "value"), [("mean", 2.0), ("median", 1.0), ("min", 0.0), ("max", 5.0), ("sum", 6.0)])
def test_a_metric_is_one_number_of_all_outputs(over: str, value: float) -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 5.0]})
    reference = Reference(predict={"m/1": Model(lambda rows: rows["x"])}.__getitem__)
    (one,) = measure(frame, [metric(over)], reference)
    assert one.value == value


def test_a_model_is_asked_about_its_own_columns() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 5.0], "y": [0.0, 2.0, 10.0], "key": list("abc")})
    model = LinearRegression().fit(frame[["x"]], frame["y"])
    (one,) = measure(frame, [metric()], Reference(predict=lambda _: model))
    assert one.value == pytest.approx(4.0)
    with pytest.raises(Invalid, match="needs x"):
        measure(frame[["y"]], [metric()], Reference(predict=lambda _: model))


def test_outputs_that_are_no_numbers_are_told() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 5.0]})

    def says(answer: Any) -> list[Measured]:
        return measure(frame, [metric()], Reference(predict=lambda _: Model(lambda _rows: answer)))

    (one,) = says([1.0, np.nan, np.inf])
    assert (one.value, one.note) == (None, "2 of 3 outputs are no finite numbers.")
    with pytest.raises(Invalid, match="must answer with numbers"):
        says(["a", "b", "c"])
    with pytest.raises(Invalid, match="answered 2 numbers for 3 rows"):
        says([1.0, 2.0])


def test_windows_are_whole_ordered_and_named_by_their_span() -> None:
    at = pd.to_datetime(["2026-05-02 10:00", "2026-05-01 23:00", "2026-05-03 01:00"]).tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"at": at, "x": [1.0, 2.0, 3.0]})
    found = list(windows(frame, "at", "D", until=datetime(2026, 5, 3, tzinfo=UTC)))
    # In UTC 01:00 of the 3rd is still the 2nd.
    assert [(start and start.day, list(rows["x"])) for start, _, rows in found] == [(1, [2.0]), (2, [1.0, 3.0])]
    assert "at" not in found[0][2].columns
    assert len(list(windows(frame, "at", "D", until=datetime(2026, 5, 2, 12, tzinfo=UTC)))) == 1
    for how, said in (
        ({"timestamp": "when"}, "no column 'when'"), ({"period": "fortnight"}, "'fortnight' is no period"),
        ({"timestamp": "x"}, "must hold a time in every row"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=said):
            list(windows(frame, **{"timestamp": "at", "period": "D"} | how))


def test_the_same_rows_have_the_same_key_and_others_another() -> None:
    reference = Reference(Profile.of(rows(0)))
    first, again, other = (evaluate(rows(seed), [DriftCheck()], reference)[0].key for seed in (1, 1, 2))
    assert first == again != other
    assert evaluate(rows(1), [DriftCheck()], reference, key="mine")[0].key == "mine"
    embeddings = pd.DataFrame({"vector": [[1.0, 2.0], [3.0, 4.0]] * 20})
    known = Reference(Profile.of(embeddings))
    assert evaluate(embeddings, [DriftCheck()], known)[0].key == evaluate(embeddings, [DriftCheck()], known)[0].key


@pytest.mark.parametrize(
    ("period", "windows", "begin"), [("h", 3, "2026-05-03T12:00"), ("D", 1, "2026-05-02T00:00"), ("W", 1, "2026-04-20")]
)
def test_a_job_looks_at_whole_windows(period: str, windows: int, begin: str) -> None:
    start, end = span(period, datetime(2026, 5, 3, 15, 30, tzinfo=UTC), windows)
    assert start.isoformat().startswith(begin)
    assert start < end <= datetime(2026, 5, 3, 15, 30, tzinfo=UTC)
