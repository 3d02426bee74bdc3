from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, fit_label_model
from jupyter_ext.labeling.models.triplet import Triplet


def voters(n: int, accuracies: tuple[float, ...] = (0.9, 0.8, 0.7, 0.65, 0.6), k: int = 2, seed: int = 0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    right = random.random((n, len(accuracies))) < accuracies
    wrong = (truth[:, None] + random.integers(1, k, right.shape)) % k
    said = np.where(right, truth[:, None], wrong)
    return truth, VoteMatrix.from_dense(np.where(random.random(said.shape) < 0.7, said, -1), n_classes=k)


def test_the_closed_form_finds_the_accuracies():
    _, votes = voters(50_000)
    model = fit_label_model(votes, method="triplet")
    assert (1 + model.accuracies_[0]) / 2 == pytest.approx([0.9, 0.8, 0.7, 0.65, 0.6], abs=0.02)


@pytest.mark.parametrize("k", [2, 4])
def test_beats_the_majority(k):
    truth, votes = voters(5000, k=k)
    covered = votes.covered
    right = [
        (fit_label_model(votes, method=method).predict(votes) == truth)[covered].mean()
        for method in ("triplet", "majority")
    ]
    assert right[0] > right[1]
    proba = fit_label_model(votes, method="triplet").predict_proba(votes)
    assert proba.sum(axis=1) == pytest.approx(1.0)


def test_rows_in_pieces_give_what_they_give_at_once():
    _, votes = voters(3000)
    pieces = Triplet(votes.take(np.arange(1000)))
    for start in (1000, 2000):
        pieces.update(votes.take(np.arange(start, start + 1000)))
    whole = Triplet(votes)
    np.testing.assert_allclose(pieces.accuracies_, whole.accuracies_)
    np.testing.assert_allclose(pieces.predict_proba(votes), whole.predict_proba(votes))
    assert pieces.report.n_rows == whole.report.n_rows == 3000


def test_functions_of_one_class_each_are_as_good_as_each_other():
    votes = VoteMatrix.from_dense([[0, -1, 1], [0, 0, -1], [-1, 0, 1], [-1, -1, 1]] * 20)
    labels = fit_label_model(votes, method="triplet").predict(votes)
    assert labels[1] == 0
    assert labels[3] == 1


def test_two_voters_are_too_few():
    with pytest.raises(Invalid, match="from 3 to 500 voters, not 2"):
        fit_label_model([[0, 1]], method="triplet")
