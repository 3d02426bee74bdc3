"""``%submit_job``, ``%%submit_job``, ``%jobs``, ``%job``, ``%cancel_job``, ``%pause_job`` and ``%resume_job``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.jobs.commands import Command
from jupyter_ext.jobs.values import JobState
from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.client._options import Options
    from jupyter_ext.client.jobs import Job, JobList, Schedule, ScheduleList, Usage

_OPTIONS = (
    "--name", "--cpus", "--gpus", "--memory", "--workers", "--accelerator", "--priority", "--retries", "--timeout",
    "--after", "--send", "--fetch", "--param", "--sweep", "--label-set", "--dataset", "--key", "--shell", "--cron",
    "--timezone", "--no-check", "--wait", "--no-wait", "--help",
)  # fmt: skip
_REPEATABLE = ("--param", "--sweep")
_SCRIPTS = (".py", ".ipynb", ".sh")


def complete_submit_job(client: Client, line: str) -> list[str]:
    """Offer the options that are not there yet, files to submit, and after ``--after`` the names of jobs."""
    words = line.split()
    if (words if line[-1:].isspace() else words[:-1])[-1:] == ["--after"]:
        return complete_job(client, line)
    files = [path.name for path in Path().iterdir() if path.suffix in _SCRIPTS] if not line.startswith("%%") else []
    options = [option for option in _OPTIONS if option in _REPEATABLE or option not in words]
    return [*sorted(map(_quoted, files)), *options]


def complete_job(client: Client, line: str) -> list[str]:
    """Offer the names of recent jobs."""
    return sorted({_quoted(job.name) for job in client.jobs.list(limit=200)})


def complete_live_job(client: Client, line: str) -> list[str]:
    """Offer the names of jobs that have not ended."""
    return sorted({_quoted(job.name) for job in client.jobs.list(state="live", limit=200)})


def complete_paused_job(client: Client, line: str) -> list[str]:
    """Offer the names of paused jobs."""
    return sorted({_quoted(job.name) for job in client.jobs.list(state="paused", limit=200)})


def complete_jobs(client: Client, line: str) -> list[str]:
    """Offer the options, and states."""
    options = ["--state", "--name", "--limit", "--schedules", "--usage", "--help"]
    return [*options, "live", *(state.value for state in JobState)]


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _bare(name: str) -> str:
    return name.strip("\"'")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in _bare(text or "").split(",") if name.strip()]


@magics_class
class JobMagics(ClientMagics):
    """Magics of jobs."""

    completers = {
        "submit_job": complete_submit_job,
        "jobs": complete_jobs,
        "job": complete_job,
        "cancel_job": complete_live_job,
        "pause_job": complete_live_job,
        "resume_job": complete_paused_job,
    }

    @magic_arguments()
    @argument("script", nargs="?", help="A .py, .ipynb or .sh file to submit; not with a cell.")
    @argument("--name", help="What to call the job. Default: the file's name, or cell-N, or with --key: job.")
    @argument("--cpus", type=float, help="CPUs to ask for. Default: 1.")
    @argument("--gpus", type=float, help="GPUs to ask for.")
    @argument("--memory", help="Memory to ask for, such as 2GB.")
    @argument("--workers", type=int, metavar="N", help="Ray workers it will start; each gets what is asked for.")
    @argument("--accelerator", help="The kind of GPU, by Ray's name, such as A100.")
    @argument("--priority", type=int, metavar="N", help="From -100 to 100; the most urgent starts first. Default: 0.")
    @argument("--retries", type=int, metavar="N", help="How often to try again when the code fails.")
    @argument("--timeout", help="The longest an attempt may run: seconds, or 15m, 2h.")
    @argument("--after", metavar="A,B", help="Jobs that must have succeeded before, by name or id.")
    @argument("--send", metavar="A,B", help="Variables of the notebook to take along.")
    @argument("--fetch", metavar="A,B", help="Variables of the job to bring back; with --wait into the notebook.")
    @argument("--param", action="append", metavar="NAME=VALUE", help="A parameter; may be repeated.")
    @argument(
        "--sweep",
        action="append",
        metavar="NAME=A,B",
        help="Values of a parameter, a job each; repeated: all combined.",
    )
    @argument("--label-set", help="The label set it works on: a variable that holds one, or an id.")
    @argument("--dataset", help="The data set it works on: a variable that holds one, or an id.")
    @argument("--key", help="The same key with the same job is one job, however often it is submitted.")
    @argument("--shell", action="store_true", help="The cell is a shell script, not Python.")
    @argument("--cron", metavar="TIMES", help='Submit it by the clock, such as "0 6 * * mon-fri".')
    @argument("--timezone", metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin. Default: UTC.")
    @argument("--no-check", action="store_true", help="Don't look whether the cluster has the packages it needs.")
    @argument("--wait", dest="wait", action="store_true", default=False, help="Wait, showing progress and log.")
    @argument("--no-wait", dest="wait", action="store_false", help="Return at once (the default).")
    @line_cell_magic
    @told_plainly
    def submit_job(self, line: str, cell: str | None = None) -> Job | Schedule | pd.DataFrame | None:
        """Run a cell or a file as a job on your own Ray cluster.

        ::

            %%submit_job --name train --send X,y --fetch model --wait
            model = fit(X, y)

        Interrupting the kernel stops waiting, not the job: %cancel_job does that.
        """
        arguments = parse_argstring(self.submit_job, line)
        if (cell is None) == (arguments.script is None):
            raise UsageError(
                "%submit_job takes a file: %submit_job train.py"
                if cell is None
                else "%%submit_job submits the cell below it; a file goes with %submit_job, in a line of its own."
            )
        if arguments.shell and cell is None:
            raise UsageError("--shell is for cells. A shell script is a .sh file: %submit_job script.sh")
        if arguments.timezone and not arguments.cron:
            raise UsageError("--timezone belongs to --cron.")
        thing = Path(_bare(arguments.script)) if cell is None else Command(cell) if arguments.shell else cell
        jobs = self.client.jobs.options(**self._options(arguments))
        if arguments.cron:
            if arguments.wait:
                raise UsageError("--wait waits for one job; with --cron there will be many.")
            return jobs.schedule(_bare(arguments.cron), thing)
        job = jobs.submit(thing)
        return self._waited(job) if arguments.wait else job

    @magic_arguments()
    @argument("--state", help="One state (queued, running, succeeded, failed…), or live for all that have not ended.")
    @argument("--name", help="Jobs of this name only.")
    @argument("--limit", type=int, default=20, metavar="N", help="At most so many. Default: 20.")
    @argument("--schedules", action="store_true", help="List the schedules instead.")
    @argument("--usage", nargs="?", const="30d", metavar="SINCE", help="Tell what they used since 30d, or 7d, 12h.")
    @line_magic
    @told_plainly
    def jobs(self, line: str) -> JobList | ScheduleList | Usage:
        """List your jobs, newest first; or their schedules; or tell what they used of your cluster."""
        arguments = parse_argstring(self.jobs, line)
        if arguments.schedules:
            return self.client.jobs.schedules.list()
        if arguments.usage:
            return self.client.jobs.usage(_bare(arguments.usage))
        states = ["live", *(state.value for state in JobState)]
        if arguments.state is not None and arguments.state not in states:
            raise UsageError(f"There is no state {arguments.state!r}; there are {', '.join(states)}.")
        if not 1 <= arguments.limit <= 500:
            raise UsageError("--limit is from 1 to 500.")
        name = _bare(arguments.name) if arguments.name else None
        return self.client.jobs.list(state=arguments.state, name=name, limit=arguments.limit)

    @magic_arguments()
    @argument("job", help="Its name (the newest of that name), or its id.")
    @line_magic
    @told_plainly
    def job(self, line: str) -> Job:
        """Show a job: its state, its progress and the end of its log."""
        return self.client.jobs.get(_bare(parse_argstring(self.job, line).job))

    @magic_arguments()
    @argument("job", help="Its name (the newest of that name), or its id.")
    @line_magic
    @told_plainly
    def cancel_job(self, line: str) -> Job:
        """Stop a job. Its log and checkpoints stay."""
        return self.client.jobs.get(_bare(parse_argstring(self.cancel_job, line).job)).cancel()

    @magic_arguments()
    @argument("job", help="Its name (the newest of that name), or its id.")
    @line_magic
    @told_plainly
    def pause_job(self, line: str) -> Job:
        """Stop a job until %resume_job; it goes on from its last checkpoint then."""
        return self.client.jobs.get(_bare(parse_argstring(self.pause_job, line).job)).pause()

    @magic_arguments()
    @argument("job", help="Its name (the newest of that name), or its id.")
    @line_magic
    @told_plainly
    def resume_job(self, line: str) -> Job:
        """Let a paused job go on."""
        return self.client.jobs.get(_bare(parse_argstring(self.resume_job, line).job)).resume()

    def _waited(self, job: Job) -> pd.DataFrame | None:
        """Wait for a job, and bring back what it fetched: variables into the notebook, of a sweep its table."""
        try:
            job.wait()
        except KeyboardInterrupt:
            name = _quoted(job.name)
            print(f"Stopped waiting; the job goes on. See it with %job {name}, stop it with %cancel_job {name}.")
            return None
        if job.state is not JobState.SUCCEEDED:
            raise UsageError(f"Job {job.name!r} {_ended(job.state)}: {job.message}")
        fetched = job.result()
        if isinstance(fetched, dict):
            assert self.shell is not None
            self.shell.push(fetched)
            return None
        table: pd.DataFrame | None = fetched
        return table

    def _options(self, arguments: Any) -> Options:
        assert self.shell is not None
        # Run again, a cell has another number, and with a key it is to be the same job.
        numbered = arguments.script is None and not arguments.key
        name = f"cell-{self.shell.execution_count}" if numbered else None
        options: Options = {
            "name": _bare(arguments.name) if arguments.name else name,
            "dataset": self._handle_or_id(arguments.dataset),
            "label_set": self._handle_or_id(arguments.label_set),
            "check": not arguments.no_check,
        }
        for option in ("cpus", "gpus", "workers", "priority", "retries"):
            if (number := getattr(arguments, option)) is not None:
                options[option] = number
        for option in ("memory", "accelerator", "timeout", "key", "timezone"):
            if text := getattr(arguments, option):
                options[option] = _bare(text)  # type: ignore[literal-required]
        if arguments.after:
            options["after"] = _names(arguments.after)
        if arguments.send:
            options["send"] = self._sent(_names(arguments.send))
        if arguments.fetch:
            options["fetch"] = _names(arguments.fetch)
        if arguments.param:
            options["parameters"] = {name: _value(text) for name, text in map(_pair, arguments.param)}
        if arguments.sweep:
            sweep = {name: [_value(word) for word in text.split(",")] for name, text in map(_pair, arguments.sweep)}
            options["sweep"] = sweep
        return options

    def _sent(self, names: list[str]) -> dict[str, Any]:
        variables = self.variables
        for name in names:
            if name not in variables:
                raise UsageError(f"--send: the notebook has no variable {name!r}.")
        return {name: variables[name] for name in names}

    def _handle_or_id(self, text: str | None) -> Any:
        if text is None:
            return None
        held = self.variables.get(_bare(text))
        return held if held is not None and hasattr(held, "id") else _bare(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = _bare(text).partition("=")
    if not equals or not name.strip():
        raise UsageError(f"Write {text!r} as name=value.")
    return name.strip(), value.strip()


def _value(text: str) -> Any:
    """Return a value as JSON reads it, or else as the text it is.

    Examples
    --------
    >>> _value("0.1"), _value("true"), _value("adam"), _value("'0.1'")
    (0.1, True, 'adam', '0.1')
    """
    text = text.strip()
    try:
        found = json.loads(text)
    except ValueError:
        return _bare(text)
    return found if isinstance(found, (bool, int, float, str, type(None))) else text


def _ended(state: JobState) -> str:
    return "failed" if state is JobState.FAILED else f"was {state.value}"
