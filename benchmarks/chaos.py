"""A thousand kills at random, of drivers, Ray workers, heads and supervisors: what survives, and what it costs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from support.chaos import EVERY, Chaos

_KILLS = 1_000


def measure(kills: int = _KILLS) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        report = Chaos(Path(folder) / "chaos", kills, seed=1).run(timeout_s=8 * 3600)
    survived = sum(job.state == "succeeded" for job in report.jobs)
    redone, waits = sorted(report.redone), sorted(report.resumed_after)
    return [
        ("faults", ", ".join(report.table().splitlines()[0].split(": ", 1)[1:]), ""),
        ("jobs that ended well", f"{survived} of {len(report.jobs)}", "all"),
        ("transitions, steps or results wrong", str(len(report.wrong)), "0"),
        ("steps redone after an interruption", f"{redone[-1]} at most", f"≤ {EVERY}, one checkpoint interval"),
        (
            "driver killed → the next attempt runs",
            f"{waits[len(waits) // 2]:.1f} s in the middle, {waits[int(0.95 * len(waits))]:.1f} s for 95 %",
            "≤ 30 s",
        ),
    ]
