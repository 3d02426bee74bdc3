"""The stop notice: what a process of a job does when it is told to stop (SIGTERM), in its main thread and in time.

A job is told to stop when it is cancelled or paused, when it ran out of its time, or when its machine is going away.
Between the notice and the kill lie some seconds, the grace. In these, in this order: what was registered with `on_stop`
is called, once; then `Terminated` is raised in the main thread. Where the code looks at `stopping` by itself, it is
raised only when the grace is nearly over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.capture import line_buffered

#: How many seconds lie between the notice and the kill. Ray reads it, and the supervisor sets it.
GRACE_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
#: Ray's own, where nobody set it.
_GRACE_S = 3.0
#: The end of the grace that is not the user's code's, but for writing down how it ended: a share, and at most seconds.
_LAST_SHARE, _LAST_S = 0.3, 3.0

# Kept, because `signal.signal` is replaced below.
_set = signal.signal


class Terminated(KeyboardInterrupt):
    """The job was asked to stop (cancelled, timed out, or its machine is going away). Code may catch it to tidy up."""


class Registration:
    """What is to be called at the notice. ``close()``, or the end of a ``with`` block, takes it back."""

    def __init__(self, call: Callable[[], object], among: list[Registration]) -> None:
        self.call = call
        self._among = among
        among.append(self)

    def close(self) -> None:
        """Take the registration back; doing so twice is harmless."""
        with contextlib.suppress(ValueError):
            self._among.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Notice:
    """The notice of one process; `notice` is this one's. Before `listen` it changes nothing in the process."""

    def __init__(self) -> None:
        self._reset(None)

    def _reset(self, pid: int | None) -> None:
        self._pid = pid
        self._calls: list[Registration] = []
        # What another library (Ray, PyTorch Lightning) wants done at SIGTERM.
        self._theirs: Any = None
        self._deadline: float | None = None
        self._looks = False
        self._seen = False
        self._held = 0
        self._late = False
        self._calling = False
        self._handing_on = False

    def listen(self) -> None:
        """Make SIGTERM the notice. Asked for again, it stays so.

        Raises
        ------
        Invalid
            When it is asked for first in another thread than the main one: Python handles signals in that one.
        """
        if self._pid == os.getpid():
            return
        if threading.current_thread() is not threading.main_thread():
            raise Invalid(
                "A job hears of its stop in the main thread: call checkpoint.on_stop() and checkpoint.stopping() "
                "there first. In the training function of Ray Train ask jupyter_ext.jobs.ray_train.stopping()."
            )
        self._reset(os.getpid())  # in a fork, nothing of the parent's counts
        before = _set(signal.SIGTERM, self._on_sigterm)
        ours = getattr(before, "__func__", None) is Notice._on_sigterm
        self._theirs = before if callable(before) and not ours else None

        def set_handler(number: int, handler: Any) -> Any:
            # ray.init() and others put a handler in the place of ours, when they please; it is called after ours.
            if number != signal.SIGTERM or self._pid != os.getpid():
                return _set(number, handler)
            before, self._theirs = self._theirs, handler if callable(handler) else None
            return signal.SIG_DFL if before is None else before

        signal.signal = set_handler  # type: ignore[assignment]

    def on_stop(self, call: Callable[[], object]) -> Registration:
        """Have ``call`` called, once, in the main thread, before `Terminated` is raised there."""
        self.listen()
        return Registration(call, self._calls)

    def stopping(self) -> bool:
        """Whether the process was told to stop. Who asks gets the grace to end by themselves."""
        self.listen()
        self._looks = True
        self._seen = self._seen or self.told
        return self._seen

    @property
    def told(self) -> bool:
        """Whether the process was told to stop. Looking changes nothing, unlike `stopping`."""
        return self._deadline is not None and self._pid == os.getpid()

    @property
    def seen(self) -> bool:
        """Whether the code heard of it from `stopping`, so that its end is no success."""
        return self._seen and self._pid == os.getpid()

    def remaining(self, otherwise: float) -> float:
        """Return how many seconds the user's code has left, but at most ``otherwise``."""
        return otherwise if self._deadline is None else max(0.0, min(otherwise, self._deadline - time.monotonic()))

    def ignore(self) -> None:
        """Let nothing of it tear what is done from now on: the end of the process."""
        for number in (signal.SIGALRM, signal.SIGTERM):
            _set(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the notice wait for the end of the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._late and not self._held:
                self._late = False
                self._act(None)

    def _on_sigterm(self, _number: int, frame: FrameType | None) -> None:
        if self._pid != os.getpid():
            # A fork has the handlers of the job's process and none of its duties.
            _set(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        elif self._handing_on:  # their handler calls the one that it found, which was ours
            raise Terminated("The job was told to stop.")
        elif self._deadline is None:  # it is told twice: by Ray, which tells every process of a job, and by the runner
            self._deadline = time.monotonic() + _time()
            if self._held:
                self._late = True
            else:
                self._act(frame)

    def _act(self, frame: FrameType | None) -> None:
        _set(signal.SIGALRM, self._on_alarm)
        if self._calls:
            with _new_streams():
                self._call_all()
        if self._looks and self.remaining(1.0):
            self._alarm()
        else:
            self._end(frame)

    def _call_all(self) -> None:
        self._calling = True
        self._alarm()
        try:
            for registration in tuple(self._calls):
                try:
                    registration.call()
                except Exception:  # noqa: BLE001 - the user's own code; the others are to be called all the same
                    traceback.print_exc()
        except Terminated:
            print("[job] The time was over before everything was saved.", file=sys.stderr)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._calling = False

    def _alarm(self) -> None:
        assert self._deadline is not None
        signal.setitimer(signal.ITIMER_REAL, max(0.001, self._deadline - time.monotonic()))

    def _on_alarm(self, _number: int, frame: FrameType | None) -> None:
        if self._calling:
            raise Terminated("The time for on_stop is over.")
        self._end(frame)

    def _end(self, frame: FrameType | None) -> None:
        if self._theirs is None:
            raise Terminated("The job was told to stop.")
        self._handing_on = True
        try:
            self._theirs(signal.SIGTERM, frame)
        finally:
            self._handing_on = False


notice = Notice()


def grace_for_children() -> dict[str, str]:
    """Return what tells a process that we start, and will tell to stop, how long that takes: what we have ourselves.

    Examples
    --------
    >>> grace_for_children()
    {'RAY_JOB_STOP_WAIT_TIME_S': '2.1'}
    """
    return {GRACE_VARIABLE: f"{_time():g}"}


def _time() -> float:
    """Return how many seconds of the grace the user's code has."""
    try:
        grace = float(os.environ[GRACE_VARIABLE])
    except (KeyError, ValueError):
        grace = _GRACE_S
    return grace - min(_LAST_SHARE * grace, _LAST_S)


@contextlib.contextmanager
def _new_streams() -> Iterator[None]:
    """Print to streams of one's own: the notice may fall into the middle of a print, which can't be entered twice."""
    with contextlib.ExitStack() as stack:
        for stream, redirect in ((sys.stdout, contextlib.redirect_stdout), (sys.stderr, contextlib.redirect_stderr)):
            try:
                descriptor = stream.fileno()
            except (AttributeError, OSError):  # a notebook's, or a test's
                continue
            new = stack.enter_context(line_buffered(descriptor))
            stack.enter_context(redirect(new))
        yield
