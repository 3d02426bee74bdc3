from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

import jupyter_ext.jobs
from jupyter_ext.jobs.protocol import Outcome
from jupyter_ext.jobs.states import EXIT_TRY_AGAIN, LIVE, MOVES, PLACED, UNPLACED, Blame, judge, sources
from jupyter_ext.jobs.values import JobState

RUNNER_SIDE = [
    *("runner", "reporter", "capture", "protocol", "report", "checkpoint", "logs", "states", "values"),
    *("exchange", "patience", "stop", "processes", "run_shell", "run_notebook", "ray_train"),
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_final_states_are_those_with_nothing_after_them() -> None:
    assert {state for state, targets in MOVES.items() if not targets} == {state for state in JobState if state.final}


def test_every_live_state_can_reach_every_end() -> None:
    ends = {state for state in JobState if state.final}
    for start in LIVE - {JobState.CANCELLING}:
        reached, frontier = {start}, [start]
        while frontier:
            for target in MOVES[frontier.pop()] - reached:
                reached.add(target)
                frontier.append(target)
        assert ends <= reached, start


def test_what_holds_a_place_and_what_does_not_part_the_live_states_but_admitted() -> None:
    assert PLACED | UNPLACED == LIVE
    assert [state for state in PLACED if state in UNPLACED] == [JobState.ADMITTED]
    assert all(JobState.CANCELLED in MOVES[state] for state in UNPLACED)
    assert sources(JobState.CANCELLING) == PLACED - UNPLACED - {JobState.CANCELLING}


def test_marker_outranks_everything_ray_says() -> None:
    done = Outcome(at=NOW, succeeded=True)
    assert judge(done, -9, "dead").blame is Blame.NOBODY
    failed = Outcome(at=NOW, succeeded=False, reason="user_error", message="ValueError: x")
    assert judge(failed, 0, "").blame is Blame.USER
    assert judge(failed, 0, "").message == "ValueError: x"
    told = Outcome(at=NOW, succeeded=False, reason="terminated")
    assert judge(told, 0, "").blame is Blame.CLUSTER


@pytest.mark.parametrize(
    ("exit_code", "blame", "reason"),
    [
        (None, Blame.CLUSTER, "attempt_lost"),
        (0, Blame.USER, "no_result"),
        (3, Blame.USER, "no_result"),
        (-9, Blame.CLUSTER, "killed"),
        (-15, Blame.CLUSTER, "killed"),
        (-200, Blame.CLUSTER, "killed"),
        (-11, Blame.USER, "crashed"),
        (-6, Blame.USER, "crashed"),
        (EXIT_TRY_AGAIN, Blame.CLUSTER, "storage_lost"),
    ],
)
def test_blame_without_a_marker(exit_code: int | None, blame: Blame, reason: str) -> None:
    verdict = judge(None, exit_code, "said Ray")
    assert (verdict.blame, verdict.reason) == (blame, reason)


def test_what_runs_in_a_job_knows_no_database() -> None:
    # Asked of the sources, because this process has imported everything already.
    folder = Path(jupyter_ext.jobs.__file__).parent
    for module in RUNNER_SIDE:
        tree = ast.parse((folder / f"{module}.py").read_text())
        named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not {name for name in named if name and name.startswith("sqlalchemy")}, module
        assert not named & {"jupyter_ext.jobs.tables", "jupyter_ext.jobs.ledger", "jupyter_ext.jobs.service"}, module
