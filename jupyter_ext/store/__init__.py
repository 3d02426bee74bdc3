"""The state of a workspace: a database, an object store and an outbox of events, used through one `Store`.

Names load on first use, because job runners open objects and must not pay for (or see) the database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_ext.store.database import Database, Row, Transaction
    from jupyter_ext.store.objects import Blobs, ObjectInfo, Objects
    from jupyter_ext.store.paging import paginate
    from jupyter_ext.store.schema import Json, UtcDateTime, metadata, now
    from jupyter_ext.store.store import Store

_HOMES = {
    "Blobs": "objects",
    "Database": "database",
    "Json": "schema",
    "ObjectInfo": "objects",
    "Objects": "objects",
    "Row": "database",
    "Store": "store",
    "Transaction": "database",
    "UtcDateTime": "schema",
    "metadata": "schema",
    "now": "schema",
    "paginate": "paging",
}

__all__ = [
    "Blobs",
    "Database",
    "Json",
    "ObjectInfo",
    "Objects",
    "Row",
    "Store",
    "Transaction",
    "UtcDateTime",
    "metadata",
    "now",
    "paginate",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)
