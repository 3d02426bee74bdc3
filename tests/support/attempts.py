"""One attempt of a job, run by the real runner in a process of its own: no Ray, no supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from jupyter_ext.jobs.logs import read_bytes, stored_size
from jupyter_ext.jobs.protocol import Context, Outcome, Status, Task, attempt_path, fence_path
from jupyter_ext.jobs.stop import GRACE_VARIABLE
from jupyter_ext.store import Objects


@dataclass
class Attempt:
    """One attempt of ``job-1`` in a folder."""

    objects: Objects
    grace_s: float = 10.0
    number: int = 1
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def context(self) -> Context:
        return Context(self.objects.root_url, self.objects.storage_options, "job-1", self.number)

    def path(self, name: str) -> str:
        return attempt_path("job-1", self.number, name)

    def prepare(self, source: str, **fields: Any) -> None:
        facts = {
            "job_id": "job-1",
            "attempt": self.number,
            "name": "try",
            "inputs": None,
            "fetch": (),
            "python": "3.1.0",
        }
        task = Task(source=source, **{**facts, **fields})
        self.objects.put(self.path("task.json"), task.model_dump_json().encode())
        self.objects.put(fence_path("job-1"), str(self.number).encode())

    def begin(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_ext.jobs.runner"],
            env={**os.environ, **self.context.environ(), GRACE_VARIABLE: str(self.grace_s)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def run(self, source: str, **fields: Any) -> int:
        self.prepare(source, **fields)
        process = self.begin()
        process.communicate(timeout=60)
        return process.returncode

    def stop(self, source: str, **fields: Any) -> int:
        """Run until the code has printed "begun", then send SIGTERM."""
        self.prepare(source, **fields)
        process = self.begin()
        self.until(lambda: "begun\n" in self.log)
        process.terminate()
        process.communicate(timeout=60)
        return process.returncode

    @property
    def log(self) -> str:
        size = stored_size(self.objects, "job-1", self.number)
        return read_bytes(self.objects, "job-1", [0] * (self.number - 1) + [size], 0, 10**9).decode()

    @property
    def outcome(self) -> Outcome:
        return Outcome.model_validate_json(self.objects.get(self.path("outcome.json")))

    @property
    def status(self) -> Status:
        return Status.model_validate_json(self.objects.get(self.path("status.json")))

    @property
    def result(self) -> Any:
        return cloudpickle.loads(self.objects.get(self.path("result.pkl")))

    def until(self, reached: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
