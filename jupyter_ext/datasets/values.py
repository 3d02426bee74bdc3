"""Values of data sets: what is registered once and pointed at by everything later."""

from __future__ import annotations

from datetime import datetime

from jupyter_ext.values import Digest, Name, Query, Text, Value


class Column(Value):
    """One column: its name and its Arrow type (``double``, ``string``, ``int64``…)."""

    name: str
    dtype: str
    nullable: bool = True


class DatasetSpec(Value):
    """What a client sends to register a data set: an uploaded Parquet blob and the column that names its rows."""

    name: Name
    blob: Digest
    key: str
    description: Text = ""


class Dataset(Value):
    """A registered, immutable version of a data set. The server reads ``columns`` and ``n_rows`` from the Parquet."""

    id: str
    name: str
    version: int
    uri: str
    blob: Digest
    key: str
    columns: tuple[Column, ...]
    n_rows: int
    size_bytes: int
    description: str = ""
    owner: str
    created_at: datetime


class DatasetQuery(Query):
    """Filter of the list of data sets."""

    name: str | None = None
