"""The alarms' own rules: levels that are safe to look at daily, moves, comparators."""

from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.monitoring.alarms import Standing, judge, level, step
from jupyter_ext.monitoring.statistics import q_values
from jupyter_ext.monitoring.values import DriftCheck, Measured, MetricCheck, OutlierCheck


def moves(breaches: str, fire_after: int, resolve_after: int) -> str:
    """The states after each window, by their first letters; ``.`` is none. An x is a breach."""
    said, at = "", None
    for one in breaches:
        at = step(at, one == "x", fire_after, resolve_after)
        said += at.state[0] if at is not None else "."
        at = None if at is not None and at.state == "resolved" else at
    return said


@pytest.mark.parametrize(
    ("breaches", "fire_after", "resolve_after", "states"),
    [
        ("x", 1, 1, "f"),
        ("x.x.x.x", 2, 2, "p.p.p.p"),  # what flaps never fires
        ("xx..", 2, 2, "pffr"),
        ("xx.x..x", 2, 2, "pffffrp"),  # a calm window in between does not resolve
        ("xxx.x.", 3, 1, "ppfrp."),
        ("....", 1, 1, "...."),
    ],
)
def test_an_alarm_moves(breaches: str, fire_after: int, resolve_after: int, states: str) -> None:
    assert moves(breaches, fire_after, resolve_after) == states


def test_breaches_are_counted_while_it_lasts() -> None:
    assert step(Standing("firing", 5, 1), True, 2, 2) == Standing("firing", 6, 0)
    assert step(Standing("firing", 5, 1), False, 2, 2) == Standing("resolved", 5, 2)


@pytest.mark.parametrize(
    ("comparator", "breached"), [("==", (0, 1, 0)), ("!=", (1, 0, 1)), (">", (0, 0, 1)), ("<", (1, 0, 0)),
                                 (">=", (0, 1, 1)), ("<=", (1, 1, 0))]
)  # fmt: skip
def test_every_comparator(comparator: str, breached: tuple[int, int, int]) -> None:
    check = MetricCheck(model="m/1", comparator=comparator, threshold=2.0)  # type: ignore[arg-type]
    found = [judge(check, Measured(check="metric", value=value), 1).breached for value in (1.0, 2.0, 3.0)]
    assert found == list(map(bool, breached))


def test_what_could_not_be_measured_is_no_breach() -> None:
    assert not judge(DriftCheck(), Measured(check="drift", value=None), 1).breached


@pytest.mark.parametrize("check", [DriftCheck(alpha=0.1), OutlierCheck(alpha=0.1)])
def test_the_levels_of_all_windows_add_up_to_alpha(check: DriftCheck | OutlierCheck) -> None:
    assert sum(level(check, number) for number in range(1, 100_000)) == pytest.approx(0.1, rel=1e-4)


def test_a_year_of_daily_looks_alarms_with_at_most_alpha_whatever_the_windows_have_in_common() -> None:
    """1,000 years of 365 windows of 20 features that did not move, half of what they are made of being common."""
    rng = np.random.default_rng(7)
    levels = np.array([level(DriftCheck(alpha=0.1), number) for number in range(1, 366)])
    everyday = years = 0
    from scipy.special import ndtr

    for _ in range(1000):
        shared = rng.normal(size=20)  # the reference's own error, the same every day
        p = ndtr((rng.normal(size=(365, 20)) + shared) / np.sqrt(2))
        least = np.sort(p, axis=1) * 20 / np.arange(1, 21)  # Benjamini-Hochberg: the smallest q-value of a day
        years += bool((least.min(axis=1) <= levels).any())
        everyday += bool((least.min(axis=1) <= 0.1).any())
    assert years <= 0.1 * 1000 + 2 * np.sqrt(90)
    assert everyday > 990  # what looking daily at one level does


def test_q_values_do_not_depend_on_the_level() -> None:
    """So a q-value measured in a kernel can be held against the level that the server knows."""
    assert q_values(np.array([0.01, 0.5]), "bh").tolist() == pytest.approx([0.02, 0.5])
