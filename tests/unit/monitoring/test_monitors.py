"""Monitors on both databases: windows judged once, alarms that fire once, what is refused, what is told."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from jupyter_ext.errors import Conflict, Invalid, NotFound, Unavailable
from jupyter_ext.monitoring import Profile
from jupyter_ext.monitoring.notices import Notice
from jupyter_ext.monitoring.service import MonitorService
from jupyter_ext.monitoring.tables import alarm, delivery, evaluation, measurement, monitor
from jupyter_ext.monitoring.values import (
    AlarmQuery,
    DriftCheck,
    Evaluation,
    EvaluationSpec,
    JupyterRoute,
    Measured,
    MeasurementQuery,
    MetricCheck,
    Monitor,
    MonitorChange,
    MonitorQuery,
    MonitorSpec,
    ProfileQuery,
    ProfileSpec,
    QualityCheck,
    WebhookRoute,
)
from jupyter_ext.store.schema import outbox
from jupyter_ext.values import Query

DATA = Profile.of(pd.DataFrame({"size": [1.0, 2.0, 3.0]})).to_bytes()
DAY = datetime(2026, 5, 1, tzinfo=UTC)
SECRET = "whsec_" + "A" * 32


@pytest.fixture
def service(store: Any) -> MonitorService:
    made = MonitorService(store)
    made.save_profile(ProfileSpec(name="t", blob=store.blobs.put(DATA), n_rows=3, model="churn/3"), owner="ada")
    return made


def made(service: MonitorService, **how: Any) -> Monitor:
    return service.create(MonitorSpec(**{"name": "daily", "model": "churn/3"} | how), owner="ada")


def window(day: int, *values: float | None, n_rows: int = 1000, key: str = "") -> EvaluationSpec:
    measured = [
        Measured(check="drift", feature=f"f{place}", value=value, statistic=0.5) for place, value in enumerate(values)
    ]
    start = DAY + timedelta(days=day)
    key = key or f"day {day}"
    return EvaluationSpec(key=key, start=start, end=start + timedelta(days=1), n_rows=n_rows, measured=measured)


def record(service: MonitorService, on: Monitor, spec: EvaluationSpec) -> Evaluation:
    return service.evaluations.record(on, spec)


def events(store: Any, what: str = "evaluation") -> list[Any]:
    with store.read() as tx:
        found = [row["data"] for row in tx.all(sa.select(outbox).where(outbox.c.noun == "monitor"))]
    return [event for event in found if event["what"] == what]


def count(store: Any, table: sa.Table) -> int:
    with store.read() as tx:
        return int(tx.scalar(sa.select(sa.func.count()).select_from(table)))


def test_a_monitor_finds_its_reference_and_is_listed(service: MonitorService) -> None:
    first = made(service, routes=[WebhookRoute(url="http://x.test/hook", secret=SECRET), JupyterRoute()])
    assert first.profile_id == service.list_profiles(ProfileQuery(), owner="ada").items[0].id
    assert (first.evaluations, first.enabled, first.last_end, first.firing) == (0, True, None, 0)
    assert service.get(first.id, owner="ada") == first
    assert "secret" not in first.model_dump_json(exclude_none=True)
    second = made(service, name="weekly")
    assert service.list_monitors(MonitorQuery(), owner="ada").items == [second, first]
    assert service.list_monitors(MonitorQuery(name="daily", model="churn"), owner="ada").items == [first]
    assert service.list_monitors(MonitorQuery(), owner="eve").items == []
    with pytest.raises(NotFound):
        service.get(first.id, owner="eve")
    with pytest.raises(Conflict, match="a monitor 'daily' already"):
        made(service)


def test_a_monitor_needs_something_to_compare_with(service: MonitorService, store: Any) -> None:
    with pytest.raises(Invalid, match=r"no reference profile of churn/4"):
        made(service, model="churn/4")
    with pytest.raises(Invalid, match="no profile 'profile-x'"):
        made(service, profile_id="profile-x")
    metric = MetricCheck(model="other/1", comparator=">", threshold=1)
    ranges = QualityCheck(ranges={"age": (0, 120)}, learned=False)
    assert made(service, model="churn/4", checks=[metric, ranges]).profile_id is None
    assert count(store, monitor) == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"model": None}, "watches a model version"),
        ({"checks": []}, "checks"),
        ({"checks": [DriftCheck(), DriftCheck(alpha=0.1)]}, "two checks have the same name"),
        ({"period": "D"}, "the column, timestamp="),
        ({"routes": [{"kind": "webhook", "url": "ftp://x.test"}]}, "url"),
        ({"routes": [{"kind": "webhook", "url": "http://x.test", "secret": "short"}]}, "secret"),
        ({"routes": [{"kind": "pigeon"}]}, "pigeon"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_a_wrong_monitor_is_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MonitorSpec(**{"name": "daily", "model": "churn/3"} | how)


def test_an_alarm_is_pending_fires_once_and_is_resolved(service: MonitorService, store: Any) -> None:
    on = made(service, routes=[WebhookRoute(url="http://x.test/hook"), JupyterRoute()])
    found = [
        record(service, on, window(day, *values))
        for day, values in enumerate([(0.5, 1e-9), (0.5, 1e-9), (0.5, 1e-9), (0.5, 0.4), (0.5, 0.4), (0.5, 0.4)])
    ]
    assert [[one.feature for one in each.fired] for each in found] == [[], ["f1"], [], [], [], []]
    assert [[one.feature for one in each.resolved] for each in found] == [[], [], [], [], ["f1"], []]
    assert [each.breached for each in found] == [1, 1, 1, 0, 0, 0]
    later = service.evaluations.windows(on, Query()).items[::-1]
    assert [[[one.feature for one in each.fired], [one.feature for one in each.resolved]] for each in later] == [
        [[], []], [["f1"], []], [[], []], [[], []], [[], ["f1"]], [[], []],
    ]  # fmt: skip
    assert later[1].fired[0].state == "resolved"  # by now
    # The level of each window is a part of alpha.
    assert [each.judged[0].threshold for each in found[:3]] == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 12])
    (one,) = service.evaluations.alarms(AlarmQuery(), owner="ada").items
    assert (one.state, one.breaches, one.check, one.monitor, one.model) == ("resolved", 3, "drift", "daily", "churn/3")
    assert (one.began_at, one.fired_at, one.resolved_at) == (
        DAY + timedelta(days=1), DAY + timedelta(days=2), DAY + timedelta(days=5)
    )  # fmt: skip
    assert one.message.startswith("'f1' drifted: distance 0.5, q = 1e-09")
    assert service.evaluations.alarms(AlarmQuery(), owner="eve").items == []
    told = [(event["fired"], len(event["resolved"]), event["notify"]) for event in events(store)]
    assert told[1] == ([found[1].fired[0].message], 0, True)
    assert [len(fired) + gone for fired, gone, _ in told] == [0, 1, 0, 0, 1, 0]
    # Of the route that is JupyterLab's nothing is to be sent.
    sent = service.evaluations.deliveries(on, Query()).items
    assert [(each.event, each.route.kind, each.state) for each in sent] == [
        ("resolved", "webhook", "waiting"), ("fired", "webhook", "waiting"),
    ]  # fmt: skip


def test_pending_alarms_that_pass_leave_no_trace_but_the_windows(service: MonitorService, store: Any) -> None:
    on = made(service)
    record(service, on, window(0, 1e-9))
    assert service.get(on.id, owner="ada").pending == 1
    record(service, on, window(1, 0.9))
    assert service.get(on.id, owner="ada").pending == 0
    assert count(store, alarm) == 0
    assert [each.breached for each in service.evaluations.windows(on, Query()).items] == [0, 1]


def test_the_same_window_twice_is_judged_once(service: MonitorService, store: Any) -> None:
    on = made(service, fire_after=1)
    first = record(service, on, window(0, 1e-9))
    again = record(service, on, window(0, 0.9))
    assert (again.id, again.breached) == (first.id, 1)
    assert count(store, evaluation) == count(store, alarm) == len(events(store)) == 1
    assert service.get(on.id, owner="ada").evaluations == 1


def test_of_many_at_once_one_fires_and_all_hear_of_it(service: MonitorService, store: Any) -> None:
    on = made(service, fire_after=1, routes=[WebhookRoute(url="http://x.test/hook")])
    heard: list[list[str]] = []

    def post() -> None:
        heard.append([one.id for one in record(service, on, window(0, 1e-9)).fired])

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 8
    assert all(ids == heard[0] and len(ids) == 1 for ids in heard)
    assert count(store, alarm) == count(store, delivery) == 1


def test_windows_that_come_late_or_are_small_are_kept_and_change_nothing(service: MonitorService, store: Any) -> None:
    on = made(service, fire_after=1)
    record(service, on, window(5, 0.9))
    late = record(service, on, window(4, 1e-9))
    small = record(service, on, window(6, 1e-9, n_rows=29))
    assert "ended later" in late.skipped
    assert "has 29 rows, and the monitor judges from 30 on" in small.skipped
    assert (late.number, small.number, late.breached) == (None, None, 1)
    assert count(store, alarm) == 0
    assert count(store, evaluation) == 3
    assert service.get(on.id, owner="ada").evaluations == 1


def test_what_could_not_be_measured_leaves_its_alarm_as_it_is(service: MonitorService) -> None:
    on = made(service, resolve_after=1)
    for day in range(2):
        record(service, on, window(day, 1e-9))
    for day, spec in enumerate([window(2, None), window(3)]):
        assert record(service, on, spec).resolved == (), day
    assert service.get(on.id, owner="ada").firing == 1


def test_an_alarm_of_a_feature_that_is_gone_does_not_last_for_ever(service: MonitorService, store: Any) -> None:
    on = made(service)
    for day in range(2):
        record(service, on, window(day, 1e-9, 1e-9))
    assert service.get(on.id, owner="ada").firing == 2
    record(service, on, window(2, 1e-9))  # f1 is no longer in the rows
    (gone,) = record(service, on, window(3, 1e-9)).resolved
    assert (gone.feature, gone.state, gone.breaches) == ("f1", "resolved", 2)
    assert service.get(on.id, owner="ada").firing == 1
    # One that only waits goes at once.
    record(service, on, window(4, 1e-9, 0.9, 1e-9))
    assert service.get(on.id, owner="ada").pending == 1
    record(service, on, window(5, 1e-9))
    assert service.get(on.id, owner="ada").pending == 0


def test_wrong_windows_leave_nothing(service: MonitorService, store: Any) -> None:
    on = made(service)
    twice = [Measured(check="drift", feature="a", value=0.1)] * 2
    for measured, said in (
        ([Measured(check="weather", value=1)], "no check 'weather'; it has drift"),
        (twice, "twice"),
    ):
        with pytest.raises(Invalid, match=said):
            record(service, on, window(0).model_copy(update={"measured": measured}))
    service.change(on.id, MonitorChange(enabled=False), owner="ada")
    with pytest.raises(Conflict, match="is paused"):
        record(service, on, window(0, 0.1))
    assert count(store, evaluation) == count(store, measurement) == 0
    service.change(on.id, MonitorChange(enabled=True), owner="ada")
    assert record(service, on, window(0, 0.1)).number == 1


def test_another_reference_begins_anew(service: MonitorService, store: Any) -> None:
    on = made(service, fire_after=1)
    record(service, on, window(0, 1e-9))
    blob = store.blobs.put(DATA)
    new = service.save_profile(ProfileSpec(name="u", blob=blob, n_rows=3), owner="ada")
    changed = service.change(on.id, MonitorChange(profile_id=new.id), owner="ada")
    assert (changed.profile_id, changed.evaluations, changed.firing) == (new.id, 0, 0)
    assert service.evaluations.alarms(AlarmQuery(state="active"), owner="ada").items == []
    assert record(service, on, window(1, 1e-9)).judged[0].threshold == 0.025
    # What was measured before, against the old one, is refused, and may be measured again.
    late = window(2, 1e-9).model_copy(update={"profile_id": on.profile_id})
    with pytest.raises(Conflict, match="another reference by now"):
        record(service, on, late)
    assert record(service, on, late.model_copy(update={"profile_id": new.id})).number == 2
    with pytest.raises(Invalid, match="no profile"):
        service.change(on.id, MonitorChange(profile_id="profile-x"), owner="ada")


def test_jobs_read_how_a_monitor_is_now(service: MonitorService, store: Any) -> None:
    on = made(service, routes=[WebhookRoute(url="http://x.test/hook", secret=SECRET)])
    notice = Notice.read(store.objects, on.id)
    assert (notice.monitor.checks, notice.monitor.enabled) == (on.checks, True)
    assert notice.reference.profile_id == on.profile_id
    assert Profile.from_bytes(store.blobs.get(notice.reference.profile)).n_rows == 3
    assert SECRET not in notice.model_dump_json()
    assert service.reference(on.id, owner="ada") == notice.reference
    new = service.save_profile(ProfileSpec(name="u", blob=store.blobs.put(DATA), n_rows=3), owner="ada")
    service.change(on.id, MonitorChange(profile_id=new.id, enabled=False), owner="ada")
    notice = Notice.read(store.objects, on.id)
    assert (notice.reference.profile_id, notice.monitor.enabled) == (new.id, False)
    with pytest.raises(NotFound):
        service.reference(on.id, owner="eve")
    service.delete(on.id, owner="ada")
    with pytest.raises(NotFound, match="monitor was deleted"):
        Notice.read(store.objects, on.id)


def test_a_change_that_can_not_be_told_to_jobs_is_not_made(
    service: MonitorService, store: Any, monkeypatch: Any
) -> None:
    on = made(service)

    def full(*_: Any) -> None:
        raise Unavailable("The object store does not answer.")

    monkeypatch.setattr(type(store.objects), "put", full)
    with pytest.raises(Unavailable):
        service.change(on.id, MonitorChange(enabled=False), owner="ada")
    assert service.get(on.id, owner="ada").enabled
    with pytest.raises(Unavailable):
        made(service, name="another")
    assert count(store, monitor) == 1


def test_panels_are_told_of_each_change(service: MonitorService, store: Any) -> None:
    on = made(service)
    service.change(on.id, MonitorChange(enabled=False), owner="ada")
    service.change(on.id, MonitorChange(), owner="ada")  # nothing to tell
    service.delete(on.id, owner="ada")
    told = {"what": "monitor", "name": "daily", "model": "churn/3", "owner": "ada", "monitor_id": on.id}
    assert events(store, "monitor") == [told] * 3


def test_measurements_are_a_timeline(service: MonitorService) -> None:
    on = made(service)
    for day in range(3):
        record(service, on, window(day, 0.1, 0.2))
    page = service.evaluations.measurements(on, MeasurementQuery(feature="f1", limit=2))
    assert [(each.end, each.value) for each in page.items] == [
        (DAY + timedelta(days=3), 0.2), (DAY + timedelta(days=2), 0.2),
    ]  # fmt: skip
    rest = service.evaluations.measurements(on, MeasurementQuery(check="drift", limit=2, cursor=page.next_cursor))
    assert [each.feature for each in rest.items] == ["f0", "f1"]
    assert rest.next_cursor is None


def test_a_deleted_monitor_takes_everything_along(service: MonitorService, store: Any) -> None:
    on = made(service, fire_after=1, routes=[WebhookRoute(url="http://x.test/hook")])
    record(service, on, window(0, 1e-9))
    with pytest.raises(NotFound):
        service.delete(on.id, owner="eve")
    service.delete(on.id, owner="ada")
    assert [count(store, table) for table in (monitor, evaluation, measurement, alarm, delivery)] == [0] * 5
    with pytest.raises(NotFound):
        record(service, on, window(1, 1e-9))
