"""What the lines of %submit_job mean, against a few routes of the API in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import jupyter_ext
from jupyter_ext.magics import _base
from jupyter_ext.magics.jobs import JobMagics, complete_jobs, complete_submit_job
from support.stub_api import StubApi


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubApi]:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    made = StubApi()
    made.start()
    connected = jupyter_ext.connect(made.url, "t")
    monkeypatch.setattr(_base, "_client", connected)
    yield made
    connected.transport.close()
    made.stop()


@pytest.fixture
def shell(api: StubApi) -> Iterator[InteractiveShell]:
    made = InteractiveShell()
    made.history_manager.enabled = False
    made.register_magics(JobMagics)
    yield made
    made.history_manager.end_session()


def submitted(shell: InteractiveShell, api: StubApi, line: str, cell: str | None = "pass") -> dict[str, Any]:
    if cell is None:
        shell.run_line_magic("submit_job", line)
    else:
        shell.run_cell_magic("submit_job", line, cell)
    return api.posts[-1]


def test_every_option_arrives(shell: InteractiveShell, api: StubApi) -> None:
    first = submitted(shell, api, "--name prepare")
    spec = submitted(
        shell,
        api,
        '--name "long one" --cpus 2 --gpus 1 --memory 4GB --workers 3 --accelerator A100 --priority -5 --retries 2 '
        '--timeout 2h --after prepare --fetch "a, b" --param epochs=3 --param "note=two words" '
        "--sweep lr=0.1,0.01 --sweep opt=adam,null --key k --no-check",
    )
    assert spec["name"] == "long one"
    assert spec["resources"] == {
        "cpus": 2.0, "gpus": 1.0, "memory_bytes": 4_000_000_000, "accelerator": "A100", "workers": 3,
    }  # fmt: skip
    assert (spec["priority"], spec["retries"], spec["timeout_s"], spec["idempotency_key"]) == (-5, 2, 7200.0, "k")
    assert spec["after"] == [next(iter(api.jobs.values()))["id"]]
    assert spec["fetch"] == ["a", "b"]
    assert spec["parameters"] == {"epochs": 3, "note": "two words"}
    assert spec["sweep"] == [
        {"lr": 0.1, "opt": "adam"}, {"lr": 0.1, "opt": None}, {"lr": 0.01, "opt": "adam"}, {"lr": 0.01, "opt": None},
    ]  # fmt: skip
    assert first["resources"]["cpus"] == 1
    assert (first["kind"], first["source"], first["sweep"]) == ("python", "pass", [])


def test_cells_and_files_of_every_kind(shell: InteractiveShell, api: StubApi, tmp_path: Path) -> None:
    spec = submitted(shell, api, "--shell --param lr=0.1", "make data\necho $lr\n")
    assert (spec["kind"], spec["source"], spec["parameters"]) == ("shell", "make data\necho $lr\n", {"lr": 0.1})
    assert spec["name"] == f"cell-{shell.execution_count}"
    (tmp_path / "run.sh").write_text("ls")
    assert submitted(shell, api, "run.sh", None)["kind"] == "shell"
    cells = [{"cell_type": "code", "source": "1", "outputs": [], "execution_count": 1, "metadata": {}}]
    (tmp_path / "my report.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5}))
    spec = submitted(shell, api, '"my report.ipynb" --param month=may', None)
    assert (spec["kind"], spec["name"], spec["parameters"]) == ("notebook", "my-report", {"month": "may"})


def test_a_cell_with_a_key_is_the_same_job_when_it_is_run_again(shell: InteractiveShell, api: StubApi) -> None:
    first = submitted(shell, api, "--key nightly-1")
    shell.execution_count += 1
    again = submitted(shell, api, "--key nightly-1")
    assert {**again, "environment": None} == {**first, "environment": None}
    assert submitted(shell, api, "")["name"] == f"cell-{shell.execution_count}"


def test_by_the_clock(shell: InteractiveShell, api: StubApi) -> None:
    made = shell.run_cell_magic(
        "submit_job", '--cron "0 6 * * mon-fri" --timezone Europe/Berlin --name nightly', "pass"
    )
    assert repr(made).startswith("nightly  0 6 * * mon-fri (Europe/Berlin)  next")
    (asked,) = api.schedules
    assert asked["job"]["source"] == "pass"
    assert asked["job"]["idempotency_key"] is None
    assert "nightly" in repr(shell.run_line_magic("jobs", "--schedules"))


def test_usage(shell: InteractiveShell, api: StubApi) -> None:
    assert "3 jobs in 4 attempts held 2 min of CPU" in repr(shell.run_line_magic("jobs", "--usage"))
    assert repr(shell.run_line_magic("jobs", "--usage 7d")).startswith("Since")
    with pytest.raises(UsageError, match="no length of time"):
        shell.run_line_magic("jobs", "--usage often")


@pytest.mark.parametrize(
    ("line", "cell", "said"),
    [
        ("run.sh --shell", None, "--shell is for cells"),
        ("--timezone UTC", "pass", "--timezone belongs to --cron"),
        ("--cron '0 6 * * *' --wait", "pass", "there will be many"),
        ("--param lr", "pass", "Write 'lr' as name=value"),
        ("--sweep lr", "pass", "Write 'lr' as name=value"),
        ("--sweep n=NaN", "pass", "'n' is nan"),
        ("--after nobody", "pass", "no job 'nobody'"),
        ("--shell --fetch x", "ls", "no variables to send or to fetch"),
        ("data.csv", None, r"a \.py, \.ipynb or \.sh file"),
    ],
)
def test_wrong_lines_are_told(shell: InteractiveShell, api: StubApi, line: str, cell: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        submitted(shell, api, line, cell)


def test_completion_knows_options_files_and_jobs(shell: InteractiveShell, api: StubApi, tmp_path: Path) -> None:
    client = _base.shared_client()
    submitted(shell, api, "--name 'the first'")
    (tmp_path / "train.py").touch()
    (tmp_path / "data.csv").touch()
    offered = complete_submit_job(client, "%submit_job ")
    assert "train.py" in offered
    assert "data.csv" not in offered
    assert "train.py" not in complete_submit_job(client, "%%submit_job ")
    assert complete_submit_job(client, "%%submit_job --after ") == ['"the first"']
    offered = complete_submit_job(client, "%%submit_job --sweep a=1 --cpus 2 --pri")
    assert {"--sweep", "--param", "--priority"} <= set(offered)
    assert "--cpus" not in offered
    assert {"--schedules", "paused"} <= set(complete_jobs(client, "%jobs "))


def test_every_option_is_offered_and_explained(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_line_magic("submit_job", "--help")
    explained = capsys.readouterr().out
    offered = set(complete_submit_job(_base.shared_client(), "%%submit_job "))
    # All but the usage and its wrapped lines: an option at the beginning of a line.
    assert offered - {"--help"} == set(re.findall(r"^  (--[a-z-]+)", explained, re.MULTILINE))
    asked_for = "cpus gpus memory workers accelerator priority retries timeout after name send fetch sweep"
    assert {f"--{name}" for name in asked_for.split()} <= offered
