"""Which processes came from us, and whether any is left."""

from __future__ import annotations

import ctypes
import sys
import time

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parents end (Linux), so that none can hide from `left_over`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def left_over(patience: float) -> list[psutil.Process]:
    """Return our descendants that still run after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        alive = [process for process in psutil.Process().children(recursive=True) if _runs(process)]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.1)


def _runs(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        process.wait(0)  # an adopted orphan that has ended waits for us to read its status
    except psutil.Error:
        return False
    return False


def describe(processes: list[psutil.Process]) -> str:
    """Return one line a process: its id and its command."""
    lines = []
    for process in processes:
        try:
            lines.append(f"{process.pid} {' '.join(process.cmdline())[:150]}")
        except psutil.Error:
            continue
    return "\n".join(lines)


def end(processes: list[psutil.Process]) -> None:
    """End the processes: ask them, wait five seconds, kill."""
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    for process in psutil.wait_procs(processes, timeout=5)[1]:
        try:
            process.kill()
        except psutil.Error:
            continue
