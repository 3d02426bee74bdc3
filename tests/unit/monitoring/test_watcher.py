"""What goes out and comes in: a real receiver of webhooks, a real Alertmanager, letters of jobs, meters."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest

from jupyter_ext.monitoring import Profile
from jupyter_ext.monitoring.inbox import FOLDER, Letter
from jupyter_ext.monitoring.meters import Meters
from jupyter_ext.monitoring.service import MonitorService
from jupyter_ext.monitoring.tables import delivery
from jupyter_ext.monitoring.values import (
    AlertmanagerRoute,
    Delivery,
    EvaluationSpec,
    Measured,
    Monitor,
    MonitorSpec,
    ProfileSpec,
    WebhookRoute,
)
from jupyter_ext.monitoring.watcher import MonitorWatcher
from jupyter_ext.store import now
from jupyter_ext.values import Query
from support.receiver import Receiver

DATA = Profile.of(pd.DataFrame({"size": [1.0, 2.0, 3.0]})).to_bytes()
SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes or so!").decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def service(store: Any) -> MonitorService:
    made = MonitorService(store)
    made.save_profile(ProfileSpec(name="t", blob=store.blobs.put(DATA), n_rows=3, model="churn/3"), owner="ada")
    return made


@pytest.fixture
def watcher(service: MonitorService) -> Iterator[MonitorWatcher]:
    made = MonitorWatcher(service, owner="ada")
    yield made
    made.stop()


def watching(service: MonitorService, *routes: Any, **how: Any) -> Monitor:
    spec = {"name": "daily", "model": "churn/3", "fire_after": 1, "resolve_after": 1, "routes": routes} | how
    return service.create(MonitorSpec(**spec), owner="ada")


def window(day: int, *values: float) -> EvaluationSpec:
    measured = [Measured(check="drift", feature=f"f{place}", value=value) for place, value in enumerate(values)]
    end = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=day)
    return EvaluationSpec(key=f"day {day}", end=end, n_rows=1000, measured=measured)


def deliveries(service: MonitorService, on: Monitor) -> list[Delivery]:
    return service.evaluations.deliveries(on, Query()).items


def hasten(store: Any) -> None:
    """Let the time of all waiting messages come."""
    with store.write() as tx:
        tx.execute(sa.update(delivery).where(delivery.c.next_at.is_not(None)).values(next_at=now()))


def test_a_webhook_is_signed_and_sent_once(service: MonitorService, watcher: Any, receiver: Receiver) -> None:
    on = watching(service, WebhookRoute(url=receiver.url, secret=SECRET), description="the nightly one")
    service.evaluations.record(on, window(0, 1e-9, 1e-8, 0.9))
    assert watcher.send_due() == 1
    assert watcher.send_due() == 0
    ((headers, body),) = receiver.got
    told = json.loads(body)
    assert told["type"] == "alarms.fired"
    assert told["data"]["monitor"] == {"id": on.id, "name": "daily", "model": "churn/3", "owner": "ada"}
    assert [one["feature"] for one in told["data"]["alarms"]] == ["f0", "f1"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"twenty-four bytes or so!", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    (sent,) = deliveries(service, on)
    assert (sent.id, sent.state, sent.attempts, sent.status) == (headers["webhook-id"], "delivered", 1, 200)
    service.evaluations.record(on, window(1, 0.9, 0.9, 0.9))
    assert watcher.send_due() == 1
    assert json.loads(receiver.got[1][1])["type"] == "alarms.resolved"


def test_what_fails_is_tried_again_under_the_same_id(
    service: MonitorService, watcher: Any, receiver: Receiver, store: Any
) -> None:
    on = watching(service, WebhookRoute(url=receiver.url))
    service.evaluations.record(on, window(0, 1e-9))
    receiver.answers = [503, 429]
    for attempt in (1, 2):
        watcher.send_due()
        (waits,) = deliveries(service, on)
        assert (waits.state, waits.attempts) == ("waiting", attempt)
        assert waits.error.startswith("HTTP 503" if attempt == 1 else "HTTP 429")
        assert waits.next_at is not None
        assert waits.next_at > now() + timedelta(seconds=5)
        assert watcher.send_due() == 0  # not before its time
        hasten(store)
    watcher.send_due()
    (sent,) = deliveries(service, on)
    assert (sent.state, sent.attempts, sent.error) == ("delivered", 3, "")
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


@pytest.mark.parametrize("status", [404, 302])
def test_what_is_refused_is_not_tried_again(
    service: MonitorService, watcher: Any, receiver: Receiver, status: int
) -> None:
    on = watching(service, WebhookRoute(url=receiver.url))
    service.evaluations.record(on, window(0, 1e-9))
    receiver.answers = [status]
    watcher.send_due()
    (sent,) = deliveries(service, on)
    assert (sent.state, sent.status, sent.next_at) == ("failed", status, None)
    assert len(receiver.got) == 1


def test_nobody_there_is_tried_again_until_it_is_too_late(service: MonitorService, watcher: Any, store: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        on = watching(service, WebhookRoute(url=url))
        service.evaluations.record(on, window(0, 1e-9))
        watcher.send_due()
        assert deliveries(service, on)[0].state == "waiting"
        assert "ConnectError" in deliveries(service, on)[0].error
        watcher.give_up_after_s = 0.0
        hasten(store)
        watcher.send_due()
    assert deliveries(service, on)[0].state == "failed"


def test_what_a_server_did_not_send_the_next_one_sends(service: MonitorService, receiver: Receiver, store: Any) -> None:
    on = watching(service, WebhookRoute(url=receiver.url))
    service.evaluations.record(on, window(0, 1e-9))
    # Two start at once, on a database that one of them has just left.
    both = [MonitorWatcher(MonitorService(store), owner="ada") for _ in range(2)]
    for one in both:
        one.start()
    deadline = time.monotonic() + 20
    while deliveries(service, on)[0].state != "delivered":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for one in both:
        one.stop()
    assert len(receiver.got) == 1


def test_letters_of_jobs_are_judged_in_order_and_taken_once(
    service: MonitorService, watcher: Any, store: Any, tmp_path: Path
) -> None:
    on = watching(service)
    for day in (2, 1):
        Letter(monitor_id=on.id, owner="ada", evaluation=window(day, 1e-9)).post(store.objects)
    # Whoever is not the owner, what is no letter, and what the monitor does not know are refused and do not come again.
    Letter(monitor_id=on.id, owner="eve", evaluation=window(3, 1e-9)).post(store.objects)
    store.objects.put(f"{FOLDER}/x.json", b"a cat")
    wrong = window(4).model_copy(update={"measured": [Measured(check="weather", value=1)]})
    Letter(monitor_id=on.id, owner="ada", evaluation=wrong).post(store.objects)
    assert watcher.take_in() == 2
    assert watcher.take_in() == 0
    assert store.objects.list(FOLDER) == []
    assert [(each.key, each.number) for each in service.evaluations.windows(on, Query()).items] == [
        ("day 2", 2), ("day 1", 1),
    ]  # fmt: skip
    # Written again after it was taken, as by a job that was tried again.
    Letter(monitor_id=on.id, owner="ada", evaluation=window(2, 1e-9)).post(store.objects)
    watcher.take_in()
    assert service.get(on.id, owner="ada").evaluations == 2


def test_prometheus_reads_what_the_database_holds(service: MonitorService, store: Any) -> None:
    on = watching(service, fire_after=2)
    registry = CollectorRegistry()
    meters, theirs = Meters(store, "ada", registry), CollectorRegistry()
    for day in range(2):
        service.evaluations.record(on, window(day, 1e-9, 0.9))
    service.evaluations.record(on, window(2, 1e-9, 1e-9))
    meters.refresh()
    meters.count("webhook", "delivered")
    text = generate_latest(registry).decode()
    whose = 'model="churn/3",monitor="daily",owner="ada"'
    assert f'jupyter_ext_monitor_alarms{{{whose},state="firing"}} 1.0' in text
    assert f'jupyter_ext_monitor_alarms{{{whose},state="pending"}} 1.0' in text
    assert f'jupyter_ext_monitor_alarm_value{{aspect="",check="drift",feature="f0",{whose}}} 1e-09' in text
    assert f"jupyter_ext_monitor_window_rows{{{whose}}} 1000.0" in text
    assert f"jupyter_ext_monitor_window_breaches{{{whose}}} 2.0" in text
    assert 'jupyter_ext_monitor_deliveries_total{outcome="delivered",route="webhook"} 1.0' in text
    Meters(store, "eve", theirs).refresh()
    assert "daily" not in generate_latest(theirs).decode()
    service.delete(on.id, owner="ada")
    meters.refresh()
    assert 'monitor="daily"' not in generate_latest(registry).decode()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """A real Alertmanager on a port of its own."""
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if binary is None:
        pytest.skip("Alertmanager is not installed (Debian: apt-get install prometheus-alertmanager)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    process = subprocess.Popen(
        [
            binary, f"--config.file={tmp_path / 'config.yml'}", f"--storage.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/-/ready").is_success:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "Alertmanager does not answer"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def test_an_alertmanager_is_told_while_it_lasts_and_when_it_ends(
    service: MonitorService, watcher: Any, alertmanager: str, store: Any
) -> None:
    on = watching(service, AlertmanagerRoute(url=alertmanager + "/", labels={"team": "risk"}))
    service.evaluations.record(on, window(0, 1e-9))
    assert watcher.send_due() == 1

    def alerts() -> list[Any]:
        return list(httpx.get(f"{alertmanager}/api/v2/alerts").json())

    (alert,) = alerts()
    assert alert["labels"] == {
        "alertname": "JupyterExtMonitor", "team": "risk", "monitor": "daily", "model": "churn/3", "owner": "ada",
        "check": "drift", "feature": "f0",
    }  # fmt: skip
    assert alert["status"]["state"] == "active"
    assert "'f0' drifted" in alert["annotations"]["summary"]
    (sent,) = deliveries(service, on)
    assert (sent.state, sent.status) == ("repeating", 200)
    assert sent.next_at is not None
    hasten(store)
    assert watcher.send_due() == 1
    assert alerts()[0]["endsAt"] > alert["endsAt"]
    service.evaluations.record(on, window(1, 0.9))
    hasten(store)
    assert watcher.send_due() == 1  # that it ended; of what does not last nothing is told again
    assert alerts() == []
    assert [each.state for each in deliveries(service, on)] == ["delivered", "delivered"]
