"""Clusters as people see them: tables, waiting for a start, %cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from IPython.core.error import UsageError

from jupyter_ext.client import Client
from jupyter_ext.client.clusters import Clusters, ClusterTable
from jupyter_ext.clusters.values import Cluster, ClusterState, Node, NodeState, WorkerKind
from jupyter_ext.errors import Unavailable
from jupyter_ext.magics import _base
from jupyter_ext.magics.clusters import ClusterMagics, complete_cluster
from support.html import assert_self_contained

RUNNING = Cluster(
    name="default", owner="ada", backend="local", state=ClusterState.RUNNING, ray_version="2.60.0",
    dashboard_url="http://127.0.0.1:1", total={"CPU": 4.0, "memory": 2e9, "object_store_memory": 1e8},
    available={"CPU": 3.0}, message="Running.",
)  # fmt: skip
STARTING = RUNNING.model_copy(update={"state": ClusterState.STARTING, "available": {}, "message": "Starting."})
FAILED = STARTING.model_copy(update={"state": ClusterState.STOPPED, "message": "It failed <here>.\nA long log."})

GPU = WorkerKind(name="gpu", resources={"CPU": 1.0, "GPU": 1.0}, max_nodes=4)
GROWING = RUNNING.model_copy(
    update={
        "kinds": (GPU,),
        "wanted": ({"GPU": 1.0}, {"GPU": 1.0}),
        "nodes": (
            Node(id="head", kind="head", state=NodeState.RUNNING, total={"CPU": 2.0}, used={"CPU": 1.0}),
            Node(id="w1", kind="gpu", state=NodeState.STARTING, message="No <memory>."),
        ),
        "message": "Starting 1 gpu worker for the queue.",
    }
)


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

    def put(self, path: str, body: Any = None) -> Any:
        self.asked.append(f"PUT {path} {body.model_dump_json()}")
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


def test_a_start_that_takes_too_long_is_told_by_the_magic(run: Callable[[Wire, str], Any]) -> None:
    class Late(Wire):
        def post(self, *_: Any, **__: Any) -> Any:
            raise TimeoutError("Cluster 'default' still starts after 180 s; see %cluster status.")

    with pytest.raises(UsageError, match="still starts after 180 s"):
        run(Late(STARTING), "start")


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


def test_a_table_tells_of_nodes_and_what_the_queue_wants() -> None:
    table = ClusterTable([GROWING])
    assert [line.rstrip() for line in repr(table).splitlines()[-4:]] == [
        "default: up to 4 gpu workers of 1 CPU, 1 GPU; the queue wants 2 × 1 GPU",
        "node  kind  state     in use        message",
        "head  head  running   1 of 2 CPUs",
        "w1    gpu   starting  1 CPU, 1 GPU  No <memory>.",
    ]
    assert "Starting 1 gpu worker" in repr(table)
    assert_self_contained(table._repr_html_())
    assert "No &lt;memory&gt;." in table._repr_html_()
    assert "node" not in repr(ClusterTable([RUNNING]))


def test_resizing_sends_the_limits() -> None:
    wire = Wire(GROWING, GROWING)
    assert clusters(wire).resize(gpu=2, cpu=0) == GROWING
    clusters(wire).resize("big one", name=1)
    assert wire.asked == [
        'PUT clusters/default/size {"limits":{"gpu":2,"cpu":0}}',
        'PUT clusters/big%20one/size {"limits":{"name":1}}',
    ]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Wire, str], Any]:
    """Run %cluster against a wire."""

    def magic(wire: Wire, line: str) -> Any:
        client = Client("http://127.0.0.1:9", "t")
        client.transport = wire  # type: ignore[assignment]
        monkeypatch.setattr(_base, "_client", client)
        return ClusterMagics(shell=None).cluster(line)

    return magic


def test_the_magic_resizes(run: Callable[[Wire, str], Any]) -> None:
    wire = Wire(GROWING, GROWING)
    assert list(run(wire, "resize gpu=2 cpu=1")) == [GROWING]
    run(wire, "resize big gpu=0")
    assert wire.asked == [
        'PUT clusters/default/size {"limits":{"gpu":2,"cpu":1}}',
        'PUT clusters/big/size {"limits":{"gpu":0}}',
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("resize", "resize gpu=2"),
        ("start gpu=2", "resize gpu=2"),
        ("resize gpu=two", "'gpu=two' is not KIND=COUNT"),
        ("resize gpu=-1", "is not KIND=COUNT"),
        ("stop a b", "One cluster at a time"),
    ],
)
def test_wrong_lines_are_told(run: Callable[[Wire, str], Any], line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(Wire(), line)


def test_help_names_every_verb(run: Callable[[Wire, str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(Wire(), "--help")
    told = capsys.readouterr().out
    assert all(word in told for word in ("status", "start", "stop", "resize", "KIND=COUNT"))


def test_completion_offers_verbs_then_names() -> None:
    client = Client("http://127.0.0.1:9", "t")
    client.transport = Wire(GROWING)  # type: ignore[assignment]
    assert complete_cluster(client, "%cluster ") == ["status", "start", "stop", "resize", "--help"]
    assert complete_cluster(client, "%cluster resize ") == ["gpu=", "default"]
    assert complete_cluster(client, "%cluster start ") == ["default", "--no-wait"]
    assert complete_cluster(client, "%cluster stop ") == ["default"]
