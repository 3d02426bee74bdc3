"""Tables of monitoring: stored profiles, drift reports, and the tests a report is made of. Private to this room."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import UtcDateTime, metadata

profile = sa.Table(
    "profile",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("blob", sa.String(64), nullable=False),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
    sa.Column("dataset_id", sa.String(40)),
    sa.Column("model", sa.String(255)),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_profile_owner_name", "owner", "name"),
    sa.Index("ix_profile_owner_model", "owner", "model"),
)

drift_report = sa.Table(
    "drift_report",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("model", sa.String(255)),
    sa.Column("profile_id", sa.String(40), sa.ForeignKey("profile.id")),
    sa.Column("n_reference", sa.BigInteger, nullable=False),
    sa.Column("n_current", sa.BigInteger, nullable=False),
    sa.Column("alpha", sa.Float, nullable=False),
    sa.Column("correction", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_drift_report_owner_name", "owner", "name"),
    sa.Index("ix_drift_report_owner_model", "owner", "model"),
)

#: One row a feature of a report, so that one feature can be followed over reports.
feature_drift = sa.Table(
    "feature_drift",
    metadata,
    sa.Column("report_id", sa.String(40), sa.ForeignKey("drift_report.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("feature", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("method", sa.String(32), nullable=False),
    sa.Column("statistic", sa.Float),
    sa.Column("threshold", sa.Float),
    sa.Column("p_value", sa.Float),
    sa.Column("q_value", sa.Float),
    sa.Column("drifted", sa.Boolean, nullable=False),
    sa.Column("n_reference", sa.BigInteger, nullable=False),
    sa.Column("n_current", sa.BigInteger, nullable=False),
)
