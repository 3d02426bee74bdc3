"""What every view shares: the style sheet, and the plain HTML that a saved notebook shows."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import DisplayHandle, display

_HERE = Path(__file__).parent

#: A reopened notebook must stay small, and browsers slow: what one view may add to it.
MAX_STATE_BYTES = 100_000


def read_asset(name: str) -> str:
    """Return the text of a script or a style that lies beside this module, without indentation and whole-line comments.

    Every saved notebook with a view carries it.
    """
    text = (_HERE / name).read_text("utf-8")
    return re.sub(r"^\s*(//.*|/\*.*\*/)?\n|^[ \t]+", "", text, flags=re.MULTILINE)


class View(anywidget.AnyWidget):
    """A live view with a static twin.

    JupyterLab picks one renderer for an output. For a bundle with a widget in it, that is the widget's, which has
    nothing to say but "model not found" when the notebook is opened without its kernel. So a view is displayed as two
    outputs, the static HTML and the live view, and a style rule shows one of them: the static one until the live one
    is there.
    """

    #: Names the static twin of this view; the live view hides it.
    _twin = traitlets.Unicode(read_only=True).tag(sync=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_trait("_twin", f"jx-twin-{uuid.uuid4().hex[:12]}")
        self._handles: list[DisplayHandle] = []

    def static_html(self) -> str:
        """Return the content as one self-contained piece of HTML: no script, nothing fetched."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _static_bundle(self) -> dict[str, str]:
        return {"text/html": self.static_html(), "text/plain": repr(self)}

    def _live_bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return super()._repr_mimebundle_() or ({}, {})

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self._live_bundle()
        return {**data, **self._static_bundle()}, metadata

    def _ipython_display_(self) -> None:
        handle = display(self._static_bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        if handle is not None:
            self._handles.append(handle)
        data, metadata = self._live_bundle()
        # Where there is no widget to show, the twin above has said everything: leave nothing but blank space here.
        display({**data, "text/plain": "", "text/html": "<span></span>"}, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]

    def _refresh_static(self) -> None:
        """Bring the displayed static twins up to date, so that saving the notebook keeps what was done since."""
        for handle in self._handles:
            handle.update(self._static_bundle(), raw=True)  # type: ignore[no-untyped-call]


def twin_style(twin: str) -> str:
    """Return the rule that hides the empty place of the live view while only the static twin ``twin`` is there.

    It asks for the child of a child: a view may itself lie in another one's output.

    Examples
    --------
    >>> "jx-twin-1" in twin_style("jx-twin-1")
    True
    """
    return f".jp-OutputArea-child:has(> * > .{twin}) + .jp-OutputArea-child:not(:has(.jx-live)) {{ display: none }}"
