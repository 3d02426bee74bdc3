"""Outliers and streams: accuracy against scikit-learn's isolation forest and PyOD, and the time of one request.

PyOD lives in an environment of its own, ``build/peers-outliers``, which the first run installs.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from jupyter_ext.monitoring import StreamDetector, fit_outlier_detector

_ROOT = Path(__file__).parent.parent
DATA = _ROOT.parent / "shared" / "data" / "monitoring" / "adbench_small"
_REQUIREMENTS = Path(__file__).with_name("outliers_peers.txt")
_SIDE = Path(__file__).with_name("outliers_side.py")
_PEERS = ("IForest", "ECOD", "COPOD", "KNN", "HBOS")
_SEEDS = range(3)

Array = npt.NDArray[Any]
Rows = Iterator[tuple[str, str, str]]


def measure() -> Rows:
    """Yield rows of (what, figure, budget)."""
    python, why = _peers()
    if python is None:
        yield "PyOD", f"could not be installed, so ours stands alone: {why}", ""
    if DATA.is_dir():
        yield from _auroc(python)
    else:
        yield "ADBench", f"skipped: {os.path.relpath(DATA, _ROOT)} is absent", ""
    yield from _request(python)
    yield from _streams()


def _peers() -> tuple[Path | None, str]:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        return None, "uv was not found"
    folder = _ROOT / "build" / "peers-outliers"
    python, stamp = folder / "bin" / "python", folder / f".installed-{zlib.crc32(_REQUIREMENTS.read_bytes())}"
    if not stamp.exists():
        print("installing PyOD into build/peers-outliers", file=sys.stderr, flush=True)
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(_REQUIREMENTS)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
            if done.returncode:
                return None, (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:120]
        stamp.touch()
    return python, ""


def _side(python: Path, detector: str, **given: Any) -> dict[str, float] | None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.npz"
        np.savez(source, **given)
        command = [str(python), "-W", "ignore", str(_SIDE), detector, str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    return json.loads(done.stdout.strip().splitlines()[-1]) if not done.returncode else None


def _auroc(python: Path | None) -> Rows:
    sets = {}
    for path in sorted(DATA.glob("*.npz")):
        with np.load(path) as file:
            sets[path.stem] = file["X"].astype(float), file["y"].astype(int)
    forest = [
        roc_auc_score(y, -IsolationForest(random_state=seed).fit(X).score_samples(X))
        for X, y in sets.values()
        for seed in _SEEDS
    ]
    for method in ("auto", "neighbours", "isolation_forest"):
        ours = [
            roc_auc_score(y, fit_outlier_detector(frame, method, seed).score(frame))
            for frame, y in ((pd.DataFrame(X), y) for X, y in sets.values())
            for seed in _SEEDS
        ]
        yield f"mean AUROC, {len(sets)} ADBench sets: {method}", f"{np.mean(ours):.4f}", ">= the isolation forest's"
    yield "  scikit-learn's IsolationForest", f"{np.mean(forest):.4f}", ""
    if python is not None:
        given = {
            f"{letter}_{name}": part for name, pair in sets.items() for letter, part in zip("Xy", pair, strict=True)
        }
        for peer in _PEERS:
            told = _side(python, peer, **given)
            yield f"  PyOD's {peer}", f"{told['auroc']:.4f}" if told else "failed", ""


def _request(python: Path | None) -> Rows:
    rng = np.random.default_rng(0)
    reference, rows = rng.normal(size=(100_000, 20)), rng.normal(size=(50, 20))
    frame, asked = (pd.DataFrame(X).rename(columns=str) for X in (reference, rows))
    start = time.perf_counter()
    detector = fit_outlier_detector(frame)
    fit, took, explained = time.perf_counter() - start, [], []
    for i in range(len(asked)):
        row = asked.iloc[[i]]
        start = time.perf_counter()
        detector.score(row)
        detector.p_value(row)
        took.append(time.perf_counter() - start)
        start = time.perf_counter()
        detector.explain(row)
        explained.append(time.perf_counter() - start)
    yield "fit, 100k x 20", f"{fit:.2f} s", ""
    yield "score and p-value of one row", f"{statistics.median(took) * 1e3:.1f} ms", "10 ms"
    yield "explanation of one row", f"{statistics.median(explained) * 1e3:.0f} ms", ""
    start = time.perf_counter()
    detector.p_value(frame[:20_000])
    yield "p-values of 20,000 rows", f"{time.perf_counter() - start:.1f} s", ""
    if python is not None:
        for peer in ("IForest", "ECOD", "COPOD", "HBOS"):
            told = _side(python, peer, reference=reference, rows=rows[:10])
            figure = f"fit {told['fit']:.2f} s, one row {told['row'] * 1e3:.1f} ms" if told else "failed"
            yield f"  PyOD's {peer}", figure, ""


def _streams() -> Rows:
    stream = np.random.default_rng(0).normal(size=50_000).tolist()
    for kind in ("adwin", "page_hinkley", "kswin", "e_detector"):
        part, detector = stream[:10_000] if kind == "kswin" else stream, StreamDetector(kind)
        start = time.perf_counter()
        for x in part:
            detector.update(x)
        rate = len(part) / (time.perf_counter() - start)
        alarms = len(detector.alarms) / len(part) * 10_000
        yield f"stream, {kind}", f"{rate:,.0f} numbers/s; {alarms:.1f} false alarms in 10,000 of white noise", ""
