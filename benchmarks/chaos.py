"""A thousand kills at random, of drivers, Ray workers, heads and supervisors: what survives, and what it costs.

It takes an hour to an hour and a half on two cores (after most kills something has to start again), and says on the
standard error how far it is.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from support.chaos import EVERY, Chaos, spread

_KILLS = 1_000
#: Of how many kills each word of progress tells.
_WORD_EVERY = 25


def _counting(kills: int) -> Callable[[str], None]:
    """Return what `Chaos` tells each kill, and what tells every twenty-fifth."""
    begun, done = time.monotonic(), 0

    def say(text: str) -> None:
        nonlocal done
        done += 1
        if done % _WORD_EVERY == 0 or done == kills:
            minutes = (time.monotonic() - begun) / 60
            rest = "" if done < kills else "; the last jobs end"
            print(f"chaos: {done} of {kills} kills in {minutes:.1f} min{rest}", file=sys.stderr, flush=True)

    return say


def measure(kills: int = _KILLS) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        report = Chaos(Path(folder) / "chaos", kills, seed=1, say=_counting(kills)).run(timeout_s=8 * 3600)
    survived = sum(job.state == "succeeded" for job in report.jobs)
    rows = [
        ("faults", ", ".join(report.table().splitlines()[0].split(": ", 1)[1:]), ""),
        ("jobs that ended well", f"{survived} of {len(report.jobs)}", "all"),
        ("transitions, steps or results wrong", str(len(report.wrong)), "0"),
        ("steps redone after an interruption", f"{max(report.redone)} at most", f"≤ {EVERY}, one checkpoint interval"),
    ]
    names = {
        "noticed": ("noticed", "≤ 20 s"),
        "resumed": ("the next attempt runs", ""),
        "undisturbed": ("the next attempt runs, with no other fault meanwhile", "≤ 30 s"),
    }
    for kind in ("driver", "head"):
        for what, waits in report.waits(kind).items():
            name, budget = names[what]
            rows.append((f"{kind} killed → {name}", spread(waits), budget))
    return rows
