"""Pages of a registry with 50 models of 10 versions, through the API; beside MLflow's own client without a server.

MLflow's answer to the same question is what its client needs for one page: a search, and each model's champion.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_ext.client import Client
from support import server as servers

_MODELS, _VERSIONS = 50, 10
_FILL = """
import sys
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

home = sys.argv[1]
client = MlflowClient(f"sqlite:///{home}/mlflow.db")
columns = ",".join('{"name": "c%d", "type": "double"}' % n for n in range(30))
tags = {"jupyter_ext.facts": '{"flavor": "sklearn", "serialization_format": "cloudpickle", "inputs": [%s]}' % columns}
for m in range(int(sys.argv[2])):
    name = f"model-{m:02d}"
    experiment = client.create_experiment(name, artifact_location=f"{home}/mlflow-artifacts/{name}")
    client.create_registered_model(name)
    for v in range(int(sys.argv[3])):
        run = client.create_run(experiment).info.run_id
        client.log_batch(run, metrics=[Metric(f"m{n}", 0.5, 1, 0) for n in range(5)], params=[Param("p", "x")])
        source = f"{home}/mlflow-artifacts/{name}/{v}"
        client.create_model_version(name, source=source, run_id=run, tags=tags, await_creation_for=0)
    client.set_registered_model_alias(name, "champion", sys.argv[3])
"""
_PEER = """
import statistics, sys, time
from mlflow import MlflowClient

client = MlflowClient(f"sqlite:///{sys.argv[1]}/mlflow.db")
took = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    models = client.search_registered_models(max_results=50)
    for model in models:
        client.get_model_version_by_alias(model.name, "champion")
    took.append(time.perf_counter() - start)
print(statistics.median(took))
"""


def _child(code: str, *argv: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        env=servers.clean_environment(MLFLOW_DISABLE_TELEMETRY="true"),
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _median(call: Callable[[], object], runs: int) -> float:
    call()
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def measure(runs: int = 20) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        _child(_FILL, home, _MODELS, _VERSIONS)
        peer = float(_child(_PEER, home, runs).splitlines()[-1])
        running = servers.start(Path(folder))
        client = Client(running.url, running.token)
        try:
            ours = _median(lambda: client.transport.get("models"), runs)
            versions = _median(lambda: client.transport.get("models/model-07/versions"), runs)
        finally:
            client.transport.close()
            running.stop()
    return [
        ("page of 50 models", f"{ours * 1e3:.0f} ms ({ours / peer:.2f} × MLflow's client in process)", "≤ 100 ms"),
        ("page of 10 versions", f"{versions * 1e3:.0f} ms", "≤ 100 ms"),
    ]
