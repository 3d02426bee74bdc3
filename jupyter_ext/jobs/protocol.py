"""What the supervisor and the runner say to each other through the object store, and where.

Every attempt has its own folder, so a late write of a former attempt never touches a newer one::

    jobs/<id>/fence                              number of the attempt that may write
    jobs/<id>/attempts/00001/task.json           Task: what to run
    jobs/<id>/attempts/00001/status.json         Status: heartbeat, progress, size of the log
    jobs/<id>/attempts/00001/result.pkl          cloudpickle of {name: value}
    jobs/<id>/attempts/00001/notebook.ipynb      of a notebook, as executed until now
    jobs/<id>/attempts/00001/outcome.json        Outcome: written last; without it there is no success
    jobs/<id>/logs/00001-00000000.log            the log of attempt 1 in chunks of equal size
    jobs/<id>/checkpoints/step-00000012.attempt-00001.pkl
    jobs/<id>/train/<name>/                      what Ray Train keeps of a run
    clusters/<id>/environment-<head>.json        Environment: what is installed where no server can look
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from jupyter_ext.jobs.values import Progress, Resources
from jupyter_ext.values import Value

if TYPE_CHECKING:
    from jupyter_ext.store.objects import Objects

#: Bytes of a full log chunk. Equal sizes make any offset one read, and a chunk being filled is rewritten at most
#: twice a second, so it stays small.
LOG_CHUNK_BYTES = 256 * 1024
#: How often a runner shows that it lives.
HEARTBEAT_S = 5.0
#: How often a runner hands on its log and its progress.
FLUSH_S = 0.5


def now() -> datetime:
    """Return the present moment in UTC (the store's own ``now`` would bring the database along)."""
    return datetime.now(UTC)


def fence_path(job_id: str) -> str:
    """Return the path of the fence: the number of the attempt that may write."""
    return f"jobs/{job_id}/fence"


def attempt_path(job_id: str, number: int, name: str) -> str:
    """Return the path of one object of an attempt.

    Examples
    --------
    >>> attempt_path("job-1", 2, "status.json")
    'jobs/job-1/attempts/00002/status.json'
    """
    return f"jobs/{job_id}/attempts/{number:05d}/{name}"


def log_path(job_id: str, number: int, chunk: int) -> str:
    """Return the path of one chunk of an attempt's log."""
    return f"jobs/{job_id}/logs/{number:05d}-{chunk:08d}.log"


def checkpoints_path(job_id: str) -> str:
    """Return the folder of a job's checkpoints."""
    return f"jobs/{job_id}/checkpoints"


def train_path(job_id: str) -> str:
    """Return the folder of a job's runs of Ray Train."""
    return f"jobs/{job_id}/train"


class Task(Value):
    """What an attempt is to run. ``inputs`` is an object path; ``python`` the version the inputs were pickled by.

    ``environment_path`` is the object in which to write down what is installed, where nobody knows yet.
    """

    job_id: str
    attempt: int
    name: str
    kind: Literal["python", "shell", "notebook"] = "python"
    source: str
    parameters: dict[str, JsonValue] = {}
    inputs: str | None
    fetch: tuple[str, ...]
    python: str | None
    resources: Resources = Resources()
    environment_path: str | None = None


class Status(Value):
    """How an attempt is doing; rewritten when something changed and every `HEARTBEAT_S` seconds."""

    at: datetime
    log_size: int = 0
    progress: Progress | None = None
    durable_step: int | None = None
    resumed_step: int | None = None
    peak_memory_bytes: int | None = None
    finished: bool = False


class Outcome(Value):
    """How an attempt ended: the marker that success needs."""

    at: datetime
    succeeded: bool
    reason: str | None = None
    message: str = ""
    traceback: str = ""
    result_digest: str | None = None


@dataclass(frozen=True)
class Context:
    """Which attempt this process works for. The runner's environment carries it on to the job's Ray workers.

    Examples
    --------
    >>> Context.from_environ({}) is None
    True
    >>> here = Context("file:///tmp/objects", {}, "job-1", 2)
    >>> Context.from_environ(here.environ()) == here
    True
    """

    root: str
    storage_options: dict[str, Any]
    job_id: str
    attempt: int

    VARIABLE = "JUPYTER_EXT_JOB"

    @classmethod
    def from_environ(cls, environ: Any = os.environ) -> Context | None:
        """Return the context of this process; None outside of a job."""
        text = environ.get(cls.VARIABLE)
        return cls(**json.loads(text)) if text else None

    def environ(self) -> dict[str, str]:
        """Return the environment variables that carry this context."""
        facts = {"root": self.root, "storage_options": self.storage_options}
        return {self.VARIABLE: json.dumps(facts | {"job_id": self.job_id, "attempt": self.attempt})}

    @cached_property
    def objects(self) -> Objects:
        """The workspace's object store."""
        from jupyter_ext.store.objects import Objects

        return Objects(self.root, self.storage_options)

    def holds_fence(self) -> bool:
        """Whether this attempt is the one that may write."""
        return self.objects.get(fence_path(self.job_id)) == str(self.attempt).encode()
