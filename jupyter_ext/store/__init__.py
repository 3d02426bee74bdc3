"""The state of a workspace: a database, an object store and an outbox of events, used through one `Store`."""

from jupyter_ext.store.database import Database, Transaction
from jupyter_ext.store.objects import ObjectInfo, Objects
from jupyter_ext.store.paging import paginate
from jupyter_ext.store.schema import Json, UtcDateTime, metadata
from jupyter_ext.store.store import Store

__all__ = ["Database", "Json", "ObjectInfo", "Objects", "Store", "Transaction", "UtcDateTime", "metadata", "paginate"]
