from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from jupyter_ext.datasets.service import DatasetService
from jupyter_ext.datasets.values import DatasetQuery, DatasetSpec
from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.store.schema import outbox


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


PEOPLE = parquet(person=["ana", "bo", "cy"], age=[31, None, 5])


@pytest.fixture
def service(store) -> DatasetService:
    return DatasetService(store)


def register(service, data=PEOPLE, *, name="people", key="person", owner="ada", **more):
    spec = DatasetSpec(name=name, blob=service.store.blobs.put(data), key=key, **more)
    return service.register(spec, owner=owner)


def test_the_server_reads_columns_rows_and_keys(service):
    dataset = register(service, description="three people")
    assert (dataset.name, dataset.version, dataset.n_rows, dataset.owner) == ("people", 1, 3, "ada")
    assert [(column.name, column.dtype) for column in dataset.columns] == [("person", "string"), ("age", "int64")]
    assert dataset.size_bytes == len(PEOPLE)
    assert dataset.uri.endswith(dataset.blob)
    assert service.keys(dataset).to_pylist() == ["ana", "bo", "cy"]
    assert service.get(dataset.id, owner="ada") == dataset


def test_equal_content_is_the_same_version_and_other_content_the_next(service):
    first = register(service)
    assert register(service) == first
    second = register(service, parquet(person=["dee"]))
    assert second.version == 2
    assert register(service) == first, "going back finds the old version"
    assert register(service, key="age", data=parquet(person=["ana"], age=[1])).version == 3
    versions = service.list(DatasetQuery(name="people"), owner="ada").items
    assert [dataset.version for dataset in versions] == [3, 2, 1]


def test_one_event_a_version(service):
    dataset = register(service)
    register(service)
    with service.store.read() as tx:
        events = tx.all(sa.select(outbox.c.noun, outbox.c.data))
    assert [(event["noun"], event["data"]) for event in events] == [
        ("dataset", {"dataset_id": dataset.id, "name": "people", "version": 1, "owner": "ada"})
    ]


def test_versions_are_counted_under_concurrency(service):
    contents = [parquet(person=[f"p{i}"]) for i in range(8)] * 2
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda data: register(service, data), contents))
    assert sorted({dataset.version for dataset in made}) == list(range(1, 9))
    assert len({dataset.id for dataset in made}) == 8


def test_whole_numbers_and_categories_are_keys(service):
    numbers = register(service, parquet(n=[10, -2]), name="numbers", key="n")
    assert service.keys(numbers).to_pylist() == ["10", "-2"]
    categories = register(service, parquet(c=pa.array(["a", "b"]).dictionary_encode()), name="categories", key="c")
    assert service.keys(categories).to_pylist() == ["a", "b"]


def test_bad_files_are_refused_and_leave_nothing(service):
    cases = [
        (b"not a parquet file", "person", "not a readable Parquet"),
        (PEOPLE[:-20], "person", "not a readable Parquet"),
        (PEOPLE, "persn", "no column 'persn'. Did you mean 'person'\\? The columns are: person, age"),
        (parquet(person=["a", None]), "person", "no value in 1 rows, the first is row 1"),
        (parquet(person=["a", "b", "a", "a"]), "person", "2 rows repeat"),
        (parquet(person=[1.5, 2.5]), "person", "type double"),
        (parquet(person=["a", ""]), "person", "1 to 500 characters"),
        (parquet(person=["a" * 501]), "person", "1 to 500 characters"),
        (parquet(person=pa.array([], pa.string())), "person", "this one has 0"),
    ]
    for data, key, says in cases:
        with pytest.raises(Invalid, match=says):
            register(service, data, key=key)
    assert service.list(DatasetQuery(), owner="ada").items == []


def test_two_columns_of_one_name_are_refused(service):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), buffer)
    with pytest.raises(Invalid, match="stand twice: a"):
        register(service, buffer.getvalue(), key="a")


def test_a_blob_that_was_not_uploaded_is_refused(service):
    with pytest.raises(Invalid, match="not uploaded"):
        service.register(DatasetSpec(name="people", blob="0" * 64, key="person"), owner="ada")


def test_too_many_rows_are_refused(store):
    with pytest.raises(Invalid, match="1 to 2 rows"):
        register(DatasetService(store, max_rows=2))


def test_another_owners_data_sets_are_not_found(service):
    dataset = register(service)
    with pytest.raises(NotFound):
        service.get(dataset.id, owner="eve")
    assert service.list(DatasetQuery(), owner="eve").items == []
    assert register(service, owner="eve").version == 1


def test_required_keys(service):
    dataset = register(service)
    service.require_keys(dataset, ["bo", "ana"])
    service.require_keys(dataset, [])
    with pytest.raises(Invalid, match="no row with the key 'dee', 'eve'") as refused:
        service.require_keys(dataset, ["dee", "ana", "eve", "dee"])
    assert refused.value.details == {"n_unknown": 2}
    with pytest.raises(Invalid, match="and others"):
        service.require_keys(dataset, ["p", "q", "r", "s", "t"])


def test_lists_page(service):
    for number in range(5):
        register(service, name=f"set {number}")
    first = service.list(DatasetQuery(limit=3), owner="ada")
    second = service.list(DatasetQuery(limit=3, cursor=first.next_cursor), owner="ada")
    assert [dataset.name for dataset in [*first.items, *second.items]] == [
        f"set {number}" for number in range(4, -1, -1)
    ]
    assert second.next_cursor is None
