"""A cluster of plain processes: the same protocol as a Ray head's, running the real runner."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.errors import Unavailable
from jupyter_ext.jobs.service import JobService
from jupyter_ext.jobs.supervisor import Supervisor
from jupyter_ext.jobs.values import JobDetail, JobSpec
from jupyter_ext.store import Objects, Store
from support.attempts import Attempt

OWNER = "ada"


@dataclass(frozen=True)
class Info:
    """What the executor knows of a submission."""

    status: str
    exit_code: int | None = None
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class ProcessJobs:
    """Submissions as child processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped: set[str] = set()
        self.deleted: list[str] = []
        self.submissions: list[str] = []
        self.reachable = True
        self.held = threading.Event()
        self.held.set()

    def submit(self, submission_id: str, entrypoint: str, *, env: dict[str, str], **_asked: Any) -> None:
        self._reach()
        self.held.wait()
        self.submissions.append(submission_id)
        if submission_id in self.processes:
            return
        with (self._folder / f"{submission_id}.log").open("wb") as log:
            self.processes[submission_id] = subprocess.Popen(
                shlex.split(entrypoint.removeprefix("exec ")),
                env={**os.environ, **env},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def get(self, submission_id: str) -> Info | None:
        self._reach()
        process = self.processes.get(submission_id)
        if process is None:
            return None
        code = process.poll()
        if code is None:
            return Info("RUNNING")
        if submission_id in self.stopped:
            return Info("STOPPED", code)
        return Info("SUCCEEDED" if code == 0 else "FAILED", code)

    def stop(self, submission_id: str) -> None:
        self._reach()
        self.stopped.add(submission_id)
        self.processes[submission_id].terminate()

    def delete(self, submission_id: str) -> None:
        self._reach()
        self.deleted.append(submission_id)
        del self.processes[submission_id]

    def logs(self, submission_id: str) -> str:
        self._reach()
        return (self._folder / f"{submission_id}.log").read_text()

    def kill(self, submission_id: str, number: int = signal.SIGKILL) -> None:
        self.processes[submission_id].send_signal(number)
        self.processes[submission_id].wait()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _reach(self) -> None:
        if not self.reachable:
            raise Unavailable("the wire is cut")


@dataclass(frozen=True)
class Connection:
    """A reached cluster."""

    jobs: ProcessJobs
    incarnation: str
    python: str = sys.executable


class ProcessClusters:
    """One "cluster" for everybody. ``lose`` forgets all submissions, as a head that restarts without its state does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._heads: list[Connection] = []
        self.running = True
        self.starts = 0
        self.total: dict[str, float] = {"CPU": 2.0}
        self.node: dict[str, float] = {}
        self.wanted: list[tuple[str, list[dict[str, float]]]] = []
        self.environment_path: str | None = None
        self.lose()

    def lose(self) -> None:
        folder = self._folder / str(len(self._heads))
        folder.mkdir()
        self._heads.append(Connection(ProcessJobs(folder), f"head-{len(self._heads)}"))

    @property
    def jobs(self) -> ProcessJobs:
        return self._heads[-1].jobs

    def ensure(self, owner: str) -> Connection:
        self.starts += 1
        time.sleep(0.2)
        self.running = True
        return self._heads[-1]

    def connection(self, owner: str) -> Connection | None:
        return self._heads[-1] if self.running else None

    def capacity(self, owner: str) -> dict[str, float]:
        return self.total

    def fits(self, owner: str, bundle: dict[str, float]) -> bool:
        return all(amount <= self.node.get(name, float("inf")) for name, amount in bundle.items())

    def want(self, owner: str, bundles: list[dict[str, float]]) -> None:
        self.wanted.append((owner, bundles))

    def environment_to_tell(self, owner: str, incarnation: str) -> str | None:
        return self.environment_path

    def close(self) -> None:
        for head in self._heads:
            head.jobs.close()


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    made = Attempt(Objects(tmp_path / "objects"))
    yield made
    made.close()


class S3:
    """A real S3 server (moto) on a port of its own, and a bucket."""

    def __init__(self) -> None:
        self._port = 0
        self.start()
        import boto3

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        boto3.client("s3", **self._endpoint, **keys).create_bucket(Bucket="bucket")

    def start(self) -> None:
        """Start, or go on where it was stopped."""
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def objects(self) -> Objects:
        return Objects("s3://bucket/prefix", {"key": "test", "secret": "test", "client_kwargs": self._endpoint})

    @property
    def _endpoint(self) -> dict[str, str]:
        return {"endpoint_url": f"http://127.0.0.1:{self._port}", "region_name": "us-east-1"}


@pytest.fixture
def s3_server() -> Iterator[S3]:
    running = S3()
    yield running
    running.stop()


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[ProcessClusters]:
    (tmp_path / "cluster").mkdir()
    running = ProcessClusters(tmp_path / "cluster")
    yield running
    running.close()


@pytest.fixture
def jobs(store: Store, clusters: ProcessClusters) -> JobService:
    return JobService(store, clusters=clusters)  # type: ignore[arg-type]


class Driver:
    """A supervisor moved by hand."""

    def __init__(self, jobs: JobService) -> None:
        self.jobs = jobs
        self.supervisor = self.fresh()

    def fresh(self, **settings: Any) -> Supervisor:
        return Supervisor(self.jobs, **{"poll_s": 0.1, "lost_after_s": 1.0, "stop_grace_s": 2, **settings})

    def replace(self, **settings: Any) -> None:
        """Another supervisor takes over, as after a restart of the server."""
        self.supervisor.stop()
        self.supervisor = self.fresh(**settings)

    def round(self) -> None:
        self.supervisor.tick()
        self.supervisor.drain()

    def until(self, job_id: str, reached: Callable[[JobDetail], bool], timeout_s: float = 60.0) -> JobDetail:
        deadline = time.monotonic() + timeout_s
        while True:
            self.round()
            job = self.jobs.get(job_id, owner=OWNER)
            if reached(job):
                return job
            assert time.monotonic() < deadline, f"still {job.state}: {job.message}"
            time.sleep(0.05)

    def finish(self, job_id: str, timeout_s: float = 60.0) -> JobDetail:
        return self.until(job_id, lambda job: job.state.final, timeout_s)

    def submit(self, source: str, **fields: Any) -> str:
        return self.jobs.submit(JobSpec(name="test", source=source, **fields), owner=OWNER).id

    def log(self, job_id: str) -> str:
        from jupyter_ext.jobs.values import LogQuery

        return self.jobs.read_log(job_id, LogQuery(), owner=OWNER).text


@pytest.fixture
def driver(jobs: JobService) -> Iterator[Driver]:
    made = Driver(jobs)
    yield made
    made.supervisor.stop()
