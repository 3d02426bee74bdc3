"""The supervisor dies before or after anything it writes, anywhere; another one brings every job to its end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from jupyter_ext.errors import Unavailable
from jupyter_ext.jobs.service import JobService
from jupyter_ext.jobs.states import MOVES
from jupyter_ext.jobs.supervisor import Supervisor
from jupyter_ext.jobs.values import JobDetail, JobEvent, JobSpec, JobState
from jupyter_ext.store import Store, migrate
from jupyter_ext.values import Query
from support.postgres import Postgres
from unit.jobs.conftest import OWNER, ProcessClusters

TRAIN = """
from jupyter_ext.jobs import checkpoint, progress
import time
saved = checkpoint.latest()
for step in range(saved.step + 1 if saved else 1, 5):
    checkpoint.save(step, step)
    progress(step, 4)
    if step == 2 and not saved:
        time.sleep(60)
result = step
"""
SHORT = "result = 4"

#: Alembic migrates one database at a time.
_MIGRATING = threading.Lock()


class Dead(BaseException):
    """What a process that was killed would raise, if it still could."""


class Fuse:
    """Kills whoever uses it, before or after its ``at``-th write; from then on everything fails at once."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.count = 0
        self.blown = False
        self.lock = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[None]:
        with self.lock:
            if self.blown:
                raise Dead
            self.count += 1
            mine = self.count == self.at
            if mine and not self.after:
                self.blown = True
                raise Dead
        yield
        if mine:
            self.blown = True
            raise Dead

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            with self.write():
                return function(*args, **kwargs)

        return guarded


class Frost(Fuse):
    """Freezes whoever comes to the ``at``-th write, before it, until it thaws; then all goes on as if nothing was."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.thaw = threading.Event()

    @contextmanager
    def write(self) -> Iterator[None]:
        with self.lock:
            self.count += 1
            mine = self.count == self.at
        if mine:
            self.blown = True
            self.thaw.wait()
        yield


class Guarded:
    """An object whose named methods go through a fuse."""

    def __init__(self, inner: Any, fuse: Fuse, *methods: str) -> None:
        self._inner = inner
        for name in methods:
            setattr(self, name, fuse.wrap(getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class GuardedStore(Guarded):
    def __init__(self, inner: Store, fuse: Fuse) -> None:
        super().__init__(inner, fuse)
        self._fuse = fuse
        self.objects = Guarded(inner.objects, fuse, "put", "delete")

    @contextmanager
    def write(self) -> Iterator[Any]:
        # Before: nothing was written. After: it is committed, and nobody will ever know in this process.
        with self._fuse.write(), self._inner.write() as tx:
            yield tx


class GuardedClusters(Guarded):
    def __init__(self, inner: ProcessClusters, fuse: Fuse) -> None:
        super().__init__(inner, fuse)
        self._fuse = fuse

    def connection(self, owner: str) -> Any:
        found = self._inner.connection(owner)
        return found and type(found)(Guarded(found.jobs, self._fuse, "submit", "stop", "delete"), found.incarnation)


class House:
    """A workspace of its own for one case: the service that the user talks to never dies, its supervisors do."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.store = Store(f"sqlite:///{folder / 'jobs.db'}", folder / "objects")
        with _MIGRATING:
            migrate.prepare(self.store.database, auto=True)
        (folder / "cluster").mkdir()
        self.clusters = ProcessClusters(folder / "cluster")
        self.jobs = JobService(self.store, clusters=self.clusters)  # type: ignore[arg-type]

    def supervisor(self, fuse: Fuse) -> Supervisor:
        service = JobService(GuardedStore(self.store, fuse), clusters=GuardedClusters(self.clusters, fuse))  # type: ignore[arg-type]
        return Supervisor(service, poll_s=0.1, lost_after_s=1.0, stop_grace_s=2, lease_s=1.0)

    def finish(self, job_id: str, fuse: Fuse, meddle: Callable[[JobDetail], None], timeout_s: float = 90) -> JobDetail:
        supervisor, deadline = self.supervisor(fuse), time.monotonic() + timeout_s
        while True:
            try:
                supervisor.tick()
                supervisor.drain()
            except Dead:
                pass
            if fuse.blown:
                # Not stopped in good order: what it held stays held until the leases run out.
                fuse = Fuse()
                supervisor = self.supervisor(fuse)
            job = self.jobs.get(job_id, owner=OWNER)
            if job.state.final:
                # Its last write gives the leases back; it may die at that one too.
                with suppress(Dead):
                    supervisor.stop()
                return job
            meddle(job)
            assert time.monotonic() < deadline, f"still {job.state}: {job.message}"
            time.sleep(0.05)

    def close(self) -> None:
        self.clusters.close()
        self.store.close()


def kill_once(house: House) -> Callable[[JobDetail], None]:
    """Kill the first attempt's process when it has saved step 2."""
    killed = False

    def meddle(job: JobDetail) -> None:
        nonlocal killed
        jobs = house.clusters.jobs
        first = f"{job.id}-a1"
        if not killed and first in jobs.processes and "saved step 2" in jobs.logs(first):
            jobs.kill(first)
            killed = True

    return meddle


def cancel_once(house: House) -> Callable[[JobDetail], None]:
    def meddle(job: JobDetail) -> None:
        if job.state is JobState.RUNNING:
            house.jobs.cancel(job.id, owner=OWNER)

    return meddle


def pause_once(house: House) -> Callable[[JobDetail], None]:
    def meddle(job: JobDetail) -> None:
        if job.state is JobState.RUNNING and job.attempt == 1 and job.attempts[0].durable_step == 2:
            house.jobs.pause(job.id, owner=OWNER)
        if job.state is JobState.PAUSED:
            house.jobs.resume(job.id, owner=OWNER)

    return meddle


SCENARIOS: dict[str, tuple[str, Callable[[House], Callable[[JobDetail], None]], JobState]] = {
    "succeeds": (SHORT, lambda house: lambda job: None, JobState.SUCCEEDED),
    "interrupted": (TRAIN, kill_once, JobState.SUCCEEDED),
    "paused": (TRAIN, pause_once, JobState.SUCCEEDED),
    "cancelled": (TRAIN, cancel_once, JobState.CANCELLED),
}


def check_history(job: JobDetail, events: list[JobEvent]) -> None:
    """No transition is lost, doubled or of another order than the table's."""
    assert events[0].from_state is None
    for before, event in itertools.pairwise(events):
        assert event.from_state is before.to_state
        assert event.to_state in MOVES[before.to_state]
    assert events[-1].to_state is job.state
    assert [attempt.number for attempt in job.attempts] == list(range(1, job.attempt + 1))
    starts = [event.attempt for event in events if event.to_state is JobState.STARTING]
    assert starts == list(range(1, job.attempt + 1))


def run_case(folder: Path, scenario: str, fuse: Fuse) -> None:
    source, meddler, expected = SCENARIOS[scenario]
    house = House(folder)
    try:
        job_id = house.jobs.submit(JobSpec(name="test", source=source, fetch=("result",)), owner=OWNER).id
        job = house.finish(job_id, fuse, meddler(house))
        assert job.state is expected, job.message
        events = house.jobs.events(job_id, Query(limit=500), owner=OWNER).items[::-1]
        check_history(job, events)
        if expected is JobState.SUCCEEDED:
            assert house.jobs.result(job_id, owner=OWNER)
        for attempt in job.attempts[1:]:
            # What was saved is not done again.
            assert attempt.resumed_step is None or attempt.resumed_step >= 2, job.attempts
        assert len(house.clusters.jobs.submissions) <= job.attempt + 1
    finally:
        house.close()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_the_supervisor_was_about_to_write_when_it_died(scenario: str, tmp_path: Path) -> None:
    whole = Fuse()
    run_case(tmp_path / "whole", scenario, whole)
    assert whole.count > 5
    cases = [(at, after) for at in range(1, whole.count + 1) for after in (False, True)]
    with ThreadPoolExecutor(6) as pool:
        runs = {
            (at, after): pool.submit(run_case, tmp_path / f"{at}-{after}", scenario, Fuse(at, after=after))
            for at, after in cases
        }
    failed = {case: run.exception() for case, run in runs.items() if run.exception() is not None}
    assert not failed


def run_frozen(folder: Path, scenario: str, frost: Frost) -> bool:
    """Freeze a supervisor, and thaw it when another has its jobs; return whether it came to be frozen at all."""
    source, meddler, expected = SCENARIOS[scenario]
    house = House(folder)
    frozen, heir, ended = house.supervisor(frost), house.supervisor(Fuse()), threading.Event()

    def supervise() -> None:
        while not ended.is_set():
            frozen.tick()
            frozen.drain()
            ended.wait(0.05)

    thread = threading.Thread(target=supervise)
    try:
        job_id = house.jobs.submit(JobSpec(name="test", source=source, fetch=("result",)), owner=OWNER).id
        thread.start()
        meddle, deadline, thaw_at = meddler(house), time.monotonic() + 90, 0.0
        while not (job := house.jobs.get(job_id, owner=OWNER)).state.final:
            assert time.monotonic() < deadline, f"still {job.state}: {job.message}"
            meddle(job)
            if frost.blown:
                # Its leases run out after a second; then both are at it.
                thaw_at = thaw_at or time.monotonic() + 2.5
                heir.tick()
                heir.drain()
            if thaw_at and time.monotonic() > thaw_at:
                frost.thaw.set()
            time.sleep(0.05)
        frost.thaw.set()
        # What it had in mind when it was frozen is done by now, and the end stays the end.
        ended.set()
        thread.join()
        job = house.jobs.get(job_id, owner=OWNER)
        assert job.state is expected, job.message
        check_history(job, house.jobs.events(job_id, Query(limit=500), owner=OWNER).items[::-1])
        assert cloudpickle.loads(house.jobs.result(job_id, owner=OWNER)) == {"result": 4}
        return frost.blown
    finally:
        frost.thaw.set()
        ended.set()
        if thread.ident is not None:
            thread.join()
        for supervisor in (frozen, heir):
            supervisor.stop()
        house.close()


@pytest.mark.parametrize("scenario", ["succeeds", "interrupted"])
def test_a_supervisor_that_was_frozen_wakes_up_and_finds_another_in_its_place(scenario: str, tmp_path: Path) -> None:
    """As SIGSTOP does, or a machine that sleeps: before any of its writes."""
    whole = Fuse()
    run_case(tmp_path / "whole", scenario, whole)
    cases = range(1, whole.count + 1)
    with ThreadPoolExecutor(6) as pool:
        runs = {at: pool.submit(run_frozen, tmp_path / str(at), scenario, Frost(at)) for at in cases}
    failed = {at: run.exception() for at, run in runs.items() if run.exception() is not None}
    assert not failed
    # The last writes may differ from one run to the next.
    assert sum(run.result() for run in runs.values()) > whole.count / 2


def test_the_database_goes_away_for_a_while(tmp_path: Path) -> None:
    house = House(tmp_path / "house")
    service = JobService(house.store, clusters=house.clusters)  # type: ignore[arg-type]
    supervisor = Supervisor(service, poll_s=0.1, lost_after_s=1.0, tick_s=0.05)
    away = threading.Event()
    read, write = house.store.read, house.store.write

    def failing(open_: Callable[[], Any]) -> Callable[[], Any]:
        def opened() -> Any:
            if away.is_set() and threading.current_thread() is not threading.main_thread():
                raise Unavailable("the database does not answer")
            return open_()

        return opened

    house.store.read, house.store.write = failing(read), failing(write)  # type: ignore[method-assign]
    supervisor.start()
    try:
        ids = [house.jobs.submit(JobSpec(name="test", source=SHORT), owner=OWNER).id for _ in range(3)]
        deadline = time.monotonic() + 60
        while not all(house.jobs.get(job_id, owner=OWNER).state.final for job_id in ids):
            assert time.monotonic() < deadline
            away.set() if int(time.monotonic() * 4) % 2 else away.clear()
            time.sleep(0.05)
        for job_id in ids:
            job = house.jobs.get(job_id, owner=OWNER)
            assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
            check_history(job, house.jobs.events(job_id, Query(limit=500), owner=OWNER).items[::-1])
    finally:
        away.clear()
        supervisor.stop()
        house.close()


def test_the_object_store_goes_away_for_a_while(tmp_path: Path) -> None:
    """The folder of objects is not there for two seconds, as a share that is mounted again; for everybody."""
    house = House(tmp_path / "house")
    supervisor = Supervisor(JobService(house.store, clusters=house.clusters), poll_s=0.1, tick_s=0.05)  # type: ignore[arg-type]
    objects = tmp_path / "house" / "objects"
    source = TRAIN.replace("time.sleep(60)", "pass").replace("progress(step, 4)", "progress(step, 4); time.sleep(0.5)")
    job_id = house.jobs.submit(JobSpec(name="test", source=source, fetch=("result",)), owner=OWNER).id
    supervisor.start()
    try:
        deadline = time.monotonic() + 90
        gone = 0.0
        while not (job := house.jobs.get(job_id, owner=OWNER)).state.final:
            assert time.monotonic() < deadline, job.message
            if not gone and job.progress is not None:
                objects.rename(objects.with_name("away"))
                objects.write_text("")  # what is no folder can't be written to
                time.sleep(2)
                objects.unlink()
                objects.with_name("away").rename(objects)
                gone = time.monotonic()
            time.sleep(0.05)
        assert gone
        assert job.state is JobState.SUCCEEDED, job.message
        check_history(job, house.jobs.events(job_id, Query(limit=500), owner=OWNER).items[::-1])
    finally:
        supervisor.stop()
        house.close()


def test_the_database_ends_every_connection_again_and_again(postgres_server: Postgres, tmp_path: Path) -> None:
    """As a PostgreSQL that restarts: whoever was in the middle of something is cut off."""
    url = postgres_server.create(template="template")
    store = Store(url, tmp_path / "objects")
    (tmp_path / "cluster").mkdir()
    clusters = ProcessClusters(tmp_path / "cluster")
    jobs = JobService(store, clusters=clusters)  # type: ignore[arg-type]
    supervisor = Supervisor(jobs, poll_s=0.1, lost_after_s=1.0, tick_s=0.05)
    name = url.rpartition("/")[2]
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ids = [jobs.submit(JobSpec(name="test", source=SHORT, fetch=("result",)), owner=OWNER).id for _ in range(4)]
    supervisor.start()
    try:
        deadline = time.monotonic() + 90
        while True:
            postgres_server.run(cut)
            try:
                found = [jobs.get(job_id, owner=OWNER) for job_id in ids]
            except Unavailable:
                continue
            if all(job.state.final for job in found):
                break
            assert time.monotonic() < deadline, [job.message for job in found]
            time.sleep(0.2)
        for job in found:
            assert job.state is JobState.SUCCEEDED, job.message
            check_history(job, jobs.events(job.id, Query(limit=500), owner=OWNER).items[::-1])
    finally:
        supervisor.stop()
        clusters.close()
        store.close()
        postgres_server.drop(url)
