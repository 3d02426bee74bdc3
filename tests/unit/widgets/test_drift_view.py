from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import DriftReport, drift
from jupyter_ext.widgets import DriftView
from jupyter_ext.widgets._view import MAX_STATE_BYTES
from jupyter_ext.widgets.drift_view import MAX_BINS
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
    ):
        assert expected in text
    assert data["text/html"].count("<svg") >= 5
    assert data["text/plain"].startswith("<DriftView: ")


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
