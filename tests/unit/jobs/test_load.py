"""Five hundred jobs of twenty users in one queue: each is seen at once, nobody is forgotten, all end."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jupyter_ext.jobs import tables
from jupyter_ext.jobs.protocol import Context, Outcome, Status, attempt_path, now
from jupyter_ext.jobs.service import JobService
from jupyter_ext.jobs.supervisor import Supervisor
from jupyter_ext.jobs.values import JobQuery, JobSpec, JobState
from jupyter_ext.store import Store
from support.waiting import wait_until
from unit.jobs.conftest import Connection, Info, ProcessClusters, ProcessJobs

# One database kind is enough; what differs between them is how long it takes.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

USERS = [f"user{number:02}" for number in range(20)]
AT_ONCE = 20


class InstantJobs(ProcessJobs):
    """Jobs that are over when they are submitted, and leave what a runner leaves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate: Callable[[], None] = lambda: None

    def submit(self, submission_id: str, entrypoint: str, *, env: dict[str, str], **_asked: Any) -> None:
        self.gate()
        self.submissions.append(submission_id)
        context = Context(**json.loads(env[Context.VARIABLE]))
        for name, value in (
            ("outcome.json", Outcome(at=now(), succeeded=True, message="Done.")),
            ("status.json", Status(at=now(), finished=True)),
        ):
            path = attempt_path(context.job_id, context.attempt, name)
            context.objects.put(path, value.model_dump_json().encode())

    def get(self, submission_id: str) -> Info | None:
        return None


class InstantClusters(ProcessClusters):
    def lose(self) -> None:
        self._heads.append(Connection(InstantJobs(self._folder), f"head-{len(self._heads)}"))


def test_five_hundred_jobs_of_twenty_users(store: Store, tmp_path: Path, tell: Callable[[str], None]) -> None:
    clusters = InstantClusters(tmp_path)
    clusters.total = {"CPU": 8.0}
    jobs = JobService(store, clusters=clusters)  # type: ignore[arg-type]
    # What all share has room for one job of each user.
    supervisor = Supervisor(jobs, pool={"CPU": AT_ONCE}, tick_s=0.05, poll_s=0.1)
    owners = {}
    for owner in USERS:
        for _ in range(25):
            owners[jobs.submit(JobSpec(name="load", source="pass"), owner=owner).id] = owner
    supervisor.start()
    began = time.monotonic()
    seen = []
    try:
        while jobs.list(JobQuery(state="live"), owner=USERS[-1]).items:
            assert time.monotonic() < began + 300
            seen.append(_seen_after(jobs))
            time.sleep(0.25)
        wait_until(lambda: not jobs.has_live_jobs())
    finally:
        supervisor.stop()
    took = time.monotonic() - began
    for owner in USERS:
        ended = jobs.list(JobQuery(name="load", limit=500), owner=owner).items
        assert {job.state for job in ended} == {JobState.SUCCEEDED}
        assert len(ended) == 25
    # First come, first served, the first user would have had all places first.
    with store.read() as tx:
        events = tx.all(sa.select(tables.job_event).order_by(tables.job_event.c.id))
    waiting, held = Counter(owners.values()), Counter[str]()
    for event in events:
        owner = owners.get(event["job_id"], "")
        if owner and event["to_state"] == JobState.ADMITTED:
            held[owner] += 1
            waiting[owner] -= 1
            assert held[owner] <= 2 or not all(waiting.values())
        elif owner and event["to_state"] == JobState.SUCCEEDED:
            held[owner] -= 1
    [head] = clusters._heads
    assert len(set(head.jobs.submissions)) == len(head.jobs.submissions)
    middle = statistics.median(seen)
    tell(
        f"500 jobs of 20 users in {took:.0f} s; meanwhile submit → visible {middle * 1e3:.0f} ms in the middle, "
        f"{max(seen) * 1e3:.0f} ms at most"
    )


def _seen_after(jobs: JobService) -> float:
    """Submit one more, and return the seconds until it is in its owner's list with its place or its state."""
    start = time.monotonic()
    job_id = jobs.submit(JobSpec(name="one more", source="pass"), owner="newcomer").id
    [first] = jobs.list(JobQuery(limit=1), owner="newcomer").items
    assert first.id == job_id
    assert first.position is not None or first.state is not JobState.QUEUED
    return time.monotonic() - start
