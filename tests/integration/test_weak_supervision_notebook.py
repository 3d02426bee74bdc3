"""``examples/weak_supervision.ipynb`` on real messages: a real server, a real kernel, every cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from support import server as servers
from support.html import assert_self_contained

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "weak_supervision.ipynb"
SMS = ROOT.parent / "shared" / "data" / "labeling" / "sms_rules"

# The notebook runs once, so its tests stay in one process.
pytestmark = pytest.mark.xdist_group("weak_supervision")

#: What a reader sees at the end, as numbers.
FINDINGS = """
import json
repeated = find_correlated(task.vote_matrix())
print(json.dumps({
    "quality": quality.to_dict("index"),
    "on_later": on_later.to_dict(),
    "on_known": comparison.to_dict("index"),
    "repeated": repeated[["voter", "other"]].to_numpy().tolist(),
    "suggested": [function.name for function in suggested["function"]],
    "wrong": int((answers != labels[doubtful]).sum()),
    "answers": len(task.answers()),
}, default=float))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebook runs, with the messages in one file."""
    if not SMS.is_dir():
        pytest.skip("the shared labeling data (../shared/data/labeling) is absent")
    made = tmp_path_factory.mktemp("weak_supervision")
    parts = [pd.read_csv(SMS / f"{part}.csv", encoding="latin-1") for part in ("train", "valid", "test")]
    messages = pd.concat(parts).rename(columns={"v1": "label", "v2": "text"})
    messages.to_csv(made / "messages.csv", index=False)
    return made


@pytest.fixture(scope="module")
def executed(server: servers.Server, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs; the last one is the JSON of FINDINGS."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(FINDINGS))
    environment = servers.clean_environment(
        JUPYTER_EXT_URL=server.url,
        JUPYTER_EXT_TOKEN=server.token,
        WEAK_SUPERVISION_CSV=str(folder / "messages.csv"),
        IPYTHONDIR=str(folder / "ipython"),
        # Other tests run at the same time; threads that wait for each other would make both slow.
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
    )
    runner = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    return runner.execute(env=environment)


@pytest.fixture(scope="module")
def findings(executed: nbformat.NotebookNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(executed.cells[-1].outputs[0].text)
    return found


def _outputs(notebook: nbformat.NotebookNode, kind: str) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == kind]


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_without_the_messages_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEAK_SUPERVISION_CSV", raising=False)
    first = next(cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code")
    shell = InteractiveShell()
    try:
        error = shell.run_cell(first.source).error_in_exec
    finally:
        shell.history_manager.end_session()
    assert isinstance(error, FileNotFoundError)
    assert "sms.csv is not there" in str(error)
    assert "columns text and label" in str(error)


def test_no_cell_warns(executed: nbformat.NotebookNode) -> None:
    said = [output.text for output in _outputs(executed, "stream") if output.name == "stderr"]
    # A slow machine shows how far the functions are.
    assert [text for text in said if "labeling functions" not in text or "Warning" in text] == []


def test_the_widgets_show_something_in_a_saved_notebook(executed: nbformat.NotebookNode) -> None:
    pages = [output.data.get("text/html", "") for output in _outputs(executed, "display_data")]
    texts = [assert_self_contained(page) for page in pages if "jx-twin" in page]
    table, annotator = texts
    assert "11 functions vote on 99 % of 4,000 rows" in table
    assert "rows on which others contradict it" in table
    assert "we won't go there!" in table
    assert "20 of 20 labelled" in annotator


def test_labels_and_classifiers_are_as_good_as_the_text_says(findings: dict[str, Any]) -> None:
    majority, first, second = findings["quality"].values()
    assert second["labeled"] > 0.98
    assert second["accuracy"] > 0.975
    assert second["accuracy"] >= majority["accuracy"]
    assert second["accuracy"] >= first["accuracy"]
    assert first["spam found"] > majority["spam found"] > 0.8
    assert second["spam right"] > 0.9

    on_later = findings["on_later"]
    assert list(on_later) == [
        "always ham",
        "taught by the 100 answers",
        "taught by the rules' labels",
        "taught by version 2",
        "taught by all true answers",
    ]
    assert on_later["taught by the rules' labels"] > 0.965
    assert on_later["taught by the rules' labels"] > on_later["taught by the 100 answers"] + 0.03
    assert on_later["taught by version 2"] > 0.97
    assert on_later["taught by all true answers"] - on_later["taught by version 2"] < 0.015


def test_each_step_finds_what_the_text_says(findings: dict[str, Any]) -> None:
    assert "digits below 3" in findings["suggested"]
    assert findings["repeated"] == [["prizes", "colleague: prizes"]]
    assert all(line["right"] >= 0.9 * line["of"] for line in findings["on_known"].values())
    assert findings["wrong"] >= 10
    assert findings["answers"] == 40


def test_what_was_kept_is_in_the_workspace(executed: nbformat.NotebookNode, client: Any, folder: Path) -> None:
    label_sets = client.labels.sets("sms-spam")
    assert [(label_set.version, len(label_set.value.voters)) for label_set in label_sets] == [(2, 1), (1, 0)]
    functions = {function.name: function for function in client.labels.task("sms-spam").functions()}
    assert functions["prizes"].version == 2
    assert functions["asks_for_a_text"].version == 1
    assert "re.search" in functions["asks_for_a_text"].source

    exported = pd.read_parquet(folder / "exports" / "sms-spam.parquet")
    assert len(exported) == 4_000
    assert exported["label"].value_counts().loc["spam"] > 300
    assert "class_label" in (folder / "exports" / "sms-spam" / "README.md").read_text()
