"""A monitor's handle, and lists of monitors, windows, alarms and deliveries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from jupyter_ext.client._rows import Column, Rows, when
from jupyter_ext.client._transport import segment
from jupyter_ext.errors import Invalid
from jupyter_ext.monitoring.values import (
    Alarm,
    Delivery,
    Evaluation,
    Measurement,
    MetricCheck,
    Monitor,
    MonitorChange,
    MonitorReference,
)

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.client._job import Job
    from jupyter_ext.client._schedules import Schedule
    from jupyter_ext.monitoring.checks import Reference


class MonitorHandle:
    """A monitor, with its verbs. Its facts (``name``, ``model``, ``checks``, ``firing`` …) are attributes.

    ``monitor.check(frame)`` measures here; ``submit`` and ``schedule`` do so as jobs, beside the data.
    """

    def __init__(self, client: Client, value: Monitor) -> None:
        self._client = client
        self._transport = client.transport
        self.value = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def refresh(self) -> Monitor:
        """Ask the server, and return all it knows of the monitor."""
        self.value = Monitor.model_validate(self._transport.get(self._path()))
        return self.value

    def check(self, frame: Any, *, key: str | None = None) -> EvaluationList:
        """Measure a frame in this kernel, window by window, and have it judged.

        Parameters
        ----------
        frame
            A DataFrame or an Arrow table. Where the monitor has a period, each whole window of it is judged by itself,
            and those that were judged before are not judged again.
        key
            Names the frame, where it is one window. By default the same rows are the same window: they are judged
            once.

        Returns
        -------
        EvaluationList
            The judged windows, oldest first.

        Raises
        ------
        Invalid
            As `jupyter_ext.monitoring.drift` and `jupyter_ext.monitoring.fit_outlier_detector`; a check needs
            something that is not there.
        Conflict
            The monitor is paused.
        """
        from jupyter_ext.monitoring.checks import evaluate

        monitor = self.refresh()
        period = {"timestamp": monitor.timestamp, "period": monitor.period}
        made = evaluate(frame, monitor.checks, self._reference(), **period, key=key)
        path = self._path("evaluations")
        return EvaluationList(Evaluation.model_validate(self._transport.post(path, one)) for one in made)

    def submit(
        self,
        source: str,
        *,
        windows: int = 1,
        storage_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job:
        """Measure as a job, where the rows lie. What it finds is judged when it has ended.

        Parameters
        ----------
        source
            Parquet, a file or a folder, as fsspec writes it: ``s3://lake/requests``.
        windows
            How many of the last whole windows to look at, where the monitor has a period.
        storage_options
            What fsspec needs to open the source.
        **options
            Of the job, as `Jobs.options` takes them: ``memory="8GB"``, ``cpus=4``.
        """
        jobs = self._client.jobs.options(**{"name": f"monitor {self.value.name}"[:128], **options})
        return jobs.submit(_job(), self._round(source, windows, storage_options))

    def schedule(
        self,
        cron: str,
        source: str,
        *,
        windows: int = 1,
        storage_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Schedule:
        """Do as `submit` does again and again, by the clock: ``monitor.schedule("15 0 * * *", "s3://lake/requests")``.

        Each time the monitor's reference of then is taken, and nothing is measured while it is paused. The models of
        metrics are those of now; schedule anew when they changed. The schedule is one of ``client.jobs.schedules``.
        """
        jobs = self._client.jobs.options(**{"name": f"monitor {self.value.name}"[:128], **options})
        return jobs.schedule(cron, _job(), self._round(source, windows, storage_options))

    def evaluations(self, limit: int = 50) -> EvaluationList:
        """Return the last judged windows, newest first."""
        page = self._transport.get(self._path("evaluations"), limit=limit)
        return EvaluationList(Evaluation.model_validate(item) for item in page["items"])

    def alarms(self, state: str | None = None) -> AlarmList:
        """Return the monitor's alarms, newest first: of a state, or ``"active"`` (pending or firing)."""
        items = self._transport.pages("monitors/alarms", monitor_id=self.value.id, state=state, limit=500)
        return AlarmList(Alarm.model_validate(item) for item in items)

    def deliveries(self) -> DeliveryList:
        """Return the messages about alarms, newest first, and what became of them."""
        items = self._transport.pages(self._path("deliveries"), limit=500)
        return DeliveryList(Delivery.model_validate(item) for item in items)

    def history(self, check: str | None = None, feature: str | None = None) -> pd.DataFrame:
        """Return what was measured in all windows, oldest first, as `jupyter_ext.monitoring.drift_over_time` does.

        ``DriftView(report, history=monitor.history())`` shows it.

        Returns
        -------
        DataFrame
            ``chunk`` (the window's begin, or its end), ``feature``, ``method`` (the check), ``value``, ``threshold``,
            ``alarm`` (whether the rule was broken). For p- and q-values, ``value`` and ``threshold`` are -log10 of
            them: larger is more telling.
        """
        import numpy as np
        import pandas as pd

        path, many = self._path("measurements"), 500 if feature is not None else 20
        items = self._transport.pages(path, check=check, feature=feature, limit=many)
        found = [Measurement.model_validate(item) for item in items]
        rows = []
        for one in reversed(found):
            value, threshold = one.value, one.threshold
            if one.comparator == "<=" and one.check in self._levels and value is not None:
                value, threshold = (float(-np.log10(max(number, 1e-300))) for number in (value, threshold))
            name = one.feature or "(all columns)"
            method = f"{one.check}: {one.aspect}" if one.aspect else one.check
            rows.append((one.start or one.end, name, method, value, threshold, one.breached))
        columns = ["chunk", "feature", "method", "value", "threshold", "alarm"]
        return pd.DataFrame(rows, columns=columns)

    def pause(self) -> MonitorHandle:
        """Judge nothing until `resume`."""
        return self._change(MonitorChange(enabled=False))

    def resume(self) -> MonitorHandle:
        """Go on judging."""
        return self._change(MonitorChange(enabled=True))

    def compare_with(self, profile: Any) -> MonitorHandle:
        """Take another stored profile as the reference, and begin anew with it: levels and alarms are those of a start.

        Parameters
        ----------
        profile
            What `Monitors.save_profile` answered, or its id.
        """
        return self._change(MonitorChange(profile_id=getattr(profile, "id", profile)))

    def delete(self) -> None:
        """Delete the monitor with its history. Schedules go on until they are deleted."""
        self._transport.delete(self._path())

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _levels(self) -> set[str]:
        return {check.name for check in self.value.checks if check.kind in ("drift", "outliers")}

    def _reference(self) -> Reference:
        from jupyter_ext.monitoring.checks import Reference

        stored = MonitorReference.model_validate(self._transport.get(self._path("reference")))
        return Reference.of(stored, lambda digest: self._transport.download(f"blobs/{digest}"), self._model)

    def _model(self, ref: str) -> Any:
        name, _, version = ref.partition("/")
        number = int(version) if version.isdigit() else version or "@champion"
        return self._client.models.load(name, number)

    def _round(self, source: str, windows: int, storage_options: Mapping[str, Any] | None) -> Any:
        from jupyter_ext.monitoring.run import Round

        if windows < 1:
            raise Invalid(f"windows is {windows}; look at one at least.")
        monitor = self.refresh()
        models = {check.model: self._model(check.model) for check in monitor.checks if isinstance(check, MetricCheck)}
        return Round(
            monitor_id=monitor.id,
            # A job runs in a folder of its own.
            source=source if "://" in source else os.path.abspath(source),
            storage_options=dict(storage_options or {}),
            models=models,
            windows=windows,
        )

    def _change(self, change: MonitorChange) -> MonitorHandle:
        self.value = Monitor.model_validate(self._transport.patch(self._path(), change))
        return self

    def _path(self, of: str = "") -> str:
        return f"monitors/{segment(self.value.id)}" + (f"/{of}" if of else "")

    def __repr__(self) -> str:
        return f"<monitor {self.value.name!r} of {_watched(self.value)}: {_state(self.value)}>"

    def _repr_html_(self) -> str:
        self.refresh()
        alarms = self.alarms("active")
        about = f"<b>{escape(self.value.name)}</b> watches {escape(_watched(self.value))}: {escape(_state(self.value))}"
        return f"<div>{about}</div>" + (alarms._repr_html_() if alarms else "")


def _job() -> Any:
    from jupyter_ext.monitoring.run import run_round

    return run_round


def _watched(monitor: Monitor) -> str:
    return monitor.model or monitor.dataset_id or monitor.profile_id or ""


def _state(monitor: Monitor) -> str:
    if not monitor.enabled:
        return "paused"
    if monitor.last_end is None:
        return "no window yet"
    alarms = [
        f"{count} {state}" for state, count in (("firing", monitor.firing), ("pending", monitor.pending)) if count
    ]
    return f"{', '.join(alarms) or 'quiet'}, last window to {when(monitor.last_end)}"


class MonitorList(Rows):
    """Monitors, newest first."""

    columns = (
        Column("name", lambda one: one.name),
        Column("watches", lambda one: _watched(one.value)),
        Column("checks", lambda one: ", ".join(check.name for check in one.checks)),
        Column("state", lambda one: _state(one.value)),
        Column("windows", lambda one: one.value.evaluations),
    )
    empty = "There are no monitors yet. Make one: workspace.monitors.create(name, model=…)"


class EvaluationList(Rows):
    """Judged windows."""

    columns = (
        Column("from", lambda one: one.start, when),
        Column("to", lambda one: one.end, when),
        Column("rows", lambda one: one.n_rows, lambda count: f"{count:,}"),
        Column("breaches", lambda one: one.breached),
        Column("fired", lambda one: " ".join(alarm.message for alarm in one.fired)),
        Column("resolved", lambda one: len(one.resolved)),
        Column("skipped", lambda one: one.skipped),
    )
    empty = "No window was judged yet: monitor.check(frame)"


class AlarmList(Rows):
    """Alarms, newest first."""

    columns = (
        Column("state", lambda one: one.state),
        Column("monitor", lambda one: one.monitor),
        Column("what", lambda one: one.message),
        Column("windows", lambda one: one.breaches),
        Column("began", lambda one: one.began_at, when),
        Column("fired", lambda one: one.fired_at, when),
        Column("resolved", lambda one: one.resolved_at, when),
    )
    empty = "No alarms."


class DeliveryList(Rows):
    """Messages about alarms, newest first."""

    columns = (
        Column("at", lambda one: one.created_at, when),
        Column("event", lambda one: one.event),
        Column("to", lambda one: f"{one.route.kind} {getattr(one.route, 'url', '')}".strip()),
        Column("alarms", lambda one: len(one.alarm_ids)),
        Column("state", lambda one: one.state),
        Column("attempts", lambda one: one.attempts),
        Column("error", lambda one: one.error),
    )
    empty = "Nothing was sent."
