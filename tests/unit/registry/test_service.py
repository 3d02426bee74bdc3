"""The registry's verbs: registering with origins, aliases with history, what a crash leaves."""

from __future__ import annotations

import io
import uuid
import zipfile
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from jupyter_ext.errors import Conflict, Invalid, NotFound, Unavailable
from jupyter_ext.registry.tables import alias_move, lineage_edge, registration
from jupyter_ext.registry.values import AliasTarget, ModelQuery, ModelVersion, ModelVersionSpec
from jupyter_ext.store import now
from jupyter_ext.values import Query
from support.registry import House

OWNER = "ada"


@pytest.fixture
def name() -> str:
    """A model of this test's own: MLflow is shared."""
    return f"model-{uuid.uuid4().hex[:12]}"


def register(house: House, name: str, **fields: Any) -> ModelVersion:
    return house.models.register(name, ModelVersionSpec(archive=house.archive, **fields), owner=OWNER)


def moves(house: House, name: str, alias: str = "champion") -> list[tuple[int | None, int | None, str]]:
    page = house.models.history(name, alias, Query())
    return [(move.from_version, move.to_version, move.reason) for move in page.items]


def test_a_version_keeps_what_was_said_of_it(house: House, name: str) -> None:
    made = register(
        house, name, description="first", metrics={"auc": 0.9}, params={"depth": "3"}, tags={"team": "blue"}
    )
    assert (made.name, made.version, made.description, made.owner) == (name, 1, "first", OWNER)
    assert (made.metrics, made.params, made.tags) == ({"auc": 0.9}, {"depth": "3"}, {"team": "blue"})
    assert (made.flavor, made.serialization_format) == ("sklearn", "cloudpickle")
    assert [(column.name, column.type) for column in made.inputs] == [("area", "double")]
    assert [column.type for column in made.outputs] == ["string"]
    assert made.model_id is not None
    assert made.source == f"models:/{made.model_id}"
    assert house.models.get_version(name, "1") == made
    assert house.events()[-1] == {"name": name, "version": 1, "what": "registered", "actor": OWNER}


def test_versions_count_up_and_list_newest_first(house: House, name: str) -> None:
    for _ in range(3):
        register(house, name)
    first = house.models.list_versions(name, Query(limit=2))
    rest = house.models.list_versions(name, Query(limit=2, cursor=first.next_cursor))
    assert [version.version for version in first.items + rest.items] == [3, 2, 1]
    assert rest.next_cursor is None
    found = house.models.list(ModelQuery(name=name[3:])).items
    assert [(model.name, model.latest_version, model.aliases) for model in found] == [(name, 3, {})]


def test_the_archive_comes_back_whole(house: House, name: str) -> None:
    register(house, name)
    with zipfile.ZipFile(io.BytesIO(house.models.archive(name, "1"))) as opened:
        assert opened.read("model.pkl") == b"this is no pickle"
        assert "MLmodel" in opened.namelist()


def test_lineage_from_the_job_alone(house: House, name: str) -> None:
    dataset = house.dataset()
    labels = house.label_set(dataset)
    job = house.job(label_set_id=labels.id)
    made = register(house, name, job_id=job.id, metrics={"auc": 0.9})
    assert (made.dataset_id, made.label_set_id, made.job_id) == (dataset.id, labels.id, job.id)
    lineage = house.models.lineage(name, "1")
    chain = [f"dataset:{dataset.id}", f"label_set:{labels.id}", f"job:{job.id}", f"model_version:{name}/1"]
    assert [node.id for node in lineage.nodes] == chain
    assert {(edge.source, edge.target) for edge in lineage.edges} == set(pairwise(chain))
    assert [node.label for node in lineage.nodes] == ["biopsies v1", "gold v1", "train", f"{name} v1"]
    assert lineage.nodes[1].facts == {"method": "majority", "labeled": 3, "items": 3, "agreement": 0.9}
    assert lineage.nodes[3].facts["metrics"] == {"auc": 0.9}


def test_two_versions_of_one_job_share_their_origins(house: House, name: str) -> None:
    job = house.job(dataset_id=house.dataset().id)
    for _ in range(2):
        register(house, name, job_id=job.id)
    assert len(house.models.lineage(name, "2").edges) == 2
    with house.store.read() as tx:
        targets = [
            row["target"] for row in tx.all(sa.select(lineage_edge).where(lineage_edge.c.source == f"job:{job.id}"))
        ]
    assert sorted(targets) == [f"model_version:{name}/1", f"model_version:{name}/2"]


def test_a_version_from_nowhere_has_itself_for_lineage(house: House, name: str) -> None:
    register(house, name)
    lineage = house.models.lineage(name, "1")
    assert ([node.kind for node in lineage.nodes], lineage.edges) == (["model_version"], ())


def test_origins_that_do_not_belong_together_are_refused(house: House, name: str) -> None:
    one, other = house.dataset("one"), house.dataset("other", rows=2)
    labels = house.label_set(one)
    with pytest.raises(Invalid, match="label set 'gold' was made from the data set"):
        register(house, name, dataset_id=other.id, label_set_id=labels.id)
    job = house.job(label_set_id=labels.id)
    with pytest.raises(Invalid, match="job 'train' was made from the label set"):
        register(house, name, label_set_id=house.label_set(other, "else").id, job_id=job.id)
    with pytest.raises(NotFound, match="no model"):
        house.models.get(name)


@pytest.mark.parametrize("link", ["dataset_id", "label_set_id", "job_id"])
def test_an_origin_that_is_not_there_is_refused(house: House, name: str, link: str) -> None:
    with pytest.raises(NotFound, match="no-such"):
        register(house, name, **{link: "no-such"})


@pytest.mark.parametrize("bad", ["a/b", "a:b", "", " a", "a\n", "ü", "x" * 129, "../up"])
def test_a_name_that_cannot_be_is_refused_before_mlflow_sees_it(house: House, bad: str) -> None:
    with pytest.raises(Invalid, match="cannot name a model"):
        register(house, bad)


def test_a_bad_archive_leaves_nothing(house: House, name: str) -> None:
    digest = house.store.blobs.put(b"no zip at all")
    with pytest.raises(Invalid, match="not a readable zip"):
        house.models.register(name, ModelVersionSpec(archive=digest), owner=OWNER)
    with pytest.raises(NotFound):
        house.models.get(name)
    with house.store.read() as tx:
        assert tx.all(sa.select(registration)) == []


def test_an_archive_that_was_not_uploaded_is_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid, match="was not uploaded"):
        house.models.register(name, ModelVersionSpec(archive="0" * 64), owner=OWNER)


def test_what_mlflow_refuses_leaves_nothing(house: House, name: str) -> None:
    with pytest.raises(Invalid, match="MLflow says"):
        register(house, name, params={"a//b": "1"})
    with pytest.raises(NotFound):
        house.models.get(name)
    with house.store.read() as tx:
        assert tx.all(sa.select(registration)) == []
    assert register(house, name).version == 1


def test_too_large_a_model_is_refused(house: House, name: str) -> None:
    house.models.max_model_bytes = 100
    with pytest.raises(Exception, match="more than 100 bytes") as caught:
        register(house, name)
    assert getattr(caught.value, "status", None) == 413


def test_the_same_key_is_the_same_version(house: House, name: str) -> None:
    first = register(house, name, idempotency_key="k")
    assert register(house, name, idempotency_key="k") == first
    assert house.models.get(name).latest_version == 1
    with pytest.raises(Conflict, match="another version"):
        register(house, name, idempotency_key="k", description="else")
    assert len([event for event in house.events() if event["name"] == name]) == 1


def test_promote_rollback_and_remove_are_remembered(house: House, name: str) -> None:
    register(house, name)
    register(house, name)
    house.models.promote(name, "champion", AliasTarget(version=1, reason="first"), actor="ada")
    house.models.promote(name, "champion", AliasTarget(version=2, reason="better"), actor="bob")
    assert house.models.get_version(name, "@champion").version == 2
    assert house.models.get_version(name, "2").aliases == ("champion",)
    house.models.promote(name, "champion", AliasTarget(version=1, reason="rollback"), actor="ada")
    assert house.models.get(name).aliases == {"champion": 1}
    house.models.remove_alias(name, "champion", actor="ada")
    assert house.models.get(name).aliases == {}
    assert moves(house, name) == [(1, None, ""), (2, 1, "rollback"), (1, 2, "better"), (None, 1, "first")]
    said = [(event["what"], event["version"], event["actor"]) for event in house.events()[2:]]
    assert said == [
        ("promoted", 1, "ada"),
        ("promoted", 2, "bob"),
        ("promoted", 1, "ada"),
        ("alias_removed", None, "ada"),
    ]


def test_promoting_to_where_it_is_writes_nothing(house: House, name: str) -> None:
    register(house, name)
    first = house.models.promote(name, "champion", AliasTarget(version=1, reason="first"), actor="ada")
    again = house.models.promote(name, "@champion", AliasTarget(version=1, reason="again"), actor="bob")
    assert again == first
    assert moves(house, name) == [(None, 1, "first")]


def test_an_alias_set_elsewhere_enters_the_history_when_it_is_confirmed(house: House, name: str) -> None:
    register(house, name)
    house.models.worker.call("set_alias", name=name, alias="champion", version=1)
    house.models.promote(name, "champion", AliasTarget(version=1, reason="confirmed"), actor="ada")
    assert moves(house, name) == [(1, 1, "confirmed")]


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v3", "V12", "a b", "", "@", "ü", "a/b", "x" * 256])
def test_a_word_that_cannot_be_an_alias_is_refused(house: House, name: str, alias: str) -> None:
    with pytest.raises(Invalid, match="cannot be an alias"):
        house.models.promote(name, alias, AliasTarget(version=1), actor="ada")


def test_promoting_what_is_not_there(house: House, name: str) -> None:
    with pytest.raises(NotFound, match="There is no model"):
        house.models.promote(name, "champion", AliasTarget(version=1), actor="ada")
    register(house, name)
    with pytest.raises(NotFound, match=r"has no version 9\. Its newest is 1\."):
        house.models.promote(name, "champion", AliasTarget(version=9), actor="ada")
    with pytest.raises(NotFound, match="has no alias @champion"):
        house.models.remove_alias(name, "champion", actor="ada")
    with pytest.raises(NotFound, match=r"has no alias @champion\. Its aliases: none"):
        house.models.get_version(name, "@champion")
    assert moves(house, name) == []


@pytest.mark.parametrize("ref", ["champion", "0", "-1", "1.0", "@", "@a b", "9999999999"])
def test_a_reference_that_is_none_is_refused(house: House, name: str, ref: str) -> None:
    with pytest.raises(Invalid, match="is no version"):
        house.models.get_version(name, ref)


@pytest.mark.parametrize("cursor", ["zzz", "é", "eyJvZmZzZXQiOiAtMX0=", "W10=", "eyJvZmZzZXQiOiAiYSJ9"])
def test_a_cursor_of_nobody_is_refused(house: House, name: str, cursor: str) -> None:
    register(house, name)
    for page in (lambda query: house.models.list_versions(name, query), house.models.list):
        with pytest.raises(Invalid, match="cursor"):
            page(ModelQuery(cursor=cursor))


@pytest.mark.parametrize("odd", ["a/b", "it's", 'say "x"', "a\x00b", "%", "x" * 300])
def test_odd_names_are_not_found(house: House, odd: str) -> None:
    with pytest.raises(NotFound):
        house.models.get_version(odd, "1")
    assert house.models.list(ModelQuery(name=f"no-{odd}")).items == []


class Cut:
    """A wire to MLflow that is cut after a method was carried out, or before."""

    def __init__(self, worker: Any, method: str, *, before: bool) -> None:
        self._worker, self._method, self._before = worker, method, before

    def call(self, method: str, **params: Any) -> Any:
        if method != self._method:
            return self._worker.call(method, **params)
        if not self._before:
            self._worker.call(method, **params)
        raise Unavailable("the wire was cut")


def cut(house: House, method: str, *, before: bool) -> None:
    wire: Any = Cut(house.models.worker, method, before=before)
    house.models.worker = wire
    house.models._moves._worker = wire


def mend(house: House) -> None:
    worker = house.models.worker._worker  # type: ignore[attr-defined]
    house.models.worker = worker
    house.models._moves._worker = worker


@pytest.mark.parametrize("before", [True, False])
def test_a_promotion_cut_off_is_settled_by_what_really_happened(house: House, name: str, before: bool) -> None:
    register(house, name)
    cut(house, "set_alias", before=before)
    with pytest.raises(Unavailable):
        house.models.promote(name, "champion", AliasTarget(version=1, reason="cut"), actor="ada")
    mend(house)
    assert moves(house, name) == ([] if before else [(None, 1, "cut")])
    assert [event["what"] for event in house.events()] == ["registered"] + ([] if before else ["promoted"])
    with house.store.read() as tx:
        assert tx.all(sa.select(alias_move).where(~alias_move.c.done)) == []


def test_a_move_of_another_server_is_waited_for_and_settled_when_abandoned(house: House, name: str) -> None:
    register(house, name)
    intent = {
        "model": name,
        "alias": "champion",
        "from_version": None,
        "to_version": 1,
        "actor": "bob",
        "reason": "other server",
        "at": now(),
        "done": False,
        "process": "process-other",
    }
    with house.store.write() as tx:
        tx.execute(sa.insert(alias_move).values(intent))
    house.models.worker.call("set_alias", name=name, alias="champion", version=1)
    assert moves(house, name) == []
    with pytest.raises(Conflict, match="being moved"):
        house.models.promote(name, "champion", AliasTarget(version=1), actor="ada")
    with house.store.write() as tx:
        tx.execute(sa.update(alias_move).values(at=now() - timedelta(minutes=5)))
    assert moves(house, name) == [(None, 1, "other server")]


def test_a_registration_cut_off_is_completed_by_the_same_key(house: House, name: str) -> None:
    job = house.job()
    cut(house, "register", before=False)
    with pytest.raises(Unavailable):
        register(house, name, job_id=job.id, idempotency_key="k")
    mend(house)
    made = register(house, name, job_id=job.id, idempotency_key="k")
    assert made.version == 1
    assert house.models.get(name).latest_version == 1
    assert [node.kind for node in house.models.lineage(name, "1").nodes] == ["job", "model_version"]
    assert [event["what"] for event in house.events()] == ["registered"]


@pytest.mark.parametrize("before", [True, False])
def test_a_registration_nobody_asks_for_again_is_repaired(house: House, name: str, before: bool) -> None:
    job = house.job()
    cut(house, "register", before=before)
    with pytest.raises(Unavailable):
        register(house, name, job_id=job.id)
    mend(house)
    with house.store.write() as tx:
        tx.execute(sa.update(registration).values(created_at=now() - timedelta(hours=2)))
    register(house, f"{name}-other")
    with house.store.read() as tx:
        assert tx.all(sa.select(registration).where(registration.c.version.is_(None))) == []
    if before:
        with pytest.raises(NotFound):
            house.models.get(name)
    else:
        assert [node.kind for node in house.models.lineage(name, "1").nodes] == ["job", "model_version"]
