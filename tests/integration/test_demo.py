"""``tools/demo.py``, which ``make demo`` runs: it fails where a cell fails, says why, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest

from support import hub as hubs

pytestmark = [pytest.mark.xdist_group("hub")]

CELLS = (
    "from IPython.display import display\nshown = display('first', display_id=True)",
    "shown.update('second')\nprint('to stdout')",
    "from jupyter_ext import connect\nlen(connect().jobs.list())",
    "import subprocess\nsubprocess.Popen(['sleep', '3599'], start_new_session=True)\n1 / 0",
    "print('never reached')",
)


def test_a_failing_cell_is_named_and_what_it_left_running_is_ended(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_markdown_cell("# Title\n\n## A part"), *map(nbformat.v4.new_code_cell, CELLS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "broken.ipynb")
    done = subprocess.run(
        [sys.executable, hubs.ROOT / "tools" / "demo.py", "--notebook", tmp_path / "broken.ipynb", "--build", tmp_path],
        env=hubs.environment(),
        capture_output=True,
        text=True,
        timeout=570,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[ 3/5]" in done.stdout
    assert "A part" in done.stdout
    assert "FAILED  Run broken.ipynb in a kernel of that server: code cell 4 of 5" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "These processes were left running" in done.stderr
    assert "sleep 3599" in done.stderr
    # The notebook shows what happened until then, as a browser would have.
    saved = nbformat.read(tmp_path / "broken.ipynb", as_version=4).cells
    assert saved[1].outputs[0].data["text/plain"] == "'second'"
    assert saved[4].outputs[-1].ename == "ZeroDivisionError"
    assert saved[5].outputs == []
    page = (tmp_path / "broken.html").read_text()
    assert "ZeroDivisionError" in page
    assert "<script src=" not in page
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(each.info["cmdline"] or [])
    ]
