"""Windows that were measured: judged by the monitor's rules, kept, and made into alarms, in one transaction."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.monitoring import alarms, tables
from jupyter_ext.monitoring.values import (
    Alarm,
    AlarmQuery,
    Delivery,
    Evaluation,
    EvaluationSpec,
    Judged,
    JupyterRoute,
    Measurement,
    MeasurementQuery,
    Monitor,
)
from jupyter_ext.store import Row, Store, Transaction, now, paginate
from jupyter_ext.values import Page, Query, new_id

_ALARM_FIELDS = tuple(name for name in Alarm.model_fields if name not in ("monitor", "model"))
#: A rule: check, feature, aspect.
_Rule = tuple[str, str, str]


class Evaluations:
    """The judged windows of monitors, their alarms, and the messages about these.

    Judging, the alarms' moves and the messages to be sent are one transaction under a lock of the monitor: a crash
    loses nothing, and an alarm fires once.
    """

    def __init__(self, store: Store, log: Any = None) -> None:
        self._store = store
        self._log = log or logging.getLogger(__name__)

    def record(self, monitor: Monitor, spec: EvaluationSpec) -> Evaluation:
        """Judge a window. The same key again returns what was judged then.

        Raises
        ------
        Invalid
            It measures for a check that the monitor has not, or a rule twice.
        Conflict
            The monitor is paused, or was given another reference since the window was measured.
        """
        checks = {check.name: check for check in monitor.checks}
        unknown = sorted({one.check for one in spec.measured} - set(checks))
        if unknown:
            raise Invalid(f"Monitor {monitor.name!r} has no check {unknown[0]!r}; it has {', '.join(checks)}.")
        if len({_rule(one) for one in spec.measured}) < len(spec.measured):
            raise Invalid("A rule is measured twice in one window.")
        table = tables.monitor
        with self._store.write() as tx:
            tx.lock("monitor", monitor.id)
            known = tx.all(
                sa.select(tables.evaluation).where(
                    tables.evaluation.c.monitor_id == monitor.id, tables.evaluation.c.key == spec.key
                )
            )
            if known:
                return _evaluations(tx, monitor, known)[0]
            row = tx.one_or_none(sa.select(table).where(table.c.id == monitor.id))
            if row is None:
                raise NotFound(f"There is no monitor {monitor.name!r}.")
            if not row["enabled"]:
                raise Conflict(f"Monitor {monitor.name!r} is paused. Let it go on first: monitor.resume().")
            if spec.profile_id not in (None, row["profile_id"]):
                raise Conflict(f"Monitor {monitor.name!r} has another reference by now. Measure the window again.")
            skipped = _skipped(row, spec)
            number = None if skipped else row["evaluations"] + 1
            judged = [alarms.judge(checks[one.check], one, number or row["evaluations"] + 1) for one in spec.measured]
            made = {
                "id": new_id("evaluation"),
                "monitor_id": monitor.id,
                **spec.model_dump(exclude={"measured", "profile_id"}),
                "number": number,
                "breached": sum(one.breached for one in judged),
                "skipped": skipped,
                "created_at": now(),
            }
            tx.execute(sa.insert(tables.evaluation).values(made))
            if judged:
                rows = [
                    {"evaluation_id": made["id"], "position": position, **one.model_dump()}
                    for position, one in enumerate(judged)
                ]
                tx.execute(sa.insert(tables.measurement), rows)
            fired: list[Alarm] = []
            resolved: list[Alarm] = []
            if number is not None:
                changed = {"evaluations": number, "last_end": spec.end}
                tx.execute(sa.update(table).where(table.c.id == monitor.id).values(**changed))
                fired, resolved = self._move(tx, monitor, judged, spec.end)
                for event, those in (("fired", fired), ("resolved", resolved)):
                    _write_deliveries(tx, monitor, made["id"], event, those)
            tx.emit("monitor", _event(monitor, made["id"], fired, resolved))
        for one in fired:
            self._log.warning("Alarm of monitor %s: %s", monitor.name, one.message)
        return Evaluation(**made, judged=judged, fired=tuple(fired), resolved=tuple(resolved))

    def _move(
        self, tx: Transaction, monitor: Monitor, judged: Sequence[Judged], at: datetime
    ) -> tuple[list[Alarm], list[Alarm]]:
        """Move the alarms of a monitor on; return which fired and which were resolved.

        A rule that its check no longer has, because the feature is gone from the rows, is not broken: its alarm would
        last for ever.
        """
        table = tables.alarm
        checks = {check.name: check for check in monitor.checks}
        active = sa.select(table).where(table.c.monitor_id == monitor.id, table.c.state.in_(("pending", "firing")))
        known = {(row["check"], row["feature"], row["aspect"]): row for row in tx.all(active)}
        made, rules = {one.check for one in judged}, {_rule(one) for one in judged}
        gone: list[tuple[_Rule, Judged | None]] = [
            (rule, None) for rule in known if rule[0] in made and rule not in rules
        ]
        fired, resolved = [], []
        for rule, one in [*((_rule(one), one) for one in judged if one.value is not None), *gone]:
            row = known.get(rule)
            breached = one is not None and one.breached
            if row is None and not breached:
                continue
            before = alarms.Standing(row["state"], row["breaches"], row["calm"]) if row is not None else None
            after = alarms.step(before, breached, monitor.fire_after, monitor.resolve_after)
            if after is None:
                if row is not None:
                    tx.execute(sa.delete(table).where(table.c.id == row["id"]))
                continue
            facts: dict[str, Any] = {"state": after.state, "breaches": after.breaches, "calm": after.calm}
            if one is not None and one.breached:
                facts |= {"value": one.value, "threshold": one.threshold, "comparator": one.comparator}
                facts["message"] = alarms.sentence(checks[one.check], one)
            if after.state == "firing" and (before is None or before.state != "firing"):
                facts["fired_at"] = at
            if after.state == "resolved":
                facts["resolved_at"] = at
            if row is None:
                new = {"id": new_id("alarm"), "monitor_id": monitor.id, "began_at": at, **facts}
                new |= dict(zip(("check", "feature", "aspect"), rule, strict=True))
                tx.execute(sa.insert(table).values(new))
                now_row = {"fired_at": None, "resolved_at": None, **new}
            else:
                tx.execute(sa.update(table).where(table.c.id == row["id"]).values(**facts))
                now_row = {**row, **facts}
            if facts.get("fired_at") is not None:
                fired.append(alarm_of(now_row, monitor.name, monitor.model))
            elif after.state == "resolved":
                resolved.append(alarm_of(now_row, monitor.name, monitor.model))
        return fired, resolved

    def settle(self, tx: Transaction, monitor: Monitor) -> None:
        """End all alarms of a monitor without a word: it is compared with something else from now on."""
        table = tables.alarm
        tx.execute(sa.delete(table).where(table.c.monitor_id == monitor.id, table.c.state == "pending"))
        firing = sa.update(table).where(table.c.monitor_id == monitor.id, table.c.state == "firing")
        tx.execute(firing.values(state="resolved", resolved_at=now()))

    # -- reading -----------------------------------------------------------------------------------------------------

    def windows(self, monitor: Monitor, query: Query) -> Page[Evaluation]:
        """Return the judged windows of a monitor, newest first, each with the rules that it broke."""
        table = tables.evaluation
        with self._store.read() as tx:
            rows, cursor = paginate(tx, sa.select(table).where(table.c.monitor_id == monitor.id), table.c.id, query)
            return Page(items=_evaluations(tx, monitor, rows, breached=True), next_cursor=cursor)

    def measurements(self, monitor: Monitor, query: MeasurementQuery) -> Page[Measurement]:
        """Return what was measured in a page of windows, newest first: of all rules, or of one check or feature.

        A page has ``limit`` windows; the measurements of a window are never torn apart.
        """
        windows, points = tables.evaluation, tables.measurement
        with self._store.read() as tx:
            rows, cursor = paginate(
                tx, sa.select(windows).where(windows.c.monitor_id == monitor.id), windows.c.id, query
            )
            statement = sa.select(points).where(points.c.evaluation_id.in_([row["id"] for row in rows]))
            if query.check is not None:
                statement = statement.where(points.c.check == query.check)
            if query.feature is not None:
                statement = statement.where(points.c.feature == query.feature)
            found = tx.all(statement.order_by(points.c.evaluation_id.desc(), points.c.position))
        when = {row["id"]: {"start": row["start"], "end": row["end"]} for row in rows}
        items = [
            Measurement(
                **{key: value for key, value in point.items() if key != "position"}, **when[point["evaluation_id"]]
            )
            for point in found
        ]
        return Page(items=items, next_cursor=cursor)

    def alarms(self, query: AlarmQuery, *, owner: str) -> Page[Alarm]:
        """Return alarms, newest first."""
        table, monitors = tables.alarm, tables.monitor
        statement = (
            sa.select(table, monitors.c.name.label("monitor"), monitors.c.model)
            .join(monitors, monitors.c.id == table.c.monitor_id)
            .where(monitors.c.owner == owner)
        )
        if query.monitor_id is not None:
            statement = statement.where(table.c.monitor_id == query.monitor_id)
        if query.state == "active":
            statement = statement.where(table.c.state.in_(("pending", "firing")))
        elif query.state is not None:
            statement = statement.where(table.c.state == query.state)
        with self._store.read() as tx:
            rows, cursor = paginate(tx, statement, table.c.id, query)
        return Page(items=[alarm_of(row, row["monitor"], row["model"]) for row in rows], next_cursor=cursor)

    def deliveries(self, monitor: Monitor, query: Query) -> Page[Delivery]:
        """Return the messages about a monitor's alarms, newest first, and what became of them."""
        table = tables.delivery
        with self._store.read() as tx:
            rows, cursor = paginate(tx, sa.select(table).where(table.c.monitor_id == monitor.id), table.c.id, query)
        items = [
            Delivery(
                **{key: value for key, value in row.items() if key != "position"},
                route=monitor.routes[row["position"]],
            )
            for row in rows
        ]
        return Page(items=items, next_cursor=cursor)


def _skipped(row: Row, spec: EvaluationSpec) -> str:
    if spec.n_rows < row["min_rows"]:
        return f"It has {spec.n_rows:,} rows, and the monitor judges from {row['min_rows']:,} on."
    if row["last_end"] is not None and spec.end <= row["last_end"]:
        return "A window that ended later was judged before."
    return ""


def _write_deliveries(
    tx: Transaction, monitor: Monitor, evaluation_id: str, event: str, those: Sequence[Alarm]
) -> None:
    moment = now()
    rows = [
        {
            "id": new_id("delivery"),
            "monitor_id": monitor.id,
            "evaluation_id": evaluation_id,
            "event": event,
            "position": position,
            "alarm_ids": [one.id for one in those],
            "state": "waiting",
            "attempts": 0,
            "error": "",
            "next_at": moment,
            "created_at": moment,
        }
        for position, route in enumerate(monitor.routes)
        if not isinstance(route, JupyterRoute) and those
    ]
    if rows:
        tx.execute(sa.insert(tables.delivery), rows)


def _event(monitor: Monitor, evaluation_id: str, fired: Sequence[Alarm], resolved: Sequence[Alarm]) -> dict[str, Any]:
    return {
        "what": "evaluation",
        "name": monitor.name,
        "model": monitor.model,
        "owner": monitor.owner,
        "monitor_id": monitor.id,
        "evaluation_id": evaluation_id,
        "fired": [one.message for one in fired],
        "resolved": [one.message for one in resolved],
        "notify": any(isinstance(route, JupyterRoute) for route in monitor.routes),
    }


def _rule(one: Any) -> _Rule:
    return one.check, one.feature, one.aspect


def alarm_of(row: Any, monitor: str, model: str | None) -> Alarm:
    """Return the value of an alarm's row."""
    return Alarm(**{name: row[name] for name in _ALARM_FIELDS}, monitor=monitor, model=model)


def _judged(tx: Transaction, evaluation_ids: Sequence[str], breached: bool = False) -> dict[str, list[Judged]]:
    """Return what was measured in windows: all of it, or only what broke a rule."""
    table = tables.measurement
    found: dict[str, list[Judged]] = defaultdict(list)
    statement = sa.select(table).where(table.c.evaluation_id.in_(evaluation_ids))
    if breached:
        statement = statement.where(table.c.breached)
    for row in tx.all(statement.order_by(table.c.evaluation_id, table.c.position)):
        values = {key: value for key, value in row.items() if key not in ("evaluation_id", "position")}
        found[row["evaluation_id"]].append(Judged(**values))
    return found


def _evaluations(tx: Transaction, monitor: Monitor, windows: Sequence[Row], breached: bool = False) -> list[Evaluation]:
    """Return windows with what was measured in them, or only what broke a rule, and with the alarms that they moved."""
    table = tables.alarm
    judged = _judged(tx, [row["id"] for row in windows], breached)
    # An alarm moves at the end of a window, and no two windows that count have the same.
    ends = [row["end"] for row in windows if row["number"] is not None]
    moved = sa.select(table).where(
        table.c.monitor_id == monitor.id, sa.or_(table.c.fired_at.in_(ends), table.c.resolved_at.in_(ends))
    )
    fired: dict[datetime | None, list[Alarm]] = defaultdict(list)
    resolved: dict[datetime | None, list[Alarm]] = defaultdict(list)
    for found in tx.all(moved.order_by(table.c.id)):
        alarm = alarm_of(found, monitor.name, monitor.model)
        fired[alarm.fired_at].append(alarm)
        resolved[alarm.resolved_at].append(alarm)
    return [
        Evaluation(
            **row,
            judged=judged[row["id"]],
            fired=tuple(fired[row["end"]] if row["number"] is not None else ()),
            resolved=tuple(resolved[row["end"]] if row["number"] is not None else ()),
        )
        for row in windows
    ]
