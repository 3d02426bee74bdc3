from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, fit_label_model


def test_probabilities_are_vote_shares():
    dense = np.random.default_rng(0).integers(-1, 3, size=(100, 5))
    proba = fit_label_model(dense, method="majority").predict_proba(dense)
    for row, shares in zip(dense, proba, strict=True):
        given = row[row >= 0]
        if len(given):
            np.testing.assert_allclose(shares, np.bincount(given, minlength=3) / len(given))


def test_a_row_without_votes_gets_the_prior_and_no_label():
    votes = [[0, 0], [0, 1], [-1, -1]]
    model = fit_label_model(votes, method="majority")
    assert model.predict_proba(votes)[2].tolist() == pytest.approx([0.75, 0.25])
    assert model.predict(votes).tolist()[2] == -1
    known = fit_label_model(votes, method="majority", class_prior=[0.1, 0.9])
    assert known.predict_proba(votes)[2].tolist() == [0.1, 0.9]


def test_a_tie_goes_to_the_voters_who_agree_more_elsewhere():
    # Voters 0 and 1 always agree; voter 2 contradicts them wherever they meet.
    votes = [[0, 0, 1], [1, 1, 0], [0, 0, 1], [-1, 1, 0], [1, -1, 0]]
    model = fit_label_model(votes, method="majority")
    assert model.predict_proba(votes)[3].tolist() == [0.5, 0.5]
    assert model.predict(votes).tolist() == [0, 1, 0, 1, 1]


def test_an_explanation_adds_up_to_the_margin():
    votes = VoteMatrix.from_dense([[1, 1, 0, -1]], voters=["a", "b", "c", "d"])
    table = fit_label_model(votes, method="majority").explain(votes, 0)
    assert table["voter"].tolist() == ["a", "b", "c"]
    assert table["vote"].tolist() == [1, 1, 0]
    assert table["weight"].sum() == 1.0
    assert table.attrs["label"] == 1


def test_other_voters_are_refused():
    model = fit_label_model(VoteMatrix.from_dense([[0, 1]], voters=["a", "b"]), method="majority")
    with pytest.raises(Invalid, match="can't read the votes"):
        model.predict(VoteMatrix.from_dense([[0, 1]], voters=["b", "a"]))
    with pytest.raises(Invalid, match="no row 4"):
        model.explain([[0, 1]], 4)


def test_the_report_reads_like_a_sentence():
    report = str(fit_label_model([[0, 1], [-1, -1]], method="majority").report)
    assert report.startswith("majority: asked for\n1 of 2 rows have a vote (50%)")
