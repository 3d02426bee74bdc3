"""Submissions while the server is away: kept, sent once, told when refused."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_ext
from jupyter_ext.client import Client
from jupyter_ext.errors import Conflict, Invalid, Unavailable
from jupyter_ext.jobs.values import JobState
from support.server import clean_environment
from support.stub_api import StubApi


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def api() -> Iterator[StubApi]:
    made = StubApi()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(api: StubApi) -> Iterator[Client]:
    connected = jupyter_ext.connect(api.url, "t")
    yield connected
    connected.transport.close()


@pytest.fixture
def again(api: StubApi) -> Iterator[Client]:
    """A client of another kernel."""
    connected = jupyter_ext.connect(api.url, "t")
    yield connected
    connected.transport.close()


def folders(data_dir: Path) -> dict[str, int]:
    outbox = data_dir / "jupyter-ext" / "outbox"
    return {state: len(list((outbox / state).glob("*"))) for state in ("waiting", "sent", "refused")}


def test_a_key_goes_with_what_its_variables_are_compared_by(api: StubApi, client: Client) -> None:
    def train(rate: float, rows: list[int]) -> float:
        return rate * len(rows)

    for rows, options in (([1], {"key": "k"}), ([1], {"key": "k"}), ([2], {"key": "k"}), ([1], {})):
        client.jobs.options(check=False, **options).submit(train, rate=0.1, rows=rows)
    first, again, other, without = (post["fingerprint"] for post in api.posts)
    assert first == again != other
    assert without is None


def test_what_is_kept_is_sent_with_the_next_call_and_the_handle_becomes_the_job(
    api: StubApi, client: Client, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.stop()
    job = client.jobs.submit("y = x", send={"x": 41}, fetch=["y"], name="train")
    assert "'train' is kept on this machine, and will be sent when the server answers" in capsys.readouterr().out
    assert repr(job).startswith("Job('train', queued: Kept on this machine, because the server does not answer.")
    assert "Kept on this machine" in job._repr_html_()
    assert job.state is JobState.QUEUED
    for verb in (job.pause, job.logs, job.events, client.jobs.flush):
        with pytest.raises(Unavailable):
            verb()
    assert folders(data_dir) == {"waiting": 1, "sent": 0, "refused": 0}

    api.start()
    client.transport.get("status")
    (spec,) = api.posts
    assert (spec["name"], spec["fetch"]) == ("train", ["y"])
    assert pickle.loads(api.blobs[spec["inputs"]]) == {"x": 41}
    (sent,) = api.jobs.values()
    assert f"is sent: {sent['id']}." in capsys.readouterr().out
    assert job.refresh().id == sent["id"] == job.id
    assert "Job('train', queued: )" in repr(job)
    assert folders(data_dir) == {"waiting": 0, "sent": 1, "refused": 0}
    client.transport.get("status")
    assert len(api.posts) == 1


def test_it_lies_where_nobody_else_can_read_it(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    client.jobs.submit("y = x", send={"x": 41})
    outbox = data_dir / "jupyter-ext" / "outbox"
    for path in (outbox, *outbox.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_another_kernel_finds_it(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    first, second = client.jobs.submit("1", name="first"), client.jobs.submit("2", name="second")
    api.start()
    later = jupyter_ext.connect(api.url, "t")
    # Oldest first, whatever call it was that the server answered.
    assert [spec["name"] for spec in api.posts] == ["first", "second"]
    assert {first.refresh().id, second.refresh().id} == {job["id"] for job in api.jobs.values()}
    assert later.jobs.flush() == []
    later.transport.close()


def test_a_server_of_another_workspace_gets_nothing(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    client.jobs.submit("1")
    api.workspace = "another"
    api.start()
    stranger = jupyter_ext.connect(api.url, "t")
    assert stranger.jobs.flush() == []
    assert folders(data_dir)["waiting"] == 1
    stranger.transport.close()


def test_a_server_with_another_address_is_known_by_its_workspace(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    client.jobs.submit("1")
    moved = StubApi()
    moved.start()
    later = jupyter_ext.connect(moved.url, "t")
    assert len(moved.jobs) == 1
    later.transport.close()
    moved.stop()


@pytest.mark.parametrize("mishap", [(503, "starting"), (502, "no upstream"), (504, "late"), (424, "stopped"), "lost"])
def test_what_counts_as_away(api: StubApi, client: Client, mishap: Any) -> None:
    api.mishaps = [mishap]
    job = client.jobs.submit("1")
    assert job.state is JobState.QUEUED
    assert job.id.startswith("job-"), "asking for its state sent it"
    # Also when only the answer got lost: it is one job.
    assert len(api.jobs) == 1
    assert len(api.posts) == 2
    assert len({spec["idempotency_key"] for spec in api.posts}) == 1


def test_what_the_server_refuses_is_told_and_put_aside(
    api: StubApi, client: Client, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.stop()
    job = client.jobs.submit("1", name="large")
    later = client.jobs.submit("2", name="small")
    api.mishaps = [(400, "The job asks for 9 CPUs.")]
    api.start()
    assert [sent.name for sent in client.jobs.flush()] == ["small"]
    said = capsys.readouterr().out
    assert "'large', kept here since" in said
    assert "is refused: The job asks for 9 CPUs. It lies in" in said
    assert folders(data_dir) == {"waiting": 0, "sent": 1, "refused": 1}
    assert job.wait(timeout=60, show=False).state is JobState.FAILED
    with pytest.raises(Conflict, match="refused it: The job asks for 9 CPUs"):
        job.result()
    assert later.refresh().id.startswith("job-")
    client.transport.get("status")
    assert len(api.posts) == 2


def test_it_is_withdrawn_by_cancelling(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    job = client.jobs.submit("1")
    assert job.cancel().state is JobState.CANCELLED
    assert folders(data_dir)["waiting"] == 0
    api.start()
    assert client.jobs.flush() == []
    assert api.posts == []


def test_what_comes_after_a_kept_job_waits_for_it(api: StubApi, client: Client) -> None:
    api.stop()
    first = client.jobs.submit("1", name="prepare")
    client.jobs.submit("2", after=[first, "other"], name="train")
    api.start()
    api.jobs["x"] = {"id": "job-" + "0" * 26, "name": "other"}
    client.jobs.flush()
    assert api.posts[1]["after"] == [first.refresh().id, "job-" + "0" * 26]


def test_what_comes_after_a_refused_one_is_refused(api: StubApi, client: Client) -> None:
    api.stop()
    first = client.jobs.submit("1")
    second = client.jobs.submit("2", after=first)
    api.mishaps = [(400, "no")]
    api.start()
    client.jobs.flush()
    assert "It was to come after a job that was refused" in second.message


def test_a_wrong_submission_is_told_at_once_and_not_kept(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    for thing, options in [("x = (", {}), ("1", {"cpus": -1}), ("1", {"sweep": {"a": []}}), ("1", {"name": "a/b"})]:
        with pytest.raises(Invalid):
            client.jobs.submit(thing, **options)  # type: ignore[arg-type]
    assert folders(data_dir)["waiting"] == 0


def test_a_client_that_never_met_its_server_keeps_by_address(api: StubApi, data_dir: Path) -> None:
    api.stop()
    stranger = Client(api.url, "t")
    job = stranger.jobs.submit("1")
    api.start()
    assert job.refresh().id.startswith("job-")
    stranger.transport.close()


def test_half_written_ones_are_not_sent_and_old_ones_are_forgotten(
    api: StubApi, client: Client, data_dir: Path
) -> None:
    api.stop()
    client.jobs.submit("1")
    outbox = data_dir / "jupyter-ext" / "outbox"
    (outbox / "new-kept-x").mkdir()
    (outbox / "sent").mkdir()
    (outbox / "sent" / "kept-old").mkdir()
    for name in ("new-kept-x", "sent/kept-old"):
        os.utime(outbox / name, (0, 0))
    api.start()
    client.jobs.flush()
    assert sorted(path.name for path in outbox.iterdir()) == ["lock", "sent", "waiting"]
    assert len(list((outbox / "sent").iterdir())) == 1


def test_a_process_that_died_after_sending_leaves_no_second_job(
    api: StubApi, client: Client, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_ext.client import _outbox

    api.stop()
    client.jobs.submit("1")
    api.start()

    def dies(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(_outbox, "_write", dies)
    with pytest.raises(MemoryError):
        client.jobs.flush()
    monkeypatch.undo()
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(data_dir))
    monkeypatch.setattr(_outbox, "_move", dies)
    with pytest.raises(MemoryError):
        client.jobs.flush()
    monkeypatch.undo()
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(data_dir))
    assert len(client.jobs.flush()) == 1
    # The second time it was noted which job it is.
    assert (len(api.jobs), len(api.posts)) == (1, 2)


def test_two_processes_that_send_at_once_send_once(api: StubApi, client: Client, data_dir: Path) -> None:
    api.stop()
    for number in range(5):
        client.jobs.submit(str(number))
    api.delay = 0.1
    api.start()
    code = f"import jupyter_ext; print(len(jupyter_ext.client.Client({api.url!r}, 't').jobs.flush()))"
    environment = clean_environment(JUPYTER_DATA_DIR=str(data_dir))
    command = [sys.executable, "-c", "import jupyter_ext.client\n" + code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sent = [int(process.communicate(timeout=60)[0].splitlines()[-1]) for process in running]
    assert sum(sent) == 5
    assert len(api.posts) == 5


def test_threads_of_one_kernel_send_once_too(api: StubApi, client: Client) -> None:
    api.stop()
    client.jobs.submit("1")
    api.delay = 0.1
    api.start()
    threads = [threading.Thread(target=client.transport.get, args=("status",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.posts) == 1


def test_with_nothing_kept_a_call_costs_nothing(
    api: StubApi, client: Client, data_dir: Path, tell: Callable[[str], None]
) -> None:
    begun = time.perf_counter()
    for _ in range(1000):
        client._send_kept()
    tell(f"looking whether something is kept: {1e3 * (time.perf_counter() - begun):.0f} µs")
    assert not data_dir.exists()
    assert api.posts == []
