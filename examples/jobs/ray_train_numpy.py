"""Ray Train: two workers fit a line, each on its half of the data, and save together after every step.

Submit it with ``%submit_job examples/jobs/ray_train_numpy.py --workers 2 --fetch states --wait``. With PyTorch, take
``TorchTrainer`` and ``torch.save`` instead; the rest stays.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from jupyter_ext.jobs import ray_train

STEPS = 12


def train_loop():
    here = ray.train.get_context()
    rank, size = here.get_world_rank(), here.get_world_size()
    x = np.arange(rank, 100, size) / 100
    y = 3 * x + 1

    weights, history = np.zeros(2), []
    saved = ray.train.get_checkpoint()
    if saved is not None:
        with saved.as_directory() as folder:
            state = json.loads((Path(folder) / f"worker-{rank}.json").read_text())
        weights, history = np.array(state["weights"]), state["history"]
        print(f"worker {rank} goes on after step {history[-1]}", flush=True)

    for step in range(len(history), STEPS):
        error = weights[0] * x + weights[1] - y
        weights -= 0.5 * np.array([(error * x).mean(), error.mean()])
        history.append(step)
        with tempfile.TemporaryDirectory() as folder:
            state = {"weights": list(weights), "history": history}
            (Path(folder) / f"worker-{rank}.json").write_text(json.dumps(state))
            metrics = {"step": step, "loss": float((error**2).mean())}
            ray.train.report(metrics, ray.train.Checkpoint.from_directory(folder))


trainer = DataParallelTrainer(
    train_loop, scaling_config=ray_train.scaling_config(), run_config=ray_train.run_config(total=STEPS)
)
result = trainer.fit()
with result.checkpoint.as_directory() as folder:
    states = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("worker-*.json"))]
