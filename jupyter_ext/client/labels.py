"""Labels from Python: tasks with the votes of people and functions, and label sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_ext.client._label_sets import LabelSetHandle
from jupyter_ext.client._label_tasks import TaskHandle
from jupyter_ext.client._transport import segment
from jupyter_ext.client.datasets import DatasetHandle
from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.labeling.values import LabelSet, LabelTask, LabelTaskSpec

if TYPE_CHECKING:
    from jupyter_ext.client import Client

__all__ = ["LabelSetHandle", "Labels", "TaskHandle"]


class Labels:
    """Label tasks and label sets of the workspace: ``client.labels``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def task(
        self,
        name: str,
        dataset: DatasetHandle | str | None = None,
        classes: Sequence[str] | None = None,
        description: str = "",
    ) -> TaskHandle:
        """Return the task ``name``, and create it when a data set and classes are given.

        Parameters
        ----------
        dataset
            A handle, or the name of a data set (its newest version).
        classes
            The possible answers. Class number ``i`` in votes is ``classes[i]``.

        Raises
        ------
        NotFound
            No such task, and nothing to create it from.
        Conflict
            The name is taken by a task with other content.
        """
        if dataset is None and classes is None:
            found = self.tasks(name)
            if not found:
                raise NotFound(
                    f"There is no label task {name!r}. Create it: client.labels.task({name!r}, dataset, classes=[…])."
                )
            return found[0]
        if dataset is None or classes is None:
            raise Invalid("A new task needs both: a data set and its classes.")
        if isinstance(dataset, str):
            dataset = self._client.datasets.get(dataset)
        if isinstance(classes, str):
            raise Invalid(f"classes must be a list of names, not the text {classes!r}.")
        spec = LabelTaskSpec(name=name, dataset_id=dataset.id, classes=tuple(classes), description=description)
        return TaskHandle(self._client, LabelTask.model_validate(self._client.transport.post("labels/tasks", spec)))

    def tasks(self, name: str | None = None) -> list[TaskHandle]:
        """Return all tasks, newest first."""
        items = self._client.transport.pages("labels/tasks", name=name, limit=500)
        return [TaskHandle(self._client, LabelTask.model_validate(item)) for item in items]

    def sets(self, name: str | None = None) -> list[LabelSetHandle]:
        """Return all label sets, or all versions of one, newest first."""
        items = self._client.transport.pages("labels/sets", name=name, limit=500)
        return [LabelSetHandle(self._client, LabelSet.model_validate(item)) for item in items]

    def set(self, name: str, version: int | None = None) -> LabelSetHandle:
        """Return a label set by name: the newest version, or the given one."""
        for handle in self.sets(name):
            if version is None or handle.version == version:
                return handle
        raise NotFound(f"There is no label set {name!r}{'' if version is None else f' version {version}'}.")

    def set_by_id(self, label_set_id: str) -> LabelSetHandle:
        """Return a label set by its id."""
        item = self._client.transport.get(f"labels/sets/{segment(label_set_id)}")
        return LabelSetHandle(self._client, LabelSet.model_validate(item))
