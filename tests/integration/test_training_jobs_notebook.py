"""``examples/training_jobs.ipynb``: a real server, its real Ray head, a real kernel, every cell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support import server as servers

NOTEBOOK = Path(__file__).parents[2] / "examples" / "training_jobs.ipynb"

# The notebook runs once, so its tests stay in one process.
pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("training_jobs"), pytest.mark.timeout(1200)]

#: Put before the first cell: the server's earlier jobs are another's.
BEGIN = """
import jupyter_ext
earlier = {known.id for known in jupyter_ext.connect().jobs.list()}
"""

#: What a reader sees, as numbers and words.
FINDINGS = """
import json
print(json.dumps({
    "trees": model.score(X_test, y_test),
    "neighbors": [job.result(), one, distance],
    "again": again.id == workspace.jobs.list(name="neighbors_accuracy")[0].id,
    "linear": linear.score(X_test, y_test),
    "learning": [attempt.model_dump() for attempt in learning.refresh().attempts],
    "unlucky": [attempt.model_dump() for attempt in stubborn.refresh().attempts],
    "taught": stubborn.result(),
    "results": results.drop(columns="result").reset_index().to_dict("records"),
    "best": best.score(X_test, y_test),
    "best_is": best.get_params(),
    "ended": [prepared.refresh().ended_at, small.refresh().started_at, large.refresh().started_at],
    "accuracies": accuracies,
    "refused": refused,
    "schedule": [schedule.cron, schedule.timezone, schedule.enabled, paused.enabled, str(paused.next_at)],
    "schedules": len(workspace.jobs.schedules.list()),
    "usage": usage.model_dump(),
    "states": {known.name: known.state for known in workspace.jobs.list() if known.id not in earlier},
    "live": len(workspace.jobs.list(state="live")),
    "folder": folder.exists(),
}, default=str))
"""


@pytest.fixture(scope="module")
def executed(server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook with its outputs; the last one is the JSON of FINDINGS."""
    folder = tmp_path_factory.mktemp("training_jobs")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN))
    notebook.cells.append(nbformat.v4.new_code_cell(FINDINGS))
    environment = servers.clean_environment(
        JUPYTER_EXT_URL=server.url,
        JUPYTER_EXT_TOKEN=server.token,
        JUPYTER_DATA_DIR=str(folder / "data"),
        IPYTHONDIR=str(folder / "ipython"),
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
    )
    runner = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    return runner.execute(env=environment)


@pytest.fixture(scope="module")
def findings(executed: nbformat.NotebookNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(executed.cells[-1].outputs[0].text)
    return found


def _shown(notebook: nbformat.NotebookNode, source: str) -> str:
    """Return all that the cell which begins with ``source`` shows, as text and HTML."""
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(source))
    pieces = [output.get("text") or "".join(output.get("data", {}).values()) for output in cell.outputs]
    return "\n".join(pieces)


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_no_cell_warns(executed: nbformat.NotebookNode) -> None:
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def test_cells_and_functions_come_back_with_results(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    assert findings["trees"] > 0.95
    assert all(accuracy > 0.95 for accuracy in findings["neighbors"])
    assert findings["again"]
    card = _shown(executed, "%%submit_job --name trees")
    assert "succeeded" in card
    assert "50 trees" in card


def test_a_paused_job_goes_on_from_its_checkpoint(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    first, second = findings["learning"]
    assert (first["state"], first["reason"]) == ("interrupted", "paused")
    assert 5 <= first["durable_step"] < 40
    assert second["state"] == "succeeded"
    assert second["resumed_step"] == first["durable_step"]
    assert second["last_step"] == 40
    assert findings["linear"] > 0.85
    assert "paused" in _shown(executed, "learning = ")
    assert f"Attempt 2 resumed at step {second['resumed_step']}" in _shown(executed, "learning.resume()")
    assert re.findall(r"(paused|succeeded) ", _shown(executed, "for event in learning")) == ["paused", "succeeded"]


def test_a_failure_is_told_and_tried_again(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    first, second = findings["unlucky"]
    assert (first["state"], first["durable_step"]) == ("failed", 3)
    assert (second["state"], second["resumed_step"]) == ("succeeded", 3)
    assert findings["taught"] == "finished, going on after epoch 3"
    card = _shown(executed, "def unlucky")
    assert "Attempt 1 failed: OSError: the network drive went away" in card
    assert "Attempt 2 resumed at step 3; 0 steps redone." in card


def test_a_sweep_is_a_table(findings: dict[str, Any]) -> None:
    rows = findings["results"]
    assert sorted(row["job"] for row in rows) == [f"svm-{number}" for number in range(1, 5)]
    assert {(row["C"], row["gamma"]) for row in rows} == {(C, gamma) for C in (0.1, 10) for gamma in (0.03, 0.3)}
    assert {row["state"] for row in rows} == {"succeeded"}
    assert rows[0]["accuracy"] > max(0.95, rows[-1]["accuracy"])
    assert (findings["best_is"]["C"], findings["best_is"]["gamma"]) == (rows[0]["C"], rows[0]["gamma"])
    assert findings["best"] > 0.95


def test_what_comes_after_waits_and_the_urgent_goes_first(
    executed: nbformat.NotebookNode, findings: dict[str, Any]
) -> None:
    prepared, small, large = findings["ended"]
    assert prepared < min(small, large)
    queue = _shown(executed, "%jobs --state live")
    places = {name: int(place) for name, place in re.findall(r">(forest-\d+)</td>.*?, place (\d)", queue)}
    assert places["forest-100"] < places["forest-10"]
    assert ">prepare</td>" in queue
    ten, hundred = findings["accuracies"]
    assert 0.8 < ten < hundred


def test_commands_and_notebooks_run(executed: nbformat.NotebookNode) -> None:
    counted = _shown(executed, "%%submit_job --shell")
    assert re.findall(r"(\d+) (\d)\n", counted)[:2] == [("178", "0"), ("182", "1")]
    report = _shown(executed, "executed = ")
    assert "digit = 3" in report
    assert "%%%%" in report


def test_what_is_missing_is_told_before(findings: dict[str, Any]) -> None:
    assert "Your cluster has no module 'crystal_ball', which the job's code imports." in findings["refused"]


def test_a_schedule_is_made_and_deleted(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    assert findings["schedule"] == ["0 6 * * mon-fri", "Europe/Berlin", True, False, "None"]
    assert "06:00" in _shown(executed, "nightly = ")
    assert "paused" in _shown(executed, "paused = ")
    assert findings["schedules"] == 0


def test_usage_is_told_and_nothing_is_left_running(findings: dict[str, Any]) -> None:
    usage = findings["usage"]
    assert usage["jobs"] >= 14
    assert usage["attempts"] >= usage["jobs"] + 2
    assert usage["cpu_seconds"] > 5
    assert set(findings["states"].values()) == {"succeeded"}
    assert {"trees", "neighbors_accuracy", "learn", "unlucky", "svm", "prepare", "count", "report"} <= set(
        findings["states"]
    )
    assert findings["live"] == 0
    assert not findings["folder"]
