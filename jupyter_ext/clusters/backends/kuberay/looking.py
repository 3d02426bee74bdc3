"""What there is of a workspace's clusters, at most a second old however many ask."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from jupyter_ext.clusters.backends.kuberay import names
from jupyter_ext.clusters.backends.kuberay.api import Api
from jupyter_ext.clusters.backends.kuberay.options import Object
from jupyter_ext.errors import JupyterExtError

#: The service asks whether a head lives many times a second; a request each would be a burden to the API server.
_FRESH_SECONDS = 1.0


@dataclass
class Seen:
    """The RayClusters and the pods of heads at one moment, or why they are not known."""

    at: float = float("-inf")
    clusters: list[Object] = field(default_factory=list)
    heads: list[Object] = field(default_factory=list)
    failure: JupyterExtError | None = None


class Look:
    """Lists a workspace's clusters when what is known is too old. Thread-safe.

    Parameters
    ----------
    api
        The client.
    workspace
        Whose clusters.
    namespace
        Where; None for everywhere.
    """

    def __init__(self, api: Api, workspace: str, namespace: str | None) -> None:
        self._api = api
        self._labels = names.workspace_labels(workspace)
        self._namespace = namespace
        self._lock = threading.Lock()
        self._seen = Seen()

    def now(self) -> Seen:
        """Return what there is.

        Raises
        ------
        jupyter_ext.errors.Unavailable
            The API server does not answer: nothing is known, least of all that something is gone.
        """
        seen = self.last()
        if seen.failure is not None:
            raise type(seen.failure)(seen.failure.message, **seen.failure.details)
        return seen

    def last(self) -> Seen:
        """Return what there is, or was when that was last known: then ``failure`` is set."""
        with self._lock:
            if time.monotonic() - self._seen.at > _FRESH_SECONDS:
                try:
                    clusters, _ = self._api.list_all("RayCluster", self._namespace, self._labels)
                    heads = {**self._labels, names.RAY_NODE_TYPE: "head"}
                    pods, _ = self._api.list_all("Pod", self._namespace, heads)
                    self._seen = Seen(time.monotonic(), clusters, pods)
                except JupyterExtError as error:
                    # Those that ask meanwhile get the same answer, instead of each waiting in vain.
                    self._seen = Seen(time.monotonic(), self._seen.clusters, self._seen.heads, error)
            return self._seen

    def forget(self) -> None:
        """See to it that the next look shows what was just written."""
        with self._lock:
            self._seen.at = float("-inf")
