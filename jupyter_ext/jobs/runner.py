"""What runs in a Ray job's driver: ``python -m jupyter_ext.jobs.runner``.

It reads the task from the object store, runs the source (Python here, as ``__main__``; commands and notebooks in
processes of their own), hands log, progress and results back through the object store, and writes the outcome last. It
never opens a connection to the database.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import linecache
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import ModuleType, TracebackType

from jupyter_ext.errors import JupyterExtError
from jupyter_ext.jobs.capture import Capture
from jupyter_ext.jobs.exchange import Failure, pickle_result, read_inputs
from jupyter_ext.jobs.patience import until
from jupyter_ext.jobs.protocol import Context, Outcome, Task, attempt_path, now
from jupyter_ext.jobs.report import RAY_ENVIRONMENT
from jupyter_ext.jobs.reporter import Reporter
from jupyter_ext.jobs.states import EXIT_FENCED, EXIT_TRY_AGAIN
from jupyter_ext.jobs.stop import Terminated, notice

#: How long the outcome waits for a storage that fails, before the attempt is given up.
_PATIENCE_S = 60.0
#: How long a process may linger after its outcome (threads of the user's that don't end).
_LINGER_S = 10.0


def main() -> int:
    """Run the attempt that the environment names; return the exit code."""
    context = Context.from_environ()
    if context is None:
        print("jupyter_ext.jobs.runner runs inside a job: JUPYTER_EXT_JOB is not set.", file=sys.stderr)
        return 2
    notice.listen()
    os.environ.update(RAY_ENVIRONMENT)
    try:
        if not context.holds_fence():
            print(f"Attempt {context.attempt} was replaced by a newer one before it began.", file=sys.stderr)
            return EXIT_FENCED
        task = Task.model_validate_json(context.objects.get(attempt_path(context.job_id, context.attempt, "task.json")))
        reporter = Reporter(context)
        reporter.start()
        if task.environment_path is not None:
            _tell_environment(context, task.environment_path)
    except (JupyterExtError, Terminated) as error:
        print(f"The attempt could not begin: {error}", file=sys.stderr)
        return EXIT_TRY_AGAIN
    capture = Capture(reporter.feed)
    try:
        outcome, result = run(context, task)
        _settle_down()
        capture.close()
        if result is not None:
            until(
                lambda: context.objects.put(attempt_path(context.job_id, context.attempt, "result.pkl"), result),
                _PATIENCE_S,
            )
        reporter.close(patience_s=_PATIENCE_S)
        if not context.holds_fence():
            return EXIT_FENCED
        path = attempt_path(context.job_id, context.attempt, "outcome.json")
        until(lambda: context.objects.put(path, outcome.model_dump_json().encode()), _PATIENCE_S)
        reporter.report(finished=True)
    except JupyterExtError as error:
        capture.close()
        print(f"The outcome could not be stored: {error}", file=sys.stderr)
        return EXIT_TRY_AGAIN
    finally:
        capture.close()
    return 0 if outcome.succeeded else 1


def _tell_environment(context: Context, path: str) -> None:
    """Write down what is installed here: the next submission is held against it. Its failure costs the job nothing."""
    from jupyter_ext.clusters.environment import read_environment

    # What is installed may describe itself in any wrong way.
    with contextlib.suppress(Exception):
        context.objects.put(path, read_environment().model_dump_json().encode())


def run(context: Context, task: Task) -> tuple[Outcome, bytes | None]:
    """Run a task's source and pickle what it is to give back. Never raises what the user's code raises."""
    try:
        result = _run_kind(context, task)
    except Failure as failure:
        print(failure.trace or f"[job] {failure}", file=sys.stderr)
        outcome = Outcome(
            at=now(), succeeded=False, reason=failure.reason, message=str(failure), traceback=failure.trace
        )
        return outcome, None
    except Terminated:
        print("[job] stopped", file=sys.stderr)
        return Outcome(at=now(), succeeded=False, reason="terminated", message="It was told to stop."), None
    finally:
        # From here on a signal must not tear the outcome.
        notice.ignore()
    digest = hashlib.sha256(result).hexdigest() if result is not None else None
    return Outcome(at=now(), succeeded=True, message="Done.", result_digest=digest), result


def _run_kind(context: Context, task: Task) -> bytes | None:
    # Imported when needed: a job starts the sooner the less it imports.
    if task.kind == "shell":
        from jupyter_ext.jobs.run_shell import run_shell

        run_shell(context, task)
        return None
    if task.kind == "notebook":
        from jupyter_ext.jobs.run_notebook import run_notebook

        return run_notebook(context, task)
    return _run_python(context, task)


def _run_python(context: Context, task: Task) -> bytes | None:
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = [task.name]
    vars(module).update(read_inputs(context, task), **task.parameters)
    with _told(task):
        _execute(task, module)
    if notice.seen:
        raise Terminated("The job's code ended because it was told to stop.")
    return pickle_result(task, vars(module))


def _execute(task: Task, module: ModuleType) -> None:
    filename = f"<job {task.name}>"
    lines = task.source.splitlines(keepends=True)
    linecache.cache[filename] = (len(task.source), None, lines, filename)
    # Running the user's code is what a job is; it runs as the user, in the user's own cluster.
    exec(compile(task.source, filename, "exec", dont_inherit=True), vars(module))  # noqa: S102


@contextlib.contextmanager
def _told(task: Task) -> Iterator[None]:
    """Turn what the user's code raises into a `Failure` with a traceback that begins in that code."""
    try:
        yield
    except Terminated:
        raise
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            # ray.init() puts a handler of its own in our handler's place; it ends the driver so.
            raise Terminated from error
        if error.code not in (None, 0):
            raise Failure("exit", f"The job's code called sys.exit({error.code!r}).") from error
    except BaseException as error:  # the user's code may raise anything; all of it is told
        filename = f"<job {task.name}>"
        trace = _from_file(error.__traceback__, filename)
        where = f" (line {trace.tb_lineno})" if trace is not None else ""
        if isinstance(error, SyntaxError) and error.filename == filename:
            where = f" (line {error.lineno})"
        message = f"{type(error).__name__}: {_first_line(error)}"
        full = "".join(traceback.format_exception(type(error), error, trace))
        raise Failure("user_error", f"{message}{where}"[:2000], full) from error


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return text.strip().partition("\n")[0] or "(no message)"


def _from_file(trace: TracebackType | None, filename: str) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    return trace


def _settle_down() -> None:
    """Run what is registered for the end while its words are still heard: Ray waits there for its workers' output."""
    atexit._run_exitfuncs()


if __name__ == "__main__":
    code = main()
    # Threads that the user's code left running would keep the process, and its CPUs on the cluster, for ever.
    lingering = threading.Timer(_LINGER_S, os._exit, (code,))
    lingering.daemon = True
    lingering.start()
    sys.exit(code)
