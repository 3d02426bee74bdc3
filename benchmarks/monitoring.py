"""Drift: false alarms of every method on 1,000 pairs that did not move, and speed side by side with Evidently.

Evidently lives in an environment of its own, ``build/peers-monitoring``, which the first run installs. Each side runs
in a fresh process (``monitoring_side.py``). ``JUPYTER_EXT_BENCH_QUICK=1`` leaves out the largest runs of speed and
counts false alarms on 100 pairs. ``JUPYTER_EXT_BENCH_METHODS=mmd,lsdd`` counts those of some methods and nothing else;
``JUPYTER_EXT_BENCH_SEED=1`` draws other pairs.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from jupyter_ext.monitoring import Profile, drift, progress
from jupyter_ext.monitoring.methods import METHODS, OF_RANKS, Method

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
    chosen = os.environ.get("JUPYTER_EXT_BENCH_METHODS")
    if not chosen:
        yield from _speed()
    seed = int(os.environ.get("JUPYTER_EXT_BENCH_SEED", "0"))
    yield from false_alarms([m for m in METHODS if not chosen or m in chosen.split(",")], seed)


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


_DRAWS: dict[str, Draw] = {"numbers": normal, "ties": tied, "rare categories": rare}
_SIZES = ((100, 100), (100, 1_000), (1_000, 1_000), (1_000, 100_000), (100_000, 100_000))
_FORMS = ("frames", "profile and frame", "profiles")
_LEVEL, _WITHIN = 0.05, 0.02
_TESTS = 100 if _QUICK else 1_000
#: Pairs that are drawn at a time.
_PAIRS = 25
#: The method that needs several columns for one test, and how many it gets.
_JOINT: Method = "pca_reconstruction"
_WIDTH = 3

Alarms = Counter[tuple[Method, str]]


@dataclass(frozen=True)
class _Piece:
    """Some pairs of one setting, and the methods that are tried on them."""

    draw: str
    n: int
    m: int
    methods: tuple[Method, ...]
    seed: tuple[int, ...]


def false_alarms(methods: Sequence[Method], seed: int = 0, tests: int = _TESTS) -> Rows:
    """Yield what share of pairs that did not move each method calls drift, then the range of each over all settings."""
    settings = [(draw, n, m) for draw in _DRAWS for n, m in _SIZES]
    pieces = [
        _Piece(draw, n, m, some, (seed, list(_DRAWS).index(draw), n, m, i, some == (_JOINT,)))
        for draw, n, m in settings
        for some in _together(methods, draw)
        for i in range(tests // _PAIRS)
    ]
    found: dict[tuple[str, int, int], Alarms] = {setting: Counter() for setting in settings}
    left = Counter((piece.draw, piece.n, piece.m) for piece in pieces)
    ranges: dict[Method, list[float]] = {}
    # A process for each core: most of a small test is Python, which threads would wait for.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _alone) as pool:
        counts = progress.told_progress(
            pool.imap(_count, pieces), len(pieces), f"Counting false alarms, pieces of {_PAIRS},"
        )
        for piece, alarms in zip(pieces, counts, strict=True):
            setting = piece.draw, piece.n, piece.m
            found[setting] += alarms
            left[setting] -= 1
            if left[setting]:
                continue
            for method in (method for some in _together(methods, piece.draw) for method in some):
                shares = [found[setting][method, form] / tests for form in _FORMS]
                ranges.setdefault(method, []).extend(shares)
                yield _row(method, setting, shares, tests)
    for method, all_shares in ranges.items():
        figure = f"{100 * min(all_shares):.1f} to {100 * max(all_shares):.1f} %, in {len(all_shares)} settings"
        yield f"false alarms, {method}", figure, "3 to 7 %"


def _together(methods: Sequence[Method], draw: str) -> list[tuple[Method, ...]]:
    """Return which of the methods suit a draw, in groups that are tried on the same pairs."""
    numbers = draw != "rare categories"
    single = tuple(m for m in methods if m != _JOINT and (numbers or m not in OF_RANKS))
    return [some for some in (single, (_JOINT,) * (numbers and _JOINT in methods)) if some]


def _alone() -> None:
    """Make a process keep to one core, and leave the telling of progress to the one that counts."""
    threadpool_limits(1)
    progress.PATIENCE = math.inf


def _count(piece: _Piece) -> Alarms:
    rng = np.random.default_rng(piece.seed)
    joint = piece.methods == (_JOINT,)
    columns = [str(place) for place in range(_PAIRS * (_WIDTH if joint else 1))]
    frames = [_DRAWS[piece.draw](rng, rows, len(columns)).set_axis(columns, axis=1) for rows in (piece.n, piece.m)]
    profiles = [Profile.of(frame) for frame in frames]
    alarms: Alarms = Counter()
    step = _WIDTH if joint else len(columns)
    for place in range(0, len(columns), step):
        names = columns[place : place + step]
        (reference, current), (kept, other) = (
            [frame[names] for frame in frames],
            [side.only(names) for side in profiles],
        )
        for form, left, right in zip(_FORMS, (reference, kept, kept), (current, current, other), strict=True):
            for method in piece.methods:
                table = drift(left, right, correction="none", methods=method, random_state=rng).table
                alarms[method, form] += int((table["p_value"] <= _LEVEL).sum())
    return alarms


def _row(method: Method, setting: tuple[str, int, int], shares: Sequence[float], tests: int) -> tuple[str, str, str]:
    figure = " · ".join(f"{form} {100 * share:.1f} %" for form, share in zip(_FORMS, shares, strict=True))
    beyond = [
        min(
            stats.binomtest(round(share * tests), tests, _LEVEL + _WITHIN, "greater").pvalue,
            stats.binomtest(round(share * tests), tests, _LEVEL - _WITHIN, "less").pvalue,
        )
        for share in shares
    ]
    figure += f", of {tests:,}" + (" OUTSIDE" if min(beyond) <= 0.01 else "")
    draw, n, m = setting
    return f"false alarms, {method}, {draw}, {n:,} and {m:,}", figure, "3 to 7 %"
