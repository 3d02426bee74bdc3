"""Version numbers that count up by name, also when two writers come at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from jupyter_ext.errors import Conflict

T = TypeVar("T")

_ATTEMPTS = 20


def retry_races(attempt: Callable[[], T]) -> T:
    """Run a transaction that takes the next free version, again when another writer took it first.

    A unique constraint decides who is first; the loser reads again and finds either its own content or the next number.
    """
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except IntegrityError as error:
            lost = error
    raise Conflict(
        "Many writers register under this name at the same moment. Nothing was written; try again."
    ) from lost
