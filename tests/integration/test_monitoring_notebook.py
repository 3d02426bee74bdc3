"""``examples/monitoring.ipynb``: a real server with its MLflow and Ray head, a real kernel, every cell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support import server as servers
from support.html import assert_self_contained

NOTEBOOK = Path(__file__).parents[2] / "examples" / "monitoring.ipynb"

# The notebook runs once, so its tests stay in one process.
pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("monitoring_notebook"), pytest.mark.timeout(1200)]

#: What a reader sees, as numbers and words. The first day is number 1.
FINDINGS = """
import json
day_of = lambda moment: (moment - FIRST).days + 1
fired = [(one.check, one.feature, one.aspect, day_of(each.start)) for each in judged for one in each.fired]
print(json.dumps({
    "quiet": quiet.drifted,
    "report": sorted(report.drifted),
    "alarms": sorted((one.feature, day_of(pd.Timestamp(one.chunk, tz="UTC"))) for one in alarms.itertuples()),
    "blurred": len(blurred),
    "p": detector.p_value(odd).tolist(),
    "explained": list(explained.index),
    "estimated": estimated.assign(realised=right).to_dict("records"),
    "moved_at": moved_at,
    "fired": sorted(fired),
    "numbers": [each.number for each in judged],
    "looked_at": list(looked_at.values()),
    "left": [each.name for each in workspace.monitors.list() if each.name.startswith("tumours")],
}, default=str))
"""


@pytest.fixture(scope="module")
def executed(server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook with its outputs; the last one is the JSON of FINDINGS."""
    folder = tmp_path_factory.mktemp("monitoring")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
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
    found: dict[str, Any] = json.loads(executed.cells[-1].outputs[-1].text)
    return found


def _shown(notebook: nbformat.NotebookNode, source: str) -> str:
    """Return all that the cell which begins with ``source`` shows, as text and HTML."""
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(source))
    pieces = [output.get("text") or "".join(map(str, output.get("data", {}).values())) for output in cell.outputs]
    return "\n".join(pieces)


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_no_cell_warns(executed: nbformat.NotebookNode) -> None:
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    # How far a long comparison is, on a busy machine.
    assert re.sub(r"\r(Comparing|Profiling) \d+ of \d+, (done in )?[\d.]+ \w+( left)? *\n?", "", said) == ""


def test_what_moved_is_named_and_what_did_not_is_not(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    assert findings["quiet"] == []
    assert findings["report"] == ["mean texture", "worst texture"]
    textures = [[name, day] for name in ("mean texture", "worst texture") for day in range(13, 31)]
    assert findings["alarms"] == [["mean smoothness", day] for day in range(21, 31)] + textures
    assert findings["blurred"] > 0
    assert "2 of 30 features drifted: mean texture, worst texture." in _shown(executed, "report = ")


def test_the_views_are_shown_without_a_kernel_too(executed: nbformat.NotebookNode) -> None:
    for source in ("report = ", "view = ", "kept = "):
        cell = next(cell for cell in executed.cells if cell.cell_type == "code" and cell.source.startswith(source))
        pages = [output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]
        assert any("<svg" in page for page in pages)
        for page in pages:
            assert_self_contained(page)


def test_the_stranger_is_found_and_explained(findings: dict[str, Any]) -> None:
    usual, stranger = findings["p"]
    assert usual > 0.2
    assert stranger == pytest.approx(1 / 201)
    assert set(findings["explained"][:2]) == {"mean area", "worst area"}


def test_the_estimate_is_what_the_labels_say_later(findings: dict[str, Any]) -> None:
    chunks = findings["estimated"]
    assert [chunk["alarm"] for chunk in chunks] == [False] * 3 + [True] * 3
    assert all(chunk["low"] <= chunk["realised"] <= chunk["high"] for chunk in chunks)
    assert not any(chunk["extrapolating"] for chunk in chunks)


def test_the_stream_moves_after_the_lens_does(findings: dict[str, Any]) -> None:
    assert 12 * 120 <= findings["moved_at"] < 13 * 120


def test_alarms_fire_once_on_the_second_day(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    assert findings["numbers"] == list(range(1, 31))
    assert findings["fired"] == [
        ["drift", "mean smoothness", "", 22],
        ["drift", "mean texture", "", 14],
        ["drift", "worst texture", "", 14],
        ["quality", "mean smoothness", "missing", 22],
    ]
    alarms = _shown(executed, "monitor.alarms()")
    assert "of &#x27;mean smoothness&#x27; is missing than allowed (at most 15 %)" in alarms


def test_a_job_measures_the_last_days(executed: nbformat.NotebookNode, findings: dict[str, Any]) -> None:
    assert findings["looked_at"] == [120, 120, 120]
    assert _shown(executed, "import time").count("<tr>") == 4
    assert findings["left"] == []
