"""Whether the cluster can run what the notebook sends: two environments compared, before anything is submitted."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jupyter_ext.clusters.environment import Environment


@dataclass(frozen=True)
class Findings:
    """What keeps a job from running, and what may go wrong; sentences for people."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def compare(
    here: Environment,
    there: Environment,
    *,
    imported: Collection[str] = (),
    pickled: Collection[str] | None = None,
    own: Mapping[str, str] | None = None,
) -> Findings:
    """Compare the notebook's Python with the cluster's, as far as a job uses it.

    Parameters
    ----------
    here, there
        The notebook's environment and the cluster's.
    imported
        Top-level modules that the job's code imports.
    pickled
        Top-level modules that it takes to read what is sent; None when nothing is.
    own
        Modules that are files of the user's, and their files.

    Examples
    --------
    >>> here = Environment(python="3.11.4", packages={"polars": "1.2"}, modules={"polars": ("polars",)})
    >>> there = Environment(python="3.12.1", packages={}, modules={})
    >>> found = compare(here, there, imported=["polars"], pickled=[])
    >>> found.errors
    ("Your cluster has no module 'polars', which the job's code imports. Install it there: pip install polars==1.2.",)
    >>> found.warnings
    ('The notebook runs Python 3.11, your cluster 3.12: what is sent may not be readable there.',)
    """
    used = set(imported) | set(pickled or ())
    missing = sorted(
        name
        for name in used
        if name not in there.modules and name not in sys.stdlib_module_names and name != "jupyter_ext"
    )
    errors = [_missing(name, here, there, name in imported, (own or {}).get(name)) for name in missing]
    warnings = []
    if pickled is not None and _minor(here.python) != _minor(there.python):
        warnings.append(
            f"The notebook runs Python {_minor(here.python)}, your cluster {_minor(there.python)}: what is sent may "
            "not be readable there."
        )
    theirs = {_normal(name): version for name, version in there.packages.items()}
    for package in sorted({package for name in used for package in here.modules.get(name, ())}):
        mine, other = here.packages.get(package, ""), theirs.get(_normal(package), "")
        if mine and other and _major(mine) != _major(other):
            warnings.append(f"{package} is {mine} in the notebook and {other} on your cluster.")
    return Findings(tuple(errors), tuple(warnings))


def _missing(name: str, here: Environment, there: Environment, imported: bool, file: str | None) -> str:
    why = "which the job's code imports" if imported else "from which an object comes that is sent to the job"
    if file is not None:
        return (
            f"Your cluster has no module {name!r}, {why}: it is a file of yours ({file}). Submit a function that uses "
            "it, jobs.submit(function, …): that takes it along."
        )
    known = [
        f"{package}=={here.packages[package]}" for package in here.modules.get(name, ()) if package in here.packages
    ]
    command = f"{there.executable} -m pip" if there.executable else "pip"
    # The name of a module is no safe guess at the name of a package.
    how = f"Install it there: {command} install {' '.join(known)}." if known else "Install the package that brings it."
    return f"Your cluster has no module {name!r}, {why}. {how}"


def _normal(package: str) -> str:
    return package.lower().replace("_", "-").replace(".", "-")


def _major(version: str) -> str:
    return version.partition(".")[0]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
