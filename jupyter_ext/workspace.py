"""The composition root: one store, one of each service. The server, the command line and the tests all start here."""

from __future__ import annotations

import getpass
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import jupyter_data_dir
from traitlets import Bool, Dict, Integer, Unicode, default
from traitlets.config import LoggingConfigurable

if TYPE_CHECKING:
    from jupyter_ext.clusters.service import ClusterService
    from jupyter_ext.datasets.service import DatasetService
    from jupyter_ext.jobs.service import JobService
    from jupyter_ext.jobs.supervisor import Supervisor
    from jupyter_ext.jobs.tracking import Tracking
    from jupyter_ext.labeling.service import LabelService
    from jupyter_ext.monitoring.service import MonitorService
    from jupyter_ext.monitoring.watcher import MonitorWatcher
    from jupyter_ext.registry.service import RegistryService
    from jupyter_ext.store.outbox import Sink
    from jupyter_ext.store.store import Store


class Workspace(LoggingConfigurable):
    """A team's or a person's workspace.

    Building one costs nothing; `open` connects the database and builds the services, `start` begins the background
    work (delivering events, supervising jobs), `close` ends it.

    Examples
    --------
    >>> import tempfile
    >>> workspace = Workspace(home=tempfile.mkdtemp(), user="ada")
    >>> workspace.open()
    >>> workspace.labels.store is workspace.store
    True
    >>> workspace.close()
    """

    home = Unicode(
        help="Folder of the workspace: database, objects, MLflow's files, Ray's files. On a local disk.",
    ).tag(config=True)
    database_url = Unicode(
        help="SQLAlchemy URL of the database: sqlite:////path (one machine, local disk) or postgresql+pg8000://….",
    ).tag(config=True)
    objects_url = Unicode(
        help="Where objects are kept: a folder, or an fsspec URL such as s3://bucket/prefix.",
    ).tag(config=True)
    objects_options = Dict(help="Options of the fsspec file system behind objects_url.").tag(config=True)
    auto_migrate = Bool(
        help="Bring an older database to this version when opening. On by default for SQLite, off for a shared server.",
    ).tag(config=True)
    user = Unicode(help="Who owns what is made here when the server itself knows no users (a laptop).").tag(config=True)
    multi_user = Bool(help="Whether requests carry real users: true under JupyterHub.").tag(config=True)
    track_metrics = Bool(True, help="Whether the metrics that jobs report are kept as runs of MLflow.").tag(config=True)
    threads = Integer(8, min=2, help="Threads that serve requests.").tag(config=True)

    store: Store
    datasets: DatasetService
    labels: LabelService
    clusters: ClusterService
    jobs: JobService
    supervisor: Supervisor
    tracking: Tracking
    models: RegistryService
    monitors: MonitorService
    watcher: MonitorWatcher

    @default("home")
    def _default_home(self) -> str:
        return os.environ.get("JUPYTER_EXT_HOME") or str(Path(jupyter_data_dir()) / "jupyter-ext")

    @default("database_url")
    def _default_database_url(self) -> str:
        return os.environ.get("JUPYTER_EXT_DATABASE_URL") or f"sqlite:///{self.path / 'workspace.db'}"

    @default("objects_url")
    def _default_objects_url(self) -> str:
        return os.environ.get("JUPYTER_EXT_OBJECTS_URL") or str(self.path / "objects")

    @default("auto_migrate")
    def _default_auto_migrate(self) -> bool:
        return self.database_url.startswith("sqlite")

    @default("user")
    def _default_user(self) -> str:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()

    @default("multi_user")
    def _default_multi_user(self) -> bool:
        return "JUPYTERHUB_USER" in os.environ

    @property
    def path(self) -> Path:
        """The home folder, absolute."""
        return Path(self.home).expanduser().absolute()

    def user_of(self, identity: Any) -> str:
        """Return the user behind a server's identity: the hub's name, or the owner of a single-user server.

        A server without a hub gives every browser and kernel an anonymous name of its own, though all are one person.
        """
        return str(identity.username) if self.multi_user else self.user

    def open_store(self) -> Store:
        """Connect the database and the object store, without migrating or building services."""
        from jupyter_ext.store.store import Store

        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Store(self.database_url, self.objects_url, self.objects_options)

    def open(self) -> None:
        """Connect, bring the database to this version, build the services.

        Raises
        ------
        jupyter_ext.errors.Conflict
            When the database is of a newer version, or of an older one and ``auto_migrate`` is off.
        """
        from jupyter_ext.clusters.service import ClusterService
        from jupyter_ext.datasets.service import DatasetService
        from jupyter_ext.jobs.service import JobService
        from jupyter_ext.jobs.supervisor import Supervisor
        from jupyter_ext.jobs.tracking import Tracking
        from jupyter_ext.labeling.service import LabelService
        from jupyter_ext.monitoring.service import MonitorService
        from jupyter_ext.monitoring.watcher import MonitorWatcher
        from jupyter_ext.registry.service import RegistryService
        from jupyter_ext.store import migrate

        self.store = self.open_store()
        try:
            migrate.prepare(self.store.database, auto=self.auto_migrate)
        except BaseException:
            self.store.close()
            raise
        self.executor = ThreadPoolExecutor(self.threads, thread_name_prefix="jupyter-ext")
        self.datasets = DatasetService(self.store, parent=self)
        self.labels = LabelService(self.store, datasets=self.datasets, parent=self)
        self.clusters = ClusterService(self.store, home=self.path, parent=self)
        self.jobs = JobService(
            self.store, clusters=self.clusters, datasets=self.datasets, labels=self.labels, parent=self
        )
        self.supervisor = Supervisor(self.jobs, parent=self)
        self.models = RegistryService(
            self.store, datasets=self.datasets, labels=self.labels, jobs=self.jobs, home=self.path, parent=self
        )
        self.monitors = MonitorService(self.store, models=self.models, datasets=self.datasets, parent=self)
        self.watcher = MonitorWatcher(self.monitors, owner=self.user, parent=self)
        self.tracking = Tracking(self.store, self.models, self.log)
        self.clusters.has_live_jobs = self.jobs.has_live_jobs

    def start(self, sink: Sink) -> None:
        """Begin the background work; events go to ``sink``."""
        self.store.outbox.prune()
        self.store.outbox.start(sink)
        self.clusters.start_renewing()
        self.supervisor.start()
        self.watcher.start()
        if self.track_metrics:
            self.tracking.start()

    def close(self) -> None:
        """Stop the background work and the connections. Jobs that run go on; a later open takes them up."""
        self.supervisor.stop()
        self.watcher.stop()
        self.tracking.stop()
        self.clusters.close()
        self.models.close()
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.store.close()
