"""Views that live in a notebook cell: label items, read a drift report, see what labeling functions say.

Each view is one hand-written ES module, one style sheet and one Python class on anywidget. Beside the live view every
display carries the same content as plain HTML, so a saved notebook shows it without a kernel and without scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_ext.widgets.annotator import Annotator
    from jupyter_ext.widgets.drift_view import DriftView
    from jupyter_ext.widgets.lf_table import LFTable

__all__ = ["Annotator", "DriftView", "LFTable"]

_HOMES = {"Annotator": "annotator", "DriftView": "drift_view", "LFTable": "lf_table"}


def __getattr__(name: str) -> Any:
    """Import a view when it is first asked for: ipywidgets takes a while to load."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
