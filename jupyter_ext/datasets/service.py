"""Data sets: registered once, pointed at by everything later."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from traitlets import Int
from traitlets.config import LoggingConfigurable

from jupyter_ext.datasets.parquet import columns_of, open_parquet, read_keys, require_column, text_array
from jupyter_ext.datasets.tables import dataset as table
from jupyter_ext.datasets.values import Dataset, DatasetQuery, DatasetSpec
from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.store import Store, now, paginate
from jupyter_ext.values import Page, new_id

if TYPE_CHECKING:
    import pyarrow as pa


class DatasetService(LoggingConfigurable):
    """Registers data sets and answers what is in them.

    A version never changes: the same content under the same name is the same version, other content is the next one.
    """

    max_rows = Int(100_000_000, help="The most rows a data set may have.").tag(config=True)
    cached_keys = Int(8, help="Of how many data sets the row keys are kept in memory.").tag(config=True)

    def __init__(self, store: Store, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store = store
        self._keys_of_blob = lru_cache(maxsize=self.cached_keys)(self._read_keys)

    def register(self, spec: DatasetSpec, *, owner: str) -> Dataset:
        """Register an uploaded Parquet blob, and return its version.

        Raises
        ------
        Invalid
            The blob is no Parquet, the key column is not there, or it does not name each row once.
        """
        with open_parquet(self.store, spec.blob, f"data set {spec.name!r}") as file:
            n_rows = int(file.metadata.num_rows)
            columns = columns_of(file.schema_arrow)
            require_column(spec.key, [column.name for column in columns])
            if not 0 < n_rows <= self.max_rows:
                raise Invalid(f"A data set has 1 to {self.max_rows:,} rows; this one has {n_rows:,}.")
            read_keys(file, spec.key)
        facts = {
            **spec.model_dump(),
            "owner": owner,
            "columns": [column.model_dump() for column in columns],
            "n_rows": n_rows,
            "size_bytes": self.store.blobs.size(spec.blob),
        }
        return self._next_version(facts)

    def get(self, dataset_id: str, *, owner: str) -> Dataset:
        """Return a data set by its id."""
        with self.store.read() as tx:
            row = tx.one_or_none(sa.select(table).where(table.c.id == dataset_id, table.c.owner == owner))
        if row is None:
            raise NotFound(f"There is no data set {dataset_id!r}.", dataset_id=dataset_id)
        return self._value(dict(row))

    def list(self, query: DatasetQuery, *, owner: str) -> Page[Dataset]:
        """Return data sets, newest first; with a name, the versions of that one."""
        statement = sa.select(table).where(table.c.owner == owner)
        if query.name is not None:
            statement = statement.where(table.c.name == query.name)
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, table.c.id, query)
        return Page(items=[self._value(dict(row)) for row in rows], next_cursor=cursor)

    def keys(self, dataset: Dataset) -> pa.LargeStringArray:
        """Return the keys of all rows as text, in the order of the rows."""
        return self._keys_of_blob(dataset.blob, dataset.key)

    def require_keys(self, dataset: Dataset, keys: Sequence[str] | pa.Array) -> None:
        """Raise `Invalid` unless every one of ``keys`` names a row of the data set."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = keys if isinstance(keys, pa.Array) else text_array(keys)
        known = self.keys(dataset)
        # The smaller side becomes the hash table: one click in a data set of a million rows costs one scan.
        found = known.filter(pc.is_in(known, value_set=asked)) if len(asked) < len(known) else known
        unknown = pc.unique(asked.filter(pc.invert(pc.is_in(asked, value_set=found))))
        if len(unknown):
            shown = ", ".join(repr(str(key)[:60]) for key in unknown[:3].to_pylist())
            raise Invalid(
                f"Data set {dataset.name!r} version {dataset.version} has no row with the key {shown}"
                f"{' and others' if len(unknown) > 3 else ''} (key column {dataset.key!r}).",
                n_unknown=len(unknown),
            )

    def _next_version(self, facts: dict[str, Any]) -> Dataset:
        same_name = (table.c.owner == facts["owner"], table.c.name == facts["name"])
        with self.store.write() as tx:
            tx.lock("dataset", facts["owner"], facts["name"])
            known = tx.all(
                sa.select(table)
                .where(*same_name, table.c.blob == facts["blob"], table.c.key == facts["key"])
                .order_by(table.c.version.desc())
                .limit(1)
            )
            if known:
                return self._value(dict(known[0]))
            version = (tx.scalar(sa.select(sa.func.max(table.c.version)).where(*same_name)) or 0) + 1
            row = {**facts, "id": new_id("ds"), "version": version, "created_at": now()}
            tx.execute(sa.insert(table).values(row))
            tx.emit(
                "dataset", {"dataset_id": row["id"], "name": row["name"], "version": version, "owner": row["owner"]}
            )
        self.log.info("Registered data set %s version %d (%d rows)", row["name"], version, row["n_rows"])
        return self._value(row)

    def _value(self, row: dict[str, Any]) -> Dataset:
        return Dataset(**row, uri=self.store.objects.url(self.store.blobs.path(row["blob"])))

    def _read_keys(self, blob: str, column: str) -> pa.LargeStringArray:
        with open_parquet(self.store, blob, "the data set") as file:
            return read_keys(file, column)
