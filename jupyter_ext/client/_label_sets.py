"""A frozen label set in the notebook."""

from __future__ import annotations

import io
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from jupyter_ext.client._transport import segment
from jupyter_ext.labeling.values import LabelSet, LabelTask

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client


class LabelSetHandle:
    """A frozen label set; ``value`` holds all the server knows of it."""

    def __init__(self, client: Client, value: LabelSet) -> None:
        self._client = client
        self.value = value
        self.id = value.id
        self.name = value.name
        self.version = value.version

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of the task it was made in."""
        item = self._client.transport.get(f"labels/tasks/{segment(self.value.task_id)}")
        return LabelTask.model_validate(item).classes

    def frame(self) -> pd.DataFrame:
        """Return one line a row of the data set: ``key``, ``label`` (missing where nothing voted), ``p_<class>``."""
        import pyarrow.parquet as pq

        blob = self._client.transport.download(f"blobs/{self.value.blob}")
        frame: pd.DataFrame = pq.read_table(io.BytesIO(blob)).to_pandas()
        return frame.rename(columns={f"p_{number}": f"p_{label}" for number, label in enumerate(self.classes)})

    def __repr__(self) -> str:
        value = self.value
        return f"LabelSet({self.name!r}, version {self.version}: {value.n_labeled:,} of {value.n_items:,} rows labeled)"

    def _repr_html_(self) -> str:
        value = self.value
        facts = {
            "labeled": f"{value.n_labeled:,} of {value.n_items:,} rows",
            "method": value.method,
            "functions": str(len(value.functions)),
            "people": ", ".join(value.voters) or "none",
            "agreement": "" if value.agreement is None else f"{value.agreement:.2f} (Krippendorff's alpha)",
            **{name.replace("_", " "): f"{number:.3g}" for name, number in value.metrics.items()},
            "description": value.description,
        }
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items() if fact
        )
        title = f"Label set <b>{escape(self.name)}</b>, version {self.version}"
        return f"<div>{title}<table><tbody>{rows}</tbody></table></div>"
