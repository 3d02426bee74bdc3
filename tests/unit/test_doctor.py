"""Every check of the doctor sees what is wrong and says how to mend it; none changes anything."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from traitlets.config import Config

from jupyter_ext import doctor
from jupyter_ext.store import migrate
from jupyter_ext.workspace import Workspace


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Workspace:
    """A workspace with a migrated database, not opened."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "workspace.db").write_bytes(sqlite_template.read_bytes())
    return Workspace(home=str(folder), user="ada", multi_user=False)


def at_revision(workspace: Workspace, revision: str) -> None:
    store = workspace.open_store()
    with store.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = :revision").bindparams(revision=revision))
    store.close()


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))}


def test_python_is_held_against_what_is_needed() -> None:
    assert doctor.check_python(sys.version_info[:3]).state == "ok"
    old = doctor.check_python((3, 9, 2))
    assert (old.state, old.mend) == ("fail", "Install Python 3.11.")


def test_packages_that_are_missing_or_too_old_are_named() -> None:
    assert doctor.check_packages(["pytest>=1"]).state == "ok"
    assert doctor.check_packages(["no-such-thing-at-all; extra == 'ray'"]).state == "ok"
    wrong = doctor.check_packages(["pytest>=9999", "no-such-thing-at-all>=2"])
    assert wrong.state == "fail"
    assert "pytest is" in wrong.message
    assert "needed >=9999" in wrong.message
    assert "no-such-thing-at-all>=2 is not installed" in wrong.message
    assert doctor.check_packages(None).state == "warn"


def test_the_server_extension_must_be_enabled() -> None:
    assert doctor.check_server_extension({"jupyter_ext": True}).state == "ok"
    assert doctor.check_server_extension({"jupyter_ext": False}).message == "disabled"
    unknown = doctor.check_server_extension({})
    assert (unknown.state, unknown.mend) == ("fail", "Run: jupyter server extension enable jupyter_ext")


def test_the_labextension_must_have_the_packages_version(tmp_path: Path) -> None:
    folders = [tmp_path / "empty", tmp_path / "labextensions"]
    assert doctor.check_labextension(folders, "1.0").state == "fail"
    package = folders[1] / "@jupyter-ext" / "lab" / "package.json"
    package.parent.mkdir(parents=True)
    for text, state in (('{"version": "1.0"}', "ok"), ('{"version": "0.9"}', "fail"), ("{", "fail"), ("{}", "fail")):
        package.write_text(text)
        assert doctor.check_labextension(folders, "1.0").state == state, text


def test_a_database_at_our_revision_is_well(home: Workspace) -> None:
    found = doctor.check_database(home)
    assert found.state == "ok", found
    assert f"revision {migrate.HEAD}" in found.message


@pytest.mark.parametrize(("auto_migrate", "state"), [(True, "warn"), (False, "fail")])
def test_an_older_database_wants_migrating(home: Workspace, auto_migrate: bool, state: str) -> None:
    store = home.open_store()
    with store.write() as tx:
        tx.execute(sa.text("DELETE FROM alembic_version"))
    store.close()
    home.auto_migrate = auto_migrate
    found = doctor.check_database(home)
    assert (found.state, found.mend) == (state, "Back it up and run: jupyter ext migrate")


def test_a_newer_database_wants_a_newer_package(home: Workspace) -> None:
    at_revision(home, "9999")
    found = doctor.check_database(home)
    assert found.state == "fail"
    assert "from a newer version" in found.message
    assert "pip install --upgrade jupyter-ext" in found.mend


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    found = doctor.check_database(Workspace(home=str(tmp_path / "new")))
    assert (found.state, "not there yet" in found.message) == ("warn", True)
    assert not (tmp_path / "new").exists()


def test_a_database_that_does_not_answer_keeps_its_password(tmp_path: Path) -> None:
    url = "postgresql+pg8000://ada:secret@127.0.0.1:1/x"
    found = doctor.check_database(Workspace(home=str(tmp_path), database_url=url))
    assert found.state == "fail"
    assert "secret" not in found.message + found.mend
    assert "127.0.0.1:1/x" in found.message
    wrong = doctor.check_database(Workspace(home=str(tmp_path), database_url="nonsense"))
    assert wrong.state == "fail"


def test_sqlite_on_a_network_file_system_is_warned_about(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_partitions", lambda: [("/", "ext4"), (str(home.path), "nfs4")])
    found = doctor.check_database(home)
    assert (found.state, "network file system (nfs4)" in found.message) == ("warn", True)
    monkeypatch.setattr(doctor, "_partitions", lambda: [("/", "nfs4"), (str(home.path), "ext4")])
    assert doctor.check_database(home).state == "ok"
    # A folder whose name only begins like a mount point is not below it.
    monkeypatch.setattr(doctor, "_partitions", lambda: [("/", "ext4"), (str(home.path)[:-1], "nfs4")])
    assert doctor.check_database(home).state == "ok"


def test_the_object_store_is_tried_and_left_as_it_was(home: Workspace) -> None:
    before = contents(home.path)
    found = doctor.check_objects(home)
    assert found.state == "ok", found
    assert contents(home.path) == before


def test_an_object_store_that_does_not_take_objects_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for url in (str(tmp_path / "file"), "nosuchscheme://bucket"):
        found = doctor.check_objects(Workspace(home=str(tmp_path), objects_url=url))
        assert (found.state, bool(found.mend)) == ("fail", True), url


def test_little_room_is_warned_about(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 10**18)
    assert doctor.check_objects(home).state == "warn"


def test_a_missing_ray_or_command_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    assert doctor.check_ray().state == "ok"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "command `ray` is not found" in doctor.check_ray().message
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor.check_ray().mend == "Run: pip install 'jupyter-ext[ray]'"


@pytest.mark.parametrize(("place", "state"), [("mlflow.db", "ok"), ("workspace.db/in a file.db", "fail")])
def test_mlflow_is_really_asked(home: Workspace, place: str, state: str) -> None:
    if find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed")
    home.config = Config({"RegistryService": {"tracking_uri": f"sqlite:///{home.path / place}"}})
    with doctor._opened(home):
        found = doctor.check_mlflow(home)
    assert found.state == state, found


def test_what_needs_the_database_waits_for_it(home: Workspace) -> None:
    at_revision(home, "9999")
    found: dict[str, Any] = {check.name: check for check in doctor.examine(home)}
    assert found["database"].state == "fail"
    assert (found["mlflow"].state, found["mlflow"].mend) == ("warn", "Mend the database first.")
    assert list(found) == [
        "python", "packages", "server extension", "labextension", "database", "objects", "mlflow", "ray",
    ]  # fmt: skip
    for check in found.values():
        assert check.mend or check.state == "ok", check
    json.dumps([vars(check) for check in found.values()])
