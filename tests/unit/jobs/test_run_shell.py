"""Jobs that are a command."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from jupyter_ext.jobs.values import JobState
from support.attempts import Attempt


def said(attempt: Attempt) -> list[str]:
    return attempt.log.splitlines()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_it_prints_is_the_log_and_its_end_a_success(attempt: Attempt) -> None:
    source = """
for n in 1 2; do echo "[progress] $n/2 loss=0.$n"; done
echo to stderr >&2
seq 1 3 | tail -1
"""
    assert attempt.run(source, kind="shell") == 0
    assert attempt.outcome.succeeded
    assert said(attempt) == ["[progress] 1/2 loss=0.1", "[progress] 2/2 loss=0.2", "to stderr", "3"]
    assert attempt.status.progress is not None
    assert (attempt.status.progress.step, attempt.status.progress.metrics) == (2, {"loss": 0.2})


def test_parameters_are_environment_variables(attempt: Attempt) -> None:
    parameters = {"TEXT": "a b", "NUMBER": 0.5, "FLAG": True, "NOTHING": None, "LIST": [1, "x"], "JUPYTER_EXT_JOB": "x"}
    source = 'echo "$TEXT|$NUMBER|$FLAG|$NOTHING|$LIST"; echo $JUPYTER_EXT_JOB | cut -c1-8'
    assert attempt.run(source, kind="shell", parameters=parameters) == 0
    assert said(attempt) == ['a b|0.5|true|null|[1, "x"]', '{"root":']


def test_its_python_is_the_clusters_and_knows_the_job(attempt: Attempt) -> None:
    source = """
python - <<'END'
import sys
from jupyter_ext.jobs import checkpoint
print(sys.executable)
checkpoint.save(4, "state")
END
"""
    assert attempt.run(source, kind="shell") == 0, attempt.log
    assert Path(said(attempt)[0]).parent == Path(sys.executable).parent
    assert attempt.status.durable_step == 4


@pytest.mark.parametrize(
    ("source", "reason", "message"),
    [
        ("echo reading; printf 'a\rno such table\n\n'; exit 3", "exit",
         "The command ended with exit code 3. Its last line: no such table"),
        ("exit 1", "exit", "The command ended with exit code 1."),
        ("no-such-program", "exit", "no-such-program: command not found"),
        ("kill -KILL $$", "killed",
         "The command was killed by SIGKILL. When that repeats, ask for more memory with --memory."),
        ("sh -c 'kill -SEGV $$'; exit $?", "killed",
         "A process of the command was killed by SIGSEGV (exit code 139)."),
    ],
)  # fmt: skip
def test_failures(attempt: Attempt, source: str, reason: str, message: str) -> None:
    assert attempt.run(source, kind="shell") == 1
    assert attempt.outcome.reason == reason
    assert message in attempt.outcome.message


SAVES = f"""
echo pid $$
{sys.executable} - <<'END' &
import os, time
from jupyter_ext.jobs import checkpoint
step = 0
checkpoint.on_stop(lambda: (step, step))
print("pid", os.getpid(), flush=True)
print("begun", flush=True)
while True:
    step += 1
    time.sleep(0.01)
END
wait
echo never
"""


def pids(attempt: Attempt) -> list[int]:
    return [int(line.split()[1]) for line in said(attempt) if line.startswith("pid ")]


def test_every_process_of_it_is_told_to_stop_and_has_time_to_save(attempt: Attempt) -> None:
    attempt.stop(SAVES, kind="shell")
    assert attempt.outcome.reason == "terminated"
    assert attempt.status.durable_step is not None, attempt.log
    assert "never" not in attempt.log
    assert all(gone(pid) for pid in pids(attempt))


def test_what_does_not_heed_is_killed_when_the_time_is_over(attempt: Attempt) -> None:
    attempt.grace_s = 2.0
    attempt.stop("trap '' TERM; echo pid $$; echo begun; while true; do sleep 1; done", kind="shell")
    assert attempt.outcome.reason == "terminated"
    assert all(gone(pid) for pid in pids(attempt))


def test_what_it_leaves_behind_ends_with_it(attempt: Attempt) -> None:
    started = time.monotonic()
    assert attempt.run("sleep 300 & echo pid $!; echo done", kind="shell") == 0
    assert time.monotonic() - started < 30
    assert all(gone(pid) for pid in pids(attempt))


def test_it_does_not_outlive_a_killed_runner(attempt: Attempt) -> None:
    attempt.prepare("echo pid $$; sleep 300 & echo pid $!; echo begun; wait", kind="shell")
    process = attempt.begin()
    attempt.until(lambda: "begun" in attempt.log)
    assert len(pids(attempt)) == 2
    process.kill()
    process.wait()
    attempt.until(lambda: all(gone(pid) for pid in pids(attempt)))


def test_a_lot_of_output_is_not_lost(attempt: Attempt) -> None:
    assert attempt.run("seq 1 200000", kind="shell") == 0
    assert said(attempt)[-1] == "200000"
    assert len(said(attempt)) == 200_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_attempt_goes_on(driver: Any, clusters: Any, number: int) -> None:
    source = f"""
{sys.executable} - <<'END'
import time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
for step in range(saved.step + 1 if saved else 0, 4):
    checkpoint.save(step, step)
    progress(step + 1, 4)
    if step == 2 and not saved:
        time.sleep(60)
END
"""
    job_id = driver.submit(source, kind="shell")
    driver.until(job_id, lambda job: job.progress is not None and job.progress.step == 3)
    clusters.jobs.kill(f"{job_id}-a1", number)
    job = driver.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert [attempt.resumed_step for attempt in job.attempts] == [None, 2]
