"""Jobs by magics, in a shell like a notebook's, against a real server and its real Ray head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from jupyter_ext.client.jobs import Job
from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs.values import JobState
from jupyter_ext.magics import _base
from jupyter_ext.magics.jobs import JobMagics, complete_job, complete_paused_job, complete_submit_job
from support.waiting import wait_until

pytestmark = pytest.mark.ray


@pytest.fixture
def shell(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.setattr(_base, "_client", client)
    made = InteractiveShell()
    made.register_magics(JobMagics)
    yield made
    made.history_manager.end_session()


@pytest.fixture
def train(shell: InteractiveShell) -> str:
    shell.user_ns["start"] = 10
    source = """
from jupyter_ext.jobs import checkpoint, progress
history = []
for epoch in range(1, 4):
    history.append(start + epoch)
    checkpoint.save(epoch, history)
    progress(epoch, 3, reached=history[-1])
    print("epoch", epoch)
"""
    with capture_output() as captured:
        shell.run_cell_magic("submit_job", "--name train --send start --fetch history --wait", source)
    return str(captured.stdout)


def test_waiting_shows_log_and_brings_variables_back(shell: InteractiveShell, train: str) -> None:
    assert shell.user_ns["history"] == [11, 12, 13]
    assert "epoch 1\n" in train
    assert "[job] train: succeeded, Done." in train
    job = shell.run_line_magic("job", "train")
    assert isinstance(job, Job)
    assert repr(job) == "Job('train', succeeded: 3/3, Done.)"
    card = job._repr_html_()
    assert "step 3 of 3" in card
    assert "last checkpoint: step 3" in card
    assert "epoch 3" in card
    assert [saved.step for saved in job.checkpoints()] == [3, 2, 1]
    assert [event.to_state for event in job.events()][-1] is JobState.SUCCEEDED
    assert job.result() == {"history": [11, 12, 13]}
    assert "train" in complete_job(_base.shared_client(), "%job ")
    listed = shell.run_line_magic("jobs", "--state succeeded")
    assert "train" in repr(listed)
    assert "succeeded" in listed._repr_html_()

    with pytest.raises(UsageError, match=r"Job 'bad' failed: ZeroDivisionError: division by zero \(line 1\)"):
        shell.run_cell_magic("submit_job", "--name bad --wait", "1 / 0")
    with pytest.raises(Conflict, match="no result: it is failed: ZeroDivisionError"):
        shell.run_line_magic("job", "bad").result()

    job = shell.run_cell_magic(
        "submit_job", '--name "long one" --memory 100MB --timeout 5m', "import time; time.sleep(99)"
    )
    with pytest.raises(TimeoutError, match="it goes on"):
        job.wait(timeout=0.1, show=False)
    assert shell.run_line_magic("cancel_job", '"long one"').id == job.id
    assert job.wait(timeout=60, show=False).state is JobState.CANCELLED


def test_a_sweep_that_is_waited_for_is_a_table(shell: InteractiveShell) -> None:
    line = "--name squares --sweep n=2,3 --param base=10 --fetch y --cpus 0 --wait"
    with capture_output() as captured:
        table = shell.run_cell_magic("submit_job", line, "y = base + n * n")
    assert table["y"].tolist() == [14, 19]
    assert "[job] squares: succeeded" in captured.stdout


def test_pause_and_resume(shell: InteractiveShell) -> None:
    job = shell.run_cell_magic("submit_job", "--name held --priority 3", "import time; time.sleep(99)")
    for name in ("job", "pause_job"):
        assert shell.run_line_magic(name, "held").id == job.id
    wait_until(lambda: job.state is JobState.PAUSED)
    assert complete_paused_job(_base.shared_client(), "%resume_job ") == ["held"]
    assert shell.run_line_magic("resume_job", "held").state is not JobState.PAUSED
    shell.run_line_magic("cancel_job", "held")


def test_files_are_submitted_too(shell: InteractiveShell, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('from a file')")
    job = shell.run_line_magic("submit_job", str(script))
    assert job.name == "train"
    job.cancel()


@pytest.mark.parametrize(
    ("line", "cell", "said"),
    [
        ("--send nothing", "pass", "no variable 'nothing'"),
        ("--send lock", "pass", "'lock' .* can't be sent"),
        ("", "x = (", r"error in line 1"),
        ("", "!pip install x", "the notebook's own"),
        ("", "  \n", "no code to submit"),
        ("--memory lots", "pass", "no amount of memory"),
        ("--timeout soon", "pass", "no length of time"),
        ("--cpus 4096", "pass", "asks for 4,096 CPUs"),
        ("--cpus -1", "pass", "cpus"),
        ("--label-set nowhere", "pass", "nowhere"),
        ("--dataset nowhere", "pass", "nowhere"),
        ("--fetch 1x", "pass", "fetch"),
        ("--name a/b", "pass", "name"),
        ("script.py", "pass", "a file goes with"),
    ],
)
def test_wrong_submissions_say_what_is_wrong(shell: InteractiveShell, line: str, cell: str, said: str) -> None:
    import threading

    shell.user_ns["lock"] = threading.Lock()
    with pytest.raises(UsageError, match=said):
        shell.run_cell_magic("submit_job", line, cell)


def test_wrong_lines_say_what_is_wrong(shell: InteractiveShell, client: Any) -> None:
    for magic, line, said in [
        ("submit_job", "", "takes a file"),
        ("submit_job", "nowhere.py", "no file 'nowhere.py'"),
        ("jobs", "--state odd", "no state 'odd'"),
        ("jobs", "--limit 0", "from 1 to 500"),
        ("job", "nobody", "no job 'nobody'"),
        ("cancel_job", "nobody", "no job 'nobody'"),
    ]:
        with pytest.raises(UsageError, match=said):
            shell.run_line_magic(magic, line)
    with pytest.raises(NotFound):
        client.jobs.get("job-" + "0" * 26)
    with pytest.raises(Invalid):
        client.jobs.submit("pass", memory="much")


def test_options_complete(client: Any) -> None:
    assert "--fetch" in complete_submit_job(client, "%%submit_job --name x ")
    assert "--name" not in complete_submit_job(client, "%%submit_job --name x ")
