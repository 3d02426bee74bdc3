"""What importing costs: the server pays for nothing that only notebooks and jobs need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from support.server import clean_environment

#: The first five are never loaded by the server; pyarrow is, in a thread, when it reads the first uploaded file.
HEAVY = ("ray", "mlflow", "pandas", "sklearn", "scipy", "pyarrow", "torch")


def modules_after(code: str, *argv: str) -> set[str]:
    """Run ``code`` in a fresh interpreter and return the top-level modules it loaded."""
    script = f"import sys\n{code}\nprint('LOADED', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_loading_the_extension_and_opening_the_workspace_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import asyncio
from jupyter_server.serverapp import ServerApp
app = ServerApp(jpserver_extensions={"jupyter_ext": True}, log_level="ERROR", open_browser=False, allow_root=True)
app.config.Workspace.home = sys.argv[1]
app.initialize(argv=[], new_httpserver=False)
async def run():
    await app.extension_manager.start_all_extensions()
    await app.extension_manager.stop_all_extensions()
asyncio.run(run())
assert "jupyter_ext.jobs.service" in sys.modules, "the workspace was not opened"
"""
    assert modules_after(code, str(tmp_path)).isdisjoint(HEAVY)


def test_serving_data_sets_and_votes_imports_nothing_heavy_but_pyarrow(tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    pd.DataFrame({"key": ["a", "b"], "x": [1.0, 2.0]}).to_parquet(data)
    code = """
from pathlib import Path
from jupyter_ext.datasets.values import DatasetSpec
from jupyter_ext.labeling.values import LabelTaskSpec, VoteIn, VotesIn
from jupyter_ext.workspace import Workspace
workspace = Workspace(home=sys.argv[1], user="ada")
workspace.open()
blob = workspace.store.blobs.put(Path(sys.argv[2]).read_bytes())
data = workspace.datasets.register(DatasetSpec(name="d", blob=blob, key="key"), owner="ada")
task = workspace.labels.create_task(LabelTaskSpec(name="t", dataset_id=data.id, classes=("x", "y")), owner="ada")
workspace.labels.add_votes(task.id, VotesIn(votes=[VoteIn(key="a", label="x")]), owner="ada")
workspace.close()
"""
    loaded = modules_after(code, str(tmp_path / "home"), str(data))
    assert "pyarrow" in loaded
    assert loaded.isdisjoint(set(HEAVY) - {"pyarrow"})


@pytest.mark.parametrize(
    "module",
    ["jupyter_ext.client", "jupyter_ext.magics", "jupyter_ext.jobs", "jupyter_ext.jobs.runner", "jupyter_ext.widgets"],
)
def test_kernels_and_job_runners_never_load_the_database(module: str) -> None:
    assert "sqlalchemy" not in modules_after(f"import {module}")


def test_the_package_itself_is_light() -> None:
    assert modules_after("import jupyter_ext").isdisjoint({*HEAVY, "sqlalchemy", "httpx", "pydantic", "jupyter_server"})
