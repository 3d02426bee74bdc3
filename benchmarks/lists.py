"""Latency of every list with 10,000 rows behind it, over HTTP, first page and a page deep inside."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import support.server as servers
from jupyter_ext.client import Client
from jupyter_ext.values import new_id
from jupyter_ext.workspace import Workspace
from support.rows import row

_ROWS = 10_000
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def _seed(home: Path, owner: str) -> str:
    """Write 10,000 rows of every noun straight into the database; return the ids of a label task and of a job."""
    from jupyter_ext.clusters.tables import cluster
    from jupyter_ext.datasets.tables import dataset
    from jupyter_ext.jobs.protocol import checkpoints_path
    from jupyter_ext.jobs.tables import job, job_event
    from jupyter_ext.labeling.tables import label_function, label_set, label_task, label_vote
    from jupyter_ext.monitoring.tables import drift_report, profile
    from jupyter_ext.registry.tables import alias_move

    workspace = Workspace(home=str(home))
    workspace.open()
    store, task_id = workspace.store, new_id("task")
    common: dict[str, Any] = {"owner": owner, "created_at": _AT}
    with store.write() as tx:
        tx.execute(
            sa.insert(label_task),
            [row(label_task, id=task_id, name="bench", dataset_id="d", classes=["a", "b"], **common)],
        )
        tx.execute(
            sa.insert(cluster),
            [row(cluster, owner=owner, name=f"n{n}", state="stopped", used_at=_AT) for n in range(_ROWS)],
        )
        for table in (dataset, label_task, label_set, profile, drift_report):
            tx.execute(
                sa.insert(table),
                [
                    row(table, id=new_id("x"), name=f"n{n}", version=1, task_id=task_id, classes=["a", "b"], **common)
                    for n in range(_ROWS)
                ],
            )
        tx.execute(
            sa.insert(label_function),
            [
                row(label_function, id=new_id("f"), name=f"n{n}", version=1, task_id=task_id, **common)
                for n in range(_ROWS)
            ],
        )
        tx.execute(
            sa.insert(label_vote),
            [
                row(label_vote, task_id=task_id, key=f"k{n}", voter=owner, label="a", updated_at=_AT)
                for n in range(_ROWS)
            ],
        )
        jobs = [
            row(job, id=new_id("job"), name=f"n{n % 50}", state="succeeded", ended_at=_AT, **common)
            for n in range(_ROWS)
        ]
        tx.execute(sa.insert(job), jobs)
        tx.execute(
            sa.insert(job_event),
            [row(job_event, job_id=jobs[0]["id"], to_state="queued", actor=owner, at=_AT) for _ in range(_ROWS)],
        )
        tx.execute(
            sa.insert(alias_move),
            [
                row(alias_move, model="m0", alias="champion", from_version=n, to_version=n + 1, at=_AT, done=True)
                for n in range(1, _ROWS)
            ],
        )
    objects = Path(workspace.store.objects.root_url.removeprefix("file://"))
    folder = objects / checkpoints_path(jobs[0]["id"])
    folder.mkdir(parents=True)
    for n in range(_ROWS):
        (folder / f"step-{n}.attempt-1.pkl").touch()
    workspace.close()
    _seed_mlflow(home)
    return f"{task_id} {jobs[0]['id']}"


def _seed_mlflow(home: Path) -> None:
    """Write 10,000 models, and 10,000 versions of one, into MLflow's database."""
    # MLflow makes its tables; in a process of its own, because importing it changes the one that measures.
    uri = f"sqlite:///{home}/mlflow.db"
    make = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).create_registered_model('m0')"
    subprocess.run([sys.executable, "-c", make, uri], check=True, capture_output=True)
    engine = sa.create_engine(uri)
    tables = sa.MetaData()
    tables.reflect(engine, only=["registered_models", "model_versions"])
    model, version = tables.tables["registered_models"], tables.tables["model_versions"]
    with engine.begin() as connection:
        common = dict(connection.execute(sa.select(model)).mappings().one())
        connection.execute(sa.insert(model), [{**common, "name": f"m{n}"} for n in range(1, _ROWS)])
        common = {**common, "current_stage": "None", "status": "READY", "source": f"file://{home}/x"}
        connection.execute(sa.insert(version), [{**common, "name": "m0", "version": n} for n in range(1, _ROWS + 1)])
    engine.dispose()


def measure(runs: int = 30) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        import getpass

        task_id, job_id = _seed(home, getpass.getuser()).split()
        running = servers.start(Path(folder))
        try:
            client = Client(running.url, running.token)
            paths = {
                "datasets": "datasets",
                "label tasks": "labels/tasks",
                "label sets": "labels/sets",
                "functions of a task": f"labels/tasks/{task_id}/functions",
                "votes of a task": f"labels/tasks/{task_id}/votes",
                "jobs": "jobs",
                "jobs that live": "jobs?state=live",
                "jobs by name": "jobs?name=n7",
                "events of a job": f"jobs/{job_id}/events",
                "checkpoints of a job": f"jobs/{job_id}/checkpoints",
                "clusters": "clusters",
                "models": "models",
                "versions of a model": "models/m0/versions",
                "moves of an alias": "models/m0/aliases/champion/history",
                "profiles": "monitors/profiles",
                "drift reports": "monitors/reports",
            }
            return [_time(client, label, path, runs) for label, path in paths.items()]
        finally:
            running.stop()


def _time(client: Client, label: str, path: str, runs: int) -> tuple[str, str, str]:
    bare, listed, deep = [], [], []
    cursor = None
    for _ in range(20):
        page = client.transport.get(path, limit=500, cursor=cursor) if "?" not in path else client.transport.get(path)
        if not page["next_cursor"]:
            break
        cursor = page["next_cursor"]
    for _ in range(runs):
        bare.append(_once(client, "status"))
        listed.append(_once(client, path))
        deep.append(_once(client, path + ("&" if "?" in path else "?") + f"cursor={cursor}") if cursor else listed[-1])
    first, status = statistics.median(listed), statistics.median(bare)
    return (
        f"list {label}",
        f"{first * 1e3:.1f} ms, deep {statistics.median(deep) * 1e3:.1f} ms ({first / status:.1f} × an empty call)",
        "≤ 200 ms",
    )


def _once(client: Client, path: str) -> float:
    start = time.perf_counter()
    client.transport.get(path)
    return time.perf_counter() - start
