"""The object store: a local folder or any fsspec URL, with atomic writes and confined paths."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jupyter_ext.errors import Invalid, NotFound, StorageFull, Unavailable

#: How often a folder is deleted that others delete from too.
_DELETIONS = 5
#: Libraries below fsspec that have errors of their own for a store that does not answer.
_CLIENTS = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "urllib3"})

_SEGMENT = re.compile(r"[A-Za-z0-9_@=+,.\-]+")


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object: its path below the root, its size in bytes, when it was written."""

    path: str
    size: int
    modified_at: datetime


def confine(path: str) -> str:
    """Return ``path`` if it is a plain relative POSIX path, else raise `Invalid`.

    Examples
    --------
    >>> confine("jobs/j-1/logs/00000001.log")
    'jobs/j-1/logs/00000001.log'
    >>> confine("../secrets")
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: '../secrets' is not a path inside the workspace's object store.
    """
    segments = path.split("/")
    if any(not _SEGMENT.fullmatch(segment) or segment.strip(".") == "" for segment in segments):
        raise Invalid(f"{path!r} is not a path inside the workspace's object store.", path=path)
    return path


class Objects:
    """Objects below one root URL.

    A write is whole or absent: locally through a temporary file, fsync and rename; object stores are atomic by nature.

    Examples
    --------
    >>> import tempfile
    >>> objects = Objects(tempfile.mkdtemp())
    >>> objects.put("a/b.txt", b"hello")
    >>> objects.get("a/b.txt"), objects.size("a/b.txt"), [info.path for info in objects.list("a")]
    (b'hello', 5, ['a/b.txt'])
    """

    def __init__(self, root: str | Path, storage_options: dict[str, Any] | None = None) -> None:
        self.storage_options = dict(storage_options or {})
        root = str(root)
        if "://" not in root:
            root = Path(root).expanduser().resolve().as_uri()
        self.fs, self._root = fsspec.url_to_fs(root.rstrip("/"), **self.storage_options)
        self._root = self._root.rstrip("/")
        self.root_url = root.rstrip("/")
        self._local = isinstance(self.fs, LocalFileSystem)

    def url(self, path: str = "") -> str:
        """Return the fsspec URL of an object (or of the root), for other processes to open."""
        return f"{self.root_url}/{confine(path)}" if path else self.root_url

    def put(self, path: str, data: bytes) -> None:
        """Write an object, replacing one that is there. On failure the old content stays.

        Raises
        ------
        StorageFull
            When the disk or the quota is exhausted.
        """
        target = self._full(path)
        with _translated(path):
            if self._local:
                self._put_local(Path(target), data)
            else:
                self.fs.pipe_file(target, data)

    def get(self, path: str) -> bytes:
        """Return an object's content."""
        with _translated(path):
            return bytes(self.fs.cat_file(self._full(path)))

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open an object for reading."""
        with _translated(path), self.fs.open(self._full(path), "rb") as stream:
            yield stream

    def exists(self, path: str) -> bool:
        """Whether there is an object at ``path``."""
        with _translated(path):
            try:
                # `isfile` would say no as well when the store does not answer.
                return bool(self._fresh().info(self._full(path))["type"] == "file")
            except (FileNotFoundError, NotADirectoryError):
                return False

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        with _translated(path):
            return int(self._fresh().info(self._full(path))["size"])

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Return the objects at and below ``prefix``, sorted by path. A prefix that is not there is empty."""
        root = self._full(prefix)
        with _translated(prefix):
            found = list(_local_files(root) if self._local else _remote_files(self._fresh(), root))
        strip = len(self._root) + 1
        return sorted(
            (
                ObjectInfo(path[strip:], size, modified)
                for path, size, modified in found
                if not path.rpartition("/")[2].startswith(".tmp-")
            ),
            key=lambda info: info.path,
        )

    def delete(self, path: str) -> None:
        """Delete an object, or everything below a folder. What is not there is no error."""
        full = self._full(path)
        with _translated(path):
            for _ in range(_DELETIONS):
                try:
                    self._fresh().rm(full, recursive=True)
                except FileNotFoundError:
                    # Or somebody else deletes a part of it at the same time.
                    if not self.fs.exists(full):
                        return
                else:
                    return

    def _full(self, path: str) -> str:
        return f"{self._root}/{confine(path)}"

    def _fresh(self) -> Any:
        # Other processes write here too (job runners), so a cached listing would hide their objects.
        self.fs.invalidate_cache()
        return self.fs

    @staticmethod
    def _put_local(target: Path, data: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


class Blobs:
    """Content-addressed objects: the name is the SHA-256 of the content, so a repeated upload costs nothing.

    Examples
    --------
    >>> import tempfile
    >>> blobs = Blobs(Objects(tempfile.mkdtemp()))
    >>> digest = blobs.put(b"hello")
    >>> digest[:8], blobs.get(digest)
    ('2cf24dba', b'hello')
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, data: bytes, expected: str | None = None) -> str:
        """Store ``data`` and return its digest; ``expected``, when given, must be that digest."""
        digest = hashlib.sha256(data).hexdigest()
        if expected is not None and expected != digest:
            raise Invalid(f"The content has the SHA-256 {digest}, not {expected}: it was damaged on the way.")
        path = self.path(digest)
        if not self._objects.exists(path):
            self._objects.put(path, data)
        return digest

    def path(self, digest: str) -> str:
        """Return the object path of a digest."""
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise Invalid(f"{digest!r} is not a SHA-256 in lower-case hexadecimal.")
        return f"blobs/{digest[:2]}/{digest}"

    def require(self, digest: str) -> str:
        """Return the object path of a blob that was uploaded, or raise `Invalid`."""
        path = self.path(digest)
        if not self._objects.exists(path):
            raise Invalid(
                f"The blob {digest[:12]}… was not uploaded. Upload it first: PUT /blobs/{digest}.", blob=digest
            )
        return path

    def find(self, digest: str) -> str:
        """Return the object path of a blob, or raise `NotFound`."""
        path = self.path(digest)
        if not self._objects.exists(path):
            raise NotFound(f"There is no blob {digest}.", blob=digest)
        return path

    def get(self, digest: str) -> bytes:
        """Return a blob's content, or raise `NotFound`."""
        try:
            return self._objects.get(self.path(digest))
        except NotFound as error:
            raise NotFound(f"There is no blob {digest}.", blob=digest) from error

    def size(self, digest: str) -> int:
        """Return a blob's size in bytes."""
        return self._objects.size(self.require(digest))


def _local_files(folder: str) -> Iterator[tuple[str, int, datetime]]:
    # A tenth of the time of fsspec's own walk, which matters for folders that are listed while somebody watches.
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        # An object store lists an object that is called exactly as the prefix; so does a folder.
        facts = os.stat(folder)
        yield folder, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)
        return
    for entry in entries:
        if entry.is_dir():
            yield from _local_files(entry.path)
            continue
        try:
            facts = entry.stat()
        except FileNotFoundError:
            continue  # deleted since the folder was read
        yield entry.path, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)


def _remote_files(fs: Any, folder: str) -> Iterator[tuple[str, int, datetime]]:
    for path, info in fs.find(folder, detail=True).items():
        yield path, int(info["size"]), _modified(info)


def _modified(info: dict[str, Any]) -> datetime:
    moment = info.get("LastModified") or info.get("last_modified") or info.get("mtime") or 0
    if isinstance(moment, datetime):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(float(moment), UTC)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"There is no object {path!r}.", path=path) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                "The object store is full. Nothing was written; free some space and try again."
            ) from error
        raise Unavailable(f"The object store failed on {path!r}: {error.strerror or error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise Unavailable(f"The object store failed on {path!r}: {error}") from error
