"""The configuration of Ray Train, without a cluster; tests/integration/test_ray_train.py trains."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.protocol import Context, Task, attempt_path, fence_path
from jupyter_ext.jobs.values import Resources
from jupyter_ext.store import Objects

train = pytest.importorskip("ray.train", reason="Ray is not installed: pip install 'jupyter-ext[ray]'")
ray_train = pytest.importorskip("jupyter_ext.jobs.ray_train")

RUN = "jobs/job-1/train/job-1"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Become a job: ``job(objects, resources)``."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "")
    monkeypatch.delenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S")

    def become(resources: Resources, objects: Objects | None = None) -> Objects:
        here = objects or Objects(tmp_path / "objects with spaces")
        facts = {"job_id": "job-1", "attempt": 1, "name": "try", "inputs": None, "fetch": (), "python": None}
        task = Task(source="pass", resources=resources, **facts)
        here.put(attempt_path("job-1", 1, "task.json"), task.model_dump_json().encode())
        here.put(fence_path("job-1"), b"1")
        for name, value in Context(here.root_url, here.storage_options, "job-1", 1).environ().items():
            monkeypatch.setenv(name, value)
        return here

    yield become
    os.environ.pop("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", None)


def test_workers_get_what_the_job_asked_for(job: Any) -> None:
    job(Resources(workers=4, cpus=2, gpus=0.5, memory_bytes=10**9, accelerator="A100"))
    made = ray_train.scaling_config(placement_strategy="SPREAD")
    assert (made.num_workers, made.use_gpu, made.accelerator_type) == (4, True, "A100")
    assert made.resources_per_worker == {"CPU": 2, "GPU": 0.5, "memory": 10**9}
    assert made.placement_strategy == "SPREAD"
    assert ray_train.scaling_config(num_workers=2).num_workers == 2


def test_a_job_that_asked_for_no_workers_is_told_how(job: Any) -> None:
    job(Resources())
    with pytest.raises(Invalid, match="--workers 2"):
        ray_train.scaling_config()
    assert ray_train.scaling_config(num_workers=1).num_workers == 1


def test_a_run_is_stored_under_its_job(job: Any) -> None:
    objects = job(Resources(workers=1))
    made = ray_train.run_config()
    assert made.name == "job-1"
    assert (made.failure_config.max_failures, made.failure_config.max_preemption_failures) == (3, -1)
    assert made.storage_context.experiment_fs_path == str(Path(objects._root) / RUN)
    assert [info.path for info in objects.list(RUN)] == [f"{RUN}/.validate_storage_marker"]


def test_what_is_said_counts_more(job: Any, tmp_path: Path) -> None:
    job(Resources(workers=1))
    other = train.UserCallback()
    made = ray_train.run_config(
        name="second", storage_path=str(tmp_path), failure_config=train.FailureConfig(max_failures=0), callbacks=[other]
    )
    assert (made.name, made.storage_path, made.failure_config.max_failures) == ("second", str(tmp_path), 0)
    assert made.callbacks[1] is other
    with pytest.raises(Invalid, match="a b"):
        ray_train.run_config(name="a b")


def test_a_run_is_stored_in_s3(job: Any, s3_server: Any, tmp_path: Path) -> None:
    from ray.train import Checkpoint

    s3_objects = s3_server.objects()
    job(Resources(workers=1), s3_objects)
    context = cloudpickle.loads(cloudpickle.dumps(ray_train.run_config())).storage_context
    assert s3_objects.exists(f"{RUN}/.validate_storage_marker")
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "deep" / "weights").write_bytes(bytes(100_000))
    kept = context.persist_current_checkpoint(Checkpoint.from_directory(str(tmp_path / "here")), "checkpoint_1")
    assert s3_objects.size(f"{RUN}/checkpoint_1/deep/weights") == 100_000
    with kept.as_directory() as back:
        assert (Path(back) / "deep" / "weights").read_bytes() == bytes(100_000)


def snapshot(step: int, reports: int, **metrics: Any) -> bytes:
    latest = {"checkpoint_dir_name": "c", "metrics": {"step": step, **metrics} if step >= 0 else metrics}
    return json.dumps({"latest_checkpoint_result": latest, "current_report_index": reports}).encode()


def test_it_says_where_it_goes_on(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    objects = job(Resources(workers=1))
    ray_train.run_config()
    assert capsys.readouterr().out == ""
    objects.put(f"{RUN}/checkpoint_manager_snapshot.json", snapshot(7, 9, loss=0.5))
    ray_train.run_config()
    assert capsys.readouterr().out == "[checkpoint] resumed at step 7 (Ray Train)\n"
    objects.put(f"{RUN}/checkpoint_manager_snapshot.json", snapshot(-1, 9))
    ray_train.run_config()
    assert capsys.readouterr().out == "[checkpoint] resumed at step 9 (Ray Train)\n"


def test_a_torn_list_of_checkpoints_is_mended(job: Any) -> None:
    objects, path = job(Resources(workers=1)), f"{RUN}/checkpoint_manager_snapshot.json"
    objects.put(path, snapshot(7, 9))
    ray_train.run_config()
    for torn in (b"", b'{"latest_che'):
        objects.put(path, torn)
        ray_train.run_config()
        assert objects.get(path) == snapshot(7, 9)
    objects.delete("jobs/job-1/train/job-1.json")
    objects.put(path, b"")
    ray_train.run_config()
    assert not objects.exists(path)


def test_reports_are_progress(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    objects = job(Resources(workers=2))
    (callback,) = ray_train.run_config(total=10).callbacks
    callback.after_report(None, [{"epoch": 3, "loss": 0.25, "a b": 1, "text": "x", "bad": float("nan")}, {}], None)
    callback.after_report(None, [{"loss": 0.125}], None)
    objects.put(f"{RUN}/checkpoint_manager_snapshot.json", snapshot(4, 9))
    callback.after_report(None, [{"step": 4}], object())
    assert capsys.readouterr().out.splitlines() == [
        "[progress] 3/10 loss=0.25",
        "[progress] 2/10 loss=0.125",
        "[progress] 4/10",
        "[checkpoint] saved step 4 (Ray Train)",
    ]
    assert objects.get("jobs/job-1/train/job-1.json") == snapshot(4, 9)


def test_stopping_hears_of_machines_that_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ray_train.stopping()
    monkeypatch.setattr(train, "get_preemption_info", lambda: None)
    assert not ray_train.stopping()
    monkeypatch.setattr(train, "get_preemption_info", lambda: object())
    assert ray_train.stopping()
