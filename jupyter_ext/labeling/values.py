"""Values of labels: tasks, people's votes, functions with their votes, frozen label sets."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, field_validator

from jupyter_ext.values import Digest, Name, Query, Text, Value

#: What a class is called, in any language; no control characters, which some databases refuse.
ClassName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]

#: What a voter is called: a function may bear its pattern, or the words it looks for.
VoterName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class LabelTaskSpec(Value):
    """A question asked of every row of a data set, and its possible answers."""

    name: Name
    dataset_id: str
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=10_000)]
    description: Text = ""

    @field_validator("classes")
    @classmethod
    def _classes_are_unique(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("the classes must differ from each other")
        return classes


class LabelTask(LabelTaskSpec):
    """A stored task. Class number ``i`` in vote matrices is ``classes[i]``."""

    id: str
    owner: str
    created_at: datetime


class VoteIn(Value):
    """One person's answer for one row. ``label`` None withdraws the vote (undo)."""

    key: Annotated[str, Field(min_length=1, max_length=500)]
    label: ClassName | None


class VotesIn(Value):
    """A batch of votes of the signed-in user: all are stored, or none."""

    votes: Annotated[list[VoteIn], Field(min_length=1, max_length=10_000)]


class VotesStored(Value):
    """The acknowledgement, sent after the commit."""

    stored: int
    withdrawn: int


class Vote(Value):
    """A person's current vote."""

    task_id: str
    key: str
    voter: str
    label: str
    updated_at: datetime


class VoteQuery(Query):
    """Filter of a task's votes."""

    limit: int = Field(default=500, ge=1, le=10_000)
    voter: str | None = None


class FunctionSpec(Value):
    """A labeling function or a model as it was run on the task's data: its source and its column of votes.

    The source of a model is what it is known by, ``models:/topics/3`` for instance.
    """

    name: VoterName
    kind: Literal["function", "model"] = "function"
    digest: Digest
    source: Annotated[str, Field(max_length=200_000)]
    votes_blob: Digest
    n_votes: Annotated[int, Field(ge=0)]
    n_errors: Annotated[int, Field(ge=0, le=2**53)] = 0
    polarity: tuple[str, ...] = ()


class LabelFunction(FunctionSpec):
    """A stored function. The version counts up when the digest under the same name changes."""

    id: str
    task_id: str
    version: int
    owner: str
    created_at: datetime


class Voter(Value):
    """Who votes on a task: a person, or the newest version of a function or model."""

    name: str
    kind: Literal["function", "model", "person"]
    n_votes: int
    version: int | None = None
    function_id: str | None = None
    updated_at: datetime


class Voters(Value):
    """All voters of a task: people first, then functions and models, each by name."""

    items: list[Voter]


class LabelSetSpec(Value):
    """A frozen result: Parquet with columns ``key``, ``label`` and ``p_<class number>``, and how it came about."""

    name: Name
    task_id: str
    blob: Digest
    method: Name
    params: dict[str, Any] = {}
    functions: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    agreement: FiniteFloat | None = None
    metrics: dict[str, FiniteFloat] = {}
    description: Text = ""

    @field_validator("params")
    @classmethod
    def _params_are_json(cls, params: dict[str, Any]) -> dict[str, Any]:
        json.dumps(params, allow_nan=False)  # NaN and infinity are not JSON; this raises the ValueError that tells it
        return params


class LabelSet(LabelSetSpec):
    """A stored, immutable version of a label set. ``n_labeled`` is counted by the server from the Parquet."""

    id: str
    version: int
    dataset_id: str
    n_items: int
    n_labeled: int
    owner: str
    created_at: datetime


class LabelTaskQuery(Query):
    """Filter of tasks."""

    name: str | None = None
    dataset_id: str | None = None


class LabelSetQuery(Query):
    """Filter of label sets."""

    name: str | None = None
    task_id: str | None = None
