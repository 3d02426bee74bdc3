"""PyOD's side of the outliers' benchmark; runs in the peers' environment and knows nothing of ours.

``python outliers_side.py DETECTOR IN.npz``: IN has X_<set> and y_<set>, or reference and row. Prints JSON.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time

import numpy as np

_MODULES = {"ECOD": "ecod", "COPOD": "copod", "KNN": "knn", "HBOS": "hbos", "IForest": "iforest"}

if __name__ == "__main__":
    name, source = sys.argv[1:]
    detector = getattr(importlib.import_module(f"pyod.models.{_MODULES[name]}"), name)
    with np.load(source) as file:
        given = dict(file)
    if "reference" in given:
        start = time.perf_counter()
        fitted = detector().fit(given["reference"])
        fit, took = time.perf_counter() - start, []
        for row in given["rows"]:
            start = time.perf_counter()
            fitted.decision_function(row[None])
            took.append(time.perf_counter() - start)
        print(json.dumps({"fit": fit, "row": statistics.median(took)}))
    else:
        from sklearn.metrics import roc_auc_score

        sets = sorted(key[2:] for key in given if key.startswith("X_"))
        scores = [roc_auc_score(given[f"y_{key}"], detector().fit(given[f"X_{key}"]).decision_scores_) for key in sets]
        print(json.dumps({"auroc": float(np.mean(scores))}))
