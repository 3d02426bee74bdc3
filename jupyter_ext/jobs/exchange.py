"""The variables that go into a job and come out of it, and how its code fails."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Mapping
from typing import Any

from jupyter_ext.jobs.protocol import Context, Task


class Failure(Exception):
    """The attempt failed by the user's doing. Reason and message go into the outcome, ``trace`` also into the log."""

    def __init__(self, reason: str, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.trace = trace


def read_inputs(context: Context, task: Task) -> dict[str, Any]:
    """Return the variables that were sent along; none when none were.

    Raises
    ------
    Failure
        When they can't be unpickled here.
    """
    return {} if task.inputs is None else unpickle_inputs(context.objects.get(task.inputs), task)


def unpickle_inputs(data: bytes, task: Task) -> dict[str, Any]:
    """Return the variables of a pickle; see `read_inputs`."""
    import cloudpickle

    try:
        return dict(cloudpickle.loads(data))
    except Exception as error:  # unpickling runs the objects' own code, which may raise anything
        here = platform.python_version()
        hint = f" They were sent from Python {task.python}, the cluster runs {here}." if task.python != here else ""
        raise Failure(
            "inputs_unreadable",
            f"The variables sent to the job can't be read there ({type(error).__name__}: {error}).{hint} "
            "Install the same packages on the cluster, or send plain data.",
            traceback.format_exc(),
        ) from error


def pickle_result(task: Task, namespace: Mapping[str, Any]) -> bytes | None:
    """Pickle the variables that are to be brought back; None when none are.

    Raises
    ------
    Failure
        When one was not set, or can't be pickled.
    """
    if not task.fetch:
        return None
    import cloudpickle

    missing = [name for name in task.fetch if name not in namespace]
    if missing:
        names = sorted(name for name in namespace if not name.startswith("_"))[:20]
        raise Failure(
            "result_missing",
            f"The job's code ended without setting {', '.join(map(repr, missing))}, which --fetch asks for. "
            f"It set: {', '.join(names) or 'nothing'}.",
        )
    wanted = {name: namespace[name] for name in task.fetch}
    try:
        return bytes(cloudpickle.dumps(wanted))
    except Exception:  # pickling runs the objects' own code, which may raise anything
        for name, value in wanted.items():
            try:
                cloudpickle.dumps(value)
            except Exception as error:
                raise Failure(
                    "result_unpicklable",
                    f"The variable {name!r} ({type(value).__name__}) can't be sent back: it can't be pickled "
                    f"({type(error).__name__}: {error}). Fetch plain data instead, or save it with checkpoint.save().",
                ) from error
        raise
