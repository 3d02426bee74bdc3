"""The version. ``package.json`` is its one source; the build copies it into the package metadata."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version() -> str:
    try:
        return version("jupyter-ext")
    except PackageNotFoundError:
        # A checkout that was never installed.
        return str(json.loads((Path(__file__).parent.parent / "package.json").read_text(encoding="utf-8"))["version"])


__version__ = _version()
