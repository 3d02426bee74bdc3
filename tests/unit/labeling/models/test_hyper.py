from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, fit_label_model
from jupyter_ext.labeling.dependencies import Repeats
from jupyter_ext.labeling.models import hyper


def keywords(n: int = 3000, seed: int = 0, k: int = 3):
    """Functions that know one class each: for each class three precise ones, and one that fires nearly everywhere."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    columns = []
    for j in range(4 * k):
        known, precise = j % k, j < 3 * k
        rate = np.where(truth == known, 0.25, 0.02) if precise else np.where(truth == known, 0.6, 0.45)
        columns.append(np.where(random.random(n) < rate, known, -1))
    return truth, VoteMatrix.from_dense(np.stack(columns, axis=1), n_classes=k)


def test_trusts_precise_functions_over_broad_ones():
    truth, votes = keywords()
    covered = votes.covered
    model, majority = (fit_label_model(votes, method=method) for method in ("hyper", "majority"))
    right = [(fitted.predict(votes) == truth)[covered].mean() for fitted in (model, majority)]
    assert right[0] > right[1]
    assert model.report.method == "hyper"
    assert not model.collapsed


def test_no_row_gets_a_class_that_nobody_voted_for():
    _, votes = keywords()
    labels, dense = fit_label_model(votes, method="hyper").predict(votes), votes.to_dense()
    assert (dense == labels[:, None]).any(axis=1)[votes.covered].all()
    assert (labels[~votes.covered] == -1).all()


def test_the_order_of_rows_voters_and_classes_does_not_matter():
    _, votes = keywords(500)
    random = np.random.default_rng(3)
    rows, columns, classes = random.permutation(500), random.permutation(votes.shape[1]), np.array([2, 0, 1])
    dense = votes.to_dense()
    renamed = np.where(dense >= 0, classes[dense], -1)
    here = fit_label_model(dense, n_classes=3, method="hyper").predict_proba(dense)
    moved = renamed[rows][:, columns]
    there = fit_label_model(moved, n_classes=3, method="hyper").predict_proba(moved)
    np.testing.assert_allclose(there[:, classes], here[rows], atol=1e-5)


def test_a_row_reads_the_same_alone_and_among_many():
    _, votes = keywords(400)
    model = fit_label_model(votes, method="hyper")
    together = model.predict_proba(votes)
    for i in np.flatnonzero(votes.covered)[:5]:
        alone = VoteMatrix.from_dense(votes.to_dense()[[i]], n_classes=3)
        np.testing.assert_allclose(model.predict_proba(alone)[0], together[i], atol=1e-5)


def test_uncovered_rows_get_the_prior_and_no_label():
    _, votes = keywords(2000)
    model = fit_label_model(votes, method="hyper")
    empty = np.flatnonzero(~votes.covered)
    np.testing.assert_allclose(model.predict_proba(votes)[empty], np.tile(model.class_prior_, (len(empty), 1)))
    assert (model.predict(votes)[empty] == -1).all()


def test_a_known_prior_is_met():
    _, votes = keywords()
    model = fit_label_model(votes, method="hyper", class_prior=[0.6, 0.3, 0.1])
    assert model.predict_proba(votes)[votes.covered].mean(axis=0) == pytest.approx([0.6, 0.3, 0.1], abs=0.05)


def test_known_answers_calibrate():
    truth, votes = keywords()
    gold = np.full(len(truth), -1)
    gold[:300] = truth[:300]
    rows = np.flatnonzero(votes.covered[300:]) + 300

    def loss(model) -> float:
        return float(-np.log(model.predict_proba(votes)[rows, truth[rows]]).mean())

    assert loss(fit_label_model(votes, method="hyper", gold=gold)) < loss(fit_label_model(votes, method="hyper"))


def test_explains_a_row_by_what_each_vote_adds():
    _, votes = keywords()
    model = fit_label_model(votes, method="hyper")
    i = int(np.argmax(np.diff(votes.rows.indptr)))
    table = model.explain(votes, i)
    assert len(table) == np.diff(votes.rows.indptr)[i]
    strongest = table.iloc[0]
    assert strongest["vote"] in (table.attrs["label"], table.attrs["against"])


def test_many_rows_are_read_from_a_sample_of_them():
    random = np.random.default_rng(0)
    dense = random.integers(-1, 2, (30_000, 16))
    votes = VoteMatrix.from_dense(dense)
    assert votes.patterns().matrix.shape[0] > 25_000
    assert fit_label_model(votes, method="hyper").predict_proba(votes).shape == (30_000, 2)


def test_too_many_classes_are_refused():
    with pytest.raises(Invalid, match="up to 100 classes, not 151"):
        fit_label_model([[150, 0]], method="hyper")


def test_a_sparse_matrix_of_one_vote_will_do():
    votes = VoteMatrix(sparse.csc_array(np.array([[1], [0]], dtype=np.int16)), ("a",), 2, ("function",))
    assert fit_label_model(votes, method="hyper").predict(votes).tolist() == [0, -1]


def narrow_and_broad(n: int = 4000, seed: int = 0):
    """Six precise functions for class 1; two broad ones for class 0, that fire on class 1 nearly as often."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, n)
    columns = [np.where(random.random(n) < np.where(truth == 1, 0.3, 0.002), 1, -1) for _ in range(6)]
    columns += [np.where(random.random(n) < np.where(truth == 1, 0.2, 0.35), 0, -1) for _ in range(2)]
    return truth, np.stack(columns, axis=1)


def test_a_broad_voter_that_is_worth_nothing_is_heard_only_where_it_is_alone():
    truth, dense = narrow_and_broad()
    model = fit_label_model(dense, method="hyper")
    quiet = model.params["heard_only_where_alone"]
    assert quiet == ["voter_6", "voter_7"]
    labels, covered = model.predict(dense), (dense >= 0).any(axis=1)
    majority = fit_label_model(dense, method="majority").predict(dense)
    assert (labels == truth)[covered].mean() > (majority == truth)[covered].mean()
    # Alone it still says what it says.
    alone = np.full((1, 8), -1)
    alone[0, 6] = 0
    assert model.predict(alone).tolist() == [0]
    json.dumps(model.params)


def test_no_voter_is_hushed_where_it_would_change_many_labels(monkeypatch):
    _, dense = narrow_and_broad()
    monkeypatch.setattr(hyper, "_FEW", 0.0)
    assert fit_label_model(dense, method="hyper").params["heard_only_where_alone"] == []


def weak_and_copied(n: int = 4000, seed: int = 0, noise: float = 0.05):
    """Five functions that are right with 0.75, one with 0.6, and five noisy copies of that one."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, n)
    alone = np.where(random.random((n, 6)) < [0.75] * 5 + [0.6], truth[:, None], 1 - truth[:, None])
    copies = np.where(random.random((n, 5)) < noise, 1 - alone[:, [5]], alone[:, [5]])
    return truth, alone, np.column_stack([alone, copies])


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_copies_are_heard_as_one_voter(noise):
    truth, alone, copied = weak_and_copied(noise=noise)
    model = fit_label_model(copied, method="hyper")
    right = (model.predict(copied) == truth).mean()
    assert right > (fit_label_model(alone, method="hyper").predict(alone) == truth).mean() - 0.02
    assert right > (fit_label_model(copied, method="majority").predict(copied) == truth).mean() + 0.2
    uncounted = hyper.HyperLabelModel(VoteMatrix.from_dense(copied), repeats=Repeats(np.ones(11)))
    assert right > (uncounted.predict(copied) == truth).mean() + 0.2
    assert "repeat each other" in model.report.notes[0]
    assert not model.collapsed


def test_exact_copies_change_nothing():
    _, alone, copied = weak_and_copied(noise=0.0)
    one, six = (fit_label_model(L, method="hyper").predict_proba(L) for L in (alone, copied))
    np.testing.assert_allclose(six, one, atol=2e-3)


def test_without_copies_every_vote_counts():
    _, votes = keywords()
    model = fit_label_model(votes, method="hyper")
    assert model.report.notes == ()
    counted = hyper.HyperLabelModel(votes, repeats=Repeats(np.ones(votes.shape[1])))
    np.testing.assert_array_equal(model.predict_proba(votes), counted.predict_proba(votes))


def test_a_copy_alone_on_a_row_is_a_whole_voter():
    _, _, copied = weak_and_copied()
    model = fit_label_model(copied, method="hyper")
    row = np.full((1, 11), -1)
    row[0, 8] = 1
    assert model.predict(row).tolist() == [1]
    assert model.predict_proba(row)[0, 1] < 0.9


def test_many_classes_are_read_by_fewer_networks(monkeypatch):
    truth, votes = keywords()
    all_of_them = fit_label_model(votes, method="hyper")
    monkeypatch.setattr(hyper, "_MOST_WORK", 1)
    one = fit_label_model(votes, method="hyper")
    assert (len(all_of_them._readings), len(one._readings)) == (5, 1)
    covered = votes.covered
    assert ((one.predict(votes) == truth)[covered].mean()) > 0.5
