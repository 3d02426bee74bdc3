"""Tables of monitoring: profiles, drift reports; monitors, judged windows, alarms, deliveries. Private to this room."""

from __future__ import annotations

import sqlalchemy as sa

from jupyter_ext.store import Json, UtcDateTime, metadata

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

monitor = sa.Table(
    "monitor",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("model", sa.String(255)),
    sa.Column("dataset_id", sa.String(40)),
    sa.Column("profile_id", sa.String(40), sa.ForeignKey("profile.id")),
    sa.Column("checks", Json, nullable=False),
    # With their secrets, which no answer shows.
    sa.Column("routes", Json, nullable=False),
    sa.Column("timestamp", sa.Text),
    sa.Column("period", sa.String(32)),
    sa.Column("min_rows", sa.BigInteger, nullable=False),
    sa.Column("fire_after", sa.Integer, nullable=False),
    sa.Column("resolve_after", sa.Integer, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("evaluations", sa.Integer, nullable=False),
    sa.Column("last_end", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("owner", "name", name="uq_monitor_owner_name"),
    sa.Index("ix_monitor_owner_model", "owner", "model"),
)

#: One judged window. ``number`` counts those of a monitor that alarms were made of; it is missing for the others.
evaluation = sa.Table(
    "evaluation",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("monitor_id", sa.String(40), sa.ForeignKey("monitor.id", ondelete="CASCADE"), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("start", UtcDateTime),
    sa.Column("end", UtcDateTime, nullable=False),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
    sa.Column("number", sa.Integer),
    sa.Column("breached", sa.Integer, nullable=False),
    sa.Column("skipped", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("monitor_id", "key", name="uq_evaluation_monitor_id_key"),
    sa.Index("ix_evaluation_monitor_id_id", "monitor_id", "id"),
)

#: One row a rule of a window, so that one feature can be followed over windows.
measurement = sa.Table(
    "measurement",
    metadata,
    sa.Column("evaluation_id", sa.String(40), sa.ForeignKey("evaluation.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("check", sa.String(128), nullable=False),
    sa.Column("feature", sa.Text, nullable=False),
    sa.Column("aspect", sa.String(16), nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("statistic", sa.Float),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("comparator", sa.String(2), nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("breached", sa.Boolean, nullable=False),
)

alarm = sa.Table(
    "alarm",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("monitor_id", sa.String(40), sa.ForeignKey("monitor.id", ondelete="CASCADE"), nullable=False),
    sa.Column("check", sa.String(128), nullable=False),
    sa.Column("feature", sa.Text, nullable=False),
    sa.Column("aspect", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("comparator", sa.String(2), nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("breaches", sa.Integer, nullable=False),
    sa.Column("calm", sa.Integer, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("began_at", UtcDateTime, nullable=False),
    sa.Column("fired_at", UtcDateTime),
    sa.Column("resolved_at", UtcDateTime),
    sa.Index("ix_alarm_monitor_id_state", "monitor_id", "state"),
)

#: One message of one evaluation to one route: written with the alarms, in one transaction, and sent later.
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("monitor_id", sa.String(40), sa.ForeignKey("monitor.id", ondelete="CASCADE"), nullable=False),
    sa.Column("evaluation_id", sa.String(40), sa.ForeignKey("evaluation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("alarm_ids", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("next_at", UtcDateTime),
    sa.Column("delivered_at", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("evaluation_id", "event", "position", name="uq_delivery_evaluation_id_event_position"),
    sa.Index("ix_delivery_next_at", "next_at"),
    sa.Index("ix_delivery_monitor_id_id", "monitor_id", "id"),
)
