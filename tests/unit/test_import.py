"""What importing costs: the server pays for nothing that only notebooks and jobs need."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.server import clean_environment

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


def test_loading_the_extension_and_opening_the_workspace_imports_nothing_heavy(tmp_path: object) -> None:
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


@pytest.mark.parametrize(
    "module",
    ["jupyter_ext.client", "jupyter_ext.magics", "jupyter_ext.jobs", "jupyter_ext.jobs.runner", "jupyter_ext.widgets"],
)
def test_kernels_and_job_runners_never_load_the_database(module: str) -> None:
    assert "sqlalchemy" not in modules_after(f"import {module}")


def test_the_package_itself_is_light() -> None:
    assert modules_after("import jupyter_ext").isdisjoint({*HEAVY, "sqlalchemy", "httpx", "pydantic", "jupyter_server"})
