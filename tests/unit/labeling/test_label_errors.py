from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.label_errors import confident_joint, find_label_errors

DATA = Path(__file__).parents[4] / "shared" / "data" / "labeling" / "label_errors"


def noisy(n=4000, k=4, flipped=0.1, seed=0):
    """Labels of which some are wrong, and the predictions of a model that is right about the true ones, mostly."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    given = np.where(random.random(n) < flipped, (truth + 1) % k, truth)
    logits = random.normal(size=(n, k))
    logits[np.arange(n), truth] += 4
    proba = np.exp(logits)
    return truth, given, proba / proba.sum(axis=1, keepdims=True)


def test_wrong_labels_come_first_with_the_true_class():
    truth, given, proba = noisy()
    errors = find_label_errors(given, proba)
    wrong = np.flatnonzero(given != truth)
    assert list(errors.columns) == ["row", "given", "suggested", "score"]
    assert np.isin(errors["row"][: len(wrong) // 2], wrong).mean() > 0.99
    top = errors.head(len(wrong) // 2)
    assert (top["suggested"].to_numpy() == truth[top["row"]]).mean() > 0.99
    assert (errors["given"].to_numpy() == given[errors["row"]]).all()
    assert (errors["given"] != errors["suggested"]).all()
    assert errors["score"].is_monotonic_increasing
    assert errors["row"].is_unique


def test_how_many_are_expected():
    truth, given, proba = noisy()
    assert find_label_errors(given, proba).attrs["n_expected"] == pytest.approx((given != truth).sum(), rel=0.1)


def test_the_joint_finds_who_is_taken_for_whom():
    _, given, proba = noisy(flipped=0.2)
    joint = confident_joint(given, proba)
    assert joint.sum() == pytest.approx(1)
    assert joint.sum(axis=1) == pytest.approx(np.bincount(given) / len(given))
    # A fifth of true class c was given as c + 1.
    assert [joint[(c + 1) % 4, c] for c in range(4)] == pytest.approx([0.05] * 4, abs=0.01)
    assert joint[0, 2] < 0.01


def test_a_threshold_of_its_own_class_finds_what_the_argmax_misses():
    # The model never gives class 1 more than 0.45, so 0.45 is sure, though class 0 is likelier everywhere.
    proba = np.array([[0.95, 0.05]] * 20 + [[0.55, 0.45]] * 20)
    given = np.array([0] * 20 + [1] * 19 + [0])
    errors = find_label_errors(given, proba)
    assert errors["row"].tolist() == [39]
    assert errors["suggested"].tolist() == [1]


def test_ties_go_to_the_surer_prediction():
    proba = np.array([[0.0, 0.4, 0.3, 0.3], [0.0, 1.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.9, 0.1, 0.0, 0.0]])
    assert find_label_errors([0, 0, 0, 0], proba)["row"].tolist() == [1, 2, 0]


def test_rows_without_a_label_are_skipped():
    _, given, proba = noisy(n=300)
    rest = given.copy()
    rest[::2] = -1
    odd = np.arange(1, 300, 2)
    errors = find_label_errors(rest, proba)
    assert errors["row"].tolist() == odd[find_label_errors(given[odd], proba[odd])["row"]].tolist()


def test_right_labels_give_an_empty_table():
    errors = find_label_errors([0, 1], [[0.9, 0.1], [0.1, 0.9]])
    assert errors.empty
    assert errors.attrs["n_expected"] == 0


def test_a_class_that_was_never_given():
    errors = find_label_errors([0, 1, 0], [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.1, 0.0, 0.9]])
    assert errors[["row", "suggested"]].to_numpy().tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("labels", "proba", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "one entry a row of pred_probs, shape \\(1,\\)"),
        ([2], [[0.5, 0.5]], "classes 0 to 1, or -1 where unknown; row 0 has 2"),
        ([-2], [[0.5, 0.5]], "row 0 has -2"),
        ([-1], [[0.5, 0.5]], "no label at all"),
        ([0.5], [[0.5, 0.5]], "whole numbers"),
        (["ham"], [[0.5, 0.5]], "whole numbers"),
        ([0], [[np.nan, 1.0]], "NaN or infinity, first in row 0"),
        ([0], [[0.5, 0.4]], "add up to 1; row 0 adds up to 0.9"),
        ([0], [[-1.0, 2.0]], "must not be negative"),
        ([0], [[1.0]], "two at least"),
        ([0], [0.5, 0.5], "two dimensions"),
        ([0], [["a", "b"]], "array of numbers"),
    ],
)
def test_bad_input(labels, proba, message):
    with pytest.raises(Invalid, match=message):
        find_label_errors(labels, proba)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared labeling data (../shared/data/labeling) is absent")
@pytest.mark.parametrize("name", ["20news", "cifar10"])
def test_against_self_confidence_on_labels_that_people_reviewed(name):
    given, proba = np.load(DATA / name / "given_labels.npy"), np.load(DATA / name / "pred_probs.npy")
    reviewed = json.loads((DATA / name / "reviewed.json").read_text())
    wrong = {item["id"]: item["mturk"]["given"] < 3 for item in reviewed}

    def precision(rows):
        hits = np.array([wrong[row] for row in rows if row in wrong])
        assert len(hits) == len(wrong)
        return np.cumsum(hits) / np.arange(1, len(hits) + 1)

    ours = precision(find_label_errors(given, proba)["row"])
    # Rows of equal confidence have no order (which one numpy gives them is the processor's): the mean over many.
    own, rng = proba[np.arange(len(given)), given], np.random.default_rng(0)
    theirs = np.mean([precision(np.lexsort((rng.random(len(own)), own))) for _ in range(200)], axis=0)
    gain = ours - theirs
    if name == "20news":  # a third of the reviewed rows share their confidence with others
        assert gain.mean() > 0.002
        assert gain.min() > -0.02
    else:
        assert gain == pytest.approx(0, abs=1e-9)
