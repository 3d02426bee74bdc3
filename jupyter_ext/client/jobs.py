"""Jobs from Python: submit a function, a file or a piece of code to your Ray cluster, and get back what it made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from jupyter_ext.client import _job_views as views
from jupyter_ext.client import _options, _sources
from jupyter_ext.client._checking import compare
from jupyter_ext.client._job import KEPT, Job, JobList
from jupyter_ext.client._options import Options, parse_memory, parse_seconds
from jupyter_ext.client._outbox import Draft
from jupyter_ext.client._pickling import fingerprint, own_file, pickle_all
from jupyter_ext.client._schedules import Schedule, ScheduleList, Schedules
from jupyter_ext.client._sources import Work
from jupyter_ext.client._transport import Unreachable, segment
from jupyter_ext.clusters.environment import Environment, read_environment
from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.jobs import values
from jupyter_ext.jobs.commands import Command
from jupyter_ext.jobs.values import JobDetail, JobSpec, JobState
from jupyter_ext.values import new_id

if TYPE_CHECKING:
    from jupyter_ext.client import Client

__all__ = ["Job", "JobList", "Jobs", "Schedule", "ScheduleList", "Schedules", "Usage"]


class Usage(values.JobUsage):
    """What jobs held of their clusters, times how long."""

    def __repr__(self) -> str:
        return views.usage(self)


class Jobs:
    """Jobs of the workspace: ``client.jobs``.

    Examples
    --------
    >>> job = client.jobs.submit("y = x + 1", send={"x": 1}, fetch=["y"])
    >>> job.result()
    {'y': 2}

    A function, with its arguments; its options go before:

    >>> def area(width, height=1.0):
    ...     return width * height
    >>> client.jobs.options(cpus=0.5).submit(area, 3, height=2.0).result()
    6.0

    The same for many parameters:

    >>> job = client.jobs.options(sweep={"width": [1, 2]}, name="areas").submit(area, height=3.0)
    >>> job.result()[["width", "state", "result"]]
             width      state  result
    job
    areas-1      1  succeeded     3.0
    areas-2      2  succeeded     6.0
    """

    def __init__(self, client: Client, options: Options | None = None) -> None:
        self._client = client
        self._options: Options = options or {}

    def options(self, **options: Unpack[Options]) -> Jobs:
        """Return these jobs with options, for what is submitted through them.

        Parameters
        ----------
        name
            What people call it. Default: the name of the function, the file or the command, or ``job``.
        cpus, gpus, memory
            What the job asks of the cluster: 1 CPU unless told otherwise; ``memory`` in bytes or as ``"2GB"``.
        workers
            How many Ray workers the job will start (`ray.train`, tasks, actors). Each gets what is asked for, and the
            job's own process, which then only coordinates, nothing.
        accelerator
            The kind of GPU, by Ray's name, such as ``"A100"``.
        priority
            From -100 to 100. The most urgent of your jobs starts first.
        retries
            How often to try again when the code fails. Lost machines cost none.
        timeout
            The longest that an attempt may run: seconds, or ``"2h"``.
        after
            What must have succeeded before: a job, its name or id, or a list of them.
        send
            Variables that source code finds, by name. A function has arguments instead.
        fetch
            Names of variables that source code hands back. A function hands back what it returns.
        parameters
            Plain values that everybody sees in lists: variables of source code, arguments of a function, environment
            variables of a command, a cell of a notebook after the one that is tagged ``parameters``.
        sweep
            Values of several parameters, of which every combination becomes a job, as in ``{"lr": [0.1, 0.01]}``; or a
            list of the sets themselves. At most 1,000 jobs.
        key
            The same key with the same job is one job, however often it is submitted.
        dataset, label_set
            What it works on: a handle or an id. Kept for the lineage of models.
        tags
            Words to find it by.
        check
            Whether to look first if the cluster has the packages that the job needs. Default: yes.
        timezone
            Of a schedule: the time zone of its times, such as ``"Europe/Berlin"``. Default: UTC.

        Raises
        ------
        Invalid
            There is no such option.
        """
        _options.require_known(options)
        return Jobs(self._client, {**self._options, **options})

    options.__signature__ = _options.SIGNATURE  # type: ignore[attr-defined]

    @overload
    def submit(self, thing: Callable[..., Any], /, *args: Any, **keywords: Any) -> Job: ...
    @overload
    def submit(self, thing: str | Path | Command | JobSpec, /, **options: Unpack[Options]) -> Job: ...
    def submit(self, thing: Any, /, *args: Any, **keywords: Any) -> Job:
        """Submit something as a job.

        Parameters
        ----------
        thing
            A function; Python source as text; a ``Path`` of a .py, .ipynb or .sh file; ``shell("make data")``; or a
            ready `JobSpec`, which is taken as it is.
        *args, **keywords
            The arguments of a function. Of anything else the keywords are options; see `options`.

        Returns
        -------
        Job
            When the server does not answer, the submission is kept on this machine, and sent later, once. The handle
            then becomes the job.

        Raises
        ------
        Invalid
            The code doesn't parse, the function can't be called so, something can't be pickled, the cluster lacks a
            package, or never has what is asked for.
        """
        jobs, args, keywords = self._for(thing, args, keywords)
        if "timezone" in jobs._options:
            raise Invalid("A time zone belongs to a schedule: jobs.schedule('0 6 * * *', …).", field="timezone")
        return jobs._send(*jobs._draft(thing, args, keywords))

    def schedule(self, cron: str, thing: Any, /, *args: Any, **keywords: Any) -> Schedule:
        """Submit something again and again, by the clock.

        Parameters
        ----------
        cron
            Minute, hour, day of the month, month, day of the week: ``"0 6 * * mon-fri"`` is six in the morning of every
            working day, in the time zone of the option ``timezone``.
        thing, *args, **keywords
            As for `submit`. The schedule gets the job's name, which no other schedule may have.

        Raises
        ------
        Invalid
            The expression can't be read, or what `submit` refuses.
        Conflict
            There is a schedule of that name.
        """
        jobs, args, keywords = self._for(thing, args, keywords)
        draft, check = jobs._draft(thing, args, keywords)
        if check is not None:
            check.require()
        job = draft.complete(self._client.transport, self._client.outbox).model_copy(update={"idempotency_key": None})
        timezone = jobs._options.get("timezone", _options.DEFAULTS["timezone"])
        facts = {"name": job.name, "cron": cron, "timezone": timezone, "job": job.model_dump(mode="json")}
        return Schedule.model_validate(self._client.transport.post("jobs/schedules", facts))

    def get(self, job: str) -> Job:
        """Return a job by its id, or the newest one of a name; also in another kernel than it was submitted from."""
        return self._handle(self._client.outbox.job_id(job))

    def list(self, state: str | None = None, name: str | None = None, limit: int = 50) -> JobList:
        """Return jobs, newest first: ``state`` is one state, or ``live`` for all that have not ended.

        The jobs of a sweep are under it: `Job.children`.
        """
        page = self._client.transport.get("jobs", state=state, name=name, limit=limit)
        return JobList(Job(self._client, values.Job.model_validate(item)) for item in page["items"])

    def usage(self, since: datetime | timedelta | str | None = None) -> Usage:
        """Return what your jobs held of their clusters, times how long.

        Parameters
        ----------
        since
            Count attempts that began since then: a moment, or a length of time back from now such as ``"7d"``. Default:
            30 days.

        Examples
        --------
        >>> client.jobs.usage("1d").gpu_seconds
        0.0
        """
        if isinstance(since, str):
            since = timedelta(seconds=parse_seconds(since, "since") or 0.0)
        if isinstance(since, timedelta):
            since = datetime.now(UTC) - since
        moment = since.astimezone(UTC).isoformat() if since is not None else None
        return Usage.model_validate(self._client.transport.get("jobs/usage", since=moment))

    def flush(self) -> JobList:
        """Send what is kept on this machine because the server did not answer, and return the jobs.

        That happens by itself with the next call that the server answers.

        Raises
        ------
        Unavailable
            The server still does not answer. What is kept stays.
        """
        return JobList(self._handle(job_id) for job_id in self._client.outbox.flush())

    @cached_property
    def schedules(self) -> Schedules:
        """Jobs that are submitted again and again, by the clock."""
        return Schedules(self._client)

    def _for(self, thing: Any, args: tuple[Any, ...], keywords: Any) -> tuple[Jobs, tuple[Any, ...], dict[str, Any]]:
        """Tell options from arguments: the keywords of a function are its own."""
        if not isinstance(thing, (str, Path, Command, JobSpec)):
            if not callable(thing):
                raise Invalid(
                    f"A {type(thing).__name__} can't be submitted. Submit a function, source code, a Path of a file, "
                    "or shell('a command')."
                )
            return self, args, dict(keywords)
        if args:
            raise Invalid("Only a function takes arguments. Give source code what it needs with send= or parameters=.")
        return self.options(**keywords), (), {}

    def _draft(self, thing: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Draft, _Check | None]:
        if isinstance(thing, JobSpec):
            return Draft(thing), None
        options: Options = {**_options.DEFAULTS, **self._options}
        sets = _options.grid(options["sweep"])
        parameters = _options.parameters_of(options["parameters"])
        later = {*parameters, *(name for one in sets for name in one)}
        if callable(thing) and any({*parameters, *one} != later for one in sets):
            raise Invalid("Every set of a function's sweep must name the same parameters.", field="sweep")
        work = _understand(thing, args, keywords, later, options)
        variables = {**work.variables, **(options["send"] or {})}
        pickled = pickle_all(variables) if variables else None
        here = read_environment()
        facts = {
            "name": options["name"] or work.name,
            "source": work.source,
            "kind": work.kind,
            "parameters": {**work.parameters, **parameters},
            "fetch": work.fetch or _options.names(options["fetch"]),
            "resources": {
                "cpus": options["cpus"],
                "gpus": options["gpus"],
                "memory_bytes": parse_memory(options["memory"]),
                "accelerator": options["accelerator"],
                "workers": options["workers"],
            },
            "priority": options["priority"],
            "retries": options["retries"],
            "timeout_s": parse_seconds(options["timeout"]),
            "after": _references(options["after"]),
            "sweep": sets,
            # Its own key from the beginning: an answer that gets lost costs no second job.
            "idempotency_key": options["key"] or new_id("submission"),
            "fingerprint": fingerprint(variables) if variables and options["key"] else None,
            "dataset_id": _id_of(options["dataset"]),
            "label_set_id": _id_of(options["label_set"]),
            "environment": _used(here),
            "tags": dict(options["tags"] or {}),
        }
        try:
            spec = JobSpec.model_validate(facts)
        except ValueError as error:
            raise Invalid(f"The job can't be submitted so: {_sentence(error)}") from error
        check = _Check(self._client, here, work, pickled.needs if pickled else None, options["check"])
        return Draft(spec, pickled.data if pickled else None), check

    def _send(self, draft: Draft, check: _Check | None) -> Job:
        try:
            if check is not None:
                check.require()
            return Job(self._client, draft.send(self._client.transport, self._client.outbox))
        except Unreachable as error:
            spec = draft.spec
            key = self._client.outbox.keep(draft)
            print(f"[job] {spec.name!r} is kept on this machine, and will be sent when the server answers. {error}")
            value = JobDetail(
                id=key,
                name=spec.name,
                owner="",
                kind="sweep" if spec.sweep else spec.kind,
                state=JobState.QUEUED,
                attempt=0,
                message=KEPT,
                parameters=spec.parameters,
                resources=spec.resources,
                fetch=spec.fetch,
                source=spec.source,
                created_at=datetime.now(UTC),
            )
            return Job(self._client, value)

    def _handle(self, job_id: str) -> Job:
        found = self._client.transport.get(f"jobs/{segment(job_id)}")
        return Job(self._client, JobDetail.model_validate(found))


class _Check:
    """Looks whether the cluster has what a job needs, before it is submitted."""

    def __init__(self, client: Client, here: Environment, work: Work, pickled: frozenset[str] | None, do: bool) -> None:
        self._transport = client.transport
        self._here = here
        self._imported = work.imports
        self._pickled = pickled
        self._do = do

    def require(self) -> None:
        """Refuse what can't run there, and print what may go wrong.

        Raises
        ------
        Invalid
            The cluster lacks a module that the code imports, or that what is sent comes from.
        """
        if not self._do or not (self._imported or self._pickled is not None):
            return
        try:
            there = Environment.model_validate(self._transport.get("clusters/default/environment"))
        except NotFound:
            return  # a cluster elsewhere, of which nobody here knows what is installed
        own = {name: file for name in self._imported if (file := own_file(name)) is not None}
        found = compare(self._here, there, imported=self._imported, pickled=self._pickled, own=own)
        if found.errors:
            raise Invalid(" ".join((*found.errors, "Or submit it with check=False (%submit_job --no-check).")))
        for warning in found.warnings:
            print(f"[job] Note: {warning}")


def _understand(thing: Any, args: tuple[Any, ...], keywords: Any, later: set[str], options: Options) -> Work:
    if isinstance(thing, str):
        return _sources.of_text(thing)
    if isinstance(thing, Path):
        work = _sources.of_file(thing)
    elif isinstance(thing, Command):
        work = _sources.of_command(thing)
    else:
        if options["send"] or options["fetch"]:
            raise Invalid("A function takes arguments, and hands back what it returns: send and fetch are for code.")
        return _sources.of_function(thing, args, keywords, later)
    if work.kind == "shell" and (options["send"] or options["fetch"]):
        raise Invalid(
            "A shell command has no variables to send or to fetch. Its parameters are environment variables, and files "
            "it writes stay where it writes them."
        )
    return work


def _references(after: Any) -> tuple[str, ...]:
    several = () if after is None else after if isinstance(after, (list, tuple, set)) else (after,)
    return tuple(str(_id_of(job)) for job in several)


def _used(here: Environment) -> dict[str, str]:
    """Return the Python of this kernel and the versions of the packages it has imported."""
    loaded = {name for name in list(sys.modules) if "." not in name}
    packages = {package for name in loaded for package in here.modules.get(name, ())}
    return {"python": here.python, **{name: here.packages[name] for name in sorted(packages) if name in here.packages}}


def _id_of(thing: Any) -> str | None:
    return thing if thing is None or isinstance(thing, str) else str(thing.id)


def _sentence(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in errors())
