"""``%submit_job``, ``%%submit_job``, ``%jobs``, ``%job`` and ``%cancel_job``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from jupyter_ext.jobs.values import JobState
from jupyter_ext.magics._base import ClientMagics, told_plainly

if TYPE_CHECKING:
    from jupyter_ext.client import Client
    from jupyter_ext.client.jobs import Job, JobList

_OPTIONS = (
    "--name", "--cpus", "--gpus", "--memory", "--retries", "--timeout", "--send", "--fetch",
    "--label-set", "--dataset", "--wait", "--no-wait", "--key",
)  # fmt: skip


def complete_submit_job(client: Client, line: str) -> list[str]:
    """Offer the options that are not there yet."""
    return [option for option in _OPTIONS if option not in line.split()]


def complete_job(client: Client, line: str) -> list[str]:
    """Offer the names of recent jobs."""
    return sorted({_quoted(job.name) for job in client.jobs.list(limit=200)})


def complete_live_job(client: Client, line: str) -> list[str]:
    """Offer the names of jobs that can be cancelled."""
    return sorted({_quoted(job.name) for job in client.jobs.list(state="live", limit=200)})


def complete_jobs(client: Client, line: str) -> list[str]:
    """Offer the options, and states."""
    return ["--state", "--name", "--limit", "live", *(state.value for state in JobState)]


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _bare(name: str) -> str:
    return name.strip("\"'")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


@magics_class
class JobMagics(ClientMagics):
    """Magics of jobs."""

    completers = {
        "submit_job": complete_submit_job,
        "jobs": complete_jobs,
        "job": complete_job,
        "cancel_job": complete_live_job,
    }

    @magic_arguments()
    @argument("script", nargs="?", help="A Python file to submit; not with a cell.")
    @argument("--name", help="What to call the job. Default: the file's name, or cell-N.")
    @argument("--cpus", type=float, default=1, help="CPUs to ask for. Default: 1.")
    @argument("--gpus", type=float, default=0, help="GPUs to ask for.")
    @argument("--memory", help="Memory to ask for, such as 2GB.")
    @argument("--retries", type=int, default=0, help="How often to try again when the code fails.")
    @argument("--timeout", help="The longest an attempt may run: seconds, or 15m, 2h.")
    @argument("--send", metavar="A,B", help="Variables of the notebook to take along.")
    @argument("--fetch", metavar="A,B", help="Variables of the job to bring back; with --wait into the notebook.")
    @argument("--label-set", help="The label set it works on: a variable that holds one, or an id.")
    @argument("--dataset", help="The data set it works on: a variable that holds one, or an id.")
    @argument("--key", help="The same key with the same job is one job, however often it is submitted.")
    @argument("--wait", dest="wait", action="store_true", default=False, help="Wait, showing progress and log.")
    @argument("--no-wait", dest="wait", action="store_false", help="Return at once (the default).")
    @line_cell_magic
    @told_plainly
    def submit_job(self, line: str, cell: str | None = None) -> Job | None:
        """Run a cell, or a Python file, as a job on your own Ray cluster.

        ::

            %%submit_job --name train --send X,y --fetch model --wait
            model = fit(X, y)

        Interrupting the kernel stops waiting, not the job: %cancel_job does that.
        """
        from jupyter_ext.client.jobs import parse_seconds

        arguments = parse_argstring(self.submit_job, line)
        if (cell is None) == (arguments.script is None):
            raise UsageError(
                "%submit_job takes a Python file: %submit_job train.py"
                if cell is None
                else "%%submit_job submits the cell below it; a file goes with %submit_job, in a line of its own."
            )
        fetch = _names(arguments.fetch)
        job = self.client.jobs.submit(
            cell if cell is not None else Path(_bare(arguments.script)),
            name=_bare(arguments.name) if arguments.name else self._default_name(arguments.script),
            send=self._sent(_names(arguments.send)),
            fetch=fetch,
            cpus=arguments.cpus,
            gpus=arguments.gpus,
            memory=_bare(arguments.memory) if arguments.memory else None,
            retries=arguments.retries,
            timeout=parse_seconds(arguments.timeout),
            key=_bare(arguments.key) if arguments.key else None,
            dataset=self._handle_or_id(arguments.dataset),
            label_set=self._handle_or_id(arguments.label_set),
        )
        if not arguments.wait:
            return job
        try:
            job.wait()
        except KeyboardInterrupt:
            name = _quoted(job.name)
            print(f"Stopped waiting; the job goes on. See it with %job {name}, stop it with %cancel_job {name}.")
            return None
        if job.state is not JobState.SUCCEEDED:
            raise UsageError(f"Job {job.name!r} {_ended(job.state)}: {job.message}")
        if fetch:
            assert self.shell is not None
            self.shell.push(job.result())
        return None

    @magic_arguments()
    @argument("--state", help="One state (queued, running, succeeded, failed…), or live for all that have not ended.")
    @argument("--name", help="Jobs of this name only.")
    @argument("--limit", type=int, default=20, metavar="N", help="At most so many. Default: 20.")
    @line_magic
    @told_plainly
    def jobs(self, line: str) -> JobList:
        """List your jobs, newest first."""
        arguments = parse_argstring(self.jobs, line)
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

    def _default_name(self, script: str | None) -> str | None:
        assert self.shell is not None
        return None if script is not None else f"cell-{self.shell.execution_count}"

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


def _ended(state: JobState) -> str:
    return "failed" if state is JobState.FAILED else f"was {state.value}"
