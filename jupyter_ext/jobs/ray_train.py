"""Ray Train in a job: its checkpoints in the workspace, its workers what the job asked for, its reports as progress.

::

    from jupyter_ext.jobs import ray_train
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        train_loop, scaling_config=ray_train.scaling_config(), run_config=ray_train.run_config(total=20)
    )
    result = trainer.fit()

When a worker is lost, Ray Train starts the workers again; when the job's own process is lost, the job's next attempt
runs these lines again. Either way ``ray.train.get_checkpoint()`` then returns the last checkpoint that was reported, so
the training function must begin with it. Needs Ray Train v2, which is what Ray 2.60 has unless it is switched off.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import threading
from typing import Any

import fsspec
import ray.train

from jupyter_ext.errors import Invalid, JupyterExtError, NotFound
from jupyter_ext.jobs import checkpoint
from jupyter_ext.jobs.protocol import Context, Task, attempt_path, train_path
from jupyter_ext.jobs.report import progress
from jupyter_ext.store.objects import Objects

__all__ = ["run_config", "scaling_config", "stopping"]

#: How often Ray Train starts the workers again after an error in them, unless it is told otherwise.
MAX_FAILURES = 3
#: The metrics that may say which step a report is of.
STEPS = ("step", "epoch", "iteration", "training_iteration")

#: How often Ray Train looks at its workers, and so how long a report takes; two seconds by itself.
_LOOK_VARIABLE, _LOOK_S = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"
_SNAPSHOT = "checkpoint_manager_snapshot.json"
_METRIC = re.compile(r"[^\s=]{1,100}")


def run_config(*, total: int | None = None, **more: Any) -> Any:
    """Return the ``ray.train.RunConfig`` of this job.

    Its name is the job's id, and it is stored in the workspace's object store, so that every attempt of the job finds
    what the former ones reported. A run is started again after three errors of workers, and however often machines
    are taken away. What is reported is shown as the job's progress.

    Parameters
    ----------
    total
        How many steps there will be; with it a bar is shown. The step of a report is its metric ``step``, ``epoch``,
        ``iteration`` or ``training_iteration``, the first of them that is there, or else the number of the report.
    **more
        Whatever ``RunConfig`` takes; it counts more than what is said here. A job with several runs gives each a
        ``name``. Callbacks are added to ours.

    Returns
    -------
    ray.train.RunConfig

    Raises
    ------
    Invalid
        When a name can't be that of a folder.
    Unavailable
        When the workspace's object store does not answer.

    Examples
    --------
    >>> run_config(name="try").failure_config.max_failures
    3
    """
    context = Context.from_environ()
    more.setdefault("failure_config", ray.train.FailureConfig(max_failures=MAX_FAILURES))
    run = None
    if context is not None and "storage_path" not in more:
        run = _Run(context, str(more.setdefault("name", context.job_id)))
        run.mend()
        more["storage_path"], more["storage_filesystem"] = _storage(context)
        os.environ.setdefault(_LOOK_VARIABLE, _LOOK_S)
    reports = _Reports(run, total)
    more["callbacks"] = [reports, *(more.get("callbacks") or ())]
    if run is not None and (step := run.last_step()) is not None:
        print(f"[checkpoint] resumed at step {step} (Ray Train)", flush=True)
    return ray.train.RunConfig(**more)


def scaling_config(**more: Any) -> Any:
    """Return the ``ray.train.ScalingConfig`` that the job asked for: its workers, and what each of them gets.

    Parameters
    ----------
    **more
        Whatever ``ScalingConfig`` takes; it counts more than what the job asked for.

    Returns
    -------
    ray.train.ScalingConfig

    Raises
    ------
    Invalid
        In a job that asked for no workers, when ``num_workers`` is not given either.

    Examples
    --------
    >>> scaling_config(num_workers=2).num_workers
    2
    """
    context = Context.from_environ()
    if context is None:
        return ray.train.ScalingConfig(**more)
    data = context.objects.get(attempt_path(context.job_id, context.attempt, "task.json"))
    asked = Task.model_validate_json(data).resources
    if not asked.workers:
        if "num_workers" not in more:
            raise Invalid(
                "scaling_config: this job asked for no workers. Submit it with workers, such as --workers 2, or say "
                "scaling_config(num_workers=2) when the cluster has room for them besides the job's own process."
            )
        return ray.train.ScalingConfig(**more)
    amounts = {"CPU": asked.cpus, "GPU": asked.gpus, "memory": asked.memory_bytes or 0}
    ours = {
        "num_workers": asked.workers,
        "use_gpu": asked.gpus > 0,
        "resources_per_worker": {name: amount for name, amount in amounts.items() if amount},
        "accelerator_type": asked.accelerator,
    }
    return ray.train.ScalingConfig(**{**ours, **more})


def stopping() -> bool:
    """Whether the machine of one of the workers is going away, or else `checkpoint.stopping`.

    In the training function of Ray Train every worker must ask equally often, and hears the same. It is the moment to
    report a checkpoint once more, outside of the usual order, and to go on: Ray Train starts the workers again when
    the machine is gone, and that counts as no failure.

    Examples
    --------
    >>> stopping()
    False
    """
    try:
        info = ray.train.get_preemption_info()
    except (
        AttributeError,
        RuntimeError,
        DeprecationWarning,
    ):  # an older Ray; not in a worker of Ray Train; in Ray Tune
        return checkpoint.stopping()
    if info is not None:
        return True
    # With num_workers=0 the training function runs here, in the job's own process.
    return threading.current_thread() is threading.main_thread() and checkpoint.stopping()


class _Run:
    """What Ray Train keeps of one run of a job."""

    def __init__(self, context: Context, name: str) -> None:
        self._objects: Objects = context.objects
        self._snapshot = f"{train_path(context.job_id)}/{name}/{_SNAPSHOT}"
        self._copy = f"{train_path(context.job_id)}/{name}.json"

    def keep_copy(self) -> None:
        """Copy Ray Train's list of checkpoints, which has just been written."""
        with contextlib.suppress(JupyterExtError):
            self._objects.put(self._copy, self._objects.get(self._snapshot))

    def mend(self) -> None:
        """Put the copy in the place of a list that was torn: on a folder, Ray Train writes it over the former one.

        The checkpoints that a torn list had left out are still there: Ray Train deletes them after it was written.
        """
        data, copy = self._get(self._snapshot), self._get(self._copy)
        if data is None:
            return
        if _parsed(data):
            self._objects.put(self._copy, data)
        elif copy is None:
            self._objects.delete(self._snapshot)
        else:
            self._objects.put(self._snapshot, copy)

    def state(self) -> dict[str, Any]:
        """Return the list; empty before the first checkpoint."""
        return _parsed(self._get(self._snapshot) or b"")

    def last_step(self) -> int | None:
        """Return the step of the last checkpoint."""
        state = self.state()
        last = state.get("latest_checkpoint_result")
        if not last:
            return None
        step = _step(last["metrics"])
        return int(state.get("current_report_index", 0)) if step is None else step

    def _get(self, path: str) -> bytes | None:
        try:
            return self._objects.get(path)
        except NotFound:
            return None


class _Reports(ray.train.UserCallback):
    """Shows what the workers report as the job's progress. Runs in Ray Train's controller, and fails never."""

    def __init__(self, run: _Run | None, total: int | None) -> None:
        self._run = run
        self._total = total
        self._count = int(run.state().get("current_report_index", 0)) if run is not None else 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Print the lines."""
        self._count += 1
        first = metrics[0] if metrics else {}
        found = _step(first)
        step = self._count if found is None else found
        numbers = {name: value for name, value in first.items() if name not in STEPS and _is_number(name, value)}
        progress(step, self._total, **numbers)
        if checkpoint is not None:
            print(f"[checkpoint] saved step {step} (Ray Train)", flush=True)
            if self._run is not None:
                self._run.keep_copy()


def _storage(context: Context) -> tuple[str, Any]:
    """Return the folder of the job's runs as Ray Train takes it: a path, and the file system unless it is the local."""
    from fsspec.implementations.local import LocalFileSystem
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    url = context.objects.url(train_path(context.job_id))
    # Workers and attempts write there, and each must see at once what the others wrote.
    filesystem, path = fsspec.url_to_fs(url, **{**context.storage_options, "use_listings_cache": False})
    return path, None if isinstance(filesystem, LocalFileSystem) else PyFileSystem(FSSpecHandler(filesystem))


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _step(metrics: dict[str, Any]) -> int | None:
    """Return which step a report is of, if it says so.

    Examples
    --------
    >>> _step({"loss": 0.5, "epoch": 3}), _step({"loss": 0.5}), _step({"step": "third"})
    (3, None, None)
    """
    value: Any = next((metrics[name] for name in STEPS if name in metrics), None)
    try:
        step = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return step if step >= 0 else None


def _is_number(name: str, value: Any) -> bool:
    try:
        return bool(_METRIC.fullmatch(name)) and not math.isnan(float(value))
    except (TypeError, ValueError):
        return False
