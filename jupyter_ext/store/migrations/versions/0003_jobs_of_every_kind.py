"""Jobs of every kind: parameters, priority, order, sweeps, usage; schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jupyter_ext.store.schema import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_JOB = (
    ("kind", sa.String(length=16), "python"),
    ("parameters", Json, "{}"),
    ("priority", sa.Integer(), "0"),
    ("after", Json, "[]"),
    ("run", sa.Boolean(), sa.false()),
)


def upgrade() -> None:
    """Apply. Columns are added in place: SQLite would otherwise copy `job` and lose what refers to it."""
    for name, kind, default in _JOB:
        op.add_column("job", sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column("job", sa.Column("parent_id", sa.String(length=64), nullable=True))
    op.add_column("job", sa.Column("tracked", sa.BigInteger(), nullable=True))
    op.drop_index("ix_job_owner_id", table_name="job")
    op.create_index("ix_job_owner_parent_id", "job", ["owner", "parent_id", "id"], unique=False)
    op.create_index("ix_job_parent_id_id", "job", ["parent_id", "id"], unique=False)
    tracked = sa.text("tracked IS NOT NULL")
    op.create_index("ix_job_tracked", "job", ["id"], unique=False, sqlite_where=tracked, postgresql_where=tracked)
    for name in ("cpu_seconds", "gpu_seconds"):
        op.add_column("attempt", sa.Column(name, sa.Float(), nullable=False, server_default="0"))
    op.add_column("attempt", sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "job_schedule",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("cron", sa.String(length=200), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("last_at", UtcDateTime(), nullable=True),
        sa.Column("last_job_id", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_schedule")),
        sa.UniqueConstraint("owner", "name", name="uq_job_schedule_owner_name"),
    )
    op.create_index("ix_job_schedule_next_at", "job_schedule", ["next_at"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_table("job_schedule")
    for name in ("cpu_seconds", "gpu_seconds", "peak_memory_bytes"):
        op.drop_column("attempt", name)
    op.drop_index("ix_job_tracked", table_name="job")
    op.drop_index("ix_job_parent_id_id", table_name="job")
    op.drop_index("ix_job_owner_parent_id", table_name="job")
    op.create_index("ix_job_owner_id", "job", ["owner", "id"], unique=False)
    for name in ("parent_id", "tracked", *(name for name, _, _ in _JOB)):
        op.drop_column("job", name)
