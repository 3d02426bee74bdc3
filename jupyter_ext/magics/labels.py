"""``%label``: answer a label task in the notebook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    from jupyter_ext.client import Client
    from jupyter_ext.client.labels import TaskHandle


def complete_label(client: Client, line: str) -> list[str]:
    """Offer the names of label tasks and the options."""
    return [*(_quoted(task.name) for task in client.labels.tasks()), "--only-uncertain", "--limit"]


@magics_class
class LabelMagics(ClientMagics):
    """Magics of labels."""

    completers = {"label": complete_label}

    @magic_arguments()
    @argument("task", help="Name of a label task, or a variable that holds one; quote a name with spaces.")
    @argument(
        "--only-uncertain",
        type=int,
        metavar="N",
        help="Ask for the N rows that the label model is least sure of, given the votes so far.",
    )
    @argument("--limit", type=int, metavar="N", help="Ask for the first N rows that you have not answered.")
    @argument("--columns", metavar="A,B,…", help="Show these columns only.")
    @line_magic
    @told_plainly
    def label(self, line: str) -> Any:
        """Open the annotation widget on a task. A vote counts once the server has stored it."""
        from jupyter_ext.client.labels import TaskHandle
        from jupyter_ext.widgets import Annotator

        arguments = parse_argstring(self.label, line)
        for option in ("only_uncertain", "limit"):
            if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
                raise UsageError(f"--{option.replace('_', '-')} must be 1 or more.")
        name = arguments.task.strip("\"'")
        found = self.variables.get(name)
        task = found if isinstance(found, TaskHandle) else self.client.labels.task(name)
        frame = task.dataset.frame()
        # Keys travel as text; the widget shows the frame's own values.
        own = dict(zip(task.dataset.keys, frame[task.dataset.key], strict=True))
        mine = {own[vote.key]: vote.label for vote in task.answers(voter=task.value.owner)}
        keys = _order(task, {key for key, value in own.items() if value in mine}, arguments)
        if not keys:
            raise UsageError(f"Every row of task {task.name!r} has your answer already.")
        return Annotator(
            frame,
            key=task.dataset.key,
            columns=arguments.columns.split(",") if arguments.columns else None,
            task=task,
            votes=mine,
            order=[own[key] for key in keys],
        )


def _order(task: TaskHandle, answered: set[str], arguments: Any) -> list[str]:
    if arguments.only_uncertain is not None:
        keys = task.uncertain(arguments.only_uncertain)
    elif arguments.limit is not None:
        keys = [key for key in task.dataset.keys if key not in answered]
    else:
        keys = list(task.dataset.keys) if len(answered) < task.dataset.n_rows else []
    return keys[: arguments.limit]


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\s]+", name) else f'"{name}"'
