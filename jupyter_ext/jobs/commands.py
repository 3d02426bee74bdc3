"""A shell command, told apart from Python source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command, or a whole script, that a job runs in a shell; `jupyter_ext.shell` makes it."""

    text: str
