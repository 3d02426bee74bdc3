"""``jupyter ext migrate`` and ``jupyter ext doctor``: what an administrator does."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from jupyter_core.application import JupyterApp
from traitlets import Bool, Unicode
from traitlets.config import Application, catch_config_error

from jupyter_ext._version import __version__
from jupyter_ext.errors import JupyterExtError
from jupyter_ext.workspace import Workspace

if TYPE_CHECKING:
    from jupyter_ext.doctor import Check

_SIGNS = {"ok": "✓", "warn": "!", "fail": "✗"}


class _Command(JupyterApp):
    """Reads the configuration that the server reads, so that both speak of the same workspace."""

    version = __version__
    classes = [Workspace]
    aliases = {"home": "Workspace.home", "database-url": "Workspace.database_url", "config": "JupyterApp.config_file"}

    def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]
        """Load ``jupyter_server_config`` and the extension's own, after what every Jupyter command loads."""
        super().load_config_file(suppress_errors=suppress_errors)
        for name in ("jupyter_server_config", "jupyter_jupyter_ext_config"):
            Application.load_config_file(self, name, path=self.config_file_paths)


class Migrate(_Command):
    """Bring the database to this version of jupyter-ext, or to another revision."""

    name = "jupyter-ext-migrate"
    description = "Bring the database to this version of jupyter-ext. Back it up first; servers should be stopped."
    examples = "jupyter ext migrate\njupyter ext migrate --check\njupyter ext migrate --revision=0001"

    aliases = {**_Command.aliases, "revision": "Migrate.revision"}
    flags = {"check": ({"Migrate": {"check": True}}, "Only say whether there is something to do (exit code 1).")}

    revision = Unicode("head", help="Where to: head, base (empties the database), or a revision.").tag(config=True)
    check = Bool(False, help="Only say whether there is something to do.").tag(config=True)

    def start(self) -> None:
        """Migrate and say from where to where."""
        from jupyter_ext.doctor import sqlite_file
        from jupyter_ext.store import migrate

        super().start()
        workspace = Workspace(parent=self)
        file = sqlite_file(workspace.database_url)
        if self.check and file is not None and not file.exists():
            print(f"There is no database at {file} yet; code: {migrate.HEAD}.")
            self.exit(1)
        with _Told(self):
            store = workspace.open_store()
            try:
                before = migrate.standing(store.database)
                if self.check:
                    print(f"The database is at {before.revision or 'none'} ({before.standing}); code: {migrate.HEAD}.")
                    self.exit(0 if before.standing == "current" else 1)
                target = migrate.HEAD if self.revision == "head" else self.revision
                # Revisions count up in their names; "base" and an empty database come before all.
                down = target == "base" or target < (before.revision or "")
                (migrate.downgrade if down else migrate.upgrade)(store.database, self.revision)
                after = migrate.standing(store.database)
            finally:
                store.close()
        if before.revision == after.revision:
            print(f"Nothing to do: the database is at {after.revision or 'none'}.")
        else:
            print(f"Migrated from {before.revision or 'none'} to {after.revision or 'none'}.")


class Doctor(_Command):
    """Look at every part of the installation and say how to mend what is wrong."""

    name = "jupyter-ext-doctor"
    description = "Look at every part of the installation and say how to mend what is wrong. Exit code 1 if any fails."
    examples = "jupyter ext doctor\njupyter ext doctor --start-ray\njupyter ext doctor --json"

    flags = {
        "json": ({"Doctor": {"json": True}}, "Answer in JSON."),
        "start-ray": ({"Doctor": {"start_ray": True}}, "Start a Ray head too, and stop it again."),
    }

    json = Bool(False, help="Answer in JSON.").tag(config=True)
    start_ray = Bool(False, help="Start a Ray head too, and stop it again.").tag(config=True)

    def start(self) -> None:
        """Print the findings as they come."""
        from jupyter_ext.doctor import examine

        super().start()
        checks: list[Check] = []
        with _Told(self):
            for check in examine(Workspace(parent=self), start_ray=self.start_ray):
                checks.append(check)
                if not self.json:
                    print(_line(check), flush=True)
        if self.json:
            print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
        self.exit(1 if any(check.state == "fail" for check in checks) else 0)


class JupyterExtCommand(JupyterApp):
    """The command ``jupyter ext``."""

    name = "jupyter-ext"
    version = __version__
    description = "What an administrator of jupyter-ext does."
    subcommands = {
        "doctor": (Doctor, "Look at every part of the installation and say how to mend what is wrong."),
        "migrate": (Migrate, "Bring the database to this version of jupyter-ext."),
    }

    @catch_config_error
    def start(self) -> None:
        """Run the subcommand, or say which there are."""
        super().start()
        if self.subapp is None:
            self.print_help()
            self.exit(2)


class _Told:
    """Turn our errors into one line on the error stream and exit code 1."""

    def __init__(self, app: JupyterApp) -> None:
        self.app = app

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, JupyterExtError):
            print(error.message, file=sys.stderr)
            self.app.exit(1)


def _line(check: Check) -> str:
    mend = f"\n  {'':18}→ {check.mend}" if check.mend else ""
    return f"{_SIGNS[check.state]} {check.name:18}{check.message}{mend}"


main = JupyterExtCommand.launch_instance

if __name__ == "__main__":
    main()
