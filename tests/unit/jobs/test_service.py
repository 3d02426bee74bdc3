from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs import ledger, tables
from jupyter_ext.jobs.protocol import attempt_path
from jupyter_ext.jobs.values import JobQuery, JobSpec, JobState, LogQuery
from jupyter_ext.store import now
from jupyter_ext.store.schema import outbox
from jupyter_ext.values import Query, new_id

OWNER = "ada"


def spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"name": "train", "source": "x = 1", **fields})


def test_submitted_job_is_durable_and_told(jobs: Any, store: Any) -> None:
    job = jobs.submit(spec(fetch=("x",), tags={"team": "a"}), owner=OWNER)
    assert (job.state, job.attempt, job.fetch, job.tags) == (JobState.QUEUED, 0, ("x",), {"team": "a"})
    assert jobs.get(job.id, owner=OWNER).source == "x = 1"
    with store.read() as tx:
        (event,) = tx.all(sa.select(outbox))
    assert event["noun"] == "job"
    assert {"job_id": job.id, "what": "state", "state": "queued", "log_size": 0}.items() <= event["data"].items()
    (transition,) = jobs.events(job.id, Query(), owner=OWNER).items
    assert (transition.from_state, transition.to_state, transition.actor) == (None, JobState.QUEUED, OWNER)
    assert jobs.changed.is_set()
    assert jobs.has_live_jobs()
    assert jobs.has_live_jobs(OWNER)
    assert not jobs.has_live_jobs("bea")


def test_others_see_nothing_of_it(jobs: Any) -> None:
    job = jobs.submit(spec(), owner=OWNER)
    verbs = [
        lambda: jobs.get(job.id, owner="bea"),
        lambda: jobs.events(job.id, Query(), owner="bea"),
        lambda: jobs.checkpoints(job.id, Query(), owner="bea"),
        lambda: jobs.read_log(job.id, LogQuery(), owner="bea"),
        lambda: jobs.result(job.id, owner="bea"),
        lambda: jobs.cancel(job.id, owner="bea"),
        lambda: jobs.pause(job.id, owner="bea"),
        lambda: jobs.resume(job.id, owner="bea"),
        lambda: jobs.notebook(job.id, owner="bea"),
        lambda: jobs.submit(spec(after=(job.id,)), owner="bea"),
    ]
    for verb in verbs:
        with pytest.raises(NotFound, match="There is no job"):
            verb()
    assert jobs.list(JobQuery(), owner="bea").items == []
    assert jobs.list(JobQuery(parent=job.id), owner="bea").items == []
    assert jobs.get(job.id, owner=OWNER).state is JobState.QUEUED


def test_same_key_is_the_same_job(jobs: Any) -> None:
    first = jobs.submit(spec(idempotency_key="k"), owner=OWNER)
    assert jobs.submit(spec(idempotency_key="k"), owner=OWNER).id == first.id
    # The cell is run again after the notebook has imported something.
    assert jobs.submit(spec(idempotency_key="k", environment={"numpy": "2"}), owner=OWNER).id == first.id
    assert jobs.submit(spec(idempotency_key="k"), owner="bea").id != first.id
    # Variables of which another kernel makes other pickles.
    one, other = (jobs.store.blobs.put(text) for text in (b"pickled", b"pickled again"))
    sent = jobs.submit(spec(idempotency_key="s", inputs=one, fingerprint="a" * 64), owner=OWNER)
    assert jobs.submit(spec(idempotency_key="s", inputs=other, fingerprint="a" * 64), owner=OWNER).id == sent.id
    with pytest.raises(Conflict, match="belongs to another job"):
        jobs.submit(spec(idempotency_key="s", inputs=one, fingerprint="b" * 64), owner=OWNER)
    assert jobs.submit(spec(), owner=OWNER).id != jobs.submit(spec(), owner=OWNER).id
    with pytest.raises(Conflict, match="belongs to another job") as caught:
        jobs.submit(spec(idempotency_key="k", source="x = 2"), owner=OWNER)
    assert caught.value.details == {"job_id": first.id}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resources": {"cpus": 3}}, "asks for 3 CPUs, and your cluster has 2"),
        ({"resources": {"gpus": 1}}, "asks for 1 GPU, and your cluster has 0"),
        ({"resources": {"memory_bytes": 10**13}}, "asks for 10,000.0 GB of memory"),
        ({"inputs": "0" * 64}, "was not uploaded"),
        ({"fetch": ("class",)}, "a word of Python's own"),
        ({"fetch": ("a", "a")}, "named twice"),
    ],
)
def test_jobs_that_could_never_run_are_refused(jobs: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        jobs.submit(spec(**fields), owner=OWNER)
    assert jobs.list(JobQuery(), owner=OWNER).items == []


def test_lists_page_and_filter(jobs: Any) -> None:
    made = []
    for number in range(5):
        made.append(jobs.submit(spec(name=f"job {number % 2}"), owner=OWNER).id)
        time.sleep(0.002)  # ids sort by the millisecond
    jobs.cancel(made[0], owner=OWNER)
    newest = list(reversed(made))
    first = jobs.list(JobQuery(limit=2), owner=OWNER)
    rest = jobs.list(JobQuery(limit=3, cursor=first.next_cursor), owner=OWNER)
    assert [job.id for job in [*first.items, *rest.items]] == newest
    assert rest.next_cursor is None
    assert [job.id for job in jobs.list(JobQuery(name="job 1"), owner=OWNER).items] == [made[3], made[1]]
    assert [job.id for job in jobs.list(JobQuery(state="live"), owner=OWNER).items] == newest[:-1]
    assert [job.id for job in jobs.list(JobQuery(state="cancelled"), owner=OWNER).items] == [made[0]]


def test_the_notebook_of_the_last_attempt_that_got_so_far(jobs: Any, store: Any) -> None:
    with pytest.raises(NotFound, match="runs no notebook"):
        jobs.notebook(jobs.submit(spec(), owner=OWNER).id, owner=OWNER)
    source = '{"cells": [{"cell_type": "code", "source": "1"}]}'
    job = jobs.submit(spec(kind="notebook", source=source), owner=OWNER)
    with pytest.raises(NotFound, match="run no cell yet: Waiting to be started"):
        jobs.notebook(job.id, owner=OWNER)
    with pytest.raises(NotFound, match="There is no job"):
        jobs.notebook(job.id, owner="bea")
    store.objects.put(attempt_path(job.id, 1, "notebook.ipynb"), b"first")
    with store.write() as tx:
        tx.execute(sa.update(tables.job).where(tables.job.c.id == job.id).values(attempt=2))
    assert jobs.notebook(job.id, owner=OWNER) == b"first"
    store.objects.put(attempt_path(job.id, 2, "notebook.ipynb"), b"second")
    assert jobs.notebook(job.id, owner=OWNER) == b"second"


def test_transition_that_lost_the_race_writes_nothing(jobs: Any, store: Any) -> None:
    job = jobs.submit(spec(), owner=OWNER)
    with store.read() as tx:
        stale = ledger.find(tx, job.id)
    assert stale is not None
    jobs.cancel(job.id, owner=OWNER)
    with store.write() as tx:
        assert ledger.move(tx, stale, JobState.ADMITTED, actor="late", message="") is None
    assert len(jobs.events(job.id, Query(), owner=OWNER).items) == 2


def test_moves_that_are_not_in_the_table_are_refused(jobs: Any, store: Any) -> None:
    job = jobs.submit(spec(), owner=OWNER)
    with store.write() as tx, pytest.raises(RuntimeError, match="never goes from queued to succeeded"):
        row = ledger.find(tx, job.id)
        assert row is not None
        ledger.move(tx, row, JobState.SUCCEEDED, actor="x", message="")


def test_result_before_the_end_is_a_conflict(jobs: Any) -> None:
    job = jobs.submit(spec(fetch=("x",)), owner=OWNER)
    with pytest.raises(Conflict, match="it is queued; wait for it to end"):
        jobs.result(job.id, owner=OWNER)


def test_log_of_a_job_that_wrote_nothing(jobs: Any) -> None:
    job = jobs.submit(spec(), owner=OWNER)
    piece = jobs.read_log(job.id, LogQuery(offset=7), owner=OWNER)
    assert (piece.offset, piece.next_offset, piece.text, piece.complete) == (0, 0, "", False)
    jobs.cancel(job.id, owner=OWNER)
    assert jobs.read_log(job.id, LogQuery(), owner=OWNER).complete


def test_a_page_of_ten_thousand_jobs_is_read_in_three_statements(
    jobs: Any, store: Any, tell: Callable[[str], None]
) -> None:
    jobs.submit(spec(), owner=OWNER)
    with store.read() as tx:
        model = dict(tx.all(sa.select(tables.job))[0])
    states = ["succeeded", "failed", "cancelled"]
    rows = [
        {**model, "id": new_id("job"), "state": states[number % 3], "name": f"n{number % 50}", "ended_at": now()}
        for number in range(10_000)
    ]
    with store.write() as tx:
        tx.execute(sa.insert(tables.job), rows)
    queries = [JobQuery(limit=100), JobQuery(state="live"), JobQuery(state="failed", limit=100), JobQuery(name="n7")]
    said: list[str] = []

    def heard(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    sa.event.listen(store.database.engine, "before_cursor_execute", heard)
    took = []
    for query in queries:
        said.clear()
        started = time.perf_counter()
        page = jobs.list(query, owner=OWNER)
        took.append(time.perf_counter() - started)
        assert 0 < len(page.items) <= query.limit
        assert len(said) <= 3, said
    sa.event.remove(store.database.engine, "before_cursor_execute", heard)
    tell(f"a page of 10,000 jobs: {1e3 * max(took):.0f} ms at most")
