"""Durable jobs: a row first, a Ray submission second.

Inside a job's code, and the same outside of one::

    from jupyter_ext.jobs import checkpoint, progress
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_ext.jobs import checkpoint
    from jupyter_ext.jobs.report import progress

__all__ = ["checkpoint", "progress"]


def __getattr__(name: str) -> Any:
    if name == "checkpoint":
        return importlib.import_module("jupyter_ext.jobs.checkpoint")
    if name == "progress":
        return importlib.import_module("jupyter_ext.jobs.report").progress
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
