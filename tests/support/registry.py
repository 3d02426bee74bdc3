"""The registry and the services around it, on a test's store."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from jupyter_ext.datasets.service import DatasetService
from jupyter_ext.datasets.values import Dataset, DatasetSpec
from jupyter_ext.jobs.service import JobService
from jupyter_ext.jobs.values import Job, JobSpec
from jupyter_ext.labeling.service import LabelService
from jupyter_ext.labeling.values import LabelSet, LabelSetSpec, LabelTaskSpec
from jupyter_ext.registry.service import RegistryService
from jupyter_ext.store import Store
from jupyter_ext.store.schema import outbox

OWNER = "ada"
MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn}
  sklearn: {serialization_format: cloudpickle}
signature:
  inputs: '[{"type": "double", "name": "area", "required": true}]'
  outputs: '[{"type": "string", "required": true}]'
"""


def connection(folder: Path) -> dict[str, Any]:
    """What connects an MLflow registry to a new database."""
    return {
        "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
        "registry_uri": None,
        "artifact_root": str(folder / "artifacts"),
    }


class AnyCluster:
    """As much of a cluster as submitting a job asks for."""

    def capacity(self, owner: str) -> dict[str, float]:
        return {"CPU": 2.0}

    def fits(self, owner: str, bundle: dict[str, float]) -> bool:
        return True


@dataclass
class House:
    """The registry and the services around it."""

    store: Store
    datasets: DatasetService
    labels: LabelService
    jobs: JobService
    models: RegistryService
    archive: str

    def dataset(self, name: str = "biopsies", rows: int = 3) -> Dataset:
        table = pa.table({"id": [f"r{i}" for i in range(rows)], "area": [float(i) for i in range(rows)]})
        return self.datasets.register(DatasetSpec(name=name, blob=self._parquet(table), key="id"), owner=OWNER)

    def label_set(self, dataset: Dataset, name: str = "gold") -> LabelSet:
        task = self.labels.create_task(
            LabelTaskSpec(name=f"task of {dataset.name}", dataset_id=dataset.id, classes=("no", "yes")), owner=OWNER
        )
        rows = dataset.n_rows
        table = pa.table(
            {
                "key": [f"r{i}" for i in range(rows)],
                "label": ["yes"] * rows,
                "p_0": [0.25] * rows,
                "p_1": [0.75] * rows,
            }
        )
        spec = LabelSetSpec(name=name, task_id=task.id, blob=self._parquet(table), method="majority", agreement=0.9)
        return self.labels.freeze(spec, owner=OWNER)

    def job(self, **fields: Any) -> Job:
        return self.jobs.submit(JobSpec(name="train", source="1", **fields), owner=OWNER)

    def events(self) -> list[dict[str, Any]]:
        """The registry's events that were written, in order."""
        with self.store.read() as tx:
            rows = tx.all(sa.select(outbox).where(outbox.c.noun == "model").order_by(outbox.c.id))
        return [row["data"] for row in rows]

    def _parquet(self, table: pa.Table) -> str:
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return self.store.blobs.put(buffer.getvalue())
