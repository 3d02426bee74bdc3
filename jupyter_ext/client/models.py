"""Models from Python: register, promote, load, and see where a version comes from."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_ext.client import _model_views as views
from jupyter_ext.client._rows import Rows
from jupyter_ext.client._transport import segment
from jupyter_ext.errors import Invalid, NotFound, Unavailable
from jupyter_ext.registry.values import (
    AliasMove,
    AliasTarget,
    Lineage,
    Model,
    ModelVersion,
    ModelVersionSpec,
    check_model_name,
)

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.client import Client
    from jupyter_ext.monitoring import Profile

_MAX_UNPACKED = 64 * 2**30


class Models:
    """The model registry.

    Examples
    --------
    >>> version = client.models.register("diagnosis", model, example=X.head())
    >>> client.models.promote("diagnosis", version.version, "champion", reason="the first").to_version
    1
    >>> client.models.load("diagnosis", "@champion").predict(X.head()).tolist()
    [0, 1, 1, 1, 1]
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transport = client.transport
        self._folders: dict[tuple[str, int], Path] = {}
        self._cache: Path | None = None

    def register(
        self,
        name: str,
        model: Any,
        *,
        example: Any = None,
        training: Any = None,
        dataset: Any = None,
        label_set: Any = None,
        job: Any = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> ModelVersionHandle:
        """Register a fitted model as the next version of ``name``.

        Parameters
        ----------
        name
            The model's name; a new one makes a new model.
        model
            A fitted model of scikit-learn, XGBoost, LightGBM or PyTorch, an ``mlflow.pyfunc.PythonModel``, or a
            function from data to predictions.
        example
            A few rows of input, from which the signature is inferred. They are not stored.
        training
            The rows it learned from. Their profile is kept with the version, as what later data are compared with.
            Default: those of the data set that it comes from, without their key.
        dataset, label_set, job
            Where the model comes from: objects of this client, or ids. Naming the job is enough when it was submitted
            with its label set.
        metrics, params, tags
            Numbers it reached, settings it was made with, words to find it by.
        description
            A sentence for people.

        Returns
        -------
        ModelVersionHandle
            The new version.

        Raises
        ------
        Invalid
            The model can't be saved, the training data can't be profiled, or what it comes from is unknown.
        """
        from jupyter_ext.registry import archive, flavors

        check_model_name(name)
        profile = self._profile_of(training) if training is not None else None
        with tempfile.TemporaryDirectory(prefix="jupyter-ext-model-") as temporary:
            folder = Path(temporary, "model")
            flavors.save(model, folder, example=example)
            data = archive.pack(folder)
        spec = ModelVersionSpec(
            archive=self._transport.upload(data),
            description=description,
            dataset_id=_id_of("dataset", dataset),
            label_set_id=_id_of("label_set", label_set),
            job_id=_id_of("job", job),
            metrics={key: float(value) for key, value in (metrics or {}).items()},
            params={key: str(value) for key, value in (params or {}).items()},
            tags=dict(tags or {}),
            idempotency_key=uuid.uuid4().hex,
        )
        path = f"models/{segment(name)}/versions"
        try:
            made = self._transport.post(path, spec)
        except Unavailable:
            # An answer that was lost, or MLflow starting up slowly. The key makes asking again safe.
            made = self._transport.post(path, spec)
        version = ModelVersion(**made)
        if profile is None and version.dataset_id is not None:
            profile = self._profile_of_dataset(version)
        if profile is not None:
            self._client.monitors.save_profile(
                "training data", profile, model=version, dataset=version.dataset_id, description=f"of {name}"
            )
        return ModelVersionHandle(self, version)

    def list(self, name: str | None = None) -> ModelList:
        """Return all models, last changed first; ``name`` matches a part of the name."""
        return ModelList(Model(**item) for item in self._transport.pages("models", name=name, limit=500))

    def versions(self, name: str) -> VersionList:
        """Return a model's versions, newest first."""
        items = self._transport.pages(f"models/{segment(name)}/versions", limit=500)
        return VersionList(ModelVersionHandle(self, ModelVersion(**item)) for item in items)

    def get(self, name: str, version: int | str = "@champion") -> ModelVersionHandle:
        """Return a version by its number or ``"@alias"``."""
        return ModelVersionHandle(self, ModelVersion(**self._transport.get(_path(name, version))))

    def load(self, name: str, version: int | str = "@champion") -> Any:
        """Return the fitted model of a version.

        Loading runs code that came with the model (models are pickles): load what your own team registered. A version
        is downloaded once; each call gives a fresh object, so fitting one further does not change another.

        Returns
        -------
        Any
            The model as it was registered; for functions and ``PythonModel``, MLflow's wrapper with ``predict``.
        """
        from jupyter_ext.registry import flavors

        number = version if isinstance(version, int) else self.get(name, version).version
        return flavors.load(self._folder(name, number))

    def promote(self, name: str, version: int | str, alias: str, reason: str = "") -> Move:
        """Point ``alias`` at a version. Going back is promoting the earlier version."""
        number = version if isinstance(version, int) else self.get(name, version).version
        alias = alias.removeprefix("@")
        moved = self._transport.put(
            f"models/{segment(name)}/aliases/{segment(alias)}", AliasTarget(version=number, reason=reason)
        )
        return Move(**moved)

    def remove_alias(self, name: str, alias: str) -> Move:
        """Remove an alias; its history stays."""
        alias = alias.removeprefix("@")
        return Move(**self._transport.delete(f"models/{segment(name)}/aliases/{segment(alias)}"))

    def history(self, name: str, alias: str = "champion") -> MoveList:
        """Return every move of an alias, newest first."""
        alias = alias.removeprefix("@")
        path = f"models/{segment(name)}/aliases/{segment(alias)}/history"
        return MoveList(Move(**item) for item in self._transport.pages(path, limit=500))

    def lineage(self, name: str, version: int | str = "@champion") -> LineageGraph:
        """Return everything that went into a version."""
        return LineageGraph(Lineage(**self._transport.get(f"{_path(name, version)}/lineage")))

    def _profile_of(self, training: Any) -> Profile:
        from jupyter_ext.monitoring import Profile

        return Profile.of(training)

    def _profile_of_dataset(self, version: ModelVersion) -> Profile | None:
        assert version.dataset_id is not None
        try:
            dataset = self._client.datasets.by_id(version.dataset_id)
            # The key names rows; that later rows have other names is no drift.
            return self._profile_of(dataset.frame().drop(columns=dataset.key))
        except Invalid as error:
            warnings.warn(
                f"Version {version.version} of {version.name} is registered, without a profile of its data: {error}",
                stacklevel=3,
            )
            return None

    def _folder(self, name: str, version: int) -> Path:
        from jupyter_ext.registry import archive

        key = (name, version)
        if key not in self._folders:
            if self._cache is None:
                self._cache = Path(tempfile.mkdtemp(prefix="jupyter-ext-models-"))
                weakref.finalize(self, shutil.rmtree, self._cache, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(dir=self._cache))
            zipped = folder / "model.zip"
            zipped.write_bytes(self._transport.download(f"{_path(name, version)}/archive"))
            archive.unpack(zipped, folder / "model", max_bytes=_MAX_UNPACKED)
            zipped.unlink()
            self._folders[key] = folder / "model"
        return self._folders[key]

    def __repr__(self) -> str:
        return f"<models of {self._client!r}>"


class ModelVersionHandle:
    """A version in the registry, with its verbs. Its facts (``name``, ``version``, ``metrics`` …) are attributes."""

    def __init__(self, models: Models, value: ModelVersion) -> None:
        self._models = models
        self.value = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def load(self) -> Any:
        """Return the fitted model; see `Models.load`."""
        return self._models.load(self.value.name, self.value.version)

    def promote(self, alias: str, reason: str = "") -> Move:
        """Point ``alias`` at this version."""
        return self._models.promote(self.value.name, self.value.version, alias, reason)

    def profile(self) -> Profile:
        """Return the newest profile that is kept with this version: by default that of its training data.

        Raises
        ------
        NotFound
            There is none.
        """
        profiles = self._models._client.monitors.profiles(model=self.value)
        if not profiles:
            raise NotFound(f"No profile is kept with {self.value.name} version {self.value.version}.")
        return self._models._client.monitors.profile(profiles[0])

    def lineage(self) -> LineageGraph:
        """Return everything that went into this version."""
        return self._models.lineage(self.value.name, self.value.version)

    def __repr__(self) -> str:
        aliases = "".join(f" @{alias}" for alias in self.value.aliases)
        return f"<model {self.value.name} v{self.value.version}{aliases}>"

    def _repr_html_(self) -> str:
        return views.version_card(self.value, self.lineage().value)


class Move(AliasMove):
    """A move of an alias, shown as a sentence."""

    def __repr__(self) -> str:
        return views.move_sentence(self)


class ModelList(Rows):
    """Models, last changed first."""

    columns = views.MODEL_COLUMNS
    empty = "There are no models yet. Register one: workspace.models.register(name, model, example=X.head())"


class VersionList(Rows):
    """Versions of a model, newest first."""

    columns = views.VERSION_COLUMNS
    empty = "This model has no versions."


class MoveList(Rows):
    """Moves of an alias, newest first."""

    columns = views.MOVE_COLUMNS
    empty = "This alias was never moved."


class LineageGraph:
    """What went into a model version: a graph of data sets, label sets, jobs and the version itself."""

    def __init__(self, value: Lineage) -> None:
        self.value = value

    @property
    def nodes(self) -> tuple[Any, ...]:
        """The things, origins first."""
        return self.value.nodes

    @property
    def edges(self) -> tuple[Any, ...]:
        """What went into what."""
        return self.value.edges

    def frame(self) -> pd.DataFrame:
        """Return one row a thing: what it is, what it was made from, its facts."""
        import pandas as pd

        labels = {node.id: node.label for node in self.nodes}
        rows = [
            {
                "kind": node.kind,
                "label": node.label,
                "made_from": ", ".join(labels[edge.source] for edge in self.edges if edge.target == node.id),
                "at": node.at,
                "id": node.id.partition(":")[2],
                **node.facts,
            }
            for node in self.nodes
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return " → ".join(f"{views.KINDS[node.kind]} {node.label}" for node in self.nodes)

    def _repr_html_(self) -> str:
        return views.lineage_graph(self.value)


def _path(name: str, version: int | str) -> str:
    return f"models/{segment(name)}/versions/{segment(version)}"


def _id_of(what: str, thing: Any) -> str | None:
    if thing is None or isinstance(thing, str):
        return thing
    found = getattr(thing, "id", None)
    if not isinstance(found, str):
        raise Invalid(f"{what} must be an object of this client or an id, not {type(thing).__name__}.", field=what)
    return found
