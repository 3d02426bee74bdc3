"""What this process may use of the machine: a container's share, not the host's."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def count_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the number of CPUs that this process may use: affinity and the control group's quota, at least 1.

    Examples
    --------
    >>> count_cpus() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        allowed = min(allowed, int(quota) // int(period))
    return max(1, allowed)


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the memory that this process may use: the machine's, or the control group's limit if that is less.

    Examples
    --------
    >>> memory_bytes() > 0
    True
    """
    total = int(psutil.virtual_memory().total)
    limit = _read(cgroup / "memory.max")
    return min(total, int(limit)) if limit.isdecimal() else total


def gpus(devices: Path = Path("/dev")) -> list[str]:
    """Return the NVIDIA GPUs that this process may use, by their names in ``CUDA_VISIBLE_DEVICES`` or by number."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(len(list(devices.glob("nvidia[0-9]*"))))]
    named = [item.strip() for item in visible.split(",")]
    # As CUDA reads it: an empty or negative entry hides it and all that follow.
    return list(itertools.takewhile(lambda item: item and not item.startswith("-"), named))


def count_gpus(devices: Path = Path("/dev")) -> int:
    """Return the number of NVIDIA GPUs that this process may use."""
    return len(gpus(devices))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
