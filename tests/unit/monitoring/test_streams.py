"""Streams: known changes are found where they are, and stationary streams alarm no more than promised."""

from __future__ import annotations

import math
import pickle
import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring import StreamDetector
from jupyter_ext.monitoring.streams import StreamKind

SEA = Path(__file__).parents[4] / "shared" / "data" / "monitoring" / "sea_stream" / "sea_stream.csv"
KINDS: list[StreamKind] = ["adwin", "page_hinkley", "kswin", "e_detector"]


def alarms(detector: StreamDetector, stream: object) -> list[int]:
    for x in stream:  # type: ignore[attr-defined]
        detector.update(x)
    return detector.alarms


@pytest.mark.parametrize(
    ("kind", "first"), [("adwin", 1023), ("page_hinkley", 1006), ("kswin", 1010), ("e_detector", 1002)]
)
def test_the_change_of_the_usual_example_is_found_where_others_find_it(kind: StreamKind, first: int) -> None:
    # The example of river's documentation, whose ADWIN, Page-Hinkley and KSWIN say 1023, 1006 and 1009.
    rng = random.Random(12345)
    stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    detector = StreamDetector(kind)
    assert alarms(detector, stream) == [first]
    assert detector.estimation == pytest.approx(5.5, abs=0.2)
    assert detector.n == 2000


@pytest.mark.parametrize("kind", KINDS)
def test_an_abrupt_drop_is_found_soon(kind: StreamKind) -> None:
    settings = {"threshold": 30.0} if kind == "page_hinkley" else {}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        stream = np.concatenate([rng.normal(3, 1, 400), rng.normal(0, 1, 200)])
        detector = StreamDetector(kind, **settings)
        found = [i for i in alarms(detector, stream) if i >= 400]
        assert found
        assert found[0] <= 440


@pytest.mark.skipif(not SEA.is_file(), reason="the shared data is absent")
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_without_a_change_has_no_alarm(kind: StreamKind) -> None:
    # The concept of the stream, as known: its errors are the labels' noise, ten percent throughout.
    frame = pd.read_csv(SEA).iloc[5000:]
    errors = ((frame["attrib1"] + frame["attrib2"] > 9) == frame["class"].astype(bool)).to_numpy(dtype=float)
    errors = errors if errors.mean() < 0.5 else 1 - errors
    assert errors.mean() == pytest.approx(0.1, abs=0.01)
    assert alarms(StreamDetector(kind), errors if kind != "kswin" else errors[:8000]) == []


@pytest.mark.parametrize("of", ["values", "p_values"])
def test_a_year_of_daily_looks_ever_alarms_with_at_most_alpha(of: str) -> None:
    alpha, runs, alarmed = 0.05, 400, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        if of == "p_values":
            stream = rng.random(365)
        elif seed % 2:
            stream = rng.standard_cauchy(365)
        else:
            stream = rng.poisson(1, 365).astype(float)  # many ties
        alarmed += bool(alarms(StreamDetector("e_detector", alpha=alpha, of=of, random_state=seed), stream))
    # More would happen with a chance of one in a thousand, were the rate alpha itself.
    assert alarmed <= stats.binom.isf(0.001, runs, alpha)


def distance(x: np.ndarray, y: np.ndarray) -> float:
    both = np.concatenate([x, y])
    places = [np.searchsorted(np.sort(part), both, side="right") / len(part) for part in (x, y)]
    return float(np.abs(places[0] - places[1]).max())


def test_daily_drift_statistics_against_one_reference_can_be_watched() -> None:
    alarmed, runs, found = 0, 100, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        reference = rng.normal(size=100)  # small: the days' p-values would be far from independent
        detector = StreamDetector("e_detector", random_state=seed)
        alarmed += bool(alarms(detector, [distance(rng.normal(size=50), reference) for _ in range(150)]))
        before = len(detector.alarms)
        found += len(alarms(detector, [distance(rng.normal(1, 1, 50), reference) for _ in range(15)])) > before
    assert alarmed <= stats.binom.isf(0.001, runs, 0.05)
    assert found >= 0.9 * runs


def test_the_mean_time_to_a_false_alarm_is_at_least_one_over_alpha() -> None:
    waits = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        detector = StreamDetector("e_detector", alpha=0.02, guarantee="run_length", random_state=seed)
        while not detector.alarms and detector.n < 2000:
            detector.update(float(rng.normal()))
        waits.append(detector.n)
    assert np.mean(waits) - 2 * np.std(waits) / math.sqrt(60) >= 50 * 0.9


def test_the_e_detector_finds_what_is_no_change_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    wider = np.concatenate([rng.normal(0, 1, 300), rng.normal(0, 4, 200)])
    found = alarms(StreamDetector("e_detector"), wider)
    assert found
    assert 300 <= found[0] < 360


def test_small_p_values_are_evidence_and_large_ones_are_not() -> None:
    assert alarms(StreamDetector("e_detector", of="p_values"), [0.5] * 50 + [0.001] * 5)
    assert not alarms(StreamDetector("e_detector", of="p_values"), [0.999] * 400)


def test_adwin_keeps_the_exact_mean_of_its_window_in_few_buckets() -> None:
    rng = np.random.default_rng(0)
    stream = rng.normal(size=20_000)
    detector = StreamDetector("adwin")
    assert alarms(detector, stream) == []
    assert detector.estimation == pytest.approx(stream.mean(), abs=1e-12)
    machine = detector._machine
    assert sum(len(row) for row in machine._rows) <= 5 * (math.log2(20_000) + 1)  # type: ignore[attr-defined]
    assert machine._m2 / 20_000 == pytest.approx(stream.var())  # type: ignore[attr-defined]


def test_adwin_alarms_where_river_does() -> None:
    """River 0.26.1 on the same numbers: one alarm a change, and a slow trend again and again."""
    rng = np.random.default_rng(0)
    rates = np.repeat([0.2, 0.4, 0.1], [4000, 3000, 3000])
    assert alarms(StreamDetector("adwin"), (rng.random(10_000) < rates).astype(float)) == [4159, 7103]
    ramp = rng.normal(0, 0.1, 6000) + np.linspace(0, 1, 6000)
    assert alarms(StreamDetector("adwin"), ramp) == [735, 1471, 2271, 3103, 3903, 4639, 5503]


def test_one_mode_of_page_hinkley_sees_one_direction() -> None:
    rng = np.random.default_rng(0)
    falling = np.concatenate([rng.normal(5, 1, 500), rng.normal(0, 1, 200)])
    assert alarms(StreamDetector("page_hinkley", mode="down"), falling)
    assert not alarms(StreamDetector("page_hinkley", mode="up"), falling[:700])


@pytest.mark.parametrize(("kind", "least"), [("adwin", 20_000), ("page_hinkley", 20_000), ("e_detector", 4_000)])
def test_updates_are_fast_enough_for_a_request_each(kind: StreamKind, least: int) -> None:
    stream = np.random.default_rng(0).normal(size=5000).tolist()
    detector = StreamDetector(kind)
    start = time.process_time()
    alarms(detector, stream)
    assert len(stream) / (time.process_time() - start) > least


@pytest.mark.parametrize("kind", KINDS)
def test_state_survives_pickling(kind: StreamKind) -> None:
    stream = np.random.default_rng(0).normal(size=300).tolist() + [9.0] * 100
    whole, first = StreamDetector(kind), StreamDetector(kind)
    alarms(first, stream[:150])
    resumed = pickle.loads(pickle.dumps(first))
    assert alarms(whole, stream) == alarms(resumed, stream[150:])
    assert resumed.estimation == whole.estimation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf, 1e300, None, "many"])
def test_what_is_no_number_is_refused_and_changes_nothing(kind: StreamKind, x: object) -> None:
    detector = StreamDetector(kind)
    assert math.isnan(detector.estimation)
    detector.update(2.0)
    with pytest.raises(Invalid, match="A stream takes"):
        detector.update(x)  # type: ignore[arg-type]
    assert (detector.n, detector.estimation) == (1, 2.0)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("cusum", {}, "kind must be one of adwin, page_hinkley, kswin, e_detector"),
        (["adwin"], {}, "kind must be one of adwin"),
        ("e_detector", {"random_state": "seed"}, "random_state must be a seed"),
        ("adwin", {"alpha": 0.1}, "adwin has no setting alpha. It has delta"),
        ("adwin", {"delta": 0}, "delta must be a number above 0 and below 1"),
        ("adwin", {"clock": 0.5}, "clock must be a whole number"),
        ("page_hinkley", {"threshold": -1}, "threshold"),
        ("page_hinkley", {"mode": "sideways"}, "mode must be"),
        ("kswin", {"window": 40}, "window must be a whole number of at least 60"),
        ("kswin", {"recent": 2, "window": 4, "alpha": 0.001}, "No difference between 2 and 2 numbers"),
        ("e_detector", {"alpha": 1.5}, "alpha must be a number above 0 and below 1"),
        ("e_detector", {"guarantee": "always"}, "guarantee must be"),
        ("e_detector", {"of": "batches"}, "of must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: StreamKind, settings: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        StreamDetector(kind, **settings)


def test_settings_may_be_numpys() -> None:
    stream = np.random.default_rng(0).normal(size=400).tolist() + [5.0] * 100
    given = StreamDetector("adwin", clock=np.int64(32), delta=np.float64(0.002))
    assert alarms(given, stream) == alarms(StreamDetector("adwin"), stream)


def test_a_p_value_above_one_is_refused() -> None:
    with pytest.raises(Invalid, match="between 0 and 1"):
        StreamDetector("e_detector", of="p_values").update(1.5)
