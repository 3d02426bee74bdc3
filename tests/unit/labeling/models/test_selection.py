from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, fit_label_model


def two_sided(n: int = 2000, accuracies: tuple[float, ...] = (0.9, 0.8, 0.6, 0.6, 0.6), seed: int = 0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, n)
    right = random.random((n, len(accuracies))) < accuracies
    return truth, np.where(right, truth[:, None], 1 - truth[:, None])


def test_auto_takes_dawid_skene_for_people_and_beats_the_majority():
    truth, dense = two_sided()
    items, voters = np.nonzero(dense >= 0)
    votes = VoteMatrix.from_triples(items, voters, dense[items, voters])
    model = fit_label_model(votes)
    assert model.method == "dawid_skene"
    majority = fit_label_model(votes, method="majority")
    assert (model.predict(votes) == truth).mean() > (majority.predict(votes) == truth).mean() + 0.02
    assert "every person gave enough votes" in str(model.report)
    assert "differs from the majority" in str(model.report)


def test_auto_takes_the_hyper_label_model_for_functions():
    truth, dense = two_sided()
    dense[:, 0][dense[:, 0] == 0] = -1
    model = fit_label_model(dense)
    assert model.method == "hyper"
    majority = fit_label_model(dense, method="majority")
    assert (model.predict(dense) == truth).mean() > (majority.predict(dense) == truth).mean()


def test_auto_falls_back_out_loud_when_its_choice_collapses():
    _, dense = two_sided(300)
    votes = VoteMatrix.from_dense(dense, kind="person")
    with pytest.warns(UserWarning, match="COLLAPSED: class 0"):
        model = fit_label_model(votes, class_prior=[0.0001, 0.9999])
    assert model.method == "majority"
    assert "fell back from dawid_skene, which collapsed" in str(model.report)
    assert "COLLAPSED: class 0" in str(model.report)


def test_auto_takes_a_model_with_a_prior_where_each_person_said_little():
    votes = VoteMatrix.from_triples([0, 0, 1, 1], ["ana", "bo", "cy", "dee"], [0, 0, 1, 1])
    model = fit_label_model(votes)
    assert model.method == "ibcc"
    assert "a person gave 1.0 votes on average, too few for the 4 cells" in str(model.report)
    assert model.predict(votes).tolist() == [0, 1]


def test_auto_takes_the_majority_where_classes_are_very_many():
    model = fit_label_model([[0, 0, 1], [149, 149, -1]])
    assert model.method == "majority"
    assert "150 classes are too many" in str(model.report)


def test_gold_chooses_where_there_is_enough():
    truth, dense = two_sided()
    gold = np.full(len(truth), -1)
    gold[:20] = truth[:20]
    assert "known answers" not in str(fit_label_model(dense, gold=gold).report)
    gold[:300] = truth[:300]
    model = fit_label_model(dense, gold=gold)
    assert model.method in ("dawid_skene", "ibcc")
    assert "log loss on 300 known answers" in str(model.report)
    # Answers against all voters: a less confident model loses less.
    opposite = fit_label_model(dense, gold=np.where(gold >= 0, 1 - gold, -1))
    assert opposite.method in ("majority", "hyper")


def test_metal_with_a_prior_and_with_known_answers():
    random = np.random.default_rng(0)
    truth = random.choice(2, 3000, p=[0.8, 0.2])
    dense = np.where(random.random((3000, 5)) < [0.9, 0.8, 0.7, 0.6, 0.6], truth[:, None], 1 - truth[:, None])
    gold = np.where(np.arange(3000) < 200, truth, -1)
    model = fit_label_model(dense, method="metal", class_prior=[0.8, 0.2])
    assert model.method == "metal"
    assert model.class_prior_.tolist() == [0.8, 0.2]
    assert str(model.report).startswith("metal: asked for")
    told = fit_label_model(dense, method="metal", gold=gold)
    assert told.params["n_gold"] == 200
    assert told.class_prior_ == pytest.approx(np.bincount(truth[:200]) / 200)
    majority = (fit_label_model(dense, method="majority").predict(dense) == truth).mean()
    assert (model.predict(dense) == truth).mean() > majority + 0.02
    assert (told.predict(dense) == truth).mean() > majority + 0.02


@pytest.mark.parametrize("method", ["auto", "hyper", "weighted_majority", "metal"])
def test_functions_that_repeat_each_other_are_named_without_a_warning(method):
    _, dense = two_sided(3000, (0.8, 0.75, 0.75, 0.7, 0.6))
    votes = VoteMatrix.from_dense(np.column_stack([dense, dense[:, 4]]), ["a", "b", "c", "d", "e", "e again"])
    model = fit_label_model(votes, method=method)
    assert not model.collapsed
    assert "Note: e and e again repeat each other (excess 1.00): each counts 0.50." in str(model.report)


def test_the_same_votes_give_the_same_model():
    _, dense = two_sided(400)
    first, second = fit_label_model(dense, random_state=0), fit_label_model(dense, random_state=1)
    np.testing.assert_array_equal(first.predict_proba(dense), second.predict_proba(dense))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"votes": [[-1, -1]]}, "no vote at all"),
        ({"votes": [[0, 3]], "n_classes": 2}, "no class"),
        ({"votes": [[0, 1]], "n_classes": 1}, "number of classes"),
        ({"votes": [[0, np.nan]]}, "NaN"),
        ({"votes": [[0, 1]], "gold": [0, 1]}, "one entry a row"),
        ({"votes": [[0, 1]], "class_prior": [0.5, 0.6]}, "add up to 1"),
        ({"votes": [[0, 1]], "class_prior": [1.0]}, "2 shares"),
        ({"votes": [[0, 1]], "method": "snorkel"}, "no label model 'snorkel'"),
        ({"votes": [[0, 1]], "missing": "maybe"}, "missing must be"),
    ],
)
def test_bad_input_is_told(how, says):
    with pytest.raises(Invalid, match=says):
        fit_label_model(**how)
