"""Rows that fit a table, for tests and benchmarks that need some and don't care what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from jupyter_ext.store import UtcDateTime

_LISTS = {"columns", "functions", "voters", "polarity", "fetch", "classes", "after"}
_DIGESTS = {"blob", "digest", "votes_blob", "spec_digest"}
_WORDS = {"method": "majority", "correction": "bh", "backend": "local", "state": "succeeded", "to_state": "queued"}


def row(table: sa.Table, **given: Any) -> dict[str, Any]:
    """Return ``given``, completed with plausible values for every column that must not be empty.

    Texts are ``x`` and numbers 1, so that rows made one after the other refer to each other.
    """
    made = {}
    for column in table.columns:
        if column.name in given:
            made[column.name] = given[column.name]
        elif not column.nullable and not (column.primary_key and column.autoincrement is True):
            made[column.name] = _plausible(column)
    return made


def _plausible(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, UtcDateTime):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if isinstance(column.type, sa.Boolean):
        return False
    if isinstance(column.type, sa.Integer):
        return 1
    if isinstance(column.type, sa.Float):
        return 0.05
    if isinstance(column.type, sa.JSON):
        return [] if column.name in _LISTS else {}
    return "0" * 64 if column.name in _DIGESTS else _WORDS.get(column.name, "x")
