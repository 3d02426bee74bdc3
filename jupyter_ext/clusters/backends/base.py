"""What a backend of clusters does: start a head, find it again, keep it, stop it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traitlets.config import LoggingConfigurable


@dataclass(frozen=True)
class Head:
    """A head that lives: where it answers, what lets one in, and which one it is.

    ``ready_url`` answers 200 as soon as the head's job agent does: the dashboard alone takes no jobs yet.
    ``incarnation`` is another for every head that was ever started: what one head was told, the next knows nothing of.
    """

    owner: str
    name: str
    url: str
    ready_url: str
    token: str = field(repr=False)
    incarnation: str


class ClusterBackend(LoggingConfigurable):
    """Starts and stops heads somewhere. A cluster is named by its owner and a name.

    The service sees to it that ``start`` and ``stop`` of one cluster are never under way twice on one workspace.

    Parameters
    ----------
    home
        The workspace's folder.
    """

    #: What a user reads in `Cluster.backend`.
    kind: str

    def __init__(self, home: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.home = home

    @abstractmethod
    def start(self, owner: str, name: str) -> Head:
        """Begin to start a head, and return at once; it is ready some seconds later."""

    @abstractmethod
    def find(self, owner: str, name: str) -> Head | None:
        """Return the head that lives (ready or not), also one that another server started; None when there is none."""

    @abstractmethod
    def known(self) -> list[tuple[str, str]]:
        """Return owner and name of every cluster of this workspace that was started and not stopped, alive or not."""

    @abstractmethod
    def keep(self, head: Head) -> None:
        """Say that the head is still wanted. Without it a head ends by itself after a while."""

    @abstractmethod
    def stop(self, owner: str, name: str) -> None:
        """End the head and all that runs in it; return when nothing is left. Nothing happens when there is none."""

    @abstractmethod
    def log_tail(self, owner: str, name: str) -> str:
        """Return the last lines that the head wrote."""

    @abstractmethod
    def capacity(self) -> dict[str, float]:
        """Return the resources that a cluster will have, by Ray's names, without starting one."""
