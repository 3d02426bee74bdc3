"""Migrations: they make what the tables say, go up and down with data in them, and refuse what they don't know."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from jupyter_ext.errors import Conflict
from jupyter_ext.store import Database, Store, metadata, migrate
from jupyter_ext.store.schema import outbox
from support.rows import row


def import_tables() -> None:
    for noun in ("clusters", "datasets", "jobs", "labeling", "monitoring", "registry"):
        importlib.import_module(f"jupyter_ext.{noun}.tables")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
        yield database
        database.close()
    else:
        running = request.getfixturevalue("postgres_server")
        url = running.create()
        database = Database(url)
        yield database
        database.close()
        running.drop(url)


def test_the_newest_script_is_the_revision_we_name() -> None:
    assert ScriptDirectory.from_config(migrate._config()).get_current_head() == migrate.HEAD


def test_migrating_makes_exactly_what_the_tables_say(empty: Database) -> None:
    import_tables()
    migrate.prepare(empty, auto=True)
    with empty.read() as tx:
        context = MigrationContext.configure(tx.connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_down_and_up_again_with_data(store: Store) -> None:
    """Every table holds a row when the schema goes away and comes back."""
    database = store.database
    import_tables()
    with database.write() as tx:
        for table in metadata.sorted_tables:
            tx.execute(sa.insert(table), [row(table)])
    assert migrate.standing(database) == migrate.Revision(migrate.HEAD, "current")
    migrate.downgrade(database, "base")
    assert migrate.standing(database).standing == "older"
    with database.read() as tx:
        assert sa.inspect(tx.connection).get_table_names() == ["alembic_version"]
    migrate.upgrade(database)
    with database.read() as tx:
        assert tx.all(sa.select(outbox)) == []


def test_an_upgrade_that_finds_nothing_to_do_keeps_the_data(store: Store) -> None:
    with store.write() as tx:
        tx.emit("job", {"n": 1})
    migrate.upgrade(store.database)
    with store.read() as tx:
        assert tx.scalar(sa.select(outbox.c.data)) == {"n": 1}
        assert tx.scalar(sa.select(outbox.c.created_at)) < datetime.now(UTC)


def test_a_database_from_a_newer_version_is_refused_and_left_alone(store: Store) -> None:
    with store.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for verb in (
        lambda: migrate.prepare(store.database, auto=True),
        lambda: migrate.upgrade(store.database),
        lambda: migrate.downgrade(store.database, "base"),
    ):
        with pytest.raises(Conflict, match=r"newer version.*pip install --upgrade"):
            verb()
    assert migrate.standing(store.database) == migrate.Revision("9999", "newer")


def test_without_leave_an_older_database_is_not_migrated(empty: Database) -> None:
    with pytest.raises(Conflict, match="jupyter ext migrate"):
        migrate.prepare(empty, auto=False)
    with empty.read() as tx:
        assert sa.inspect(tx.connection).get_table_names() == []
