"""Jobs that are a notebook: executed cell by cell in a kernel of its own, which is a process of its own.

What runs in the runner comes first; `begin` and `finish`, at the end, run in the kernel. The two exchange files in a
temporary folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.jobs.capture import write_all
from jupyter_ext.jobs.exchange import Failure, pickle_result, unpickle_inputs
from jupyter_ext.jobs.patience import until
from jupyter_ext.jobs.processes import Group
from jupyter_ext.jobs.protocol import Context, Task, attempt_path
from jupyter_ext.jobs.report import progress
from jupyter_ext.jobs.stop import Terminated, grace_for_children, notice

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: The tags of the cell that holds the defaults of parameters, and of the one that is put after it; papermill's.
_DEFAULTS, _INJECTED = "parameters", "injected-parameters"
#: The executed notebook is stored at most so often, and so that storing takes at most this share of the time.
_STORE_EVERY_S, _STORE_SHARE = 1.0, 0.1
_STORE_PATIENCE_S = 30.0
#: The time that a kernel has for its end after the last cell, before it is killed.
_END_S = 30.0
#: The path of a socket has 108 characters.
_SOCKET_FOLDER = 90
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Said in the kernel; it leaves no name behind there.
_SAY = "__import__('importlib').import_module('jupyter_ext.jobs.run_notebook').{function}({folder!r})"


def run_notebook(context: Context, task: Task) -> bytes | None:
    """Execute a task's source, a notebook as JSON, and pickle the variables that it is to give back.

    What its cells print goes where our output goes. The executed notebook is stored after every cell as
    ``notebook.ipynb`` of the attempt.

    Raises
    ------
    Failure
        When a cell raises, or the source is no notebook for Python.
    Terminated
        When it ended because it was told to stop.
    """
    notebook = inject(parse(task.source), task.parameters)
    # Asking keeps us from being torn when the notice comes: the kernel has the time, and we wait for it.
    if notice.stopping():
        raise Terminated("It was told to stop before the notebook began.")
    store = _Store(context, notebook)
    with tempfile.TemporaryDirectory(prefix="jupyter-ext-notebook-") as name:
        folder = Path(name)
        (folder / "task.json").write_text(task.model_dump_json())
        if task.inputs is not None:
            (folder / "inputs.pkl").write_bytes(context.objects.get(task.inputs))
        try:
            asyncio.run(_Execution(notebook, folder, store).run())
        except BaseException:
            store.last()
            raise
        store.last()
        result = folder / "result.pkl"
        return result.read_bytes() if result.exists() else None


def parse(source: str) -> NotebookNode:
    """Read a notebook in Python, of any version of the format.

    Raises
    ------
    Failure
        When it is none.

    Examples
    --------
    >>> parse('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}').cells
    []
    >>> parse("print(1)")
    Traceback (most recent call last):
    jupyter_ext.jobs.exchange.Failure: The source can't be read as a notebook: ...
    """
    import nbformat

    try:
        if "nbformat" not in json.loads(source):
            raise ValueError("it does not name its format")  # the reader would take it for an empty one of version 1
        notebook: NotebookNode = nbformat.v4.upgrade(nbformat.reads(source, as_version=4))
        nbformat.validate(notebook)
    except Exception as error:  # a broken file fails wherever the reader first misses something
        said = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise Failure("notebook_unreadable", f"The source can't be read as a notebook: {said[:500]}") from error
    metadata = notebook.metadata
    language = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    if language and language.lower() not in ("python", "ipython"):
        raise Failure("notebook_language", f"The notebook is written in {language}; jobs execute notebooks in Python.")
    return notebook


def inject(notebook: NotebookNode, parameters: dict[str, Any]) -> NotebookNode:
    """Put a cell that sets parameters after the one that is tagged ``parameters``, or first where there is none.

    Examples
    --------
    >>> empty = parse('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    >>> print(inject(empty, {"rate": 0.5, "names": ["a", None]}).cells[0].source)
    # Parameters
    rate = 0.5
    names = ['a', None]
    """
    import nbformat

    if not parameters:
        return notebook
    lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in parameters.items())]
    cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": [_INJECTED]})
    tags = [set(cell.metadata.get("tags", ())) for cell in notebook.cells]
    # Of an executed notebook that is executed again, the cell of the former execution.
    old = [index for index, found in enumerate(tags) if _INJECTED in found]
    defaults = [index for index, found in enumerate(tags) if _DEFAULTS in found]
    if old:
        notebook.cells[old[0]] = cell
    else:
        notebook.cells.insert(defaults[0] + 1 if defaults else 0, cell)
    return notebook


class _Store:
    """Stores the executed notebook."""

    def __init__(self, context: Context, notebook: NotebookNode) -> None:
        self._objects = context.objects
        self._path = attempt_path(context.job_id, context.attempt, "notebook.ipynb")
        self._notebook = notebook
        self._due = 0.0

    def now_and_then(self) -> None:
        """Store it, unless it was stored a moment ago. While the storage fails, the notebook goes on."""
        began = time.monotonic()
        if began < self._due:
            return
        try:
            self._put()
        except JupyterExtError as error:
            print(f"[job] The executed notebook can't be stored now: {error}", file=sys.stderr)
        ended = time.monotonic()
        self._due = ended + max(_STORE_EVERY_S, (ended - began) / _STORE_SHARE)

    def last(self) -> None:
        """Store it as it is at the end."""
        try:
            until(self._put, notice.remaining(_STORE_PATIENCE_S))
        except JupyterExtError as error:
            print(f"[job] The executed notebook could not be stored: {error}", file=sys.stderr)

    def _put(self) -> None:
        import nbformat

        self._objects.put(self._path, nbformat.writes(self._notebook).encode("utf-8", "backslashreplace"))


class _Execution:
    """One execution of a notebook in a kernel of this Python."""

    def __init__(self, notebook: NotebookNode, folder: Path, store: _Store) -> None:
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        execution = self

        class Client(NotebookClient):
            def output(self, outs: Any, msg: Any, display_id: Any, cell_index: Any) -> Any:
                if msg["msg_type"] == "stream":
                    execution.heard(msg["content"]["name"], msg["content"]["text"])
                return super().output(outs, msg, display_id, cell_index)

        manager = AsyncKernelManager(connection_file=str(folder / "connection.json"))
        # Sockets in our own folder: ports may be taken by another job's kernel at the same moment, and are everybody's.
        if len(str(folder)) < _SOCKET_FOLDER:
            manager.transport, manager.ip = "ipc", str(folder / "kernel")
        # Not the one that the notebook names: what is installed on the cluster is in this Python.
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        manager._kernel_spec = KernelSpec(argv=command, display_name="Job", language="python")
        self._notebook = notebook
        self._folder = folder
        self._store = store
        self._manager = manager
        self._client = Client(notebook, km=manager, timeout=None, coalesce_streams=True)
        self._reports_itself = False
        self._number = 0

    def heard(self, name: str, text: str) -> None:
        """Hand on what a cell prints."""
        if "[progress] " in text:
            self._reports_itself = True
        write_all(2 if name == "stderr" else 1, text.encode("utf-8", "backslashreplace"))

    async def run(self) -> None:
        """Execute all of it."""
        from nbclient.exceptions import DeadKernelError

        await self._client.async_start_new_kernel(env={**os.environ, **grace_for_children()})
        provisioner: Any = self._manager.provisioner
        with Group(provisioner.pid) as group, notice.on_stop(group.tell_stop):
            try:
                await self._connect()
                await self._say("begin")
                await self._cells()
                await self._say("finish")
                self._client.set_widgets_metadata()
            except DeadKernelError as error:
                raise await self._death() from error
            finally:
                await self._shut_down()

    async def _connect(self) -> None:
        try:
            await self._client.async_start_new_kernel_client()
        except RuntimeError as error:
            if notice.told:
                raise Terminated("It was told to stop before the notebook began.") from error
            raise Failure("kernel_failed", f"No kernel could be started: {error}. The log may say why.") from error

    async def _shut_down(self) -> None:
        if self._client.kc is None:
            return
        provisioner = self._manager.provisioner
        if not notice.told and provisioner is not None:
            # `shutdown_kernel` would interrupt it, and tell it to stop when it takes its time on a busy machine: the
            # kernel complains of both in the log. At a regular end what was registered with `atexit` is called, and
            # Ray, where it is used in the kernel, hands on its workers' last words.
            await self._manager.request_shutdown()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(provisioner.wait(), _END_S)
        self._client.shutdown_kernel = "immediate"
        await self._client._async_cleanup_kernel()

    async def _cells(self) -> None:
        from nbclient.exceptions import CellExecutionError

        cells = [(index, cell) for index, cell in enumerate(self._notebook.cells) if _is_executed(cell)]
        if cells:
            progress(0, len(cells))
        for number, (index, cell) in enumerate(cells, start=1):
            self._number = number
            try:
                await self._client.async_execute_cell(cell, index)
            except CellExecutionError as error:
                if notice.told:
                    raise Terminated("A cell was told to stop.") from error
                if error.ename == "SystemExit" and error.evalue in ("", "0", "None"):
                    return
                raise _failure(error.ename, error.evalue, number, cell.outputs) from error
            if notice.told:
                raise Terminated("It was told to stop between two cells.")
            if not self._reports_itself:
                progress(number, len(cells))
            self._store.now_and_then()

    async def _say(self, function: str) -> None:
        """Have one of our functions called in the kernel."""
        assert self._client.kc is not None
        said = _SAY.format(function=function, folder=str(self._folder))
        reply = await self._client.async_wait_for_reply(self._client.kc.execute(said, silent=True))
        failure = self._folder / "failure.json"
        if failure.exists():
            raise Failure(**json.loads(failure.read_text()))
        if notice.told:
            raise Terminated("It was told to stop between two cells.")
        assert reply is not None
        if reply["content"]["status"] != "ok":
            raise _failure(reply["content"]["ename"], reply["content"]["evalue"])

    async def _death(self) -> Exception | Terminated:
        """Return what to raise for a kernel that is no more."""
        if notice.told:
            return Terminated("The kernel was told to stop.")
        provisioner = self._manager.provisioner
        code = await provisioner.poll() if provisioner is not None else None
        where = _where(self._number)
        if code is None or code >= 0:
            return Failure("exit", f"The kernel ended with exit code {code or 0}{where}.")
        hint = " When that repeats, ask for more memory with --memory." if code == -signal.SIGKILL else ""
        return Failure("killed", f"The kernel was killed by {signal.Signals(-code).name}{where}.{hint}")


def _is_executed(cell: NotebookNode) -> bool:
    skipped = "skip-execution" in cell.metadata.get("tags", ())
    return bool(cell.cell_type == "code" and cell.source.strip() and not skipped)


def _where(number: int) -> str:
    """Name a cell by the number that stands before it: In [3]."""
    return f" (cell {number})" if number else ""


def _failure(name: str, value: str, number: int = 0, outputs: Iterable[NotebookNode] = ()) -> Failure:
    traces = ["\n".join(output.traceback) for output in outputs if output.output_type == "error"]
    trace = _ANSI.sub("", traces[-1]) if traces else f"{name}: {value}"
    if name == "SystemExit":
        return Failure("exit", f"The notebook called sys.exit({value}){_where(number)}.", trace)
    first = _ANSI.sub("", value).strip().partition("\n")[0] or "(no message)"
    return Failure("user_error", f"{name}: {first}"[:1900] + _where(number), trace)


# In the kernel:


def begin(folder: str) -> None:
    """Bring the variables that were sent along into the kernel's namespace, and listen for the notice to stop."""
    notice.listen()
    inputs = Path(folder) / "inputs.pkl"
    with _failures_told(folder) as task:
        if inputs.exists():
            _shell().user_ns.update(unpickle_inputs(inputs.read_bytes(), task))


def finish(folder: str) -> None:
    """Pickle the variables that are to be brought back."""
    with _failures_told(folder) as task:
        shell = _shell()
        hidden = shell.user_ns_hidden
        namespace = {name: value for name, value in shell.user_ns.items() if hidden.get(name, shell) is not value}
        result = pickle_result(task, namespace)
        if result is not None:
            (Path(folder) / "result.pkl").write_bytes(result)


@contextlib.contextmanager
def _failures_told(folder: str) -> Iterator[Task]:
    try:
        yield Task.model_validate_json((Path(folder) / "task.json").read_text())
    except Failure as failure:
        facts = {"reason": failure.reason, "message": str(failure), "trace": failure.trace}
        (Path(folder) / "failure.json").write_text(json.dumps(facts))


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()
