"""The keeper ends all that came of its command, and only then goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jupyter_ext.clusters import keeper
from support.waiting import wait_until

# A head like Ray's: children in groups and sessions of their own, which do not go by themselves.
_HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN if "--stubborn" in sys.argv else signal.SIG_DFL)
sleep = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
children = [subprocess.Popen(sleep, process_group=0), subprocess.Popen(sleep, start_new_session=True)]
Path(sys.argv[1]).write_text(" ".join(str(child.pid) for child in children) + f" {os.getpid()}")
if "--orphan" in sys.argv:
    subprocess.run(["sh", "-c", "sleep 0.2 & sleep 0.2 &"])
if "--die" in sys.argv:
    os._exit(7)
time.sleep(600)
"""

Start = Callable[..., list[int]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keeper").mkdir()
    return tmp_path / "keeper"


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a keeper; returns the pids of what its command started, the command last."""
    pids = tmp_path / "pids"
    scratch = tmp_path / "scratch"

    def begin(*options: str, orphan_timeout: float = 600, grace: float = 5, vital: str | None = None) -> list[int]:
        scratch.mkdir()
        command = [sys.executable, "-c", _HEAD, str(pids), *options]
        launch = {"command": command, "scratch": str(scratch), "orphan_timeout": orphan_timeout, "grace": grace}
        launch |= {"vital": vital} if vital else {}
        (folder / keeper.LAUNCH).write_text(json.dumps(launch))
        (folder / keeper.LEASE).touch()
        subprocess.run([sys.executable, "-m", keeper.__name__, str(folder)], check=True)
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3)
        return [int(pid) for pid in pids.read_text().split()]

    yield begin
    pid = keeper.lock_holder(folder)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: keeper.lock_holder(folder) is None)


def none_lives(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_stopping_it_ends_every_process_and_removes_the_scratch(start: Start, folder: Path, tmp_path: Path) -> None:
    pids = start()
    holder = keeper.lock_holder(folder)
    assert holder is not None
    assert os.getsid(holder) == holder
    os.kill(holder, signal.SIGTERM)
    wait_until(lambda: keeper.lock_holder(folder) is None)
    assert none_lives(pids)
    assert not (tmp_path / "scratch").exists()


def test_a_stubborn_command_is_killed_after_its_grace(start: Start, folder: Path) -> None:
    pids = start("--stubborn", grace=0.2)
    holder = keeper.lock_holder(folder)
    assert holder is not None
    os.kill(holder, signal.SIGTERM)
    wait_until(lambda: keeper.lock_holder(folder) is None)
    assert none_lives(pids)


def test_a_command_that_dies_takes_its_children_along(start: Start, folder: Path) -> None:
    pids = start("--die")
    wait_until(lambda: keeper.lock_holder(folder) is None)
    assert none_lives(pids)


def test_it_ends_when_nobody_renews_the_lease(start: Start, folder: Path) -> None:
    pids = start(orphan_timeout=1.0)
    for _ in range(8):
        time.sleep(0.25)
        (folder / keeper.LEASE).touch()
    assert not none_lives(pids)
    wait_until(lambda: keeper.lock_holder(folder) is None)
    assert none_lives(pids)


def test_it_ends_when_the_workspace_is_removed(start: Start, folder: Path) -> None:
    pids = start()
    (folder / keeper.LEASE).unlink()
    wait_until(lambda: keeper.lock_holder(folder) is None)
    assert none_lives(pids)


def test_only_one_keeps_a_folder(start: Start, folder: Path) -> None:
    start()
    holder = keeper.lock_holder(folder)
    assert subprocess.run([sys.executable, "-m", keeper.__name__, str(folder)]).returncode == 1
    assert keeper.lock_holder(folder) == holder


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_keeper_that_is_killed_takes_its_command_along(start: Start, folder: Path) -> None:
    pids = start()
    holder = keeper.lock_holder(folder)
    assert holder is not None
    os.kill(holder, signal.SIGKILL)
    wait_until(lambda: none_lives(pids[-1:]))
    # Nobody is left who could end the rest of this head; Ray's own processes end with it.
    for pid in pids[:-1]:
        os.kill(pid, signal.SIGKILL)


def test_a_folder_without_a_keeper_has_no_holder(tmp_path: Path) -> None:
    assert keeper.lock_holder(tmp_path) is None
    (tmp_path / keeper.LOCK).write_text("1")
    assert keeper.lock_holder(tmp_path) is None


def test_the_end_of_the_vital_child_is_the_end_of_all(start: Start, folder: Path, tmp_path: Path) -> None:
    pids = start(vital=psutil.Process().name())
    time.sleep(0.5)
    assert keeper.lock_holder(folder) is not None
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: keeper.lock_holder(folder) is None)
    assert none_lives(pids)
    assert not (tmp_path / "scratch").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows subreapers")
def test_orphans_that_have_ended_leave_nothing_behind(start: Start, folder: Path) -> None:
    start("--orphan")
    holder = keeper.lock_holder(folder)
    assert holder is not None
    # The head, and none of what its children left.
    wait_until(lambda: len(psutil.Process(holder).children()) == 1)
