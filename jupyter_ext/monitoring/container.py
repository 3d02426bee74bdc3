"""The file format of a profile: a JSON header, then the sections of bytes it announces. Nothing in it is executable.

    "JXPROF" · version (u16) · header length (u32) · header (UTF-8 JSON) · sections, one after the other

The header is an object; ``header["sections"]`` lists the lengths of the sections, in bytes, and ``header["n_rows"]``
says how many rows were profiled. Integers are little-endian. The server checks profiles with this module alone.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from jupyter_ext.errors import Invalid

MAGIC = b"JXPROF"
VERSION = 2
_PREFIX = struct.Struct("<6sHI")
_MAX_HEADER = 256 * 1024 * 1024


def pack(header: dict[str, Any], sections: list[bytes]) -> bytes:
    """Return the bytes of a header and its sections.

    Examples
    --------
    >>> unpack(pack({"n_rows": 3}, [b"one", b""]))
    ({'n_rows': 3, 'sections': [3, 0]}, [b'one', b''])
    """
    text = json.dumps({**header, "sections": [len(section) for section in sections]}, ensure_ascii=False).encode()
    return b"".join([_PREFIX.pack(MAGIC, VERSION, len(text)), text, *sections])


def read_header(data: bytes) -> dict[str, Any]:
    """Check that the bytes are a whole profile and return its header.

    Raises
    ------
    Invalid
        The bytes are something else, were cut off, or come from a newer version.

    Examples
    --------
    >>> read_header(pack({"n_rows": 3}, [b"one"]))["n_rows"]
    3
    """
    return _parse(data)[0]


def unpack(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return header and sections; the inverse of `pack`.

    Raises
    ------
    Invalid
        As `read_header`.
    """
    header, start = _parse(data)
    sections = []
    for length in header["sections"]:
        sections.append(data[start : start + length])
        start += length
    return header, sections


def _parse(data: bytes) -> tuple[dict[str, Any], int]:
    if not isinstance(data, bytes) or len(data) < _PREFIX.size or data[: len(MAGIC)] != MAGIC:
        raise Invalid("This is not a profile. Make one with Profile.of(frame).to_bytes().")
    _, version, length = _PREFIX.unpack_from(data)
    if version < VERSION:
        raise Invalid("The profile was made by an older jupyter-ext. Make and store it again.", version=version)
    if version > VERSION:
        raise Invalid(
            f"The profile has format {version}, this jupyter-ext reads up to {VERSION}. Upgrade jupyter-ext.",
            version=version,
        )
    start = _PREFIX.size + length
    if length > _MAX_HEADER or start > len(data):
        raise Invalid("The profile was cut off. Make and store it again.")
    try:
        header = json.loads(data[_PREFIX.size : start])
    except ValueError:
        raise Invalid("The profile's header is damaged. Make and store it again.") from None
    if not isinstance(header, dict) or not _natural(header.get("n_rows")):
        raise Invalid("The profile's header does not say how many rows were profiled.")
    lengths = header.get("sections")
    if not isinstance(lengths, list) or not all(map(_natural, lengths)) or start + sum(lengths) != len(data):
        raise Invalid("The profile was cut off or has bytes too many. Make and store it again.")
    return header, start


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
