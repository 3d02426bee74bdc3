"""One side of a comparison in a process of its own, so that its time and its memory are its own.

    python labeling_side.py TASK INPUT.npz OUTPUT.npz

Prints one line of JSON: ``seconds`` and ``peak_mb``, and what else the task says. Run by ``benchmarks.labeling``, ours
in this environment, the peers in theirs, which has nothing of ours; hence imports by name.
"""

from __future__ import annotations

import importlib
import json
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def _base_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours_label_model(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Fit from a dense array, and predict; ``method`` as given."""
    # Imported before the clock runs, as the peer is.
    fit = importlib.import_module("jupyter_ext.labeling").fit_label_model
    n_classes = int(data["n_classes"])
    start = time.perf_counter()
    model = fit(data["L"], n_classes=n_classes, method=str(data["method"]))
    seconds = time.perf_counter() - start
    arrays = {"labels": model.predict(data["L"])}
    both = time.perf_counter() - start
    if n_classes <= 20:
        arrays["proba"] = model.predict_proba(data["L"])
    return arrays, {"seconds": seconds, "with_predict": both, "method": model.method}


def snorkel_label_model(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Snorkel's LabelModel with its own defaults."""
    model = importlib.import_module("snorkel.labeling.model").LabelModel(int(data["n_classes"]), verbose=False)
    L = data["L"]
    start = time.perf_counter()
    model.fit(L, progress_bar=False, seed=0)
    seconds = time.perf_counter() - start
    proba = model.predict_proba(L)
    return {"proba": proba}, {"seconds": seconds, "with_predict": time.perf_counter() - start}


def ours_crowd(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Fit each of ``methods`` on triples."""
    labeling = importlib.import_module("jupyter_ext.labeling")
    n_classes = int(data["n_classes"])

    def run(method: str) -> tuple[Any, float, str]:
        start = time.perf_counter()
        votes = labeling.VoteMatrix.from_triples(
            data["items"], data["workers"], data["labels"], n_classes, n_items=int(data["n_items"])
        )
        model = labeling.fit_label_model(votes, method=method)
        proba = model.predict_proba(votes)
        return proba, time.perf_counter() - start, model.method

    return _each(run, data["methods"].tolist())


def crowdkit(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Run crowd-kit's aggregations ``methods`` with their own defaults."""
    aggregation = importlib.import_module("crowdkit.aggregation")
    pandas = importlib.import_module("pandas")
    frame = pandas.DataFrame({"task": data["items"], "worker": data["workers"], "label": data["labels"]})

    def run(method: str) -> tuple[Any, float, str]:
        model = getattr(aggregation, method)()
        start = time.perf_counter()
        if hasattr(model, "fit_predict_proba"):
            proba = model.fit_predict_proba(frame)
        else:
            proba = pandas.get_dummies(model.fit_predict(frame)).astype(float)
        seconds = time.perf_counter() - start
        table = np.zeros((int(data["n_items"]), int(data["n_classes"])))
        table[np.ix_(proba.index.to_numpy(), proba.columns.to_numpy())] = proba.to_numpy()
        return table, seconds, method

    return _each(run, data["methods"].tolist())


def _each(run: Callable[[str], tuple[Any, float, str]], methods: list[str]) -> tuple[Arrays, dict[str, Any]]:
    """Run all methods; one that fails does not take the others along."""
    arrays: Arrays = {}
    told: dict[str, Any] = {}
    for method in methods:
        try:
            arrays[method], seconds, chosen = run(method)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is the figure
            told[method] = {"error": f"{type(error).__name__}: {error}"}
        else:
            told[method] = {"seconds": seconds, "method": chosen}
    return arrays, told


def ours_apply(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Apply the regular expressions by our applier, on one core, each made by the builder."""
    labeling = importlib.import_module("jupyter_ext.labeling")
    builders = importlib.import_module("jupyter_ext.labeling.builders")
    pandas = importlib.import_module("pandas")

    def make(number: int, label: int, pattern: str) -> Any:
        return builders.regex(pattern, label, "text", name=f"rule_{number}")

    return _apply(labeling.LFApplier, {"progress": False}, make, data, pandas)


def ours_apply_python(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Apply them as Python functions, as Snorkel's are."""
    labeling = importlib.import_module("jupyter_ext.labeling")
    pandas = importlib.import_module("pandas")

    def make(number: int, label: int, pattern: str) -> Any:
        search = re.compile(pattern).search

        def rule(row: Any) -> int:
            return label if search(row.text) else -1

        return labeling.labeling_function(name=f"rule_{number}", columns=["text"])(rule)

    return _apply(labeling.LFApplier, {"progress": False}, make, data, pandas)


def snorkel_apply(data: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Apply the same by Snorkel's PandasLFApplier."""
    labeling = importlib.import_module("snorkel.labeling")
    pandas = importlib.import_module("pandas")

    def make(number: int, label: int, pattern: str) -> Any:
        search = re.compile(pattern).search

        def rule(row: Any) -> int:
            return label if search(row.text) else -1

        return labeling.labeling_function(name=f"rule_{number}")(rule)

    return _apply(labeling.PandasLFApplier, {"progress_bar": False}, make, data, pandas)


def _apply(
    applier: Callable[[list[Any]], Any],
    options: Arrays,
    make: Callable[[int, int, str], Any],
    data: Arrays,
    pandas: Any,
) -> tuple[Arrays, dict[str, Any]]:
    rules = zip(data["rule_labels"].tolist(), data["patterns"].tolist(), strict=True)
    functions = [make(number, label, pattern) for number, (label, pattern) in enumerate(rules)]
    frame = pandas.DataFrame({"text": data["texts"].tolist()})
    took = []
    for _ in range(3):
        start = time.perf_counter()
        votes = applier(functions).apply(frame, **options)
        took.append(time.perf_counter() - start)
    dense = votes.to_dense() if hasattr(votes, "to_dense") else votes
    return {"L": dense}, {"seconds": statistics.median(took)}


_TASKS: dict[str, Callable[[Arrays], tuple[Arrays, dict[str, Any]]]] = {
    task.__name__: task
    for task in (
        ours_label_model,
        snorkel_label_model,
        ours_crowd,
        crowdkit,
        ours_apply,
        ours_apply_python,
        snorkel_apply,
    )
}


if __name__ == "__main__":
    name, source, target = sys.argv[1:]
    with np.load(source) as file:
        given = dict(file)
    before = _base_memory()
    result, told = _TASKS[name](given)
    np.savez(target, **result)
    print(json.dumps({**told, "peak_mb": _base_memory(), "base_mb": before}))
