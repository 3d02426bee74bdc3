"""Transactions: all or nothing, one writer at a time, times in UTC, pages by key."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jupyter_ext.errors import Unavailable
from jupyter_ext.store import Database, Json, Store, UtcDateTime, paginate
from jupyter_ext.store.schema import outbox
from jupyter_ext.values import Query

scratch = sa.Table(
    "scratch",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime),
    sa.Column("data", Json),
)


@pytest.fixture
def table(store: Store) -> sa.Table:
    scratch.create(store.database.engine)
    return scratch


def test_an_exception_leaves_nothing_of_a_transaction_nor_of_its_events(store: Store, table: sa.Table) -> None:
    with pytest.raises(RuntimeError), store.write() as tx:
        tx.execute(sa.insert(table).values(id=1))
        tx.emit("job", {"a": 1})
        raise RuntimeError
    with store.read() as tx:
        assert tx.all(sa.select(table)) == []
        assert tx.scalar(sa.select(sa.func.count()).select_from(outbox)) == 0


def test_times_come_back_in_utc_and_naive_ones_are_refused(store: Store, table: sa.Table) -> None:
    east = timezone(timedelta(hours=9))
    with store.write() as tx:
        tx.execute(sa.insert(table).values(id=1, at=datetime(2026, 1, 2, 9, tzinfo=east), data={"ü": [1, None]}))
    with store.read() as tx:
        row = tx.one_or_none(sa.select(table))
    assert row is not None
    assert row["at"] == datetime(2026, 1, 2, tzinfo=UTC)
    assert row["at"].tzinfo is UTC
    assert row["data"] == {"ü": [1, None]}
    with pytest.raises(sa.exc.StatementError, match="time zone"), store.write() as tx:
        tx.execute(sa.insert(table).values(id=2, at=datetime(2026, 1, 2)))


def test_writers_that_read_first_lose_no_update(store: Store, table: sa.Table) -> None:
    with store.write() as tx:
        tx.execute(sa.insert(table).values(id=1, data={"n": 0}))

    def add() -> None:
        for _ in range(25):
            with store.write() as tx:
                # FOR UPDATE locks the row on PostgreSQL; SQLite's transaction holds the write lock from its start.
                n = tx.scalar(sa.select(table.c.data).where(table.c.id == 1).with_for_update())["n"]
                tx.execute(sa.update(table).values(data={"n": n + 1}))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert tx.scalar(sa.select(table.c.data)) == {"n": 100}


def test_pages_meet_without_gap_or_overlap(store: Store, table: sa.Table) -> None:
    with store.write() as tx:
        tx.execute(sa.insert(table), [{"id": number} for number in range(1, 12)])
    seen: list[Any] = []
    cursor = None
    sizes = []
    while True:
        with store.read() as tx:
            rows, cursor = paginate(tx, sa.select(table), table.c.id, Query(limit=5, cursor=cursor))
        sizes.append(len(rows))
        seen += [row["id"] for row in rows]
        if cursor is None:
            break
    assert seen == list(range(11, 0, -1))
    assert sizes == [5, 5, 1]


def test_a_last_page_that_is_exactly_full_has_no_next(store: Store, table: sa.Table) -> None:
    with store.write() as tx:
        tx.execute(sa.insert(table), [{"id": number} for number in range(1, 6)])
    with store.read() as tx:
        rows, cursor = paginate(tx, sa.select(table), table.c.id, Query(limit=5))
    assert (len(rows), cursor) == (5, None)


def test_a_cursor_of_nonsense_is_an_empty_page_and_no_crash(store: Store, table: sa.Table) -> None:
    with store.read() as tx:
        assert paginate(tx, sa.select(table), table.c.id, Query(cursor="x'; --")) == ([], None)


def test_sqlite_runs_in_wal_with_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'deep' / 'x.db'}")
    with database.read() as tx:
        assert tx.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert tx.scalar(sa.text("PRAGMA foreign_keys")) == 1
    database.close()


def test_sqlite_readers_go_on_while_one_writes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    scratch.create(database.engine)
    with database.write() as writing:
        writing.execute(sa.insert(scratch).values(id=1))
        with database.read() as reading:
            assert reading.all(sa.select(scratch)) == []
    database.close()


def test_a_memory_database_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a file"):
        Database("sqlite://")


def test_a_database_that_is_not_there_is_unavailable() -> None:
    from support.postgres import free_port

    database = Database(f"postgresql+pg8000://nobody@127.0.0.1:{free_port()}/x")
    with pytest.raises(Unavailable, match="does not answer"), database.read() as tx:
        tx.scalar(sa.text("SELECT 1"))
    database.close()
