"""Variables and functions as bytes, and which packages it takes to read them.

What comes from an installed package goes as a name: the cluster has the package too. What was written in the notebook,
or in files of the user's own, which the cluster does not have, goes by value.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import inspect
import io
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.functions import Travelling

#: cloudpickle keeps one list of modules for the whole process.
_registering = threading.Lock()
_OWN = {"jupyter_ext", "__main__", "__mp_main__"}


@dataclass(frozen=True)
class Pickled:
    """Variables pickled together, and the top-level modules that must be there to read them."""

    data: bytes
    needs: frozenset[str]


def pickle_all(variables: Mapping[str, Any]) -> Pickled:
    """Pickle variables together, so that what they share stays shared.

    Raises
    ------
    Invalid
        One of them can't be pickled; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(pickle_all({"x": 1, "a": np.zeros(3)}).needs)
    ['numpy']
    """
    with _by_value():
        try:
            return _pickle(dict(variables))
        except Exception as error:  # pickling runs the objects' own code, which may raise anything
            for name, value in variables.items():
                try:
                    _pickle(value)
                except Exception as own:
                    function = isinstance(value, Travelling)
                    what = f"The function {name!r}" if function else f"The variable {name!r} ({type(value).__name__})"
                    raise Invalid(
                        f"{what} can't be sent{', with what it refers to' if function else ''}: it can't be pickled "
                        f"({type(own).__name__}: {own}). Send plain data and build it inside the job."
                    ) from own
            raise Invalid(f"The variables can't be sent together: {error}") from error


def fingerprint(variables: Mapping[str, Any]) -> str:
    """Return a digest of variables that another kernel finds the same when the same cells were run in it.

    Their pickle would not do: it tells in which file a cell was kept, and gives a class of the notebook a number at
    random. Here functions count by their text, classes by what is in them, both with what they refer to. A set of
    words has an order of its own in every kernel, and differs.

    Examples
    --------
    >>> def scaled(x): return rate * x
    >>> rate = 2
    >>> before = fingerprint({"scaled": Travelling(scaled)})
    >>> rate = 3
    >>> fingerprint({"scaled": Travelling(scaled)}) == before
    False
    """
    import cloudpickle

    class Reading(cloudpickle.Pickler):  # type: ignore[misc]
        """Writes down, in the place of code, what was written in the notebook."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, Travelling):
                return str, ("",), obj.function
            by_value = super().reducer_override(obj)
            # What a function or class refers to is the state, which is pickled last: one may refer to itself.
            if by_value is not NotImplemented and isinstance(obj, FunctionType):
                try:
                    # Two lambdas in one line have one text, and other columns.
                    columns = [position[2:] for position in obj.__code__.co_positions()]
                    return str, (inspect.getsource(obj.__code__),), (columns, by_value[2])
                except (OSError, TypeError):  # it was made without a text, by `exec`
                    return by_value
            if by_value is not NotImplemented and isinstance(obj, type) and len(by_value) > 2:
                return str, (obj.__qualname__,), (obj.__bases__, dict(getattr(obj, "__members__", {})), by_value[2])
            return by_value

    digest = hashlib.sha256()
    with _by_value():
        Reading(SimpleNamespace(write=digest.update)).dump(dict(variables))
    return digest.hexdigest()


def _pickle(value: Any) -> Pickled:
    import cloudpickle

    needs: set[str] = set()

    class Noting(cloudpickle.Pickler):  # type: ignore[misc]
        """Notes where functions, classes, modules and the types of objects come from."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, ModuleType):
                home = obj.__name__
            else:
                home = (obj if isinstance(obj, (type, FunctionType, BuiltinFunctionType)) else type(obj)).__module__
            needs.add(str(home).partition(".")[0])
            return super().reducer_override(obj)

    buffer = io.BytesIO()
    Noting(buffer).dump(value)
    return Pickled(buffer.getvalue(), frozenset(needs - _OWN - {"None"} - sys.stdlib_module_names - set(own_modules())))


@contextmanager
def _by_value() -> Iterator[None]:
    import cloudpickle

    with _registering:
        known, own = set(cloudpickle.list_registry_pickle_by_value()), own_modules()
        added = [
            module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in own and getattr(module, "__name__", None) == name and name not in known
        ]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)


def own_modules() -> dict[str, str]:
    """Return the top-level modules that are files of the user's, and no installed packages; each with its file."""
    found: dict[str, str] = {}
    for name in {name.partition(".")[0] for name in list(sys.modules)} - _OWN - sys.stdlib_module_names:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
        if isinstance(file, str) and file and not _installed(name, file):
            found[name] = file
    return found


def own_file(name: str) -> str | None:
    """Return the file of a top-level module if it is the user's own; None if it is installed, or nowhere."""
    if name in sys.modules:
        return own_modules().get(name)
    found = importlib.machinery.PathFinder.find_spec(name)
    file = found.origin if found is not None else None
    return file if file is not None and not _installed(name, file) else None


def _installed(name: str, file: str) -> bool:
    path = Path(os.path.realpath(file))
    root = path.parent.parent if path.name == "__init__.py" else path.parent
    if any(root.is_relative_to(folder) for folder in _site_folders()):
        return True
    editable = {
        package
        for found, module in list(sys.modules.items())
        if found.startswith("__editable__")
        for package in getattr(module, "MAPPING", ())
    }
    # A folder of loose files beside a package that is installed in place is no part of it.
    return name in editable or (root in _editable_folders() and not path.is_dir())


@functools.cache
def _site_folders() -> frozenset[Path]:
    folders = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    unwanted = {sysconfig.get_paths()["data"], sysconfig.get_paths()["scripts"]}
    return frozenset(Path(os.path.realpath(folder)) for folder in folders - unwanted)


@functools.cache
def _editable_folders() -> frozenset[Path]:
    """Return the folders of packages that are installed in place: site-packages names them in ``.pth`` files."""
    found = set()
    for folder in _site_folders():
        for file in folder.glob("*.pth"):
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            found |= {Path(os.path.realpath(line)) for line in lines if line.strip() and os.path.isdir(line)}
    return frozenset(found)
