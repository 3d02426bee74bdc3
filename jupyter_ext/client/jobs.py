"""Jobs from Python: submit a piece of code to your Ray cluster, follow it, and get back what it made."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_ext.client import _job_views as views
from jupyter_ext.client._transport import segment
from jupyter_ext.errors import Invalid, JupyterExtError, NotFound
from jupyter_ext.jobs import values
from jupyter_ext.jobs.values import Checkpoint, JobDetail, JobEvent, JobSpec, JobState, LogChunk, Progress

if TYPE_CHECKING:
    from jupyter_ext.client import Client

_POLL_S = 0.5
_LOG_BYTES = 1_000_000
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Job:
    """A submitted job. It goes on whatever happens to this object, the kernel or the notebook.

    ``print(job.logs())``, ``job.wait()``, ``job.result()``, ``job.cancel()``; shown as a card that says how it is.
    """

    def __init__(self, client: Client, value: JobDetail) -> None:
        self._transport = client.transport
        self._value = value
        self.id = value.id
        self.name = value.name

    def refresh(self) -> JobDetail:
        """Ask the server, and return all it knows of the job."""
        if not self._value.state.final:
            self._value = JobDetail.model_validate(self._transport.get(self._path()))
        return self._value

    @property
    def state(self) -> JobState:
        """Where the job is in its life."""
        return self.refresh().state

    @property
    def progress(self) -> Progress | None:
        """How far the job's code says it is."""
        return self.refresh().progress

    @property
    def message(self) -> str:
        """What is happening, or why it ended."""
        return self.refresh().message

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
        view: _View = (_CardView() if _in_notebook() else _LineView()) if show else _View()
        offset = 0
        while True:
            # State first: what was logged before an end that is seen here has then been written.
            value = self.refresh()
            text = ""
            for chunk in self._chunks(offset):
                text += chunk.text
                offset = chunk.next_offset
            view.update(value, text)
            if value.state.final:
                return self
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Job {self.name!r} is {value.state.value} after {timeout:g} s; it goes on.")
            time.sleep(poll)

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end and return the variables that were asked for with ``fetch``, by name.

        Raises
        ------
        Conflict
            When the job failed or was cancelled; the message says why.
        NotFound
            When it was submitted without ``fetch``.
        """
        import cloudpickle

        self.wait(timeout, show=False)
        # Made by the user's own code in the user's own cluster: as trusted as this kernel.
        fetched: dict[str, Any] = cloudpickle.loads(self._transport.download(self._path("result")))
        return fetched

    def logs(self, follow: bool = False) -> str:
        """Return the log of all attempts; with ``follow``, print it as it comes until the job ends."""
        pieces: list[str] = []
        offset = 0
        while True:
            complete = False
            for chunk in self._chunks(offset):
                pieces.append(chunk.text)
                offset, complete = chunk.next_offset, chunk.complete
                if follow:
                    print(chunk.text, end="", flush=True)
            if not follow or complete:
                return "".join(pieces)
            time.sleep(_POLL_S)

    def cancel(self) -> Job:
        """Ask for the job to be stopped; returns at once. Its log and checkpoints stay."""
        self._transport.post(self._path("cancel"))
        self.refresh()
        return self

    def events(self) -> list[JobEvent]:
        """Return every transition, oldest first."""
        items = self._transport.pages(self._path("events"), limit=500)
        return [JobEvent.model_validate(item) for item in reversed(items)]

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints that are kept, newest first."""
        items = self._transport.pages(self._path("checkpoints"), limit=500)
        return [Checkpoint.model_validate(item) for item in items]

    def _chunks(self, offset: int) -> Iterator[LogChunk]:
        while True:
            found = self._transport.get(self._path("logs"), offset=offset, limit=_LOG_BYTES)
            chunk = LogChunk.model_validate(found)
            yield chunk
            if chunk.complete or not chunk.text:
                return
            offset = chunk.next_offset

    def _path(self, part: str = "") -> str:
        return f"jobs/{segment(self.id)}" + (f"/{part}" if part else "")

    def __repr__(self) -> str:
        try:
            return views.line(self.refresh())
        except JupyterExtError:
            return views.line(self._value)

    def _repr_html_(self) -> str:
        try:
            return views.card(self.refresh(), self.logs())
        except JupyterExtError:
            # A display must not fail because the server is away; what was known last is shown.
            return views.card(self._value)


class JobList(list[values.Job]):
    """Jobs, newest first, shown as a table."""

    def __repr__(self) -> str:
        return views.lines(self)

    def _repr_html_(self) -> str:
        return views.table(self)


class Jobs:
    """Jobs of the workspace: ``client.jobs``.

    Examples
    --------
    >>> job = client.jobs.submit("y = x + 1", send={"x": 1}, fetch=["y"])
    >>> job.result()
    {'y': 2}
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(
        self,
        source: str | Path | JobSpec,
        *,
        name: str | None = None,
        send: Mapping[str, Any] | None = None,
        fetch: Sequence[str] = (),
        cpus: float = 1,
        gpus: float = 0,
        memory: int | str | None = None,
        retries: int = 0,
        timeout: float | None = None,
        key: str | None = None,
        dataset: Any = None,
        label_set: Any = None,
        tags: Mapping[str, str] | None = None,
    ) -> Job:
        """Submit Python code as a job.

        Parameters
        ----------
        source
            The code; or a path of a Python file; or a ready `JobSpec`, which is taken as it is.
        name
            What people call it. Default: the file's name, or ``job``.
        send
            Variables to take along, by name.
        fetch
            Names of variables to hand back.
        cpus, gpus, memory
            What the job asks of the cluster; ``memory`` in bytes or as ``"2GB"``.
        retries
            How often to try again when the code fails. Lost machines cost none.
        timeout
            Seconds that an attempt may run.
        key
            The same key with the same job is one job, however often it is submitted.
        dataset, label_set
            What it works on: a handle or an id. Kept for the lineage of models.

        Raises
        ------
        Invalid
            The code doesn't parse, a variable can't be pickled, or the cluster never has what is asked for.
        """
        if isinstance(source, JobSpec):
            return self._post(source)
        if isinstance(source, Path):
            name = name or source.stem
            source = _read(source)
        _check(source)
        spec = {
            "name": name or "job",
            "source": source,
            "inputs": self._client.transport.upload(pickle_all(send)) if send else None,
            "fetch": tuple(fetch),
            "resources": {"cpus": cpus, "gpus": gpus, "memory_bytes": parse_memory(memory)},
            "retries": retries,
            "timeout_s": timeout,
            "idempotency_key": key,
            "dataset_id": _id_of(dataset),
            "label_set_id": _id_of(label_set),
            "environment": live_environment(),
            "tags": dict(tags or {}),
        }
        try:
            return self._post(JobSpec.model_validate(spec))
        except ValueError as error:
            raise Invalid(f"The job can't be submitted so: {_sentence(error)}") from error

    def get(self, job: str) -> Job:
        """Return a job by its id, or the newest one of a name."""
        if re.fullmatch(r"job-[0-9a-z]{26}", job):
            return self._handle(job)
        found = self._client.transport.get("jobs", name=job, limit=1)["items"]
        if not found:
            raise NotFound(f"There is no job {job!r}. `client.jobs.list()` or %jobs shows what there is.")
        return self._handle(found[0]["id"])

    def list(self, state: str | None = None, name: str | None = None, limit: int = 50) -> JobList:
        """Return jobs, newest first: ``state`` is one state, or ``live`` for all that have not ended."""
        page = self._client.transport.get("jobs", state=state, name=name, limit=limit)
        return JobList(values.Job.model_validate(item) for item in page["items"])

    def _post(self, spec: JobSpec) -> Job:
        return self._handle(self._client.transport.post("jobs", spec)["id"])

    def _handle(self, job_id: str) -> Job:
        found = self._client.transport.get(f"jobs/{segment(job_id)}")
        return Job(self._client, JobDetail.model_validate(found))


def pickle_all(variables: Mapping[str, Any]) -> bytes:
    """Pickle variables together, so that what they share stays shared; `Invalid` names the one that can't be."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(dict(variables)))
    except Exception as error:  # pickling runs the objects' own code, which may raise anything
        for name, value in variables.items():
            try:
                cloudpickle.dumps(value)
            except Exception as own:
                raise Invalid(
                    f"The variable {name!r} ({type(value).__name__}) can't be sent: it can't be pickled "
                    f"({type(own).__name__}: {own}). Send plain data and build it inside the job."
                ) from own
        raise Invalid(f"The variables can't be sent together: {error}") from error


def parse_memory(text: int | str | None) -> int | None:
    """Return an amount of memory in bytes.

    Examples
    --------
    >>> parse_memory("2GB"), parse_memory("512 MiB"), parse_memory(1000), parse_memory(None)
    (2000000000, 536870912, 1000, None)
    """
    if text is None or isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise Invalid(f"{text!r} is no amount of memory. Write 500MB, 2GB or 4GiB.", field="memory")
    return int(float(match[1]) * unit)


def parse_seconds(text: str | None) -> float | None:
    """Return a length of time in seconds.

    Examples
    --------
    >>> parse_seconds("90"), parse_seconds("15m"), parse_seconds("1.5h"), parse_seconds(None)
    (90.0, 900.0, 5400.0, None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if match is None:
        raise Invalid(f"{text!r} is no length of time. Write 90 (seconds), 15m, 2h or 1d.", field="timeout")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def live_environment() -> dict[str, str]:
    """Return the Python of this kernel and the versions of the packages it has imported."""
    imported = frozenset(name for name in sys.modules if "." not in name and not name.startswith("_"))
    return {"python": platform.python_version(), **_versions(imported)}


# Reading every package's metadata takes a third of a second: once, until something else is imported.
@functools.lru_cache(maxsize=1)
def _versions(imported: frozenset[str]) -> dict[str, str]:
    return {
        distribution: importlib.metadata.version(distribution)
        for package, distributions in importlib.metadata.packages_distributions().items()
        if package in imported
        for distribution in distributions
    }


def _check(source: str) -> None:
    if not source.strip():
        raise Invalid("There is no code to submit.")
    try:
        ast.parse(source)
    except SyntaxError as error:
        text = (error.text or "").strip()
        hint = " Lines with % and ! are the notebook's own and don't run in a job." if text[:1] in ("%", "!") else ""
        raise Invalid(f"The job's code has an error in line {error.lineno}: {error.msg}: {text}.{hint}") from error


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Invalid(f"There is no file {str(path)!r}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{str(path)!r} can't be read as Python: {error}") from error


def _id_of(thing: Any) -> str | None:
    return thing if thing is None or isinstance(thing, str) else str(thing.id)


def _sentence(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in errors())


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class _View:
    """Shows nothing; the others show something."""

    def update(self, job: JobDetail, text: str) -> None:
        """Take in what is new."""


class _LineView(_View):
    """A terminal: the log as it comes, and what happens in lines of their own."""

    def __init__(self) -> None:
        self._said = ""

    def update(self, job: JobDetail, text: str) -> None:
        """Print what is new."""
        if text:
            print(text, end="" if text.endswith("\n") else "\n", flush=True)
        said = f"[job] {job.name}: {job.state.value}" + (f", {job.message}" if job.message else "")
        if said != self._said:
            self._said = said
            print(said, flush=True)


class _CardView(_View):
    """A notebook: one card that changes in place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = ""
        self._log = ""

    def update(self, job: JobDetail, text: str) -> None:
        """Redraw the card when it would look different."""
        from IPython.display import display

        self._log = views.clip(self._log + text)
        bundle = {"text/html": views.card(job, self._log), "text/plain": views.line(job)}
        if bundle["text/html"] == self._shown:
            return
        self._shown = bundle["text/html"]
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)
