"""What is installed in a Python: asked of a cluster's, compared with the notebook's before a job is submitted."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pkgutil
import platform
import sys

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
    """Return the environment of this process. Read again only after something was installed or removed."""
    # The working directory is on the path of a server or a kernel, and not on a job's.
    here = os.path.realpath(os.curdir)
    paths = tuple(dict.fromkeys(path for path in sys.path if path and os.path.realpath(path) != here))
    return _read(paths, tuple(map(_changed, paths)))


@functools.lru_cache(maxsize=1)
def _read(paths: tuple[str, ...], _changes: tuple[int, ...]) -> Environment:
    standard = sys.stdlib_module_names
    modules: dict[str, tuple[str, ...]] = {name: () for name in standard if not name.startswith("_")}
    modules |= {module.name: () for module in pkgutil.iter_modules(paths) if not module.name.startswith("_")}
    modules |= {
        name: tuple(sorted(set(distributions)))
        for name, distributions in importlib.metadata.packages_distributions().items()
        if name.isidentifier()
    }
    return Environment(
        python=platform.python_version(),
        executable=sys.executable or None,
        packages={found.name: found.version for found in importlib.metadata.distributions() if found.name},
        modules=modules,
    )


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
