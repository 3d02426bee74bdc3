"""The tables of labels: tasks, people's votes, functions, frozen label sets."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import Json, UtcDateTime, metadata

label_task = sa.Table(
    "label_task",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("dataset_id", sa.String(64), nullable=False, index=True),
    sa.Column("classes", Json, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("owner", "name", name="uq_label_task_owner_name"),
)

label_vote = sa.Table(
    "label_vote",
    metadata,
    # Votes are listed by this number: a changed vote keeps it, so that paging misses none and repeats none.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.String(64), sa.ForeignKey("label_task.id", ondelete="CASCADE"), nullable=False),
    sa.Column("key", sa.String(500), nullable=False),
    sa.Column("voter", sa.String(255), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("task_id", "key", "voter", name="uq_label_vote_task_key_voter"),
    sa.Index("ix_label_vote_task_id_id", "task_id", "id"),
)

label_function = sa.Table(
    "label_function",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("task_id", sa.String(64), sa.ForeignKey("label_task.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, server_default="function"),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("votes_blob", sa.String(64), nullable=False),
    sa.Column("n_votes", sa.BigInteger, nullable=False),
    sa.Column("n_errors", sa.BigInteger, nullable=False),
    sa.Column("polarity", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("task_id", "name", "version", name="uq_label_function_task_name_version"),
)

label_set = sa.Table(
    "label_set",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("task_id", sa.String(64), sa.ForeignKey("label_task.id"), nullable=False, index=True),
    sa.Column("dataset_id", sa.String(64), nullable=False),
    sa.Column("blob", sa.String(64), nullable=False),
    sa.Column("method", sa.String(128), nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("functions", Json, nullable=False),
    sa.Column("voters", Json, nullable=False),
    sa.Column("agreement", sa.Float, nullable=True),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("n_items", sa.BigInteger, nullable=False),
    sa.Column("n_labeled", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("owner", "name", "version", name="uq_label_set_owner_name_version"),
)
