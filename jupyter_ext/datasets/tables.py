"""The table of data sets: one row a registered version."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import Json, UtcDateTime, metadata

dataset = sa.Table(
    "dataset",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("blob", sa.String(64), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("owner", "name", "version", name="uq_dataset_owner_name_version"),
)
