"""Jobs that are a notebook, in real kernels."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import cloudpickle
import nbformat
import psutil
import pytest

from jupyter_ext.jobs.exchange import Failure
from jupyter_ext.jobs.run_notebook import inject, parse
from jupyter_ext.jobs.values import JobState
from support.attempts import Attempt


def notebook(*cells: str | tuple[str, str], **metadata: Any) -> str:
    """A notebook as JSON; a cell may be a tag and its source."""
    made = nbformat.v4.new_notebook(metadata=metadata)
    for cell in cells:
        tag, source = ("", cell) if isinstance(cell, str) else cell
        made.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag]} if tag else {}))
    made.cells.insert(0, nbformat.v4.new_markdown_cell("# Title"))
    return str(nbformat.writes(made))


def executed(attempt: Attempt) -> Any:
    return nbformat.reads(attempt.objects.get(attempt.path("notebook.ipynb")).decode(), as_version=4)


def kernels(attempt: Attempt) -> list[psutil.Process]:
    """The processes of the attempt other than the runner."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        here = attempt.objects.root_url in (process.info["environ"] or {}).get("JUPYTER_EXT_JOB", "")
        if here and "jupyter_ext.jobs.runner" not in (process.info["cmdline"] or []):
            found.append(process)
    return found


def test_cells_run_in_order_and_the_executed_notebook_is_stored(attempt: Attempt) -> None:
    source = notebook("x = 20", "print('x is', x)\nx + 1", "", "import sys; print('warned', file=sys.stderr)")
    assert attempt.run(source, kind="notebook") == 0, attempt.log
    assert attempt.log.splitlines() == [
        "[progress] 0/3", "[progress] 1/3", "x is 20", "[progress] 2/3", "warned", "[progress] 3/3",
    ]  # fmt: skip
    cells = executed(attempt).cells
    assert [cell.get("execution_count") for cell in cells] == [None, 1, 2, None, 3]
    assert cells[2].outputs[0].text == "x is 20\n"
    assert cells[2].outputs[1].data["text/plain"] == "21"
    assert attempt.status.progress is not None
    assert (attempt.status.progress.step, attempt.status.progress.total) == (3, 3)
    assert kernels(attempt) == []


def test_a_kernel_may_take_its_time_to_end(attempt: Attempt, tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    source = notebook(
        "import atexit, pathlib, time",
        f"@atexit.register\ndef tidy():\n    time.sleep(4)\n    pathlib.Path({str(tidied)!r}).touch()",
    )
    assert attempt.run(source, kind="notebook") == 0, attempt.log
    assert attempt.log.splitlines() == ["[progress] 0/2", "[progress] 1/2", "[progress] 2/2"]
    assert tidied.exists()


def test_variables_go_in_and_come_out(attempt: Attempt) -> None:
    attempt.objects.put("inputs", cloudpickle.dumps({"x": [1, 2], "double": lambda value: 2 * value}))
    source = notebook(
        ("parameters", "times = 1\nlabel = None"),
        "class Box:\n    pass\ny = [times * double(v) for v in x], label, Box()",
    )
    parameters = {"times": 10, "label": {"a": [True, None, "\"'"]}}
    assert attempt.run(source, kind="notebook", inputs="inputs", fetch=("y",), parameters=parameters) == 0, attempt.log
    doubled, label, box = attempt.result["y"]
    assert (doubled, label, type(box).__name__) == ([20, 40], parameters["label"], "Box")
    cell = executed(attempt).cells[2]
    assert cell.metadata.tags == ["injected-parameters"]
    assert cell.source.startswith("# Parameters\ntimes = 10\n")


def test_parameters_go_first_or_after_their_defaults_or_in_the_place_of_former_ones() -> None:
    first = inject(parse(notebook("print(a)")), {"a": 1})
    assert [cell.source for cell in first.cells] == ["# Parameters\na = 1", "# Title", "print(a)"]
    after = inject(parse(notebook("import os", ("parameters", "a = 0"), "print(a)")), {"a": 1})
    assert [cell.source for cell in after.cells][2:4] == ["a = 0", "# Parameters\na = 1"]
    again = inject(parse(nbformat.writes(after)), {"a": 2})
    assert [cell.source for cell in again.cells][2:] == ["a = 0", "# Parameters\na = 2", "print(a)"]


def test_where_temporary_folders_have_long_names(
    attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("long" * 25)).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 25)))
    assert attempt.run(notebook("x = 1"), kind="notebook", fetch=("x",)) == 0, attempt.log
    assert attempt.result == {"x": 1}


def test_notebooks_of_former_formats(attempt: Attempt) -> None:
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"metadata": {}, "cells": [
        {"cell_type": "code", "language": "python", "collapsed": False, "input": ["x = 1\n", "x"], "metadata": {},
         "outputs": []},
    ]}]}  # fmt: skip
    assert attempt.run(json.dumps(old), kind="notebook", parameters={"a": 1}, fetch=("x", "a")) == 0, attempt.log
    assert attempt.result == {"x": 1, "a": 1}


@pytest.mark.parametrize(
    ("source", "reason", "message"),
    [
        ("import this", "notebook_unreadable", "can't be read as a notebook: Expecting value"),
        ('{"cells": []}', "notebook_unreadable", "can't be read as a notebook"),
        ('{"cells": [1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "notebook_unreadable", "can't be read"),
        (
            notebook(kernelspec={"name": "ir", "display_name": "R", "language": "R"}),
            "notebook_language",
            "written in R",
        ),
    ],
    ids=["text", "no cells", "odd cell", "language"],  # a notebook has ids of its own, drawn at random
)
def test_what_is_no_notebook(source: str, reason: str, message: str) -> None:
    with pytest.raises(Failure, match=message) as raised:
        parse(source)
    assert raised.value.reason == reason


def test_error_in_a_cell(attempt: Attempt) -> None:
    source = notebook("x = 1", "", "def f():\n    return x / 0\nprint('before')\nf()", "print('never')")
    assert attempt.run(source, kind="notebook") == 1
    outcome = attempt.outcome
    assert (outcome.reason, outcome.message) == ("user_error", "ZeroDivisionError: division by zero (cell 2)")
    assert "return x / 0" in outcome.traceback
    assert "\x1b" not in outcome.traceback + attempt.log
    assert "never" not in attempt.log
    outputs = executed(attempt).cells[3].outputs
    assert [output.output_type for output in outputs] == ["stream", "error"]
    assert kernels(attempt) == []


def test_errors_that_are_expected_are_none(attempt: Attempt) -> None:
    source = notebook(("raises-exception", "1 / 0"), ("skip-execution", "x = 1"), "y = 2")
    assert attempt.run(source, kind="notebook", fetch=("y",)) == 0, attempt.log
    assert attempt.status.progress is not None
    assert attempt.status.progress.total == 2


def test_exit(attempt: Attempt) -> None:
    assert attempt.run(notebook("x = 1\nimport sys\nsys.exit(0)", "x = 2"), kind="notebook", fetch=("x",)) == 0
    assert attempt.result == {"x": 1}
    attempt.number = 2
    assert attempt.run(notebook("import sys\nsys.exit('bad data')"), kind="notebook") == 1
    assert (attempt.outcome.reason, attempt.outcome.message) == (
        "exit", "The notebook called sys.exit(bad data) (cell 1).",
    )  # fmt: skip


def test_result_that_was_not_set_or_can_not_be_pickled(attempt: Attempt) -> None:
    assert attempt.run(notebook("model = 1"), kind="notebook", fetch=("modle",)) == 1
    assert attempt.outcome.reason == "result_missing"
    assert attempt.outcome.message.endswith("It set: model.")
    attempt.number = 2
    source = notebook("import threading\nlock = threading.Lock()")
    assert attempt.run(source, kind="notebook", fetch=("lock",)) == 1
    assert attempt.outcome.reason == "result_unpicklable"


def test_inputs_that_do_not_unpickle(attempt: Attempt) -> None:
    attempt.objects.put("inputs", b"no pickle")
    assert attempt.run(notebook("1"), kind="notebook", inputs="inputs") == 1
    assert attempt.outcome.reason == "inputs_unreadable"
    assert "sent from Python 3.1.0" in attempt.outcome.message


def test_kernel_that_dies(attempt: Attempt) -> None:
    assert attempt.run(notebook("x = 1", "import os\nos.kill(os.getpid(), 9)"), kind="notebook") == 1
    assert (attempt.outcome.reason, attempt.outcome.message) == (
        "killed", "The kernel was killed by SIGKILL (cell 2). When that repeats, ask for more memory with --memory.",
    )  # fmt: skip
    assert [cell.get("execution_count") for cell in executed(attempt).cells][:2] == [None, 1]


def test_checkpoints_and_progress_of_its_own(attempt: Attempt) -> None:
    source = notebook(
        "from jupyter_ext.jobs import checkpoint, progress",
        "saved = checkpoint.latest()\ncheckpoint.save(7, 'state')\nprogress(2, 9, loss=0.5)",
        "import os, subprocess\nos.write(1, b'from the descriptor\\n')\nsubprocess.run(['echo', 'from a child'])",
    )
    assert attempt.run(source, kind="notebook") == 0, attempt.log
    assert attempt.status.durable_step == 7
    assert attempt.status.progress is not None
    assert (attempt.status.progress.step, attempt.status.progress.metrics) == (2, {"loss": 0.5})
    assert "from the descriptor\n" in attempt.log
    assert "from a child\n" in attempt.log


def test_told_to_stop_it_tidies_up_saves_and_leaves_no_process(attempt: Attempt) -> None:
    source = notebook(
        "import time, subprocess\nfrom jupyter_ext.jobs import checkpoint",
        "step = 3\ncheckpoint.on_stop(lambda: (step, 'state'))\nchild = subprocess.Popen(['sleep', '300'])",
        "try:\n    print('begun')\n    time.sleep(60)\nfinally:\n    print('tidied up')",
        "print('never')",
    )
    attempt.stop(source, kind="notebook", fetch=("step",))
    assert attempt.outcome.reason == "terminated"
    assert "tidied up\n" in attempt.log
    assert "never" not in attempt.log
    assert attempt.status.durable_step == 3, attempt.log
    assert not attempt.objects.exists(attempt.path("result.pkl"))
    assert executed(attempt).cells[3].outputs[0].text.splitlines()[::2] == ["begun", "tidied up"]
    assert kernels(attempt) == []


def test_a_cell_that_looks_ends_by_itself(attempt: Attempt) -> None:
    source = notebook(
        "import time\nfrom jupyter_ext.jobs import checkpoint",
        "step = 0\nwhile not checkpoint.stopping():\n    step += 1\n    if step == 3: print('begun')\n"
        "    time.sleep(0.01)\ncheckpoint.save(step, step)",
        "print('never')",
    )
    attempt.stop(source, kind="notebook")
    assert attempt.outcome.reason == "terminated"
    assert attempt.status.durable_step is not None
    assert "never" not in attempt.log


def test_a_cell_that_does_not_heed_is_killed_when_the_time_is_over(attempt: Attempt) -> None:
    attempt.grace_s = 4.0
    source = notebook(
        "import time\nprint('begun')\nwhile True:\n    try:\n        time.sleep(1)\n    except BaseException: pass"
    )
    attempt.stop(source, kind="notebook")
    assert attempt.outcome.reason == "terminated"
    assert executed(attempt).cells[1].outputs[0].text == "begun\n"
    assert kernels(attempt) == []


def test_it_does_not_outlive_a_killed_runner(attempt: Attempt) -> None:
    attempt.prepare(
        notebook("import subprocess, time\nsubprocess.Popen(['sleep', '300'])\nprint('begun')\ntime.sleep(60)"),
        kind="notebook",
    )
    process = attempt.begin()
    attempt.until(lambda: "begun" in attempt.log)
    assert len(kernels(attempt)) >= 2
    process.kill()
    process.wait()
    attempt.until(lambda: kernels(attempt) == [])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_next_attempt_begins_anew_and_goes_on_from_its_checkpoint(driver: Any, clusters: Any) -> None:
    source = notebook(
        "import time\nfrom jupyter_ext.jobs import checkpoint\nprint('first cell')",
        "saved = checkpoint.latest()\n"
        "if saved is None:\n    checkpoint.save(5, 'state')\n    print('saved')\n    time.sleep(60)",
        "y = saved.state",
    )
    job_id = driver.submit(source, kind="notebook", fetch=("y",))
    driver.until(job_id, lambda job: bool(job.attempts) and job.attempts[0].durable_step == 5)
    clusters.jobs.kill(f"{job_id}-a1", signal.SIGKILL)
    job = driver.finish(job_id)
    assert job.state is JobState.SUCCEEDED, driver.log(job_id)
    assert [attempt.resumed_step for attempt in job.attempts] == [None, 5]
    assert len(re.findall("first cell", driver.log(job_id))) == 2
