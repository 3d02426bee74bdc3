"""Clusters: every user has Ray heads of their own, started when first needed and stopped when idle.

A cluster whose backend declares kinds of workers grows and shrinks with what the queue wants, and with what its jobs
ask Ray for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from traitlets import Bool, Float, Int, Type
from traitlets.config import LoggingConfigurable

from jupyter_ext.clusters import ledger
from jupyter_ext.clusters.backends.base import ClusterBackend, Head
from jupyter_ext.clusters.environment import Environment, read_environment
from jupyter_ext.clusters.growth import Growth, scale_up, sums
from jupyter_ext.clusters.ray_jobs import RayJobs
from jupyter_ext.clusters.values import Cluster, ClusterQuery, ClusterSize, ClusterState, Node
from jupyter_ext.errors import Conflict, Invalid, JupyterExtError, NotFound, Unavailable
from jupyter_ext.store import Row, Store, now
from jupyter_ext.values import Name, Page

DEFAULT = "default"
_PROBE_SECONDS = 3.0
_RUNNING = "Running."
_LIVE = (ClusterState.STARTING, ClusterState.RUNNING, ClusterState.UNREACHABLE)
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class Connection:
    """A way into a running head.

    ``incarnation`` is another for every head: what one was told, the next knows nothing of.
    """

    owner: str
    name: str
    url: str
    token: str = field(repr=False)
    incarnation: str
    jobs: RayJobs = field(repr=False, compare=False)
    #: The interpreter that runs jobs there.
    python: str


class ClusterService(LoggingConfigurable):
    """Starts, finds, watches and stops users' Ray heads.

    A head belongs to no server process: it lives under a keeper, and the server that comes next finds it again.

    Parameters
    ----------
    store
        Holds the rows that say in which state a cluster is.
    home
        The workspace's folder, where heads are found again.
    """

    backend_class = Type(
        "jupyter_ext.clusters.backends.local.LocalBackend", klass=ClusterBackend, help="Where heads run."
    ).tag(config=True)
    start_timeout = Float(120.0, min=1.0, help="Seconds that a head may take until it accepts jobs.").tag(config=True)
    idle_timeout = Float(
        1800.0, min=0.0, help="Seconds without live jobs after which a head is stopped. 0: never."
    ).tag(config=True)
    check_interval = Float(5.0, min=0.1, help="Seconds between looks at the heads.").tag(config=True)
    stop_on_close = Bool(
        True, help="Whether heads without live jobs are stopped when the server stops. Those with jobs always go on."
    ).tag(config=True)
    max_clusters = Int(4, min=1, help="The most clusters of one user that run at once.").tag(config=True)

    #: Tells whether a user has jobs that are not at their end; the workspace sets it, jobs come after clusters.
    has_live_jobs: Callable[[str], bool]

    def __init__(self, store: Store, *, home: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store = store
        backend_class: type[ClusterBackend] = self.backend_class  # type: ignore[assignment]
        self.backend = backend_class(home, parent=self)
        self.has_live_jobs = lambda owner: False
        self._locks = home / "clusters"
        self._connections: dict[str, Connection] = {}
        self._growth = Growth(self.backend, self.connection)
        #: Heads of which it is known what is installed.
        self._told: set[str] = set()
        self._closing = threading.Event()
        self._threads: set[threading.Thread] = set()

    # What people ask for

    def list(self, query: ClusterQuery, *, owner: str) -> Page[Cluster]:
        """Return a user's clusters, newest first."""
        with self.store.read() as tx:
            rows, cursor = ledger.page(tx, query, owner)
        return Page(items=[self._value(self._refreshed(row)) for row in rows], next_cursor=cursor)

    def get(self, owner: str, name: str = DEFAULT) -> Cluster:
        """Return a cluster. Everybody has the default one; it is stopped until it is first needed."""
        row = self._row(owner, _checked(name))
        if row is None and name != DEFAULT:
            raise NotFound(f"You have no cluster {name!r}. Start it: %cluster start {name}", cluster=name)
        if row is None:
            return Cluster(
                name=name,
                owner=owner,
                backend=self.backend.kind,
                state=ClusterState.STOPPED,
                total=self.backend.capacity(),
                kinds=tuple(self.backend.kinds(owner, name)),
                wanted=self._growth.wanted(owner, name),
                message="Not started yet; the first job starts it.",
            )
        return self._value(self._refreshed(row))

    def start(self, owner: str, name: str = DEFAULT) -> Cluster:
        """Begin to start a cluster, unless it runs, and return at once."""
        row = self._row(owner, _checked(name))
        state = ClusterState.STOPPED if row is None else ClusterState(self._refreshed(row)["state"])
        if state not in _LIVE:
            self._require_room(owner)
            self._move(owner, name, ClusterState.STARTING, "Starting.")
        if state is not ClusterState.RUNNING:
            # Also when it starts already: the server that began may be gone.
            self._in_background(self._start_quietly, owner, name)
        return self.get(owner, name)

    def stop(self, owner: str, name: str = DEFAULT, message: str = "Stopped.") -> Cluster:
        """Stop a cluster and all that runs in it; return when nothing of it is left."""
        row = self._row(owner, _checked(name))
        if row is not None and row["state"] != ClusterState.STOPPED:
            self._move(owner, name, ClusterState.STOPPING, "Stopping.")
            self.backend.stop(owner, name)
            self._move(owner, name, ClusterState.STOPPED, message)
        elif row is not None:
            # One that was killed may have left files.
            self.backend.stop(owner, name)
        return self.get(owner, name)

    def resize(self, owner: str, name: str, size: ClusterSize) -> Cluster:
        """Set how many workers of some kinds a cluster may have, until it is stopped. Surplus ones go.

        Raises
        ------
        Invalid
            There is no such kind of worker, or there may not be so many of it.
        Conflict
            The cluster does not run.
        """
        row = self._row(owner, _checked(name))
        if row is None or ClusterState(self._refreshed(row)["state"]) not in _LIVE:
            raise Conflict(
                f"Cluster {name!r} does not run, and has no size. Start it: %cluster start {name}", cluster=name
            )
        kinds = [kind.name for kind in self.backend.kinds(owner, name)]
        for kind in size.limits:
            if kinds and kind not in kinds:
                raise Invalid(f"There is no kind of worker {kind[:60]!r}; there is {', '.join(kinds)}.", kind=kind)
        self.backend.resize(owner, name, dict(size.limits))
        # Other nodes may hold what is wanted now.
        self._growth.tell(owner, name, again=True)
        return self.get(owner, name)

    # What jobs need

    def ensure(self, owner: str, name: str = DEFAULT) -> Connection:
        """Return a way into a cluster, starting it when it does not run. However many ask at once, it starts once.

        Raises
        ------
        Unavailable
            It did not start; the message ends with the last lines of the head's log.
        """
        connection = self.connection(owner, name)
        if connection is not None:
            return connection
        with self._exclusive(owner, _checked(name)):
            self._await_stop(owner, name)
            connection = self.connection(owner, name)
            if connection is not None:
                return connection
            self._move(owner, name, ClusterState.STARTING, "Starting.")
            try:
                head = self.backend.find(owner, name) or self.backend.start(owner, name)
                return self._when_ready(head)
            except JupyterExtError as error:
                self.backend.stop(owner, name)
                self._move(owner, name, ClusterState.STOPPED, error.message, only_from=ClusterState.STARTING)
                raise

    def connection(self, owner: str, name: str = DEFAULT) -> Connection | None:
        """Return a way into a cluster that runs, or None. A head that lives and does not answer now still runs."""
        row = self._row(owner, name)
        if row is None or row["state"] not in (ClusterState.RUNNING, ClusterState.UNREACHABLE):
            return None
        head = self.backend.find(owner, name)
        return None if head is None else self._connect(head)

    def capacity(self, owner: str, name: str = DEFAULT) -> dict[str, float]:
        """Return the resources that a cluster can grow to, running or not, by Ray's names."""
        return self._growth.capacity(owner, name)

    def fits(self, owner: str, bundle: Mapping[str, float], name: str = DEFAULT) -> bool:
        """Return whether one node of a cluster, the head or a worker it may grow by, can ever hold a bundle."""
        return self._growth.fits(owner, name, bundle)

    def want(self, owner: str, bundles: Iterable[Mapping[str, float]], name: str = DEFAULT) -> None:
        """Say what a cluster is to have room for at once, in all. Each call replaces the last; only the queue calls.

        It is remembered, and told to the cluster as soon as it runs and can be reached. Bundles that find no place are
        left out (see `packing.place`). Nothing happens when the same is wanted as before.

        Parameters
        ----------
        bundles
            What the running jobs hold and the next ones need, a node's share each. The first are placed first.
        """
        self._growth.want(owner, name, bundles)

    def environment(self, owner: str, name: str = DEFAULT) -> Environment:
        """Return what is installed in a cluster's Python.

        Raises
        ------
        NotFound
            It is not known: the cluster is elsewhere, in another Python than this server's, and does not run, or no
            job has told yet what it found there.
        """
        if self.backend.kind == "local":
            return read_environment()
        unknown = f"What is installed on cluster {_checked(name)!r} is not known here; its first job tells."
        connection = self.connection(owner, name)
        if connection is None:
            raise NotFound(unknown, cluster=name)
        try:
            found = Environment.model_validate_json(
                self.store.objects.get(_environment_path(owner, name, connection.incarnation))
            )
        except (NotFound, ValidationError) as error:
            raise NotFound(unknown, cluster=name) from error
        # Where its Python lies on another machine is of no use to anybody here.
        return found.model_copy(update={"executable": None})

    def environment_to_tell(self, owner: str, incarnation: str, name: str = DEFAULT) -> str | None:
        """Return the object in which a job is to write down what is installed on a cluster; None when it is known."""
        if self.backend.kind == "local" or incarnation in self._told:
            return None
        path = _environment_path(owner, name, incarnation)
        former = [info.path for info in self.store.objects.list(path.rpartition("/")[0])]
        if path in former:
            self._told.add(incarnation)
            return None
        for other in former:
            self.store.objects.delete(other)
        return path

    # What goes on in the background

    def start_renewing(self) -> None:
        """Begin to watch the heads of this workspace: renew their leases, tell what became of them, stop idle ones."""
        self._in_background(self._watch)

    def close(self) -> None:
        """End the background work. Heads without live jobs are stopped (see ``stop_on_close``), the others go on."""
        self._closing.set()
        for thread in tuple(self._threads):
            thread.join()
        for owner, name in self.backend.known() if self.stop_on_close else ():
            try:
                if not self.has_live_jobs(owner):
                    self.stop(owner, name, "Stopped with the server.")
            except JupyterExtError as error:
                self.log.warning("Cluster %s of %s was not stopped: %s", name, owner, error)
        for connection in self._connections.values():
            connection.jobs.close()

    def _watch(self) -> None:
        while not self._closing.wait(self.check_interval):
            for owner, name in self.backend.known():
                try:
                    self._look_after(owner, name)
                except Exception:
                    # One cluster's trouble must not let the leases of the others run out; the next round tries again.
                    self.log.exception("Looking after cluster %s of %s failed", name, owner)

    def _look_after(self, owner: str, name: str) -> None:
        head = self.backend.find(owner, name)
        if head is not None:
            self.backend.keep(head)
        known = self._row(owner, name)
        if known is None:
            return
        row = self._refreshed(known)
        if row["state"] not in (ClusterState.RUNNING, ClusterState.UNREACHABLE):
            return
        busy = self.has_live_jobs(owner)
        if self.backend.kinds(owner, name):
            if not busy:
                # What a server wanted that is gone now. If our queue has said what it wants, it knows best.
                self._growth.want_nothing_by_default(owner, name)
            self._growth.tell(owner, name)
            self._value(row)
        if not self.idle_timeout:
            return
        if busy:
            self._used(row)
        elif now() - row["used_at"] > timedelta(seconds=self.idle_timeout):
            self.stop(owner, name, f"Stopped after {self.idle_timeout / 60:.0f} minutes without jobs.")

    def _used(self, row: Mapping[Any, Any]) -> None:
        if now() - row["used_at"] > timedelta(seconds=min(60.0, self.idle_timeout / 4)):
            with self.store.write() as tx:
                ledger.touch(tx, row["owner"], row["name"])

    def _in_background(self, work: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            try:
                work(*args)
            finally:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name="jupyter-ext-clusters", daemon=True)
        self._threads.add(thread)
        thread.start()

    # How a head starts

    def _start_quietly(self, owner: str, name: str) -> None:
        try:
            self.ensure(owner, name)
        except JupyterExtError as error:
            # The row says so too, where its owner reads it.
            self.log.warning("Cluster %s of %s did not start: %s", name, owner, error)

    def _await_stop(self, owner: str, name: str) -> None:
        """Wait for a stop that is under way: what is ending would be found, and taken for a cluster that starts."""
        while (row := self._row(owner, name)) is not None and row["state"] == ClusterState.STOPPING:
            # The server that was about to stop it may be gone.
            if now() - row["used_at"] > timedelta(seconds=self.start_timeout):
                return
            if self._closing.wait(0.1):
                raise Unavailable("The server stops.")

    def _when_ready(self, head: Head) -> Connection:
        connection = self._connect(head)
        deadline = time.monotonic() + self.start_timeout
        while not self._answers(connection, head):
            row = self._row(head.owner, head.name)
            if row is None or row["state"] != ClusterState.STARTING:
                raise Unavailable("The Ray cluster was stopped while it started.")
            if time.monotonic() > deadline:
                raise Unavailable(self._failure(head, f"did not accept jobs within {self.start_timeout:g} s"))
            if self.backend.find(head.owner, head.name) != head:
                raise Unavailable(self._failure(head, "ended while it started"))
            if self._closing.wait(0.1):
                raise Unavailable("The server stops.")
        self._move(
            head.owner,
            head.name,
            ClusterState.RUNNING,
            _RUNNING,
            only_from=ClusterState.STARTING,
            incarnation=head.incarnation,
            dashboard_url=head.url,
            ray_version=connection.jobs.version(),
            started_at=now(),
        )
        self._growth.tell(head.owner, head.name)
        return connection

    def _answers(self, connection: Connection, head: Head) -> bool:
        """Whether the head takes jobs: its dashboard answers, and its job agent does."""
        import httpx

        try:
            connection.jobs.version(timeout=_PROBE_SECONDS)
            secure = head.ready_url.startswith("https:")
            ready = httpx.get(head.ready_url, timeout=_PROBE_SECONDS, trust_env=False, verify=secure)
            return ready.is_success
        except (Unavailable, httpx.TransportError):
            return False

    def _failure(self, head: Head, what: str) -> str:
        tail = self.backend.log_tail(head.owner, head.name)
        return f"The Ray head {what}. Its log ends with:\n{tail}"

    def _connect(self, head: Head) -> Connection:
        known = self._connections.get(head.incarnation)
        if known is None:
            jobs = RayJobs(head.url, head.token)
            facts = (head.owner, head.name, head.url, head.token, head.incarnation)
            made = Connection(*facts, jobs, self.backend.python)
            known = self._connections.setdefault(head.incarnation, made)
        return known

    @contextmanager
    def _exclusive(self, owner: str, name: str) -> Iterator[None]:
        """Hold the right to start a cluster, among all threads and all servers of this workspace."""
        self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:16]
        handle = os.open(self._locks / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    # Rows

    def _row(self, owner: str, name: str) -> Row | None:
        with self.store.read() as tx:
            return ledger.find(tx, owner, name)

    def _move(
        self,
        owner: str,
        name: str,
        state: ClusterState,
        message: str,
        *,
        only_from: ClusterState | None = None,
        **facts: Any,
    ) -> None:
        with self.store.write() as tx:
            ledger.move(tx, owner, name, state, message, backend=self.backend.kind, only_from=only_from, facts=facts)

    def _refreshed(self, row: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return the row after comparing what it says with what is."""
        owner, name, state = row["owner"], row["name"], ClusterState(row["state"])
        try:
            head = self.backend.find(owner, name)
        except Unavailable as error:
            # Who would know does not answer now, which is no reason to hide what was known last.
            return {**row, "state": ClusterState.UNREACHABLE.value, "message": error.message}
        if state in (ClusterState.RUNNING, ClusterState.UNREACHABLE) and head is not None:
            try:
                self._connect(head).jobs.version(timeout=_PROBE_SECONDS)
                found, message = ClusterState.RUNNING, _RUNNING
            except JupyterExtError as error:
                found, message = ClusterState.UNREACHABLE, error.message
        elif head is None and state is not ClusterState.STOPPED:
            under_way = state in (ClusterState.STARTING, ClusterState.STOPPING)
            if under_way and now() - row["used_at"] < timedelta(seconds=self.start_timeout):
                return row
            found, message = ClusterState.STOPPED, "The Ray head ended by itself."
        else:
            return row
        if found == state:
            return row
        self._move(owner, name, found, message, only_from=state)
        return self._row(owner, name) or row

    def _require_room(self, owner: str) -> None:
        with self.store.read() as tx:
            running = ledger.count_live(tx, owner)
        if running >= self.max_clusters:
            raise Conflict(f"You have {running} clusters running, and may have {self.max_clusters}. Stop one first.")

    def _say(self, row: Mapping[Any, Any], nodes: Iterable[Node]) -> str:
        """Return what there is to say of a cluster that runs; who listens to its events is told when it is new."""
        message = scale_up(nodes) or _RUNNING
        if message != row["message"]:
            self._move(
                row["owner"],
                row["name"],
                ClusterState.RUNNING,
                message,
                only_from=ClusterState.RUNNING,
                # Growing is no use of it.
                used_at=row["used_at"],
            )
        return message

    def _value(self, row: Mapping[Any, Any]) -> Cluster:
        owner, name, message = row["owner"], row["name"], row["message"]
        total, available, nodes = self.backend.capacity(), dict[str, float](), tuple[Node, ...]()
        head = self.backend.find(owner, name) if row["state"] == ClusterState.RUNNING else None
        if head is not None:
            try:
                nodes = tuple(self.backend.nodes(head))
                if nodes:
                    total, available = sums(nodes)
                    message = self._say(row, nodes)
                else:
                    resources = self._connect(head).jobs.resources()
                    total, available = resources.total, resources.available
            except JupyterExtError as error:
                self.log.info("Cluster %s of %s does not tell its resources: %s", name, owner, error)
        live = row["state"] in _LIVE
        return Cluster(
            name=name,
            owner=owner,
            backend=row["backend"],
            state=ClusterState(row["state"]),
            ray_version=row["ray_version"] if live else None,
            dashboard_url=row["dashboard_url"] if live else None,
            total=total,
            available=available,
            nodes=nodes,
            kinds=tuple(self.backend.kinds(owner, name)),
            wanted=self._growth.wanted(owner, name),
            message=message,
            started_at=row["started_at"] if live else None,
        )


def _environment_path(owner: str, name: str, incarnation: str) -> str:
    """Return where it is written down what is installed on a cluster: another object for every head."""
    cluster, head = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (f"{owner}\0{name}", incarnation))
    return f"clusters/{cluster}/environment-{head}.json"


def _checked(name: str) -> str:
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise Invalid(
            f"{name[:60]!r} is no name for a cluster: letters, digits and ._- only, at most 128 characters.", name=name
        ) from error
