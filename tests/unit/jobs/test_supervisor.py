"""The supervisor with real runners in real processes; the processes stand in for a Ray head."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import cloudpickle
import pytest

from jupyter_ext.errors import Conflict
from jupyter_ext.jobs import give_notice
from jupyter_ext.jobs.protocol import attempt_path, fence_path
from jupyter_ext.jobs.values import JobQuery, JobState
from jupyter_ext.values import Query

OWNER = "ada"

# One database kind is enough where processes run; the tables' own behaviour is tested on both.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

RESUMES = """
import os, time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
start = saved.step + 1 if saved else 0
total = saved.state if saved else 0
for step in range(start, 8):
    total += step
    progress(step, 8, reached=total)
    if step % 3 == 2:
        checkpoint.save(step, total)
    if step == 7 and not saved:
        time.sleep(60)
"""


ON_STOP = """
import time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
step = saved.step if saved else 0
checkpoint.on_stop(lambda: checkpoint.save(step, step))
while step < (saved.step + 2 if saved else 1_000):
    step += 1
    progress(step, 1_000)
    time.sleep(0.05)
"""


def states(driver: Any, job_id: str) -> list[str]:
    events = driver.jobs.events(job_id, Query(limit=500), owner=OWNER).items
    return [event.to_state.value for event in reversed(events)]


def test_job_succeeds_and_hands_back_its_result(driver: Any, store: Any) -> None:
    inputs = store.blobs.put(cloudpickle.dumps({"x": 20}))
    job_id = driver.submit("y = x + 1\nprint('the answer is', y)", inputs=inputs, fetch=("y",))
    job = driver.finish(job_id)
    assert (job.state, job.message) == (JobState.SUCCEEDED, "Done.")
    assert cloudpickle.loads(driver.jobs.result(job_id, owner=OWNER)) == {"y": 21}
    assert driver.log(job_id) == "the answer is 21\n"
    assert job.log_size == len("the answer is 21\n")
    assert states(driver, job_id) == ["queued", "admitted", "starting", "running", "succeeded"]
    (attempt,) = job.attempts
    assert attempt.state == "succeeded"
    assert attempt.started_at is not None
    assert attempt.ended_at is not None


def test_records_in_ray_are_deleted_after_the_end(driver: Any, clusters: Any) -> None:
    job_id = driver.submit("pass")
    driver.finish(job_id)
    deadline = time.monotonic() + 20
    while not clusters.jobs.deleted and time.monotonic() < deadline:
        driver.round()
        time.sleep(0.1)
    assert clusters.jobs.deleted == [f"{job_id}-a1"]
    assert driver.jobs.get(job_id, owner=OWNER).state is JobState.SUCCEEDED


def test_failure_tells_line_and_traceback(driver: Any) -> None:
    job_id = driver.submit("a = 1\nraise ValueError('no such luck')")
    job = driver.finish(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "user_error")
    assert job.message == "ValueError: no such luck (line 2)"
    log = driver.log(job_id)
    assert "raise ValueError('no such luck')" in log
    assert "runner.py" not in log
    with pytest.raises(Conflict, match="no result: it is failed"):
        driver.jobs.result(job_id, owner=OWNER)


@pytest.mark.parametrize(
    ("source", "reason", "said"),
    [
        ("import threading\nlock = threading.Lock()", "result_unpicklable", "'lock'"),
        ("other = 1", "result_missing", "It set: other"),
    ],
)
def test_result_that_cannot_come_back(driver: Any, source: str, reason: str, said: str) -> None:
    job = driver.finish(driver.submit(source, fetch=("lock",)))
    assert (job.state, job.reason) == (JobState.FAILED, reason)
    assert said in job.message


def test_failures_spend_the_retries_and_then_fail(driver: Any) -> None:
    job_id = driver.submit("raise RuntimeError('again')", retries=1)
    job = driver.finish(job_id)
    assert job.state is JobState.FAILED
    assert [attempt.state for attempt in job.attempts] == ["failed", "failed"]
    assert job.message.endswith("(all 2 tries used)")
    assert states(driver, job_id)[3:6] == ["running", "interrupted", "queued"]
    assert driver.log(job_id).count("RuntimeError: again") == 2


def test_killed_driver_resumes_from_its_checkpoint_without_spending_retries(driver: Any, clusters: Any) -> None:
    job_id = driver.submit(RESUMES, fetch=("total",))
    driver.until(job_id, lambda job: job.progress is not None and job.progress.step == 7)
    clusters.jobs.kill(f"{job_id}-a1")
    resumed = driver.until(job_id, lambda job: job.state.final or "resumed" in job.message)
    job = driver.finish(job_id)
    assert resumed.message in ("Attempt 2 resumed at step 5; 2 steps redone.", "Done, at attempt 2.")
    assert job.state is JobState.SUCCEEDED
    assert [attempt.resumed_step for attempt in job.attempts] == [None, 5]
    assert [attempt.message for attempt in job.attempts][1] == "Done, at attempt 2."
    assert cloudpickle.loads(driver.jobs.result(job_id, owner=OWNER)) == {"total": sum(range(8))}
    assert [item.step for item in driver.jobs.checkpoints(job_id, Query(), owner=OWNER).items] == [5, 2]


def test_lost_head_means_a_new_attempt_only_after_silence(driver: Any, clusters: Any) -> None:
    job_id = driver.submit(RESUMES)
    driver.until(job_id, lambda job: job.progress is not None and job.progress.step == 7)
    old = clusters.jobs
    clusters.lose()
    # The process goes on somewhere; its heartbeats keep it from being declared dead.
    driver.round()
    time.sleep(0.2)
    driver.round()
    assert driver.jobs.get(job_id, owner=OWNER).state is JobState.RUNNING
    old.kill(f"{job_id}-a1")
    job = driver.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2


def test_silence_ends_an_attempt_that_ray_says_is_running(driver: Any, clusters: Any) -> None:
    job_id = driver.submit(RESUMES, fetch=("total",))
    driver.until(job_id, lambda job: job.progress is not None and job.progress.step == 7)
    clusters.jobs.processes[f"{job_id}-a1"].send_signal(signal.SIGSTOP)
    # Longer than the time between two heartbeats.
    driver.replace(hung_after_s=7.0)
    waiting = driver.until(job_id, lambda job: "No sign of life" in job.message)
    assert (waiting.state, waiting.attempt) == (JobState.RUNNING, 1)
    job = driver.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert [attempt.resumed_step for attempt in job.attempts] == [None, 5]
    assert job.attempts[0].message == (
        "Attempt 1 was interrupted: Its process was lost: no sign of life, though Ray says that it runs. "
        "The next one goes on from the last checkpoint."
    )
    # It wakes up late, and finds that it was replaced.
    first = clusters.jobs.processes[f"{job_id}-a1"]
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=60) != 0
    assert cloudpickle.loads(driver.jobs.result(job_id, owner=OWNER)) == {"total": sum(range(8))}


def test_a_machine_that_goes_gives_notice_and_the_job_resumes_elsewhere(
    driver: Any, clusters: Any, capsys: Any
) -> None:
    job_id = driver.submit(ON_STOP, fetch=("step",))
    driver.until(job_id, lambda job: job.progress is not None and job.progress.step >= 3)
    give_notice.main(["--below", str(os.getpid())])
    assert capsys.readouterr().out == "1 job told to stop.\n"
    job = driver.finish(job_id)
    assert (job.state, job.attempt, job.retries) == (JobState.SUCCEEDED, 2, 0)
    # It saved where it was, though it saves nothing by itself.
    assert job.attempts[1].resumed_step is not None
    assert job.attempts[1].resumed_step >= 3


def test_unreachable_is_not_dead(driver: Any, clusters: Any) -> None:
    job_id = driver.submit("import time\ntime.sleep(3)")
    driver.until(job_id, lambda job: job.state is JobState.RUNNING)
    clusters.jobs.reachable = False
    job = driver.until(job_id, lambda job: "can't be reached" in job.message)
    assert job.state is JobState.RUNNING
    # It ends while nobody reaches its cluster: the marker in storage is enough.
    assert driver.finish(job_id).state is JobState.SUCCEEDED


def test_cancel_queued_is_at_once(driver: Any) -> None:
    job_id = driver.submit("pass")
    assert driver.jobs.cancel(job_id, owner=OWNER).state is JobState.CANCELLED
    driver.round()
    assert states(driver, job_id) == ["queued", "cancelled"]
    assert driver.jobs.cancel(job_id, owner=OWNER).state is JobState.CANCELLED


def test_cancel_running_stops_the_process_and_keeps_the_log(driver: Any, clusters: Any) -> None:
    source = """
import time
try:
    print('begun')
    time.sleep(60)
except KeyboardInterrupt:
    print('tidied up')
    raise
"""
    job_id = driver.submit(source, retries=5)
    driver.until(job_id, lambda job: job.log_size > 0)
    assert driver.jobs.cancel(job_id, owner=OWNER).state is JobState.CANCELLING
    job = driver.finish(job_id)
    assert (job.state, job.message) == (JobState.CANCELLED, "Cancelled.")
    assert driver.log(job_id).startswith("begun\ntidied up\n")
    assert clusters.jobs.stopped == {f"{job_id}-a1"}
    with pytest.raises(Conflict, match="no result: it is cancelled"):
        driver.jobs.result(job_id, owner=OWNER)


def test_timeout(driver: Any) -> None:
    job_id = driver.submit("import time\ntime.sleep(60)", timeout_s=0.5, retries=5)
    job = driver.finish(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "timeout")
    assert job.message == "It ran longer than its limit of 0.5 s."
    assert states(driver, job_id)[-2:] == ["cancelling", "failed"]


def test_restart_between_writing_down_and_submitting(driver: Any, clusters: Any) -> None:
    clusters.jobs.reachable = False
    job_id = driver.submit("print('once')")
    job = driver.until(job_id, lambda job: job.state is JobState.STARTING)
    assert clusters.jobs.submissions == []
    driver.replace()
    clusters.jobs.reachable = True
    job = driver.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 1
    assert driver.log(job_id) == "once\n"


def test_restart_after_submitting_submits_the_same_again(driver: Any, clusters: Any) -> None:
    job_id = driver.submit("import time\ntime.sleep(1)\nprint('once')")
    driver.until(job_id, lambda job: job.state in (JobState.STARTING, JobState.RUNNING))
    driver.replace()
    job = driver.finish(job_id)
    assert job.state is JobState.SUCCEEDED
    assert set(clusters.jobs.submissions) == {f"{job_id}-a1"}
    assert driver.log(job_id) == "once\n"


def test_only_one_supervisor_has_a_job(driver: Any) -> None:
    job_id = driver.submit("import time\ntime.sleep(60)")
    driver.round()
    other = driver.fresh()
    assert other.tick() == 0
    driver.supervisor.stop()
    assert other.tick() == 1
    other.drain()
    other.stop()
    driver.supervisor = driver.fresh()
    driver.jobs.cancel(job_id, owner=OWNER)
    assert driver.finish(job_id).state is JobState.CANCELLED


def test_lease_of_a_dead_supervisor_runs_out(driver: Any) -> None:
    driver.supervisor = driver.fresh(lease_s=1.0)
    job_id = driver.submit("pass")
    driver.supervisor.tick()
    driver.supervisor.drain()
    heir = driver.fresh()
    assert heir.tick() == 0
    time.sleep(1.1)
    assert heir.tick() == 1
    heir.drain()
    driver.supervisor.stop()
    driver.supervisor = heir
    assert driver.finish(job_id).state is JobState.SUCCEEDED


def test_fenced_attempt_writes_nothing(driver: Any, store: Any, clusters: Any) -> None:
    job_id = driver.submit("import time\ntime.sleep(2)\nvalue = 1", fetch=("value",))
    driver.until(job_id, lambda job: job.state is JobState.RUNNING)
    store.objects.put(fence_path(job_id), b"2")
    process = clusters.jobs.processes[f"{job_id}-a1"]
    assert process.wait(timeout=60) == 76
    assert not store.objects.exists(attempt_path(job_id, 1, "outcome.json"))


def test_one_cluster_that_starts_holds_up_nobody(driver: Any, clusters: Any) -> None:
    clusters.running = False
    job_id = driver.submit("pass")
    driver.round()
    job = driver.jobs.get(job_id, owner=OWNER)
    assert (job.state, job.message) == (JobState.ADMITTED, "Starting your Ray cluster; this takes some seconds.")
    driver.round()
    assert clusters.starts == 1
    assert driver.finish(job_id).state is JobState.SUCCEEDED


def test_a_submission_that_hangs_holds_up_nobody(driver: Any, clusters: Any) -> None:
    clusters.jobs.held.clear()
    first = driver.submit("pass")
    driver.supervisor.tick()
    second = driver.jobs.submit(driver.jobs.get(first, owner=OWNER) and _spec("second"), owner="bea").id
    driver.supervisor.tick()
    driver.supervisor.tick()  # while the first is held
    assert driver.jobs.get(second, owner="bea").state in (JobState.ADMITTED, JobState.STARTING)
    clusters.jobs.held.set()
    assert driver.finish(first).state is JobState.SUCCEEDED


def _spec(name: str) -> Any:
    from jupyter_ext.jobs.values import JobSpec

    return JobSpec(name=name, source="pass")


def test_queue_waits_for_room_and_says_why(driver: Any) -> None:
    source = "import time\ntime.sleep(60)"
    first = driver.submit(source, resources={"cpus": 2})
    second = driver.submit("pass")
    driver.round()
    waiting = driver.jobs.get(second, owner=OWNER)
    assert waiting.state is JobState.QUEUED
    assert waiting.message == "Waiting for CPU: 2 of 2 in use, 1 asked for."
    driver.jobs.cancel(first, owner=OWNER)
    assert driver.finish(second).state is JobState.SUCCEEDED


def test_crash_of_the_users_own_is_a_failure(driver: Any) -> None:
    job_id = driver.submit(f"import os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})")
    job = driver.finish(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "crashed")
    assert "segmentation fault" in job.message


def test_job_that_is_always_killed_is_given_up(driver: Any) -> None:
    driver.replace(max_interruptions=1)
    job_id = driver.submit(f"import os\nos.kill(os.getpid(), {int(signal.SIGKILL)})")
    job = driver.finish(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "interrupted_too_often")
    assert job.attempt == 2


def test_thread_takes_a_job_up_at_once(driver: Any) -> None:
    driver.replace(idle_s=3600.0)
    driver.supervisor.start()
    time.sleep(0.3)
    started = time.monotonic()
    job_id = driver.submit("pass")
    while driver.jobs.get(job_id, owner=OWNER).state is JobState.QUEUED:
        assert time.monotonic() - started < 60
        time.sleep(0.01)
    while not driver.jobs.get(job_id, owner=OWNER).state.final:
        assert time.monotonic() - started < 120
        time.sleep(0.05)
    assert driver.jobs.list(JobQuery(state="live"), owner=OWNER).items == []
    assert not driver.jobs.has_live_jobs(OWNER)
