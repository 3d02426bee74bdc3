"""Routes of data sets."""

from __future__ import annotations

from jupyter_ext.datasets.values import Dataset, DatasetQuery, DatasetSpec
from jupyter_ext.server.routing import Call, route
from jupyter_ext.values import Page


@route("GET", "/datasets", resource="datasets")
def list_datasets(call: Call, query: DatasetQuery) -> Page[Dataset]:
    """List data sets, newest first. With ``name``, the versions of that one."""
    return call.workspace.datasets.list(query, owner=call.user)


@route("POST", "/datasets", resource="datasets", status=201)
def register_dataset(call: Call, body: DatasetSpec) -> Dataset:
    """Register an uploaded Parquet blob as a data set.

    The server reads the columns and the number of rows from the file, and checks that the key column names each row
    once. The same content under the same name is the same version; other content is the next version.
    """
    return call.workspace.datasets.register(body, owner=call.user)


@route("GET", "/datasets/{dataset_id}", resource="datasets")
def get_dataset(call: Call, dataset_id: str) -> Dataset:
    """Return one version of a data set."""
    return call.workspace.datasets.get(dataset_id, owner=call.user)
