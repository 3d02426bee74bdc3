"""What a job's handle does with answers that come in pieces, late, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_ext.client import _job
from jupyter_ext.client._transport import Unreachable
from jupyter_ext.client.jobs import Job
from jupyter_ext.jobs.values import JobDetail, JobState, Resources

RUNNING = JobDetail(
    id="job-1", name="train", owner="ada", state=JobState.RUNNING, attempt=1, resources=Resources(), source="pass",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip


class Wire:
    """A server that plays pieces of a log in order; None is an answer that never comes."""

    def __init__(self, *pieces: str | None) -> None:
        self.pieces = list(pieces)
        self.said = 0
        self.offsets: list[int] = []

    def get(self, path: str, *, offset: int, limit: int) -> dict[str, Any]:
        assert path == "jobs/job-1/logs"
        self.offsets.append(offset)
        piece = self.pieces.pop(0)
        if piece is None:
            raise Unreachable("The server does not answer.")
        start, self.said = self.said, self.said + len(piece)
        return {"offset": start, "next_offset": self.said, "text": piece, "complete": not self.pieces}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_job, "_POLL_S", 0.01)


def job(wire: Wire) -> Job:
    return Job(SimpleNamespace(transport=wire, outbox=None), RUNNING)  # type: ignore[arg-type]


def test_a_log_is_followed_to_the_jobs_end(capsys: pytest.CaptureFixture[str]) -> None:
    wire = Wire("one\n", "two\n", "", "", "three\n")
    assert job(wire).logs(follow=True) == "one\ntwo\nthree\n"
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
    assert wire.offsets == [0, 4, 8, 8, 8]


def test_following_bears_a_server_that_is_started_again(capsys: pytest.CaptureFixture[str]) -> None:
    wire = Wire("one\n", None, None, "two\n")
    assert job(wire).logs(follow=True) == "one\ntwo\n"
    assert capsys.readouterr().out == "one\ntwo\n"


def test_a_server_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_job, "_PATIENCE_S", 0.05)
    with pytest.raises(Unreachable):
        job(Wire("one\n", *[None] * 100)).logs(follow=True)
    with pytest.raises(Unreachable):
        job(Wire(None)).logs()


def test_without_following_what_there_is_comes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert job(Wire("one\n", "", "later\n")).logs() == "one\n"
    assert capsys.readouterr().out == ""
