"""A monitor's round as a job: reads the rows where they lie, measures them beside the data, and leaves letters."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.protocol import Context
from jupyter_ext.jobs.report import progress
from jupyter_ext.monitoring.checks import Reference, evaluate, measure
from jupyter_ext.monitoring.inbox import Letter
from jupyter_ext.monitoring.profile import Profile
from jupyter_ext.monitoring.values import DriftCheck, EvaluationSpec, Monitor


@dataclass(frozen=True)
class Round:
    """What a job needs to measure for a monitor; pickles.

    Parameters
    ----------
    monitor
        Whose checks are made.
    source, storage_options
        Parquet: a file or a folder, as fsspec writes it (``s3://lake/requests``), and what opens it.
    profile, rows
        Blobs of the reference's profile and of the Parquet file of its rows.
    models
        The models of the checks of metrics, by name and version.
    windows
        How many of the last whole windows to measure, where the monitor has a period.
    """

    monitor: Monitor
    source: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    profile: str | None = None
    rows: str | None = None
    models: dict[str, Any] = field(default_factory=dict)
    windows: int = 1


def run_round(what: Round) -> dict[str, int]:
    """Measure what came last and leave it for the server; return the rows of each window.

    Rows of one window fit into memory. Where all checks are of drift and there is no period, a file of any size is
    profiled in parts, on all nodes of the cluster.

    Raises
    ------
    Invalid
        As `jupyter_ext.monitoring.checks.evaluate`; the source can't be read; this is no job.
    """
    context = Context.from_environ()
    if context is None:
        raise Invalid("A round of a monitor runs inside a job: monitor.submit(source).")
    from jupyter_ext.store.objects import Blobs

    blobs = Blobs(context.objects)
    reference = Reference(
        Profile.from_bytes(blobs.get(what.profile)) if what.profile is not None else None,
        _reader(blobs, what.rows) if what.rows is not None else None,
        what.models.__getitem__,
    )
    made = _evaluations(what, reference, context.job_id)
    for number, evaluation in enumerate(made, start=1):
        Letter(monitor_id=what.monitor.id, owner=what.monitor.owner, evaluation=evaluation).post(context.objects)
        progress(number, len(made))
    return {evaluation.key: evaluation.n_rows for evaluation in made}


def _evaluations(what: Round, reference: Reference, job_id: str) -> list[EvaluationSpec]:
    monitor, now = what.monitor, datetime.now(UTC)
    of_drift = monitor.timestamp is None and all(isinstance(check, DriftCheck) for check in monitor.checks)
    if of_drift and os.path.splitext(what.source)[1] in (".parquet", ".pq") and not what.storage_options:
        names = list(reference.profile.columns) if reference.profile is not None else None
        current = Profile.of_parquet(what.source, like=reference.profile, columns=names, backend="ray")
        measured = measure(current, monitor.checks, reference)
        return [EvaluationSpec(key=job_id, end=now, n_rows=current.n_rows, measured=measured)]
    frame = _read(what, now)
    if not len(frame):
        return []
    return evaluate(frame, monitor.checks, reference, timestamp=monitor.timestamp, period=monitor.period, key=job_id)


def _read(what: Round, now: datetime) -> pd.DataFrame:
    """Read the rows of the last whole windows, or all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    from fsspec.core import url_to_fs

    monitor = what.monitor
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


def _reader(blobs: Any, digest: str) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        import io

        return pd.read_parquet(io.BytesIO(blobs.get(digest)))

    return read
