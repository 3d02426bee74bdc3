"""Routes of jobs."""

from __future__ import annotations

from jupyter_ext.jobs.values import (
    Checkpoint,
    Job,
    JobDetail,
    JobEvent,
    JobQuery,
    JobSpec,
    JobUsage,
    LogChunk,
    LogQuery,
    Schedule,
    ScheduleChange,
    ScheduleSpec,
    UsageQuery,
)
from jupyter_ext.server.routing import Bytes, Call, route
from jupyter_ext.values import Page, Query


@route("GET", "/jobs", resource="jobs", tracks_activity=False)
def list_jobs(call: Call, query: JobQuery) -> Page[Job]:
    """List jobs, newest first."""
    return call.workspace.jobs.list(query, owner=call.user)


@route("POST", "/jobs", resource="jobs", status=201)
def submit_job(call: Call, body: JobSpec) -> Job:
    """Submit a job. It is durable when this answers."""
    return call.workspace.jobs.submit(body, owner=call.user)


@route("GET", "/jobs/usage", resource="jobs", tracks_activity=False)
def get_job_usage(call: Call, query: UsageQuery) -> JobUsage:
    """Return what your jobs held of their clusters, times how long."""
    return call.workspace.jobs.usage(query, owner=call.user)


@route("GET", "/jobs/schedules", resource="jobs", tracks_activity=False)
def list_schedules(call: Call, query: Query) -> Page[Schedule]:
    """List schedules of jobs, newest first."""
    return call.workspace.jobs.schedules.list(query, owner=call.user)


@route("POST", "/jobs/schedules", resource="jobs", status=201)
def create_schedule(call: Call, body: ScheduleSpec) -> Schedule:
    """Submit a job again and again, by the clock."""
    return call.workspace.jobs.schedules.create(body, owner=call.user)


@route("PATCH", "/jobs/schedules/{schedule_id}", resource="jobs")
def change_schedule(call: Call, schedule_id: str, body: ScheduleChange) -> Schedule:
    """Pause a schedule, or let it go on."""
    return call.workspace.jobs.schedules.change(schedule_id, enabled=body.enabled, owner=call.user)


@route("DELETE", "/jobs/schedules/{schedule_id}", resource="jobs", status=204)
def delete_schedule(call: Call, schedule_id: str) -> None:
    """Delete a schedule. The jobs it submitted stay."""
    call.workspace.jobs.schedules.delete(schedule_id, owner=call.user)


@route("GET", "/jobs/{job_id}", resource="jobs", tracks_activity=False)
def get_job(call: Call, job_id: str) -> JobDetail:
    """Return a job with its source and attempts."""
    return call.workspace.jobs.get(job_id, owner=call.user)


@route("POST", "/jobs/{job_id}/cancel", resource="jobs")
def cancel_job(call: Call, job_id: str) -> Job:
    """Cancel a job."""
    return call.workspace.jobs.cancel(job_id, owner=call.user)


@route("POST", "/jobs/{job_id}/pause", resource="jobs")
def pause_job(call: Call, job_id: str) -> Job:
    """Stop a job until it is resumed."""
    return call.workspace.jobs.pause(job_id, owner=call.user)


@route("POST", "/jobs/{job_id}/resume", resource="jobs")
def resume_job(call: Call, job_id: str) -> Job:
    """Let a paused job go on from its last checkpoint."""
    return call.workspace.jobs.resume(job_id, owner=call.user)


@route("GET", "/jobs/{job_id}/events", resource="jobs", tracks_activity=False)
def list_job_events(call: Call, job_id: str, query: Query) -> Page[JobEvent]:
    """List a job's transitions, newest first."""
    return call.workspace.jobs.events(job_id, query, owner=call.user)


@route("GET", "/jobs/{job_id}/logs", resource="jobs", tracks_activity=False)
def read_job_log(call: Call, job_id: str, query: LogQuery) -> LogChunk:
    """Read a piece of a job's log."""
    return call.workspace.jobs.read_log(job_id, query, owner=call.user)


@route("GET", "/jobs/{job_id}/checkpoints", resource="jobs", tracks_activity=False)
def list_job_checkpoints(call: Call, job_id: str, query: Query) -> Page[Checkpoint]:
    """List a job's checkpoints, newest first."""
    return call.workspace.jobs.checkpoints(job_id, query, owner=call.user)


@route("GET", "/jobs/{job_id}/result", resource="jobs")
def get_job_result(call: Call, job_id: str) -> Bytes:
    """Return what a job hands back: cloudpickle of ``{name: value}``. The server itself never unpickles it."""
    return Bytes(call.workspace.jobs.result(job_id, owner=call.user))


@route("GET", "/jobs/{job_id}/notebook", resource="jobs")
def get_job_notebook(call: Call, job_id: str) -> Bytes:
    """Return the notebook that a job ran, with outputs."""
    return Bytes(call.workspace.jobs.notebook(job_id, owner=call.user))
