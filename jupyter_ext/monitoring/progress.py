"""How far a long run is, in one line on the standard error stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Seconds after which a run is long.
PATIENCE = 3.0
_PAUSE = 0.3


def told_progress(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    """Yield the items; once `PATIENCE` has passed, tell how many of `total` there were and how long the rest takes.

    Examples
    --------
    >>> list(told_progress(iter("ab"), 2, "Comparing"))
    ['a', 'b']
    """
    began = shown = time.monotonic()
    visible = False
    for done, item in enumerate(items, start=1):
        moment = time.monotonic()
        if moment - began > PATIENCE and moment - shown > _PAUSE:
            shown, visible = moment, True
            left = (moment - began) * (total - done) / done
            print(f"\r{doing} {done:,} of {total:,}, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
        yield item
    if visible:
        spent = time.monotonic() - began
        print(f"\r{doing} {total:,} of {total:,}, done in {spent:.1f} s{' ' * 12}", file=sys.stderr, flush=True)
