"""Labeling functions: a rule of thumb in Python that votes for a class, or abstains."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.fingerprint import fingerprint, source_of

if TYPE_CHECKING:
    import pandas as pd

#: Takes a row and returns a row, usually with something added: a parsed document, a lower-cased text.
Preprocessor = Callable[[Any], Any]
#: What a row comes to: the number of a class, ABSTAIN, or the exception that it failed with.
Vote = int | Exception
#: Takes some rows of a frame and returns what each comes to.
Batch = Callable[["pd.DataFrame"], Sequence[Vote]]


class LabelingFunction:
    """A named rule. Call it with a row to get its vote; :class:`~jupyter_ext.labeling.LFApplier` runs it over a frame.

    Made by :func:`labeling_function`, and by the builders of :mod:`~jupyter_ext.labeling.builders`. What can vote on
    many rows at once has a ``batch``; it must vote as the function does.
    """

    def __init__(
        self,
        function: Callable[..., int],
        *,
        name: str,
        resources: Mapping[str, Any],
        pre: Sequence[Preprocessor],
        columns: Sequence[str] | None,
        batch: Batch | None = None,
    ) -> None:
        #: What it is as a voter: a function, or a model that was asked.
        self.kind: Literal["function", "model"] = "function"
        self.function = self.__wrapped__ = function
        self.batch = batch
        self.name = name
        self.resources = dict(resources)
        self.pre = tuple(pre)
        self.columns = None if columns is None else tuple(columns)
        self.__doc__ = function.__doc__

    @cached_property
    def source(self) -> str:
        """The function's source, as it was written."""
        return source_of(self.function)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the votes: source, resources, preprocessors, columns, values read from outside."""
        facts = [fingerprint(part) for part in (self.function, self.resources, self.pre, self.columns)]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()

    def __call__(self, row: Any) -> int:
        """Vote on one row, which gives its columns as attributes and as items."""
        for prepare in self.pre:
            row = prepare(row)
        return self.function(row, **self.resources)

    def __repr__(self) -> str:
        return f"LabelingFunction({self.name!r})"


def labeling_function(
    name: str | None = None,
    resources: Mapping[str, Any] | None = None,
    pre: Sequence[Preprocessor] | None = None,
    columns: Sequence[str] | None = None,
) -> Callable[[Callable[..., int]], LabelingFunction]:
    """Turn a Python function into a labeling function.

    The function gets a row, whose columns are attributes (``row.text``) and items (``row["mean radius"]``), and returns
    the number of a class, or :data:`~jupyter_ext.labeling.ABSTAIN`. Nothing else is a vote: no True, no class name.

    Parameters
    ----------
    name
        What it is called in tables and in the workspace; the function's own name without.
    resources
        Handed to the function as keyword arguments: word lists, models, thresholds.
    pre
        Run on the row first, in order. Functions with the same preprocessors share their work.
    columns
        The columns it reads. Given, they are checked before anything runs.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from jupyter_ext.labeling import ABSTAIN, labeling_function
    >>> @labeling_function(columns=["text"], resources={"words": {"win", "prize"}})
    ... def promises(row, words):
    ...     return 1 if words & set(row.text.split()) else ABSTAIN
    >>> promises
    LabelingFunction('promises')
    >>> promises(SimpleNamespace(text="win a prize")), promises(SimpleNamespace(text="see you"))
    (1, -1)
    """
    if callable(name):
        raise Invalid("Write the decorator with parentheses: @labeling_function().")

    def decorate(function: Callable[..., int]) -> LabelingFunction:
        if not callable(function):
            raise Invalid("A labeling function must be callable.")
        return LabelingFunction(
            function,
            name=name or str(getattr(function, "__name__", type(function).__name__)),
            resources=resources or {},
            pre=pre or (),
            columns=columns,
        )

    return decorate


def unknown_column(function: str, column: str, columns: Iterable[object]) -> Invalid:
    """Say which function asks for which missing column, and what it may have meant.

    Examples
    --------
    >>> print(unknown_column("short", "txt", ["text", "author"]))
    The labeling function 'short' reads a column 'txt' that the frame has not. Did you mean 'text'?
    """
    names = [str(name) for name in columns]
    near = difflib.get_close_matches(column, names, n=3)
    if near:
        hint = f"Did you mean {' or '.join(repr(name) for name in near)}?"
    else:
        hint = f"It has {', '.join(repr(name) for name in names[:20])}{', …' if len(names) > 20 else ''}."
    return Invalid(
        f"The labeling function {function!r} reads a column {column!r} that the frame has not. {hint}",
        function=function,
        column=column,
        nearest=near,
    )
