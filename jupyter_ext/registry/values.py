"""Values of the registry: models, versions, aliases and their moves, lineage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from jupyter_ext.errors import Invalid
from jupyter_ext.values import Digest, Name, Query, Text, Value

#: MLflow's own limits on aliases; it also keeps ``latest`` and ``v1``, ``v2``… for itself.
Alias = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_\-]+$")]
Metric = Annotated[float, Field(allow_inf_nan=False)]
MetricName = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9_\-. /]+$")]
TagName = Annotated[str, Field(min_length=1, max_length=250)]
TagValue = Annotated[str, Field(max_length=5000)]


class ModelVersionSpec(Value):
    """What a client sends to register a version: a zipped MLflow model folder and where it came from."""

    archive: Digest
    description: Text = ""
    dataset_id: str | None = None
    label_set_id: str | None = None
    job_id: str | None = None
    metrics: Annotated[dict[MetricName, Metric], Field(max_length=10_000)] = {}
    params: Annotated[dict[MetricName, TagValue], Field(max_length=1_000)] = {}
    tags: Annotated[dict[TagName, TagValue], Field(max_length=100)] = {}
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @field_validator("tags")
    @classmethod
    def _tags_are_the_users(cls, tags: dict[str, str]) -> dict[str, str]:
        taken = sorted(key for key in tags if key.startswith(("mlflow.", "jupyter_ext.")))
        if taken:
            raise ValueError(f"the tag {taken[0]!r} belongs to the registry itself; choose another prefix")
        return tags


class ColumnSpec(Value):
    """One input or output of a model's signature."""

    name: str | None = None
    type: str
    required: bool = True


class ModelFacts(Value):
    """What the ``MLmodel`` file says: ``serialization_format`` is shown because it decides who can load the model."""

    flavor: str | None = None
    serialization_format: str | None = None
    inputs: tuple[ColumnSpec, ...] = ()
    outputs: tuple[ColumnSpec, ...] = ()


class ModelVersion(ModelFacts):
    """A version in the registry, with the facts of its ``MLmodel`` file and of its MLflow run."""

    name: str
    version: int
    aliases: tuple[str, ...] = ()
    description: str = ""
    model_id: str | None = None
    run_id: str | None = None
    source: str | None = None
    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    dataset_id: str | None = None
    label_set_id: str | None = None
    job_id: str | None = None
    owner: str | None = None
    created_at: datetime


class Model(Value):
    """A registered model: its newest version and where each alias points."""

    name: str
    description: str = ""
    latest_version: int | None = None
    aliases: dict[str, int] = {}
    created_at: datetime
    updated_at: datetime


class AliasTarget(Value):
    """Where to move an alias, and why."""

    version: Annotated[int, Field(ge=1)]
    reason: Text = ""


class AliasMove(Value):
    """One move of an alias, kept for ever. ``to_version`` None means it was removed."""

    id: int
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    actor: str
    reason: str = ""
    at: datetime


class LineageNode(Value):
    """A thing in the graph; ``label`` is what a person reads.

    ``id`` is ``dataset:<id>``, ``label_set:<id>``, ``job:<id>`` or ``model_version:<name>/<version>``.
    """

    id: str
    kind: Literal["dataset", "label_set", "job", "model_version"]
    label: str
    at: datetime | None = None
    facts: dict[str, Any] = {}


class LineageEdge(Value):
    """``source`` went into ``target``."""

    source: str
    target: str


class Lineage(Value):
    """The graph upstream of a model version."""

    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]


class ModelQuery(Query):
    """Filter of the list of models; ``name`` matches a part of the name."""

    name: str | None = None


_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_model_name(name: str) -> str:
    """Return a name that can be given to a model, or raise `Invalid` with the rule.

    Examples
    --------
    >>> check_model_name("churn-2026")
    'churn-2026'
    >>> check_model_name("team/churn")
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: 'team/churn' cannot name a model: ...
    """
    try:
        return _NAME.validate_python(name, strict=True)
    except ValidationError:
        raise Invalid(
            f"{name!r} cannot name a model: it takes 1 to 128 letters, digits, '.', '_', '-', and spaces inside. "
            "MLflow keeps '/' and ':' for itself.",
            name=str(name),
        ) from None
