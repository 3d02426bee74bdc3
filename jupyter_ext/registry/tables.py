"""Tables of the registry: what MLflow does not keep, that is, who moved an alias and why, and lineage."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import Json, UtcDateTime, metadata

#: One registration of a version. ``version`` is None until MLflow has it: such a row is to complete or to clear away.
registration = sa.Table(
    "model_registration",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("spec", Json, nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("model", "owner", "idempotency_key", name="uq_model_registration_key"),
    sa.Index("ix_model_registration_open", "version", "created_at"),
)

#: Every move of an alias, kept for ever. ``done`` false is an intent, written before MLflow is asked; one an alias.
alias_move = sa.Table(
    "model_alias_move",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("alias", sa.String(256), nullable=False),
    sa.Column("from_version", sa.Integer),
    sa.Column("to_version", sa.Integer),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("process", sa.String(64), nullable=False),
    sa.Index("ix_model_alias_move_history", "model", "alias", "id"),
    sa.Index(
        "uq_model_alias_move_intent",
        "model",
        "alias",
        unique=True,
        sqlite_where=sa.text("NOT done"),
        postgresql_where=sa.text("NOT done"),
    ),
)

#: A thing in the graph of origins, as it was when a version was registered from it.
lineage_node = sa.Table(
    "lineage_node",
    metadata,
    sa.Column("id", sa.String(400), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("label", sa.String(400), nullable=False),
    sa.Column("at", UtcDateTime),
    sa.Column("facts", Json, nullable=False),
)

#: ``source`` went into ``target``; both are ids of nodes.
lineage_edge = sa.Table(
    "lineage_edge",
    metadata,
    sa.Column("source", sa.String(400), primary_key=True),
    sa.Column("target", sa.String(400), primary_key=True),
    sa.Index("ix_lineage_edge_target", "target"),
)
