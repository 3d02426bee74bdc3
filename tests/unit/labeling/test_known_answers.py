"""Published and measured numbers on real vote sets, where the shared data is at hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.labeling import LFApplier, VoteMatrix, builders, fit_label_model

DATA = Path(__file__).parents[4] / "shared" / "data" / "labeling"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the shared labeling data (../shared/data/labeling) is absent"
)


def expected_accuracy(model, votes, gold) -> float:
    """Accuracy with a tie counted by its share of right answers, as the published numbers do."""
    proba = model.predict_proba(votes)
    rows = np.flatnonzero(gold >= 0)
    tied = np.isclose(proba, proba.max(axis=1, keepdims=True), atol=1e-9)
    return float((tied / tied.sum(axis=1, keepdims=True))[rows, gold[rows]].mean())


def youtube(split: str) -> tuple[np.ndarray, np.ndarray]:
    items = json.loads((DATA / "wrench_youtube" / f"{split}.json").read_text()).values()
    return np.array([item["weak_labels"] for item in items]), np.array([item["label"] for item in items])


def crowd(name: str) -> tuple[VoteMatrix, np.ndarray]:
    label, truth = (pd.read_csv(DATA / "crowd" / name / f"{kind}.csv") for kind in ("label", "truth"))
    number = {item: i for i, item in enumerate(sorted(set(label["item"]) | set(truth["item"])))}
    n_classes = int(max(label["label"].max(), truth["truth"].max())) + 1
    votes = VoteMatrix.from_triples(
        label["item"].map(number), label["worker"], label["label"], n_classes, n_items=len(number)
    )
    gold = np.full(len(number), -1)
    gold[truth["item"].map(number)] = truth["truth"]
    return votes, gold


def test_majority_on_youtube():
    votes, gold = youtube("test")
    covered = (votes >= 0).any(axis=1)
    model = fit_label_model(votes, method="majority")
    assert expected_accuracy(model, votes[covered], gold[covered]) == pytest.approx(0.8405, abs=0.0005)
    model = fit_label_model(votes, method="dawid_skene")
    assert expected_accuracy(model, votes[covered], gold[covered]) == pytest.approx(0.871, abs=0.001)
    votes, gold = youtube("train")
    covered = (votes >= 0).any(axis=1)
    assert expected_accuracy(fit_label_model(votes, method="majority"), votes[covered], gold[covered]) == pytest.approx(
        0.8609, abs=0.0005
    )


def test_reading_the_silence_of_keyword_functions_as_missing_loses_a_third():
    votes, gold = youtube("train")
    symbol = fit_label_model(votes, method="dawid_skene", missing="symbol")
    missing = fit_label_model(votes, method="dawid_skene", missing="missing")
    assert expected_accuracy(symbol, votes, gold) == pytest.approx(0.820, abs=0.005)
    assert expected_accuracy(missing, votes, gold) == pytest.approx(0.476, abs=0.005)


@pytest.mark.parametrize(
    ("name", "majority", "dawid_skene", "ibcc"),
    [
        ("bluebird", 0.759, 0.898, 0.889),
        ("rte", 0.897, 0.928, 0.928),
        ("web", 0.731, 0.819, 0.751),
        ("weather_sentiment", 0.882, 0.830, 0.883),
        ("sentence_polarity", 0.886, 0.915, 0.915),
        ("product", 0.897, 0.940, 0.938),
        ("sentiment", 0.934, 0.960, 0.960),
        ("face", 0.637, 0.640, 0.640),
    ],
)
def test_crowds(name, majority, dawid_skene, ibcc):
    votes, gold = crowd(name)

    def accuracy(method: str) -> float:
        return expected_accuracy(fit_label_model(votes, method=method), votes, gold)

    assert accuracy("majority") == pytest.approx(majority, abs=0.001)
    assert accuracy("dawid_skene") == pytest.approx(dawid_skene, abs=0.003)
    assert accuracy("ibcc") == pytest.approx(ibcc, abs=0.00051)
    assert accuracy("auto") >= ibcc - 0.001
    assert fit_label_model(votes).method == ("ibcc" if name == "weather_sentiment" else "dawid_skene")


def youtube_all() -> tuple[np.ndarray, np.ndarray]:
    parts = [youtube(split) for split in ("train", "valid", "test")]
    votes, gold = (np.concatenate(part) for part in zip(*parts, strict=True))
    return votes, gold


def sms() -> tuple[np.ndarray, np.ndarray]:
    folder = DATA / "sms_rules"
    parts = [pd.read_csv(folder / f"{split}.csv", encoding="latin-1") for split in ("train", "valid", "test")]
    frame = pd.concat(parts).astype(str)
    frame["v2"] = frame["v2"].str.lower().str.strip()
    lines = (folder / "rule.txt").read_text(encoding="latin-1").splitlines()
    rules = [line.split("\t")[:2] for line in lines if "\t" in line]
    functions = [
        builders.regex(pattern, int(label == "spam"), "v2", name=f"rule {number}")
        for number, (label, pattern) in enumerate(rules)
    ]
    votes = LFApplier(functions).apply(frame, progress=False).to_dense()
    return votes, (frame["v1"] == "spam").to_numpy().astype(int)


def spouse() -> tuple[np.ndarray, np.ndarray]:
    frame = pd.read_csv(DATA / "spouse_test" / "test_spouse_snorkel.csv")
    names = [name for name in frame.columns if re.fullmatch(r"LF\d+", name)]
    return frame[names].to_numpy(), (frame["label"] > 0).to_numpy().astype(int)


def test_auto_beats_the_majority_on_functions():
    gains = []
    for votes, gold in (youtube_all(), sms(), spouse()):
        covered = (votes >= 0).any(axis=1)
        chosen, majority = fit_label_model(votes), fit_label_model(votes, method="majority")
        assert chosen.method == "hyper"
        right = [expected_accuracy(model, votes[covered], gold[covered]) for model in (chosen, majority)]
        gains.append(right[0] - right[1])
    assert np.mean(gains) >= 0.02
    assert min(gains) >= -0.01
