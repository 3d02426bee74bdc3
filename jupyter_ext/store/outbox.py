"""Delivery of the outbox: each event at least once, in the order it was committed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.store.database import Database
from jupyter_ext.store.schema import now, outbox

log = logging.getLogger(__name__)

#: Takes ``(noun, data)``; an exception means "not delivered, try again".
Sink = Callable[[str, dict[str, Any]], None]

_BATCH = 200
_RETRY_SECONDS = 1.0
_KEEP = timedelta(days=7)


class Dispatcher:
    """Hands outbox rows to a sink, from a thread of its own, and marks them delivered afterwards.

    A crash between the two delivers a row again, so consumers must be idempotent; none is ever lost.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sink: Sink | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin delivering to ``sink``, first what an earlier process left undelivered."""
        self._sink = sink
        self._stopping.clear()
        self._wake.set()
        self._thread = threading.Thread(target=self._run, name="jupyter-ext-outbox", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to deliver."""
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Deliver what is there, then stop. What takes longer is left to the next process."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            self._wake.set()
            thread.join(timeout_s)

    def deliver(self, sink: Sink) -> int:
        """Deliver one batch to ``sink`` and return how many rows it took. Stops at the first that the sink refuses."""
        with self._database.read() as tx:
            rows = tx.all(sa.select(outbox).where(outbox.c.delivered_at.is_(None)).order_by(outbox.c.id).limit(_BATCH))
        delivered = []
        try:
            for row in rows:
                sink(row["noun"], row["data"])
                delivered.append(row["id"])
        finally:
            if delivered:
                with self._database.write() as tx:
                    tx.execute(sa.update(outbox).where(outbox.c.id.in_(delivered)).values(delivered_at=now()))
        return len(delivered)

    def prune(self) -> None:
        """Forget events that were delivered over a week ago."""
        with self._database.write() as tx:
            tx.execute(sa.delete(outbox).where(outbox.c.delivered_at < now() - _KEEP))

    def _run(self) -> None:
        assert self._sink is not None
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                while self.deliver(self._sink):
                    pass
            except JupyterExtError as error:
                log.warning("Events wait in the outbox: %s", error)
                self._retry()
            except Exception:
                # A sink may fail in any way; the row stays and is tried again, so nothing is lost.
                log.exception("An event could not be delivered; it stays in the outbox")
                self._retry()
            if self._stopping.is_set():
                return

    def _retry(self) -> None:
        if not self._stopping.wait(_RETRY_SECONDS):
            self._wake.set()
