"""What is asked for beyond one job: an order, sweeps, pauses, priorities, quotas, usage."""

from __future__ import annotations

import platform
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from jupyter_ext.clusters.environment import Environment
from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs import tables
from jupyter_ext.jobs.values import JobQuery, JobSpec, JobState, LogQuery, Resources, UsageQuery
from jupyter_ext.store import now
from jupyter_ext.values import new_id
from support.rows import row
from unit.jobs.conftest import OWNER, Driver, ProcessClusters

WAITS = "import time\ntime.sleep(60)"
STEPS = """
import time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
for step in range(saved.step + 1 if saved else 1, 4):
    checkpoint.save(step, step)
    progress(step, 3)
    if step == 2 and not saved:
        time.sleep(60)
"""


def test_a_job_starts_when_those_before_it_have_succeeded(driver: Driver) -> None:
    first = driver.submit("x = 1")
    second = driver.submit("y = 1", after=(first,))
    job = driver.until(second, lambda job: job.state is not JobState.QUEUED or "Waiting for" in job.message)
    assert job.message == "Waiting for 'test' to succeed."
    assert driver.finish(second).state is JobState.SUCCEEDED
    done, other = driver.jobs.get(first, owner=OWNER), driver.jobs.get(second, owner=OWNER)
    assert done.ended_at is not None
    assert other.started_at is not None
    assert done.ended_at <= other.started_at


def test_what_comes_after_a_failure_never_starts(driver: Driver) -> None:
    first = driver.submit("1 / 0")
    second = driver.submit("y = 1", after=(first,))
    third = driver.submit("y = 1", after=(second,))
    job = driver.finish(third)
    assert (job.state, job.reason, job.attempt) == (JobState.FAILED, "after_failed", 0)
    assert "did not succeed" in job.message


def test_a_job_comes_after_jobs_that_there_are(driver: Driver) -> None:
    with pytest.raises(NotFound, match="There is no job 'job-x'"):
        driver.submit("x = 1", after=("job-x",))


def test_a_paused_job_goes_on_from_its_checkpoint(driver: Driver) -> None:
    job_id = driver.submit(STEPS)
    driver.until(job_id, lambda job: job.attempts != () and job.attempts[0].durable_step == 2)
    assert driver.jobs.pause(job_id, owner=OWNER).state is JobState.CANCELLING
    job = driver.until(job_id, lambda job: job.state is JobState.PAUSED)
    assert job.message == "Paused; it goes on from step 2 when resumed."
    assert job.attempts[0].state is JobState.INTERRUPTED
    for _ in range(5):
        driver.round()
    assert driver.jobs.get(job_id, owner=OWNER).state is JobState.PAUSED
    assert driver.jobs.resume(job_id, owner=OWNER).state is JobState.QUEUED
    job = driver.finish(job_id)
    assert (job.state, job.attempt, job.attempts[1].resumed_step) == (JobState.SUCCEEDED, 2, 2)
    # A pause is nobody's failure.
    assert driver.jobs.events(job_id, JobQuery(limit=500), owner=OWNER).items[0].message == "Done, at attempt 2."


def test_pausing_what_has_no_process_is_done_at_once(driver: Driver) -> None:
    job_id = driver.submit("x = 1")
    assert driver.jobs.pause(job_id, owner=OWNER).state is JobState.PAUSED
    assert driver.jobs.pause(job_id, owner=OWNER).state is JobState.PAUSED
    driver.round()
    assert driver.jobs.cancel(job_id, owner=OWNER).state is JobState.CANCELLED
    for refused in (driver.jobs.pause, driver.jobs.resume):
        with pytest.raises(Conflict, match="cancelled already"):
            refused(job_id, owner=OWNER)


def test_a_cancel_goes_before_a_pause(driver: Driver) -> None:
    job_id = driver.submit(WAITS)
    driver.until(job_id, lambda job: job.state is JobState.RUNNING)
    driver.jobs.pause(job_id, owner=OWNER)
    with pytest.raises(Conflict, match="still being stopped"):
        driver.jobs.resume(job_id, owner=OWNER)
    driver.jobs.cancel(job_id, owner=OWNER)
    with pytest.raises(Conflict, match="for good"):
        driver.jobs.pause(job_id, owner=OWNER)
    assert driver.finish(job_id).state is JobState.CANCELLED


def test_a_sweep_is_one_job_with_children(driver: Driver, clusters: ProcessClusters) -> None:
    clusters.total = {"CPU": 2.0}
    parent = driver.submit(
        "result = lr * 2 + depth", fetch=("result",), parameters={"depth": 1}, sweep=({"lr": 1}, {"lr": 2}, {"lr": 3})
    )
    job = driver.jobs.get(parent, owner=OWNER)
    assert (job.kind, job.children) == ("sweep", {JobState.QUEUED: 3})
    listed = driver.jobs.list(JobQuery(), owner=OWNER).items
    assert [item.id for item in listed] == [parent]
    done = driver.finish(parent)
    assert (done.state, done.message, done.children) == (JobState.SUCCEEDED, "Done.", {JobState.SUCCEEDED: 3})
    assert done.progress is not None
    assert (done.progress.step, done.progress.total) == (3, 3)
    children = driver.jobs.list(JobQuery(parent=parent), owner=OWNER).items[::-1]
    assert [child.name for child in children] == ["test-1", "test-2", "test-3"]
    assert [child.parameters for child in children] == [{"depth": 1, "lr": lr} for lr in (1, 2, 3)]
    assert done.attempts == ()


def test_a_sweep_fails_when_a_child_does_and_the_others_go_on(driver: Driver) -> None:
    parent = driver.submit("1 / lr", sweep=({"lr": 0}, {"lr": 1}))
    done = driver.finish(parent)
    assert (done.state, done.reason, done.message) == (JobState.FAILED, "children_failed", "1 of 2 jobs failed.")
    assert done.children == {JobState.FAILED: 1, JobState.SUCCEEDED: 1}


def test_a_sweep_is_paused_resumed_and_cancelled_with_its_children(driver: Driver) -> None:
    parent = driver.submit(WAITS, sweep=({"a": 1}, {"a": 2}, {"a": 3}))
    driver.until(parent, lambda job: job.children.get(JobState.RUNNING) == 2)
    driver.jobs.pause(parent, owner=OWNER)
    paused = driver.until(parent, lambda job: job.state is JobState.PAUSED)
    assert paused.children == {JobState.PAUSED: 3}
    driver.jobs.resume(parent, owner=OWNER)
    driver.until(parent, lambda job: job.children.get(JobState.RUNNING) == 2)
    driver.jobs.cancel(parent, owner=OWNER)
    done = driver.finish(parent)
    assert (done.state, done.children) == (JobState.CANCELLED, {JobState.CANCELLED: 3})


def test_cancelling_some_children_cancels_the_sweep_when_the_others_are_done(driver: Driver) -> None:
    parent = driver.submit("x = 1", sweep=({"a": 1}, {"a": 2}))
    child = driver.jobs.list(JobQuery(parent=parent), owner=OWNER).items[0]
    driver.jobs.cancel(child.id, owner=OWNER)
    done = driver.finish(parent)
    assert (done.state, done.children) == (JobState.CANCELLED, {JobState.CANCELLED: 1, JobState.SUCCEEDED: 1})


def test_the_queue_shows_its_order_and_priority_changes_it(driver: Driver, clusters: ProcessClusters) -> None:
    clusters.total = {"CPU": 1.0}
    held = driver.submit(WAITS)
    driver.until(held, lambda job: job.state is JobState.RUNNING)
    first, second = driver.submit("x = 1"), driver.submit("x = 1")
    urgent = driver.submit("x = 1", priority=10)
    driver.round()
    positions = {job.id: job.position for job in driver.jobs.list(JobQuery(), owner=OWNER).items}
    assert positions == {held: None, urgent: 1, first: 2, second: 3}
    assert driver.jobs.get(second, owner=OWNER).position == 3
    assert driver.jobs.get(urgent, owner=OWNER).message == "Waiting for CPU: 1 of 1 in use, 1 asked for."
    driver.jobs.cancel(held, owner=OWNER)
    ends = [driver.finish(job_id).ended_at for job_id in (urgent, first, second)]
    assert all(one is not None for one in ends)
    assert ends[0] == min(end for end in ends if end is not None)


def test_quotas_of_users_and_of_everybody(driver: Driver, clusters: ProcessClusters) -> None:
    driver.replace(quotas={"*": {"jobs": 1}, "bob": {"jobs": 2}})
    ids = [
        driver.jobs.submit(JobSpec(name="test", source=WAITS), owner=owner).id for owner in (OWNER, OWNER, "bob", "bob")
    ]
    driver.round()
    messages = [
        driver.jobs.get(job_id, owner=owner).message
        for job_id, owner in zip(ids, (OWNER, OWNER, "bob", "bob"), strict=True)
    ]
    assert messages[1] == "Waiting: 1 jobs are running, which is the limit in the quota of ada."
    assert not any(message.startswith("Waiting:") for message in (messages[0], *messages[2:]))
    for job_id, owner in zip(ids, (OWNER, OWNER, "bob", "bob"), strict=True):
        driver.jobs.cancel(job_id, owner=owner)


def test_members_of_a_group_share_its_quota(driver: Driver) -> None:
    driver.replace(quotas={"group:research": {"jobs": 1}}, groups={"research": [OWNER, "bob"]})
    owners = (OWNER, "bob", "eve")
    ids = [driver.jobs.submit(JobSpec(name="test", source=WAITS), owner=owner).id for owner in owners]
    driver.round()
    messages = [driver.jobs.get(job_id, owner=owner).message for job_id, owner in zip(ids, owners, strict=True)]
    assert messages[1] == "Waiting: 1 jobs are running, which is the limit in the quota of research."
    assert not any(message.startswith("Waiting:") for message in (messages[0], messages[2]))
    for job_id, owner in zip(ids, owners, strict=True):
        driver.jobs.cancel(job_id, owner=owner)


def test_the_shared_pool_goes_first_to_who_had_less_of_it_lately(driver: Driver) -> None:
    driver.replace(pool={"CPU": 1}, fair_share_window_s=100.0)
    with driver.jobs.store.write() as tx:
        # Within the window ada has held half a CPU, and bob, for hours until long into it, a tenth.
        for owner, began, ended, cpus in ((OWNER, 60, 10, 1.0), ("bob", 20_000, 90, 1.0)):
            begun, end = (now() - timedelta(seconds=ago) for ago in (began, ended))
            job_id = new_id("job")
            common = {"state": "succeeded", "created_at": begun, "started_at": begun, "ended_at": end}
            tx.execute(sa.insert(tables.job), [row(tables.job, id=job_id, owner=owner, name="former", **common)])
            held = {"number": 1, "submission_id": job_id, "cpu_seconds": cpus * (began - ended), "gpu_seconds": 0.0}
            tx.execute(sa.insert(tables.attempt), [row(tables.attempt, job_id=job_id, **held, **common)])
    mine = driver.submit(WAITS)
    bobs = driver.jobs.submit(JobSpec(name="test", source=WAITS), owner="bob").id
    driver.round()
    assert driver.jobs.get(bobs, owner="bob").state is not JobState.QUEUED
    waiting = driver.jobs.get(mine, owner=OWNER)
    assert waiting.message == "Waiting for CPU in the shared pool: 1 of 1 in use, 1 asked for."
    driver.jobs.cancel(mine, owner=OWNER)
    driver.jobs.cancel(bobs, owner="bob")
    assert driver.supervisor._held_lately() == {
        OWNER: {"CPU": pytest.approx(0.5, abs=0.05), "GPU": 0.0},
        "bob": {"CPU": pytest.approx(0.1, abs=0.05), "GPU": 0.0},
    }


def test_the_cluster_is_told_what_to_have_room_for(driver: Driver, clusters: ProcessClusters) -> None:
    clusters.total = {"CPU": 4.0, "GPU": 2.0}
    job_id = driver.submit("x = 1", resources=Resources(cpus=1, gpus=1, workers=2))
    driver.round()
    assert clusters.wanted[-1] == (OWNER, [{"CPU": 1.0, "GPU": 1.0}] * 2)
    driver.finish(job_id)
    driver.round()
    assert clusters.wanted[-1] == (OWNER, [])
    with pytest.raises(Invalid, match="asks for 3 GPUs, and your cluster has 2"):
        driver.submit("x = 1", resources=Resources(gpus=1, workers=3))


def test_what_no_node_holds_is_refused(driver: Driver, clusters: ProcessClusters) -> None:
    clusters.total, clusters.node = {"CPU": 8.0}, {"CPU": 4.0}
    with pytest.raises(Invalid, match="No node of your cluster can ever hold that at once"):
        driver.submit("x = 1", resources=Resources(cpus=5))
    driver.submit("x = 1", resources=Resources(cpus=4, workers=2))


def test_usage_is_what_was_held_times_how_long(driver: Driver, clusters: ProcessClusters) -> None:
    job_id = driver.submit("import time\ntime.sleep(1)", resources=Resources(cpus=2))
    job = driver.finish(job_id)
    (attempt,) = job.attempts
    assert attempt.started_at is not None
    assert attempt.ended_at is not None
    held = (attempt.ended_at - attempt.started_at).total_seconds()
    assert attempt.cpu_seconds == pytest.approx(2 * held, abs=0.2)
    assert attempt.cpu_seconds > 1
    assert attempt.gpu_seconds == 0
    assert attempt.peak_memory_bytes is not None
    assert attempt.peak_memory_bytes > 10e6
    usage = driver.jobs.usage(UsageQuery(), owner=OWNER)
    assert (usage.jobs, usage.attempts, usage.cpu_seconds) == (1, 1, attempt.cpu_seconds)
    assert driver.jobs.usage(UsageQuery(), owner="bob").jobs == 0
    assert driver.jobs.usage(UsageQuery(since=now() + timedelta(hours=1)), owner=OWNER).attempts == 0


def test_usage_grows_while_a_job_runs(driver: Driver) -> None:
    job_id = driver.submit(WAITS, resources=Resources(cpus=2))
    running = driver.until(job_id, lambda job: job.state is JobState.RUNNING).attempts[0]
    time.sleep(0.5)
    later, usage = driver.jobs.get(job_id, owner=OWNER).attempts[0], driver.jobs.usage(UsageQuery(), owner=OWNER)
    assert later.cpu_seconds >= running.cpu_seconds + 1.0
    assert usage.cpu_seconds >= later.cpu_seconds
    assert (usage.jobs, usage.attempts, usage.gpu_seconds) == (1, 1, 0.0)
    driver.jobs.cancel(job_id, owner=OWNER)
    ended = driver.finish(job_id).attempts[0]
    assert driver.jobs.usage(UsageQuery(), owner=OWNER).cpu_seconds == ended.cpu_seconds >= usage.cpu_seconds


def test_log_checkpoints_and_result_outlive_the_cluster(driver: Driver, clusters: ProcessClusters) -> None:
    source = "from jupyter_ext.jobs import checkpoint\ncheckpoint.save(1, 'one')\nprint('done')\nx = 1"
    job_id = driver.submit(source, fetch=("x",))
    driver.finish(job_id)
    clusters.lose()
    clusters.running = False
    driver.replace()
    driver.round()
    assert driver.log(job_id).endswith("done\n")
    assert driver.jobs.read_log(job_id, LogQuery(offset=len(driver.log(job_id)) - 5), owner=OWNER).text == "done\n"
    assert [saved.step for saved in driver.jobs.checkpoints(job_id, JobQuery(), owner=OWNER).items] == [1]
    assert driver.jobs.result(job_id, owner=OWNER)
    assert clusters.starts == 0


def test_a_job_tells_what_is_installed_where_nobody_knows(driver: Driver, clusters: ProcessClusters) -> None:
    clusters.environment_path = "clusters/c/environment-h.json"
    assert driver.finish(driver.submit("x = 1")).state is JobState.SUCCEEDED
    told = Environment.model_validate_json(driver.jobs.store.objects.get(clusters.environment_path))
    assert told.python == platform.python_version()
    assert told.modules["sklearn"] == ("scikit-learn",)
    # Where it can't be told, the job goes on.
    clusters.environment_path = "../outside"
    assert driver.finish(driver.submit("x = 1")).state is JobState.SUCCEEDED


def test_parameters_are_variables(driver: Driver) -> None:
    job_id = driver.submit("print(lr, names)", parameters={"lr": 0.1, "names": ["a", None]})
    driver.finish(job_id)
    assert "0.1 ['a', None]" in driver.log(job_id)
    with pytest.raises(Invalid, match="'class' is a word of Python"):
        driver.submit("x = 1", parameters={"class": 1})


def test_queued_jobs_do_not_slow_a_round(driver: Driver, clusters: ProcessClusters) -> None:
    """500 jobs of 20 users wait: what a round writes does not grow with them."""
    clusters.total = {"CPU": 1.0}
    clusters.jobs.held.clear()
    for number in range(500):
        driver.jobs.submit(JobSpec(name="test", source=WAITS), owner=f"user{number % 20}")
    driver.supervisor.tick()
    with driver.jobs.store.read() as tx:
        import sqlalchemy as sa

        from jupyter_ext.store.schema import outbox

        before = tx.scalar(sa.select(sa.func.count()).select_from(outbox))
        driver.supervisor.tick()
        time.sleep(0.2)
    with driver.jobs.store.read() as tx:
        after = tx.scalar(sa.select(sa.func.count()).select_from(outbox))
    clusters.jobs.held.set()
    assert after - before <= 60
