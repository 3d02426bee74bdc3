"""What can be wrong with an installation, and how to mend each. One function a part; none of them changes anything."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jupyter_ext._version import __version__
from jupyter_ext.errors import JupyterExtError

if TYPE_CHECKING:
    from jupyter_ext.store.store import Store
    from jupyter_ext.workspace import Workspace

State = Literal["ok", "warn", "fail"]

MIN_PYTHON = (3, 11)
#: Below this much room the object store is warned about.
MIN_FREE_BYTES = 1_000_000_000
EXTENSION = "jupyter_ext"
LABEXTENSION = "@jupyter-ext/lab"
#: SQLite's locks do not hold on these (sqlite.org/faq.html#q5).
NETWORK_FILE_SYSTEMS = (
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.gcsfuse", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb", "smb2", "smb3", "smbfs",
)  # fmt: skip
_CLUSTER = "doctor"


@dataclass(frozen=True)
class Check:
    """One finding: whether it is well, what was seen, and how to mend it."""

    name: str
    state: State
    message: str
    mend: str = ""


def examine(workspace: Workspace, *, start_ray: bool = False) -> Iterator[Check]:
    """Look at every part of an installation, one after the other.

    Parameters
    ----------
    workspace
        Not opened; its settings say where everything is.
    start_ray
        Start a cluster of its own, see that it answers, and stop it again (some ten seconds).
    """
    yield check_python(sys.version_info[:3])
    yield check_packages(_requirements())
    yield check_server_extension(_enabled_extensions())
    yield check_labextension(_labextension_folders())
    database = check_database(workspace)
    yield database
    yield check_objects(workspace)
    if database.state == "fail" or not _is_current(workspace):
        mend = "Mend the database first."
        yield Check("mlflow", "warn", "Not looked at: the database is not ready.", mend)
        yield check_ray()
        return
    with _opened(workspace):
        yield check_mlflow(workspace)
        ray = check_ray()
        yield check_cluster(workspace) if start_ray and ray.state == "ok" else ray


# --- the installation -----------------------------------------------------------------------------------------------


def check_python(version: tuple[int, ...]) -> Check:
    """Check Python's version.

    Examples
    --------
    >>> check_python((3, 9, 1)).state
    'fail'
    """
    seen, needed = ".".join(map(str, version)), ".".join(map(str, MIN_PYTHON))
    if version < MIN_PYTHON:
        return Check("python", "fail", f"Python {seen}; jupyter-ext needs {needed}.", f"Install Python {needed}.")
    return Check("python", "ok", f"Python {seen}")


def check_packages(requirements: Iterable[str] | None) -> Check:
    """Check what is installed against what the package asks for (extras only where they are installed)."""
    from packaging.requirements import Requirement

    if requirements is None:
        mend = "Install it: pip install jupyter-ext (or pip install -e . in a checkout)."
        return Check("packages", "warn", f"jupyter-ext {__version__} runs from a folder, it is not installed.", mend)
    wrong = []
    for requirement in map(Requirement, requirements):
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong += [] if extra else [f"{requirement} is not installed"]
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                wrong.append(f"{requirement.name} is {found}, needed {requirement.specifier}")
    if wrong:
        return Check("packages", "fail", "; ".join(wrong) + ".", "Run: pip install --upgrade jupyter-ext")
    return Check("packages", "ok", f"jupyter-ext {__version__} and all it needs")


def check_server_extension(enabled: dict[str, bool]) -> Check:
    """Check that Jupyter servers load the extension."""
    if enabled.get(EXTENSION):
        return Check("server extension", "ok", "enabled")
    seen = "disabled" if EXTENSION in enabled else "not known to Jupyter"
    return Check("server extension", "fail", seen, f"Run: jupyter server extension enable {EXTENSION}")


def check_labextension(folders: Iterable[Path], version: str = __version__) -> Check:
    """Check that JupyterLab has the panels, in the same version as the package."""
    for folder in folders:
        try:
            found = json.loads((folder / LABEXTENSION / "package.json").read_text(encoding="utf-8"))["version"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError):
            return Check("labextension", "fail", f"{folder / LABEXTENSION} is damaged.", "Install jupyter-ext again.")
        if found != version:
            message = f"version {found} in {folder}, the package is {version}."
            return Check("labextension", "fail", message, f"Remove {folder / LABEXTENSION} and install again.")
        return Check("labextension", "ok", f"version {found}")
    return Check("labextension", "fail", "not installed: JupyterLab shows no panels.", "Install jupyter-ext again.")


def _requirements() -> list[str] | None:
    try:
        return metadata.requires("jupyter-ext") or []
    except metadata.PackageNotFoundError:
        return None


def _enabled_extensions() -> dict[str, bool]:
    from jupyter_core.paths import jupyter_config_path
    from jupyter_server.extension.config import ExtensionConfigManager

    manager = ExtensionConfigManager(read_config_path=[str(Path(path)) for path in jupyter_config_path()])
    return {str(name): bool(enabled) for name, enabled in manager.get_jpserver_extensions().items()}


def _labextension_folders() -> list[Path]:
    from jupyter_core.paths import jupyter_path

    return [Path(path) for path in jupyter_path("labextensions")]


# --- the workspace --------------------------------------------------------------------------------------------------


def check_database(workspace: Workspace) -> Check:
    """Check that the database answers, is at our revision, and lies where its locks hold."""
    name = "database"
    file = sqlite_file(workspace.database_url)
    where = f"SQLite at {file}" if file else _without_password(workspace.database_url)
    if file is not None and not file.exists():
        mend = "The first start of the server makes it; so does: jupyter ext migrate"
        return Check(name, "warn", f"{where}: not there yet.", mend)
    from jupyter_ext.store import migrate

    try:
        with _store(workspace) as store:
            found = migrate.standing(store.database)
    except JupyterExtError as error:
        return Check(name, "fail", f"{where}: {error.message}", "Start it, or correct c.Workspace.database_url.")
    except Exception as error:  # noqa: BLE001 - a wrong URL or a missing driver raises whatever the driver likes
        seen = str(error).partition("\n")[0]
        return Check(name, "fail", f"{where}: {seen}", "Correct c.Workspace.database_url, or install its driver.")
    at = f"{where}: revision {found.revision or 'none'}"
    if found.standing == "newer":
        mend = "Upgrade the package: pip install --upgrade jupyter-ext"
        return Check(name, "fail", f"{at}, from a newer version; this one knows {migrate.HEAD}.", mend)
    if found.standing == "older":
        # Where servers migrate by themselves, the next one to start mends it.
        state: State = "warn" if workspace.auto_migrate else "fail"
        return Check(name, state, f"{at}, needed {migrate.HEAD}.", "Back it up and run: jupyter ext migrate")
    system = _file_system(file) if file else ""
    if system in NETWORK_FILE_SYSTEMS:
        mend = "Put c.Workspace.home on a local disk, or use PostgreSQL: SQLite's locks do not hold there."
        return Check(name, "warn", f"{at}, on a network file system ({system}).", mend)
    return Check(name, "ok", at)


def check_objects(workspace: Workspace) -> Check:
    """Check that the object store takes, gives back and deletes an object, and has room."""
    from jupyter_ext.store.objects import Objects

    where, probe, data = _without_password(workspace.objects_url), f"doctor/{uuid.uuid4().hex}", b"well?"
    local = "://" not in workspace.objects_url or workspace.objects_url.startswith("file://")
    folder = Path(workspace.objects_url.removeprefix("file://")).expanduser()
    present = folder.exists()
    try:
        objects = Objects(workspace.objects_url, workspace.objects_options)
        objects.put(probe, data)
        same = objects.get(probe) == data
        objects.delete(probe)
        if local:
            (folder / "doctor").rmdir()
            if not present:
                folder.rmdir()
    except Exception as error:  # noqa: BLE001 - every fsspec file system has errors of its own
        seen = str(error).partition("\n")[0]
        mend = "Correct c.Workspace.objects_url and objects_options, or the permissions there."
        return Check("objects", "fail", f"{where}: {seen}", mend)
    if not same:
        return Check("objects", "fail", f"{where}: gave back other bytes than it took.", "Look after that storage.")
    if local:
        free = shutil.disk_usage(_nearest(folder)).free
        if free < MIN_FREE_BYTES:
            return Check("objects", "warn", f"{where}: {_size(free)} free.", "Make room there.")
        return Check("objects", "ok", f"{where}: {_size(free)} free")
    return Check("objects", "ok", where)


def check_mlflow(workspace: Workspace) -> Check:
    """Check that MLflow's process starts and its tracking server answers."""
    from jupyter_ext.registry.values import ModelQuery

    if find_spec("mlflow") is None:
        return Check("mlflow", "fail", "not installed: there is no registry.", "Run: pip install 'jupyter-ext[mlflow]'")
    started = time.monotonic()
    try:
        workspace.models.list(ModelQuery(limit=1))
    except JupyterExtError as error:
        return Check("mlflow", "fail", error.message, "Look at c.RegistryService.tracking_uri.")
    seconds = time.monotonic() - started
    return Check("mlflow", "ok", f"MLflow {metadata.version('mlflow')} answers ({seconds:.1f} s to start)")


def check_ray() -> Check:
    """Check that Ray is installed with its command."""
    if find_spec("ray") is None:
        return Check("ray", "fail", "not installed: no jobs can run.", "Run: pip install 'jupyter-ext[ray]'")
    version = metadata.version("ray")
    beside = shutil.which("ray", path=str(Path(sys.executable).parent))
    if not (beside or shutil.which("ray")):
        mend = "Install it into this environment: pip install 'ray[default]'"
        return Check("ray", "fail", f"Ray {version}, but its command `ray` is not found.", mend)
    return Check("ray", "ok", f"Ray {version}")


def check_cluster(workspace: Workspace) -> Check:
    """Start a cluster of its own and stop it again."""
    started = time.monotonic()
    try:
        workspace.clusters.ensure(workspace.user, _CLUSTER)
        seconds = time.monotonic() - started
        return Check("ray", "ok", f"Ray {metadata.version('ray')}: a head started in {seconds:.0f} s")
    except JupyterExtError as error:
        return Check("ray", "fail", error.message, "Look at the head's log lines above, and at free memory and ports.")
    finally:
        workspace.clusters.stop(workspace.user, _CLUSTER)


# --- helpers --------------------------------------------------------------------------------------------------------


@contextmanager
def _store(workspace: Workspace) -> Iterator[Store]:
    store = workspace.open_store()
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _opened(workspace: Workspace) -> Iterator[None]:
    workspace.open()
    try:
        yield
    finally:
        # Not workspace.close(): a server may run beside us, and closing would stop its idle clusters.
        workspace.models.close()
        workspace.executor.shutdown()
        workspace.store.close()


def _is_current(workspace: Workspace) -> bool:
    from jupyter_ext.store import migrate

    file = sqlite_file(workspace.database_url)
    if file is not None and not file.exists():
        return False
    with _store(workspace) as store:
        return migrate.standing(store.database).standing == "current"


def sqlite_file(url: str) -> Path | None:
    """Return the file behind a SQLite URL, None for another database."""
    return Path(url.partition("///")[2]) if url.startswith("sqlite") else None


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _file_system(path: Path, partitions: Callable[[], Iterable[tuple[str, str]]] | None = None) -> str:
    """Return the type of the file system that holds a path; ``partitions`` gives mount points with their types."""
    found = partitions() if partitions is not None else _partitions()
    resolved = str(path.resolve())
    holders = [(point, kind) for point, kind in found if _below(resolved, point)]
    return max(holders, key=lambda holder: len(holder[0]), default=("", ""))[1].lower()


def _below(path: str, mount_point: str) -> bool:
    return path == mount_point or path.startswith(mount_point.rstrip(os.sep) + os.sep)


def _partitions() -> list[tuple[str, str]]:
    import psutil

    return [(partition.mountpoint, partition.fstype) for partition in psutil.disk_partitions(all=True)]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
