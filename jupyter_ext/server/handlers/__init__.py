"""One module a noun; each is a list of routes and translates HTTP, nothing else."""

from __future__ import annotations

from importlib import import_module

from jupyter_ext.server.routing import Route, routes_of

_MODULES = ("status", "blobs", "datasets", "labels", "jobs", "clusters", "models", "monitors")


def all_routes() -> list[Route]:
    """Return every route we serve."""
    return [route for name in _MODULES for route in routes_of(import_module(f"{__name__}.{name}"))]
