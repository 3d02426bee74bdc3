"""Clusters as people see them: tables, waiting for a start, %cluster."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_ext.client import Client
from jupyter_ext.client.clusters import Clusters, ClusterTable
from jupyter_ext.clusters.values import Cluster, ClusterState
from jupyter_ext.errors import Unavailable
from jupyter_ext.magics.clusters import complete_cluster

RUNNING = Cluster(
    name="default", owner="ada", backend="local", state=ClusterState.RUNNING, ray_version="2.60.0",
    dashboard_url="http://127.0.0.1:1", total={"CPU": 4.0, "memory": 2e9, "object_store_memory": 1e8},
    available={"CPU": 3.0}, message="Running.",
)  # fmt: skip
STARTING = RUNNING.model_copy(update={"state": ClusterState.STARTING, "available": {}, "message": "Starting."})
FAILED = STARTING.model_copy(update={"state": ClusterState.STOPPED, "message": "It failed <here>.\nA long log."})


class Wire:
    """A transport that plays the answers of a server in order, and keeps what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = [answer.model_dump(mode="json") for answer in answers]
        self.asked: list[str] = []

    def get(self, path: str, **_: Any) -> Any:
        self.asked.append(f"GET {path}")
        return self.answers.pop(0)

    def post(self, path: str, body: Any = None) -> Any:
        self.asked.append(f"POST {path}")
        return self.answers.pop(0)

    def pages(self, path: str, **_: Any) -> list[Any]:
        self.asked.append(f"GET {path}")
        return self.answers


def clusters(wire: Wire) -> Clusters:
    client = Client("http://127.0.0.1:9", "t")
    client.transport = wire  # type: ignore[assignment]
    return client.clusters


def test_start_waits_until_it_takes_jobs() -> None:
    wire = Wire(STARTING, STARTING, RUNNING)
    assert clusters(wire).start("big one").state is ClusterState.RUNNING
    assert wire.asked == ["POST clusters/big%20one/start", *["GET clusters/big%20one"] * 2]


def test_start_without_waiting_asks_once() -> None:
    wire = Wire(STARTING)
    assert clusters(wire).start(wait=False).state is ClusterState.STARTING
    assert wire.asked == ["POST clusters/default/start"]


def test_a_start_that_fails_says_why() -> None:
    with pytest.raises(Unavailable, match="It failed <here>"):
        clusters(Wire(STARTING, FAILED)).start()


def test_a_start_that_takes_too_long_goes_on() -> None:
    with pytest.raises(TimeoutError, match="still starts after 0 s"):
        clusters(Wire(STARTING, STARTING)).start(timeout=0)


def test_a_table_reads_well_and_escapes() -> None:
    table = ClusterTable([RUNNING, FAILED])
    assert [line.split("  ")[0] for line in repr(table).splitlines()] == ["cluster", "default", "default"]
    assert "1 of 4 CPUs, 2.0 GB memory" in repr(table)
    assert "A long log" not in repr(table)
    html = table._repr_html_()
    assert "It failed &lt;here&gt;." in html
    assert "<here>" not in html
    assert (len(table), table[0], list(table[1:])) == (2, RUNNING, [FAILED])
    assert repr(ClusterTable([])) == "No clusters. The first job starts one."
    assert "first job" in ClusterTable([])._repr_html_()


def test_completion_offers_verbs_then_names() -> None:
    client = Client("http://127.0.0.1:9", "t")
    client.transport = Wire(RUNNING)  # type: ignore[assignment]
    assert complete_cluster(client, "%cluster ") == ["status", "start", "stop", "--help"]
    assert complete_cluster(client, "%cluster start ") == ["default", "--no-wait"]
    assert complete_cluster(client, "%cluster stop ") == ["default"]
