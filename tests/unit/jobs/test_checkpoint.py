from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.errors import Conflict, Invalid
from jupyter_ext.jobs import checkpoint
from jupyter_ext.jobs.protocol import Context, fence_path
from jupyter_ext.store import Objects


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Become an attempt of a job: ``attempt(2)`` is also the one that the fence lets through."""
    objects = Objects(tmp_path)

    def become(number: int, *, fence: int | None = None) -> Objects:
        objects.put(fence_path("job-1"), str(fence or number).encode())
        for name, value in Context(objects.root_url, {}, "job-1", number).environ().items():
            monkeypatch.setenv(name, value)
        return objects

    return become


def test_next_attempt_finds_what_the_former_saved(attempt: Any) -> None:
    attempt(1)
    assert checkpoint.latest() is None
    for step in (3, 10, 9):
        checkpoint.save(step, {"step": step})
    attempt(2)
    saved = checkpoint.latest()
    assert saved is not None
    assert (saved.step, saved.attempt, saved.state) == (10, 1, {"step": 10})
    checkpoint.save(11, "mine")
    saved = checkpoint.latest()
    assert saved is not None
    assert (saved.step, saved.attempt) == (11, 2)


def test_attempt_that_began_anew_is_what_counts(attempt: Any) -> None:
    attempt(1)
    checkpoint.save(10, "old")
    attempt(2)
    checkpoint.save(1, "new")
    saved = checkpoint.latest()
    assert saved is not None
    assert saved.state == "new"


def test_only_the_last_are_kept(attempt: Any) -> None:
    objects = attempt(1)
    for step in range(6):
        checkpoint.save(step, step, keep=2)
    assert [entry.step for entry in checkpoint.entries(objects.list("jobs/job-1/checkpoints"))] == [4, 5]


def test_replaced_attempt_writes_and_reads_nothing(attempt: Any) -> None:
    objects = attempt(1, fence=2)
    with pytest.raises(Conflict, match="replaced by a newer one"):
        checkpoint.save(1, "late")
    with pytest.raises(Conflict, match="replaced by a newer one"):
        checkpoint.latest()
    assert objects.list("jobs/job-1/checkpoints") == []


def test_state_that_cannot_be_pickled_is_told_and_writes_nothing(attempt: Any) -> None:
    objects = attempt(1)
    with pytest.raises(Invalid, match="can't be pickled"):
        checkpoint.save(1, threading.Lock())
    assert objects.list("jobs/job-1/checkpoints") == []


@pytest.mark.parametrize(("step", "keep"), [(-1, 3), (0.5, 3), (1, 0)])
def test_bad_arguments(attempt: Any, step: Any, keep: int) -> None:
    attempt(1)
    with pytest.raises(Invalid):
        checkpoint.save(step, "state", keep=keep)


def test_outside_of_a_job_a_run_sees_its_own_checkpoints_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    class Shell:
        execution_count = 1

    monkeypatch.delenv(Context.VARIABLE, raising=False)
    monkeypatch.setattr(IPython, "get_ipython", lambda: Shell)
    monkeypatch.setattr(checkpoint, "_scratch", checkpoint._Scratch())
    checkpoint.save(1, "kept")
    saved = checkpoint.latest()
    assert saved is not None
    assert saved.state == "kept"
    Shell.execution_count = 2
    assert checkpoint.latest() is None
    checkpoint._scratch.close()
