"""The database: an engine set up right, and transactions with an outbox."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jupyter_ext.errors import StorageFull, Unavailable
from jupyter_ext.store.schema import now, outbox

Row = sa.RowMapping

#: SQLite reports a wrong statement as an operational error too; these are the ones that trying later may mend.
_SQLITE_AWAY = ("is locked", "unable to open", "disk I/O error")


class Transaction:
    """One transaction. Statements are SQLAlchemy Core; rows come back as mappings."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.emitted = 0

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run a statement (a list of parameter mappings inserts many)."""
        return self.connection.execute(statement, parameters)

    def all(self, statement: sa.Executable) -> list[Row]:
        """Return all rows."""
        return list(self.connection.execute(statement).mappings().all())

    def one_or_none(self, statement: sa.Executable) -> Row | None:
        """Return the only row, or None."""
        return self.connection.execute(statement).mappings().one_or_none()

    def scalar(self, statement: sa.Executable) -> Any:
        """Return the first column of the first row, or None."""
        return self.connection.execute(statement).scalar()

    def lock(self, *name: str) -> None:
        """Wait until no other transaction holds the lock of that name; hold it until this one ends.

        For what is read first and written accordingly, such as the next version under a name. SQLite has one writer
        at a time anyway.
        """
        if self.connection.dialect.name == "postgresql":
            key = int.from_bytes(hashlib.sha256("\0".join(name).encode()).digest()[:8], "big", signed=True)
            self.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.cast(key, sa.BigInteger))))

    def emit(self, noun: str, data: dict[str, Any]) -> None:
        """Write an event to the outbox. It is delivered after the commit, at least once; a rollback unwrites it."""
        self.connection.execute(sa.insert(outbox).values(noun=noun, data=data, created_at=now()))
        self.emitted += 1


class Database:
    """An engine with the settings our transactions rely on.

    Parameters
    ----------
    url
        ``sqlite:////absolute/path.db`` or ``postgresql+pg8000://user@host/name``.
    on_commit
        Called after a commit that wrote to the outbox.

    Notes
    -----
    SQLite: WAL lets readers go on while one writes; ``BEGIN IMMEDIATE`` takes the write lock at the start, so a
    transaction never fails half-way with "database is locked" after it has read (sqlite.org/isolation.html).
    """

    def __init__(self, url: str, on_commit: Callable[[], None] | None = None) -> None:
        parsed = sa.make_url(url)
        self.dialect = parsed.get_backend_name()
        self._on_commit = on_commit
        if self.dialect == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError("the workspace's SQLite database needs a file: sqlite:////absolute/path.db")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(parsed, connect_args={"timeout": 30.0, "check_same_thread": False})
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(parsed, pool_pre_ping=True, pool_size=5, max_overflow=10)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a writing transaction: commits on leaving, rolls back on any exception."""
        writing = self.engine.execution_options(jupyter_ext_write=True)
        with self._translated(), writing.begin() as connection:
            transaction = Transaction(connection)
            yield transaction
        if transaction.emitted and self._on_commit is not None:
            self._on_commit()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a reading transaction: one consistent snapshot."""
        with self._translated(), self.engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if "disk is full" in str(error.orig):
                raise StorageFull(
                    "The disk under the database is full. Nothing was written; free some space."
                ) from error
            if self.dialect == "sqlite" and not any(sign in str(error.orig) for sign in _SQLITE_AWAY):
                raise
            raise Unavailable(f"The database does not answer: {_first_line(error)}") from error
        except (DisconnectionError, PoolTimeoutError, ConnectionError) as error:  # pg8000 lets the last one through
            raise Unavailable("The database can't be reached now. Nothing was written; try again.") from error
        except InvalidRequestError as error:
            # What SQLAlchemy says when every fresh connection it tried was cut off too.
            if str(error) == "This connection is closed":
                raise Unavailable("The database can't be reached now. Nothing was written; try again.") from error
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable("The connection to the database was lost. Nothing was written; try again.") from error
            raise


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Autocommit mode of the driver: we say BEGIN ourselves, see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("jupyter_ext_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
