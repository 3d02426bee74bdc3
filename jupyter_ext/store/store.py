"""One store: database, objects and outbox, as every service gets them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from jupyter_ext.store.database import Database, Transaction
from jupyter_ext.store.objects import Blobs, Objects
from jupyter_ext.store.outbox import Dispatcher


class Store:
    """What every service works on.

    Parameters
    ----------
    database_url
        SQLAlchemy URL.
    objects_root
        A folder, or an fsspec URL such as ``s3://bucket/prefix``.
    storage_options
        What fsspec needs to open that URL.
    """

    def __init__(
        self, database_url: str, objects_root: str | Path, storage_options: dict[str, Any] | None = None
    ) -> None:
        self.database = Database(database_url, on_commit=self._wake)
        self.objects = Objects(objects_root, storage_options)
        self.blobs = Blobs(self.objects)
        self.outbox = Dispatcher(self.database)

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a writing transaction."""
        return self.database.write()

    def read(self) -> AbstractContextManager[Transaction]:
        """Open a reading transaction."""
        return self.database.read()

    def close(self) -> None:
        """Stop delivering events and close the database."""
        self.outbox.stop()
        self.database.close()

    def _wake(self) -> None:
        self.outbox.wake()
