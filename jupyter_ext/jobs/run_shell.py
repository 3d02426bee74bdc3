"""Jobs that are a command: run in a shell, in a process group of their own."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from typing import IO

from jupyter_ext.jobs.capture import write_all
from jupyter_ext.jobs.exchange import Failure
from jupyter_ext.jobs.processes import Group
from jupyter_ext.jobs.protocol import Context, Task
from jupyter_ext.jobs.stop import Terminated, grace_for_children, notice

_READ_BYTES = 64 * 1024
_TAIL_BYTES = 4096
_LAST_LINE = 300
#: How often to look whether the command has ended while it says nothing.
_LOOK_S = 0.05
#: How long what the command has left behind has to end by itself.
_LEFT_BEHIND_S = 2.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def run_shell(context: Context, task: Task) -> None:
    """Run a task's source with ``bash -c`` (``/bin/sh -c`` where there is no bash).

    Its output goes where ours goes. When we are told to stop, so is every process of its group; what is left when the
    time is over, or when the command has ended, is killed.

    Raises
    ------
    Failure
        When its exit code is not 0.
    Terminated
        When it ended because it was told to stop.
    """
    # Asking keeps us from being torn when the notice comes: the processes have the time, and we wait for them.
    if notice.stopping():
        raise Terminated("It was told to stop before the command began.")
    process = subprocess.Popen(  # noqa: S603 - running the user's command is what a job is
        [shutil.which("bash") or "/bin/sh", "-c", task.source],
        env=_environment(context, task),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout, Group(process.pid) as group, notice.on_stop(group.tell_stop):
        if notice.told:
            group.tell(signal.SIGTERM)
        tail = _hand_on(process, process.stdout, group)
        group.end(0.0 if notice.told else _LEFT_BEHIND_S)
        code = process.wait()
    if notice.told:
        raise Terminated("The command was told to stop.")
    if code:
        raise _failure(code, tail)


def _environment(context: Context, task: Task) -> dict[str, str]:
    environment = {"PYTHONUNBUFFERED": "1", **os.environ}
    # `python` is the cluster's: the one that has the same packages as this one.
    here = os.path.dirname(sys.executable)
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    environment["PATH"] = os.pathsep.join([here, *(folder for folder in folders if folder != here)])
    for name, value in task.parameters.items():
        environment[name] = value if isinstance(value, str) else json.dumps(value)
    return environment | context.environ() | grace_for_children()


def _hand_on(process: subprocess.Popen[bytes], output: IO[bytes], group: Group) -> bytes:
    """Write what the command says to our standard output until it has ended; return the end of it."""
    tail = b""
    while True:
        if select.select([output], [], [], _LOOK_S)[0]:
            data = os.read(output.fileno(), _READ_BYTES)
            if not data:
                process.wait()
                return tail
            write_all(1, data)
            tail = (tail + data)[-_TAIL_BYTES:]
        elif process.poll() is not None and not (notice.told and group.alive):
            return tail


def _failure(code: int, tail: bytes) -> Failure:
    """Tell how a command failed.

    Examples
    --------
    >>> print(_failure(3, b"reading\\nno such table\\n"))
    The command ended with exit code 3. Its last line: no such table
    >>> print(_failure(-9, b""))
    The command was killed by SIGKILL. When that repeats, ask for more memory with --memory.
    >>> print(_failure(139, b""))
    A process of the command was killed by SIGSEGV (exit code 139).
    """
    lines = [_CONTROL.sub("", line).strip() for line in re.split(r"[\r\n]+", tail.decode("utf-8", "replace"))]
    last = next((line for line in reversed(lines) if line), "")
    said = f" Its last line: {last[:_LAST_LINE]}" if last else ""
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return Failure("exit", f"The command ended with exit code {code}.{said}")
    if code < 0:
        told = f"The command was killed by {name}."
    else:
        told = f"A process of the command was killed by {name} (exit code {code})."
    hint = " When that repeats, ask for more memory with --memory." if number == signal.SIGKILL else ""
    return Failure("killed", told + hint + said)
