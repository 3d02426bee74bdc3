"""The workspace from Python: one client, one attribute a noun.

Examples
--------
>>> from jupyter_ext.client import Client
>>> client = Client("http://127.0.0.1:8888/", token="…")
>>> client
<jupyter_ext client of http://127.0.0.1:8888/>
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from jupyter_ext.client._transport import Transport
from jupyter_ext.errors import JupyterExtError, Unavailable

if TYPE_CHECKING:
    from jupyter_ext.client._outbox import Outbox
    from jupyter_ext.client.clusters import Clusters
    from jupyter_ext.client.datasets import Datasets
    from jupyter_ext.client.jobs import Jobs
    from jupyter_ext.client.labels import Labels
    from jupyter_ext.client.models import Models
    from jupyter_ext.client.monitors import Monitors

__all__ = ["Client", "connect"]


class Client:
    """A workspace, through the REST API of its server.

    Parameters
    ----------
    url, token
        Where the Jupyter server is, and its token.
    """

    def __init__(self, url: str, token: str) -> None:
        self.transport = Transport(url, token)
        self.transport.on_answer = self._send_kept

    @cached_property
    def outbox(self) -> Outbox:
        """Submissions that the server could not take; `Jobs.flush` sends them."""
        from jupyter_ext.client._outbox import Outbox

        return Outbox(self.transport)

    def _send_kept(self) -> None:
        try:
            self.outbox.flush(wait=False)
        except (JupyterExtError, OSError):
            # Whoever called meant something else; the next call tries again.
            return

    @cached_property
    def datasets(self) -> Datasets:
        """Data sets."""
        from jupyter_ext.client.datasets import Datasets

        return Datasets(self)

    @cached_property
    def labels(self) -> Labels:
        """Label tasks, votes, label sets."""
        from jupyter_ext.client.labels import Labels

        return Labels(self)

    @cached_property
    def jobs(self) -> Jobs:
        """Jobs."""
        from jupyter_ext.client.jobs import Jobs

        return Jobs(self)

    @cached_property
    def clusters(self) -> Clusters:
        """Ray clusters."""
        from jupyter_ext.client.clusters import Clusters

        return Clusters(self)

    @cached_property
    def models(self) -> Models:
        """Models, versions, aliases, lineage."""
        from jupyter_ext.client.models import Models

        return Models(self)

    @cached_property
    def monitors(self) -> Monitors:
        """Monitors, their alarms, profiles and drift reports."""
        from jupyter_ext.client.monitors import Monitors

        return Monitors(self)

    def __reduce__(self) -> str:
        raise TypeError("a client of the workspace, and what it returned, stay here: it holds your token")

    def __repr__(self) -> str:
        return f"<jupyter_ext client of {self.transport.url}>"


def connect(url: str | None = None, token: str | None = None) -> Client:
    """Return a client; see `jupyter_ext.connect`."""
    url = url or os.environ.get("JUPYTER_EXT_URL")
    if not url:
        raise Unavailable(
            "This kernel does not know its workspace: JUPYTER_EXT_URL is not set. Start the kernel from a Jupyter "
            "server that has jupyter-ext, or call connect(url, token)."
        )
    client = Client(url, token if token is not None else os.environ.get("JUPYTER_EXT_TOKEN", ""))
    try:
        client.transport.identify()
    except BaseException:
        client.transport.close()
        raise
    return client
