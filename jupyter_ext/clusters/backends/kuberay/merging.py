"""Merging what an administrator adds into a pod template, in the way of Kubernetes' strategic merge patch."""

from __future__ import annotations

from typing import Any

#: By which key the items of a list are told apart; `name` for all others.
_KEYS = {"volumeMounts": "mountPath", "ports": "containerPort"}


def merge(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``extra`` in it; neither is changed.

    Objects are merged key by key, and a None removes a key. Lists of named things (containers, environment variables,
    volumes) are merged by name; of other lists, the new items come behind. Everything else is replaced.

    Examples
    --------
    >>> base = {"containers": [{"name": "ray", "image": "a", "env": [{"name": "X", "value": "1"}]}], "hostIPC": True}
    >>> merge(base, {"containers": [{"name": "ray", "env": [{"name": "X", "value": "2"}]}], "hostIPC": None})
    {'containers': [{'name': 'ray', 'image': 'a', 'env': [{'name': 'X', 'value': '2'}]}]}
    """
    merged = dict(base)
    for name, value in extra.items():
        old = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[name] = merge(old, value)
        elif isinstance(old, list) and isinstance(value, list | tuple):
            merged[name] = _merge_lists(old, list(value), _KEYS.get(name, "name"))
        else:
            merged[name] = value
    return merged


def _merge_lists(base: list[Any], extra: list[Any], key: str) -> list[Any]:
    if not all(isinstance(item, dict) and key in item for item in (*base, *extra)):
        return [*base, *(item for item in extra if item not in base)]
    merged = {item[key]: item for item in base}
    for item in extra:
        merged[item[key]] = merge(merged.get(item[key], {}), item)
    return list(merged.values())
