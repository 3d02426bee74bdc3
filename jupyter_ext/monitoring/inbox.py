"""How a job tells a monitor what it measured: a letter in the object store, which the server takes in.

A job does not reach the server, and the server may be away when it ends. The letter waits, and says the same when it is
written twice.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from jupyter_ext.monitoring.values import EvaluationSpec, Id
from jupyter_ext.values import Value

if TYPE_CHECKING:
    from jupyter_ext.store.objects import Objects

FOLDER = "monitors/inbox"


class Letter(Value):
    """A measured window and the monitor that judges it."""

    monitor_id: Id
    owner: str
    evaluation: EvaluationSpec

    @property
    def path(self) -> str:
        """Where it lies; paths sort by the windows' ends."""
        name = hashlib.sha256(self.evaluation.key.encode()).hexdigest()[:16]
        return f"{FOLDER}/{self.evaluation.end:%Y%m%dT%H%M%S.%f}.{self.monitor_id}.{name}.json"

    def post(self, objects: Objects) -> None:
        """Leave it for the server."""
        objects.put(self.path, self.model_dump_json().encode())
