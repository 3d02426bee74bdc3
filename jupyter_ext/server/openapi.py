"""The OpenAPI document, written from the same routes that serve."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from jupyter_ext._version import __version__
from jupyter_ext.server import API_PREFIX
from jupyter_ext.server.routing import Bytes, Route

_REF = "#/components/schemas/{model}"
_BINARY = {"type": "string", "contentEncoding": "binary"}
_ERROR = {
    "type": "object",
    "required": ["message", "reason", "details"],
    "properties": {
        "message": {"type": "string", "description": "A sentence for a person."},
        "reason": {"type": "string", "description": "A word for a program."},
        "details": {"type": "object"},
    },
}


def openapi_document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of ``routes``."""
    routes = list(routes)
    schemas, definitions = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyter-ext",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": f"/{API_PREFIX}"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "token <token>"}
            },
            "schemas": {**definitions, "Error": _ERROR},
        },
    }


def _schemas(routes: list[Route]) -> tuple[dict[tuple[Any, str], Any], dict[str, Any]]:
    inputs: list[Any] = [(route.body, "validation") for route in routes if route.body not in (None, bytes)]
    inputs += [(route.query, "validation") for route in routes if route.query is not None]
    outputs = [(_answer(route), "serialization") for route in routes if route.adapter is not None]
    models = [pair for pair in dict.fromkeys(inputs + outputs) if hasattr(pair[0], "model_json_schema")]
    schemas, document = models_json_schema(models, ref_template=_REF)
    return {(model, mode): schema for (model, mode), schema in schemas.items()}, document.get("$defs", {})


def _answer(route: Route) -> Any:
    return route.hints.get("return")


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    summary, _, description = inspect.cleandoc(route.function.__doc__ or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": route.function.__name__,
        "tags": [route.resource],
        "summary": summary.rstrip("."),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in route.path_parameters
        ],
        "responses": _responses(route, schemas),
    }
    if description.strip():
        operation["description"] = description.strip()
    if route.query is not None:
        operation["parameters"] += _query_parameters(route.query)
    if route.body is bytes:
        content: dict[str, Any] = {"application/octet-stream": {"schema": _BINARY}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[(route.body, "validation")]}},
        }
    return operation


def _query_parameters(model: Any) -> list[dict[str, Any]]:
    schema = TypeAdapter(model).json_schema(ref_template=_REF)
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    # In a query string an absent parameter is None; there is no way to write null.
    field = {key: value for key, value in field.items() if not (key == "default" and value is None)}
    if "anyOf" in field:
        options = [option for option in field["anyOf"] if option.get("type") != "null"]
        rest = {key: value for key, value in field.items() if key != "anyOf"}
        return {**rest, **options[0]} if len(options) == 1 else {**rest, "anyOf": options}
    return field


def _responses(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    answer = _answer(route)
    success: dict[str, Any] = {"description": "Success"}
    status = str(route.status)
    if answer is Bytes:
        success["content"] = {route.media_type: {"schema": {} if "json" in route.media_type else _BINARY}}
    elif route.adapter is not None:
        success["content"] = {
            "application/json": {
                "schema": schemas.get((answer, "serialization")) or route.adapter.json_schema(ref_template=_REF)
            }
        }
    elif route.method != "HEAD":
        status = "204"
    error = {
        "description": "What was wrong, and what to do",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return {status: success, "4XX": error, "503": error, "507": error}
