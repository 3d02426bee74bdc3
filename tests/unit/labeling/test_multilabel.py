from __future__ import annotations

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, agreement, fit_label_model
from jupyter_ext.labeling.masi import masi_agreement
from jupyter_ext.labeling.multilabel import fit_multilabel_model, multilabel_agreement

LABELS = [f"label {k}" for k in range(8)]
METHODS = ["auto", "majority", "weighted_majority", "dawid_skene", "ibcc", "hyper", "pooled"]


def people(seed: int = 0, n: int = 300, unlike: float = 0.0, most: float = 0.3):
    """Draw 20 people of whom 3 see each row: (n, l) the truth, (n, m, l) their votes.

    They find two thirds of what is there on average; ``unlike`` is how far each varies from label to label.
    """
    random = np.random.default_rng(seed)
    truth = (random.random((n, 8)) < random.uniform(most / 10, most, 8)).astype(int)
    finds, invents = random.beta(4, 2, (20, 1)), random.beta(1.5, 20, (20, 1))
    finds, invents = (
        1 / (1 + (1 / np.clip(p, 0.02, 0.98) - 1) * np.exp(-unlike * random.standard_normal((20, 8))))
        for p in (finds, invents)
    )
    votes = (random.random((n, 20, 8)) < np.where(truth[:, None, :] == 1, finds, invents)).astype(int)
    votes[random.permuted(np.tile(np.arange(20), (n, 1)), axis=1) >= 3] = -1
    return truth, votes


def functions(seed: int = 0, n: int = 300):
    """Draw 8 functions of unlike quality and coverage on 3 labels: (n, l) the truth, (n, m, l) their votes."""
    random = np.random.default_rng(seed)
    truth = (random.random((n, 3)) < [0.2, 0.3, 0.4]).astype(int)
    right = random.random((n, 8, 3)) < random.uniform(0.5, 0.95, (8, 3))
    votes = np.where(right, truth[:, None, :], 1 - truth[:, None, :])
    votes[random.random((n, 8, 3)) > random.uniform(0.2, 0.7, (8, 3))] = -1
    return truth, votes


def by_label(votes: np.ndarray, kind: str = "person") -> dict[str, VoteMatrix]:
    return {
        label: VoteMatrix.from_dense(votes[:, :, k], n_classes=2, kind=kind)
        for k, label in enumerate(LABELS[: votes.shape[2]])
    }


def macro_f1(truth: np.ndarray, yes: np.ndarray) -> float:
    return float(np.mean(2 * ((yes == 1) & (truth == 1)).sum(axis=0) / ((yes == 1).sum(axis=0) + truth.sum(axis=0))))


def log_loss(truth: np.ndarray, proba: np.ndarray) -> float:
    return float(-np.log(np.clip(np.where(truth == 1, proba, 1 - proba), 1e-3, 1.0)).mean())


@pytest.mark.filterwarnings("ignore:Label .*COLLAPSED")  # Dawid-Skene and iBCC on some labels
@pytest.mark.parametrize(
    ("options", "gain"),
    [
        ({}, {"majority": -0.01, "dawid_skene": 0.02, "ibcc": 0.02}),
        ({"unlike": 1.0}, {"majority": 0.01, "dawid_skene": 0.01, "ibcc": 0.03}),
        ({"unlike": 2.0}, {"majority": 0.08, "dawid_skene": -0.02, "ibcc": 0.08}),
        ({"most": 0.1}, {"majority": -0.02, "dawid_skene": 0.1, "ibcc": 0.1}),  # rare labels
    ],
)
def test_people_are_known_better_from_all_labels_than_from_each(options, gain):
    f1, loss = {}, {}
    for method in ("auto", *gain):
        scores = []
        for seed in range(4):
            truth, votes = people(seed, **options)
            matrices = by_label(votes)
            model = fit_multilabel_model(matrices, method=method)
            scores.append((macro_f1(truth, model.predict(matrices)), log_loss(truth, model.predict_proba(matrices))))
        f1[method], loss[method] = np.mean(scores, axis=0)
    for method, least in gain.items():
        assert f1["auto"] > f1[method] + least
        assert loss["auto"] < loss[method] - 0.02


@pytest.mark.parametrize("seed", range(3))
def test_functions_are_read_label_by_label(seed):
    truth, votes = functions(seed)
    model = fit_multilabel_model(votes, LABELS[:3])
    majority = fit_multilabel_model(votes, LABELS[:3], method="majority")
    assert {report.method for report in model.report.values()} == {"hyper"}
    proba = model.predict_proba(votes)
    assert log_loss(truth, proba) < log_loss(truth, majority.predict_proba(votes)) - 0.1
    for k, label in enumerate(LABELS[:3]):
        alone = fit_label_model(votes[:, :, k])
        np.testing.assert_array_equal(proba[:, k], alone.predict_proba(votes[:, :, k])[:, 1])
        np.testing.assert_array_equal(model.predict(votes)[:, k], alone.predict(votes[:, :, k]))
        assert model.models[label].report == alone.report == model.report[label]


@pytest.mark.filterwarnings("ignore:Label .*COLLAPSED")  # Dawid-Skene and iBCC on some labels
@pytest.mark.parametrize("method", METHODS)
def test_arrays_and_matrices_say_the_same(method):
    _, votes = functions()
    sparse, arrays = by_label(votes, "function"), {label: votes[:, :, k] for k, label in enumerate(LABELS[:3])}
    models = [fit_multilabel_model(some, LABELS[:3], method=method) for some in (votes, sparse, arrays)]
    expected = models[0].predict_proba(votes)
    for model in models:
        for some in (votes, sparse, arrays):
            np.testing.assert_array_equal(model.predict_proba(some), expected)
            np.testing.assert_array_equal(model.predict(some), models[0].predict(votes))


def test_auto_asks_who_votes():
    _, votes = people(n=60)

    def of(some, **options):
        return {report.method for report in fit_multilabel_model(some, LABELS, **options).report.values()}

    assert of(by_label(votes)) == {"pooled"}
    assert of(votes, missing="missing") == {"pooled"}
    assert of(votes) == of(by_label(votes), missing="symbol") == of(by_label(votes, "model")) == {"hyper"}
    one = {"only": by_label(votes)[LABELS[0]]}
    assert fit_multilabel_model(one).report["only"].method in ("ibcc", "dawid_skene")


def test_a_label_without_votes_loses_no_other():
    _, votes = people(n=60)
    votes[:, :, 2] = -1
    with pytest.warns(UserWarning, match="Nobody voted about 'label 2': no row") as told:
        model = fit_multilabel_model(by_label(votes))
    assert len(told) == 1
    rest = [k for k in range(8) if k != 2]
    alone = fit_multilabel_model({label: some for label, some in by_label(votes).items() if label != "label 2"})
    proba = model.predict_proba(by_label(votes))
    assert np.isnan(proba[:, 2]).all()
    assert np.isnan(model.class_prior_).tolist() == [k == 2 for k in range(8)]
    assert (model.predict(by_label(votes))[:, 2] == -1).all()
    assert (model.predict(by_label(votes))[:, rest] >= 0).all()
    rest_of_votes = {label: some for label, some in by_label(votes).items() if label != "label 2"}
    np.testing.assert_array_equal(proba[:, rest], alone.predict_proba(rest_of_votes))
    assert "label 2" not in model.models
    assert str(model.report["label 2"]).startswith("none: nobody voted about it")
    with pytest.raises(Invalid, match="nothing to explain"):
        model.explain(by_label(votes), 0, "label 2")
    with pytest.warns(UserWarning, match="Nobody voted"):
        model = fit_multilabel_model(by_label(votes), class_prior=np.full(8, 0.25))
    assert (model.predict_proba(by_label(votes))[:, 2] == 0.25).all()
    assert model.report["label 2"].class_balance == (0.75, 0.25)


def test_many_labels_without_votes_are_one_warning():
    votes = np.full((3, 2, 8), -1)
    votes[:, :, 0] = [[0, 1], [1, 1], [0, 0]]
    with pytest.warns(UserWarning, match=r"'label 1', .*'label 5', … \(7 labels\)") as told:
        fit_multilabel_model(votes, LABELS, method="majority")
    assert len(told) == 1


def test_a_label_that_nobody_ever_denied_is_told():
    votes = np.array([[[1, 1], [1, 0]], [[1, 1], [1, 1]], [[-1, 0], [-1, 0]]])
    with pytest.warns(UserWarning, match="All votes about 'a' are yes") as told:
        model = fit_multilabel_model(votes, ["a", "b"], method="majority")
    assert len(told) == 1
    assert model.predict(votes)[:, 0].tolist() == [1, 1, -1]


def collapsing(kind: str):
    """On the first label only the two who say yes at random ever say it."""
    random = np.random.default_rng(0)
    truth = random.random((200, 6)) < 0.2
    truth[:, 0] = False
    return by_label(np.stack([truth, *(random.random((2, 200, 6)) < 0.45)], axis=1).astype(int), kind)


def test_a_collapse_is_told_and_loses_no_other_label():
    votes = collapsing("person")
    with pytest.warns(UserWarning, match=r"Label 'label 0': COLLAPSED.* The majority vote is used instead") as told:
        model = fit_multilabel_model(votes)
    assert len(told) == 1
    assert [report.method for report in model.report.values()] == ["majority"] + ["pooled"] * 5
    assert "fell back from pooled, which collapsed" in str(model.report["label 0"])
    assert "COLLAPSED" in str(model.report["label 0"])
    majority = fit_multilabel_model(votes, method="majority")
    np.testing.assert_array_equal(model.predict(votes)[:, 0], majority.predict(votes)[:, 0])
    with pytest.warns(UserWarning, match="Label 'label 0': COLLAPSED"):
        asked = fit_multilabel_model(votes, method="pooled")
    assert {report.method for report in asked.report.values()} == {"pooled"}


def test_a_collapse_of_a_label_by_itself_is_told_too():
    votes = collapsing("function")
    with pytest.warns(UserWarning, match=r"Label 'label \d': COLLAPSED") as told:
        model = fit_multilabel_model(votes, method="dawid_skene")
    assert all(str(warning.message).startswith("Label 'label ") for warning in told)
    assert sum(some.collapsed for some in model.models.values()) == len(told)


@pytest.mark.filterwarnings("ignore:Label .*COLLAPSED")  # Dawid-Skene and iBCC on some labels
@pytest.mark.parametrize("method", ["auto", "dawid_skene"])
def test_known_answers_help(method):
    truth, votes = people(n=300, seed=3)
    gold = np.where(np.arange(300)[:, None] < 150, truth, -1)
    taught, blind = (fit_multilabel_model(by_label(votes), method=method, gold=some) for some in (gold, None))
    rest = {label: some.take(np.arange(150, 300)) for label, some in by_label(votes).items()}
    assert log_loss(truth[150:], taught.predict_proba(rest)) < log_loss(truth[150:], blind.predict_proba(rest))


@pytest.mark.filterwarnings("ignore:Label .*COLLAPSED")  # Dawid-Skene and iBCC on some labels
@pytest.mark.parametrize("method", METHODS)
def test_known_shares_are_used(method):
    _, votes = functions()
    model = fit_multilabel_model(votes, LABELS[:3], method=method, class_prior=[0.1, 0.5, 0.9])
    assert model.class_prior_ == pytest.approx([0.1, 0.5, 0.9])
    nothing = np.full((1, 8, 3), -1)
    assert model.predict_proba(nothing)[0] == pytest.approx([0.1, 0.5, 0.9])
    assert model.predict(nothing).tolist() == [[-1, -1, -1]]


def test_the_threshold_is_one_for_all_or_one_each():
    _, votes = people(n=100)
    matrices = by_label(votes)
    model = fit_multilabel_model(matrices)
    proba = model.predict_proba(matrices)
    np.testing.assert_array_equal(model.predict(matrices, 0.2), proba >= 0.2)
    each = np.linspace(0.05, 0.95, 8)
    np.testing.assert_array_equal(model.predict(matrices, each), proba >= each)
    assert (model.predict(matrices, 0.0) == 1).all()
    for threshold in (1.5, -0.1, float("nan"), [0.5] * 7, "half", None):
        with pytest.raises(Invalid, match="threshold must be 8 numbers"):
            model.predict(matrices, threshold)


def test_explanations_are_those_of_the_label():
    _, votes = people(n=60)
    matrices = by_label(votes)
    model = fit_multilabel_model(matrices)
    i = int(np.flatnonzero((votes[:, :, 1] == 1).any(axis=1))[0])
    table = model.explain(matrices, i, "label 1")
    expected = model.models["label 1"].explain(matrices["label 1"], i)
    assert table.equals(expected)
    assert {"(prior)", *(f"voter_{j}" for j in np.flatnonzero(votes[i, :, 1] >= 0))} == set(table["voter"])
    yes = table.attrs["probability"] if table.attrs["label"] == 1 else 1 - table.attrs["probability"]
    assert yes == pytest.approx(model.predict_proba(matrices)[i, 1])
    for row, label, message in ((60, "label 1", "no row 60"), (-1, "label 1", "no row -1"), (0, "x", "no label 'x'")):
        with pytest.raises(Invalid, match=message):
            model.explain(matrices, row, label)


def test_labels_come_in_the_order_asked_for():
    _, votes = people(n=60)
    matrices = by_label(votes)
    model = fit_multilabel_model(matrices)
    back = fit_multilabel_model(matrices, LABELS[::-1])
    assert back.labels == tuple(LABELS[::-1])
    np.testing.assert_allclose(back.predict_proba(matrices), model.predict_proba(matrices)[:, ::-1], atol=1e-9)
    assert repr(model) == "MultiLabelModel('auto', 20 voters, 8 labels)"


def test_input_is_left_alone():
    truth, votes = functions(n=50)
    prior = np.array([0.2, 0.3, 0.4])
    kept = votes.copy(), truth.copy(), prior.copy()
    for method in ("auto", "pooled"):
        model = fit_multilabel_model(votes, LABELS[:3], method=method, gold=truth, class_prior=prior)
        model.predict(votes)
    for now, then in zip((votes, truth, prior), kept, strict=True):
        np.testing.assert_array_equal(now, then)


ONE = [[[0, 1], [1, 1]], [[1, 0], [0, 0]]]


@pytest.mark.parametrize("method", ["auto", "majority", "pooled"])
@pytest.mark.parametrize(
    ("votes", "labels", "options", "message"),
    [
        (ONE, None, {}, "needs the names of its labels"),
        (ONE, [], {}, "one name or more"),
        (ONE, "ab", {}, "one name or more"),
        (ONE, ["a", "a"], {}, "must differ"),
        (ONE, ["a"], {}, r"three dimensions \(rows, voters, 1 labels\), not the shape \(2, 2, 2\)"),
        ([[0, 1], [1, 0]], ["a", "b"], {}, "three dimensions"),
        ([[[0, 1], [1]]], ["a", "b"], {}, "not a regular array"),
        (np.full((2, 2, 2), np.nan), ["a", "b"], {}, "NaN"),
        ([[[0, 2]]], ["a", "b"], {}, "Label 'b': The vote 2 in row 0, column 0 is no class"),
        ([[[-1, -1]]], ["a", "b"], {}, "no vote at all"),
        ({}, None, {}, "one name or more"),
        ({"a": [[0]]}, ["a", "b"], {}, "'b' lacking"),
        ({"a": [[0]], "c": [[0]]}, ["a"], {}, "'c' unknown"),
        ({"a": [[0]], "b": [[0], [1]]}, None, {}, "votes on 2 rows and label 'a' on 1"),
        ({"a": [[0]], "b": [[0, 1]]}, None, {}, "have other voters"),
        ({"a": VoteMatrix.from_dense([[2]])}, None, {}, "Label 'a': A vote for class 2"),
        ({"a": [0, 1]}, None, {}, "Label 'a': .*two dimensions"),
        (ONE, ["a", "b"], {"gold": [0, 1]}, r"shape \(2, 2\), not \(2,\)"),
        (ONE, ["a", "b"], {"gold": [[0, 1], [2, 1]]}, "found 0 to 2"),
        (ONE, ["a", "b"], {"class_prior": [0.5]}, "class prior must be 2 numbers"),
        (ONE, ["a", "b"], {"class_prior": [0.5, 1.5]}, "from 0 to 1"),
        (ONE, ["a", "b"], {"class_prior": [0.5, np.nan]}, "from 0 to 1"),
        (ONE, ["a", "b"], {"missing": "never"}, "missing must be"),
    ],
)
def test_bad_input_is_refused(method, votes, labels, options, message):
    with pytest.raises(Invalid, match=message):
        fit_multilabel_model(votes, labels, method=method, **options)


def test_what_a_model_does_not_know_is_refused():
    model = fit_multilabel_model(ONE, ["a", "b"], method="majority")
    with pytest.raises(Invalid, match="fitted on 2 voters and can't read the votes of 3"):
        model.predict([[[0, 1], [1, 1], [0, 0]]])
    with pytest.raises(Invalid, match="2 labels"):
        model.predict([[[0], [1]]])
    with pytest.raises(Invalid, match="'b' lacking and 'c' unknown"):
        model.predict({"a": [[0, 1]], "c": [[0, 1]]})
    with pytest.raises(Invalid, match="no model of several labels 'vote'"):
        fit_multilabel_model(ONE, ["a", "b"], method="vote")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="can't be a symbol"):
        fit_multilabel_model(ONE, ["a", "b"], method="pooled", missing="symbol")


def test_agreement_is_told_by_label_and_on_the_sets():
    _, votes = people(n=100)
    matrices = by_label(votes)
    table = multilabel_agreement(matrices, n_bootstrap=100)
    assert list(table.index) == [*LABELS, "(sets)"]
    assert list(table.columns) == ["alpha", "low", "high", "n_items"]
    for label, matrix in matrices.items():
        assert tuple(table.loc[label]) == agreement(matrix, n_bootstrap=100)
    assert tuple(table.loc["(sets)"]) == masi_agreement(list(matrices.values()), n_bootstrap=100)
    assert table.equals(multilabel_agreement(votes, LABELS, n_bootstrap=100))
    with pytest.raises(Invalid, match="confidence"):
        multilabel_agreement(matrices, confidence=0.0)
    with pytest.raises(Invalid, match="one sample"):
        multilabel_agreement(matrices, n_bootstrap=0)
