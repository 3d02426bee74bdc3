"""How jobs look in a notebook: a card for one, a table for many. HTML of inline styles, so that it stays when saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from jupyter_ext.jobs.values import Job, JobDetail, JobState, Progress

#: Colours that carry on light and dark alike; the word stands beside, so colour is never alone.
_COLOURS = {
    JobState.SUCCEEDED: "#2e7d32",
    JobState.FAILED: "#c62828",
    JobState.CANCELLED: "#757575",
    JobState.CANCELLING: "#757575",
    JobState.INTERRUPTED: "#b26a00",
    JobState.QUEUED: "#757575",
}
_RUNNING_COLOUR = "#1565c0"
_SAID_ELSEWHERE = ("[progress] ", "[checkpoint] saved ")
_MAX_LINES = 200
_MAX_LINE = 400
_MAX_TAIL = 20_000


def tail(log: str, lines: int = _MAX_LINES) -> str:
    """Return the last lines of a log as the card shows them: without those that say what the card says anyway.

    Examples
    --------
    >>> tail("one\\n[progress] 1/2\\ntwo\\n", 5)
    'one\\ntwo'
    """
    shown = [line[:_MAX_LINE] for line in log.splitlines() if not line.startswith(_SAID_ELSEWHERE)]
    return "\n".join(shown[-lines:])[-_MAX_TAIL:]


def clip(log: str) -> str:
    """Return no more of a log than the card can show, so that following a long one costs the same all along."""
    return log if len(log) <= 4 * _MAX_TAIL else log[-2 * _MAX_TAIL :].partition("\n")[2]


def card(job: JobDetail, log: str = "") -> str:
    """Return a job's card: state, progress bar, message, and the end of its log."""
    facts = [f"attempt {job.attempt}"] if job.attempt > 1 else []
    if spent := duration(job):
        facts.append(spent)
    durable = [attempt.durable_step for attempt in job.attempts if attempt.durable_step is not None]
    if durable:
        facts.append(f"last checkpoint: step {durable[-1]}")
    head = (
        f"<div><b>{escape(job.name)}</b> {badge(job.state)} "
        f"<span style='opacity:.75'>{escape(' · '.join(facts))}</span> "
        f"<code style='opacity:.6;font-size:85%'>{escape(job.id)}</code></div>"
    )
    message = f"<div style='margin-top:2px'>{escape(job.message)}</div>" if job.message not in ("", "Done.") else ""
    shown = tail(log)
    box = (
        # Reversed, so that a long log shows its end without a script that scrolls.
        "<div style='margin-top:6px;padding:6px 8px;max-height:16em;overflow:auto;display:flex;"
        "flex-direction:column-reverse;border:1px solid rgba(128,128,128,.35);border-radius:3px;"
        "background:rgba(128,128,128,.08)'>"
        f"<pre style='margin:0;font-size:90%;background:none'>{escape(shown)}</pre></div>"
        if shown
        else ""
    )
    return (
        "<div style='border:1px solid rgba(128,128,128,.35);border-left:4px solid "
        f"{_colour(job.state)};border-radius:3px;padding:8px 12px;max-width:60em;text-align:left'>"
        f"{head}{bar(job.progress) if job.progress else ''}{message}{box}</div>"
    )


def bar(progress: Progress) -> str:
    """Return a progress bar with its numbers."""
    metrics = " · ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
    if progress.total:
        share = min(1.0, progress.step / progress.total)
        drawn = (
            f"<progress value='{share:.4f}' max='1' style='width:16em;vertical-align:middle' "
            f"aria-label='progress'>{share:.0%}</progress> step {progress.step:,} of {progress.total:,}"
        )
    else:
        drawn = f"step {progress.step:,}"
    return f"<div style='margin-top:4px'>{drawn} <span style='opacity:.75'>{escape(metrics)}</span></div>"


def badge(state: JobState) -> str:
    """Return a state as a small coloured word."""
    return (
        f"<span style='background:{_colour(state)};color:#fff;border-radius:8px;padding:1px 8px;font-size:85%'>"
        f"{escape(state.value)}</span>"
    )


def table(jobs: Sequence[Job]) -> str:
    """Return jobs as a table."""
    if not jobs:
        return "<p>No jobs. Submit one: <code>%%submit_job --name first</code> at the top of a cell.</p>"
    heads = "".join(
        f"<th style='text-align:left'>{head}</th>" for head in ("job", "state", "progress", "submitted", "took", "")
    )
    rows = "".join(
        f"<tr><td title='{escape(job.id)}'>{escape(job.name)}</td><td>{badge(job.state)}</td>"
        f"<td>{escape(steps(job.progress))}</td><td>{escape(ago(job.created_at))}</td>"
        f"<td>{escape(duration(job))}</td>"
        f"<td style='text-align:left'>{escape(job.message if job.message != 'Done.' else '')}</td></tr>"
        for job in jobs
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def lines(jobs: Iterable[Job]) -> str:
    """Return jobs as plain text, one a line."""
    rows = [(job.name, job.state.value, steps(job.progress), ago(job.created_at), job.message) for job in jobs]
    if not rows:
        return "No jobs."
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows
    )


def line(job: JobDetail) -> str:
    """Return a job in one line."""
    told = ", ".join(part for part in (steps(job.progress), job.message) if part)
    return f"Job({job.name!r}, {job.state.value}: {told})"


def steps(progress: Progress | None) -> str:
    """Return how far a job is, in a few characters."""
    if progress is None:
        return ""
    return f"{progress.step}/{progress.total}" if progress.total else f"step {progress.step}"


def duration(job: Job) -> str:
    """Return how long a job has run."""
    if job.started_at is None:
        return ""
    return span((job.ended_at or datetime.now(UTC)) - job.started_at)


def ago(moment: datetime) -> str:
    """Return how long ago a moment was."""
    return f"{span(datetime.now(UTC) - moment)} ago"


def span(length: timedelta) -> str:
    """Return a length of time as a person says it.

    Examples
    --------
    >>> span(timedelta(seconds=4.25)), span(timedelta(minutes=3)), span(timedelta(hours=30))
    ('4.2 s', '3 min', '30 h')
    """
    seconds = max(0.0, length.total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} days"


def _colour(state: JobState) -> str:
    return _COLOURS.get(state, _RUNNING_COLOUR)
