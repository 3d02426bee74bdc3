"""What is installed in a Python: asked of a cluster's, compared with the notebook's before a job is submitted."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pkgutil
import platform
import sys
from collections.abc import Iterator

from jupyter_ext.values import Value


class Environment(Value):
    """A Python and what can be imported there.

    ``packages`` are distributions and their versions; ``modules`` top-level modules, each with the distributions that
    it comes from (none for the standard library, and for what lies on the path without being installed).
    """

    python: str
    executable: str | None = None
    packages: dict[str, str]
    modules: dict[str, tuple[str, ...]]


def read_environment() -> Environment:
    """Return the environment of this process and of the jobs that run under it, in its Python and its folder.

    Distributions are read again only after something was installed or removed.
    """
    # A job's process has its working directory on its path, whether this one has or not.
    here = os.path.realpath(os.curdir)
    paths = tuple(dict.fromkeys(path for path in sys.path if path and os.path.realpath(path) != here))
    found = _read(paths, tuple(map(_changed, paths)))
    beside = {name: () for name in _names((here,)) if name not in found.modules}
    return found.model_copy(update={"modules": {**beside, **found.modules}})


@functools.lru_cache(maxsize=1)
def _read(paths: tuple[str, ...], _changes: tuple[int, ...]) -> Environment:
    modules: dict[str, tuple[str, ...]] = dict.fromkeys((*sys.stdlib_module_names, *_names(paths)), ())
    for name, distributions in importlib.metadata.packages_distributions().items():
        modules[name] = tuple(sorted(set(distributions)))
    return Environment(
        python=platform.python_version(),
        executable=sys.executable or None,
        packages={found.name: found.version for found in importlib.metadata.distributions() if found.name},
        modules={name: modules[name] for name in sorted(modules) if name.isidentifier() and not name.startswith("_")},
    )


def _names(paths: tuple[str, ...]) -> Iterator[str]:
    """Yield what can be imported from some folders; a folder in them may be a package without saying so."""
    yield from (module.name for module in pkgutil.iter_modules(paths))
    for path in paths:
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                yield from (entry.name for entry in entries if entry.name.isidentifier() and entry.is_dir())


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
