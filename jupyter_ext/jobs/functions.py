"""A function on its way into a job: pickled together with its source, so that tracebacks there show its lines."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable
from typing import Any


class Travelling:
    """Pickles as the function it holds.

    Where it is unpickled, the lines of the function are known under the name of the file they were written in, which
    may be a cell of a notebook elsewhere.

    Examples
    --------
    >>> import cloudpickle
    >>> def double(x): return 2 * x
    >>> cloudpickle.loads(cloudpickle.dumps(Travelling(double)))(21)
    42
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.function, *(_origin(self.function) or ("", 0, "")))


def source_of(function: Callable[..., Any]) -> str | None:
    """Return the text of a function, or of the class of a callable object; None where Python does not know it."""
    found = _origin(function)
    return found[2] if found is not None else None


def _origin(function: Callable[..., Any]) -> tuple[str, int, str] | None:
    """Return where a function was written: the file, the number of its first line, its lines."""
    function = getattr(inspect.unwrap(function), "func", function)  # a functools.partial's
    for known in (function, type(function)):
        try:
            lines, first = inspect.getsourcelines(known)
            return inspect.getsourcefile(known) or inspect.getfile(known), max(first, 1), "".join(lines)
        except (OSError, TypeError):
            continue
    return None


def _arrive(function: Callable[..., Any], filename: str, first: int, text: str) -> Callable[..., Any]:
    if filename:
        new = text.splitlines(keepends=True)
        lines = linecache.getlines(filename)
        lines += ["\n"] * (first - 1 + len(new) - len(lines))
        lines[first - 1 : first - 1 + len(new)] = new
        # Without a time of change it is never looked for on disk, where there is none, or another one.
        linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
    return function
