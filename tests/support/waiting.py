"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object], seconds: float = 120, *, every: float = 0.05) -> float:
    """Ask again and again until ``true`` says so, and return the seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + seconds, f"waited in vain for {seconds:g} s"
        time.sleep(every)
    return time.monotonic() - start
