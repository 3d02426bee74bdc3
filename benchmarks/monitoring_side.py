"""One side of a comparison in a process of its own, so that its time and its memory are its own.

    python monitoring_side.py SIDE ROWS COLUMNS

Prints one line of JSON: ``seconds``, and how much ``extra_mb`` of memory was held at most beyond the data. Run by
``benchmarks.monitoring``, ours in this environment, the peer in its own, which has nothing of ours.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


def frame(rows: int, columns: int, seed: int) -> pd.DataFrame:
    """Numbers, and a quarter of the columns categories, when there are few columns."""
    rng = np.random.default_rng(seed)
    n_categorical = columns // 4 if columns <= 100 else 0
    data: dict[str, Any] = {f"n{i}": rng.normal(size=rows) for i in range(columns - n_categorical)}
    data |= {f"c{i}": rng.choice(list("abcdefgh"), rows) for i in range(n_categorical)}
    return pd.DataFrame(data)


def ours(rows: int, columns: int) -> Callable[[], Any]:
    """Drift of a frame against a stored profile."""
    monitoring = importlib.import_module("jupyter_ext.monitoring")
    profile = monitoring.Profile.from_bytes(monitoring.Profile.of(frame(rows, columns, 0)).to_bytes())
    current = frame(rows, columns, 1)
    monitoring.drift(profile, current[:100])
    return lambda: monitoring.drift(profile, current)


def ours_frames(rows: int, columns: int) -> Callable[[], Any]:
    """Drift of a frame against a frame."""
    monitoring = importlib.import_module("jupyter_ext.monitoring")
    reference, current = frame(rows, columns, 0), frame(rows, columns, 1)
    monitoring.drift(reference[:100], current[:100])
    return lambda: monitoring.drift(reference, current)


def evidently(rows: int, columns: int) -> Callable[[], Any]:
    """Evidently's preset, which knows frames only."""
    root, presets = importlib.import_module("evidently"), importlib.import_module("evidently.presets")
    reference, current = frame(rows, columns, 0), frame(rows, columns, 1)
    report = root.Report([presets.DataDriftPreset()])
    report.run(current[:100], reference[:100])
    return lambda: report.run(current, reference).dict()


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(side: str, rows: int, columns: int) -> None:
    """Prepare, then measure one run."""
    run = {"ours": ours, "ours_frames": ours_frames, "evidently": evidently}[side](rows, columns)
    before = most = _resident_mb()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, _resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    done.set()
    watcher.join()
    print(json.dumps({"seconds": seconds, "cpu": cpu, "extra_mb": most - before}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
