"""`drift`: what it finds, what it leaves alone, what it says about the rest."""

from __future__ import annotations

import gc
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from scipy import stats

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import Profile, drift
from jupyter_ext.monitoring.values import FeatureDrift

CAR_LOAN = Path(__file__).parents[4] / "shared" / "data" / "monitoring" / "nannyml_synthetic_car_loan"
COLUMNS = ["kind", "method", "statistic", "threshold", "p_value", "q_value", "drifted", "n_reference", "n_current"]


def frame(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "steady": rng.normal(size=n),
            "moved": rng.normal(size=n) + shift,
            "colour": rng.choice(["red", "green", "blue"], n),
            "member": rng.random(n) < 0.3,
        }
    )


def forms(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, tuple[object, object]]:
    """Every form the two sides can take."""
    profile = Profile.of(reference)
    return {
        "frames": (reference, current),
        "profile, frame": (profile, current),
        "frame, profile": (reference, Profile.of(current)),
        "profiles": (profile, Profile.of(current)),
        "profiles of one grid": (profile, Profile.of(current, like=profile)),
        "profiles from bytes": (
            Profile.from_bytes(profile.to_bytes()),
            Profile.from_bytes(Profile.of(current).to_bytes()),
        ),
    }


@pytest.mark.parametrize("form", forms(frame(2, 0), frame(2, 0)))
@pytest.mark.parametrize("method", ["ks", "psi", "chi2"])
def test_every_form_and_method_finds_the_feature_that_moved(form: str, method: str) -> None:
    reference, current = forms(frame(4_000, 1), frame(1_500, 2, shift=0.3))[form]
    report = drift(reference, current, methods=method)
    assert report.drifted == ["moved"]
    assert list(report.table.columns) == COLUMNS
    assert report.table.index.name == "feature"
    assert report.table.loc["moved", "method"] == method
    assert set(report.table["n_reference"]) == {4_000}
    assert (report.n_reference, report.n_current) == (4_000, 1_500)


def test_a_drifted_feature_is_one_at_or_above_its_threshold() -> None:
    for seed in range(5):
        for correction in ("bh", "by", "bonferroni", "none"):
            table = drift(frame(300, seed), frame(200, seed + 100, shift=0.15), 0.2, correction).table
            # Both sides of a tie on the lattice of small samples agree within rounding.
            assert list(table["statistic"] >= table["threshold"] - 1e-12) == list(table["drifted"])


def test_the_default_methods_are_the_textbooks() -> None:
    reference, current = frame(800, 1), frame(500, 2)
    table = drift(reference, current, correction="none").table
    expected = stats.ks_2samp(reference["moved"], current["moved"], method="asymp")
    assert table.loc["moved", ["statistic", "p_value"]].to_list() == pytest.approx(list(expected[:2]), rel=1e-4)
    counts = pd.crosstab(
        np.repeat(["r", "c"], [800, 500]), pd.concat([reference["colour"], current["colour"]]).to_numpy()
    )
    expected = stats.chi2_contingency(counts, correction=False)
    assert table.loc["colour", ["statistic", "p_value"]].to_list() == pytest.approx(list(expected[:2]))


@pytest.mark.parametrize("method", ["ks", "psi", "chi2"])
def test_missing_values_count(method: str) -> None:
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({"x": rng.normal(size=1_000), "c": rng.choice(["a", "b"], 1_000)})
    current = reference.mask(rng.random((1_000, 2)) < 0.15)
    for left, right in forms(reference, current).values():
        assert drift(left, right, methods=method).drifted == ["x", "c"] or set(drift(left, right).drifted) == {"x", "c"}


def test_an_unseen_category_counts_and_is_named() -> None:
    reference = pd.DataFrame({"c": ["a", "b"] * 300})
    current = pd.DataFrame({"c": ["a", "b", "a", "b", "new"] * 40})
    for left, right in forms(reference, current).values():
        report = drift(left, right)
        assert report.drifted == ["c"]
        assert report.notes["c"] == "1 unseen category: new"


@pytest.mark.parametrize("method", ["ks", "psi"])
@pytest.mark.parametrize("level", [4.0, 6.0])
def test_a_constant_that_changes_is_drift_and_one_that_stays_is_not(method: str, level: float) -> None:
    reference = pd.DataFrame({"x": np.full(200, 5.0), "same": 1.0})
    current = pd.DataFrame({"x": np.full(100, level), "same": 1.0})
    for left, right in forms(reference, current).values():
        report = drift(left, right, methods=method)
        assert report.drifted == ["x"]
        assert report.notes == {"same": "constant, and the same on both sides"}
        assert report.table.loc["same", "p_value"] == 1.0


def test_too_few_rows_are_said_not_hidden() -> None:
    reference, current = pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [8.0, 9.0]})
    report = drift(reference, current, methods="psi")
    assert report.drifted == []
    assert report.notes["x"] == "not tested: psi needs 5 rows on each side"
    assert "1 not tested (x)" in report.verdict
    assert np.isnan(report.table.loc["x", "q_value"])
    few = pd.DataFrame({"x": np.arange(5.0)}), pd.DataFrame({"x": np.arange(5.0) + 9})
    strict = drift(*few, alpha=0.001)
    assert np.isnan(strict.table.loc["x", "threshold"])
    assert "no difference could be significant with 5 reference and 5 current rows" in strict.notes["x"]


def test_endless_categories_do_not_alarm_by_chance() -> None:
    rng = np.random.default_rng(4)
    reference = pd.DataFrame({f"id{i}": rng.integers(0, 1_000, 2_000).astype(str) for i in range(10)})
    current = pd.DataFrame({f"id{i}": rng.integers(0, 1_000, 1_500).astype(str) for i in range(10)})
    for left, right in forms(reference, current).values():
        assert drift(left, right).drifted == []


def test_large_samples_from_sketches_do_not_alarm_by_the_sketches_error() -> None:
    rng = np.random.default_rng(6)
    reference, current = (pd.DataFrame(rng.normal(size=(200_000, 6))) for _ in range(2))
    for form, (left, right) in forms(reference, current).items():
        assert drift(left, right, alpha=0.01).drifted == [], form


def test_only_shared_features_are_tested_and_the_others_named() -> None:
    report = drift(frame(100, 1).assign(old=1), frame(100, 2).assign(new=1))
    assert list(report.table.index) == ["steady", "moved", "colour", "member"]
    assert report.notes["old"] == "not tested: only the reference has it"
    assert report.notes["new"] == "not tested: the reference lacks it"


def test_methods_by_feature_and_by_kind() -> None:
    table = drift(frame(500, 1), frame(500, 2), methods={"numeric": "psi", "moved": "ks"}).table
    assert table["method"].to_dict() == {"steady": "psi", "moved": "ks", "colour": "chi2", "member": "chi2"}
    assert set(drift(frame(500, 1), frame(500, 2), methods=["psi"]).table["method"]) == {"psi"}


def test_columns_go_by_their_names_as_text() -> None:
    reference, current = (pd.DataFrame(np.random.default_rng(seed).normal(size=(50, 2))) for seed in (1, 2))
    assert drift(reference, current, methods={1: "psi"}).table["method"].to_dict() == {"0": "ks", "1": "psi"}


def test_equal_objects_of_different_types_do_not_stand_for_each_other() -> None:
    """True is equal to 1, and whichever comes first must not name both."""
    values = [1, True, 2.0, "1", None] * 30
    sides = [pd.DataFrame({"x": pd.Series(rows, dtype=object)}) for rows in (values, values[::-1])]
    for left, right in forms(*sides).values():
        for methods in (None, "mmd"):
            report = drift(left, right, methods=methods)
            assert report.drifted == []
            assert "x" not in report.notes
    assert Profile.of(sides[0]).columns["x"].counts == {"1": 60, "True": 30, "2": 30}


@pytest.mark.parametrize("level", [4.0, 6.0, np.nan])
def test_a_constant_that_changes_is_certain_by_bins_too(level: float) -> None:
    reference, current = pd.DataFrame({"x": np.full(200, 5.0)}), pd.DataFrame({"x": np.full(100, level)})
    for left, right in forms(reference, current).values():
        assert drift(left, right, methods="jensen_shannon").table.loc["x", "p_value"] < 1e-20


def test_embeddings_of_another_length_are_told_of_profiles_too() -> None:
    reference, current = (pd.DataFrame({"e": list(np.ones((50, width)))}) for width in (3, 4))
    for left, right in forms(reference, current).values():
        with pytest.raises(Invalid, match=r"Embeddings have 3 numbers in the reference and 4 .*'e'"):
            drift(left, right)
    with pytest.raises(Invalid, match="3 numbers in one part and 4 in another"):
        Profile.of(reference).merge(Profile.of(current))
    nothing = pd.DataFrame({"e": [None] * 50})
    assert drift(reference, nothing).drifted == ["e"]
    assert Profile.of(nothing).merge(Profile.of(current)).merge(Profile.of(current)).n_rows == 150


def test_inputs_are_left_alone() -> None:
    reference, current = frame(200, 1), frame(200, 2)
    before = reference.copy(), current.copy()
    drift(reference, current)
    pd.testing.assert_frame_equal(reference, before[0])
    pd.testing.assert_frame_equal(current, before[1])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"alpha": 0}, "alpha must be between 0 and 1"),
        ({"alpha": "5%"}, "alpha must be between 0 and 1"),
        ({"correction": "fdr"}, "no correction 'fdr'; choose one of bh, by"),
        ({"methods": "kl"}, "no method 'kl'; choose among psi, ks, wasserstein"),
        ({"methods": {"colour": "ks"}}, "'colour' is categorical: ks cannot test it. Choose chi2 or psi"),
        ({"methods": {"(all columns)": "ks"}}, "ks cannot compare all columns together. Choose mmd or lsdd"),
        ({"methods": {"size": "ks"}}, "neither features in common nor kinds: size"),
        ({"methods": 5}, "methods must be a name, names, or a mapping"),
        ({"random_state": -1}, "random_state must be a seed"),
        ({"random_state": np.random.RandomState(0)}, "random_state must be a seed"),
    ],
)
def test_a_wrong_question_is_told(how: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        drift(frame(50, 1), frame(50, 2), **how)  # type: ignore[arg-type]


def test_sides_that_do_not_fit_are_told() -> None:
    good = frame(50, 1)
    profile = Profile.of(good)
    for left, right, said in (
        (good, good[["colour"]].set_axis(["hue"], axis=1), "no column in common"),
        (good, good.iloc[:0], "The current data has no rows"),
        (good.iloc[:0], good, "The reference has no rows"),
        ("frame", good, "The reference must be a DataFrame, an Arrow table or a Profile, not str"),
        (good, good.assign(moved="far"), "'moved' changed its kind: it was numeric and is categorical"),
        (profile, good.assign(moved="far"), "'moved' changed its kind"),
        (profile, Profile.of(good.assign(moved="far")), "'moved' changed its kind"),
        (good, good.assign(moved=-np.inf), "'moved' holds infinite values"),
        (profile, Profile(profile.columns, 50, {**profile.settings, "sketch_k": 10}), "different settings"),
    ):
        with pytest.raises(Invalid, match=said):
            drift(left, right)


def test_a_feature_that_went_missing_altogether_is_drift() -> None:
    reference, current = frame(300, 1), frame(300, 2).assign(moved=np.nan, colour=None)
    for left, right in forms(reference, current).values():
        assert set(drift(left, right).drifted) == {"moved", "colour"}


@pytest.mark.parametrize("method", ["ks", "wasserstein", "psi"])
def test_a_constant_that_goes_missing_is_drift(method: str) -> None:
    reference, current = pd.DataFrame({"x": [7.0] * 200}), pd.DataFrame({"x": [7.0] * 100 + [np.nan] * 100})
    for now in (current, pd.DataFrame({"x": [np.nan] * 200})):
        for left, right in forms(reference, now).values():
            assert drift(left, right, methods=method).table.loc["x", "p_value"] < 1e-6


def test_datetimes_move_too() -> None:
    days = pd.date_range("2026-01-01", periods=400, freq="h", tz="Europe/Paris").to_series()
    report = drift(pd.DataFrame({"at": days[:200]}), pd.DataFrame({"at": days[200:]}))
    assert report.table.loc["at", ["kind", "method", "drifted"]].to_list() == ["datetime", "ks", True]


def test_histograms_are_shares_of_the_same_bins() -> None:
    reference, current = frame(2_000, 1).mask(lambda f: f == "red"), frame(1_000, 2, shift=5)
    for left, right in forms(reference, current).values():
        for name, histogram in drift(left, right).histograms.items():
            bins = len(histogram["categories"]) if histogram["categories"] else len(histogram["edges"]) - 1
            assert bins <= 20
            for place, side in enumerate(("reference", "current")):
                assert len(histogram[side]) == bins, name
                assert sum(histogram[side]) + histogram["missing"][place] == pytest.approx(1), name


def test_histograms_have_the_quantiles_of_numbers() -> None:
    reference, current = frame(2_000, 1), frame(1_000, 2, shift=5)
    for left, right in forms(reference, current).values():
        histograms = drift(left, right).histograms
        assert histograms["colour"]["quantiles"] is None
        found = histograms["moved"]["quantiles"]
        for side, rows in (("reference", reference), ("current", current)):
            below = [(rows["moved"] <= value).mean() for value in found[side]]
            assert below == pytest.approx(found["ranks"], abs=0.01)
    nothing = drift(reference, current.assign(moved=np.nan)).histograms["moved"]
    assert nothing["quantiles"] is None


def test_a_report_is_plain_json_and_what_the_api_takes() -> None:
    report = drift(frame(300, 1), frame(300, 2, shift=1))
    facts = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert facts["schema"] == 1
    assert facts["drifted"] == ["moved"]
    assert FeatureDrift(**facts["features"][1]).drifted
    assert report.verdict.startswith("1 of 4 features drifted (moved), comparing 300 current with 300 reference rows")
    assert repr(report).startswith(report.verdict)


def test_a_notebook_shows_the_view_and_a_table_that_stays() -> None:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    with capture_output() as captured:
        drift(frame(100, 1), frame(100, 2))._ipython_display_()
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()
    still, live = (output.data for output in captured.outputs)
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "steady" in still["text/html"]


def test_the_published_answers_on_the_car_loan_data() -> None:
    """NannyML's notebook: KS of one feature by chunk within 2e-4, drift in chunks 5 to 9 and in no other."""
    if not CAR_LOAN.is_dir():
        pytest.skip("shared/data/monitoring/nannyml_synthetic_car_loan is not here")
    known = json.loads((CAR_LOAN / "known_answers.json").read_text())
    reference = pd.read_parquet(CAR_LOAN / "reference_synthetic_car_loan.parquet")[known["features"]]
    current = pd.read_parquet(CAR_LOAN / "monitoring_synthetic_car_loan.parquet")[known["features"]]
    profile = Profile.of(reference)
    for chunk, answer in enumerate(known["debt_to_income_ratio"]["ks_analysis"]):
        rows = current[chunk * 5_000 : (chunk + 1) * 5_000]
        report = drift(reference, rows)
        # The published numbers are rounded to five digits.
        assert report.table.loc["debt_to_income_ratio", "statistic"] == pytest.approx(answer, abs=2.05e-4)
        for moved in (report.drifted, drift(profile, rows).drifted):
            assert bool(moved) == (chunk in known["drifted_chunks"]), chunk


def test_a_stored_profile_is_compared_fast() -> None:
    """A tenth of the budgeted size in less processor time than the whole budget allows (1M x 20: 2 s on two cores)."""
    rng = np.random.default_rng(0)
    reference, current = (pd.DataFrame(rng.normal(size=(100_000, 20))) for _ in range(2))
    profile = Profile.of(reference)
    drift(profile, current[:100])
    started = time.process_time()
    drift(profile, current)
    assert time.process_time() - started < 2.0


def test_a_report_shows_the_rows_it_compared_keeps_none_alive_and_pickles() -> None:
    current = frame(100, 2)
    report = drift(frame(100, 1), current)
    assert report._find_rows() is current
    again = pickle.loads(pickle.dumps(report))
    assert again._find_rows() is None
    pd.testing.assert_frame_equal(again.table, report.table)
    del current
    gc.collect()
    assert report._find_rows() is None
    assert drift(frame(100, 1), Profile.of(frame(100, 2)))._find_rows() is None
