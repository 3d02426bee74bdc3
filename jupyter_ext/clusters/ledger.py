"""The rows of clusters: read, page, and move with an event in the same transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jupyter_ext.clusters.tables import cluster
from jupyter_ext.clusters.values import ClusterQuery, ClusterState
from jupyter_ext.store import Row, Transaction, now


def find(tx: Transaction, owner: str, name: str) -> Row | None:
    """Return the row of a cluster, or None."""
    return tx.one_or_none(sa.select(cluster).where(cluster.c.owner == owner, cluster.c.name == name))


def page(tx: Transaction, query: ClusterQuery, owner: str) -> tuple[list[Row], str | None]:
    """Return one page of a user's clusters, newest first, and the cursor of the next: the last one's name."""
    statement = sa.select(cluster).where(cluster.c.owner == owner)
    if query.state is not None:
        statement = statement.where(cluster.c.state == query.state.value)
    if query.cursor is not None:
        last = find(tx, owner, query.cursor)
        if last is None:
            return [], None
        created_at = last["created_at"]
        same_moment = (cluster.c.created_at == created_at) & (cluster.c.name < last["name"])
        statement = statement.where((cluster.c.created_at < created_at) | same_moment)
    newest_first = (cluster.c.created_at.desc(), cluster.c.name.desc())
    rows = tx.all(statement.order_by(*newest_first).limit(query.limit + 1))
    if len(rows) <= query.limit:
        return rows, None
    return rows[: query.limit], str(rows[query.limit - 1]["name"])


def count_live(tx: Transaction, owner: str) -> int:
    """Return how many clusters of a user are not stopped."""
    statement = sa.select(sa.func.count()).select_from(cluster)
    return int(tx.scalar(statement.where(cluster.c.owner == owner, cluster.c.state != ClusterState.STOPPED.value)))


def touch(tx: Transaction, owner: str, name: str) -> None:
    """Note that a cluster is in use."""
    tx.execute(sa.update(cluster).where(cluster.c.owner == owner, cluster.c.name == name).values(used_at=now()))


def move(
    tx: Transaction,
    owner: str,
    name: str,
    state: ClusterState,
    message: str,
    *,
    backend: str,
    only_from: ClusterState | None,
    facts: dict[str, Any],
) -> None:
    """Put a cluster into a state and tell it. Nothing happens when it is not in ``only_from``, or all is so already."""
    row = find(tx, owner, name)
    values = {"state": state.value, "message": message, "backend": backend, "used_at": now(), **facts}
    if row is None:
        if only_from is not None:
            return
        tx.execute(sa.insert(cluster).values(owner=owner, name=name, created_at=now(), **values))
    else:
        if row["state"] == state and row["message"] == message and not facts:
            return
        changed = sa.update(cluster).where(cluster.c.owner == owner, cluster.c.name == name)
        if only_from is not None:
            changed = changed.where(cluster.c.state == only_from.value)
        if tx.execute(changed.values(**values)).rowcount == 0:
            return
    tx.emit("cluster", {"name": name, "owner": owner, "state": state.value, "message": message})
