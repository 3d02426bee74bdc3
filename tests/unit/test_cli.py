"""``jupyter ext migrate`` and ``jupyter ext doctor``, as an administrator types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from jupyter_ext.store import migrate


@pytest.fixture
def run(tmp_path: Path) -> object:
    """Run the command with a home, a configuration and a data folder of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "MLFLOW"))}
    environment |= {
        "JUPYTER_EXT_HOME": str(tmp_path / "home"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_NO_CONFIG": "",
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "jupyter_ext.cli", *arguments],
            capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=200,
        )  # fmt: skip

    (tmp_path / "config").mkdir()
    return command


def test_migrate_there_again_and_back(run: object, tmp_path: Path) -> None:
    checked = run("migrate", "--check")
    assert (checked.returncode, "no database" in checked.stdout) == (1, True), checked
    assert not (tmp_path / "home").exists()
    assert run("migrate").stdout == f"Migrated from none to {migrate.HEAD}.\n"
    assert run("migrate").stdout == f"Nothing to do: the database is at {migrate.HEAD}.\n"
    assert run("migrate", "--check").returncode == 0
    assert run("migrate", "--revision=base").stdout == f"Migrated from {migrate.HEAD} to none.\n"


def test_a_newer_database_is_refused_in_one_line(run: object, tmp_path: Path) -> None:
    run("migrate")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'home' / 'workspace.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    refused = run("migrate")
    assert refused.returncode == 1
    assert "from a newer version of jupyter-ext" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_servers_configuration_is_read(run: object, tmp_path: Path) -> None:
    (tmp_path / "config" / "jupyter_server_config.py").write_text(f"c.Workspace.home = {str(tmp_path / 'other')!r}\n")
    assert run("migrate").returncode == 0
    assert (tmp_path / "other" / "workspace.db").exists()
    assert run("migrate", f"--home={tmp_path / 'third'}").returncode == 0
    assert (tmp_path / "third" / "workspace.db").exists(), "the command line wins over the file"


def test_doctor_answers_in_json_and_fails_when_something_does(run: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = run("doctor", "--json", f"--Workspace.objects_url={tmp_path / 'file'}")
    found = {check["name"]: check for check in json.loads(answer.stdout)}
    assert answer.returncode == 1
    assert found["objects"]["state"] == "fail"
    assert found["objects"]["mend"]
    table = run("doctor", f"--Workspace.objects_url={tmp_path / 'file'}")
    assert "✗ objects" in table.stdout
    assert "→ " in table.stdout


def test_without_a_subcommand_there_is_help(run: object) -> None:
    answer = run()
    assert answer.returncode == 2
    assert "migrate" in answer.stdout


def test_the_command_starts_without_what_is_heavy() -> None:
    code = (
        "import sys, jupyter_ext.cli; "
        "print([m for m in ('sqlalchemy', 'alembic', 'pandas', 'numpy', 'ray', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
