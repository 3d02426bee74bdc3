"""Registering in MLflow step by step: whatever a step leaves, asking again ends with one complete version."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.registry import archive
from jupyter_ext.registry.mlflow_worker import translated
from support.registry import connection

# What importing and using MLflow warns of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = (
    "create_experiment",
    "create_run",
    "log_batch",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "log_outputs",
    "set_terminated",
    "create_registered_model",
    "create_model_version",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow-here")


@pytest.fixture(scope="module")
def registry(root: Path) -> Any:
    pytest.importorskip("mlflow")
    from jupyter_ext.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(**connection(root))


@pytest.fixture
def zipped(model_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.zip"
    path.write_bytes(archive.pack(model_folder))
    return path


def register(registry: Any, name: str, zipped: Path, **spec: Any) -> dict[str, Any]:
    given = {"description": "", "metrics": {"auc": 0.5}, "params": {"depth": "3"}, "tags": {}} | spec
    made: dict[str, Any] = registry.register(
        name,
        f"request-of-{name}",
        str(zipped),
        given,
        {"owner": "ada", "job_id": "job-1"},
        1_700_000_000_000,
        10_000_000,
    )
    return made


def rows(root: Path, statement: str, *values: Any) -> list[Any]:
    database = sqlite3.connect(root / "mlflow.db")
    try:
        return database.execute(statement, values).fetchall()
    finally:
        database.close()


def counts(root: Path, name: str) -> tuple[int, int, int, int]:
    """Active runs, active logged models, outputs and versions of one model."""
    of = "experiment_id = (SELECT experiment_id FROM experiments WHERE name = ?) AND lifecycle_stage = 'active'"
    runs = rows(root, f"SELECT run_uuid FROM runs WHERE {of}", name)
    models = rows(root, f"SELECT model_id FROM logged_models WHERE {of}", name)
    outputs = [row for run in runs for row in rows(root, "SELECT 1 FROM inputs WHERE source_id = ?", run[0])]
    versions = rows(root, "SELECT version FROM model_versions WHERE name = ?", name)
    return len(runs), len(models), len(outputs), len(versions)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_dying_at_any_step_and_asking_again(
    registry: Any, root: Path, zipped: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    from mlflow import MlflowClient

    name = f"dies-{when}-{step}"
    real = getattr(MlflowClient, step)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            real(*args, **kwargs)
        # No Exception: like a killed process, it runs no clean-up of ours.
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, dying)
        with pytest.raises(KeyboardInterrupt):
            register(registry, name, zipped)
    made = register(registry, name, zipped)
    assert (made["version"], made["metrics"], made["params"]) == (1, {"auc": 0.5}, {"depth": "3"})
    assert counts(root, name) == (1, 1, 1, 1)
    assert register(registry, name, zipped) == made


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_failing_step_leaves_nothing(
    registry: Any, root: Path, zipped: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from mlflow import MlflowClient

    name = f"fails-{step}"

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, full)
        with pytest.raises(OSError, match="No space left") as caught:
            register(registry, name, zipped)
    assert translated(caught.value).reason == "storage_full"
    if step == "set_terminated":
        # Clearing away needs that very step; the repair does it later.
        registry.discard(name, f"request-of-{name}")
    assert counts(root, name) == (0, 0, 0, 0)
    assert rows(root, "SELECT 1 FROM registered_models WHERE name = ?", name) == []
    assert [path for path in (root / "artifacts" / name).rglob("*") if path.is_file()] == []


def test_a_version_that_others_registered_is_read_from_its_own_files(registry: Any, model_folder: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source=model_folder.as_uri(), tags={"team": "red"})
    client.create_model_version("foreign", source=(model_folder.parent / "gone").as_uri())
    found = registry.list_versions("foreign", 10, None)["items"]
    assert [(version["version"], version["flavor"]) for version in found] == [(2, None), (1, "sklearn")]
    assert found[1]["tags"] == {"team": "red"}
    assert (found[1]["run_id"], found[1]["model_id"], found[1]["owner"]) == (None, None, None)


def test_a_deleted_experiment_is_told(registry: Any, zipped: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(Exception, match=r"was deleted\. Restore it first"):
        register(registry, "deleted", zipped)


def test_a_bad_archive_is_refused_before_anything_is_made(registry: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK no")
    with pytest.raises(Invalid):
        register(registry, "bad", tmp_path / "bad.zip")
    assert rows(root, "SELECT 1 FROM experiments WHERE name = 'bad'") == []


def test_a_database_of_another_mlflow_is_told(registry: Any, root: Path, tmp_path: Path) -> None:
    import mlflow

    from jupyter_ext.registry.mlflow_registry import MlflowRegistry

    registry.ping()
    shutil.copy(root / "mlflow.db", tmp_path / "mlflow.db")
    database = sqlite3.connect(tmp_path / "mlflow.db")
    database.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
    database.commit()
    database.close()
    try:
        with pytest.raises(Exception, match=r"schema|revision") as caught:
            MlflowRegistry(**connection(tmp_path)).ping()
    finally:
        mlflow.set_tracking_uri(connection(root)["tracking_uri"])
        mlflow.set_registry_uri(connection(root)["tracking_uri"])
    error = translated(caught.value)
    assert (error.reason, "MLflow's database" in error.message) == ("unavailable", True)


def test_a_jobs_metrics_become_one_run(registry: Any) -> None:
    job = {
        "id": "job-1",
        "name": "train tracked",
        "owner": "ada",
        "params": {"lr": "0.1"},
        "links": {"dataset_id": "dataset-1", "label_set_id": None, "job_id": "job-1"},
        "started_ms": 1_700_000_000_000,
        "status": None,
    }
    registry.track(job, [{"step": 1, "metrics": {"loss": 0.5, "acc[val]": 0.75}}], 1_700_000_001_000)
    registry.track({**job, "status": "FINISHED"}, [{"step": 2, "metrics": {"loss": 0.25}}], 1_700_000_002_000)
    experiment = registry._client.get_experiment_by_name("train tracked")
    (run,) = registry._client.search_runs([experiment.experiment_id])
    assert run.data.metrics == {"loss": 0.25, "acc_val_": 0.75}
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["jupyter_ext.dataset_id"] == "dataset-1"
    assert (run.info.status, run.info.run_name) == ("FINISHED", "train tracked")
    history = registry._client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]
