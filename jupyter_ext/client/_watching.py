"""Following a job while it runs: a card that changes in place, or lines in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from jupyter_ext.client import _job_views as views
from jupyter_ext.jobs.values import Job, JobDetail


class View:
    """Shows nothing; the others show something."""

    def update(self, job: JobDetail, text: str, children: Sequence[Job] = ()) -> None:
        """Take in what is new: how the job is, and what its log says since."""


class LineView(View):
    """A terminal: the log as it comes, and what happens in lines of their own."""

    def __init__(self) -> None:
        self._said = ""

    def update(self, job: JobDetail, text: str, children: Sequence[Job] = ()) -> None:
        """Print what is new."""
        if text:
            print(text, end="" if text.endswith("\n") else "\n", flush=True)
        said = f"[job] {job.name}: {views.state(job)}" + (f", {job.message}" if job.message else "")
        if said != self._said:
            self._said = said
            print(said, flush=True)


class CardView(View):
    """A notebook: one card that changes in place."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = ""
        self._log = ""

    def update(self, job: JobDetail, text: str, children: Sequence[Job] = ()) -> None:
        """Redraw the card when it would look different."""
        from IPython.display import display

        self._log = views.clip(self._log + text)
        bundle = {"text/html": views.card(job, self._log, children), "text/plain": views.line(job)}
        if bundle["text/html"] == self._shown:
            return
        self._shown = bundle["text/html"]
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


def view() -> View:
    """Return what suits this process."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return CardView() if shell is not None and hasattr(shell, "kernel") else LineView()
