"""The first tables of every noun."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jupyter_ext.store.schema import Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "cluster",
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.String(length=64), nullable=True),
        sa.Column("ray_version", sa.String(length=32), nullable=True),
        sa.Column("dashboard_url", sa.String(length=255), nullable=True),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("owner", "name", name=op.f("pk_cluster")),
    )
    op.create_table(
        "dataset",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("columns", Json, nullable=False),
        sa.Column("n_rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("owner", "name", "version", name="uq_dataset_owner_name_version"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("spec_digest", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("inputs", sa.String(length=64), nullable=True),
        sa.Column("fetch", Json, nullable=False),
        sa.Column("resources", Json, nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("timeout_s", sa.Float(), nullable=True),
        sa.Column("dataset_id", sa.String(length=64), nullable=True),
        sa.Column("label_set_id", sa.String(length=64), nullable=True),
        sa.Column("environment", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("want_state", sa.String(length=16), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("interruptions", sa.Integer(), nullable=False),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("progress", Json, nullable=True),
        sa.Column("log_size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_job_owner_idempotency_key"),
    )
    op.create_index(
        "ix_job_live",
        "job",
        ["id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_job_owner_id", "job", ["owner", "id"], unique=False)
    op.create_index("ix_job_owner_name_id", "job", ["owner", "name", "id"], unique=False)
    op.create_index("ix_job_owner_state_id", "job", ["owner", "state", "id"], unique=False)
    op.create_table(
        "label_task",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("classes", Json, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_task")),
        sa.UniqueConstraint("owner", "name", name="uq_label_task_owner_name"),
    )
    op.create_index(op.f("ix_label_task_dataset_id"), "label_task", ["dataset_id"], unique=False)
    op.create_table(
        "lineage_edge",
        sa.Column("source", sa.String(length=400), nullable=False),
        sa.Column("target", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("source", "target", name=op.f("pk_lineage_edge")),
    )
    op.create_index("ix_lineage_edge_target", "lineage_edge", ["target"], unique=False)
    op.create_table(
        "lineage_node",
        sa.Column("id", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=400), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=True),
        sa.Column("facts", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lineage_node")),
    )
    op.create_table(
        "model_alias_move",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("alias", sa.String(length=256), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=True),
        sa.Column("to_version", sa.Integer(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("process", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_alias_move")),
    )
    op.create_index("ix_model_alias_move_history", "model_alias_move", ["model", "alias", "id"], unique=False)
    op.create_index(
        "uq_model_alias_move_intent",
        "model_alias_move",
        ["model", "alias"],
        unique=True,
        sqlite_where=sa.text("NOT done"),
        postgresql_where=sa.text("NOT done"),
    )
    op.create_table(
        "model_registration",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("spec", Json, nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_registration")),
        sa.UniqueConstraint("model", "owner", "idempotency_key", name="uq_model_registration_key"),
    )
    op.create_index("ix_model_registration_open", "model_registration", ["version", "created_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("noun", sa.String(length=32), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["id"],
        unique=False,
        sqlite_where=sa.text("delivered_at IS NULL"),
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "profile",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("n_rows", sa.BigInteger(), nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=True),
        sa.Column("model", sa.String(length=255), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile")),
    )
    op.create_index("ix_profile_owner_model", "profile", ["owner", "model"], unique=False)
    op.create_index("ix_profile_owner_name", "profile", ["owner", "name"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("submission_id", sa.String(length=128), nullable=False),
        sa.Column("incarnation", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("resumed_step", sa.BigInteger(), nullable=True),
        sa.Column("durable_step", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("log_size", sa.BigInteger(), nullable=False),
        sa.Column("in_ray", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempt")),
        sa.UniqueConstraint("submission_id", name=op.f("uq_attempt_submission_id")),
    )
    op.create_index(
        "ix_attempt_in_ray",
        "attempt",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("in_ray IS 1"),
        postgresql_where=sa.text("in_ray"),
    )
    op.create_table(
        "drift_report",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=True),
        sa.Column("profile_id", sa.String(length=40), nullable=True),
        sa.Column("n_reference", sa.BigInteger(), nullable=False),
        sa.Column("n_current", sa.BigInteger(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("correction", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_drift_report_profile_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_report")),
    )
    op.create_index("ix_drift_report_owner_model", "drift_report", ["owner", "model"], unique=False)
    op.create_index("ix_drift_report_owner_name", "drift_report", ["owner", "name"], unique=False)
    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("from_state", sa.String(length=16), nullable=True),
        sa.Column("to_state", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_event_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_event")),
    )
    op.create_index("ix_job_event_job_id_id", "job_event", ["job_id", "id"], unique=False)
    op.create_table(
        "job_lease",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_lease_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_lease")),
    )
    op.create_table(
        "label_function",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("votes_blob", sa.String(length=64), nullable=False),
        sa.Column("n_votes", sa.BigInteger(), nullable=False),
        sa.Column("n_errors", sa.BigInteger(), nullable=False),
        sa.Column("polarity", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["label_task.id"], name=op.f("fk_label_function_task_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_function")),
        sa.UniqueConstraint("task_id", "name", "version", name="uq_label_function_task_name_version"),
    )
    op.create_table(
        "label_set",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=128), nullable=False),
        sa.Column("params", Json, nullable=False),
        sa.Column("functions", Json, nullable=False),
        sa.Column("voters", Json, nullable=False),
        sa.Column("agreement", sa.Float(), nullable=True),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("n_items", sa.BigInteger(), nullable=False),
        sa.Column("n_labeled", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["label_task.id"], name=op.f("fk_label_set_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_set")),
        sa.UniqueConstraint("owner", "name", "version", name="uq_label_set_owner_name_version"),
    )
    op.create_index(op.f("ix_label_set_task_id"), "label_set", ["task_id"], unique=False)
    op.create_table(
        "label_vote",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("voter", sa.String(length=255), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["label_task.id"], name=op.f("fk_label_vote_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_vote")),
        sa.UniqueConstraint("task_id", "key", "voter", name="uq_label_vote_task_key_voter"),
    )
    op.create_index("ix_label_vote_task_id_id", "label_vote", ["task_id", "id"], unique=False)
    op.create_table(
        "feature_drift",
        sa.Column("report_id", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("feature", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("statistic", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("p_value", sa.Float(), nullable=True),
        sa.Column("q_value", sa.Float(), nullable=True),
        sa.Column("drifted", sa.Boolean(), nullable=False),
        sa.Column("n_reference", sa.BigInteger(), nullable=False),
        sa.Column("n_current", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"], ["drift_report.id"], name=op.f("fk_feature_drift_report_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("report_id", "position", name=op.f("pk_feature_drift")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("feature_drift")
    op.drop_index("ix_label_vote_task_id_id", table_name="label_vote")
    op.drop_table("label_vote")
    op.drop_index(op.f("ix_label_set_task_id"), table_name="label_set")
    op.drop_table("label_set")
    op.drop_table("label_function")
    op.drop_table("job_lease")
    op.drop_index("ix_job_event_job_id_id", table_name="job_event")
    op.drop_table("job_event")
    op.drop_index("ix_drift_report_owner_name", table_name="drift_report")
    op.drop_index("ix_drift_report_owner_model", table_name="drift_report")
    op.drop_table("drift_report")
    op.drop_index(
        "ix_attempt_in_ray",
        table_name="attempt",
        sqlite_where=sa.text("in_ray IS 1"),
        postgresql_where=sa.text("in_ray"),
    )
    op.drop_table("attempt")
    op.drop_index("ix_profile_owner_name", table_name="profile")
    op.drop_index("ix_profile_owner_model", table_name="profile")
    op.drop_table("profile")
    op.drop_index(
        "ix_outbox_due",
        table_name="outbox",
        sqlite_where=sa.text("delivered_at IS NULL"),
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.drop_table("outbox")
    op.drop_index("ix_model_registration_open", table_name="model_registration")
    op.drop_table("model_registration")
    op.drop_index(
        "uq_model_alias_move_intent",
        table_name="model_alias_move",
        sqlite_where=sa.text("NOT done"),
        postgresql_where=sa.text("NOT done"),
    )
    op.drop_index("ix_model_alias_move_history", table_name="model_alias_move")
    op.drop_table("model_alias_move")
    op.drop_table("lineage_node")
    op.drop_index("ix_lineage_edge_target", table_name="lineage_edge")
    op.drop_table("lineage_edge")
    op.drop_index(op.f("ix_label_task_dataset_id"), table_name="label_task")
    op.drop_table("label_task")
    op.drop_index("ix_job_owner_state_id", table_name="job")
    op.drop_index("ix_job_owner_name_id", table_name="job")
    op.drop_index("ix_job_owner_id", table_name="job")
    op.drop_index(
        "ix_job_live",
        table_name="job",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_table("job")
    op.drop_table("dataset")
    op.drop_table("cluster")
