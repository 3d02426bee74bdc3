"""Bringing a database to this version of the code, and back.

Alembic does the work; it is imported only when there is something to do, so that opening a current database is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jupyter_ext.errors import Conflict
from jupyter_ext.store.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

#: The revision this code works with: the newest file in ``migrations/versions``.
HEAD = "0004"
_SCRIPTS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Revision:
    """Where a database stands: its revision (None when empty); whether that is ``current``, ``older`` or ``newer``."""

    revision: str | None
    standing: str


def standing(database: Database) -> Revision:
    """Compare a database with the code."""
    with database.read() as tx:
        if not sa.inspect(tx.connection).has_table("alembic_version"):
            return Revision(None, "older")
        revision = tx.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if revision == HEAD:
        return Revision(revision, "current")
    known = {path.name.partition("_")[0] for path in (_SCRIPTS / "versions").glob("[0-9]*.py")}
    return Revision(revision, "older" if revision is None or revision in known else "newer")


def prepare(database: Database, *, auto: bool) -> None:
    """Make sure that a database is at our revision: migrate an older one if ``auto``, refuse otherwise.

    Raises
    ------
    Conflict
        Naming both revisions and the way out.
    """
    found = standing(database)
    if found.standing == "current":
        return
    _refuse_newer(found)
    if not auto:
        raise Conflict(
            f"The database is at revision {found.revision or 'none'}, this version of jupyter-ext needs {HEAD}. "
            "Back it up and run: jupyter ext migrate",
            revision=found.revision,
            needed=HEAD,
        )
    upgrade(database)


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate up to ``revision``. All of it happens in one transaction, or none."""
    _refuse_newer(standing(database))
    _run(database, "upgrade", revision)


def downgrade(database: Database, revision: str) -> None:
    """Migrate down to ``revision`` (``base`` empties the database)."""
    _refuse_newer(standing(database))
    _run(database, "downgrade", revision)


def _refuse_newer(found: Revision) -> None:
    if found.standing == "newer":
        raise Conflict(
            f"The database is at revision {found.revision}, from a newer version of jupyter-ext; "
            f"this one knows up to {HEAD}. Upgrade the package: pip install --upgrade jupyter-ext",
            revision=found.revision,
            needed=HEAD,
        )


def _run(database: Database, verb: str, revision: str) -> None:
    from alembic import command

    with database.write() as tx:
        # Two servers that start together must not both create the tables.
        tx.lock("migrate")
        getattr(command, verb)(_config(tx.connection), revision)


def _config(connection: sa.Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    return config
