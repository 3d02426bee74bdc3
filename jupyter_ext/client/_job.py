"""A job's handle, and lists of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_ext.client import _job_views as views
from jupyter_ext.client import _watching
from jupyter_ext.client._outbox import KEPT_ID
from jupyter_ext.client._sources import RETURNED
from jupyter_ext.client._transport import Unreachable, segment
from jupyter_ext.errors import Conflict, JupyterExtError, Unavailable
from jupyter_ext.jobs import values
from jupyter_ext.jobs.values import Checkpoint, JobDetail, JobEvent, JobState, LogChunk, Progress

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

    from jupyter_ext.client import Client

_POLL_S = 0.5
#: How long a wait bears that the server does not answer. The job goes on anyway.
_PATIENCE_S = 300.0
_LOG_BYTES = 1_000_000
KEPT = "Kept on this machine, because the server does not answer. It will be sent, once, when it does."


class Job:
    """A submitted job. It goes on whatever happens to this object, the kernel or the notebook.

    ``print(job.logs())``, ``job.wait()``, ``job.result()``, ``await job``, ``job.cancel()``; shown as a card that says
    how it is.
    """

    def __init__(self, client: Client, value: values.Job) -> None:
        self._transport = client.transport
        self._client = client
        self._value = value
        self.id = value.id
        self.name = value.name

    def refresh(self) -> JobDetail:
        """Ask the server, and return all it knows of the job."""
        value = self._value
        if self._is_kept:
            value = self._value = self._settled()
        if not isinstance(value, JobDetail) or not (value.state.final or self._is_kept):
            value = self._value = JobDetail.model_validate(self._transport.get(self._path()))
        assert isinstance(value, JobDetail)
        return value

    @property
    def state(self) -> JobState:
        """Where the job is in its life."""
        return self._now().state

    @property
    def progress(self) -> Progress | None:
        """How far the job's code says it is."""
        return self._now().progress

    @property
    def message(self) -> str:
        """What is happening, or why it ended."""
        return self._now().message

    @property
    def parameters(self) -> dict[str, Any]:
        """The plain values that it is run with."""
        return dict(self._value.parameters)

    def wait(self, timeout: float | None = None, poll: float = _POLL_S, *, show: bool = True) -> Job:
        """Wait for the end, showing progress and log as they come.

        Parameters
        ----------
        timeout
            Seconds to wait at most. The job itself goes on.
        poll
            Seconds between questions to the server.
        show
            Whether to show anything.

        Raises
        ------
        TimeoutError
            When the job has not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        view = _watching.view() if show else _watching.View()
        patience = _Patience()
        offset = 0
        children: list[values.Job] = []
        while True:
            before = self._value
            with patience:
                # State first: what was logged before an end that is seen here has then been written.
                value = self.refresh()
                text = ""
                if show and not self._is_kept:
                    for chunk in self._chunks(offset):
                        text += chunk.text
                        offset = chunk.next_offset
                if show and value != before:
                    children = self._family()
                view.update(value, text, children)
            if self._value.state.final and not patience.tried:
                return self
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Job {self.name!r} is {self._value.state.value} after {timeout:g} s; it goes on.")
            time.sleep(poll)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return what the job hands back.

        Returns
        -------
        object
            Of a function what it returned; of code the variables that were asked for with ``fetch``, by name; of a
            sweep the table of `results`; otherwise None.

        Raises
        ------
        Conflict
            When the job failed or was cancelled; the message says why.
        TimeoutError
            When it has not ended in time. It goes on.
        """
        self.wait(timeout, show=False)
        return self._handed_back()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait without blocking the notebook; return what `result` does. Giving up the wait leaves the job alone."""
        return self._ended().__await__()

    async def _ended(self) -> Any:
        patience = _Patience()
        while True:
            with patience:
                if (await asyncio.to_thread(self.refresh)).state.final:
                    return await asyncio.to_thread(self._handed_back)
            await asyncio.sleep(_POLL_S)

    def _handed_back(self) -> Any:
        value = self.refresh()
        if value.kind == "sweep":
            return self.results()
        if value.state is not JobState.SUCCEEDED:
            raise Conflict(f"Job {self.name!r} has no result: it is {value.state.value}: {value.message}")
        fetched = self._fetched() if value.fetch else None
        return fetched[RETURNED] if fetched and RETURNED in fetched else fetched

    def _fetched(self) -> dict[str, Any]:
        import cloudpickle

        # Made by the user's own code in the user's own cluster: as trusted as this kernel.
        fetched: dict[str, Any] = cloudpickle.loads(self._transport.download(self._path("result")))
        return fetched

    def children(self) -> JobList:
        """Return the jobs of a sweep, in the order of its sets of parameters."""
        items = self._transport.pages("jobs", parent=self._sent_id(), limit=500)
        return JobList(Job(self._client, values.Job.model_validate(item)) for item in reversed(items))

    def results(self, fetch: bool = True) -> pd.DataFrame:
        """Return what the jobs of a sweep have come to, also while some still run.

        Parameters
        ----------
        fetch
            Whether to bring back what they hand back.

        Returns
        -------
        pandas.DataFrame
            A row a job: its parameters, its state, the metrics it reported last, and what it hands back (``result``
            for a function). A name that is there already gets an underscore behind it.
        """
        import pandas as pd

        rows = []
        for child in self.children():
            row: dict[str, Any] = {**child._value.parameters}
            progress = child._value.progress
            handed = dict.fromkeys(child._value.fetch) if fetch else {}
            if handed and child._value.state is JobState.SUCCEEDED:
                handed = child._fetched()
            if RETURNED in handed:
                handed = {"result": handed[RETURNED]}
            for more in ({"state": child._value.state.value}, progress.metrics if progress else {}, handed):
                for name, value in more.items():
                    row[f"{name}_" if name in row else name] = value
            rows.append((child.name, row))
        return pd.DataFrame([row for _, row in rows], index=pd.Index([name for name, _ in rows], name="job"))

    def logs(self, follow: bool = False) -> str:
        """Return the log of all attempts; with ``follow``, print it as it comes until the job ends.

        Following bears a server that is started again, as `wait` does.
        """
        pieces: list[str] = []
        offset = 0
        patience = _Patience() if follow else contextlib.nullcontext()
        while True:
            complete = False
            with patience:
                for chunk in self._chunks(offset):
                    pieces.append(chunk.text)
                    offset, complete = chunk.next_offset, chunk.complete
                    if follow:
                        print(chunk.text, end="", flush=True)
            if not follow or complete:
                return "".join(pieces)
            time.sleep(_POLL_S)

    def notebook(self, path: str | Path | None = None) -> NotebookNode:
        """Return the notebook that the job ran, with the outputs of the cells that ran so far.

        Parameters
        ----------
        path
            Where to save it as well.

        Raises
        ------
        NotFound
            The job runs no notebook, or no cell of it has run.
        """
        import nbformat

        data = self._transport.download(self._path("notebook"))
        if path is not None:
            Path(path).expanduser().write_bytes(data)
        found: NotebookNode = nbformat.reads(data.decode(), as_version=4)
        return found

    def cancel(self) -> Job:
        """Ask for the job to be stopped; returns at once. Its log and checkpoints stay."""
        if self._is_kept and self._client.outbox.withdraw(self.id):
            self.refresh()
            return self
        return self._ask("cancel")

    def pause(self) -> Job:
        """Ask for the job to be stopped until it is resumed; it goes on from its last checkpoint then.

        Raises
        ------
        Conflict
            When it is at its end, or being cancelled.
        """
        return self._ask("pause")

    def resume(self) -> Job:
        """Let a paused job go on.

        Raises
        ------
        Conflict
            When it is at its end, or still being stopped.
        """
        return self._ask("resume")

    def events(self) -> list[JobEvent]:
        """Return every transition, oldest first."""
        items = self._transport.pages(self._path("events"), limit=500)
        return [JobEvent.model_validate(item) for item in reversed(items)]

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints that are kept, newest first."""
        items = self._transport.pages(self._path("checkpoints"), limit=500)
        return [Checkpoint.model_validate(item) for item in items]

    @property
    def _is_kept(self) -> bool:
        return KEPT_ID.fullmatch(self.id) is not None

    def _now(self) -> values.Job:
        return self._value if self._value.state.final else self.refresh()

    def _settled(self) -> values.Job:
        """Return how a submission is that was kept, as it is now: the job that it has become, if it was sent."""
        fate = self._client.outbox.fate(self.id)
        if fate.state == "waiting":
            try:
                self._client.outbox.flush(wait=False)
            except (Unavailable, OSError):
                return self._value
            fate = self._client.outbox.fate(self.id)
        if fate.state == "sent":
            value = JobDetail.model_validate(self._transport.get(f"jobs/{segment(fate.job_id)}"))
            self.id = value.id
            return value
        if fate.state == "refused":
            return self._ended_here(JobState.FAILED, f"The server refused it: {fate.refusal}")
        if fate.state == "withdrawn":
            return self._ended_here(JobState.CANCELLED, "Withdrawn before it was sent.")
        return self._value

    def _ended_here(self, state: JobState, message: str) -> values.Job:
        return self._value.model_copy(update={"state": state, "message": message})

    def _sent_id(self) -> str:
        if self._is_kept:
            self.refresh()
            if self._is_kept:
                raise Unreachable(f"Job {self.name!r} is not there yet. {self._value.message}")
        return self.id

    def _ask(self, verb: str) -> Job:
        self._transport.post(self._path(verb))
        self.refresh()
        return self

    def _family(self) -> list[values.Job]:
        """Return the first children of a sweep, for its card."""
        if self._value.kind != "sweep" or self._is_kept:
            return []
        return [child._value for child in self.children()]

    def _chunks(self, offset: int) -> Iterator[LogChunk]:
        while True:
            found = self._transport.get(self._path("logs"), offset=offset, limit=_LOG_BYTES)
            chunk = LogChunk.model_validate(found)
            yield chunk
            if chunk.complete or not chunk.text:
                return
            offset = chunk.next_offset

    def _path(self, part: str = "") -> str:
        return f"jobs/{segment(self._sent_id())}" + (f"/{part}" if part else "")

    def __repr__(self) -> str:
        try:
            return views.line(self.refresh())
        except JupyterExtError:
            return views.line(self._value)

    def _repr_html_(self) -> str:
        try:
            value = self.refresh()
            return views.card(value, "" if self._is_kept else self.logs(), self._family())
        except JupyterExtError:
            # A display must not fail because the server is away; what was known last is shown.
            return views.card(self._value)


class _Patience:
    """Bears a server that is away for a while, as one that is started again is; after that the error comes out."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def tried(self) -> bool:
        """Whether the last call found nobody."""
        return self._since is not None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Unreachable):
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since < _PATIENCE_S


class JobList(list[Job]):
    """Jobs, shown as a table of how they were when they were asked for."""

    def __repr__(self) -> str:
        return views.lines([job._value for job in self])

    def _repr_html_(self) -> str:
        return views.table([job._value for job in self])
