"""The labeling engine against Snorkel, crowd-kit and the majority vote: the same data, the same run.

The peers live in an environment of their own, ``build/peers``, which the first run installs. Each side of a comparison
runs in a fresh process with one thread (``labeling_side.py``). Accuracy is over rows with a vote, a tie counting by its
share of right answers.
"""

from __future__ import annotations

import json
import os
import re
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
from sklearn.metrics import f1_score

from jupyter_ext.labeling import find_label_errors, fit_label_model, train_end_model

_ROOT = Path(__file__).parent.parent
DATA = _ROOT.parent / "shared" / "data" / "labeling"
_REQUIREMENTS = Path(__file__).with_name("labeling_peers.txt")
_SIDE = Path(__file__).with_name("labeling_side.py")
#: Without GLAD, which takes minutes and is between the others.
_CROWDKIT = ("DawidSkene", "OneCoinDawidSkene", "MACE", "Wawa", "ZeroBasedSkill", "MMSR")
_CROWDS = ("bluebird", "rte", "web", "weather_sentiment", "sentence_polarity", "product", "sentiment", "face")

Rows = Iterator[tuple[str, str, str]]
Array = npt.NDArray[Any]


class Failed(Exception):
    """One side did not come to an end; the message says why."""


def measure() -> Rows:
    """Yield rows of (what, figure, budget)."""
    peers, why = _peers()
    if peers is None:
        yield "Snorkel and crowd-kit", f"could not be installed, so ours stands alone: {why}", ""
    if DATA.is_dir():
        yield from _functions(peers)
        yield from _crowds(peers)
        yield from _applier(peers)
        yield from _label_errors()
        yield from _end_model()
    else:
        yield "real vote sets", f"skipped: {os.path.relpath(DATA, _ROOT)} is absent", ""
    yield from _fit_time(peers)
    yield from _large()


def _peers() -> tuple[Path | None, str]:
    """Return the Python of the peers' environment, made when it isn't there; or why there is none."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        return None, "uv was not found"
    folder = _ROOT / "build" / "peers"
    python, stamp = folder / "bin" / "python", folder / f".installed-{zlib.crc32(_REQUIREMENTS.read_bytes())}"
    if stamp.exists():
        return python, ""
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(_REQUIREMENTS)]
    steps = [
        # Without CUDA where that can be had: a tenth of the size.
        [[uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)], [*install, "--torch-backend", "cpu"]],
        [[uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)], install],
    ]
    why = ""
    for commands in steps:
        print("installing Snorkel and crowd-kit into build/peers", file=sys.stderr, flush=True)
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
            if done.returncode:
                why = _last_line(done.stderr)
                break
        else:
            stamp.touch()
            return python, ""
    return None, why


def _side(python: Path | None, task: str, **given: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """Run a task in a process of its own; return its arrays and what it says."""
    if python is None:
        raise Failed("not installed")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, **given)
        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
        environment.update(PYTHONWARNINGS="ignore", TF_CPP_MIN_LOG_LEVEL="3")
        command = [str(python), str(_SIDE), task, str(source), str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=environment)
        except subprocess.TimeoutExpired:
            raise Failed("more than 15 minutes") from None
        if done.returncode:
            raise Failed("killed, out of memory" if done.returncode == -9 else _last_line(done.stderr))
        with np.load(target) as file:
            return dict(file), json.loads(done.stdout.strip().splitlines()[-1])


def _ours(task: str, **given: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    return _side(Path(sys.executable), task, **given)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1].strip()[:120]


def accuracy(proba: Array, gold: Array) -> float:
    """Return the accuracy over rows with known answers, ties by their share."""
    rows = np.flatnonzero(gold >= 0)
    tied = np.isclose(proba, proba.max(axis=1, keepdims=True), atol=1e-9)
    return float((tied / tied.sum(axis=1, keepdims=True))[rows, gold[rows]].mean())


def youtube() -> tuple[Array, Array]:
    """Votes and answers, all splits."""
    items = [
        item
        for split in ("train", "valid", "test")
        for item in json.loads((DATA / "wrench_youtube" / f"{split}.json").read_text()).values()
    ]
    return np.array([item["weak_labels"] for item in items]), np.array([item["label"] for item in items])


def sms_rules() -> tuple[list[str], Array, list[int], list[str]]:
    """Messages, answers, and the rules: their classes and patterns."""
    folder = DATA / "sms_rules"
    frame = pd.concat(
        pd.read_csv(folder / f"{split}.csv", encoding="latin-1").astype(str) for split in ("train", "valid", "test")
    )
    rules = [
        line.split("\t")[:2]
        for line in (folder / "rule.txt").read_text(encoding="latin-1").splitlines()
        if "\t" in line
    ]
    messages = frame["v2"].str.lower().str.strip().tolist()
    gold = (frame["v1"] == "spam").to_numpy().astype(np.int64)
    return messages, gold, [int(label == "spam") for label, _ in rules], [pattern for _, pattern in rules]


def sms() -> tuple[Array, Array]:
    """Votes and answers, all splits."""
    messages, gold, labels, patterns = sms_rules()
    votes = np.full((len(messages), len(patterns)), -1)
    for column, (label, pattern) in enumerate(zip(labels, patterns, strict=True)):
        search = re.compile(pattern).search
        votes[[search(message) is not None for message in messages], column] = label
    return votes, gold


def spouse() -> tuple[Array, Array]:
    """Votes and answers of the test split."""
    frame = pd.read_csv(DATA / "spouse_test" / "test_spouse_snorkel.csv")
    names = [name for name in frame.columns if re.fullmatch(r"LF\d+", name)]
    gold = frame["label"].to_numpy()
    return frame[names].to_numpy().astype(np.int64), np.where(gold > 0, 1, 0)


def crowd(name: str) -> dict[str, Any]:
    """Return triples, answers, and the numbers of items and classes."""
    label, truth = (pd.read_csv(DATA / "crowd" / name / f"{kind}.csv") for kind in ("label", "truth"))
    number = {item: i for i, item in enumerate(sorted(set(label["item"]) | set(truth["item"])))}
    gold = np.full(len(number), -1)
    gold[truth["item"].map(number)] = truth["truth"]
    return {
        "items": label["item"].map(number).to_numpy(),
        "workers": label["worker"].astype(str).to_numpy().astype(str),
        "labels": label["label"].to_numpy(),
        "gold": gold,
        "n_items": len(number),
        "n_classes": int(max(label["label"].max(), truth["truth"].max())) + 1,
    }


def _functions(peers: Path | None) -> Rows:
    scores: dict[str, list[float]] = {"majority": [], "Snorkel": [], "ours": []}
    for name, load in {"youtube": youtube, "sms": sms, "spouse (test)": spouse}.items():
        votes, gold = load()
        covered = (votes >= 0).any(axis=1)
        votes, gold = votes[covered], gold[covered]
        shown = []
        for label, python, task, method in (
            ("majority", Path(sys.executable), "ours_label_model", "majority"),
            ("Snorkel", peers, "snorkel_label_model", ""),
            ("ours", Path(sys.executable), "ours_label_model", "auto"),
        ):
            try:
                arrays, told = _side(python, task, L=votes, n_classes=2, method=method)
            except Failed as error:
                shown.append(f"{label} {error}")
                continue
            scores[label].append(accuracy(arrays["proba"], gold))
            chosen = f" ({told['method']})" if label == "ours" else ""
            shown.append(f"{label} {scores[label][-1]:.3f}{chosen}")
        yield f"accuracy, {name}, {votes.shape[0]} × {votes.shape[1]}", " · ".join(shown), "≥ majority − .010"
    yield "accuracy, mean of these sets", _means(scores), "≥ majority + .020"


def _means(scores: dict[str, list[float]]) -> str:
    most = max(map(len, scores.values()))
    return " · ".join(
        f"{label} {np.mean(values):.4f}" + ("" if len(values) == most else f" ({len(values)} of {most})")
        for label, values in scores.items()
        if values
    )


def _crowds(peers: Path | None) -> Rows:
    own = {"majority": "majority", "auto": "ours", "ibcc": "ours, iBCC", "ebcc": "ours, EBCC"}
    scores: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    why: dict[str, str] = {}
    for name in _CROWDS:
        data = crowd(name)
        gold = data.pop("gold")
        found: dict[str, float] = {}
        chosen = ""
        for task, python, labels in (
            ("ours_crowd", Path(sys.executable), own),
            ("crowdkit", peers, {method: f"crowd-kit {method}" for method in _CROWDKIT}),
        ):
            try:
                arrays, told = _side(python, task, **data, methods=np.array(list(labels)))
            except Failed as error:
                why.update(dict.fromkeys(labels.values(), str(error)))
                continue
            for method, label in labels.items():
                if method not in arrays:
                    why[label] = told[method]["error"][:80]
                    continue
                found[label] = accuracy(arrays[method], gold)
                seconds[label] = seconds.get(label, 0.0) + told[method]["seconds"]
                chosen = told[method]["method"] if method == "auto" else chosen
        for label, score in found.items():
            scores.setdefault(label, []).append(score)
        shown = [f"majority {found['majority']:.3f}"] if "majority" in found else []
        shown += [f"ours {found['ours']:.3f} ({chosen})"] if "ours" in found else []
        theirs = {label: score for label, score in found.items() if label.startswith("crowd-kit")}
        if theirs:
            best = max(theirs, key=theirs.__getitem__)
            shown.append(f"{best} {theirs[best]:.3f} (its best)")
        yield f"accuracy, {name}, {data['n_items']} items", " · ".join(shown), ""
    for label, values in scores.items():
        missing = "" if len(values) == len(_CROWDS) else f", on {len(values)} of {len(_CROWDS)} sets: {why[label]}"
        figure = f"{np.mean(values):.4f}, {seconds[label]:.1f} s{missing}"
        budget = {"ours": "≥ iBCC", "ours, EBCC": "≤ 300 s"}.get(label, "")
        yield f"crowds, mean accuracy: {label}", figure, budget
    for label in why.keys() - scores.keys():
        yield f"crowds, mean accuracy: {label}", f"failed: {why[label]}", ""


def _applier(peers: Path | None) -> Rows:
    messages, _, labels, patterns = sms_rules()
    given = {"texts": np.array(messages), "rule_labels": np.array(labels), "patterns": np.array(patterns)}
    calls = len(messages) * len(patterns)
    what = f"applier, {len(patterns)} regular expressions × {len(messages)} rows"
    try:
        theirs, peer = _side(peers, "snorkel_apply", **given)
    except Failed as error:
        theirs, peer = {}, {}
        yield f"{what}, Snorkel", str(error), ""
    for how, task, budget in (("builder", "ours_apply", "≥ 4 ×"), ("Python functions", "ours_apply_python", "")):
        try:
            arrays, told = _ours(task, **given)
        except Failed as error:
            yield f"{what}, {how}", f"ours: {error}", budget
            continue
        figure = f"ours {told['seconds']:.2f} s ({calls / told['seconds'] / 1e3:.0f}k calls/s)"
        if theirs:
            same = "the same votes" if (theirs["L"] == arrays["L"]).all() else "OTHER VOTES"
            ratio = peer["seconds"] / told["seconds"]
            figure += f", Snorkel {peer['seconds']:.2f} s: {ratio:.1f} × as fast, {same}"
        yield f"{what}, {how}", figure, budget


def _label_errors() -> Rows:
    """Precision among the rows that people reviewed, averaged over all depths."""
    for name in ("20news", "cifar10"):
        folder = DATA / "label_errors" / name
        given, proba = np.load(folder / "given_labels.npy"), np.load(folder / "pred_probs.npy")
        reviewed = json.loads((folder / "reviewed.json").read_text())
        wrong = {item["id"]: item["mturk"]["given"] < 3 for item in reviewed}
        plain = np.argsort(proba[np.arange(len(given)), given], kind="stable")
        ours, theirs = (
            np.cumsum(hits) / np.arange(1, len(hits) + 1)
            for hits in ([wrong[row] for row in rows if row in wrong] for rows in (_worst(given, proba), plain))
        )
        figure = f"ours {ours.mean():.4f}, self-confidence {theirs.mean():.4f}; least gain {(ours - theirs).min():.4f}"
        yield f"label errors, {name}, mean precision", figure, "≥ self-confidence at every depth"


def _worst(given: Array, proba: Array) -> list[int]:
    found: list[int] = find_label_errors(given, proba)["row"].tolist()
    return found


def _end_model() -> Rows:
    messages, gold, _, _ = sms_rules()
    votes, _ = sms()
    train, test = slice(0, len(messages) - 500), slice(len(messages) - 500, None)
    label_model = fit_label_model(votes[train], n_classes=2)
    start = time.perf_counter()
    model = train_end_model(messages[train], label_model.predict_proba(votes[train]), votes=votes[train])
    seconds = time.perf_counter() - start
    f1 = {
        "end model": f1_score(gold[test], model.predict(messages[test])),
        "votes alone": f1_score(gold[test], label_model.predict(votes[test]) == 1),
    }
    figure = f"{seconds:.1f} s; F1 on 500 new messages: " + ", ".join(
        f"{name} {value:.3f}" for name, value in f1.items()
    )
    yield f"end model, sms, {len(messages) - 500} messages", figure, "≤ 5 s"


def synthetic(n: int, m: int, k: int, coverage: float, seed: int = 0) -> tuple[Array, Array]:
    """Draw votes of ``m`` functions that are right with 0.6 to 0.9, and the true classes."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    votes = np.full((n, m), -1, dtype=np.int16)
    for j, right in enumerate(random.uniform(0.6, 0.9, m)):
        rows = np.flatnonzero(random.random(n) < coverage)
        wrong = (truth[rows] + random.integers(1, k, len(rows))) % k
        votes[rows, j] = np.where(random.random(len(rows)) < right, truth[rows], wrong)
    return votes, truth


def _fit_time(peers: Path | None) -> Rows:
    what = "fit, 1,000,000 × 20 × 2"
    votes, truth = synthetic(1_000_000, 20, 2, 0.3)
    covered = (votes >= 0).any(axis=1)
    gold = np.where(covered, truth, -1)
    rounds: list[tuple[float, float]] = []
    ours = theirs = ""
    try:
        # In turn and several times: a shared machine is not equally fast from one minute to the next.
        for _ in range(3):
            arrays, told = _ours("ours_label_model", L=votes, n_classes=2, method="auto")
            ours = f"({told['method']}, {accuracy(arrays['proba'], gold):.4f}, {told['peak_mb'] / 1024:.1f} GB)"
            arrays, peer = _side(peers, "snorkel_label_model", L=votes.astype(np.int64), n_classes=2)
            theirs = f"({accuracy(arrays['proba'], gold):.4f}, {peer['peak_mb'] / 1024:.1f} GB)"
            rounds.append((told["seconds"], peer["seconds"]))
    except Failed as error:
        yield what, f"ours {ours}; failed: {error}", "≤ 1/5"
        return
    mine, other = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(one / another for one, another in rounds)
    yield what, f"ours {mine:.1f} s {ours}, Snorkel {other:.1f} s {theirs}: {ratio:.2f} ×", "≤ 0.20 ×"


def _large() -> Rows:
    for n, m, k, coverage, budget in ((300_000, 15, 1461, 0.3, "≤ 10 s, ≤ 2 GB"), (50_000, 1200, 56, 0.02, "≤ 8 GB")):
        what = f"{n:,} × {m:,} × {k:,} classes"
        votes, truth = synthetic(n, m, k, coverage)
        covered = (votes >= 0).any(axis=1)
        try:
            arrays, told = _ours("ours_label_model", L=votes, n_classes=k, method="auto")
        except Failed as error:
            yield what, f"failed: {error}", budget
            continue
        right = float((arrays["labels"] == truth)[covered].mean())
        needed = n * m * k * 8 / 2**30
        figure = (
            f"fit {told['seconds']:.1f} s, with labels {told['with_predict']:.1f} s, {told['peak_mb'] / 1024:.2f} GB "
            f"({told['method']}, {right:.3f}; Snorkel's one-hot alone: {needed:.0f} GB)"
        )
        yield what, figure, budget
