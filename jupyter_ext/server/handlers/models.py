"""Routes of models: versions, aliases, lineage."""

from __future__ import annotations

from jupyter_ext.registry.values import (
    AliasMove,
    AliasTarget,
    Lineage,
    Model,
    ModelQuery,
    ModelVersion,
    ModelVersionSpec,
)
from jupyter_ext.server.routing import Bytes, Call, route
from jupyter_ext.values import Page, Query


@route("GET", "/models", resource="models")
def list_models(call: Call, query: ModelQuery) -> Page[Model]:
    """List models, last changed first. ``name`` matches a part of the name."""
    return call.workspace.models.list(query)


@route("GET", "/models/{name}", resource="models")
def get_model(call: Call, name: str) -> Model:
    """Return a model: its newest version and where its aliases point."""
    return call.workspace.models.get(name)


@route("GET", "/models/{name}/versions", resource="models")
def list_model_versions(call: Call, name: str, query: Query) -> Page[ModelVersion]:
    """List a model's versions, newest first."""
    return call.workspace.models.list_versions(name, query)


@route("POST", "/models/{name}/versions", resource="models", status=201)
def register_model_version(call: Call, name: str, body: ModelVersionSpec) -> ModelVersion:
    """Register an uploaded archive (a zipped MLflow model folder) as the next version.

    Data set, label set and job are checked to exist and to belong together; naming the job is enough, since it knows
    its label set, and that its data set. With an ``idempotency_key``, asking again gives the same version.
    """
    return call.workspace.models.register(name, body, owner=call.user)


@route("GET", "/models/{name}/versions/{version}", resource="models")
def get_model_version(call: Call, name: str, version: str) -> ModelVersion:
    """Return a version by its number or by ``@alias``."""
    return call.workspace.models.get_version(name, version)


@route("GET", "/models/{name}/versions/{version}/lineage", resource="models")
def get_lineage(call: Call, name: str, version: str) -> Lineage:
    """Return everything that went into a version: job, label set, data set."""
    return call.workspace.models.lineage(name, version)


@route("GET", "/models/{name}/versions/{version}/archive", resource="models", media_type="application/zip")
def get_archive(call: Call, name: str, version: str) -> Bytes:
    """Download a version's model folder as a zip."""
    return Bytes(call.workspace.models.archive(name, version))


@route("PUT", "/models/{name}/aliases/{alias}", resource="models")
def promote_model(call: Call, name: str, alias: str, body: AliasTarget) -> AliasMove:
    """Point an alias at a version. Pointing it where it points already changes nothing."""
    return call.workspace.models.promote(name, alias, body, actor=call.user)


@route("DELETE", "/models/{name}/aliases/{alias}", resource="models")
def remove_alias(call: Call, name: str, alias: str) -> AliasMove:
    """Remove an alias; its history stays."""
    return call.workspace.models.remove_alias(name, alias, actor=call.user)


@route("GET", "/models/{name}/aliases/{alias}/history", resource="models")
def list_alias_moves(call: Call, name: str, alias: str, query: Query) -> Page[AliasMove]:
    """List every move of an alias, newest first: from where, to where, by whom, why."""
    return call.workspace.models.history(name, alias, query)
