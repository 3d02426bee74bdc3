"""Stands before the package rfc3987-syntax in Ray's processes, and loads it when it is first asked something.

The package compiles some thirty grammars while it is imported, which takes 2.3 s of CPU. jsonschema imports it for the
one format ``iri``, Ray imports jsonschema, and a head with one job is a dozen Python processes: with this, they take
17 s of CPU to start instead of 43 s.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def _find() -> ModuleSpec | None:
    if __name__ != "rfc3987_syntax":
        # Somebody looks at us as a part of jupyter_ext.
        return None
    elsewhere = [entry for entry in sys.path if Path(entry) != _HERE]
    spec = PathFinder.find_spec("rfc3987_syntax", elsewhere)
    if spec is None or spec.loader is None:
        raise ImportError("rfc3987-syntax is not installed", name="rfc3987_syntax")
    return spec


_SPEC = _find()


def is_valid_syntax(*args: Any, **kwargs: Any) -> Any:
    """Call the real function of this name."""
    return __getattr__("is_valid_syntax")(*args, **kwargs)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        # The import system asks so whether this is a package.
        raise AttributeError(name)
    module = sys.modules["rfc3987_syntax"]
    if _SPEC is not None and module.__spec__ is not _SPEC:
        module = sys.modules["rfc3987_syntax"] = module_from_spec(_SPEC)
        assert _SPEC.loader is not None
        _SPEC.loader.exec_module(module)
    return getattr(module, name)
