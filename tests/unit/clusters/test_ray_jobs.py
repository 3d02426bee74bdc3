"""What Ray answers becomes our values and our errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from jupyter_ext.clusters.ray_jobs import RayJob, RayJobs
from jupyter_ext.clusters.values import NodeState
from jupyter_ext.errors import Forbidden, Invalid, JupyterExtError, Unavailable

# As ray 2.60 answers, shortened.
_EXISTS = (
    'Traceback (most recent call last):\n  File "job_head.py", line 134, in _raise_error\n'
    "RuntimeError: Request failed with status code 400: Traceback (most recent call last):\n"
    "ValueError: Job with submission_id x1 already exists. Please use a different submission_id.\n."
)
_JOB = {
    "type": "SUBMISSION", "submission_id": "x1", "status": "FAILED", "message": "it failed", "driver_exit_code": -9,
    "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "metadata": None, "runtime_env": None,
}  # fmt: skip

Ray = Callable[[int, Any], RayJobs]


@pytest.fixture
def asked() -> list[tuple[str, str, Any]]:
    """What the head was asked."""
    return []


@pytest.fixture
def ray(asked: list[tuple[str, str, Any]]) -> Iterator[Ray]:
    """A head that gives one answer to everything."""
    answer: list[Any] = [200, ""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path, json.loads(body) if body else None))
            self.send_response(answer[0])
            payload = answer[1].encode()
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    jobs = RayJobs(f"http://127.0.0.1:{server.server_address[1]}/", "token", timeout=30)

    def answers(status: int, payload: Any) -> RayJobs:
        answer[:] = [status, payload if isinstance(payload, str) else json.dumps(payload)]
        return jobs

    yield answers
    jobs.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_submission_says_all_it_asks_for(ray: Ray, asked: list[tuple[str, str, Any]]) -> None:
    ray(200, {}).submit(
        "x1", "exec true", env={"A": "1"}, runtime_env={"env_vars": {"B": "2"}}, metadata={"m": "n"}, cpus=2, gpus=0.5,
        memory_bytes=10, resources={"special": 1},
    )  # fmt: skip
    expected = {
        "entrypoint": "exec true", "submission_id": "x1", "runtime_env": {"env_vars": {"A": "1", "B": "2"}},
        "metadata": {"m": "n"}, "entrypoint_num_cpus": 2, "entrypoint_num_gpus": 0.5, "entrypoint_memory": 10,
        "entrypoint_resources": {"special": 1},
    }  # fmt: skip
    assert asked == [("POST", "/api/jobs/", expected)]


@pytest.mark.parametrize("status", [400, 500])
def test_a_submission_that_exists_is_this_one(ray: Ray, status: int) -> None:
    ray(status, _EXISTS).submit("x1", "exec true")


def test_a_job_reads_as_a_value(ray: Ray, asked: list[tuple[str, str, Any]]) -> None:
    job = ray(200, _JOB).get("x/1 ?")
    assert job == RayJob("x1", "FAILED", "it failed", "JOB_ENTRYPOINT_COMMAND_ERROR", -9, {})
    assert job.ended
    assert asked == [("GET", "/api/jobs/x%2F1%20%3F", None)]


def test_a_list_leaves_out_drivers_that_were_not_submitted(ray: Ray) -> None:
    driver = {**_JOB, "type": "DRIVER", "submission_id": None}
    assert [job.submission_id for job in ray(200, [_JOB, driver]).list()] == ["x1"]


def test_what_ray_does_not_know_is_none(ray: Ray) -> None:
    jobs = ray(404, "Job x1 does not exist")
    assert jobs.get("x1") is None
    assert not jobs.stop("x1")
    assert not jobs.delete("x1")
    assert jobs.logs("x1") == ""


@pytest.mark.parametrize(
    ("status", "text", "error", "said"),
    [
        (401, "Unauthorized: Missing authentication token", Forbidden, "refuses this token"),
        (403, "Forbidden", Forbidden, "refuses this token"),
        (500, "No available agent to submit job, please try again later.", Unavailable, "not ready for jobs yet"),
        (503, "", Unavailable, "HTTP 503"),
        (
            400,
            "Traceback (most recent call last):\nTypeError: no such field\n",
            Invalid,
            "refuses the request: no such",
        ),
        (413, "Request Entity Too Large", Invalid, "Too Large"),
        (500, "Traceback (most recent call last):\nRuntimeError: broken", JupyterExtError, r"\(HTTP 500\): broken"),
    ],
)
def test_errors_are_ours_and_say_what_ray_said(
    ray: Ray, status: int, text: str, error: type[JupyterExtError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        ray(status, text).submit("x1", "exec true")
    assert type(caught.value) is error


def test_no_answer_is_unavailable() -> None:
    from jupyter_ext.clusters.backends.local import free_ports

    [port] = free_ports(1)
    with pytest.raises(Unavailable, match="does not answer"):
        RayJobs(f"http://127.0.0.1:{port}", "token").get("x1")


def test_resources_are_summed_over_nodes_that_live(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"node_id": "a", "state": "ALIVE", "resources_total": {"CPU": 2.0, "memory": 1e9, "node:10.0.0.1": 1.0}},
        {"node_id": "b", "state": "ALIVE", "resources_total": {"CPU": 4.0, "GPU": 1.0, "node:10.0.0.2": 1.0}},
        {"node_id": "c", "state": "DEAD", "resources_total": {"CPU": 8.0}},
    ]
    usage = {"a": "1.5/2.0 CPU\n0B/0.93GiB memory", "b": "0.0/4.0 CPU\n1.0/1.0 GPU"}
    both = {"result": {"result": nodes}, "nodeLogicalResources": usage}
    resources = ray(200, {"data": both}).resources()
    assert resources.total == {"CPU": 6.0, "GPU": 1.0, "memory": 1e9}
    assert resources.available == {"CPU": 4.5, "GPU": 0.0}


def test_nodes_tell_what_is_used_of_them(ray: Ray) -> None:
    total = {"CPU": 2.0, "memory": 1e9, "node:127.0.0.1": 1.0}
    nodes = [
        {"node_id": "a", "is_head_node": True, "node_name": "h", "state": "ALIVE", "resources_total": total},
        {"node_id": "b", "is_head_node": False, "node_name": "w", "state": "ALIVE", "resources_total": {"CPU": 1.0}},
        {"node_id": "c", "is_head_node": False, "node_name": "x", "state": "DEAD", "resources_total": {"CPU": 8.0}},
    ]
    # What was just added is not reported yet.
    both = {"result": {"result": nodes}, "nodeLogicalResources": {"a": "0.5/2.0 CPU\n0B/0.93GiB memory"}}
    head, worker = ray(200, {"data": both}).nodes()
    assert (head.name, head.is_head, head.state) == ("h", True, NodeState.RUNNING)
    assert (head.total, head.used) == ({"CPU": 2.0, "memory": 1e9}, {"CPU": 0.5})
    assert (worker.name, worker.is_head, worker.state, worker.used) == ("w", False, NodeState.IDLE, {})
