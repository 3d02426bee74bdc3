"""What people install: the sdist and the wheel, each into an environment that has no Node."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB = "share/jupyter/labextensions/@jupyter-ext/lab"

pytestmark = [pytest.mark.xdist_group("packaging")]


def without_node(tmp: Path) -> dict[str, str]:
    """Return an environment whose PATH leads to nothing but an empty folder."""
    empty = tmp / "empty"
    empty.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "VIRTUAL_ENV"))}
    return kept | {"PATH": str(empty)}


def run(*command: str | Path, env: dict[str, str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True, timeout=570
    )
    assert done.returncode == 0, f"{command} answered {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed; `make set-up` installs it")
    return found


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def sdist(tmp: Path) -> Path:
    if not (ROOT / "jupyter_ext" / "labextension" / "static" / "style.js").exists():
        pytest.skip("the labextension is not built (Node and `npm run build:prod`; `make set-up` does it)")
    command = (sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", tmp, ROOT)
    run(*command, env={**os.environ, "HATCH_JUPYTER_BUILDER_SKIP_NPM": "1"})
    return next(tmp.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(tmp: Path, sdist: Path) -> Path:
    """The wheel, built from the sdist as pip would do it where there is no wheel, and without Node."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp / "source", filter="data")
    source = next((tmp / "source").iterdir())
    command = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp, source)
    run(*command, env=without_node(tmp))
    return next(tmp.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(tmp: Path, wheel: Path) -> Iterator[Path]:
    """An empty environment into which the wheel was installed, with JupyterLab to show it in."""
    home, env = tmp / "environment", without_node(tmp)
    run(uv(), "venv", "--quiet", "--python", sys.executable, home, env=env)
    installed = (f"jupyter-ext[lab] @ {wheel.as_uri()}", "ipykernel")
    run(
        uv(), "pip", "install", "--quiet", "--python", home / "bin" / "python",
        "--constraint", ROOT / "constraints.txt", *installed, env=env,
    )  # fmt: skip
    yield home
    shutil.rmtree(home)


def version() -> str:
    return str(json.loads((ROOT / "package.json").read_text())["version"])


def test_the_sdist_brings_the_built_labextension_and_no_leftovers(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"jupyter_ext/labextension/package.json", "jupyter_ext/labextension/static/style.js"} <= names
    assert {"LICENSE", "README.md", "pyproject.toml", "package.json", "labextension/src/index.ts"} <= names
    assert not [name for name in names if re.search(r"node_modules|\.venv|__pycache__|^build/|^lib/", name)]


def test_the_wheel_places_every_file_where_jupyter_looks(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"jupyter_ext-{version()}.dist-info/entry_points.txt").decode()
    data = f"jupyter_ext-{version()}.data/data"
    assert {
        f"{data}/{LAB}/package.json",
        f"{data}/{LAB}/install.json",
        f"{data}/{LAB}/static/style.js",
        f"{data}/etc/jupyter/jupyter_server_config.d/jupyter_ext.json",
        f"{data}/share/jupyter/kernels/jupyter-ext/kernel.json",
        f"jupyter_ext-{version()}.dist-info/licenses/LICENSE",
    } <= names
    packaged = [path.relative_to(ROOT).as_posix() for path in (ROOT / "jupyter_ext").rglob("*") if path.is_file()]
    code = [name for name in packaged if name.endswith((".py", ".js", ".css", ".yaml")) and "__pycache__" not in name]
    assert set(code) <= names, set(code) - names
    assert "jupyter-ext = jupyter_ext.cli:main" in entry_points


def test_an_sdist_installs_without_node(tmp: Path, sdist: Path) -> None:
    run(
        uv(), "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--no-build-isolation",
        "--target", tmp / "target", sdist, env=without_node(tmp),
    )  # fmt: skip
    assert (tmp / "target" / LAB / "static" / "style.js").exists()


def test_jupyter_finds_both_extensions_and_the_kernel(tmp: Path, environment: Path) -> None:
    env = without_node(tmp) | {"PATH": str(environment / "bin"), "HOME": str(tmp / "nobody")}
    servers = run(environment / "bin" / "jupyter", "server", "extension", "list", env=env)
    assert re.search(rf"jupyter_ext {re.escape(version())}.*OK", servers), servers
    labs = run(environment / "bin" / "jupyter", "labextension", "list", env=env)
    assert re.search(rf"@jupyter-ext/lab v{re.escape(version())}.*enabled.*OK.*jupyter-ext\)", labs), labs
    kernels = json.loads(
        run(environment / "bin" / "jupyter", "kernelspec", "list", "--json", env=env).split("\n", 0)[0]
    )
    assert kernels["kernelspecs"]["jupyter-ext"]["spec"]["display_name"] == "Python (jupyter-ext)"


def test_the_kernel_has_the_magics_from_its_start(tmp: Path, environment: Path) -> None:
    script = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="jupyter-ext")
try:
    code = "import sys; print('LOADED', 'submit_job' in get_ipython().magics_manager.magics['cell'], sys.prefix)"
    client.execute_interactive(code, timeout=60)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""
    env = without_node(tmp) | {"HOME": str(tmp / "nobody")}
    said = run(environment / "bin" / "python", "-c", script, env=env)
    assert f"LOADED True {environment}" in said


def test_the_command_line_is_installed(tmp: Path, environment: Path) -> None:
    env = without_node(tmp) | {"PATH": str(environment / "bin"), "HOME": str(tmp / "nobody")}
    assert "migrate" in run(environment / "bin" / "jupyter", "ext", "--help", env=env)
