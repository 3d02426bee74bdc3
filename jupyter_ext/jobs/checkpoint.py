"""Checkpoints by step: what a job saved, the next attempt of it finds.

::

    from jupyter_ext.jobs import checkpoint

    saved = checkpoint.latest()
    model, start = (saved.state, saved.step + 1) if saved else (make_model(), 0)
    for epoch in range(start, 20):
        model.partial_fit(X, y)
        checkpoint.save(epoch, model)

A job that is told to stop (cancelled, paused, out of its time, its machine going away) can save once more::

    for epoch in range(start, 10_000):
        model.partial_fit(X, y)
        stop = checkpoint.stopping()
        if stop or epoch % 500 == 0:
            checkpoint.save(epoch, model)
        if stop:
            break

or, where the loop is somebody else's, by a function that is called then::

    checkpoint.on_stop(lambda: (trainer.epoch, trainer.state))

In a job they lie in the workspace's object store. Outside of one they lie in a temporary folder that belongs to the
present execution of the cell (or to the process, where there are no cells), so that a cell runs the same in the
notebook, and running it again begins from nothing, as submitting it again does.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_ext.errors import Conflict, Invalid, JupyterExtError, NotFound, Unavailable
from jupyter_ext.jobs.patience import until
from jupyter_ext.jobs.protocol import Context, checkpoints_path
from jupyter_ext.jobs.stop import Registration, Terminated, notice

if TYPE_CHECKING:
    from jupyter_ext.store.objects import ObjectInfo, Objects

__all__ = ["Saved", "Terminated", "latest", "on_stop", "save", "stopping"]

#: How many checkpoints are kept unless `save` is told otherwise.
KEEP = 3
#: How many seconds a storage may fail before `save` and `latest` do.
PATIENCE_S = 60.0

T = TypeVar("T")

_PATH = re.compile(r"/step-(\d+)\.attempt-(\d+)\.pkl$")


@dataclass(frozen=True)
class Saved:
    """A checkpoint: the step it was saved for, the attempt that saved it, and the state."""

    step: int
    attempt: int
    state: Any


@dataclass(frozen=True, order=True)
class Entry:
    """A checkpoint as it lies in storage. They sort by what `latest` means: newest attempt first, then highest step."""

    attempt: int
    step: int
    path: str


def save(step: int, state: Any, *, keep: int = KEEP) -> None:
    """Save ``state`` under ``step``: whole, or not at all.

    Parameters
    ----------
    step
        A whole number from 0 on. Saving a step again replaces it.
    state
        Anything that cloudpickle takes: a model, a dict of arrays, a tuple of both.
    keep
        How many checkpoints to keep; older ones are deleted after this one is safe.

    Raises
    ------
    Invalid
        When the step is no whole number or the state can't be pickled.
    Conflict
        When a newer attempt of this job has taken over. Nothing is written.
    Unavailable
        When the storage failed for a minute. What was saved before is still there.

    Notes
    -----
    Of two processes of a job that save the same step, the one that is done last wins.

    Examples
    --------
    >>> save(4, {"weights": [0.5, 1.0]})
    [checkpoint] saved step 4 (47 bytes)
    >>> latest().state
    [checkpoint] resumed at step 4
    {'weights': [0.5, 1.0]}
    """
    import cloudpickle

    if int(step) != step or step < 0:
        raise Invalid(f"checkpoint.save: the step is {step!r}; it is a whole number from 0 on.")
    if keep < 1:
        raise Invalid(f"checkpoint.save: keep is {keep}; keep at least 1, or there is nothing to resume from.")
    try:
        data = cloudpickle.dumps(state)
    except Exception as error:  # pickling runs the objects' own code, which may raise anything
        raise Invalid(
            f"checkpoint.save: the state of step {step} can't be pickled ({type(error).__name__}: {error}). "
            "Save what can be: arrays, a state_dict, parameters."
        ) from error

    def put() -> None:
        objects, folder, attempt = _place()
        path = f"{folder}/step-{int(step):08d}.attempt-{attempt:05d}.pkl"
        objects.put(path, data)
        print(f"[checkpoint] saved step {int(step)} ({_size(len(data))})", flush=True)
        # The new one is safe. What can't be deleted now is deleted after the next one; another process of this job
        # may be deleting it too.
        with contextlib.suppress(JupyterExtError):
            for entry in sorted(entries(objects.list(folder)), reverse=True)[keep:]:
                if entry.path != path:
                    objects.delete(entry.path)

    _patiently(put)


def latest() -> Saved | None:
    """Return the last checkpoint of this job, whichever attempt saved it; None when there is none yet.

    Raises
    ------
    Conflict
        When a newer attempt of this job has taken over.
    Unavailable
        When the storage failed for a minute.
    """
    import cloudpickle

    def get() -> tuple[Entry, bytes] | None:
        objects, folder, attempt = _place()
        mine = (entry for entry in entries(objects.list(folder)) if entry.attempt <= attempt)
        for entry in sorted(mine, reverse=True):
            try:
                return entry, objects.get(entry.path)
            except NotFound:
                continue  # pruned by ourselves in another process between the listing and now
        return None

    found = _patiently(get)
    if found is None:
        return None
    entry, data = found
    context = Context.from_environ()
    # Looking again at what this attempt has saved itself resumes nothing.
    if context is None or entry.attempt < context.attempt:
        print(f"[checkpoint] resumed at step {entry.step}", flush=True)
    return Saved(entry.step, entry.attempt, cloudpickle.loads(data))


def on_stop(call: Callable[[], tuple[int, Any] | None]) -> Registration:
    """Have ``call`` called, once, when this job is told to stop; then `Terminated` is raised in the main thread.

    Parameters
    ----------
    call
        Returns ``(step, state)`` to be saved as by `save`, or None when it has saved by itself or there is nothing to
        save. It is called in the main thread between two of its steps, wherever that is: return what is whole at any
        time, say a copy made after each epoch. Code that changes a model in place had better look at `stopping`.
        It has the grace of the job's cluster (ten seconds unless configured otherwise) less up to three seconds.

    Returns
    -------
    Registration
        ``close()`` takes it back, and so does the end of a ``with`` block.

    Raises
    ------
    Invalid
        In a job, when neither this nor `stopping` was called in the main thread before.

    Notes
    -----
    Outside of a job nothing calls it. Several are called in the order in which they were registered.

    Examples
    --------
    >>> with on_stop(lambda: (3, {"weights": [0.5, 1.0]})):
    ...     print("training")
    training
    """
    if Context.from_environ() is None:
        return Registration(lambda: None, [])

    def save_it() -> None:
        found = call()
        if found is not None:
            save(*found)

    return notice.on_stop(save_it)


def stopping() -> bool:
    """Whether this job was told to stop. A loop that asks is left alone until its grace is nearly over.

    When the code ends after it was told so, the job counts as stopped and not as succeeded: resumed, it goes on from
    its last checkpoint. Outside of a job it is never told so.

    Raises
    ------
    Invalid
        In a job, when neither this nor `on_stop` was called in the main thread before.

    Examples
    --------
    >>> stopping()
    False
    """
    return Context.from_environ() is not None and notice.stopping()


def entries(infos: Iterable[ObjectInfo]) -> list[Entry]:
    """Return the checkpoints among stored objects."""
    found = ((info.path, _PATH.search(info.path)) for info in infos)
    return [Entry(attempt=int(match[2]), step=int(match[1]), path=path) for path, match in found if match]


def _patiently(act: Callable[[], T]) -> T:
    """Do something with the storage, and wait while it is away. The notice to stop waits only while it is done."""

    def once() -> T:
        with notice.held():
            return act()

    def tell(error: JupyterExtError) -> None:
        print(f"[job] {str(error).rstrip('.')}. Trying again for up to {PATIENCE_S:g} s.", file=sys.stderr, flush=True)

    return until(once, notice.remaining(PATIENCE_S), on=Unavailable, told=tell)


def _place() -> tuple[Objects, str, int]:
    context = Context.from_environ()
    if context is None:
        return _scratch.objects(), "checkpoints", 1
    if not context.holds_fence():
        raise Conflict(f"Attempt {context.attempt} of this job was replaced by a newer one, so it may not go on.")
    return context.objects, checkpoints_path(context.job_id), context.attempt


class _Scratch:
    """The temporary folder of one execution outside of a job."""

    def __init__(self) -> None:
        self._execution: int | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def objects(self) -> Objects:
        from jupyter_ext.store.objects import Objects

        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        execution = shell.execution_count if shell is not None else 0
        if self._folder is None or execution != self._execution:
            self.close()
            atexit.register(self.close)
            self._execution = execution
            self._folder = tempfile.TemporaryDirectory(prefix="jupyter-ext-checkpoints-", ignore_cleanup_errors=True)
        return Objects(self._folder.name)

    def close(self) -> None:
        """Delete the folder."""
        atexit.unregister(self.close)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


_scratch = _Scratch()


def _size(count: int) -> str:
    """Say a number of bytes as a person does.

    Examples
    --------
    >>> _size(41), _size(3_400), _size(5_000_000)
    ('41 bytes', '3.4 kB', '5.0 MB')
    """
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"
