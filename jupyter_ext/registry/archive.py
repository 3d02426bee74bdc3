"""Model archives: an MLflow model folder as one zip, packed the same way every time and unpacked without trust."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from jupyter_ext.errors import Invalid, TooLarge

_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, target: IO[bytes] | None = None) -> bytes:
    """Zip a folder so that the same content gives the same bytes: sorted names, no times, no owners.

    Parameters
    ----------
    folder
        The folder to pack; its own name is not part of the archive.
    target
        A writable, seekable file to write to instead of memory.

    Returns
    -------
    bytes
        The archive; empty when ``target`` was given.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "MLmodel").write_text("flavors: {}")
    >>> pack(folder) == pack(folder)
    True
    """
    buffer = io.BytesIO() if target is None else target
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
    return buffer.getvalue() if isinstance(buffer, io.BytesIO) and target is None else b""


def unpack(archive: Path | IO[bytes], folder: Path, *, max_bytes: int, max_files: int = 10_000) -> None:
    """Unpack an archive from a stranger into an empty folder.

    Parameters
    ----------
    archive
        The zip.
    folder
        Where to; created. What an archive refused half-way left there is the caller's to delete.
    max_bytes, max_files
        Limits on the unpacked content, counted while it is written: the sizes an archive claims are not believed.

    Raises
    ------
    Invalid
        Not a zip, damaged, encrypted, or with an entry that is a link or leads out of the folder.
    TooLarge
        More bytes or files than allowed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > max_files:
                raise TooLarge(f"The model archive has {len(entries)} files; at most {max_files} are allowed.")
            left = max_bytes
            seen: set[PurePosixPath] = set()
            for entry in entries:
                path = _checked(entry, seen)
                if not entry.is_dir():
                    left -= _write(opened, entry, folder.joinpath(*path.parts), left, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Invalid(f"The model archive is not a readable zip file: {error}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Invalid("The model archive has an entry that is both a file and a folder.") from error


def _checked(entry: zipfile.ZipInfo, seen: set[PurePosixPath]) -> PurePosixPath:
    path = PurePosixPath(entry.filename)
    escapes = path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename
    if escapes or not path.parts:
        raise Invalid(f"The model archive has an entry {entry.filename!r} that leads out of its folder.")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Invalid(f"The model archive has an entry {entry.filename!r} that is a link or a device, not a file.")
    if entry.flag_bits & 1:
        raise Invalid("The model archive is encrypted.")
    if path in seen and not entry.is_dir():
        raise Invalid(f"The model archive has two entries named {entry.filename!r}.")
    seen.add(path)
    return path


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, max_bytes: int) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise TooLarge(f"The model archive unpacks to more than {max_bytes} bytes, the limit of this registry.")
            sink.write(chunk)
    return written
