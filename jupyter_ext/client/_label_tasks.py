"""A label task in the notebook: votes of people and functions, and the label sets made of them."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from jupyter_ext.client._label_sets import LabelSetHandle
from jupyter_ext.client._transport import segment
from jupyter_ext.client.datasets import DatasetHandle, keys_as_text, write_parquet
from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.values import (
    FunctionSpec,
    LabelFunction,
    LabelSet,
    LabelSetSpec,
    LabelTask,
    Vote,
    VoteIn,
    VotesIn,
    VotesStored,
)

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.labeling.functions import LabelingFunction
    from jupyter_ext.labeling.models.base import LabelModel
    from jupyter_ext.labeling.votes import VoteMatrix

_VOTES_PER_REQUEST = 10_000


class TaskHandle:
    """A label task: where votes on the rows of one data set come together."""

    def __init__(self, client: Client, value: LabelTask) -> None:
        self._client = client
        self._path = f"labels/tasks/{segment(value.id)}"
        self.value = value
        self.id = value.id
        self.name = value.name
        #: The possible answers, in the order of their numbers.
        self.classes: Sequence[str] = value.classes
        #: How functions failed when they were last run here, by name; see `LFApplier.errors`.
        self.errors: dict[str, Any] = {}
        #: Seconds that functions took when they were last run here, by name. What was stored already is not in it.
        self.timings: dict[str, float] = {}

    @cached_property
    def dataset(self) -> DatasetHandle:
        """The data set whose rows are labeled."""
        return self._client.datasets.by_id(self.value.dataset_id)

    def vote(self, votes: Mapping[Any, str | None]) -> VotesStored:
        """Store your votes, key to class; None withdraws one. Returns when they are committed.

        Up to 10,000 votes are stored all or none; a larger batch goes in parts of that size.

        Raises
        ------
        Invalid
            A label that is none of the classes, or a key that is not in the data set.
        """
        batch = [VoteIn(key=str(key), label=label) for key, label in votes.items()]
        stored = withdrawn = 0
        for start in range(0, len(batch), _VOTES_PER_REQUEST):
            body = VotesIn(votes=batch[start : start + _VOTES_PER_REQUEST])
            answer = VotesStored.model_validate(self._client.transport.post(f"{self._path}/votes", body))
            stored, withdrawn = stored + answer.stored, withdrawn + answer.withdrawn
        return VotesStored(stored=stored, withdrawn=withdrawn)

    def answers(self, voter: str | None = None) -> list[Vote]:
        """Return people's current votes as they are stored, newest first."""
        items = self._client.transport.pages(f"{self._path}/votes", voter=voter, limit=10_000)
        return [Vote.model_validate(item) for item in items]

    def votes(self) -> VoteMatrix:
        """Return people's votes, one column a person, in the order of the data set's rows."""
        from jupyter_ext.labeling.votes import VoteMatrix

        answers = self.answers()
        number = {label: i for i, label in enumerate(self.classes)}
        return VoteMatrix.from_triples(
            self._rows_of([vote.key for vote in answers]),
            [vote.voter for vote in answers],
            [number[vote.label] for vote in answers],
            n_classes=len(self.classes),
            n_items=self.dataset.n_rows,
            kind="person",
        )

    def functions(self) -> list[LabelFunction]:
        """Return the newest version of each stored function, in the order in which they first came."""
        newest: dict[str, LabelFunction] = {}
        for function in reversed(self._function_versions()):
            newest[function.name] = function
        return list(newest.values())

    def apply(
        self, functions: Sequence[LabelingFunction], frame: pd.DataFrame | None = None, progress: bool = True
    ) -> VoteMatrix:
        """Run functions on the task's rows, store their votes, and return them: one column a function.

        A function whose votes are stored already is not run. It is the same function while its source, resources,
        columns, preprocessors and the variables it reads are the same.

        Parameters
        ----------
        functions
            Made with `labeling_function`.
        frame
            The data set's rows with further columns, if the functions need any; its own rows without.

        Raises
        ------
        Invalid
            A function reads a column that is not there, or ``frame`` has other rows than the data set.

        Warns
        -----
        UserWarning
            For each function that failed on some rows; the details are in ``errors``.
        """
        from jupyter_ext.labeling.applier import LFApplier
        from jupyter_ext.labeling.votes import VoteMatrix

        versions = self._function_versions()
        newest = {function.name: function for function in reversed(versions)}
        stored = {(function.name, function.digest): function for function in reversed(versions)}
        applier = LFApplier(functions, n_classes=len(self.classes))
        new = [lf for lf in functions if (lf.name, lf.digest) not in stored]
        if new:
            applier = LFApplier(new, n_classes=len(self.classes))
            fresh = applier.apply(self._aligned(frame), progress=progress)
            for lf in new:
                failed = applier.errors.get(lf.name)
                spec = self._store_function(lf, fresh, 0 if failed is None else failed.count)
                stored[lf.name, lf.digest] = newest[lf.name] = spec
                if failed is not None:
                    warnings.warn(str(failed), UserWarning, stacklevel=2)
        self.errors, self.timings = applier.errors, applier.timings
        chosen = []
        for lf in functions:
            function = stored[lf.name, lf.digest]
            if newest[lf.name].digest != lf.digest:  # back to an older version: it becomes the newest again
                function = self._register(
                    FunctionSpec.model_validate(function.model_dump(include=set(FunctionSpec.model_fields)))
                )
            chosen.append(function)
        if not chosen:
            return VoteMatrix.from_dense([[] for _ in range(self.dataset.n_rows)], n_classes=len(self.classes))
        return VoteMatrix.concat([self._votes_of(function) for function in chosen])

    def vote_matrix(self, functions: Sequence[str] | None = None) -> VoteMatrix:
        """Return the votes of functions and people in one matrix, in the order of the data set's rows.

        Parameters
        ----------
        functions
            Names of the functions to take; all that are stored without. Always their newest versions.
        """
        from jupyter_ext.labeling.votes import VoteMatrix

        known = {function.name: function for function in self.functions()}
        unknown = [name for name in functions or () if name not in known]
        if unknown:
            raise Invalid(f"Task {self.name!r} has no function {unknown[0]!r}; it has {', '.join(known) or 'none'}.")
        people = self.votes()
        # A person may be called like a function; a column has one name only.
        people.voters = tuple(f"{name} (person)" if name in known else name for name in people.voters)
        return VoteMatrix.concat([*(self._votes_of(known[name]) for name in (functions or known)), people])

    def uncertain(self, n: int) -> list[str]:
        """Return the keys of the ``n`` rows that the label model is least sure of, the least sure first.

        Rows that a person voted on are left out.
        """
        import numpy as np

        from jupyter_ext.labeling.models.selection import fit_label_model

        votes = self.vote_matrix()
        if votes.n_votes:
            proba = np.sort(fit_label_model(votes).predict_proba(votes), axis=1)
            margin = proba[:, -1] - proba[:, -2]
        else:
            margin = np.zeros(votes.shape[0])
        answered = self.votes().covered
        order = [row for row in np.argsort(margin, kind="stable") if not answered[row]]
        return [self.dataset.keys[row] for row in order[:n]]

    def freeze(self, name: str, model: LabelModel, votes: VoteMatrix, description: str = "") -> LabelSetHandle:
        """Store what ``model`` makes of ``votes`` as a label set that never changes again.

        Parameters
        ----------
        name
            Of the label set; other content under the same name is its next version.
        model
            A fitted label model.
        votes
            The matrix to label, with one row for each row of the data set.

        Raises
        ------
        Invalid
            The matrix has other rows or classes than the task.
        """
        import pyarrow as pa

        from jupyter_ext.labeling.quality import agreement

        if votes.shape[0] != self.dataset.n_rows or model.n_classes != len(self.classes):
            raise Invalid(
                f"Task {self.name!r} has {self.dataset.n_rows} rows and {len(self.classes)} classes; "
                f"the votes have {votes.shape[0]} rows and the model {model.n_classes} classes."
            )
        labels, proba = model.predict(votes), model.predict_proba(votes)
        table = pa.table(
            {
                "key": pa.array(self.dataset.keys, pa.string()),
                "label": pa.array([self.classes[label] if label >= 0 else None for label in labels], pa.string()),
                **{f"p_{number}": pa.array(proba[:, number]) for number in range(len(self.classes))},
            }
        )
        ids = {function.name: function.id for function in self.functions()}
        by_kind: dict[str, list[str]] = {"function": [], "person": []}
        for voter, kind in zip(votes.voters, votes.kinds, strict=True):
            by_kind[kind].append(voter)
        agreed = agreement(votes).value
        spec = LabelSetSpec(
            name=name,
            task_id=self.id,
            blob=self._client.transport.upload(write_parquet(table)),
            method=model.method,
            params=model.params,
            functions=tuple(ids[name] for name in by_kind["function"] if name in ids),
            voters=tuple(by_kind["person"]),
            agreement=agreed if math.isfinite(agreed) else None,
            metrics={
                "coverage": float(votes.covered.mean()),
                "mean_confidence": float(proba[votes.covered].max(axis=1).mean()),
            },
            description=description,
        )
        stored = LabelSet.model_validate(self._client.transport.post("labels/sets", spec))
        return LabelSetHandle(self._client, stored)

    def _function_versions(self) -> list[LabelFunction]:
        items = self._client.transport.pages(f"{self._path}/functions", limit=500)
        return [LabelFunction.model_validate(item) for item in items]

    def _store_function(self, lf: LabelingFunction, votes: VoteMatrix, n_errors: int) -> LabelFunction:
        import numpy as np
        import pyarrow as pa

        rows, classes = votes.column(lf.name)
        keys = self.dataset.keys
        table = pa.table(
            {"key": pa.array([keys[row] for row in rows], pa.string()), "vote": pa.array(classes.astype(np.int16))}
        )
        return self._register(
            FunctionSpec(
                name=lf.name,
                digest=lf.digest,
                source=lf.source,
                votes_blob=self._client.transport.upload(write_parquet(table)),
                n_votes=len(rows),
                n_errors=n_errors,
                polarity=tuple(self.classes[number] for number in np.unique(classes)),
            )
        )

    def _register(self, spec: FunctionSpec) -> LabelFunction:
        return LabelFunction.model_validate(self._client.transport.post(f"{self._path}/functions", spec))

    def _votes_of(self, function: LabelFunction) -> VoteMatrix:
        import numpy as np
        import pyarrow.parquet as pq

        from jupyter_ext.labeling.votes import VoteMatrix

        blob = self._client.transport.download(f"blobs/{function.votes_blob}")
        table = pq.read_table(io.BytesIO(blob))
        rows = self._rows_of(table.column("key").to_pylist())
        return VoteMatrix.from_columns(
            rows,
            np.zeros(len(rows), np.int64),
            table.column("vote").to_numpy().astype(np.int64),
            self.dataset.n_rows,
            (function.name,),
            len(self.classes),
            kind="function",
        )

    def _rows_of(self, keys: Sequence[str]) -> Any:
        import numpy as np

        return np.fromiter((self._row_of_key[key] for key in keys), np.int64, len(keys))

    @cached_property
    def _row_of_key(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.dataset.keys)}

    def _aligned(self, frame: pd.DataFrame | None) -> pd.DataFrame:
        """Return ``frame`` with the data set's rows in their order, whatever its own order."""
        import pandas as pd
        import pyarrow as pa

        if frame is None:
            return self.dataset.frame()
        if self.dataset.key not in frame.columns:
            raise Invalid(f"The frame needs the key column {self.dataset.key!r} of data set {self.dataset.name!r}.")
        keys = pd.Index(keys_as_text(pa.chunked_array([pa.Array.from_pandas(frame[self.dataset.key])])))
        if not keys.is_unique or len(keys) != self.dataset.n_rows or not set(keys) == set(self.dataset.keys):
            raise Invalid(
                f"The frame must have exactly the {self.dataset.n_rows} rows of data set {self.dataset.name!r}; "
                f"it has {len(keys)}. Votes are stored for the whole data set."
            )
        return frame.iloc[keys.get_indexer(pd.Index(self.dataset.keys))]

    def __repr__(self) -> str:
        return f"LabelTask({self.name!r}: {', '.join(self.classes[:10])}{', …' if len(self.classes) > 10 else ''})"

    def _repr_html_(self) -> str:
        about = f"<p>{escape(self.value.description)}</p>" if self.value.description else ""
        return (
            f"<div>Label task <b>{escape(self.name)}</b>: {', '.join(map(escape, self.classes[:20]))}"
            f"{', …' if len(self.classes) > 20 else ''}{about}</div>"
        )
