"""Monitors through a real server: client, REST, jobs on Ray, and the magic."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from sklearn.linear_model import LinearRegression
from traitlets.config import Config

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.magics import _base
from jupyter_ext.magics.monitors import MonitorMagics, complete_drift
from jupyter_ext.monitoring import (
    DriftCheck,
    DriftReport,
    MetricCheck,
    OutlierCheck,
    Profile,
    QualityCheck,
    WebhookRoute,
    drift,
)
from jupyter_ext.monitoring.methods import METHODS
from jupyter_ext.monitoring.run import run_round
from support import server as servers
from support.receiver import Receiver
from support.server import Server
from support.waiting import wait_until


def frame(seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"steady": rng.normal(size=800), "moved": rng.normal(size=800) + shift})


@pytest.fixture
def shell(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A kernel's shell with our magic, connected to the server."""
    monkeypatch.setenv("JUPYTER_EXT_URL", server.url)
    monkeypatch.setenv("JUPYTER_EXT_TOKEN", server.token)
    _base.forget_client()
    made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    made.register_magics(MonitorMagics)
    yield made
    _base.forget_client()
    InteractiveShell.clear_instance()


def test_a_profile_comes_back_as_it_was(client: Any) -> None:
    profile = Profile.of(frame(1))
    saved = client.monitors.save_profile("round trip", profile, description="a test")
    again = client.monitors.profile("round trip")
    assert again.table.equals(profile.table)
    assert client.monitors.profile(saved.id).n_rows == 800
    assert [p.id for p in client.monitors.profiles("round trip")] == [saved.id]
    assert drift(again, frame(2, 1)).drifted == ["moved"]
    with pytest.raises(NotFound, match="no stored profile 'nothing'"):
        client.monitors.profile("nothing")
    with pytest.raises(Invalid, match="A Profile is kept, not DataFrame"):
        client.monitors.save_profile("wrong", frame(1))


def test_a_report_comes_back_as_it_was(client: Any) -> None:
    report = drift(frame(1), frame(2, 0.5))
    saved = client.monitors.save_report("of today", report)
    assert saved.drifted == ("moved",)
    again = client.monitors.report(saved.id)
    pd.testing.assert_frame_equal(again.table, report.table, check_dtype=False)
    listed = client.monitors.reports("of today")
    assert [r.id for r in listed] == [saved.id]
    assert "moved" in repr(listed)
    assert "moved" in listed._repr_html_()
    assert client.monitors.reports("never") == []


def test_a_report_with_a_feature_that_was_not_tested_is_stored_too(client: Any) -> None:
    tiny = pd.DataFrame({"x": [1.0, 2.0]})
    saved = client.monitors.save_report("tiny", drift(tiny, tiny + 9, methods="psi"))
    assert saved.features[0].q_value is None


async def test_rest_refuses_what_is_no_profile(api: Any) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (await api("PUT", f"/blobs/{digest}", data=b"hello"))[0] == 201
    code, answer = await api("POST", "/monitors/profiles", json={"name": "x", "blob": digest, "n_rows": 1})
    assert (code, answer["reason"]) == (400, "invalid")
    assert "not a profile" in answer["message"]
    code, answer = await api("POST", "/monitors/reports", json={"name": "x"})
    assert (code, "n_reference" in answer["message"]) == (400, True)
    assert (await api("GET", "/monitors/reports/none"))[0] == 404
    assert (await api("GET", "/monitors/profiles/none"))[0] == 404


def test_the_magic_compares_variables(shell: InteractiveShell) -> None:
    shell.user_ns |= {"before": frame(1), "after": frame(2, 1), "stored": Profile.of(frame(1))}
    report = shell.run_line_magic("drift", "before after --alpha 0.01 --method psi --correction by")
    assert isinstance(report, DriftReport)
    assert (report.drifted, report.alpha, report.correction) == (["moved"], 0.01, "by")
    assert set(report.table["method"]) == {"psi"}
    assert shell.run_line_magic("drift", "stored after").drifted == ["moved"]


def test_the_magic_compares_with_a_stored_profile_and_keeps_the_report(shell: InteractiveShell, client: Any) -> None:
    saved = client.monitors.save_profile("last spring", Profile.of(frame(1)))
    shell.user_ns["after"] = frame(2, 1)
    shell.run_line_magic("drift", "'last spring' after --save 'by magic'")
    kept = client.monitors.reports("by magic")[0]
    assert (kept.drifted, kept.profile_id) == (("moved",), saved.id)
    assert '"last spring"' in complete_drift(client, "%drift ")
    assert complete_drift(client, "%drift a b --method ") == list(METHODS)


@pytest.fixture(scope="module")
def registered(server: Server) -> Iterator[Any]:
    """A model version with its training data, and its client."""
    client = importlib.import_module("jupyter_ext").connect(server.url, server.token)
    rows = frame(1).assign(id=range(800))
    data = client.datasets.register("watched rows", rows, key="id")
    model = LinearRegression().fit(rows[["steady", "moved"]], rows["moved"])
    version = client.models.register("watched", model, example=rows[["steady", "moved"]].head(), dataset=data)
    yield version
    client.transport.close()


def days(*shifts: float) -> pd.DataFrame:
    """A frame of so many days up to yesterday, each shifted by so much."""
    today = pd.Timestamp.now(tz="UTC").floor("D")
    parts = [
        frame(10 + number, shift).assign(id=range(800), at=today - pd.Timedelta(days=len(shifts) - number))
        for number, shift in enumerate(shifts)
    ]
    return pd.concat([*parts, frame(9, 9.0).assign(id=range(800), at=today)], ignore_index=True)


def test_a_version_has_the_profile_of_its_training_data(registered: Any, client: Any, shell: Any) -> None:
    assert set(registered.profile().columns) == {"steady", "moved"}  # without the key
    assert drift(registered.profile(), frame(2, 1)).drifted == ["moved"]
    shell.user_ns["after"] = frame(2, 1)
    assert shell.run_line_magic("drift", "watched/1 after").drifted == ["moved"]
    model = LinearRegression().fit(frame(1), frame(1)["moved"])
    version = client.models.register("watched too", model, training=frame(3))
    assert version.profile().n_rows == 800
    with pytest.raises(NotFound, match="No profile is kept with watched too version 2"):
        client.models.register("watched too", model).profile()
    with pytest.raises(UsageError, match="No profile is kept with watched too version 2"):
        shell.run_line_magic("drift", "'watched too/2' after")


def test_a_monitor_judges_days_and_its_alarm_fires_once(registered: Any, client: Any) -> None:
    checks = [
        DriftCheck(),
        QualityCheck(ranges={"moved": (None, 50)}),
        OutlierCheck(features=("steady", "moved")),
        MetricCheck(model="watched/1", comparator=">", threshold=1.5),
    ]
    monitor = client.monitors.create("days", model=registered, checks=checks, timestamp="at", period="D")
    assert client.monitors.get("days").id == monitor.id
    assert repr(monitor) == "<monitor 'days' of watched/1: no window yet>"
    calm = monitor.check(days(0.0, 0.0))
    assert [(one.n_rows, one.breached, len(one.fired)) for one in calm] == [(800, 0, 0)] * 2
    assert len(monitor.check(days(0.0, 0.0))) == 2  # judged before, and not again
    assert monitor.refresh().evaluations == 2


def test_a_monitor_of_one_window_fires_and_is_resolved(registered: Any, client: Any) -> None:
    checks = [
        DriftCheck(features=("steady", "moved")),
        QualityCheck(),
        OutlierCheck(features=("steady", "moved")),
        MetricCheck(model="watched/1", comparator=">", threshold=1.5),
    ]
    monitor = client.monitors.create(
        "batches", model=registered, checks=checks, routes=[WebhookRoute(url="http://127.0.0.1:9")]
    )
    (first,) = monitor.check(frame(2, 3.0).assign(id=range(800)))
    assert (len(first.fired), first.skipped) == (0, "")
    assert (monitor.refresh().pending, monitor.firing) == (4, 0)
    (again,) = monitor.check(frame(2, 3.0).assign(id=range(800)))
    assert again.id == first.id  # the same rows are the same window
    (second,) = monitor.check(frame(3, 3.0).assign(id=range(800)))
    assert sorted((one.check, one.feature, one.aspect) for one in second.fired) == [
        ("drift", "moved", ""), ("metric", "", ""), ("outliers", "", ""), ("quality", "moved", "outside"),
    ]  # fmt: skip
    told = {one.check: one.message for one in second.fired}
    assert told["metric"].startswith("The mean of watched/1 is 3.0")
    assert "of the rows are outliers" in told["outliers"]
    assert [one.monitor for one in client.monitors.alarms("firing")] == ["batches"] * 4
    (sent,) = monitor.deliveries()
    assert (sent.event, len(sent.alarm_ids), sent.route.url) == ("fired", 4, "http://127.0.0.1:9")
    history = monitor.history("drift", "moved")
    assert list(history["alarm"]) == [True, True]
    assert (history["value"] > history["threshold"]).all()
    for seed in (4, 5):
        (last,) = monitor.check(frame(seed).assign(id=range(800)))
    assert len(last.resolved) == 4
    assert client.monitors.alarms() == []
    assert {one.state for one in monitor.alarms()} == {"resolved"}
    assert "resolved" in monitor.alarms()._repr_html_()
    assert client.monitors.list(model="watched")[0].name == "batches"
    monitor.pause()
    with pytest.raises(Conflict, match="is paused"):
        monitor.check(frame(7).assign(id=range(800)))
    monitor.resume()
    monitor.delete()
    with pytest.raises(NotFound, match="no monitor 'batches'"):
        client.monitors.get("batches")


@pytest.mark.ray
def test_jobs_measure_where_the_rows_lie(registered: Any, client: Any, server: Server, tmp_path: Path) -> None:
    days(0.0, 4.0, 4.0).to_parquet(tmp_path / "requests.parquet", row_group_size=500)
    checks = [
        DriftCheck(features=("steady", "moved")),
        OutlierCheck(features=("steady", "moved")),
        MetricCheck(model="watched/1", comparator=">", threshold=1.5),
    ]
    monitor = client.monitors.create("by jobs", model=registered, checks=checks, timestamp="at", period="D")
    job = monitor.submit(str(tmp_path / "requests.parquet"), windows=3)
    assert list(job.result().values()) == [800, 800, 800]
    wait_until(lambda: len(monitor.evaluations()) == 3)
    last, middle, first = monitor.evaluations()
    assert (first.breached, middle.breached, last.breached) == (0, 3, 3)
    assert {alarm.feature for alarm in monitor.alarms("firing")} == {"moved", ""}
    # The same windows again are not judged again.
    monitor.submit(str(tmp_path / "requests.parquet"), windows=2).result()
    assert len(monitor.evaluations()) == 3
    schedule = monitor.schedule("15 0 * * *", str(tmp_path / "requests.parquet"))
    assert schedule.name == "monitor by jobs"
    client.jobs.schedules.delete("monitor by jobs")
    # A file of any size, in parts, on the cluster.
    whole = client.monitors.create("whole file", model=registered, checks=[DriftCheck()], min_rows=1)
    frame(5, 1.0).assign(id=range(800)).to_parquet(tmp_path / "whole.parquet", row_group_size=100)
    assert list(whole.submit(str(tmp_path / "whole.parquet")).result().values()) == [800]
    wait_until(lambda: len(whole.evaluations()) == 1)
    assert [one.feature for one in whole.evaluations()[0].judged if one.breached] == ["moved"]
    # What a schedule was made with before is held against the reference of when it fires.
    made_before = whole._round(str(tmp_path / "whole.parquet"), 1, None)
    whole.pause()
    assert client.jobs.submit(run_round, made_before).result() == {}
    whole.compare_with(client.monitors.save_profile("moved", Profile.of(frame(6, 1.0)))).resume()
    assert list(client.jobs.submit(run_round, made_before).result().values()) == [800]
    wait_until(lambda: len(whole.evaluations()) == 2)
    assert whole.evaluations()[0].breached == 0
    whole.delete()
    with pytest.raises(Conflict, match="monitor was deleted"):
        client.jobs.submit(run_round, made_before).result()
    assert len(monitor.evaluations()) == 3
    metrics = httpx.get(f"{server.url.rstrip('/')}/metrics", headers={"Authorization": f"token {server.token}"}).text
    assert 'jupyter_ext_monitor_alarms{model="watched/1",monitor="by jobs"' in metrics


def test_an_alarm_survives_a_killed_server_and_is_told_once(tmp_path: Path) -> None:
    receiver = Receiver()
    running = servers.start(tmp_path / "server")
    try:
        client = importlib.import_module("jupyter_ext").connect(running.url, running.token)
        profile = client.monitors.save_profile("before", Profile.of(frame(1)))
        route = WebhookRoute(url=receiver.url)
        monitor = client.monitors.create(
            "survivor", profile=profile, routes=[route], checks=[DriftCheck(anytime=False)]
        )
        assert not monitor.check(frame(2, 1.0))[0].fired
        receiver.answers = [503]
        assert len(monitor.check(frame(3, 1.0))[0].fired) == 1
        wait_until(lambda: len(receiver.got) == 1)
        running.process.kill()
        running.process.wait()
        running = servers.start(tmp_path / "server", port=int(running.url.rsplit(":")[-1].strip("/")))
        wait_until(lambda: monitor.deliveries()[0].state == "delivered")
        assert len(receiver.got) == 2
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert not monitor.check(frame(4, 1.0))[0].fired
        assert [(one.state, one.breaches) for one in monitor.alarms()] == [("firing", 3)]
        client.transport.close()
    finally:
        running.stop()
        receiver.close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("befor after", "neither a variable nor a stored profile 'befor'. Did you mean before?"),
        ("before number", "The current data must be a DataFrame, an Arrow table or a Profile, not int"),
        ("before after --alpha 7", "alpha must be between 0 and 1"),
        ("before after --model churn/1", "give --save NAME too"),
        ("before after --method guess", "invalid choice"),
        ("nobody/3 after", "neither a variable nor a stored profile 'nobody/3'"),
        ("before", "required"),
    ],
)
def test_the_magic_says_what_was_wrong(shell: InteractiveShell, line: str, said: str) -> None:
    shell.user_ns |= {"before": frame(1), "after": frame(2), "number": 3}
    with pytest.raises(UsageError, match=said):
        shell.run_line_magic("drift", line)
