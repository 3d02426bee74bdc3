"""The worker process: started when needed, restarted when it dies, never asked twice with double effect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.errors import Invalid, NotFound, Unavailable
from jupyter_ext.registry.mlflow_client import MlflowWorker
from jupyter_ext.registry.mlflow_worker import translated
from jupyter_ext.registry.values import ModelVersionSpec
from support.registry import House, connection

#: A worker without MLflow: the protocol and nothing else.
ECHO = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request["params"]
    if method == "connect":
        result = {"mlflow": "0"}
    elif method == "exit" and not os.path.exists(params["unless"]):
        open(params["unless"], "w").close()
        os._exit(3)
    elif method == "always_exit":
        print("going down", file=sys.stderr, flush=True)
        time.sleep(0.2)
        os._exit(3)
    elif method == "sleep":
        time.sleep(params["seconds"])
        result = None
    else:
        result = {"pid": os.getpid(), **params}
    print(json.dumps({"id": request["id"], "result": result}), flush=True)
"""


@pytest.fixture
def echo() -> Iterator[MlflowWorker]:
    worker = MlflowWorker({}, command=(sys.executable, "-c", ECHO))
    yield worker
    worker.close()


def test_nothing_runs_until_it_is_needed(echo: MlflowWorker) -> None:
    assert echo.pid is None
    assert echo.call("echo", a=1) == {"pid": echo.pid, "a": 1}


def test_one_worker_serves_many_threads(echo: MlflowWorker) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(echo.call("echo", number=number)))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["number"] for answer in answers) == list(range(20))
    assert {answer["pid"] for answer in answers} == {echo.pid}


def test_a_worker_that_dies_is_replaced_and_asked_again(echo: MlflowWorker, tmp_path: Path) -> None:
    first = echo.call("echo")["pid"]
    answer = echo.call("exit", unless=str(tmp_path / "died"))
    assert answer["pid"] == echo.pid != first


def test_a_worker_killed_while_idle_is_replaced(echo: MlflowWorker) -> None:
    first = echo.call("echo")["pid"]
    os.kill(first, signal.SIGKILL)
    assert echo.call("echo")["pid"] != first


def test_a_request_that_kills_twice_is_given_up(echo: MlflowWorker) -> None:
    with pytest.raises(Unavailable, match=r"ended twice during 'always_exit'. It last said: going down"):
        echo.call("always_exit")
    assert echo.call("echo", still="here")["still"] == "here"


def test_a_request_that_takes_too_long_fails_and_the_next_one_works(echo: MlflowWorker) -> None:
    with pytest.raises(Unavailable, match=r"did not answer 'sleep' within 0.2 s"):
        echo.call("sleep", timeout_s=0.2, seconds=60)
    assert echo.call("echo", still="here")["still"] == "here"


def test_closing_ends_the_worker_and_what_waits_for_it(echo: MlflowWorker) -> None:
    pid = echo.call("echo")["pid"]
    failures: list[Exception] = []

    def ask() -> None:
        try:
            echo.call("sleep", seconds=300)
        except Unavailable as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    started = time.monotonic()
    echo.close()
    thread.join()
    assert time.monotonic() - started < 60
    assert [str(failure) for failure in failures] == ["The registry is shutting down."]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Unavailable, match="shutting down"):
        echo.call("echo")


def test_a_worker_that_cannot_start_says_why() -> None:
    worker = MlflowWorker({}, command=(sys.executable, "-c", "raise SystemExit('no mlflow here')"))
    with pytest.raises(Unavailable, match="no mlflow here"):
        worker.call("echo")
    worker.close()


def speak(*lines: Any, seconds: str = "60") -> tuple[list[dict[str, Any]], str]:
    """Talk to the real worker by hand, without connecting it to MLflow."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_ext.registry.mlflow_worker", seconds],
        input=text, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_real_worker_ends_with_its_input_and_answers_nonsense() -> None:
    replies, _ = speak("this is no json\n", {"id": 7, "method": "__init__", "params": {}}, {"id": 8, "method": "ping"})
    assert [reply["id"] for reply in replies] == [None, 7, 8]
    assert [reply["error"]["reason"] for reply in replies] == ["internal", "invalid", "internal"]


def test_the_real_worker_ends_when_nobody_asks() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_ext.registry.mlflow_worker", "0.1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFound("x"), "not_found"),
        (OSError(28, "No space left on device"), "storage_full"),
        (PermissionError(13, "Permission denied"), "unavailable"),
        (RuntimeError("Detected out-of-date database schema (found version a)"), "unavailable"),
        (RuntimeError("Can't locate revision identified by 'zzz'"), "unavailable"),
        (ZeroDivisionError(), "internal"),
    ],
)
def test_errors_are_told_in_our_words(error: Exception, reason: str) -> None:
    assert translated(error).reason == reason


#: The real worker, which dies right after MLflow made a version, while there is a marker.
MORTAL = """
import os
from mlflow import MlflowClient
real = MlflowClient.create_model_version
def create_model_version(*args, **kwargs):
    made = real(*args, **kwargs)
    if os.path.exists({marker!r}):
        os.remove({marker!r})
        os._exit(9)
    return made
MlflowClient.create_model_version = create_model_version
from jupyter_ext.registry import mlflow_worker
mlflow_worker.main()
"""


def test_a_version_is_not_doubled_when_the_worker_dies_before_it_answers(
    make_house: Callable[[MlflowWorker], House], tmp_path: Path
) -> None:
    marker = tmp_path / "die"
    marker.touch()
    worker = MlflowWorker(connection(tmp_path), command=(sys.executable, "-c", MORTAL.format(marker=str(marker))))
    house = make_house(worker)
    try:
        made = house.models.register("m", ModelVersionSpec(archive=house.archive), owner="ada")
        assert not marker.exists()
        assert made.version == 1
        assert house.models.get("m").latest_version == 1
    finally:
        worker.close()


def test_errors_of_mlflow_keep_their_meaning(mlflow_worker: MlflowWorker) -> None:
    with pytest.raises(NotFound, match="There is no model"):
        mlflow_worker.call("get_model", name="no-such")
    with pytest.raises(Invalid, match="no method"):
        mlflow_worker.call("_model", name="no-such")
