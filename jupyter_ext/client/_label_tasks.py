"""A label task in the notebook: votes of people and functions, and the label sets made of them."""

from __future__ import annotations

import io
import math
import os
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
    Voters,
    VotesIn,
    VotesStored,
)

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.client._previews import FunctionPreview
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
        self,
        functions: Sequence[LabelingFunction],
        frame: pd.DataFrame | None = None,
        progress: bool = True,
        *,
        n_jobs: int = 1,
        cache: str | os.PathLike[str] | None = None,
    ) -> VoteMatrix:
        """Run functions on the task's rows, store their votes, and return them: one column a function.

        A function whose votes are stored already is not run, unless it failed on some rows. It is the same function
        while its source, resources, columns, preprocessors and the variables it reads are the same.

        Parameters
        ----------
        functions
            Made with `labeling_function`.
        frame
            The data set's rows with further columns, if the functions need any; its own rows without.
        n_jobs
            Processes to run in, -1 for one a core.
        cache
            A folder for votes by row, from which the tasks of another version of the data set take what they can: only
            its new rows are run. See `LFApplier`.

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
        # What failed on some rows is tried again: an endpoint may have come back, a file may be there by now.
        stored = {
            (function.name, function.digest): function for function in reversed(versions) if not function.n_errors
        }
        applier = LFApplier(functions, n_classes=len(self.classes))
        new = [lf for lf in functions if (lf.name, lf.digest) not in stored]
        if new:
            applier = LFApplier(new, n_classes=len(self.classes), n_jobs=n_jobs, cache=cache)
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

    def preview(
        self,
        function: LabelingFunction,
        sample: int = 1_000,
        gold: Mapping[Any, str] | None = None,
        random_state: int = 0,
    ) -> FunctionPreview:
        """Run a function on a sample of the rows, and say what it would do; nothing is stored.

        Parameters
        ----------
        sample
            How many rows; all of them where there are no more. Rows with a known answer come first.
        gold
            Known answers, key to class; without, what most people who voted on a row say.

        Raises
        ------
        Invalid
            The function reads a column that is not there, or an answer is none of the classes.
        """
        import numpy as np

        from jupyter_ext.client._previews import FunctionPreview
        from jupyter_ext.labeling.analysis import wilson_interval
        from jupyter_ext.labeling.applier import LFApplier
        from jupyter_ext.labeling.models.majority import MajorityVote

        if sample < 1:
            raise Invalid(f"A sample has 1 row or more, not {sample}.")
        known = np.full(self.dataset.n_rows, -1)
        if gold is not None:
            number = {label: i for i, label in enumerate(self.classes)}
            for key, label in gold.items():
                if label not in number or str(key) not in self._row_of_key:
                    raise Invalid(f"The known answer {label!r} of row {key!r} is for no row, or no class, of the task.")
                known[self._row_of_key[str(key)]] = number[label]
        else:
            people = self.votes()
            if people.n_votes:
                known = MajorityVote(people).predict(people)
        random = np.random.default_rng(random_state).permutation(self.dataset.n_rows)
        rows = np.sort(random[np.argsort(known[random] < 0, kind="stable")][:sample])
        frame = self.dataset.frame().iloc[rows]
        applier = LFApplier([function], n_classes=len(self.classes))
        votes = applier.apply(frame, progress=False).to_dense().ravel()
        said, answers = votes >= 0, known[rows]
        judged = said & (answers >= 0)
        right = judged & (votes == answers)
        low, high = wilson_interval([right.sum()], [judged.sum()])
        others = self.vote_matrix([f.name for f in self.functions() if f.name != function.name]).take(rows)
        cell = np.repeat(np.arange(len(rows)), np.diff(others.rows.indptr))
        against = np.zeros(len(rows), dtype=bool)
        against[cell[others.rows.data - 1 != votes[cell]]] = True
        first = np.flatnonzero(said)[np.argsort(~(judged & ~right)[said], kind="stable")][:10]
        failed = applier.errors.get(function.name)
        return FunctionPreview(
            function=function,
            n_rows=len(rows),
            votes={self.classes[c]: int((votes == c).sum()) for c in np.unique(votes[said])},
            n_judged=int(judged.sum()),
            n_right=int(right.sum()),
            precision=(right.sum() / judged.sum(), float(low[0]), float(high[0])) if judged.any() else None,
            n_conflicts=int((said & against).sum()),
            n_errors=0 if failed is None else failed.count,
            error="" if failed is None else failed.traceback.strip().rpartition("\n")[2],
            examples=frame.iloc[first].assign(
                vote=[self.classes[votes[row]] for row in first],
                known=[self.classes[answers[row]] if answers[row] >= 0 else "" for row in first],
            ),
        )

    def add_model(self, name: str, predictions: Mapping[Any, str | None], model: str = "") -> LabelFunction:
        """Store what another model says: it votes beside functions and people.

        Parameters
        ----------
        name
            What it is called as a voter.
        predictions
            Key to class; None, or a row left out, abstains.
        model
            What the model is known by, ``models:/topics/3`` for instance.

        Raises
        ------
        Invalid
            A class that is none of the task's, or a key that is not in the data set.
        """
        import hashlib

        import numpy as np
        import pyarrow as pa

        number = {label: i for i, label in enumerate(self.classes)}
        given = {str(key): label for key, label in predictions.items() if label is not None}
        unknown = sorted({label for label in given.values() if label not in number})
        if unknown:
            raise Invalid(f"{unknown[0]!r} is no class of task {self.name!r}; they are {', '.join(self.classes[:20])}.")
        classes = np.array([number[label] for label in given.values()], dtype=np.int16)
        table = pa.table({"key": pa.array(list(given), pa.string()), "vote": pa.array(classes)})
        blob = write_parquet(table)
        return self._register(
            FunctionSpec(
                name=name,
                kind="model",
                digest=hashlib.sha256(model.encode() + b"\0" + blob).hexdigest(),
                source=model,
                votes_blob=self._client.transport.upload(blob),
                n_votes=len(given),
                polarity=tuple(self.classes[c] for c in np.unique(classes)),
            )
        )

    def voters(self) -> pd.DataFrame:
        """Return who votes on the task, one line a person, function or model: kind, votes, version, and when last."""
        import pandas as pd

        items = Voters.model_validate(self._client.transport.get(f"{self._path}/voters")).items
        columns = ["name", "kind", "n_votes", "version", "updated_at"]
        table = pd.DataFrame([voter.model_dump(include=set(columns)) for voter in items], columns=columns)
        return table.astype({"version": "Int64"}).set_index("name")

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

    def freeze(
        self,
        name: str,
        model: LabelModel,
        votes: VoteMatrix,
        description: str = "",
        answers: Mapping[Any, str] | None = None,
    ) -> LabelSetHandle:
        """Store what ``model`` makes of ``votes`` as a label set that never changes again.

        Parameters
        ----------
        name
            Of the label set; other content under the same name is its next version.
        model
            A fitted label model.
        votes
            The matrix to label, with one row for each row of the data set.
        answers
            Key to class of rows whose label is known. There it stands with probability 1, whatever the model says.

        Raises
        ------
        Invalid
            The matrix has other rows or classes than the task, or an answer names no row or no class.
        """
        import numpy as np
        import pyarrow as pa

        from jupyter_ext.labeling.quality import agreement

        if votes.shape[0] != self.dataset.n_rows or model.n_classes != len(self.classes):
            raise Invalid(
                f"Task {self.name!r} has {self.dataset.n_rows} rows and {len(self.classes)} classes; "
                f"the votes have {votes.shape[0]} rows and the model {model.n_classes} classes."
            )
        labels, proba = model.predict(votes), model.predict_proba(votes)
        if answers:
            rows, known = self._known(answers)
            labels[rows], proba[rows] = known, np.eye(len(self.classes))[known]
        table = pa.table(
            {
                "key": pa.array(self.dataset.keys, pa.string()),
                "label": pa.array([self.classes[label] if label >= 0 else None for label in labels], pa.string()),
                **{f"p_{number}": pa.array(proba[:, number]) for number in range(len(self.classes))},
            }
        )
        ids = {function.name: function.id for function in self.functions()}
        by_kind: dict[str, list[str]] = {"function": [], "model": [], "person": []}
        for voter, kind in zip(votes.voters, votes.kinds, strict=True):
            by_kind[kind].append(voter)
        agreed = agreement(votes).value
        spec = LabelSetSpec(
            name=name,
            task_id=self.id,
            blob=self._client.transport.upload(write_parquet(table)),
            method=model.method,
            params={**model.params, "n_answers": len(answers)} if answers else model.params,
            functions=tuple(ids[name] for name in by_kind["function"] + by_kind["model"] if name in ids),
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

    def _known(self, answers: Mapping[Any, str]) -> tuple[list[int], list[int]]:
        """Return the rows and class numbers of answers."""
        number = {label: place for place, label in enumerate(self.classes)}
        given = {str(key): label for key, label in answers.items()}
        if unknown := sorted({str(label) for label in given.values() if label not in number}):
            raise Invalid(f"{unknown[0]!r} is no class of task {self.name!r}; they are {', '.join(self.classes[:20])}.")
        if lost := [key for key in given if key not in self._row_of_key]:
            raise Invalid(f"The data set of task {self.name!r} has no row {lost[0]!r}.")
        return [self._row_of_key[key] for key in given], [number[label] for label in given.values()]

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
                kind=lf.kind,
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
            kind=function.kind,
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
