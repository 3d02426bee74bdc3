"""A frozen label set in the notebook."""

from __future__ import annotations

import io
import os
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from jupyter_ext.client._transport import segment
from jupyter_ext.client.datasets import DatasetHandle
from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.values import LabelSet, LabelTask

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.labeling.exports import Format


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

    @cached_property
    def dataset(self) -> DatasetHandle:
        """The data set whose rows are labeled."""
        return self._client.datasets.by_id(self.value.dataset_id)

    def diff(self, other: LabelSetHandle) -> pd.DataFrame:
        """Return the rows whose label is another in ``other``: ``key``, ``before`` (here), ``after`` (there).

        A label that is missing is None. ``attrs["changed"]`` names the facts that differ: method, functions, and so on.

        Raises
        ------
        Invalid
            The two are of different tasks.
        """
        import pandas as pd

        if other.value.task_id != self.value.task_id:
            raise Invalid(f"{self!r} and {other!r} are of different tasks, whose rows can't be compared.")
        both = self.frame()[["key", "label"]].merge(other.frame()[["key", "label"]], on="key", suffixes=("", "_other"))
        before, after = (both[name].astype(object).where(both[name].notna(), None) for name in ("label", "label_other"))
        table = pd.DataFrame({"key": both["key"], "before": before, "after": after})
        table = table[[a != b for a, b in zip(before, after, strict=True)]].reset_index(drop=True)
        facts = ("method", "params", "functions", "voters", "dataset_id")
        table.attrs["changed"] = [name for name in facts if getattr(self.value, name) != getattr(other.value, name)]
        return table

    def restore(self) -> LabelSetHandle:
        """Make this version the newest again: the same labels, as the next version of the name."""
        item = self._client.transport.post(f"labels/sets/{segment(self.id)}/restore")
        return LabelSetHandle(self._client, LabelSet.model_validate(item))

    def export(
        self,
        path: str | os.PathLike[str],
        format: Format | None = None,  # noqa: A002 - what pandas and others call it
        *,
        text: str | None = None,
    ) -> str:
        """Write the rows of the data set with their labels to a file, or a folder; return where.

        Parameters
        ----------
        path
            Any that fsspec can write to: a local one, ``s3://…``.
        format
            ``"parquet"``, ``"jsonl"``, ``"csv"``, ``"huggingface"`` (a folder that ``datasets.load_dataset`` reads),
            ``"label_studio"`` (tasks with predictions) or ``"spacy"`` (text and cats as JSON lines). Without, the end
            of ``path`` decides.
        text
            The column of text, for the last two.

        Raises
        ------
        Invalid
            The format is unknown, the data has a column of a label's name, or there is no text.
        """
        from jupyter_ext.labeling.exports import Labels, export_labels

        data, found = self.dataset.frame(), self.frame().set_index("key")
        clash = [str(name) for name in data.columns if name in found.columns]
        if clash:
            raise Invalid(f"The data set has a column {clash[0]!r} already; rename it before exporting.")
        rows = found.reindex(self.dataset.keys).reset_index(drop=True)
        frame = data.reset_index(drop=True).join(rows)
        labels = Labels(frame, self.dataset.key, self.classes, self.name, self.version)
        return export_labels(labels, os.fspath(path), format, text=text)

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
