"""Data sets from Python: register a frame once, get it back anywhere."""

from __future__ import annotations

import io
import math
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from jupyter_ext.client._transport import segment
from jupyter_ext.datasets.values import Dataset, DatasetSpec
from jupyter_ext.errors import Invalid, NotFound

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client

_SHOWN_COLUMNS = 12


class DatasetHandle:
    """A registered version of a data set. It never changes; ``value`` holds all the server knows of it."""

    def __init__(self, client: Client, value: Dataset) -> None:
        self._client = client
        self.value = value
        self.id = value.id
        self.name = value.name
        self.version = value.version
        #: The column that names the rows.
        self.key = value.key
        self.columns = value.columns
        self.n_rows = value.n_rows

    def frame(self) -> pd.DataFrame:
        """Download the rows."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of all rows as text, in the order of the rows. Votes and label sets use them."""
        return keys_as_text(self._table.column(self.key))

    @cached_property
    def _table(self) -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self._client.transport.download(f"blobs/{self.value.blob}")))

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, version {self.version}: {self.n_rows:,} rows, {len(self.columns)} columns, "
            f"key {self.key!r})"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(column.name)}{' (key)' if column.name == self.key else ''}</td>"
            f"<td><code>{escape(column.dtype)}</code></td></tr>"
            for column in self.columns[:_SHOWN_COLUMNS]
        )
        rest = len(self.columns) - _SHOWN_COLUMNS
        more = f'<tr><td colspan="2">and {rest} more</td></tr>' if rest > 0 else ""
        about = f"<p>{escape(self.value.description)}</p>" if self.value.description else ""
        return (
            f"<div><b>{escape(self.name)}</b>, version {self.version}: {self.n_rows:,} rows, "
            f"{len(self.columns)} columns, {_readable_size(self.value.size_bytes)}{about}"
            f"<table><thead><tr><th>column</th><th>type</th></tr></thead><tbody>{rows}{more}</tbody></table></div>"
        )


class Datasets:
    """Data sets of the workspace: ``client.datasets``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def register(self, name: str, frame: pd.DataFrame, key: str, description: str = "") -> DatasetHandle:
        """Store a frame as a version of the data set ``name``.

        The same rows under the same name are the same version, so running a notebook again registers nothing new.

        Parameters
        ----------
        name
            Letters, digits, ``._-`` and spaces.
        frame
            The rows. The index is not stored; ``frame.reset_index()`` makes it a column.
        key
            The column that names each row once: text or whole numbers.

        Raises
        ------
        Invalid
            The key is no column, repeats or misses a value; or a column holds what Parquet can't.
        """
        digest = self._client.transport.upload(parquet_of(frame))
        spec = DatasetSpec(name=name, blob=digest, key=key, description=description)
        return self._handle(self._client.transport.post("datasets", spec))

    def get(self, name: str, version: int | None = None) -> DatasetHandle:
        """Return a data set by name: the newest version, or the given one. An id is taken too."""
        if name.startswith("ds-") and version is None:
            try:
                return self.by_id(name)
            except NotFound:
                pass  # a name may begin like an id
        versions = self.list(name)
        for handle in versions:
            if version is None or handle.version == version:
                return handle
        if versions:
            raise NotFound(f"Data set {name!r} has no version {version}; the newest is {versions[0].version}.")
        raise NotFound(f"There is no data set {name!r}. Register it: client.datasets.register({name!r}, frame, key=…).")

    def by_id(self, dataset_id: str) -> DatasetHandle:
        """Return a data set by its id."""
        return self._handle(self._client.transport.get(f"datasets/{segment(dataset_id)}"))

    def list(self, name: str | None = None) -> tuple[DatasetHandle, ...]:
        """Return all data sets, or all versions of one, newest first."""
        return tuple(self._handle(item) for item in self._client.transport.pages("datasets", name=name, limit=500))

    def _handle(self, item: Any) -> DatasetHandle:
        return DatasetHandle(self._client, Dataset.model_validate(item))


def parquet_of(frame: pd.DataFrame) -> bytes:
    """Write a frame as Parquet so that equal frames give equal bytes (and so one digest).

    Raises
    ------
    Invalid
        A column name that is no text, a name twice, or a column of mixed kinds of values.
    """
    import pyarrow as pa

    wrong = [name for name in frame.columns if not isinstance(name, str)]
    if wrong:
        raise Invalid(f"Column names must be text; {wrong[0]!r} is not. Rename it: frame.rename(columns=str).")
    if not frame.columns.is_unique:
        raise Invalid("Two columns have the same name; rename one.")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise Invalid(f"The frame can't be stored as Parquet: {'; '.join(map(str, error.args))}") from error
    return write_parquet(table)


def write_parquet(table: Any) -> bytes:
    """Write an Arrow table without the metadata that tells library versions."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), buffer, compression="zstd")
    return buffer.getvalue()


def keys_as_text(column: Any) -> tuple[str, ...]:
    """Return keys as the server compares them: whole numbers become their digits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return tuple(pc.cast(column.cast(kind), pa.large_string()).to_pylist())


def _readable_size(size: float) -> str:
    if size < 1000:
        return f"{size:.0f} bytes"
    unit = min(int(math.log10(size)) // 3, 4)
    return f"{size / 1000**unit:.1f} {('kB', 'MB', 'GB', 'TB')[unit - 1]}"
