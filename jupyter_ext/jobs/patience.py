"""Waiting for a storage that fails for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from jupyter_ext.errors import JupyterExtError

_FIRST_S, _MOST_S = 0.25, 5.0

T = TypeVar("T")


def until(
    act: Callable[[], T],
    patience_s: float,
    *,
    on: type[JupyterExtError] = JupyterExtError,
    told: Callable[[JupyterExtError], object] = lambda error: None,
) -> T:
    """Do something that needs the storage, again and again while it fails, for at most ``patience_s`` seconds.

    Parameters
    ----------
    act
        What to do; it may be done in part and then again.
    patience_s
        After so many seconds its error is raised.
    on
        Which errors are worth waiting for.
    told
        Called with the first error.

    Examples
    --------
    >>> from jupyter_ext.errors import Unavailable
    >>> answers = iter([Unavailable("away"), Unavailable("away"), "here"])
    >>> def ask():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> until(ask, 60.0, told=print)
    away
    'here'
    """
    deadline = time.monotonic() + patience_s
    wait, first = _FIRST_S, True
    while True:
        try:
            return act()
        except on as error:
            if time.monotonic() + wait > deadline:
                raise
            if first:
                told(error)
        first = False
        time.sleep(wait)
        wait = min(2 * wait, _MOST_S)
