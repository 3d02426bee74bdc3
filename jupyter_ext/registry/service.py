"""The registry: models, versions, aliases and where each version comes from, on top of MLflow."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from traitlets import Float, Int, Unicode
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import Conflict, Invalid, JupyterExtError, NotFound, Unavailable
from jupyter_ext.jobs.values import JobState
from jupyter_ext.registry.lineage import Origins, find_origins, read_upstream, version_node_id, write_nodes
from jupyter_ext.registry.mlflow_client import MlflowWorker
from jupyter_ext.registry.moves import AliasMoves
from jupyter_ext.registry.tables import registration
from jupyter_ext.registry.values import (
    AliasMove,
    AliasTarget,
    Lineage,
    LineageEdge,
    Model,
    ModelQuery,
    ModelVersion,
    ModelVersionSpec,
    check_model_name,
)
from jupyter_ext.store import Store, now
from jupyter_ext.values import Page, Query, new_id

if TYPE_CHECKING:
    from jupyter_ext.datasets.service import DatasetService
    from jupyter_ext.jobs.service import JobService
    from jupyter_ext.jobs.tracking import Point
    from jupyter_ext.jobs.values import Job
    from jupyter_ext.labeling.service import LabelService

_REF = re.compile(r"@[A-Za-z0-9_\-]{1,255}|[1-9][0-9]{0,8}")
#: What MLflow lets nobody name a model, and what its filters cannot quote: such a name is never found.
_UNNAMEABLE = re.compile(r"[/:'\"\x00-\x1f]|.{257,}")

_RUN_STATUS = {JobState.SUCCEEDED: "FINISHED", JobState.FAILED: "FAILED", JobState.CANCELLED: "KILLED"}


class RegistryService(LoggingConfigurable):
    """Registers model versions in MLflow, promotes them, and tells where they come from.

    MLflow holds the models; our own tables hold what it does not: the history of aliases, and lineage. MLflow itself
    lives in a child process (`MlflowWorker`), started when first needed.
    """

    tracking_uri = Unicode(
        help="MLflow tracking URI: a database (sqlite:////path, postgresql://…) or a server (https://…). "
        "Default: a SQLite database in the workspace's home. The environment's MLFLOW_TRACKING_URI is not read."
    ).tag(config=True)
    registry_uri = Unicode(help="MLflow registry URI, where it is not the tracking URI.").tag(config=True)
    artifact_root = Unicode(
        help="Where models' files are kept: a folder or a URL such as s3://bucket/prefix. Default: a folder in the "
        "workspace's home with a database, the server's own choice with an MLflow server."
    ).tag(config=True)
    max_model_bytes = Int(4 * 2**30, help="The most bytes a model may unpack to.").tag(config=True)
    timeout_s = Float(600.0, help="How long registering or packing one model may take, in seconds.").tag(config=True)
    idle_stop_s = Float(
        1800.0, help="MLflow's process (about 250 MB) ends after so many seconds without a request."
    ).tag(config=True)
    repair_after_s = Float(
        3600.0, help="A registration that a crash left half-done is completed or cleared away after so many seconds."
    ).tag(config=True)

    def __init__(
        self,
        store: Store,
        *,
        datasets: DatasetService,
        labels: LabelService,
        jobs: JobService,
        home: Path,
        worker: MlflowWorker | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.datasets = datasets
        self.labels = labels
        self.jobs = jobs
        self.worker = worker or self._own_worker(home)
        self._moves = AliasMoves(store, self.worker)

    def close(self) -> None:
        """Stop MLflow's process."""
        self.worker.close()

    def track(self, job: Job, points: list[Point], at_ms: int) -> None:
        """Log what a job reported into an MLflow run of its own, in the experiment of the job's name."""
        began = job.started_at or job.created_at
        facts = {
            "id": job.id,
            "name": job.name,
            "owner": job.owner,
            "params": {name: json.dumps(value) for name, value in job.parameters.items()},
            "links": {"dataset_id": job.dataset_id, "label_set_id": job.label_set_id, "job_id": job.id},
            "started_ms": int(began.timestamp() * 1000),
            "status": _RUN_STATUS[job.state] if job.ended_at is not None else None,
        }
        told = [{"step": point.step, "metrics": point.metrics} for point in points]
        self.worker.call("track", job=facts, points=told, at_ms=at_ms)

    # -- reading -----------------------------------------------------------------------------------------------------

    def list(self, query: ModelQuery) -> Page[Model]:
        """Return models, last changed first."""
        if query.name and _UNNAMEABLE.search(query.name):
            return Page(items=[])
        return Page[Model](**self.worker.call("list_models", name=query.name, limit=query.limit, cursor=query.cursor))

    def get(self, name: str) -> Model:
        """Return a model."""
        return Model(**self.worker.call("get_model", name=_findable(name)))

    def list_versions(self, name: str, query: Query) -> Page[ModelVersion]:
        """Return a model's versions, newest first."""
        found = self.worker.call("list_versions", name=_findable(name), limit=query.limit, cursor=query.cursor)
        return Page[ModelVersion](**found)

    def get_version(self, name: str, ref: str) -> ModelVersion:
        """Return a version by its number or by ``@alias``."""
        return ModelVersion(**self.worker.call("get_version", name=_findable(name), ref=_checked_ref(ref)))

    def archive(self, name: str, ref: str) -> bytes:
        """Return a version's model folder as a zip, for a kernel to load."""
        with tempfile.TemporaryDirectory(prefix="jupyter-ext-model-") as folder:
            target = Path(folder, "model.zip")
            self.worker.call(
                "pack_version",
                timeout_s=self.timeout_s,
                name=_findable(name),
                ref=_checked_ref(ref),
                target=str(target),
            )
            return target.read_bytes()

    def lineage(self, name: str, ref: str) -> Lineage:
        """Return everything that went into a version."""
        version = self.get_version(name, ref)
        with self.store.read() as tx:
            return read_upstream(tx, version)

    # -- registering -------------------------------------------------------------------------------------------------

    def register(self, name: str, spec: ModelVersionSpec, *, owner: str) -> ModelVersion:
        """Register an uploaded model archive as the next version of ``name``.

        The same ``idempotency_key`` again gives the same version, also after a crash in the middle.

        Raises
        ------
        Invalid
            A bad name, an archive that is no MLflow model, or origins that do not belong together.
        NotFound
            The data set, label set or job is not there.
        """
        check_model_name(name)
        origins = find_origins(spec, owner=owner, datasets=self.datasets, labels=self.labels, jobs=self.jobs)
        blob = self.store.blobs.require(spec.archive)
        self._repair()
        begun = self._begin(name, spec, origins, owner)
        if begun["version"] is not None:
            return self.get_version(name, str(begun["version"]))
        with tempfile.TemporaryDirectory(prefix="jupyter-ext-model-") as folder:
            archive = Path(folder, "model.zip")
            with self.store.objects.open(blob) as source, archive.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            try:
                made = self.worker.call(
                    "register",
                    timeout_s=self.timeout_s,
                    name=name,
                    request=begun["id"],
                    archive_path=str(archive),
                    spec=spec.model_dump(mode="json", include={"description", "metrics", "params", "tags"}),
                    links=begun["spec"]["links"],
                    at_ms=int(begun["created_at"].timestamp() * 1000),
                    max_bytes=self.max_model_bytes,
                )
            except Unavailable:
                # Whether MLflow has it is not known. The same key asks again; otherwise the repair finds out.
                raise
            except JupyterExtError:
                self._forget(begun["id"])
                raise
        self._finish(begun, made["version"])
        return ModelVersion(**made)

    # -- aliases -----------------------------------------------------------------------------------------------------

    def promote(self, name: str, alias: str, target: AliasTarget, *, actor: str) -> AliasMove:
        """Point an alias at a version. Going back to an earlier version is the same verb.

        Raises
        ------
        NotFound
            No such model or version.
        Invalid
            A word that cannot be an alias.
        Conflict
            Somebody else is moving this alias at this moment.
        """
        self._repair()
        return self._moves.move(_findable(name), alias, target, actor)

    def remove_alias(self, name: str, alias: str, *, actor: str) -> AliasMove:
        """Remove an alias; its history stays."""
        return self._moves.remove(_findable(name), alias, actor)

    def history(self, name: str, alias: str, query: Query) -> Page[AliasMove]:
        """Return every move of an alias, newest first."""
        return self._moves.history(_findable(name), alias, query)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _own_worker(self, home: Path) -> MlflowWorker:
        uri = self.tracking_uri or os.environ.get("JUPYTER_EXT_MLFLOW_URI") or f"sqlite:///{home / 'mlflow.db'}"
        remote = uri.startswith(("http://", "https://"))
        root = self.artifact_root or ("" if remote else str(home / "mlflow-artifacts"))
        return MlflowWorker(
            {"tracking_uri": uri, "registry_uri": self.registry_uri or None, "artifact_root": root or None},
            idle_stop_s=self.idle_stop_s,
            log=self.log,
        )

    def _begin(self, name: str, spec: ModelVersionSpec, origins: Origins, owner: str) -> Mapping[Any, Any]:
        given = spec.model_dump(mode="json")
        row = {
            "id": new_id("mv"),
            "model": name,
            "owner": owner,
            "idempotency_key": spec.idempotency_key,
            "spec": {"given": given, "links": origins.links | {"owner": owner}, "parent": origins.parent},
            "version": None,
            "created_at": now(),
        }
        try:
            with self.store.write() as tx:
                tx.execute(sa.insert(registration).values(row))
                # True whether or not the version comes to be, so the repair needs to add one edge only.
                write_nodes(tx, origins.nodes, origins.edges)
        except IntegrityError:
            begun = self._begun(name, owner, spec.idempotency_key)
            if begun is None:
                raise
            if begun["spec"]["given"] != given:
                raise Conflict(
                    f"The idempotency key {spec.idempotency_key!r} was used for another version of {name!r}."
                ) from None
            return begun
        return row

    def _begun(self, name: str, owner: str, key: str | None) -> Mapping[Any, Any] | None:
        with self.store.read() as tx:
            return tx.one_or_none(
                sa.select(registration).where(
                    registration.c.model == name,
                    registration.c.owner == owner,
                    registration.c.idempotency_key == key,
                )
            )

    def _finish(self, begun: Mapping[Any, Any], version: int) -> None:
        name, parent = begun["model"], begun["spec"]["parent"]
        with self.store.write() as tx:
            unfinished = sa.and_(registration.c.id == begun["id"], registration.c.version.is_(None))
            if tx.execute(sa.update(registration).where(unfinished).values(version=version)).rowcount == 0:
                return
            if parent is not None:
                write_nodes(tx, [], [LineageEdge(source=parent, target=version_node_id(name, version))])
            tx.emit("model", {"name": name, "version": version, "what": "registered", "actor": begun["owner"]})
        self.log.info("Registered model %s version %d", name, version)

    def _forget(self, request: str) -> None:
        with self.store.write() as tx:
            tx.execute(sa.delete(registration).where(registration.c.id == request, registration.c.version.is_(None)))

    def _repair(self) -> None:
        """Complete or clear away what crashes left: registrations and moves between MLflow's write and ours."""
        before = now() - timedelta(seconds=self.repair_after_s)
        with self.store.read() as tx:
            left = tx.all(
                sa.select(registration).where(registration.c.version.is_(None), registration.c.created_at < before)
            )
        for begun in left:
            made = self.worker.call("find_request", name=begun["model"], request=begun["id"])
            if made is not None:
                self._finish(begun, made["version"])
            else:
                self.worker.call("discard", name=begun["model"], request=begun["id"])
                self._forget(begun["id"])
        self._moves.settle_all()


def _findable(name: str) -> str:
    if _UNNAMEABLE.search(name):
        raise NotFound(f"There is no model {name!r}.", name=name)
    return name


def _checked_ref(ref: str) -> str:
    if not _REF.fullmatch(ref):
        raise Invalid(f"{ref!r} is no version: give a number like 3, or an alias like @champion.", version=ref)
    return ref
