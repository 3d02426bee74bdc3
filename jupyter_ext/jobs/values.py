"""Values of jobs: what is asked for, what is known, what happened."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from jupyter_ext.values import Digest, Name, Query, Text, Value

#: A variable of Python, as ``fetch`` and ``parameters`` name it.
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Parameters = dict[Variable, JsonValue]
#: How a job's source is run: Python in the job's process, a command in a shell, a notebook cell by cell. A ``sweep``
#: runs nothing itself: it is the parent of one job for each set of parameters.
JobKind = Literal["python", "shell", "notebook", "sweep"]


class JobState(StrEnum):
    """``queued → admitted → starting → running → succeeded | failed | cancelled``; ``running → interrupted → queued``.

    ``cancelling`` is between a wish to stop and the end of the processes; a wish to pause goes that way too, and ends
    in ``paused``.
    """

    QUEUED = "queued"
    ADMITTED = "admitted"
    STARTING = "starting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    CANCELLING = "cancelling"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Resources(Value):
    """What one attempt asks of the cluster: logical CPUs and GPUs, memory in bytes, an accelerator by Ray's name.

    With ``workers``, each of so many Ray workers (`ray.train`, tasks, actors) gets that, and the job's own process,
    which then only coordinates, nothing.
    """

    cpus: Annotated[float, Field(ge=0, le=100_000)] = 1
    gpus: Annotated[float, Field(ge=0, le=100_000)] = 0
    memory_bytes: Annotated[int, Field(ge=0)] | None = None
    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")] | None = None
    workers: Annotated[int, Field(ge=0, le=10_000)] = 0


class JobSpec(Value):
    """What a client submits.

    Python ``source`` runs in a namespace that holds the variables pickled in ``inputs``, and ``parameters``. A shell
    command finds the parameters as environment variables, a notebook in a cell of their own, after the one that is
    tagged ``parameters``. ``after`` names jobs that must succeed first. With ``sweep``, one job is run for each set of
    parameters in it, and this one is their parent. ``fingerprint`` stands for ``inputs`` where it is decided whether
    two submissions of one ``idempotency_key`` are the same: pickles of the same variables may differ.
    """

    name: Name
    source: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    kind: Literal["python", "shell", "notebook"] = "python"
    inputs: Digest | None = None
    fingerprint: Digest | None = None
    parameters: Parameters = {}
    fetch: tuple[Variable, ...] = ()
    resources: Resources = Resources()
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    after: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    sweep: Annotated[tuple[Parameters, ...], Field(max_length=1_000)] = ()
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    dataset_id: str | None = None
    label_set_id: str | None = None
    environment: dict[str, str] = {}
    tags: dict[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "shell" and (self.inputs is not None or self.fetch):
            raise ValueError("a shell command has no variables to send or to fetch")
        return self


class Progress(Value):
    """How far an attempt is. ``metrics`` are the numbers the user's code reported with the step."""

    step: int
    total: int | None = None
    metrics: dict[str, float] = {}
    at: datetime


class Attempt(Value):
    """One run of a job on a cluster. ``resumed_step`` None means it began from nothing.

    ``last_step`` is the last that it reported, ``durable_step`` the last that it saved.
    ``cpu_seconds`` and ``gpu_seconds`` are what it held of its cluster times how long, until now if it runs;
    ``peak_memory_bytes`` is the most that its own processes used at a time.
    """

    number: int
    submission_id: str
    state: JobState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    resumed_step: int | None = None
    durable_step: int | None = None
    last_step: int | None = None
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    reason: str | None = None
    message: Text = ""


class Job(Value):
    """A durable job. ``message`` says in plain words what is happening or why it ended.

    ``position`` is its place in its owner's queue, from 1, while it waits there. The children of a sweep name it as
    ``parent_id``.
    """

    id: str
    name: str
    owner: str
    kind: JobKind = "python"
    state: JobState
    attempt: int
    position: int | None = None
    message: str = ""
    reason: str | None = None
    parameters: dict[str, JsonValue] = {}
    resources: Resources
    priority: int = 0
    after: tuple[str, ...] = ()
    parent_id: str | None = None
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
    """A job with its source and all its attempts; of a sweep, how many children are in which state."""

    source: str
    environment: dict[str, str] = {}
    attempts: tuple[Attempt, ...] = ()
    children: dict[JobState, int] = {}


class JobUsage(Value):
    """What a user's jobs held of their clusters, times how long, and the most memory that one of them used."""

    owner: str
    since: datetime
    jobs: int
    attempts: int
    cpu_seconds: float
    gpu_seconds: float
    peak_memory_bytes: int | None = None


class UsageQuery(Value):
    """From when on usage is counted: attempts that began since. Default: 30 days ago."""

    since: datetime | None = None


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
    """Filter of the list of jobs. ``state`` takes one state, or ``live`` for all that are not final.

    Children of sweeps are listed by their ``parent`` only.
    """

    name: str | None = None
    state: JobState | Literal["live"] | None = None
    parent: str | None = None


class ScheduleSpec(Value):
    """A job to be submitted again and again: ``cron`` in five fields, in a time zone by its IANA name."""

    name: Name
    cron: Annotated[str, Field(min_length=1, max_length=200)]
    timezone: Annotated[str, Field(max_length=64)] = "UTC"
    job: JobSpec


class Schedule(Value):
    """A schedule. ``next_at`` is None while it is paused; ``message`` says what became of its last firing."""

    id: str
    name: str
    owner: str
    cron: str
    timezone: str
    enabled: bool
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_job_id: str | None = None
    message: str = ""
    created_at: datetime


class ScheduleChange(Value):
    """Whether a schedule is to fire."""

    enabled: bool
