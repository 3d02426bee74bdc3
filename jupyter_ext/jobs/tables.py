"""The tables of jobs: what was asked for, its attempts, every transition, and who supervises it."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import Json, UtcDateTime, metadata

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    # The whole of what was asked, for "the same key with another spec is a conflict".
    sa.Column("spec_digest", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("inputs", sa.String(64)),
    sa.Column("parameters", Json, nullable=False),
    sa.Column("fetch", Json, nullable=False),
    sa.Column("resources", Json, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    # Ids of the jobs that must succeed first.
    sa.Column("after", Json, nullable=False),
    # The sweep it is a child of.
    sa.Column("parent_id", sa.String(64)),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("timeout_s", sa.Float),
    sa.Column("dataset_id", sa.String(64)),
    sa.Column("label_set_id", sa.String(64)),
    sa.Column("environment", Json, nullable=False),
    sa.Column("tags", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    # What a stop is to end in (cancelled, paused, or failed after a timeout); survives a crash in the middle of it.
    sa.Column("want_state", sa.String(16)),
    # Counts transitions: an UPDATE names the version it read, so of two writers one loses and sees it.
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    # How often the user's own code failed, which spends `retries`; and how often in a row something else interrupted
    # it before it got any further.
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("interruptions", sa.Integer, nullable=False),
    # A job that was put back waits until then, so that a crash that repeats does not spin.
    sa.Column("not_before", UtcDateTime),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("progress", Json),
    sa.Column("log_size", sa.BigInteger, nullable=False),
    # How much of the log was read for metrics, None when all was; and whether there were any.
    sa.Column("tracked", sa.BigInteger),
    sa.Column("run", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.UniqueConstraint("owner", "idempotency_key", name="uq_job_owner_idempotency_key"),
)
# Lists are one index walk each, newest first, whatever the filter.
sa.Index("ix_job_owner_parent_id", job.c.owner, job.c.parent_id, job.c.id)
sa.Index("ix_job_parent_id_id", job.c.parent_id, job.c.id)
sa.Index("ix_job_owner_state_id", job.c.owner, job.c.state, job.c.id)
sa.Index("ix_job_owner_name_id", job.c.owner, job.c.name, job.c.id)
# The supervisor's question twice a second: which jobs are live. Partial, so history costs it nothing.
_LIVE = job.c.ended_at.is_(None)
sa.Index("ix_job_live", job.c.id, sqlite_where=_LIVE, postgresql_where=_LIVE)
_TRACKED = job.c.tracked.is_not(None)
sa.Index("ix_job_tracked", job.c.id, sqlite_where=_TRACKED, postgresql_where=_TRACKED)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("job_id", sa.String(64), sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("submission_id", sa.String(128), nullable=False, unique=True),
    # Which head it was submitted to: another incarnation knows nothing of it.
    sa.Column("incarnation", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("resumed_step", sa.BigInteger),
    sa.Column("durable_step", sa.BigInteger),
    # The last step it reported: what the next attempt redoes is the distance from where it resumes.
    sa.Column("last_step", sa.BigInteger),
    # Bytes of log in storage; settled when the attempt ends, so that offsets over all attempts never move.
    sa.Column("log_size", sa.BigInteger, nullable=False),
    sa.Column("cpu_seconds", sa.Float, nullable=False),
    sa.Column("gpu_seconds", sa.Float, nullable=False),
    sa.Column("peak_memory_bytes", sa.BigInteger),
    # Whether Ray still keeps a record of it that we have not deleted.
    sa.Column("in_ray", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("message", sa.Text, nullable=False),
)
_IN_RAY = attempt.c.in_ray.is_(True)
sa.Index("ix_attempt_in_ray", attempt.c.job_id, sqlite_where=_IN_RAY, postgresql_where=_IN_RAY)

job_event = sa.Table(
    "job_event",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.String(64), sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("from_state", sa.String(16)),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
sa.Index("ix_job_event_job_id_id", job_event.c.job_id, job_event.c.id)

lease = sa.Table(
    "job_lease",
    metadata,
    sa.Column("job_id", sa.String(64), sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)

schedule = sa.Table(
    "job_schedule",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("cron", sa.String(200), nullable=False),
    sa.Column("timezone", sa.String(64), nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    # None while it is paused. An UPDATE names the moment it read, so a schedule fires once however many look.
    sa.Column("next_at", UtcDateTime),
    sa.Column("last_at", UtcDateTime),
    sa.Column("last_job_id", sa.String(64)),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("owner", "name", name="uq_job_schedule_owner_name"),
)
sa.Index("ix_job_schedule_next_at", schedule.c.next_at)
