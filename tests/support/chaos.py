"""Kills at random: drivers, workers, heads and supervisors of a workspace whose jobs must all end, and end right.

``python -m support.chaos HOME`` is one of the supervisors: it opens the workspace and looks after it until its
standard input ends, or until it is killed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cloudpickle
import psutil
from traitlets.config import Config

from jupyter_ext.jobs.states import MOVES
from jupyter_ext.jobs.values import JobDetail, JobEvent, JobSpec, JobState, Resources
from jupyter_ext.values import Query
from jupyter_ext.workspace import Workspace

OWNER = "ada"
STEPS, EVERY = 40, 4
#: How many jobs run at a time.
AT_ONCE = 5
SECONDS_BETWEEN = 1.0
_HEADS_APART = 60.0
_PATIENCE_S = 5.0

#: Adds up 1..STEPS, a checkpoint every EVERY steps; ``seen`` holds every step once, whatever happened on the way.
#: What was really executed, redone steps too, is written down apart.
PLAIN = f"""
import os, time
from jupyter_ext.jobs import checkpoint, progress

def walk(add):
    saved = checkpoint.latest()
    total, seen = saved.state if saved else (0, [])
    for step in range(len(seen) + 1, {STEPS} + 1):
        time.sleep(0.15)
        with open(os.path.join(folder, job), "a") as file:
            file.write(f"{{os.getpid()}} {{step}}\\n")
        total = add(total, step)
        seen.append(step)
        if step % {EVERY} == 0:
            checkpoint.save(step, (total, seen))
        progress(step, {STEPS})
    return total, seen
"""
ALONE = PLAIN + "\ntotal, seen = walk(lambda total, step: total + step)\n"
#: The same sum, made by tasks in Ray workers, which die too.
ON_WORKERS = (
    PLAIN
    + """
import ray
ray.init()
add = ray.remote(max_retries=-1)(lambda total, step: total + step)
total, seen = walk(lambda total, step: ray.get(add.remote(total, step)))
"""
)

#: So long after a fault it may still be felt: a supervisor's leases run out, a head starts.
_WAKE_S = 30.0
#: How many of a hundred.
_WEIGHTS = {"driver": 60, "supervisor": 20, "worker": 10, "frozen driver": 6, "head": 4}


def configuration() -> Config:
    """Return a workspace's settings for this: many small jobs, heads that nobody stops."""
    config = Config()
    config.LocalBackend.num_cpus = 64
    config.LocalBackend.object_store_memory = 100 * 2**20
    config.ClusterService.idle_timeout = 0.0
    config.ClusterService.stop_on_close = False
    config.Supervisor.max_running = AT_ONCE
    # A supervisor that was killed is replaced when its leases have run out.
    config.Supervisor.lease_s = 5.0
    # A driver that was frozen is thawed within 8 s.
    config.Supervisor.hung_after_s = 30.0
    # Here nobody dies of its own fault, so nobody is given up, however slow the machine and quick the kills.
    config.Supervisor.max_interruptions = 1_000
    config.Workspace.track_metrics = False
    return config


def open_workspace(home: Path) -> Workspace:
    """Open the workspace that all processes share."""
    workspace = Workspace(home=str(home), user=OWNER, config=configuration())
    workspace.open()
    return workspace


@dataclass
class Fault:
    """One kill: what died, whose it was, and when."""

    kind: str
    job_id: str | None
    at: float


@dataclass
class Report:
    """What became of it all."""

    faults: list[Fault] = field(default_factory=list)
    jobs: list[JobDetail] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    redone: list[int] = field(default_factory=list)

    def waits(self, kind: str) -> dict[str, list[float]]:
        """Return the seconds from kills of a kind until they were noticed, and until the next attempts ran.

        Noticed is what is written down as the attempt's end. A kill of what all jobs need counts for each of them.
        Those that ran again without a further fault meanwhile, or one shortly before, are also told by themselves.
        """
        noticed, resumed, undisturbed = [], [], []
        for fault in self.faults:
            for job in self.jobs if fault.kind == kind else ():
                if fault.job_id in (None, job.id) and (lost := _lost(job, fault)) is not None:
                    ended, ran_again = lost
                    noticed.append(ended - fault.at)
                    if ran_again is not None:
                        resumed.append(ran_again - fault.at)
                        if not self._disturbed(job, fault, ran_again):
                            undisturbed.append(ran_again - fault.at)
        waits = {"noticed": noticed, "resumed": resumed, "undisturbed": undisturbed}
        return {what: sorted(seconds) for what, seconds in waits.items() if seconds}

    def _disturbed(self, job: JobDetail, fault: Fault, until: float) -> bool:
        others = (other for other in self.faults if other is not fault and other.job_id in (None, job.id))
        return any(fault.at - _WAKE_S < other.at < until for other in others)

    def table(self) -> str:
        """Return the report as lines of text."""
        kinds = {kind: sum(fault.kind == kind for fault in self.faults) for kind in _WEIGHTS}
        survived = sum(job.state is JobState.SUCCEEDED for job in self.jobs)
        redone = sorted(self.redone)
        lines = [
            f"faults            {len(self.faults)}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
            f"jobs survived     {survived} of {len(self.jobs)}, in {sum(job.attempt for job in self.jobs)} attempts",
            f"wrong             {len(self.wrong)}",
        ]
        if redone:
            mean = sum(redone) / len(redone)
            lines.append(f"steps redone      {mean:.1f} on average, {redone[-1]} at most (checkpoints every {EVERY})")
        for kind in ("driver", "head"):
            for what, waits in self.waits(kind).items():
                name = f"  {len(waits)} of them" if what == "undisturbed" else f"{kind} {what}"
                lines.append(f"{name:<17} {spread(waits)}{', undisturbed' if what == 'undisturbed' else ''}")
        return "\n".join(lines)


def spread(waits: list[float]) -> str:
    """Return sorted seconds in words: half of them, nearly all, all."""
    middle, most = waits[len(waits) // 2], waits[int(0.95 * len(waits))]
    return f"{middle:.1f} s in the middle, {most:.1f} s for 95 %, {waits[-1]:.1f} s at most"


def _lost(job: JobDetail, fault: Fault) -> tuple[float, float | None] | None:
    """Return when the attempt that a fault killed ended, and when the job ran again; None when it killed none of its.

    The next attempt may be lost before it runs: then the one after that counts.
    """
    for number, attempt in enumerate(job.attempts[:-1], start=1):
        if attempt.ended_at is None or attempt.ended_at.timestamp() <= fault.at:
            continue
        # That a driver ran is known: it was the one that was killed.
        ran = fault.job_id is not None or (
            attempt.started_at is not None and attempt.started_at.timestamp() <= fault.at
        )
        if not ran or attempt.state is not JobState.INTERRUPTED:
            return None
        later = (one.started_at.timestamp() for one in job.attempts[number:] if one.started_at is not None)
        return attempt.ended_at.timestamp(), next(later, None)
    return None


class Chaos:
    """A workspace under fire.

    Parameters
    ----------
    home
        A new folder.
    kills
        How many.
    seed
        Of what is killed, and when.
    """

    def __init__(self, home: Path, kills: int, seed: int = 0, say: Callable[[str], None] = lambda text: None) -> None:
        self._home = home
        self._kills = kills
        self._random = random.Random(seed)
        self._say = say
        self._steps = home / "steps"
        self._steps.mkdir(parents=True)
        self._workspace = open_workspace(home / "workspace")
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._ids: list[str] = []
        self._frozen: list[tuple[float, psutil.Process]] = []
        #: What is to die, in this order; the one on top waits for a victim until the moment beside it.
        self._deck: deque[str] = deque()
        self._patience = 0.0
        self._spared_until = 0.0
        self.report = Report()

    def run(self, timeout_s: float) -> Report:
        """Submit jobs and kill until so many kills are done; then wait for the last job, and look at all."""
        deadline = time.monotonic() + timeout_s
        try:
            self._start_supervisor()
            next_kill = float("inf")
            while True:
                live = [job_id for job_id in self._ids if not self._job(job_id).state.final]
                done = len(self.report.faults) >= self._kills
                if done and not live:
                    break
                if time.monotonic() > deadline:
                    states = [(self._job(job_id).state.value, self._job(job_id).message) for job_id in live]
                    raise TimeoutError(
                        f"{len(self.report.faults)} kills; {len(live)} jobs are not at their end: {states}"
                    )
                if not done and len(live) < AT_ONCE + 1:
                    self._submit()
                self._thaw()
                if next_kill == float("inf") and any(self._job(job_id).progress for job_id in live):
                    next_kill = time.monotonic()
                if not done and time.monotonic() >= next_kill and self._kill():
                    next_kill = time.monotonic() + SECONDS_BETWEEN * self._random.uniform(0.3, 1.7)
                time.sleep(0.1)
            self._look_at_all()
            return self.report
        finally:
            self._close()

    def _submit(self) -> None:
        number = len(self._ids)
        name = f"job-{number}"
        head = f"folder, job = {str(self._steps)!r}, {name!r}\n"
        source = head + (ON_WORKERS if number % 5 == 4 else ALONE)
        spec = JobSpec(name=name, source=source, fetch=("total", "seen"), resources=Resources(cpus=1))
        self._ids.append(self._workspace.jobs.submit(spec, owner=OWNER).id)

    def _kill(self) -> bool:
        if not self._deck:
            # By the hundred, so that a hundred kills have some of each kind.
            deck = [kind for kind, count in _WEIGHTS.items() for _ in range(count)]
            self._random.shuffle(deck)
            self._deck.extend(deck)
            self._patience = time.monotonic() + _PATIENCE_S
        kind = self._deck[0]
        if time.monotonic() > self._patience or (kind == "head" and time.monotonic() < self._spared_until):
            # There is none of it now: later.
            self._deck.rotate(-1)
            self._patience = time.monotonic() + _PATIENCE_S
            return False
        victim = {
            "driver": self._driver,
            "frozen driver": self._driver,
            "worker": self._worker,
            "head": self._head,
            "supervisor": self._ready_supervisor,
        }[kind]()
        if victim is None:
            return False
        job_id, process = victim
        try:
            if kind == "frozen driver":
                process.suspend()
                self._frozen.append((time.monotonic() + self._random.uniform(1, 8), process))
            else:
                process.kill()
        except psutil.NoSuchProcess:
            return False
        if kind == "head":
            # All jobs are lost with it; the next one is killed when they run again.
            self._spared_until = time.monotonic() + _HEADS_APART
        self._deck.popleft()
        self._patience = time.monotonic() + _PATIENCE_S
        self.report.faults.append(Fault(kind, job_id, time.time()))
        self._say(f"{len(self.report.faults):4} {kind} {job_id or ''}")
        if kind == "supervisor":
            self._start_supervisor()
        return True

    def _thaw(self) -> None:
        for when, process in list(self._frozen):
            if time.monotonic() >= when:
                self._frozen.remove((when, process))
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def _ours(self) -> Iterator[psutil.Process]:
        """Yield every process of our heads."""
        for owner, name in self._workspace.clusters.backend.known():
            folder = self._workspace.clusters.backend._folder(owner, name)  # type: ignore[attr-defined]
            from jupyter_ext.clusters import keeper

            pid = keeper.lock_holder(folder)
            if pid is not None:
                with suppress(psutil.NoSuchProcess):  # it has ended since
                    yield from psutil.Process(pid).children(recursive=True)

    def _driver(self) -> tuple[str, psutil.Process] | None:
        found = []
        for process in self._ours():
            try:
                if "jupyter_ext.jobs.runner" in process.cmdline() and process.status() != psutil.STATUS_STOPPED:
                    found.append((json.loads(process.environ()["JUPYTER_EXT_JOB"])["job_id"], process))
            except (psutil.Error, KeyError):
                continue
        # One that has taken a step: a driver killed while it starts tells little.
        begun = [(job_id, process) for job_id, process in found if process.pid == self._last_to_step(job_id)]
        return self._random.choice(begun) if begun else None

    def _last_to_step(self, job_id: str) -> int | None:
        try:
            *_, last = (self._steps / self._job(job_id).name).read_text().splitlines()
        except (FileNotFoundError, ValueError):  # opened, and nothing written yet
            return None
        return int(last.split()[0])

    def _worker(self) -> tuple[None, psutil.Process] | None:
        workers = []
        for process in self._ours():
            try:
                # Of one that ends, the line is empty.
                name = " ".join(process.cmdline())
                if name.startswith("ray::") and "JobSupervisor" not in name:
                    workers.append(process)
            except psutil.Error:
                continue
        return (None, self._random.choice(workers)) if workers else None

    def _ready_supervisor(self) -> tuple[None, psutil.Process] | None:
        # One that looks after jobs already: else none ever would.
        assert self._supervisor is not None
        ready = (self._home / "workspace" / f"ready-{self._supervisor.pid}").exists()
        return (None, psutil.Process(self._supervisor.pid)) if ready else None

    def _head(self) -> tuple[None, psutil.Process] | None:
        for process in self._ours():
            try:
                if process.name() == "gcs_server":
                    return None, process
            except psutil.Error:
                continue
        return None

    def _start_supervisor(self) -> None:
        self._end_supervisor()
        with (self._home / "supervisor.log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "support.chaos", str(self._home / "workspace")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )

    def _end_supervisor(self) -> None:
        if self._supervisor is not None:
            self._supervisor.kill()
            self._supervisor.communicate()

    def _job(self, job_id: str) -> JobDetail:
        return self._workspace.jobs.get(job_id, owner=OWNER)

    def _look_at_all(self) -> None:
        for job_id in self._ids:
            job = self._job(job_id)
            self.report.jobs.append(job)
            try:
                self._look_at(job)
            except AssertionError as error:
                self.report.wrong.append(f"{job.name}: {error}")

    def _look_at(self, job: JobDetail) -> None:
        assert job.state is JobState.SUCCEEDED, f"{job.state}: {job.message}"
        events = self._events(job.id)
        assert all(after.from_state is before.to_state for before, after in pairwise(events)), "a transition is lost"
        assert all(after.to_state in MOVES[before.to_state] for before, after in pairwise(events))
        starts = [event.attempt for event in events if event.to_state is JobState.STARTING]
        assert starts == list(range(1, job.attempt + 1)), f"attempts {starts}"
        result = cloudpickle.loads(self._workspace.jobs.result(job.id, owner=OWNER))
        assert result["seen"] == list(range(1, STEPS + 1)), "a step is lost or doubled"
        assert result["total"] == STEPS * (STEPS + 1) // 2
        # What was executed, by process: of every new one, how far it began behind the one before.
        runs: list[tuple[str, list[int]]] = []
        for line in (self._steps / job.name).read_text().splitlines():
            pid, step = line.split()
            if not runs or runs[-1][0] != pid:
                runs.append((pid, []))
            runs[-1][1].append(int(step))
        assert len({pid for pid, _ in runs}) == len(runs), "two attempts ran at once"
        for (_, before), (_, after) in pairwise(runs):
            redone = before[-1] - after[0] + 1
            assert 0 <= redone <= EVERY, f"{redone} steps redone"
            self.report.redone.append(redone)

    def _events(self, job_id: str) -> list[JobEvent]:
        """Return all that happened to a job, oldest first: one that is killed a hundred times has many pages."""
        found: list[JobEvent] = []
        cursor: str | None = None
        while True:
            page = self._workspace.jobs.events(job_id, Query(limit=500, cursor=cursor), owner=OWNER)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found[::-1]

    def _close(self) -> None:
        for _, process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._end_supervisor()
        clusters = self._workspace.clusters
        for owner, name in clusters.backend.known():
            clusters.stop(owner, name)
        self._workspace.close()


@contextmanager
def _supervising(home: Path) -> Iterator[Workspace]:
    workspace = open_workspace(home)
    workspace.start(lambda *_: None)
    try:
        yield workspace
    finally:
        workspace.close()


def _main(arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a supervisor that does nothing is waiting for: kill -USR1.
    faulthandler.register(signal.SIGUSR1)
    home = Path(arguments[0])
    with _supervising(home):
        time.sleep(1.0)
        (home / f"ready-{os.getpid()}").touch()
        sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1:])
