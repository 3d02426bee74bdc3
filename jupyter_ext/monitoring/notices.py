"""What a job has to know of a monitor, in the object store: a job does not reach the server.

The server writes a notice anew with each change of the monitor, so that a schedule measures by what holds when it
fires, not by what held when it was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_ext.errors import NotFound
from jupyter_ext.monitoring.values import Id, Monitor, MonitorReference
from jupyter_ext.values import Value

if TYPE_CHECKING:
    from jupyter_ext.store.objects import Objects


class Notice(Value):
    """A monitor as it is now, without secrets, and what its windows are measured against."""

    monitor: Monitor
    reference: MonitorReference

    def post(self, objects: Objects) -> None:
        """Put it up in place of the one before."""
        objects.put(_path(self.monitor.id), self.model_dump_json().encode())

    @classmethod
    def read(cls, objects: Objects, monitor_id: Id) -> Notice:
        """Return the notice of a monitor.

        Raises
        ------
        NotFound
            The monitor was deleted.
        """
        try:
            return cls.model_validate_json(objects.get(_path(monitor_id)))
        except NotFound:
            raise NotFound(
                "The monitor was deleted. If this job is of a schedule, delete that too: "
                "workspace.jobs.schedules.delete(name).",
                monitor_id=monitor_id,
            ) from None


def take_down(objects: Objects, monitor_id: Id) -> None:
    """Remove the notice of a monitor that is no more."""
    objects.delete(_path(monitor_id))


def _path(monitor_id: Id) -> str:
    return f"monitors/notices/{monitor_id}.json"
