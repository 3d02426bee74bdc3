"""Labels: tasks, people's votes, functions with their votes, frozen label sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from traitlets.config import LoggingConfigurable

from jupyter_ext.datasets.parquet import open_parquet
from jupyter_ext.datasets.service import DatasetService
from jupyter_ext.datasets.values import Dataset
from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.labeling.checks import function_votes, label_set_columns, require_labels
from jupyter_ext.labeling.tables import label_function, label_set, label_task, label_vote
from jupyter_ext.labeling.values import (
    FunctionSpec,
    LabelFunction,
    LabelSet,
    LabelSetQuery,
    LabelSetSpec,
    LabelTask,
    LabelTaskQuery,
    LabelTaskSpec,
    Vote,
    VoteQuery,
    Voter,
    Voters,
    VotesIn,
    VotesStored,
)
from jupyter_ext.store import Store, Transaction, now, paginate
from jupyter_ext.values import Page, Query, new_id

_INSERT: dict[str, Callable[[sa.Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class LabelService(LoggingConfigurable):
    """Keeps what people and functions said, and the label sets made of it.

    Votes are acknowledged when they are committed. Functions and label sets only ever gain versions.
    """

    def __init__(self, store: Store, *, datasets: DatasetService, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.datasets = datasets

    # Tasks

    def create_task(self, spec: LabelTaskSpec, *, owner: str) -> LabelTask:
        """Create a task; the same content under the same name is the task that is there.

        Raises
        ------
        NotFound
            There is no such data set.
        Conflict
            The name is taken by a task with another data set, other classes or another description.
        """
        self.datasets.get(spec.dataset_id, owner=owner)
        return self._create_task(spec, owner)

    def get_task(self, task_id: str, *, owner: str) -> LabelTask:
        """Return a task by its id."""
        with self.store.read() as tx:
            return _visible_task(tx, task_id, owner)

    def list_tasks(self, query: LabelTaskQuery, *, owner: str) -> Page[LabelTask]:
        """Return tasks, newest first."""
        statement = sa.select(label_task).where(label_task.c.owner == owner)
        if query.name is not None:
            statement = statement.where(label_task.c.name == query.name)
        if query.dataset_id is not None:
            statement = statement.where(label_task.c.dataset_id == query.dataset_id)
        return self._page(statement, label_task.c.id, query, LabelTask)

    # Votes of people

    def add_votes(self, task_id: str, body: VotesIn, *, owner: str) -> VotesStored:
        """Store votes of ``owner``, or withdraw them (``label`` None): all, or none. A new vote replaces an older one.

        Raises
        ------
        Invalid
            A label is outside the task's classes, or a key is not in its data set.
        """
        task = self.get_task(task_id, owner=owner)
        newest = {vote.key: vote.label for vote in body.votes}
        require_labels([label for label in newest.values() if label is not None], task.classes, task.name)
        self.datasets.require_keys(self._dataset(task), list(newest))
        # In one order everywhere, so that two tabs of one person can't wait for each other.
        given = [(key, label) for key, label in sorted(newest.items(), key=lambda vote: vote[0]) if label is not None]
        withdrawn = sorted(key for key, label in newest.items() if label is None)
        moment = now()
        with self.store.write() as tx:
            if given:
                insert = _INSERT[self.store.database.dialect](label_vote)
                tx.execute(
                    insert.on_conflict_do_update(
                        index_elements=["task_id", "key", "voter"],
                        set_={"label": insert.excluded.label, "updated_at": insert.excluded.updated_at},
                    ),
                    [
                        {"task_id": task.id, "key": key, "voter": owner, "label": label, "updated_at": moment}
                        for key, label in given
                    ],
                )
            if withdrawn:
                tx.execute(
                    sa.delete(label_vote).where(
                        label_vote.c.task_id == task.id,
                        label_vote.c.voter == owner,
                        label_vote.c.key == sa.bindparam("withdrawn_key"),
                    ),
                    [{"withdrawn_key": key} for key in withdrawn],
                )
            tx.emit("label", {"task_id": task.id, "what": "votes", "owner": owner, "count": len(newest)})
        return VotesStored(stored=len(given), withdrawn=len(withdrawn))

    def list_votes(self, task_id: str, query: VoteQuery, *, owner: str) -> Page[Vote]:
        """Return people's current votes, newest first by the first vote on a row: paging misses no change."""
        with self.store.read() as tx:
            _visible_task(tx, task_id, owner)
        statement = sa.select(label_vote).where(label_vote.c.task_id == task_id)
        if query.voter is not None:
            statement = statement.where(label_vote.c.voter == query.voter)
        return self._page(statement, label_vote.c.id, query, Vote)

    # Functions

    def add_function(self, task_id: str, spec: FunctionSpec, *, owner: str) -> LabelFunction:
        """Store a function with its votes. What equals the newest version of its name is that one; else it is the next.

        Raises
        ------
        Invalid
            The votes are mis-shaped, outside the classes, or for rows that are not in the data set.
        """
        task = self.get_task(task_id, owner=owner)
        dataset = self._dataset(task)
        require_labels(spec.polarity, task.classes, task.name)
        with open_parquet(self.store, spec.votes_blob, f"function {spec.name!r}") as file:
            keys = function_votes(file, n_classes=len(task.classes), n_rows=dataset.n_rows, n_votes=spec.n_votes)
        self.datasets.require_keys(dataset, keys)
        return self._next_function(task, spec, owner)

    def list_functions(self, task_id: str, query: Query, *, owner: str) -> Page[LabelFunction]:
        """Return all versions of a task's functions, newest first."""
        with self.store.read() as tx:
            _visible_task(tx, task_id, owner)
        statement = sa.select(label_function).where(label_function.c.task_id == task_id)
        return self._page(statement, label_function.c.id, query, LabelFunction)

    def voters(self, task_id: str, *, owner: str) -> Voters:
        """Return everybody who votes on a task, whatever they are, with how much they said."""
        newest = (
            sa.select(label_function.c.name, sa.func.max(label_function.c.version).label("version"))
            .where(label_function.c.task_id == task_id)
            .group_by(label_function.c.name)
            .subquery()
        )
        with self.store.read() as tx:
            _visible_task(tx, task_id, owner)
            people = tx.all(
                sa.select(
                    label_vote.c.voter.label("name"),
                    sa.func.count().label("n_votes"),
                    sa.func.max(label_vote.c.updated_at, type_=label_vote.c.updated_at.type).label("updated_at"),
                )
                .where(label_vote.c.task_id == task_id)
                .group_by(label_vote.c.voter)
                .order_by(label_vote.c.voter)
            )
            functions = tx.all(
                sa.select(
                    label_function.c.id.label("function_id"),
                    label_function.c.name,
                    label_function.c.kind,
                    label_function.c.version,
                    label_function.c.n_votes,
                    label_function.c.created_at.label("updated_at"),
                )
                .join(
                    newest,
                    (newest.c.name == label_function.c.name) & (newest.c.version == label_function.c.version),
                )
                .where(label_function.c.task_id == task_id)
                .order_by(label_function.c.name)
            )
        return Voters(items=[*(Voter(kind="person", **row) for row in people), *(Voter(**row) for row in functions)])

    # Label sets

    def freeze(self, spec: LabelSetSpec, *, owner: str) -> LabelSet:
        """Store a label set. What equals the newest version of the name is that version; else it is the next.

        Raises
        ------
        Invalid
            The file's rows are not exactly the data set's, a label is outside the classes, a probability is none, or a
            function is not one of the task's.
        """
        task = self.get_task(spec.task_id, owner=owner)
        dataset = self._dataset(task)
        self._require_functions(task, spec.functions)
        with open_parquet(self.store, spec.blob, f"label set {spec.name!r}") as file:
            keys, n_labeled = label_set_columns(file, classes=task.classes, n_rows=dataset.n_rows, task=task.name)
        self.datasets.require_keys(dataset, keys)
        facts = {
            **spec.model_dump(mode="json"),
            "owner": owner,
            "dataset_id": dataset.id,
            "n_items": dataset.n_rows,
            "n_labeled": n_labeled,
        }
        return self._next_set(facts)

    def get_set(self, label_set_id: str, *, owner: str) -> LabelSet:
        """Return a label set by its id."""
        with self.store.read() as tx:
            row = tx.one_or_none(sa.select(label_set).where(label_set.c.id == label_set_id, label_set.c.owner == owner))
        if row is None:
            raise NotFound(f"There is no label set {label_set_id!r}.", label_set_id=label_set_id)
        return LabelSet(**row)

    def restore(self, label_set_id: str, *, owner: str) -> LabelSet:
        """Make a version of a label set the newest again: the same content as the next version of its name.

        The newest version itself stays as it is.
        """
        kept = self.get_set(label_set_id, owner=owner)
        facts = kept.model_dump(mode="json", exclude={"id", "version", "created_at"})
        return self._next_set(facts)

    def list_sets(self, query: LabelSetQuery, *, owner: str) -> Page[LabelSet]:
        """Return label sets, newest first."""
        statement = sa.select(label_set).where(label_set.c.owner == owner)
        if query.name is not None:
            statement = statement.where(label_set.c.name == query.name)
        if query.task_id is not None:
            statement = statement.where(label_set.c.task_id == query.task_id)
        return self._page(statement, label_set.c.id, query, LabelSet)

    def _page(self, statement: Any, column: Any, query: Query, value: Any) -> Page[Any]:
        with self.store.read() as tx:
            rows, cursor = paginate(tx, statement, column, query)
        known = value.model_fields
        items = [value(**{name: cell for name, cell in row.items() if name in known}) for row in rows]
        return Page[value](items=items, next_cursor=cursor)

    def _dataset(self, task: LabelTask) -> Dataset:
        # Whoever may see a task may see its data set, which belongs to the task's owner.
        return self.datasets.get(task.dataset_id, owner=task.owner)

    def _require_functions(self, task: LabelTask, ids: tuple[str, ...]) -> None:
        with self.store.read() as tx:
            known = tx.all(sa.select(label_function.c.id).where(label_function.c.task_id == task.id))
        unknown = sorted(set(ids) - {row["id"] for row in known})
        if unknown:
            raise Invalid(f"Task {task.name!r} has no function with the id {unknown[0]!r}.", functions=unknown)

    def _create_task(self, spec: LabelTaskSpec, owner: str) -> LabelTask:
        with self.store.write() as tx:
            tx.lock("label_task", owner, spec.name)
            row = tx.one_or_none(
                sa.select(label_task).where(label_task.c.owner == owner, label_task.c.name == spec.name)
            )
            if row is not None:
                there = LabelTask(**row)
                differing = [name for name in LabelTaskSpec.model_fields if getattr(there, name) != getattr(spec, name)]
                if differing:
                    raise Conflict(
                        f"There is a task {spec.name!r} already, with another {', '.join(differing)}. "
                        "Choose another name, or ask for the same content.",
                        task_id=there.id,
                        differing=differing,
                    )
                return there
            values = {**spec.model_dump(mode="json"), "id": new_id("task"), "owner": owner, "created_at": now()}
            tx.execute(sa.insert(label_task).values(values))
        return LabelTask(**values)

    def _next_function(self, task: LabelTask, spec: FunctionSpec, owner: str) -> LabelFunction:
        with self.store.write() as tx:
            tx.lock("label_function", task.id, spec.name)
            newest = tx.one_or_none(
                sa.select(label_function)
                .where(label_function.c.task_id == task.id, label_function.c.name == spec.name)
                .order_by(label_function.c.version.desc())
                .limit(1)
            )
            if newest is not None and (newest["digest"], newest["votes_blob"]) == (spec.digest, spec.votes_blob):
                return LabelFunction(**newest)
            values = {
                **spec.model_dump(mode="json"),
                "id": new_id("lf"),
                "task_id": task.id,
                "version": newest["version"] + 1 if newest is not None else 1,
                "owner": owner,
                "created_at": now(),
            }
            tx.execute(sa.insert(label_function).values(values))
            tx.emit("label", {"task_id": task.id, "what": "function", "owner": owner, "count": spec.n_votes})
        return LabelFunction(**values)

    def _next_set(self, facts: dict[str, Any]) -> LabelSet:
        with self.store.write() as tx:
            tx.lock("label_set", facts["owner"], facts["name"])
            newest = tx.one_or_none(
                sa.select(label_set)
                .where(label_set.c.owner == facts["owner"], label_set.c.name == facts["name"])
                .order_by(label_set.c.version.desc())
                .limit(1)
            )
            if newest is not None and all(newest[name] == fact for name, fact in facts.items()):
                return LabelSet(**newest)
            values = {
                **facts,
                "id": new_id("ls"),
                "version": newest["version"] + 1 if newest is not None else 1,
                "created_at": now(),
            }
            tx.execute(sa.insert(label_set).values(values))
            tx.emit(
                "label",
                {
                    "task_id": values["task_id"],
                    "what": "label_set",
                    "owner": values["owner"],
                    "label_set_id": values["id"],
                    "count": values["n_labeled"],
                },
            )
        self.log.info(
            "Froze label set %s version %d (%d labels)", values["name"], values["version"], values["n_labeled"]
        )
        return LabelSet(**values)


def _visible_task(tx: Transaction, task_id: str, user: str) -> LabelTask:
    """Return a task that ``user`` may see and vote on. The one place that decides it."""
    row = tx.one_or_none(sa.select(label_task).where(label_task.c.id == task_id, label_task.c.owner == user))
    if row is None:
        raise NotFound(f"There is no label task {task_id!r}.", task_id=task_id)
    return LabelTask(**row)
