"""What every noun's values share: frozen models, checked names, digests, pages."""

from __future__ import annotations

import os
import threading
import time
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

#: A name people type: letters, digits, ``._-`` and single spaces inside, at most 128 characters.
Name = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_](?:[A-Za-z0-9_.\- ]*[A-Za-z0-9_.\-])?$")
]
#: The content address of a blob: lower-case SHA-256 in hexadecimal.
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Free text a person reads; bounded so that a list of it stays small.
Text = Annotated[str, Field(max_length=10_000)]


class Value(BaseModel):
    """A frozen value that crosses the API. Unknown fields are refused, so a typing mistake is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Query(Value):
    """What every list takes: how many (at most 500), and where to go on (the ``next_cursor`` of the page before)."""

    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(default=None, max_length=200)


class Page(Value, Generic[T]):
    """One page of a list, newest first. ``next_cursor`` is None on the last page."""

    items: list[T]
    next_cursor: str | None = None


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_order = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return a new id that sorts by time: 48 bits of milliseconds, then 80 random bits, in Crockford's base 32.

    Ids of one process are in the order in which they were made, also within a millisecond and when the clock is
    set back: lists that sort by id are newest first.

    Source: the ULID specification (with its monotonic order), lower-cased so that it can name files, Ray submissions
    and Kubernetes objects.

    Examples
    --------
    >>> len(new_id("job")), new_id("job").startswith("job-")
    (30, True)
    >>> new_id("job") < new_id("job")
    True
    """
    global _last
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    with _order:
        if number >> 80 <= _last >> 80:
            # A random step, not one: a neighbour's id cannot be guessed, and forked processes stay apart.
            number = _last + 1 + int.from_bytes(os.urandom(8), "big")
        _last = number
    return f"{prefix}-" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
