"""What the server reads from an uploaded Parquet file.

Everything heavy runs inside pyarrow, which lets go of the interpreter lock: the event loop has its turn meanwhile.
"""

from __future__ import annotations

import array
import difflib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jupyter_ext.datasets.values import Column
from jupyter_ext.errors import Invalid

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from jupyter_ext.store import Store

#: A key is part of an index of the database, so it is bounded.
MAX_KEY_LENGTH = 500


@contextmanager
def open_parquet(store: Store, blob: str, what: str) -> Iterator[pq.ParquetFile]:
    """Open an uploaded blob as Parquet; whatever goes wrong inside is `Invalid`, since the file is the user's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with store.objects.open(store.blobs.require(blob)) as stream:
        try:
            yield pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise Invalid(f"The blob of {what} is not a readable Parquet file: {reason}", blob=blob) from None


def text_array(values: Sequence[str]) -> pa.LargeStringArray:
    """Return texts as an Arrow array.

    ``pyarrow.array`` would look whether they are something of pandas, and import it into the server for that.

    Examples
    --------
    >>> text_array(["a", "", "bü"]).to_pylist()
    ['a', '', 'bü']
    """
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = array.array("q", itertools.accumulate(map(len, encoded), initial=0))
    return pa.LargeStringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """Describe a schema; a column named twice is refused."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise Invalid(f"Columns must have different names; these stand twice: {', '.join(twice)}.", columns=twice)
    return tuple(Column(name=field.name, dtype=str(field.type), nullable=field.nullable) for field in schema)


def require_column(name: str, names: Sequence[str]) -> None:
    """Raise `Invalid` for a column that is not there, with the nearest names and the list."""
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
    raise Invalid(
        f"There is no column {name!r}.{hint} The columns are: {shown}.", column=name, columns=list(names[:500])
    )


def read_keys(file: pq.ParquetFile, column: str) -> pa.Array:
    """Read the key column as text and check that it names every row: no nulls, none empty, none twice."""
    import pyarrow as pa
    import pyarrow.compute as pc

    require_column(column, file.schema_arrow.names)
    values = file.read(columns=[column]).column(column)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind)):
        raise Invalid(
            f"The key column {column!r} is of type {values.type}. A key is text or a whole number; convert it first."
        )
    keys: Any = pc.cast(values.cast(kind), pa.large_string()).combine_chunks()
    if keys.null_count:
        first = pc.index(pc.is_null(keys), True).as_py()
        raise Invalid(f"The key column {column!r} has no value in {keys.null_count} rows, the first is row {first}.")
    repeated = len(keys) - pc.count_distinct(keys).as_py()
    if repeated:
        raise Invalid(
            f"The key column {column!r} must name each row once; {repeated} rows repeat a key of another row."
        )
    lengths = pc.min_max(pc.utf8_length(keys)).as_py()
    if len(keys) and (lengths["min"] < 1 or lengths["max"] > MAX_KEY_LENGTH):
        found = f"{lengths['min']} to {lengths['max']}"
        raise Invalid(f"Keys must have 1 to {MAX_KEY_LENGTH} characters; those of column {column!r} have {found}.")
    return keys
