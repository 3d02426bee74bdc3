from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from jupyter_ext.datasets.service import DatasetService
from jupyter_ext.datasets.values import DatasetSpec
from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.labeling.service import LabelService
from jupyter_ext.labeling.tables import label_function, label_set, label_task, label_vote
from jupyter_ext.labeling.values import (
    FunctionSpec,
    LabelSetQuery,
    LabelSetSpec,
    LabelTaskQuery,
    LabelTaskSpec,
    VoteQuery,
    VotesIn,
)
from jupyter_ext.store.schema import outbox
from jupyter_ext.values import Query

KEYS = ["a", "b", "c"]


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.fixture
def service(store) -> LabelService:
    return LabelService(store, datasets=DatasetService(store))


@pytest.fixture
def dataset(service):
    blob = service.store.blobs.put(parquet(key=KEYS, text=["x", "y", "z"]))
    return service.datasets.register(DatasetSpec(name="texts", blob=blob, key="key"), owner="ada")


@pytest.fixture
def task(service, dataset):
    return service.create_task(LabelTaskSpec(name="spam", dataset_id=dataset.id, classes=("ham", "spam")), owner="ada")


def vote(service, task, owner="ada", **labels):
    return service.add_votes(task.id, VotesIn(votes=[{"key": k, "label": v} for k, v in labels.items()]), owner=owner)


def current(service, task):
    return {item.key: item.label for item in service.list_votes(task.id, VoteQuery(), owner="ada").items}


def events(service):
    with service.store.read() as tx:
        return [row["data"] for row in tx.all(sa.select(outbox.c.data).where(outbox.c.noun == "label"))]


def count(service, table):
    with service.store.read() as tx:
        return tx.scalar(sa.select(sa.func.count()).select_from(table))


def function(service, task, *, name="short", digest="1" * 64, owner="ada", votes=None, **more):
    votes = {"key": ["a", "b"], "vote": pa.array([0, 1], pa.int16())} if votes is None else votes
    data = votes if isinstance(votes, bytes) else parquet(**votes)
    n_votes = more.pop("n_votes", 0 if isinstance(votes, bytes) else len(votes.get("key", [])))
    spec = FunctionSpec(
        name=name, digest=digest, source="…", votes_blob=service.store.blobs.put(data), n_votes=n_votes, **more
    )
    return service.add_function(task.id, spec, owner=owner)


GOOD_SET = {"key": KEYS, "label": ["ham", "spam", None], "p_0": [0.9, 0.2, 0.5], "p_1": [0.1, 0.8, 0.5]}


def freeze(service, task, *, name="labels", owner="ada", columns=None, **more):
    data = parquet(**(GOOD_SET if columns is None else columns))
    spec = LabelSetSpec(name=name, task_id=task.id, blob=service.store.blobs.put(data), method="majority", **more)
    return service.freeze(spec, owner=owner)


class TestTasks:
    def test_the_same_content_is_the_same_task(self, service, task, dataset):
        spec = LabelTaskSpec(name="spam", dataset_id=dataset.id, classes=("ham", "spam"))
        assert service.create_task(spec, owner="ada") == task
        assert service.get_task(task.id, owner="ada") == task

    def test_other_content_under_the_name_is_a_conflict(self, service, task, dataset):
        spec = LabelTaskSpec(name="spam", dataset_id=dataset.id, classes=("ham", "spam", "unsure"))
        with pytest.raises(Conflict, match="another classes") as refused:
            service.create_task(spec, owner="ada")
        assert refused.value.details["task_id"] == task.id

    def test_many_at_once_make_one(self, service, dataset):
        spec = LabelTaskSpec(name="spam", dataset_id=dataset.id, classes=("ham", "spam"))
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: service.create_task(spec, owner="ada"), range(16)))
        assert len({task.id for task in made}) == 1
        assert count(service, label_task) == 1

    def test_a_data_set_of_somebody_else_is_not_found(self, service, dataset):
        with pytest.raises(NotFound):
            service.create_task(LabelTaskSpec(name="x", dataset_id=dataset.id, classes=("a", "b")), owner="eve")

    def test_lists_filter(self, service, task, dataset):
        other = service.create_task(LabelTaskSpec(name="tone", dataset_id=dataset.id, classes=("a", "b")), owner="ada")
        assert service.list_tasks(LabelTaskQuery(), owner="ada").items == [other, task]
        assert service.list_tasks(LabelTaskQuery(name="spam"), owner="ada").items == [task]
        assert service.list_tasks(LabelTaskQuery(dataset_id="ds-0"), owner="ada").items == []
        assert service.list_tasks(LabelTaskQuery(), owner="eve").items == []

    def test_classes_must_be_two_different_names(self):
        for classes in [("a",), ("a", "a"), ("a", ""), ("a", "b\x00")]:
            with pytest.raises(ValidationError):
                LabelTaskSpec(name="x", dataset_id="ds-0", classes=classes)


class TestVotes:
    def test_votes_are_stored_replaced_and_withdrawn(self, service, task):
        answer = vote(service, task, a="ham", b="spam")
        assert (answer.stored, answer.withdrawn) == (2, 0)
        answer = vote(service, task, a="spam", b=None, c="ham")
        assert (answer.stored, answer.withdrawn) == (2, 1)
        assert current(service, task) == {"a": "spam", "c": "ham"}
        assert [event["count"] for event in events(service)] == [2, 3]
        assert events(service)[0] == {"task_id": task.id, "what": "votes", "owner": "ada", "count": 2}

    def test_the_last_of_several_votes_on_a_key_counts(self, service, task):
        body = VotesIn(votes=[{"key": "a", "label": "ham"}, {"key": "a", "label": "spam"}])
        assert service.add_votes(task.id, body, owner="ada").stored == 1
        assert current(service, task) == {"a": "spam"}

    def test_a_label_outside_the_classes_stores_nothing(self, service, task):
        with pytest.raises(Invalid, match=r"'egg' is no class of task 'spam'\. The classes are: ham, spam") as refused:
            vote(service, task, a="ham", b="egg")
        assert refused.value.details == {"label": "egg", "classes": ["ham", "spam"]}
        assert current(service, task) == {}
        assert events(service) == []

    def test_an_unknown_key_stores_nothing(self, service, task):
        with pytest.raises(Invalid, match="no row with the key 'q'"):
            vote(service, task, a="ham", q="spam")
        assert current(service, task) == {}

    def test_a_failure_half_way_stores_nothing(self, service, task, monkeypatch):
        from jupyter_ext.store import Transaction

        def fail(*_args):
            raise RuntimeError("the power went")

        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "emit", fail)
            with pytest.raises(RuntimeError):
                vote(service, task, a="ham")
        assert current(service, task) == {}

    def test_a_full_batch(self, service):
        keys = [f"k{i}" for i in range(10_000)]
        blob = service.store.blobs.put(parquet(key=keys))
        dataset = service.datasets.register(DatasetSpec(name="many", blob=blob, key="key"), owner="ada")
        task = service.create_task(LabelTaskSpec(name="many", dataset_id=dataset.id, classes=("x", "y")), owner="ada")
        assert vote(service, task, **dict.fromkeys(keys, "x")).stored == 10_000
        assert vote(service, task, **dict.fromkeys(keys, None)).withdrawn == 10_000
        assert count(service, label_vote) == 0

    def test_two_tabs_voting_at_once_lose_nothing(self, service, task):
        def tab(number):
            for _ in range(10):
                vote(service, task, **dict.fromkeys(KEYS if number % 2 else KEYS[::-1], ("ham", "spam")[number % 2]))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(tab, range(4)))
        assert set(current(service, task)) == set(KEYS)
        assert count(service, label_vote) == 3

    def test_paging_misses_no_changed_vote(self, service, task):
        vote(service, task, a="ham", b="ham", c="ham")
        first = service.list_votes(task.id, VoteQuery(limit=2), owner="ada")
        vote(service, task, a="spam", b="spam", c="spam")
        second = service.list_votes(task.id, VoteQuery(limit=2, cursor=first.next_cursor), owner="ada")
        assert sorted(item.key for item in [*first.items, *second.items]) == KEYS

    def test_lists_filter_by_voter(self, service, task):
        vote(service, task, a="ham")
        assert len(service.list_votes(task.id, VoteQuery(voter="ada"), owner="ada").items) == 1
        assert service.list_votes(task.id, VoteQuery(voter="bo"), owner="ada").items == []

    def test_another_owners_task_is_not_found(self, service, task):
        with pytest.raises(NotFound):
            vote(service, task, owner="eve", a="ham")
        with pytest.raises(NotFound):
            service.list_votes(task.id, VoteQuery(), owner="eve")


class TestFunctions:
    def test_versions_count_up_when_anything_changes(self, service, task):
        first = function(service, task, polarity=("ham", "spam"), n_errors=1)
        assert (first.version, first.n_votes, first.n_errors) == (1, 2, 1)
        assert function(service, task, polarity=("ham", "spam"), n_errors=1) == first
        assert function(service, task, digest="2" * 64).version == 2
        assert function(service, task).version == 3, "back to the older one"
        assert function(service, task, votes={"key": ["c"], "vote": [1]}).version == 4
        assert function(service, task, name="long").version == 1
        listed = service.list_functions(task.id, Query(), owner="ada").items
        assert [(item.name, item.version) for item in listed][:2] == [("long", 1), ("short", 4)]
        assert events(service)[0] == {"task_id": task.id, "what": "function", "owner": "ada", "count": 2}

    def test_a_function_that_abstains_everywhere(self, service, task):
        empty = {"key": pa.array([], pa.string()), "vote": pa.array([], pa.int16())}
        assert function(service, task, votes=empty).n_votes == 0

    def test_mis_shaped_votes_store_nothing(self, service, task):
        cases = [
            (b"junk", {}, "not a readable Parquet"),
            ({"key": ["a"], "label": [0]}, {}, "columns key, vote; the blob has key, label"),
            ({"key": ["a"], "vote": [2]}, {}, "from 0 to 1"),
            ({"key": ["a"], "vote": [-1]}, {}, "abstentions left out"),
            ({"key": ["a"], "vote": [0.0]}, {}, "whole numbers"),
            ({"key": ["a", "b"], "vote": [0, None]}, {}, "1 votes are null"),
            ({"key": ["a", "a"], "vote": [0, 1]}, {}, "repeat the key"),
            ({"key": ["a", None], "vote": [0, 1]}, {}, "have no key"),
            ({"key": [1], "vote": [0]}, {}, "must be text"),
            ({"key": ["q"], "vote": [0]}, {}, "no row with the key 'q'"),
            ({"key": ["a"], "vote": [0]}, {"n_votes": 3}, "holds 1 votes, the request says 3"),
            ({"key": ["a", "b", "c", "d"], "vote": [0, 0, 0, 0]}, {}, "the data set has 3 rows"),
            ({"key": ["a"], "vote": [0]}, {"polarity": ("egg",)}, "'egg' is no class"),
        ]
        for votes, more, says in cases:
            with pytest.raises(Invalid, match=says):
                function(service, task, votes=votes, **more)
        assert count(service, label_function) == 0
        assert events(service) == []

    def test_versions_are_counted_under_concurrency(self, service, task):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda i: function(service, task, digest=f"{i:064}"), range(8)))
        assert sorted(item.version for item in made) == list(range(1, 9))

    def test_another_owners_task_is_not_found(self, service, task):
        with pytest.raises(NotFound):
            function(service, task, owner="eve")


class TestLabelSets:
    def test_a_frozen_set(self, service, task, dataset):
        lf = function(service, task)
        made = freeze(service, task, functions=(lf.id,), voters=("ada",), agreement=0.5, params={"a": [1, None]})
        assert (made.version, made.n_items, made.n_labeled, made.dataset_id) == (1, 3, 2, dataset.id)
        assert service.get_set(made.id, owner="ada") == made
        assert events(service)[-1] == {
            "task_id": task.id,
            "what": "label_set",
            "owner": "ada",
            "label_set_id": made.id,
            "count": 2,
        }

    def test_equal_content_is_the_same_version_and_other_content_the_next(self, service, task):
        first = freeze(service, task)
        assert freeze(service, task) == first
        assert freeze(service, task, description="again").version == 2
        sets = service.list_sets(LabelSetQuery(name="labels", task_id=task.id), owner="ada").items
        assert [item.version for item in sets] == [2, 1]

    def test_a_wrong_file_stores_nothing(self, service, task):
        cases = [
            ({"key": ["a", "b", "q"]}, "no row with the key 'q'"),
            ({"key": ["a", "b", "b"]}, "repeat the key"),
            ({"label": ["ham", "egg", None]}, "'egg' is no class"),
            ({"label": [0, 1, None]}, "must be text"),
            ({"p_0": [0.9, 0.2, float("nan")]}, "from 0 to 1"),
            ({"p_0": [0.9, 0.2, -0.5], "p_1": [0.1, 0.8, 1.5]}, "from 0 to 1"),
            ({"p_0": [0.9, 0.2, 0.9]}, "add up to 1"),
            ({"p_0": [1, 0, 1]}, "a probability in every row"),
            ({"p_0": [0.9, 0.2, None]}, "a probability in every row"),
            ({"p_2": [0.0, 0.0, 0.0]}, "must have the columns key, label, p_0, … p_1"),
        ]
        for changed, says in cases:
            with pytest.raises(Invalid, match=says):
                freeze(service, task, columns=GOOD_SET | changed)
        assert count(service, label_set) == 0
        assert events(service) == []

    def test_other_rows_than_the_data_sets_are_refused(self, service, task):
        with pytest.raises(Invalid, match="has 2 rows and its data set 3"):
            freeze(service, task, columns={name: values[:2] for name, values in GOOD_SET.items()})

    def test_functions_of_elsewhere_are_refused(self, service, task):
        with pytest.raises(Invalid, match="no function with the id 'lf-0'"):
            freeze(service, task, functions=("lf-0",))

    def test_no_label_at_all_is_a_set_of_nothing(self, service, task):
        assert freeze(service, task, columns=GOOD_SET | {"label": [None, None, None]}).n_labeled == 0

    def test_numbers_that_are_not_json_are_refused(self):
        for wrong in ({"params": {"x": float("nan")}}, {"metrics": {"x": float("inf")}}, {"agreement": float("nan")}):
            with pytest.raises(ValidationError):
                LabelSetSpec(name="x", task_id="task-0", blob="0" * 64, method="m", **wrong)

    def test_another_owners_sets_are_not_found(self, service, task):
        made = freeze(service, task)
        with pytest.raises(NotFound):
            service.get_set(made.id, owner="eve")
        with pytest.raises(NotFound):
            freeze(service, task, owner="eve")
        assert service.list_sets(LabelSetQuery(), owner="eve").items == []
