"""Progress and checkpoints as lines of the log that both people and the runner read.

A line works from anywhere: from the job's own process, from its subprocesses, and from Ray workers, whose output Ray
forwards to the driver. ``[progress] 3/10 loss=0.41`` is shown as it stands and parsed by the runner.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.stop import notice

#: Ray holds back lines that look alike; ours must all come through.
RAY_ENVIRONMENT = {"RAY_DEDUP_LOGS_ALLOW_REGEX": r"\[(progress|checkpoint)\] "}

_METRIC = re.compile(r"^[^\s=]{1,100}$")
_PROGRESS = re.compile(rb"\[progress\] (\d{1,18})(?:/(\d{1,18}))?((?: [^\s=]+=[^\s=]+)*)\s*$")
_CHECKPOINT = re.compile(rb"\[checkpoint\] (saved|resumed at) step (\d{1,18})\b")


def progress(step: int, total: int | None = None, **metrics: float) -> None:
    """Tell how far the work is.

    Parameters
    ----------
    step
        The step just done, counted from 0 or 1 as you like; never negative.
    total
        How many steps there will be; with it a bar is shown.
    **metrics
        Numbers that belong to the step. Anything that ``float()`` takes.

    Raises
    ------
    Invalid
        When a number is none, or a metric's name holds spaces or ``=``.

    Examples
    --------
    >>> progress(3, 10, loss=0.4125)
    [progress] 3/10 loss=0.4125
    """
    with notice.held():
        print(format_progress(step, total, metrics), flush=True)


def format_progress(step: int, total: int | None, metrics: dict[str, float]) -> str:
    """Return the line that `progress` prints."""
    for name, count in (("step", step), ("total", total)):
        if count is not None and (int(count) != count or count < 0):
            raise Invalid(f"progress: {name} is {count!r}; it counts steps, so it is a whole number from 0 on.")
    words = [f"[progress] {int(step)}" if total is None else f"[progress] {int(step)}/{int(total)}"]
    for name, value in metrics.items():
        if not _METRIC.match(name):
            raise Invalid(f"progress: {name!r} is no name of a metric; use one without spaces and '='.")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise Invalid(f"progress: the metric {name!r} is {type(value).__name__}, not a number.") from error
        words.append(f"{name}={number:.6g}")
    return " ".join(words)


@dataclass
class Reported:
    """What the lines of a log said last."""

    step: int | None = None
    total: int | None = None
    metrics: dict[str, float] | None = None
    durable_step: int | None = None
    resumed_step: int | None = None

    def read(self, line: bytes) -> bool:
        """Take in one line; return whether it said something.

        Examples
        --------
        >>> said = Reported()
        >>> said.read(b"(train pid=7) [progress] 3/10 loss=0.5"), said.step, said.total, said.metrics
        (True, 3, 10, {'loss': 0.5})
        >>> said.read(b"[checkpoint] saved step 12 (3 kB)"), said.durable_step
        (True, 12)
        >>> said.read(b"loss=0.5")
        False
        """
        if match := _PROGRESS.search(line):
            pairs = (word.split("=", 1) for word in match[3].decode("utf-8", "replace").split())
            metrics = {name: _number(value) for name, value in pairs}
            self.step = int(match[1])
            self.total = int(match[2]) if match[2] else None
            # JSON has no word for NaN and infinity; a diverged loss is still to be seen in the log.
            self.metrics = {name: value for name, value in metrics.items() if value is not None}
            return True
        if match := _CHECKPOINT.search(line):
            if match[1] == b"saved":
                self.durable_step = int(match[2])
            else:
                self.resumed_step = int(match[2])
            return True
        return False


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
