"""What the run left in the workspace, read back through the server's REST API."""

from __future__ import annotations

from typing import Any

from jupyter_ext.hub import HubSession


def results(session: HubSession) -> list[tuple[str, str]]:
    """Return rows of (what, found), newest of each noun; a noun that has nothing says so."""
    return [
        ("data set", _dataset(session)),
        ("label set", _label_set(session)),
        ("job", _job(session)),
        ("model", _model(session)),
        ("drift", _drift(session)),
    ]


def _items(session: HubSession, path: str) -> list[dict[str, Any]]:
    answer = session.request("GET", f"/jupyter-ext/api/v1/{path}")
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def _dataset(session: HubSession) -> str:
    found = _items(session, "datasets")
    return ", ".join(f"{each['name']} v{each['version']} ({each['n_rows']} rows)" for each in found) or "none"


def _label_set(session: HubSession) -> str:
    found = _items(session, "labels/sets")
    if not found:
        return "none"
    newest = found[0]
    facts = [f"{newest['n_labeled']} of {newest['n_items']} rows labeled by {newest['method']}", *_numbers(newest)]
    return f"{newest['name']} v{newest['version']}: {', '.join(facts)}"


def _job(session: HubSession) -> str:
    found = _items(session, "jobs")
    if not found:
        return "none"
    newest = found[0]
    progress = newest["progress"] or {}
    facts = [newest["state"], f"attempt {newest['attempt']}", *_numbers(progress)]
    return f"{newest['name']}: {', '.join(facts)}"


def _model(session: HubSession) -> str:
    found = _items(session, "models")
    aliases = [f"{each['name']} v{to} @{alias}" for each in found for alias, to in sorted(each["aliases"].items())]
    return ", ".join(aliases) or ", ".join(f"{each['name']} v{each['latest_version']}" for each in found) or "none"


def _drift(session: HubSession) -> str:
    found = _items(session, "monitors/reports")
    if not found:
        return "none"
    newest = found[0]
    moved = newest["drifted"]
    return f"{len(moved)} of {len(newest['features'])} columns moved{': ' if moved else ''}{', '.join(moved)}"


def _numbers(holder: dict[str, Any]) -> list[str]:
    return [f"{name} {value:.3f}" for name, value in holder.get("metrics", {}).items()]
