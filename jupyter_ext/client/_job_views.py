"""How jobs look in a notebook: a card for one, a table for many. HTML of inline styles, so that it stays when saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from jupyter_ext.jobs.values import Attempt, Job, JobDetail, JobState, JobUsage, Progress, Schedule

#: Colours that carry on light and dark alike; the word stands beside, so colour is never alone.
_COLOURS = {
    JobState.SUCCEEDED: "#2e7d32",
    JobState.FAILED: "#c62828",
    JobState.CANCELLED: "#757575",
    JobState.CANCELLING: "#757575",
    JobState.INTERRUPTED: "#b26a00",
    JobState.PAUSED: "#b26a00",
    JobState.QUEUED: "#757575",
}
_RUNNING_COLOUR = "#1565c0"
_SAID_ELSEWHERE = ("[progress] ", "[checkpoint] saved ")
_MAX_LINES = 200
_MAX_LINE = 400
_MAX_TAIL = 20_000
_MAX_STORY = 6
_MAX_CHILDREN = 20
_MAX_SETTINGS = 80


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


def card(job: Job, log: str = "", children: Sequence[Job] = ()) -> str:
    """Return a job's card: state, progress bar, message, what its attempts met with, and the end of its log.

    Of a sweep it has a small table of its jobs.
    """
    said = "".join(f"<div style='margin-top:2px'>{escape(text)}</div>" for text in _said(job))
    head = (
        f"<div><b>{escape(job.name)}</b> {badge(job)} "
        f"<span style='opacity:.75'>{escape(' · '.join(_facts(job)))}</span> "
        f"<code style='opacity:.6;font-size:85%'>{escape(job.id)}</code></div>"
    )
    shown = tail(log)
    box = (
        # Reversed, so that a long log shows its end without a script that scrolls.
        "<div style='margin-top:6px;padding:6px 8px;max-height:16em;overflow:auto;display:flex;"
        "flex-direction:column-reverse;border:1px solid rgba(128,128,128,.35);border-radius:3px;"
        "background:rgba(128,128,128,.08)'>"
        "<pre style='margin:0;font-size:90%;background:none;font-family:var(--jp-code-font-family,monospace)'>"
        f"{escape(shown)}</pre></div>"
        if shown
        else ""
    )
    return (
        "<div style='border:1px solid rgba(128,128,128,.35);border-left:4px solid "
        f"{_colour(job.state)};border-radius:3px;padding:8px 12px;max-width:60em;text-align:left'>"
        f"{head}{bar(job.progress) if job.progress else ''}{said}{family(children)}{box}</div>"
    )


def _facts(job: Job) -> list[str]:
    """Return what stands behind a job's name, a few words each."""
    facts = [f"attempt {job.attempt}"] if job.attempt > 1 else []
    if job.priority:
        facts.append(f"priority {job.priority}")
    if job.parameters:
        facts.append(settings(job.parameters))
    if spent := duration(job):
        facts.append(spent)
    if not isinstance(job, JobDetail):
        return facts
    durable = [attempt.durable_step for attempt in job.attempts if attempt.durable_step is not None]
    if durable:
        facts.append(f"last checkpoint: step {durable[-1]}")
    cpu, gpu = (sum(getattr(attempt, f"{kind}_seconds") for attempt in job.attempts) for kind in ("cpu", "gpu"))
    held = [
        f"{span(timedelta(seconds=seconds))} of {kind}" for seconds, kind in ((cpu, "CPU"), (gpu, "GPU")) if seconds
    ]
    if held:
        facts.append(" and ".join(held))
    if peak := max((attempt.peak_memory_bytes or 0 for attempt in job.attempts), default=0):
        facts.append(f"peak {size(peak)}")
    return facts


def _said(job: Job) -> list[str]:
    """Return what there is to say of a job: its attempts until now, then what is happening."""
    told = story(job.attempts) if isinstance(job, JobDetail) else []
    if job.message not in ("", "Done.", *told):
        told.append(job.message)
    return told if len(told) <= _MAX_STORY else [f"… {len(told) - _MAX_STORY} more …", *told[-_MAX_STORY:]]


def story(attempts: Sequence[Attempt]) -> list[str]:
    """Return in plain words what a job's attempts met with: nothing, if there was one only.

    Examples
    --------
    >>> lost = Attempt(number=1, submission_id="a1", state=JobState.INTERRUPTED, last_step=1214,
    ...                message="Attempt 1 was interrupted: its node went away.")
    >>> again = Attempt(number=2, submission_id="a2", state=JobState.RUNNING, resumed_step=1200)
    >>> for line in story([lost, again]):
    ...     print(line)
    Attempt 1 was interrupted: its node went away.
    Attempt 2 resumed at step 1200; 14 steps redone.
    """
    told = []
    reached: int | None = None
    for place, attempt in enumerate(attempts, start=1):
        if attempt.resumed_step is not None and attempt.number > 1:
            redone = max(0, (reached if reached is not None else attempt.resumed_step) - attempt.resumed_step)
            steps_ = f"{redone} step{'' if redone == 1 else 's'}"
            told.append(f"Attempt {attempt.number} resumed at step {attempt.resumed_step}; {steps_} redone.")
        elif reached is not None and attempt.started_at is not None:
            told.append(f"Attempt {attempt.number} began from nothing.")
        if place < len(attempts) and attempt.message:
            told.append(attempt.message)
        reached = max((step for step in (reached, attempt.last_step) if step is not None), default=None)
    return told


def family(children: Sequence[Job]) -> str:
    """Return the jobs of a sweep as a small table; nothing if there are none."""
    if not children:
        return ""
    heads = _heads("job", "parameters", "state", "progress", "")
    rows = "".join(
        f"<tr><td style='text-align:left' title='{escape(job.id)}'>{escape(job.name)}</td>"
        f"<td style='text-align:left'>{escape(settings(job.parameters))}</td>"
        f"<td>{badge(job)}</td><td>{escape(_reached(job.progress))}</td>"
        f"<td style='text-align:left'>{escape(_news(job))}</td></tr>"
        for job in children[:_MAX_CHILDREN]
    )
    more = len(children) - _MAX_CHILDREN
    rest = f"<div style='opacity:.75'>and {more:,} more: <code>job.children()</code></div>" if more > 0 else ""
    return f"<table style='margin-top:6px'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{rest}"


def settings(parameters: Mapping[str, Any]) -> str:
    """Return parameters in a few words.

    Examples
    --------
    >>> settings({"lr": 0.1, "name": "a", "layers": [64, 32]})
    "lr=0.1, name='a', layers=[64, 32]"
    """
    text = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    return text if len(text) <= _MAX_SETTINGS else text[: _MAX_SETTINGS - 1] + "…"


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


def badge(job: Job) -> str:
    """Return a job's state as a small coloured word."""
    return (
        f"<span style='background:{_colour(job.state)};color:#fff;border-radius:8px;padding:1px 8px;font-size:85%'>"
        f"{escape(state(job))}</span>"
    )


def state(job: Job) -> str:
    """Return a job's state, and its place in the queue while it waits there."""
    return f"{job.state.value}, place {job.position}" if job.position is not None else job.state.value


def table(jobs: Sequence[Job]) -> str:
    """Return jobs as a table."""
    if not jobs:
        return "<p>No jobs. Submit one: <code>%%submit_job --name first</code> at the top of a cell.</p>"
    rows = "".join(
        f"<tr><td style='text-align:left' title='{escape(job.id)}'>{escape(job.name)}</td><td>{badge(job)}</td>"
        f"<td>{escape(steps(job.progress))}</td><td>{escape(ago(job.created_at))}</td>"
        f"<td>{escape(duration(job))}</td>"
        f"<td style='text-align:left'>{escape(_news(job))}</td></tr>"
        for job in jobs
    )
    heads = _heads("job", "state", "progress", "submitted", "took", "")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def lines(jobs: Iterable[Job]) -> str:
    """Return jobs as plain text, one a line."""
    rows = [(job.name, state(job), steps(job.progress), ago(job.created_at), job.message) for job in jobs]
    return _columns(rows) or "No jobs."


def schedule_table(schedules: Sequence[Schedule]) -> str:
    """Return schedules as a table."""
    if not schedules:
        return "<p>No schedules. Make one: <code>%%submit_job --cron '0 6 * * *'</code> at the top of a cell.</p>"
    heads = _heads("schedule", "when", "", "")
    rows = "".join(
        f"<tr title='{escape(one.id)}'>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row)
        for one, row in ((one, _schedule_cells(one)) for one in schedules)
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def schedule_lines(schedules: Sequence[Schedule]) -> str:
    """Return schedules as plain text, one a line."""
    return _columns([_schedule_cells(one) for one in schedules]) or "No schedules."


def _schedule_cells(one: Schedule) -> tuple[str, ...]:
    # In the time zone in which it was asked for.
    moment = one.next_at.astimezone(ZoneInfo(one.timezone)) if one.next_at is not None else None
    due = f"next {moment:%a %d %b %H:%M}" if moment is not None else "paused"
    return one.name, f"{one.cron} ({one.timezone})", due, one.message


def usage(found: JobUsage) -> str:
    """Return in a sentence what jobs held of their clusters."""
    times = f"{span(timedelta(seconds=found.cpu_seconds))} of CPU"
    if found.gpu_seconds:
        times += f", {span(timedelta(seconds=found.gpu_seconds))} of GPU"
    peak = f"; at most {size(found.peak_memory_bytes)} of memory at a time" if found.peak_memory_bytes else ""
    jobs, attempts = _count(found.jobs, "job"), _count(found.attempts, "attempt")
    return f"Since {found.since.astimezone():%d %b %H:%M}: {jobs} in {attempts} held {times}{peak}."


def line(job: Job) -> str:
    """Return a job in one line."""
    told = ", ".join(part for part in (steps(job.progress), job.message) if part)
    return f"Job({job.name!r}, {state(job)}: {told})"


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


def size(count: int) -> str:
    """Return a number of bytes as a person says it.

    Examples
    --------
    >>> size(310_000_000), size(2_500_000_000)
    ('310 MB', '2.5 GB')
    """
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _reached(progress: Progress | None) -> str:
    metrics = "".join(f" {name}={value:.4g}" for name, value in (progress.metrics if progress else {}).items())
    return f"{steps(progress)}{metrics}".strip()


def _news(job: Job) -> str:
    return job.message if job.message != "Done." else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _heads(*names: str) -> str:
    return "".join(f"<th style='text-align:left'>{name}</th>" for name in names)


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows
    )


def _colour(state: JobState) -> str:
    return _COLOURS.get(state, _RUNNING_COLOUR)
