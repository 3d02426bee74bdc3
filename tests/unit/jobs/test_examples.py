"""The examples of jobs: killed in the middle, each goes on from its checkpoint and ends with the same model."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_ext.jobs import checkpoint
from jupyter_ext.jobs.protocol import Context
from jupyter_ext.jobs.values import JobState

EXAMPLES = Path(__file__).parents[3] / "examples" / "jobs"

#: Put before an example, it kills the first attempt when it is about to save for the third time.
KILL = """
import os, signal
from jupyter_ext.jobs import checkpoint
from jupyter_ext.jobs.protocol import Context

def save(step, state, *, save=checkpoint.save, steps=[], **more):
    if Context.from_environ().attempt == 1 and len(steps) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    steps.append(step)
    save(step, state, **more)

checkpoint.save = save
"""


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    (tmp_path / "workspace.db").write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{tmp_path / 'workspace.db'}"


@pytest.fixture
def run_twice(driver: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run an example in peace, outside of any job, and as a job that is killed; return what both made, and the job."""

    def run(file: str, name: str) -> tuple[Any, Any, Any]:
        import cloudpickle

        monkeypatch.delenv(Context.VARIABLE, raising=False)
        undisturbed = runpy.run_path(str(EXAMPLES / file))[name]
        job_id = driver.submit(KILL + (EXAMPLES / file).read_text(), fetch=(name,))
        job = driver.finish(job_id, 120.0)
        assert job.state is JobState.SUCCEEDED, driver.log(job_id)
        assert [attempt.state for attempt in job.attempts] == ["interrupted", "succeeded"]
        resumed = job.attempts[1].resumed_step
        assert resumed is not None
        # What a killed process said last may be lost, what it saved is not.
        assert resumed >= (job.attempts[0].durable_step or 0)
        assert job.progress.step == job.progress.total
        return undisturbed, cloudpickle.loads(driver.jobs.result(job_id, owner="ada"))[name], job

    yield run
    checkpoint._scratch.close()  # what the example has saved outside of a job would be the next test's


def test_plain_loop(run_twice: Any) -> None:
    undisturbed, killed, job = run_twice("plain_loop.py", "weights")
    assert job.attempts[1].resumed_step == 99
    assert job.progress.metrics["accuracy"] > 0.97
    np.testing.assert_array_equal(killed, undisturbed)


def test_sklearn_partial_fit(run_twice: Any) -> None:
    undisturbed, killed, job = run_twice("sklearn_partial_fit.py", "model")
    assert job.attempts[1].resumed_step == 1
    assert job.progress.metrics["accuracy"] > 0.9
    for name in ("coef_", "intercept_", "t_"):
        np.testing.assert_array_equal(getattr(killed, name), getattr(undisturbed, name))


def test_xgboost_rounds(run_twice: Any) -> None:
    pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install xgboost-cpu")
    undisturbed, killed, job = run_twice("xgboost_rounds.py", "model")
    assert job.attempts[1].resumed_step == 20
    assert killed.num_boosted_rounds() == undisturbed.num_boosted_rounds() == 60
    assert killed.get_dump() == undisturbed.get_dump()


def test_pytorch_loop(run_twice: Any) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    undisturbed, killed, job = run_twice("pytorch_loop.py", "weights")
    assert job.attempts[1].resumed_step == 1
    assert killed.keys() == undisturbed.keys()
    for name, weight in undisturbed.items():
        np.testing.assert_array_equal(killed[name], weight)
