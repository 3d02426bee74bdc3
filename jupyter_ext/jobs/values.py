"""Values of jobs: what is asked for, what is known, what happened."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from jupyter_ext.values import Digest, Name, Query, Text, Value


class JobState(StrEnum):
    """``queued → admitted → starting → running → succeeded | failed | cancelled``; ``running → interrupted → queued``.

    ``cancelling`` is between a wish to stop and the end of the processes.
    """

    QUEUED = "queued"
    ADMITTED = "admitted"
    STARTING = "starting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Resources(Value):
    """What one attempt asks of the cluster: logical CPUs and GPUs, memory in bytes."""

    cpus: Annotated[float, Field(ge=0, le=100_000)] = 1
    gpus: Annotated[float, Field(ge=0, le=100_000)] = 0
    memory_bytes: Annotated[int, Field(ge=0)] | None = None


class JobSpec(Value):
    """What a client submits. Python ``source`` runs in a namespace that holds the variables pickled in ``inputs``."""

    name: Name
    source: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    inputs: Digest | None = None
    fetch: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    resources: Resources = Resources()
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    dataset_id: str | None = None
    label_set_id: str | None = None
    environment: dict[str, str] = {}
    tags: dict[str, str] = {}


class Progress(Value):
    """How far an attempt is. ``metrics`` are the numbers the user's code reported with the step."""

    step: int
    total: int | None = None
    metrics: dict[str, float] = {}
    at: datetime


class Attempt(Value):
    """One run of a job on a cluster. ``resumed_step`` None means it began from nothing."""

    number: int
    submission_id: str
    state: JobState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    resumed_step: int | None = None
    durable_step: int | None = None
    reason: str | None = None
    message: Text = ""


class Job(Value):
    """A durable job. ``message`` says in plain words what is happening or why it ended."""

    id: str
    name: str
    owner: str
    state: JobState
    attempt: int
    message: str = ""
    reason: str | None = None
    resources: Resources
    fetch: tuple[str, ...] = ()
    retries: int = 0
    timeout_s: float | None = None
    dataset_id: str | None = None
    label_set_id: str | None = None
    tags: dict[str, str] = {}
    progress: Progress | None = None
    log_size: int = 0
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class JobDetail(Job):
    """A job with its source and all its attempts."""

    source: str
    environment: dict[str, str] = {}
    attempts: tuple[Attempt, ...] = ()


class JobEvent(Value):
    """One transition, as it was committed."""

    id: int
    job_id: str
    attempt: int
    from_state: JobState | None
    to_state: JobState
    actor: str
    reason: str | None = None
    message: str = ""
    at: datetime


class Checkpoint(Value):
    """A saved step of a job, whole and readable."""

    step: int
    attempt: int
    size_bytes: int
    created_at: datetime


class LogChunk(Value):
    """A piece of a job's log. Offsets count UTF-8 bytes over all attempts.

    Ask again from ``next_offset`` until ``complete``.
    """

    offset: int
    next_offset: int
    text: str
    complete: bool


class LogQuery(Value):
    """Where to read a log from, and how much at most (bytes)."""

    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000


class JobQuery(Query):
    """Filter of the list of jobs. ``state`` takes one state, or ``live`` for all that are not final."""

    name: str | None = None
    state: JobState | Literal["live"] | None = None
