"""What a container may use is what its control group says."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from jupyter_ext.clusters.backends.machine import count_cpus, count_gpus, memory_bytes


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 1), ("50000 100000", 1)])
def test_a_cpu_quota_counts(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert count_cpus(tmp_path) == expected


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert count_cpus(tmp_path) == count_cpus(tmp_path / "absent") == len(os.sched_getaffinity(0))


def test_a_memory_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_bytes(tmp_path) == 1048576
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) == psutil.virtual_memory().total


@pytest.mark.parametrize(("visible", "expected"), [("", 0), ("0,1", 2), ("0,-1,1", 1), ("GPU-a, GPU-b,MIG-c", 3)])
def test_visible_devices_are_counted_as_cuda_does(monkeypatch: pytest.MonkeyPatch, visible: str, expected: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == expected


def test_device_files_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == 2
