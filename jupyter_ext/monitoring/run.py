"""A monitor's round as a job: reads the rows where they lie, measures them beside the data, and leaves letters."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.protocol import Context
from jupyter_ext.jobs.report import progress
from jupyter_ext.monitoring.checks import Reference, evaluate, measure
from jupyter_ext.monitoring.inbox import Letter
from jupyter_ext.monitoring.notices import Notice
from jupyter_ext.monitoring.profile import Profile
from jupyter_ext.monitoring.values import DriftCheck, EvaluationSpec, Monitor


@dataclass(frozen=True)
class Round:
    """What a job needs to measure for a monitor; pickles.

    Parameters
    ----------
    monitor_id
        Whose checks are made, against its reference: as they are when the job runs.
    source, storage_options
        Parquet: a file or a folder, as fsspec writes it (``s3://lake/requests``), and what opens it.
    models
        The models of the checks of metrics, by name and version.
    windows
        How many of the last whole windows to measure, where the monitor has a period.
    """

    monitor_id: str
    source: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)
    windows: int = 1


def run_round(what: Round) -> dict[str, int]:
    """Measure what came last and leave it for the server; return the rows of each window, none for a paused monitor.

    Rows of one window fit into memory. Where all checks are of drift and there is no period, a file of any size is
    profiled in parts, on all nodes of the cluster.

    Raises
    ------
    Invalid
        As `jupyter_ext.monitoring.checks.evaluate`; the source can't be read; this is no job.
    NotFound
        The monitor was deleted.
    """
    context = Context.from_environ()
    if context is None:
        raise Invalid("A round of a monitor runs inside a job: monitor.submit(source).")
    from jupyter_ext.store.objects import Blobs

    notice = Notice.read(context.objects, what.monitor_id)
    monitor = notice.monitor
    if not monitor.enabled:
        print(f"Monitor {monitor.name!r} is paused: nothing is measured.")
        return {}
    reference = Reference.of(notice.reference, Blobs(context.objects).get, lambda ref: _model(what, ref))
    made = _evaluations(what, monitor, reference, context.job_id)
    for number, evaluation in enumerate(made, start=1):
        Letter(monitor_id=monitor.id, owner=monitor.owner, evaluation=evaluation).post(context.objects)
        progress(number, len(made))
    return {evaluation.key: evaluation.n_rows for evaluation in made}


def _model(what: Round, ref: str) -> Any:
    try:
        return what.models[ref]
    except KeyError:
        raise Invalid(f"The job has no model {ref}: submit it, or schedule it, anew.") from None


def _evaluations(what: Round, monitor: Monitor, reference: Reference, job_id: str) -> list[EvaluationSpec]:
    now = datetime.now(UTC)
    of_drift = monitor.timestamp is None and all(isinstance(check, DriftCheck) for check in monitor.checks)
    if of_drift and os.path.splitext(what.source)[1] in (".parquet", ".pq") and not what.storage_options:
        names = list(reference.profile.columns) if reference.profile is not None else None
        current = Profile.of_parquet(what.source, like=reference.profile, columns=names, backend="ray")
        measured = measure(current, monitor.checks, reference)
        known = reference.profile_id
        return [EvaluationSpec(key=job_id, profile_id=known, end=now, n_rows=current.n_rows, measured=measured)]
    frame = _read(what, monitor, now)
    if not len(frame):
        return []
    return evaluate(frame, monitor.checks, reference, timestamp=monitor.timestamp, period=monitor.period, key=job_id)


def _read(what: Round, monitor: Monitor, now: datetime) -> pd.DataFrame:
    """Read the rows of the last whole windows, or all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(what.source, **what.storage_options)
        data = ds.dataset(path, filesystem=fs, format="parquet", partitioning="hive")
        condition = None
        if monitor.period is not None and monitor.timestamp is not None:
            kind = data.schema.field(monitor.timestamp).type
            since, until = span(monitor.period, now, what.windows)
            tz = getattr(kind, "tz", None)
            ends = [pa.scalar(end if tz else end.replace(tzinfo=None), type=kind) for end in (since, until)]
            moment = pc.field(monitor.timestamp)
            condition = (moment >= ends[0]) & (moment < ends[1])
        frame: pd.DataFrame = data.to_table(filter=condition).to_pandas()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise Invalid(f"{what.source} can't be read as Parquet: {error}") from error
    return frame


def span(period: str, now: datetime, windows: int) -> tuple[datetime, datetime]:
    """Return where the last ``windows`` whole windows begin and end.

    Examples
    --------
    >>> begin, end = span("D", datetime(2026, 5, 3, 15, tzinfo=UTC), 2)
    >>> begin.isoformat(), end.isoformat()
    ('2026-05-01T00:00:00+00:00', '2026-05-03T00:00:00+00:00')
    """
    this = pd.Period(pd.Timestamp(now).tz_convert("UTC").tz_localize(None), freq=period)
    ends = (this - windows).start_time, this.start_time
    begin, end = (moment.tz_localize("UTC").to_pydatetime() for moment in ends)
    return begin, end
