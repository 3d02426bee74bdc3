"""Drift: false alarms of every method on 1,000 pairs that did not move, and speed side by side with Evidently.

Evidently lives in an environment of its own, ``build/peers-monitoring``, which the first run installs. Each side runs
in a fresh process (``monitoring_side.py``). ``JUPYTER_EXT_BENCH_QUICK=1`` leaves out the largest runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from jupyter_ext.monitoring import Profile, drift
from jupyter_ext.monitoring.methods import METHODS, OF_ROWS, Method

_ROOT = Path(__file__).parent.parent
_REQUIREMENTS = Path(__file__).with_name("monitoring_peers.txt")
_SIDE = Path(__file__).with_name("monitoring_side.py")
_QUICK = os.environ.get("JUPYTER_EXT_BENCH_QUICK") == "1"
#: A run of Evidently that takes longer is given up.
_PATIENCE = 900

Rows = Iterator[tuple[str, str, str]]
Draw = Callable[[np.random.Generator, int, int], pd.DataFrame]


class Failed(Exception):
    """One side did not come to an end; the message says why."""


def measure() -> Rows:
    """Yield rows of (what, figure, budget)."""
    yield from _speed()
    yield from _false_alarms()


# --- speed ----------------------------------------------------------------------------------------------------------


def _peer() -> tuple[Path | None, str]:
    """Return the Python of the peer's environment, made when it isn't there; or why there is none."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        return None, "uv was not found"
    folder = _ROOT / "build" / "peers-monitoring"
    python, stamp = folder / "bin" / "python", folder / f".installed-{zlib.crc32(_REQUIREMENTS.read_bytes())}"
    if stamp.exists():
        return python, ""
    print("installing Evidently into build/peers-monitoring", file=sys.stderr, flush=True)
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(_REQUIREMENTS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
        if done.returncode:
            return None, _last_line(done.stderr)
    stamp.touch()
    return python, ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1].strip()[:120]


def _side(python: Path, side: str, rows: int, columns: int) -> dict[str, float]:
    command = [str(python), str(_SIDE), side, str(rows), str(columns)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE, env=environment)
    except subprocess.TimeoutExpired:
        raise Failed(f"more than {_PATIENCE // 60} minutes") from None
    if done.returncode:
        raise Failed("killed, out of memory" if done.returncode == -9 else _last_line(done.stderr))
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _speed() -> Rows:
    peer, why = _peer()
    for rows, columns, budget in (
        (100_000, 20, ""),
        (1_000_000, 20, "≤ 2 s, ≤ 200 MB more"),
        (100_000, 1_000, "≤ 15 s"),
    ):
        if _QUICK and rows * columns > 2_000_000:
            continue
        shown, seconds = [], {}
        for label, python, side in (
            ("stored profile", Path(sys.executable), "ours"),
            ("frames", Path(sys.executable), "ours_frames"),
            ("Evidently", peer, "evidently"),
        ):
            try:
                if python is None:
                    raise Failed(f"not installed: {why}")
                told = _side(python, side, rows, columns)
            except Failed as error:
                shown.append(f"{label} {error}")
                continue
            seconds[label] = told["seconds"]
            shown.append(f"{label} {told['seconds']:.1f} s (cpu {told['cpu']:.1f}), {told['extra_mb']:.0f} MB")
        if {"stored profile", "Evidently"} <= seconds.keys():
            shown.append(f"{seconds['Evidently'] / seconds['stored profile']:.0f} × as fast")
        yield f"drift, {rows:,} × {columns:,}", " · ".join(shown), budget


# --- false alarms ---------------------------------------------------------------------------------------------------


def normal(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    """Return continuous numbers."""
    return pd.DataFrame(rng.normal(size=(n, k)))


def tied(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    """Return counts, numbers half of which are zero, and rounded numbers with gaps, in turn."""
    values = rng.poisson(1.5, (n, k)).astype(np.float64)
    values[:, 1::3] = np.where(
        rng.random(values[:, 1::3].shape) < 0.5, 0.0, rng.exponential(size=values[:, 1::3].shape)
    )
    values[:, 2::3] = rng.normal(size=values[:, 2::3].shape).round(1)
    values[:, 2::3][rng.random(values[:, 2::3].shape) < 0.1] = np.nan
    return pd.DataFrame(values)


def rare(rng: np.random.Generator, n: int, k: int) -> pd.DataFrame:
    """Return categories, some of a hundredth of the rows."""
    shares = np.array([0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.01, 0.01])
    letters = pd.CategoricalDtype(list("abcdefgh"))
    return pd.DataFrame({i: pd.Categorical.from_codes(rng.choice(8, n, p=shares), dtype=letters) for i in range(k)})


_SIZES = ((100, 100), (100, 1_000), (1_000, 1_000), (1_000, 100_000), (100_000, 100_000))
_SLOW: tuple[Method, ...] = (*OF_ROWS, "pca_reconstruction", "wasserstein")


def _false_alarms() -> Rows:
    for method in METHODS:
        draws: dict[str, Draw] = {"numbers": normal, "ties": tied}
        if method not in ("ks", "wasserstein", "pca_reconstruction"):
            draws["rare categories"] = rare
        for what, draw in draws.items():
            for n, m in _SIZES:
                large = max(n, m) > 10_000
                if _QUICK and large:
                    continue
                tests = 1_000
                if (large and method in _SLOW) or (method == "c2st" and max(n, m) >= 1_000):
                    tests = 100
                yield _row(method, what, draw, n, m, tests)


def _row(method: Method, what: str, draw: Draw, n: int, m: int, tests: int) -> tuple[str, str, str]:
    rng = np.random.default_rng([n, m, METHODS.index(method)])
    alarms = dict.fromkeys(("frames", "profile and frame", "profiles"), 0)
    together = method == "pca_reconstruction"
    done = 0
    while done < tests:
        width = 3 if together else min(50, tests - done)
        reference, current = draw(rng, n, width), draw(rng, m, width)
        profile = Profile.of(reference)
        sides: dict[str, tuple[Any, Any]] = {
            "frames": (reference, current),
            "profile and frame": (profile, current),
            "profiles": (profile, Profile.of(current)),
        }
        for form, (left, right) in sides.items():
            table = drift(left, right, correction="none", methods=method).table
            alarms[form] += int((table["p_value"] <= 0.05).sum())
        done += 1 if together else width
    shares = " · ".join(f"{form} {100 * count / tests:.1f} %" for form, count in alarms.items())
    within = all(
        min(stats.binomtest(c, tests, 0.07, "greater").pvalue, stats.binomtest(c, tests, 0.03, "less").pvalue) > 0.01
        for c in alarms.values()
    )
    figure = f"{shares}, of {tests:,}" + ("" if within else " OUTSIDE")
    return f"false alarms, {method}, {what}, {n:,} and {m:,}", figure, "3 to 7 %"
