"""KubeRay's schema of a RayCluster, and what the API server does with it: refuse what is wrong or unknown, default."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[3] / "shared" / "data" / "kubernetes" / "ray.io_rayclusters.yaml"
ABSENT = "KubeRay's schema (../shared/data/kubernetes/ray.io_rayclusters.yaml) is absent"


@lru_cache
def schema() -> dict[str, Any]:
    """The openAPIV3Schema of v1."""
    # CSafeLoader: the file has a megabyte.
    document = yaml.load(FILE.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    version = next(version for version in document["spec"]["versions"] if version["name"] == "v1")
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def problems(item: dict[str, Any]) -> list[str]:
    """What the API server's strict validation has against an object, but for CEL rules."""
    return [*_invalid(item), *_unknown(schema(), item, "", root=True)]


def defaulted(item: dict[str, Any]) -> dict[str, Any]:
    """The object with the schema's defaults in it."""
    made = copy.deepcopy(item)
    _default(schema(), made)
    return made


def rules() -> set[tuple[str, str]]:
    """The CEL rules: where, and what."""
    return set(_rules(schema(), ""))


def _invalid(item: dict[str, Any]) -> Iterator[str]:
    import jsonschema

    for error in _validator(jsonschema.Draft202012Validator).iter_errors(item):
        yield f"{error.json_path}: {error.message[:200]}"


@lru_cache
def _validator(kind: Any) -> Any:
    return kind(_nullable(schema()))


def _nullable(part: Any) -> Any:
    """OpenAPI 3.0's nullable in the words of JSON Schema."""
    if isinstance(part, list):
        return [_nullable(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {key: _nullable(value) for key, value in part.items()}
    if made.get("nullable") is True and "type" in made:
        made["type"] = [made["type"], "null"]
    return made


def _unknown(part: dict[str, Any], value: Any, path: str, *, root: bool = False) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(part.get("items") or {}, item, f"{path}[{index}]")
    if not isinstance(value, dict) or part.get("x-kubernetes-preserve-unknown-fields"):
        return
    known, others = part.get("properties") or {}, part.get("additionalProperties")
    for key, item in value.items():
        where = f"{path}.{key}"
        if root and key == "metadata":
            yield from _unknown_metadata(item, where)
        elif key in known:
            yield from _unknown(known[key], item, where)
        elif isinstance(others, dict):
            yield from _unknown(others, item, where)
        elif others is not True:
            yield f'unknown field "{where[1:]}"'


def _unknown_metadata(metadata: dict[str, Any], path: str) -> Iterator[str]:
    known = {
        "annotations", "creationTimestamp", "deletionTimestamp", "finalizers", "generation", "labels", "managedFields",
        "name", "namespace", "ownerReferences", "resourceVersion", "uid",
    }  # fmt: skip
    yield from (f'unknown field "{path[1:]}.{key}"' for key in metadata if key not in known)


def _default(part: dict[str, Any], value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _default(part.get("items") or {}, item)
    if isinstance(value, dict):
        for key, below in (part.get("properties") or {}).items():
            if key not in value and "default" in below:
                value[key] = copy.deepcopy(below["default"])
            if key in value:
                _default(below, value[key])


def _rules(part: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, list):
        part = dict(enumerate(part))
    if isinstance(part, dict):
        yield from ((path, rule["rule"]) for rule in part.get("x-kubernetes-validations") or [])
        for key, below in part.items():
            step = f".{key}" if key not in ("properties", "items") else ""
            yield from _rules(below, path + step)
