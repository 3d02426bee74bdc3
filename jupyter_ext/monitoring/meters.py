"""What Prometheus reads of monitors, at the server's ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from jupyter_ext.monitoring import tables

if TYPE_CHECKING:
    from jupyter_ext.store import Row, Store

_MONITOR = ("owner", "monitor", "model")
#: Series of single features are bounded: those of alarms only, and no more than this.
_MOST = 200


class Meters:
    """Gauges of what the database holds, set in the watcher's thread, so that a scrape costs the event loop nothing.

    Parameters
    ----------
    owner
        Whose monitors they are of.
    """

    def __init__(self, store: Store, owner: str, registry: CollectorRegistry | None = None) -> None:
        self._store = store
        self._owner = owner
        registry = registry or REGISTRY
        self._alarms = _meter(
            Gauge, "jupyter_ext_monitor_alarms", "Alarms of a monitor now.", (*_MONITOR, "state"), registry
        )
        self._firing = _meter(
            Gauge,
            "jupyter_ext_monitor_alarm_value",
            "What an alarm that fires was last held against its threshold with.",
            (*_MONITOR, "check", "feature", "aspect"),
            registry,
        )
        self._rows = _meter(Gauge, "jupyter_ext_monitor_window_rows", "Rows of the last window.", _MONITOR, registry)
        self._breached = _meter(
            Gauge, "jupyter_ext_monitor_window_breaches", "Rules that the last window broke.", _MONITOR, registry
        )
        self._end = _meter(
            Gauge,
            "jupyter_ext_monitor_window_end_timestamp_seconds",
            "The end of the last window that was judged.",
            _MONITOR,
            registry,
        )
        self._sent = _meter(
            Counter,
            "jupyter_ext_monitor_deliveries_total",
            "Messages about alarms that were sent, by what became of them.",
            ("route", "outcome"),
            registry,
        )

    def count(self, route: str, outcome: str) -> None:
        """Count a message."""
        self._sent.labels(route, outcome).inc()

    def refresh(self) -> None:
        """Read the gauges from the database."""
        monitor, alarm, window = tables.monitor, tables.alarm, tables.evaluation
        whose = (monitor.c.owner, monitor.c.name, monitor.c.model)
        last = sa.select(sa.func.max(window.c.id)).where(window.c.number.is_not(None)).group_by(window.c.monitor_id)
        active = alarm.c.state.in_(("pending", "firing"))
        with self._store.read() as tx:
            windows = tx.all(
                sa.select(*whose, window.c.n_rows, window.c.breached, window.c.end)
                .join(window, window.c.monitor_id == monitor.c.id)
                .where(window.c.id.in_(last), monitor.c.owner == self._owner)
            )
            counts = tx.all(
                sa.select(*whose, alarm.c.state, sa.func.count().label("n"))
                .join(alarm, alarm.c.monitor_id == monitor.c.id)
                .where(active, monitor.c.owner == self._owner)
                .group_by(*whose, alarm.c.state)
            )
            firing = tx.all(
                sa.select(*whose, alarm.c.check, alarm.c.feature, alarm.c.aspect, alarm.c.value)
                .join(alarm, alarm.c.monitor_id == monitor.c.id)
                .where(alarm.c.state == "firing", monitor.c.owner == self._owner)
                .order_by(alarm.c.id.desc())
                .limit(_MOST)
            )
        for gauge in (self._alarms, self._firing, self._rows, self._breached, self._end):
            gauge.clear()
        for row in windows:
            labels = _whose(row)
            for state in ("pending", "firing"):
                self._alarms.labels(*labels, state).set(0)
            self._rows.labels(*labels).set(row["n_rows"])
            self._breached.labels(*labels).set(row["breached"])
            self._end.labels(*labels).set(row["end"].timestamp())
        for row in counts:
            self._alarms.labels(*_whose(row), row["state"]).set(row["n"])
        for row in firing:
            of = (row["check"], row["feature"], row["aspect"])
            self._firing.labels(*_whose(row), *of).set(row["value"])


def _whose(row: Row) -> tuple[str, str, str]:
    return row["owner"], row["name"], row["model"] or ""


def _meter(kind: Any, name: str, told: str, labels: tuple[str, ...], registry: CollectorRegistry) -> Any:
    """Make a meter, or return the one of that name: a process may open a workspace again."""
    known = getattr(registry, "_names_to_collectors", {}).get(name)
    return known if known is not None else kind(name, told, labels, registry=registry)
