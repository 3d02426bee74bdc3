from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import DriftReport, Profile, drift, drift_over_time
from jupyter_ext.monitoring.histograms import RANKS
from jupyter_ext.widgets import DriftView
from jupyter_ext.widgets._bins import MAX_BINS
from jupyter_ext.widgets._view import MAX_STATE_BYTES
from support.html import assert_self_contained

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
COLUMNS = ["kind", "method", "statistic", "threshold", "p_value", "q_value", "drifted", "n_reference", "n_current"]


def report(rows, histograms=None, **more):
    table = pd.DataFrame(rows, index=COLUMNS).T.rename_axis("feature")
    table["drifted"] = table["drifted"].astype(bool)
    facts = {"alpha": 0.05, "correction": "bh", "n_reference": 4_000, "n_current": 1_690}
    return DriftReport(table=table, histograms=histograms or {}, **facts | more)


def row(statistic, drifted, q=0.01):
    return ["numeric", "ks", statistic, 0.1, q, q, drifted, 4_000, 1_690]


@pytest.fixture
def real():
    random = np.random.default_rng(3)
    before = pd.DataFrame(
        {
            "size": random.normal(size=400),
            "weight": random.normal(size=400),
            "colour": random.choice(["red", "blue"], 400),
            "seen": pd.date_range("2026-01-01", periods=400),
            "plain": "x",
        }
    )
    after = before.assign(size=before["size"] * 100, weight=before["weight"].where(before.index > 40))
    return drift(before, after)


def test_the_verdict_and_what_it_rests_on():
    view = DriftView(report({"a": row(0.4, True), "b": row(0.2, False), "c": row(0.9, True)}))
    assert view.verdict == "2 of 3 features drifted: c, a."
    assert view._facts["basis"] == (
        "4,000 reference rows against 1,690 current rows. "
        "False-discovery rate held at 5 % over 3 tests (Benjamini-Hochberg)."
    )


@pytest.mark.parametrize(
    ("correction", "words"),
    [("by", "Benjamini-Yekutieli"), ("bonferroni", "Family-wise error held at 5 %"), ("none", "not corrected")],
)
def test_the_correction_is_named(correction, words):
    assert words in DriftView(report({"a": row(0.4, True)}, correction=correction))._facts["basis"]


def test_without_p_values_nothing_is_claimed_about_them():
    basis = DriftView(report({"a": row(0.4, True, np.nan)}))._facts["basis"]
    assert basis.endswith("Each statistic is held against its own threshold.")


def test_no_drift_is_a_verdict_too():
    assert DriftView(report({"a": row(0.1, False)})).verdict == "None of 1 feature drifted."


def test_rows_follow_the_report_then_the_distance_to_the_threshold():
    rows = {"near": row(0.09, False), "far": row(0.01, False), "less": row(0.2, True), "more": row(0.6, True)}
    assert [item["feature"] for item in DriftView(report(rows))._rows] == ["more", "less", "near", "far"]


def test_a_real_report_is_shown_whole(real):
    view = DriftView(real)
    shown = {item["feature"]: item for item in view._rows}
    assert set(shown) == {"size", "weight", "colour", "seen", "plain"}
    assert shown["size"]["drifted"]
    for name, item in shown.items():
        if item["histogram"]:
            for side in ("reference", "current"):
                assert sum(item["histogram"][side]) == pytest.approx(1, abs=0.01), name
    assert shown["weight"]["histogram"]["bins"][-1] == "missing"
    assert shown["seen"]["histogram"]["bins"][0].startswith("2026-01-0")
    assert shown["plain"]["note"]
    json.dumps(view.get_state(), allow_nan=False)


def test_the_static_twin_says_the_same(real):
    data, _ = DriftView(real)._repr_mimebundle_()
    text = assert_self_contained(data["text/html"])
    for expected in (
        "features drifted: size",
        "Kolmogorov-Smirnov",
        "▲ drifted",
        "steady",
        "size: shares in the reference",
        "Shares in numbers",
    ):
        assert expected in text
    assert data["text/html"].count("<svg") >= 5
    assert data["text/plain"].startswith("<DriftView: ")


def test_the_pictures_of_the_static_twin_have_tables():
    histogram = {
        "edges": [0, 1, 2],
        "categories": None,
        "reference": [0.5, 0.5],
        "current": [0.25, 0.7],
        "missing": (0, 0.05),
    }
    page = DriftView(report({"a": row(0.4, True)}, {"a": histogram})).static_html()
    assert "Shares in numbers" in assert_self_contained(page)
    for name, reference, current in (("0 to 1", 50, 25), ("1 to 2", 50, 70), ("missing", 0, 5)):
        line = f'<tr><th scope="row">{name}</th><td>{reference}.0 %</td><td>{current}.0 %</td></tr>'
        assert page.count(line) == 1


def test_many_categories_are_folded_into_others():
    shares = [0.5, *([0.5 / 99] * 99)]
    histogram = {
        "edges": None,
        "categories": [f"c{n}" for n in range(100)],
        "reference": shares,
        "current": shares[::-1],
    }
    bins = DriftView(report({"a": row(0.4, True)}, {"a": histogram}))._rows[0]["histogram"]
    assert len(bins["bins"]) == MAX_BINS
    assert bins["bins"][-1] == "61 others"
    assert {"c0", "c99"} <= set(bins["bins"])
    assert sum(bins["current"]) == pytest.approx(1, abs=0.01)


def test_a_histogram_that_does_not_fit_its_bins_is_refused():
    histogram = {"edges": None, "categories": ["a"], "reference": [0.5, 0.5], "current": [1.0]}
    with pytest.raises(Invalid, match="histogram of 'a' has 1 bins, 2 and 1 shares"):
        DriftView(report({"a": row(0.4, True)}, {"a": histogram}))


def test_what_is_no_report_is_refused():
    with pytest.raises(Invalid, match="shows a DriftReport; DataFrame has no table"):
        DriftView(pd.DataFrame())


def test_hostile_names_are_shown_as_text():
    histogram = {"edges": None, "categories": [HOSTILE], "reference": [1.0], "current": [1.0]}
    view = DriftView(report({HOSTILE: row(0.4, True)}, {HOSTILE: histogram}, notes={HOSTILE: HOSTILE}))
    assert HOSTILE in assert_self_contained(view.static_html())


def test_a_very_wide_report_keeps_what_drifted_most_and_stays_small():
    shares = [1 / 20] * 20
    names = [f"a rather long name of a feature, number {number}" for number in range(3_000)]
    histogram = {"edges": list(np.linspace(0, 1, 21)), "categories": None, "reference": shares, "current": shares}
    view = DriftView(
        report({name: row(n / 3_000, n > 2_900) for n, name in enumerate(names)}, dict.fromkeys(names, histogram))
    )
    assert view._rows[0]["feature"] == names[-1]
    assert view._rows[0]["histogram"] is not None
    assert len(json.dumps(view.get_state(), ensure_ascii=False).encode()) < MAX_STATE_BYTES
    assert len(view.static_html().encode()) < MAX_STATE_BYTES
    assert "more features are in report.table" in view.static_html()
    assert "more are in report.histograms" in view.static_html()


# --- the rows of a bin ------------------------------------------------------------------------------------------------


@pytest.fixture
def sides():
    random = np.random.default_rng(5)

    def side(n, shift):
        frame = pd.DataFrame(
            {
                "size": random.normal(shift, 1, n),
                "whole": random.integers(0, 3, n),
                "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.uniform(0, 30 + shift, n), unit="D"),
                "colour": random.choice(["red", "blue", "(other)"], n),
                "code": random.integers(0, 60, n).astype(str),
                "member": random.random(n) < 0.5,
                "plain": 7,
            },
            index=[f"row {place}" for place in range(n)],
        )
        for name in ("size", "seen", "colour", "member"):
            frame[name] = frame[name].where(random.random(n) > 0.1)
        return frame

    return side(500, 0), side(300, 2)


def asked(view, **content):
    """Send what the view sends, and return what it hears."""
    heard = []
    view.send = lambda answer, buffers=None: heard.append(answer)
    view._on_message(view, {"id": "1", **content}, [])
    (answer,) = heard
    assert answer.pop("answer") == "1"
    json.dumps(answer, allow_nan=False)
    return answer


@pytest.mark.parametrize("profiled", [False, True])
def test_the_rows_of_every_bin_are_as_many_as_it_says(sides, profiled):
    before, after = sides
    report = drift(Profile.of(before), Profile.of(after)) if profiled else drift(before, after)
    view = DriftView(report, current=after)
    shown = {item["feature"]: item["histogram"] for item in view._rows}
    assert set(shown) == set(after.columns)
    for feature, histogram in shown.items():
        found = [view.rows_in(feature, place) for place in range(len(histogram["bins"]))]
        assert [len(rows) / 300 for rows in found] == pytest.approx(histogram["current"], abs=1e-4), feature
        assert sorted(pd.concat(found).index) == sorted(after.index), feature
    assert shown["code"]["bins"][-1] == "(other)"
    assert view.rows_in("size", "missing")["size"].isna().all()
    assert set(view.rows_in("colour", "(other)")["colour"]) == {"(other)"}
    assert set(view.rows_in("member", "True")["member"]) == {True}
    assert not set(view.rows_in("code", "(other)")["code"]) & set(shown["code"]["bins"])


def test_moments_are_where_their_bin_says(sides):
    before, after = sides
    view = DriftView(drift(before, after), current=after)
    first = next(item for item in view._rows if item["feature"] == "seen")["histogram"]["bins"][0]
    assert first.startswith("2026-01-01 to ")
    assert (view.rows_in("seen", first)["seen"] <= pd.Timestamp(first[14:]) + pd.Timedelta(days=1)).all()


def test_a_bin_of_others_has_the_rows_of_all_of_them():
    names = [f"c{number:02}" for number in range(50)]
    current = pd.DataFrame({"a": [*names, None, "never seen"]})
    shares = [1 / 52] * 50
    histogram = {"edges": None, "categories": names, "reference": shares, "current": shares, "missing": (0, 1 / 52)}
    view = DriftView(report({"a": row(0.4, True)}, {"a": histogram}, n_current=52), current=current)
    assert view._rows[0]["histogram"]["bins"][-1] == "12 others"
    assert len(view.rows_in("a", "12 others")) == 12
    assert view.rows_in("a", 0)["a"].tolist() == ["c00"]


def test_the_view_hears_the_first_rows_and_python_keeps_all(sides):
    before, after = sides
    view = DriftView(drift(before, after), current=after)
    assert view.rows is None
    answer = asked(view, do="rows", feature="member", bin=0)
    assert answer["n"] == len(view.rows) > 50
    assert answer["of"] == 300
    assert answer["columns"][0] == "member"
    assert len(answer["lines"]) == len(answer["keys"]) == 50
    assert answer["keys"][0] == view.rows.index[0]
    assert view.rows.columns.tolist() == after.columns.tolist()
    assert asked(view, do="rows", feature="size", bin=0)["columns"][0] == "size"


def test_wide_rows_are_cut_and_it_is_said(sides):
    before, after = sides
    wide = pd.concat([after.assign(text="x" * 1_000), *([after["size"]] * 40)], axis=1)
    view = DriftView(drift(before[["whole"]], after[["whole"]]), current=wide)
    answer = asked(view, do="rows", feature="whole", bin=0)
    assert len(answer["columns"]) == 30
    assert answer["more_columns"] == wide.shape[1] - 30
    assert max(len(cell or "") for line in answer["lines"] for cell in line) < 210


@pytest.mark.parametrize(
    ("current", "feature", "sentence"),
    [
        (False, "size", "doesn't have the current rows. Give them to it: DriftView(report, current=frame)."),
        (True, "weight", "have no column 'weight'"),
    ],
)
def test_a_bin_without_rows_says_what_it_lacks(sides, current, feature, sentence):
    before, after = (side.assign(weight=1.0) for side in sides)
    view = DriftView(drift(before, after), current=after.drop(columns="weight") if current else None)
    assert sentence in asked(view, do="rows", feature=feature, bin=0)["problem"]
    assert view.rows is None


def test_rows_that_are_not_the_compared_ones_are_refused(sides):
    before, after = sides
    with pytest.raises(Invalid, match="current has 500 rows, and the report is about 300"):
        DriftView(drift(before, after), current=before)
    with pytest.raises(Invalid, match="current is a DataFrame of the current rows, not list"):
        DriftView(drift(before, after), current=[1])
    with pytest.raises(Invalid, match="'size' has no bin 'red'"):
        DriftView(drift(before, after), current=after).rows_in("size", "red")


# --- labels -----------------------------------------------------------------------------------------------------------


class Task:
    name = "is it right?"
    classes = ("right", "wrong")

    def __init__(self):
        self.votes = {}

    def vote(self, votes, /):
        self.votes |= votes


def test_the_rows_of_a_bin_are_labeled_in_memory(sides):
    before, after = sides
    view = DriftView(drift(before, after), current=after, label=["right", "wrong"])
    assert "Choose a bin first" in asked(view, do="label")["problem"]
    asked(view, do="rows", feature="size", bin=19)
    assert asked(view, do="label") == {}
    assert view.annotator.remaining == view.rows.index.tolist()
    view.annotator.label(view.rows.index[0], "wrong")
    assert view.annotator.votes == {view.rows.index[0]: "wrong"}


def test_the_rows_of_a_bin_are_labeled_in_a_task(sides):
    before, after = sides
    task = Task()
    view = DriftView(drift(before, after), current=after, label=task)
    asked(view, do="rows", feature="colour", bin=3)
    asked(view, do="label")
    view.annotator.label(view.rows.index[0], "right")
    assert task.votes == {view.rows.index[0]: "right"}


def test_a_function_gets_the_rows(sides):
    before, after = sides
    given = []
    view = DriftView(drift(before, after), current=after, label=given.append)
    asked(view, do="rows", feature="size", bin=10)
    asked(view, do="label")
    assert given[0] is view.rows
    assert view.annotator is None

    def fail(rows):
        raise OSError("no room")

    view = DriftView(drift(before, after), current=after, label=fail)
    asked(view, do="rows", feature="size", bin=10)
    assert asked(view, do="label") == {"problem": "OSError: no room"}


@pytest.mark.parametrize("label", ["right", ["right"], 7])
def test_what_cannot_label_is_refused(label):
    with pytest.raises(Invalid, match=r"class|label is a labeling task"):
        DriftView(report({"a": row(0.4, True)}), label=label)


def test_with_labels_the_view_and_what_is_below_are_one_widget():
    view = DriftView(report({"a": row(0.4, True)}), label=["a", "b"])
    data, _ = view._repr_mimebundle_()
    shown = data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert shown != view.model_id
    alone, _ = DriftView(report({"a": row(0.4, True)}))._live_bundle()
    assert "application/vnd.jupyter.widget-view+json" in alone


# --- the history ------------------------------------------------------------------------------------------------------


def history(chunks, features, values=None):
    table = pd.DataFrame([(chunk, feature) for chunk in chunks for feature in features], columns=["chunk", "feature"])
    value = np.linspace(0, 0.4, len(table)) if values is None else values
    return table.assign(method="ks", value=value, threshold=0.2, alarm=value > 0.2)


def test_the_history_begins_with_the_most_alarms(sides):
    before, after = sides
    found = drift_over_time(before, after, chunk_size=60)
    view = DriftView(drift(before, after), history=found)
    lines = view._history["lines"]
    assert view._history["chunks"] == ["0", "1", "2", "3", "4"]
    assert lines[0]["feature"] == "size"
    assert [len(line["alarms"]) for line in lines] == sorted((len(line["alarms"]) for line in lines), reverse=True)
    assert sum(len(line["alarms"]) for line in lines) == found["alarm"].sum() == view._history["n_alarms"]
    ours = found[found["feature"] == "size"]
    assert lines[0]["values"] == pytest.approx(ours["value"], rel=1e-3)
    assert lines[0]["method"] == "Kolmogorov-Smirnov"


@pytest.mark.parametrize(
    ("chunks", "names"),
    [
        (pd.date_range("2026-01-31", periods=2), ["2026-01-31", "2026-02-01"]),
        (pd.date_range("2026-01-31", periods=2, tz="UTC"), ["2026-01-31", "2026-02-01"]),
        (pd.date_range("2026-01-31 12:00", periods=2, freq="h"), ["2026-01-31 12:00", "2026-01-31 13:00"]),
        (pd.period_range("2026-01", periods=2, freq="M"), ["2026-01", "2026-02"]),
        (["b", "a"], ["b", "a"]),
    ],
)
def test_chunks_are_named_and_in_order(chunks, names):
    stored = history(chunks, ["a"])
    stored = stored if isinstance(chunks, list) else stored[::-1]  # times are put into their order, names are not
    view = DriftView(report({"a": row(0.4, True)}), history=stored)
    assert view._history["chunks"] == names
    assert view._history["lines"][0]["alarms"] == [1]
    json.dumps(view.get_state(), allow_nan=False)


def test_of_a_long_history_the_last_chunks_are_shown():
    view = DriftView(report({"a": row(0.4, True)}), history=history(range(250), ["a"]))
    assert view._history["left"] == 50
    assert view._history["chunks"][0] == "50"


def test_missing_values_and_thresholds_are_gaps():
    stored = history([0, 1, 2], ["a"]).assign(threshold=[0.2, np.nan, 0.3], value=[0.1, np.nan, np.inf])
    (line,) = DriftView(report({"a": row(0.4, True)}), history=stored)._history["lines"]
    assert line["values"] == [0.1, None, None]
    assert line["thresholds"] == [0.2, None, 0.3]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([1], "this is no DataFrame"),
        (pd.DataFrame({"chunk": [1], "feature": ["a"]}), "has no column method, value, threshold, alarm"),
        (history([], []), "no rows"),
        (pd.concat([history([3], ["a"])] * 2), "has chunk 3 of 'a' twice"),
    ],
)
def test_what_is_no_history_is_refused(given, sentence):
    with pytest.raises(Invalid, match=sentence):
        DriftView(report({"a": row(0.4, True)}), history=given)


def test_the_static_twin_shows_the_history(sides):
    before, after = sides
    view = DriftView(drift(before, after), history=drift_over_time(before, after, chunk_size=60))
    page = view.static_html()
    text = assert_self_contained(page)
    assert "Over time: " in text
    assert "size: Kolmogorov-Smirnov by chunk with its threshold" in text
    assert page[page.index("Over time: ") :].count("<details>") == 2
    assert 'class="jx-heat-map" role="img"' in page
    assert "▲ alarm" in text


def test_a_very_wide_history_keeps_the_most_alarms_and_stays_small():
    random = np.random.default_rng(0)
    names = [f"a rather long name of a feature, number {number}" for number in range(1_000)]
    shares = [1 / 20] * 20
    histogram = {
        "edges": list(np.linspace(0, 1, 21)),
        "categories": None,
        "reference": shares,
        "current": shares,
        "missing": (0.0, 0.0),
        "quantiles": {"ranks": list(RANKS), "reference": random.random(21), "current": random.random(21)},
    }
    moving = history(range(100), names, random.random(100_000) * np.tile(np.linspace(0, 0.5, 1_000), 100))
    moving["threshold"] = 0.2 + 0.001 * (moving["chunk"] % 7)  # as where chunks differ in size
    view = DriftView(
        report({name: row(n / 1_000, n > 900) for n, name in enumerate(names)}, dict.fromkeys(names, histogram)),
        history=moving,
        label=["right", "wrong"],
    )
    assert view._history["lines"][0]["feature"] in names[-30:]
    assert 5 <= len(view._history["lines"]) < view._history["total"] == 1_000
    assert view._history["n_alarms"] == moving["alarm"].sum()
    assert view._rows[0]["histogram"]["quantiles"]
    size = len(json.dumps(view.get_state(), ensure_ascii=False, default=str).encode())
    assert 0.8 * MAX_STATE_BYTES < size < MAX_STATE_BYTES
    assert len(view.static_html().encode()) < MAX_STATE_BYTES
    assert "more features have fewer alarms" in view.static_html()
