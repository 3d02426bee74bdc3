"""When a measured value is a breach, and when breaches are an alarm. Pure functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jupyter_ext.monitoring.values import (
    Check,
    Comparator,
    DriftCheck,
    Judged,
    Measured,
    MetricCheck,
    OutlierCheck,
    QualityCheck,
)

COMPARE: dict[Comparator, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Standing:
    """Where the alarm of one rule stands: breaches in a row (while it lasts), and windows without one since."""

    state: Literal["pending", "firing", "resolved"]
    breaches: int
    calm: int = 0


def step(before: Standing | None, breached: bool, fire_after: int, resolve_after: int) -> Standing | None:
    """Return where an alarm stands after another window; None: there is none, or it went before it fired.

    Examples
    --------
    >>> pending = step(None, True, fire_after=2, resolve_after=2)
    >>> pending
    Standing(state='pending', breaches=1, calm=0)
    >>> step(pending, False, 2, 2)
    >>> firing = step(pending, True, 2, 2)
    >>> firing.state, step(firing, False, 2, 2)
    ('firing', Standing(state='firing', breaches=2, calm=1))
    """
    if before is None:
        if not breached:
            return None
        before = Standing("pending", 0)
    if breached:
        breaches = before.breaches + 1
        fires = before.state == "firing" or breaches >= fire_after
        return Standing("firing" if fires else "pending", breaches)
    if before.state == "pending":
        return None
    calm = before.calm + 1
    return Standing("resolved" if calm >= resolve_after else "firing", before.breaches, calm)


def level(check: DriftCheck | OutlierCheck, number: int) -> float:
    """Return the level at which the ``number``-th window of a monitor is tested, counted from 1.

    Notes
    -----
    For a check that is valid at any time it is ``alpha / (k (k + 1))``. These add up to ``alpha``, so that by Boole's
    inequality the chance of even one false alarm in however many windows is at most ``alpha``. It asks nothing of how
    the windows depend on each other, which they do: they are compared with the same reference. A product of e-values
    would need them to be independent, and finds in the end that the reference was a sample.

    Examples
    --------
    >>> round(sum(level(DriftCheck(alpha=0.05), k) for k in range(1, 366)), 4)
    0.0499
    >>> level(DriftCheck(alpha=0.05, anytime=False), 365)
    0.05
    """
    return check.alpha / (number * (number + 1)) if check.anytime else check.alpha


def judge(check: Check, measured: Measured, number: int) -> Judged:
    """Hold what was measured in the ``number``-th window against the check's rule.

    Examples
    --------
    >>> judge(DriftCheck(), Measured(check="drift", feature="age", value=0.02), 1).breached
    True
    >>> judge(DriftCheck(), Measured(check="drift", feature="age", value=0.02), 2).threshold
    0.008333333333333333
    """
    comparator: Comparator
    if isinstance(check, MetricCheck):
        comparator, threshold = check.comparator, check.threshold
    elif isinstance(check, QualityCheck):
        comparator, threshold = ">", check.share
    else:
        comparator, threshold = "<=", level(check, number)
    breached = measured.value is not None and COMPARE[comparator](measured.value, threshold)
    return Judged(**measured.model_dump(), comparator=comparator, threshold=threshold, breached=breached)


def sentence(check: Check, judged: Judged) -> str:
    """Say what a breach is, in words.

    Examples
    --------
    >>> check = QualityCheck()
    >>> sentence(check, judge(check, Measured(check="quality", feature="age", aspect="missing", value=0.25), 1))
    "25 % more of 'age' is missing than allowed (at most 1 %)."
    >>> check = DriftCheck()
    >>> sentence(check, judge(check, Measured(check="drift", feature="age", value=1e-9, statistic=0.3), 1))
    "'age' drifted: distance 0.3, q = 1e-09 (at most 0.025 is an alarm)."
    """
    value, threshold = judged.value or 0.0, judged.threshold
    what = f"'{judged.feature}'" if judged.feature else "The data"
    if isinstance(check, DriftCheck):
        far = f"distance {judged.statistic:.3g}, " if judged.statistic is not None else ""
        return f"{what} drifted: {far}q = {value:.2g} (at most {threshold:.2g} is an alarm)."
    if isinstance(check, OutlierCheck):
        share = f"{judged.statistic:.2%}".replace("%", " %") if judged.statistic is not None else "too many"
        return f"{share} of the rows are outliers, of which chance explains p = {value:.2g} (at most {threshold:.2g})."
    if isinstance(check, QualityCheck):
        share, allowed = f"{100 * value:.3g} %", f"at most {100 * threshold:.3g} %"
        if judged.aspect == "missing":
            return f"{share} more of {what} is missing than allowed ({allowed})."
        where = "is outside of its range" if judged.aspect == "outside" else "is in no known category"
        return f"{share} of {what} {where} ({allowed})."
    return f"The {check.over} of {check.model} is {value:.4g}, and {judged.comparator} {threshold:.4g} is an alarm."
