from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.errors import Conflict, Invalid, StorageFull, Unavailable
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


class Away:
    """A storage that fails for a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> None:
        self.left = times
        put = Objects.put

        def failing(objects: Objects, path: str, data: bytes) -> None:
            if "checkpoints" in path and self.left > 0:
                self.left -= 1
                raise error
            put(objects, path, data)

        monkeypatch.setattr(Objects, "put", failing)


def test_a_storage_that_fails_for_a_while_is_waited_for(
    attempt: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt(1)
    Away(monkeypatch, Unavailable("The object store failed on 'x': Connection refused"), 3)
    checkpoint.save(1, "state")
    captured = capsys.readouterr()
    assert captured.out == "[checkpoint] saved step 1 (20 bytes)\n"
    assert captured.err == "[job] The object store failed on 'x': Connection refused. Trying again for up to 60 s.\n"
    saved = checkpoint.latest()
    assert saved is not None
    assert saved.step == 1


def test_a_storage_that_stays_away_is_told_after_a_while(attempt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(1)
    checkpoint.save(1, "before")
    monkeypatch.setattr(checkpoint, "PATIENCE_S", 1.0)
    away = Away(monkeypatch, Unavailable("away"), 1000)
    with pytest.raises(Unavailable, match="away"):
        checkpoint.save(2, "lost")
    assert away.left > 990
    saved = checkpoint.latest()
    assert saved is not None
    assert saved.state == "before"


def test_a_full_disk_is_not_waited_for(attempt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(1)
    away = Away(monkeypatch, StorageFull("full"), 2)
    with pytest.raises(StorageFull):
        checkpoint.save(1, "state")
    assert away.left == 1


def test_a_checkpoint_is_safe_though_the_old_ones_can_not_be_deleted(
    attempt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = attempt(1)

    def failing(_objects: Objects, path: str) -> None:
        raise Unavailable("away")

    checkpoint.save(1, 1, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(Objects, "delete", failing)
        checkpoint.save(2, 2, keep=1)
    assert len(checkpoint.entries(objects.list("jobs/job-1/checkpoints"))) == 2
    checkpoint.save(3, 3, keep=1)
    assert [entry.step for entry in checkpoint.entries(objects.list("jobs/job-1/checkpoints"))] == [3]


TWO = """
import sys
from jupyter_ext.jobs import checkpoint
for number in range(60):
    checkpoint.save(number % 5, [int(sys.argv[1])] * 200_000, keep=2)
"""


def test_two_processes_that_save_the_same_steps_tear_nothing(attempt: Any) -> None:
    attempt(1)
    writers = [
        subprocess.Popen([sys.executable, "-c", TWO, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in ("1", "2")
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        saved = checkpoint.latest()
        if saved is not None:
            assert len(saved.state) == 200_000
            assert len(set(saved.state)) == 1
            seen.add(saved.state[0])
    said = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    assert seen == {1, 2}


def test_s3_that_is_away_for_a_while(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = s3_server.objects()
    objects.put(fence_path("job-1"), b"1")
    context = Context(objects.root_url, objects.storage_options, "job-1", 1)
    monkeypatch.setenv(Context.VARIABLE, context.environ()[Context.VARIABLE])
    checkpoint.save(1, "before")
    s3_server.stop()
    back = threading.Timer(3.0, s3_server.start)
    back.start()
    checkpoint.save(2, "after")
    back.join()
    saved = checkpoint.latest()
    assert saved is not None
    assert (saved.step, saved.state) == (2, "after")
