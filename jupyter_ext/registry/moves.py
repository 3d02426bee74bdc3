"""Moves of aliases: MLflow holds where an alias points; who moved it from where, and why, is kept here for ever.

The two stores cannot share a transaction, so a move is an intent first, then MLflow's write, then done together with
its event. An intent that a crash left is settled by looking where the alias really points.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jupyter_ext.errors import Conflict, Invalid, JupyterExtError, NotFound, Unavailable
from jupyter_ext.registry.mlflow_client import MlflowWorker
from jupyter_ext.registry.tables import alias_move as table
from jupyter_ext.registry.values import AliasMove, AliasTarget
from jupyter_ext.store import Store, Transaction, now, paginate
from jupyter_ext.values import Page, Query, new_id

_ALIAS = re.compile(r"[A-Za-z0-9_\-]{1,255}")
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
#: After so long, an intent of another process is taken for abandoned: setting an alias takes milliseconds.
_ABANDONED = timedelta(minutes=2)


def check_alias(alias: str) -> str:
    """Return the alias without a leading ``@``, or raise `Invalid` with the rule.

    Examples
    --------
    >>> check_alias("@champion")
    'champion'
    >>> check_alias("v3")
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: 'v3' cannot be an alias: ...
    """
    name = alias.removeprefix("@")
    if not _ALIAS.fullmatch(name):
        raise Invalid(
            f"{alias!r} cannot be an alias: it takes 1 to 255 letters, digits, '-' and '_', like 'champion'.",
            alias=alias,
        )
    if _RESERVED.fullmatch(name):
        raise Invalid(
            f"{alias!r} cannot be an alias: 'latest' and 'v1', 'v2'… are reserved for versions themselves. "
            "Take a word for the role, like 'champion'.",
            alias=alias,
        )
    return name


class AliasMoves:
    """Moves aliases and remembers it."""

    def __init__(self, store: Store, worker: MlflowWorker) -> None:
        self._store = store
        self._worker = worker
        self._process = new_id("process")
        self._turn = threading.Lock()

    def move(self, name: str, alias: str, target: AliasTarget, actor: str) -> AliasMove:
        """Point an alias at a version. Where it points there already, nothing is written."""
        alias = check_alias(alias)
        with self._turn:
            self._settle(name, alias)
            model = self._worker.call("get_model", name=name)
            self._worker.call("require_version", name=name, version=target.version)
            current = model["aliases"].get(alias)
            if current == target.version:
                last = self._last(name, alias)
                if last is not None and last.to_version == current:
                    return last
            return self._make(name, alias, current, target.version, actor, target.reason)

    def remove(self, name: str, alias: str, actor: str, reason: str = "") -> AliasMove:
        """Remove an alias."""
        alias = check_alias(alias)
        with self._turn:
            self._settle(name, alias)
            current = self._worker.call("get_model", name=name)["aliases"].get(alias)
            if current is None:
                raise NotFound(f"The model {name!r} has no alias @{alias}.", name=name, alias=alias)
            return self._make(name, alias, current, None, actor, reason)

    def history(self, name: str, alias: str, query: Query) -> Page[AliasMove]:
        """Return the moves of an alias, newest first."""
        alias = check_alias(alias)
        # A Conflict: another server is in the middle of a move, which is no history yet.
        with self._turn, suppress(Conflict):
            self._settle(name, alias)
        with self._store.read() as tx:
            rows, cursor = paginate(tx, _done(name, alias), table.c.id, query)
        if not rows:
            self._worker.call("get_model", name=name)
        return Page(items=[_value(row) for row in rows], next_cursor=cursor)

    def settle_all(self) -> None:
        """Settle every intent that a process left and nobody is working on."""
        with self._store.read() as tx:
            left = tx.all(sa.select(table.c.model, table.c.alias).where(~table.c.done))
        for row in left:
            # A Conflict: not abandoned, the other server settles it itself.
            with self._turn, suppress(Conflict):
                self._settle(row["model"], row["alias"])

    def _make(self, name: str, alias: str, before: int | None, to: int | None, actor: str, reason: str) -> AliasMove:
        intent = {
            "model": name,
            "alias": alias,
            "from_version": before,
            "to_version": to,
            "actor": actor,
            "reason": reason,
            "at": now(),
            "done": False,
            "process": self._process,
        }
        try:
            with self._store.write() as tx:
                move_id = tx.scalar(sa.insert(table).values(intent).returning(table.c.id))
        except IntegrityError as error:
            raise _being_moved(name, alias) from error
        try:
            if to is None:
                self._worker.call("delete_alias", name=name, alias=alias)
            else:
                self._worker.call("set_alias", name=name, alias=alias, version=to)
        except Unavailable:
            # Whether MLflow did it is not known now; the next one who asks for this alias settles it.
            raise
        except JupyterExtError:
            with self._store.write() as tx:
                tx.execute(sa.delete(table).where(table.c.id == move_id))
            raise
        with self._store.write() as tx:
            self._finish(tx, intent | {"id": move_id})
        return _value(intent | {"id": move_id})

    def _settle(self, name: str, alias: str) -> None:
        with self._store.read() as tx:
            left = tx.one_or_none(sa.select(table).where(table.c.model == name, table.c.alias == alias, ~table.c.done))
        if left is None:
            return
        if left["process"] != self._process and now() - left["at"] < _ABANDONED:
            raise _being_moved(name, alias)
        try:
            points_at = self._worker.call("get_model", name=name)["aliases"].get(alias)
        except NotFound:
            points_at = -1
        with self._store.write() as tx:
            if points_at == left["to_version"]:
                self._finish(tx, left)
            else:
                tx.execute(sa.delete(table).where(table.c.id == left["id"], ~table.c.done))

    def _finish(self, tx: Transaction, move: Any) -> None:
        changed = tx.execute(sa.update(table).where(table.c.id == move["id"], ~table.c.done).values(done=True))
        if changed.rowcount == 1:
            what = "alias_removed" if move["to_version"] is None else "promoted"
            tx.emit(
                "model",
                {
                    "name": move["model"],
                    "version": move["to_version"],
                    "what": what,
                    "alias": move["alias"],
                    "actor": move["actor"],
                },
            )

    def _last(self, name: str, alias: str) -> AliasMove | None:
        with self._store.read() as tx:
            rows = tx.all(_done(name, alias).order_by(table.c.id.desc()).limit(1))
        return _value(rows[0]) if rows else None


def _done(name: str, alias: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.model == name, table.c.alias == alias, table.c.done)


def _being_moved(name: str, alias: str) -> Conflict:
    return Conflict(
        f"The alias @{alias} of {name!r} is being moved by somebody else right now. Look again in a moment."
    )


def _value(row: Mapping[Any, Any]) -> AliasMove:
    return AliasMove(**{key: row[key] for key in AliasMove.model_fields})
