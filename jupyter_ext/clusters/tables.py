"""The table of clusters: one row for every owner and name. Tokens are never in it; they stay in files of mode 0600."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import UtcDateTime, metadata

cluster = sa.Table(
    "cluster",
    metadata,
    sa.Column("owner", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("backend", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False, default=""),
    # Which head the row speaks about; None while there is none.
    sa.Column("incarnation", sa.String(64)),
    sa.Column("ray_version", sa.String(32)),
    sa.Column("dashboard_url", sa.String(255)),
    # When a job or a person last needed the head: what the idle stop counts from.
    sa.Column("used_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
)
