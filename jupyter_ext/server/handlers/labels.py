"""Routes of labels: tasks, votes, functions, label sets."""

from __future__ import annotations

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
    Voters,
    VotesIn,
    VotesStored,
)
from jupyter_ext.server.routing import Call, route
from jupyter_ext.values import Page, Query


@route("GET", "/labels/tasks", resource="labels")
def list_tasks(call: Call, query: LabelTaskQuery) -> Page[LabelTask]:
    """List label tasks, newest first."""
    return call.workspace.labels.list_tasks(query, owner=call.user)


@route("POST", "/labels/tasks", resource="labels", status=201)
def create_task(call: Call, body: LabelTaskSpec) -> LabelTask:
    """Create a label task: a question asked of every row of a data set, and its classes.

    The same content under the same name is the task that is there; other content is a conflict.
    """
    return call.workspace.labels.create_task(body, owner=call.user)


@route("GET", "/labels/tasks/{task_id}", resource="labels")
def get_task(call: Call, task_id: str) -> LabelTask:
    """Return a label task."""
    return call.workspace.labels.get_task(task_id, owner=call.user)


@route("GET", "/labels/tasks/{task_id}/votes", resource="labels")
def list_votes(call: Call, task_id: str, query: VoteQuery) -> Page[Vote]:
    """List people's current votes on a task, newest first by when a person first voted on a row."""
    return call.workspace.labels.list_votes(task_id, query, owner=call.user)


@route("POST", "/labels/tasks/{task_id}/votes", resource="labels", status=201)
def add_votes(call: Call, task_id: str, body: VotesIn) -> VotesStored:
    """Store votes of the signed-in user: all, or none.

    A vote replaces the user's earlier one on that row; ``label: null`` withdraws it. The answer follows the commit.
    """
    return call.workspace.labels.add_votes(task_id, body, owner=call.user)


@route("GET", "/labels/tasks/{task_id}/functions", resource="labels")
def list_functions(call: Call, task_id: str, query: Query) -> Page[LabelFunction]:
    """List all versions of a task's labeling functions, newest first."""
    return call.workspace.labels.list_functions(task_id, query, owner=call.user)


@route("POST", "/labels/tasks/{task_id}/functions", resource="labels", status=201)
def add_function(call: Call, task_id: str, body: FunctionSpec) -> LabelFunction:
    """Store a labeling function with its votes on the task's data.

    ``votes_blob`` names an uploaded Parquet with the columns ``key`` (text) and ``vote`` (class number), a row a vote;
    rows on which the function abstains are left out. A new digest or new votes under a name is its next version.
    """
    return call.workspace.labels.add_function(task_id, body, owner=call.user)


@route("GET", "/labels/tasks/{task_id}/voters", resource="labels")
def list_voters(call: Call, task_id: str) -> Voters:
    """List everybody who votes on a task: people, and the newest versions of functions and models."""
    return call.workspace.labels.voters(task_id, owner=call.user)


@route("GET", "/labels/sets", resource="labels")
def list_label_sets(call: Call, query: LabelSetQuery) -> Page[LabelSet]:
    """List label sets, newest first."""
    return call.workspace.labels.list_sets(query, owner=call.user)


@route("POST", "/labels/sets", resource="labels", status=201)
def freeze_label_set(call: Call, body: LabelSetSpec) -> LabelSet:
    """Freeze a label set.

    ``blob`` names an uploaded Parquet with one row for each row of the task's data set: ``key`` (text), ``label`` (a
    class, or null), and a probability for each class, ``p_0``, ``p_1`` and so on in the order of the task's classes.
    """
    return call.workspace.labels.freeze(body, owner=call.user)


@route("GET", "/labels/sets/{label_set_id}", resource="labels")
def get_label_set(call: Call, label_set_id: str) -> LabelSet:
    """Return a label set."""
    return call.workspace.labels.get_set(label_set_id, owner=call.user)


@route("POST", "/labels/sets/{label_set_id}/restore", resource="labels", status=201)
def restore_label_set(call: Call, label_set_id: str) -> LabelSet:
    """Make a version of a label set the newest again, as the next version of its name."""
    return call.workspace.labels.restore(label_set_id, owner=call.user)
