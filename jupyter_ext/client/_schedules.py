"""Schedules of jobs: see, pause and delete them. `Jobs.schedule` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_ext.client import _job_views as views
from jupyter_ext.client._transport import segment
from jupyter_ext.errors import NotFound
from jupyter_ext.jobs import values

if TYPE_CHECKING:
    from jupyter_ext.client import Client


class Schedule(values.Schedule):
    """A schedule: when it fires next, and what became of its last firing."""

    def __repr__(self) -> str:
        return views.schedule_lines([self])

    def _repr_html_(self) -> str:
        return views.schedule_table([self])


class ScheduleList(list[Schedule]):
    """Schedules, newest first, shown as a table."""

    def __repr__(self) -> str:
        return views.schedule_lines(self)

    def _repr_html_(self) -> str:
        return views.schedule_table(self)


class Schedules:
    """The schedules of jobs: ``client.jobs.schedules``. Each is named by its name or its id.

    Examples
    --------
    >>> client.jobs.options(name="nightly").schedule("0 6 * * mon-fri", "print('good morning')").enabled
    True
    >>> client.jobs.schedules.pause("nightly").next_at
    >>> client.jobs.schedules.resume("nightly").enabled
    True
    >>> client.jobs.schedules.delete("nightly")
    """

    def __init__(self, client: Client) -> None:
        self._transport = client.transport

    def list(self) -> ScheduleList:
        """Return all schedules, newest first."""
        items = self._transport.pages("jobs/schedules", limit=500)
        return ScheduleList(Schedule.model_validate(item) for item in items)

    def get(self, schedule: str) -> Schedule:
        """Return a schedule.

        Raises
        ------
        NotFound
            There is none of that name or id.
        """
        for known in self.list():
            if schedule in (known.id, known.name):
                return known
        raise NotFound(f"There is no schedule {schedule!r}. `client.jobs.schedules.list()` shows what there is.")

    def pause(self, schedule: str) -> Schedule:
        """Keep a schedule from firing. Jobs that it submitted go on."""
        return self._change(schedule, enabled=False)

    def resume(self, schedule: str) -> Schedule:
        """Let a schedule fire again, from now on: what it missed is not made up for."""
        return self._change(schedule, enabled=True)

    def delete(self, schedule: str) -> None:
        """Delete a schedule. The jobs it submitted stay."""
        self._transport.delete(f"jobs/schedules/{segment(self.get(schedule).id)}")

    def _change(self, schedule: str, *, enabled: bool) -> Schedule:
        path = f"jobs/schedules/{segment(self.get(schedule).id)}"
        return Schedule.model_validate(self._transport.patch(path, values.ScheduleChange(enabled=enabled)))
