"""A real MLflow on SQLite in its worker process, and the registry with the services it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_ext.datasets.service import DatasetService
from jupyter_ext.jobs.service import JobService
from jupyter_ext.labeling.service import LabelService
from jupyter_ext.registry import archive
from jupyter_ext.registry.mlflow_client import MlflowWorker
from jupyter_ext.registry.service import RegistryService
from jupyter_ext.store import Store
from support.registry import MLMODEL, AnyCluster, House, connection


@pytest.fixture(scope="session")
def mlflow_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowWorker]:
    """One MLflow for all tests of this process; they name their models differently."""
    worker = MlflowWorker(connection(tmp_path_factory.mktemp("mlflow")))
    yield worker
    worker.close()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model folder as MLflow writes it; nothing ever loads its pickle."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "model.pkl").write_bytes(b"this is no pickle")
    return folder


@pytest.fixture
def make_house(store: Store, model_folder: Path, tmp_path: Path) -> Callable[[MlflowWorker], House]:
    """Build the services on the test's store and a given MLflow."""

    def make(worker: MlflowWorker) -> House:
        datasets = DatasetService(store)
        labels = LabelService(store, datasets=datasets)
        jobs = JobService(store, clusters=AnyCluster(), datasets=datasets, labels=labels)  # type: ignore[arg-type]
        models = RegistryService(store, datasets=datasets, labels=labels, jobs=jobs, home=tmp_path, worker=worker)
        return House(store, datasets, labels, jobs, models, store.blobs.put(archive.pack(model_folder)))

    return make


@pytest.fixture
def house(make_house: Callable[[MlflowWorker], House], mlflow_worker: MlflowWorker) -> House:
    """The services on the test's store and the shared MLflow."""
    return make_house(mlflow_worker)
