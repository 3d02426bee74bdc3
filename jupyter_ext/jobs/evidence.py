"""What an attempt says of itself in the object store, and how it gets into the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import ValidationError

from jupyter_ext.errors import NotFound
from jupyter_ext.jobs import ledger, tables
from jupyter_ext.jobs.protocol import Outcome, Status, attempt_path
from jupyter_ext.store import Row, Store, Transaction

if TYPE_CHECKING:
    import logging


class Evidence:
    """Reads what runners write, and writes down what is new in it."""

    def __init__(self, store: Store, log: logging.Logger) -> None:
        self._store = store
        self._objects = store.objects
        self._log = log
        self._seen: dict[str, Status] = {}

    def status(self, row: Row) -> Status | None:
        """Return what the runner of the current attempt said last, None before its first word."""
        try:
            data = self._objects.get(attempt_path(row["id"], row["attempt"], "status.json"))
            return Status.model_validate_json(data)
        except NotFound:
            return None
        except ValidationError as error:
            self._log.warning("The status of job %s can't be read: %s", row["id"], error)
            return None

    def outcome(self, row: Row) -> Outcome | None:
        """Return how the current attempt ended by its own word, None if it left none."""
        try:
            data = self._objects.get(attempt_path(row["id"], row["attempt"], "outcome.json"))
            return Outcome.model_validate_json(data)
        except NotFound:
            return None
        except ValidationError as error:
            self._log.warning("The outcome of job %s can't be read: %s", row["id"], error)
            return None

    def write_down(self, row: Row, attempt: Row, status: Status) -> None:
        """Write down what a status says that is new. Twice a second at most, as often as steps are taken."""
        before = self._seen.get(row["id"])
        self._seen[row["id"]] = status
        if before is not None and before.model_copy(update={"at": status.at}) == status:
            return
        number = attempt["number"]
        progress = status.progress.model_dump(mode="json") if status.progress else row["progress"]
        last_step = status.progress.step if status.progress else attempt["last_step"]
        what = "log"
        if status.durable_step != attempt["durable_step"]:
            what = "checkpoint"
        elif progress != row["progress"]:
            what = "progress"
        with self._store.write() as tx:
            job, table = tables.job, tables.attempt
            message = row["message"]
            if status.resumed_step is not None and attempt["resumed_step"] != status.resumed_step:
                message = self._resumed(tx, row, number, status.resumed_step)
            tx.execute(
                sa.update(table)
                .where(table.c.job_id == row["id"], table.c.number == number)
                .values(
                    log_size=status.log_size,
                    durable_step=status.durable_step,
                    resumed_step=status.resumed_step,
                    peak_memory_bytes=status.peak_memory_bytes,
                    last_step=last_step,
                    message=message,
                )
            )
            new = tx.one_or_none(
                sa.update(job)
                .where(job.c.id == row["id"], job.c.version == row["version"])
                .values(
                    progress=progress,
                    message=message,
                    log_size=ledger.log_total(number, row["id"], status.log_size),
                )
                .returning(job)
            )
            if new is not None:
                ledger.announce(tx, new, what)

    @staticmethod
    def _resumed(tx: Transaction, row: Row, number: int, step: int) -> str:
        table = tables.attempt
        reached = tx.scalar(
            sa.select(sa.func.max(table.c.last_step)).where(table.c.job_id == row["id"], table.c.number < number)
        )
        redone = max(0, (reached if reached is not None else step) - step)
        return f"Attempt {number} resumed at step {step}; {redone} step{'' if redone == 1 else 's'} redone."

    def forget(self, job_id: str) -> None:
        """Drop what is remembered of a job; harmless at any time."""
        self._seen.pop(job_id, None)
