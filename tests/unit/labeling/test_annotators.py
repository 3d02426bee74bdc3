from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, annotator_quality, fit_label_model


def people(n: int = 800, accuracies: tuple[float, ...] = (0.95, 0.8, 0.8, 0.8, 0.5), seed: int = 0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, n)
    right = random.random((n, len(accuracies))) < accuracies
    return truth, VoteMatrix.from_dense(np.where(right, truth[:, None], 1 - truth[:, None]), kind="person")


def test_against_known_answers():
    truth, votes = people()
    gold = np.where(np.arange(len(truth)) < 500, truth, -1)
    table = annotator_quality(votes, gold)
    dense = votes.to_dense()
    for j, voter in enumerate(votes.voters):
        line = table.loc[voter]
        assert line["accuracy"] == pytest.approx((dense[:500, j] == truth[:500]).mean())
        assert line["accuracy_low"] < line["accuracy"] < line["accuracy_high"]
        assert (line["n_votes"], line["n_judged"], line["coverage"]) == (800, 500, 1.0)
        assert line["confusion"].sum(axis=1) == pytest.approx([1.0, 1.0])


def test_without_answers_the_estimate_is_near_the_truth():
    truth, votes = people()
    known, estimated = annotator_quality(votes, truth), annotator_quality(votes)
    assert np.abs(known["accuracy"] - estimated["accuracy"]).max() < 0.04
    assert estimated["accuracy"].rank().tolist()[0] == 5
    assert estimated["accuracy"].idxmin() == known["accuracy"].idxmin() == "voter_4"
    given = annotator_quality(votes, model=fit_label_model(votes))
    np.testing.assert_allclose(given["accuracy"], estimated["accuracy"])


def test_a_voter_without_judged_votes_has_no_accuracy():
    table = annotator_quality([[0, -1], [1, -1], [-1, 1]], gold=[0, 1, -1])
    assert np.isnan(table.loc["voter_1", "accuracy"])
    assert table.loc["voter_1", ["accuracy_low", "accuracy_high", "n_judged"]].tolist() == [0.0, 1.0, 0]


def test_gold_of_the_wrong_length_is_told():
    with pytest.raises(Invalid, match="one entry a row"):
        annotator_quality([[0, 1]], gold=[0, 1])
