"""``%label`` and ``%%lf``: answer a label task, and write labeling functions for it, in the notebook."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    from jupyter_ext.client import Client
    from jupyter_ext.client.labels import TaskHandle
    from jupyter_ext.labeling.functions import LabelingFunction


def complete_label(client: Client, line: str) -> list[str]:
    """Offer the names of label tasks and the options."""
    return [*(_quoted(task.name) for task in client.labels.tasks()), "--only-uncertain", "--limit"]


def complete_lf(client: Client, line: str) -> list[str]:
    """Offer the names of label tasks and the options."""
    return [*(_quoted(task.name) for task in client.labels.tasks()), "--keep", "--sample", "--gold", "--name"]


@magics_class
class LabelMagics(ClientMagics):
    """Magics of labels."""

    completers = {"label": complete_label, "lf": complete_lf}

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
        from jupyter_ext.widgets import Annotator

        arguments = parse_argstring(self.label, line)
        for option in ("only_uncertain", "limit"):
            if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
                raise UsageError(f"--{option.replace('_', '-')} must be 1 or more.")
        task = self._task(arguments.task)
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

    @magic_arguments()
    @argument("task", help="Name of a label task, or a variable that holds one; quote a name with spaces.")
    @argument("--keep", action="store_true", help="Run it on all rows and keep it, with its source, as a new version.")
    @argument("--sample", type=int, default=1_000, metavar="N", help="Rows to preview it on. Default: 1000.")
    @argument("--gold", metavar="VARIABLE", help="Known answers, key to class: a dict or a Series. Default: people's.")
    @argument("--name", help="What to call it. Default: the function's own name.")
    @cell_magic
    @told_plainly
    def lf(self, line: str, cell: str) -> Any:
        """Define a labeling function in a cell, and see what it would do before it is kept.

        ::

            %%lf spam
            def promises(row):
                return SPAM if "prize" in row.text else ABSTAIN

        The cell may use ABSTAIN, and the classes of the task by their names in capitals. Its last function counts,
        plain, decorated or made by a builder. With --keep it is run on all rows, and stored when it did not fail on
        every one.
        """
        arguments = parse_argstring(self.lf, line)
        task = self._task(arguments.task)
        function = self._defined(cell, task, arguments.name and arguments.name.strip("\"'"))
        gold = None if arguments.gold is None else self.variables.get(arguments.gold)
        if arguments.gold is not None and not hasattr(gold, "items"):
            raise UsageError(f"--gold {arguments.gold} must be a variable of keys and classes: a dict or a Series.")
        preview = task.preview(function, sample=arguments.sample, gold=None if gold is None else dict(gold.items()))
        if not arguments.keep:
            return preview
        if preview.n_errors == preview.n_rows:
            raise UsageError(f"{function.name} failed on every row, so it is not kept: {preview.error}")
        task.apply([function])
        stored = next(known for known in task.functions() if known.name == function.name)
        print(f"Kept {stored.name}, version {stored.version}: {stored.n_votes:,} votes.")
        return preview

    def _task(self, argument: str) -> TaskHandle:
        from jupyter_ext.client.labels import TaskHandle

        name = argument.strip("\"'")
        found = self.variables.get(name)
        return found if isinstance(found, TaskHandle) else self.client.labels.task(name)

    def _defined(self, cell: str, task: TaskHandle, name: str | None) -> LabelingFunction:
        """Run the cell in the notebook, and return the labeling function that it defines last."""
        from jupyter_ext.labeling import ABSTAIN, labeling_function
        from jupyter_ext.labeling.functions import LabelingFunction

        assert self.shell is not None, "magics belong to a shell"
        code = self.shell.transform_cell(cell)
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            raise UsageError(f"The cell can't be read: {error.msg} (line {error.lineno}).") from None
        space = self.shell.user_ns
        # What the notebook calls so already stays what it is.
        for constant, number in {"ABSTAIN": ABSTAIN, **_constants(task.classes)}.items():
            space.setdefault(constant, number)
        # IPython's cache keeps the lines, so that the source of what is defined here can be found.
        file = self.shell.compile.cache(code, raw_code=cell)
        exec(compile(tree, file, "exec"), space)  # noqa: S102 - the user's own cell
        for target in reversed(_targets(tree)):
            value = space.get(target)
            if isinstance(value, FunctionType):
                value = labeling_function(name=name)(value)
                space[target] = value
            if isinstance(value, LabelingFunction):
                if name is not None:
                    value.name = name
                return value
        raise UsageError("The cell defines no labeling function: write def rule(row): …, or call a builder.")


def _targets(tree: ast.Module) -> list[str]:
    names = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign):
            names += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return names


def _constants(classes: Sequence[str]) -> dict[str, int]:
    """Return class numbers by the names of classes as constants.

    Examples
    --------
    >>> _constants(["ham", "very spam!", "3"])
    {'HAM': 0, 'VERY_SPAM': 1}
    """
    names = [re.sub(r"\W+", "_", label).strip("_").upper() for label in classes]
    return {name: number for number, name in enumerate(names) if name.isidentifier() and not keyword.iskeyword(name)}


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
