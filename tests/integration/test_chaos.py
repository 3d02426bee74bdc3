"""A hundred kills at random: every job ends, with the right result, and little of it done twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.chaos import Chaos

KILLS = 100


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(1500)
def test_a_hundred_kills_at_random(tmp_path: Path, tell: Callable[[str], None]) -> None:
    report = Chaos(tmp_path / "chaos", KILLS, seed=20261121, say=print).run(timeout_s=1400)
    tell(report.table())
    assert len(report.faults) == KILLS
    assert {fault.kind for fault in report.faults} == {"driver", "frozen driver", "worker", "supervisor", "head"}
    assert report.wrong == []
    # That a new attempt began at all is part of it: nothing was only killed when it had ended already.
    assert sum(job.attempt for job in report.jobs) > len(report.jobs)
    assert report.redone
