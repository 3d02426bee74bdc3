"""The runner as a process of its own, on a local store, without Ray and without a supervisor."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import cloudpickle
import pytest

from jupyter_ext.jobs.protocol import fence_path
from jupyter_ext.jobs.states import EXIT_FENCED, EXIT_TRY_AGAIN
from support.attempts import Attempt


def test_variables_go_in_and_come_out(attempt: Attempt) -> None:
    attempt.objects.put("inputs", cloudpickle.dumps({"x": [1, 2], "double": lambda value: 2 * value}))
    assert attempt.run("y = [double(value) for value in x]", fetch=("y", "x"), inputs="inputs") == 0
    assert attempt.result == {"y": [2, 4], "x": [1, 2]}
    assert attempt.outcome.succeeded
    assert attempt.status.finished


def test_classes_of_the_cell_come_back_whole(attempt: Attempt) -> None:
    source = "class Model:\n    def predict(self):\n        return __name__\nmodel = Model()"
    assert attempt.run(source, fetch=("model",)) == 0
    assert attempt.result["model"].predict() == "__main__"


def test_log_holds_what_subprocesses_and_c_code_write(attempt: Attempt) -> None:
    source = """
import os, subprocess, sys
print("from print")
print("to stderr", file=sys.stderr)
os.write(1, b"from the descriptor\\n")
subprocess.run(["echo", "from a child"])
print("no newline at the end", end="")
"""
    assert attempt.run(source) == 0
    assert attempt.log.splitlines() == [
        "from print",
        "to stderr",
        "from the descriptor",
        "from a child",
        "no newline at the end",
    ]


def test_log_is_readable_while_the_job_runs(attempt: Attempt) -> None:
    attempt.prepare("import time\nprint('first')\ntime.sleep(60)")
    process = attempt.begin()
    attempt.until(lambda: attempt.log == "first\n")
    process.kill()
    process.communicate()


def test_progress_and_checkpoints_are_in_the_status(attempt: Attempt) -> None:
    source = """
from jupyter_ext.jobs import checkpoint, progress
progress(2, 5, loss=0.25)
checkpoint.save(2, "state")
assert checkpoint.latest().state == "state"
"""
    assert attempt.run(source) == 0, attempt.log
    status = attempt.status
    assert status.progress is not None
    assert (status.progress.step, status.progress.total, status.progress.metrics) == (2, 5, {"loss": 0.25})
    # Finding again what it saved itself resumes nothing.
    assert (status.durable_step, status.resumed_step) == (2, None)


@pytest.mark.parametrize(
    ("source", "reason", "message"),
    [
        ("x = (", "user_error", "SyntaxError: '(' was never closed (line 1)"),
        ("def f():\n    raise LookupError('a\\nb')\nf()", "user_error", "LookupError: a (line 3)"),
        ("raise KeyboardInterrupt", "user_error", "KeyboardInterrupt: (no message) (line 1)"),
        ("import sys\nsys.exit('bad data')", "exit", "The job's code called sys.exit('bad data')."),
    ],
)
def test_failures(attempt: Attempt, source: str, reason: str, message: str) -> None:
    assert attempt.run(source) == 1
    outcome = attempt.outcome
    assert (outcome.succeeded, outcome.reason, outcome.message) == (False, reason, message)


def test_traceback_shows_the_lines_of_the_cell_and_none_of_ours(attempt: Attempt) -> None:
    attempt.run("def f():\n    raise LookupError('gone')\nf()")
    assert 'File "<job try>", line 2, in f\n    raise LookupError(' in attempt.log
    assert "jupyter_ext" not in attempt.log
    assert attempt.outcome.traceback.strip() == attempt.log.strip()


def test_exit_with_zero_is_a_success(attempt: Attempt) -> None:
    assert attempt.run("import sys\nx = 1\nsys.exit(0)", fetch=("x",)) == 0
    assert attempt.result == {"x": 1}


def test_inputs_that_do_not_unpickle_name_both_pythons(attempt: Attempt) -> None:
    attempt.objects.put("inputs", b"no pickle")
    assert attempt.run("pass", inputs="inputs") == 1
    assert attempt.outcome.reason == "inputs_unreadable"
    assert "sent from Python 3.1.0" in attempt.outcome.message


def test_sigterm_lets_the_code_tidy_up(attempt: Attempt) -> None:
    attempt.prepare(
        "import time\nprint('begun')\ntry:\n    time.sleep(60)\nfinally:\n    print('tidied up')", fetch=("x",)
    )
    process = attempt.begin()
    attempt.until(lambda: attempt.log == "begun\n")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert (attempt.outcome.succeeded, attempt.outcome.reason) == (False, "terminated")
    assert attempt.log.startswith("begun\ntidied up\n")
    assert not attempt.objects.exists(attempt.path("result.pkl"))


def test_replaced_before_it_begins(attempt: Attempt) -> None:
    attempt.prepare("print('never')")
    attempt.objects.put(fence_path("job-1"), b"2")
    process = attempt.begin()
    process.communicate(timeout=120)
    assert process.returncode == EXIT_FENCED
    assert attempt.objects.list("jobs/job-1/logs") == []


def test_without_its_task_it_asks_to_be_tried_again(attempt: Attempt) -> None:
    attempt.objects.put(fence_path("job-1"), b"1")
    process = attempt.begin()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == EXIT_TRY_AGAIN
    assert "could not begin" in said


def test_threads_that_never_end_do_not_keep_the_process(attempt: Attempt) -> None:
    started = time.monotonic()
    assert attempt.run("import threading, time\nthreading.Thread(target=time.sleep, args=(50,)).start()") == 0
    assert time.monotonic() - started < 40


def test_the_runner_loads_neither_database_nor_services() -> None:
    code = (
        "import sys, jupyter_ext.jobs.runner, jupyter_ext.jobs.checkpoint; print([name for name in sys.modules "
        "if name.split('.')[0] in ('sqlalchemy', 'ray', 'mlflow', 'pandas') or name.endswith('.service')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
