"""Keyset paging: a page costs the same at the start and at the end of a long list."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jupyter_ext.store.database import Row, Transaction
from jupyter_ext.values import Query


def paginate(
    tx: Transaction, statement: sa.Select[Any], column: sa.ColumnElement[Any], query: Query
) -> tuple[list[Row], str | None]:
    """Return one page of ``statement``, newest first, and the cursor of the next page (None on the last).

    Parameters
    ----------
    column
        A unique, selected column that sorts by time: an id of `values.new_id`, or an integer key.
    """
    if query.cursor is not None:
        cursor: Any = query.cursor
        if isinstance(column.type, sa.Integer):
            cursor = int(cursor) if cursor.isdecimal() else 0
        statement = statement.where(column < cursor)
    rows = tx.all(statement.order_by(column.desc()).limit(query.limit + 1))
    if len(rows) <= query.limit:
        return rows, None
    return rows[: query.limit], str(rows[query.limit - 1][str(column.key)])
