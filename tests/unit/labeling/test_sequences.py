from __future__ import annotations

import itertools

import numpy as np
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.labeling.sequences import HiddenMarkovModel, fit_sequence_model
from jupyter_ext.labeling.spans import repair_bio, span_f1, spans_to_bio

LABELS = ["PER", "LOC", "ORG"]
K = 7
#: Of voters: missed spans, wrong labels, moved ends, invented spans a token.
GOOD, FAIR, POOR = (0.1, 0.05, 0.1, 0.01), (0.2, 0.1, 0.2, 0.02), (0.5, 0.3, 0.4, 0.05)


def texts(random: np.random.Generator, n: int):
    """Draw documents of 5 to 39 tokens: spans and lengths."""
    lengths = random.integers(5, 40, n)
    documents = []
    for length in lengths:
        spans, t = [], 0
        while t < length:
            if random.random() < 0.15:
                end = min(int(length), t + int(random.geometric(0.55)))
                spans.append((t, end, str(random.choice(LABELS, p=[0.5, 0.3, 0.2]))))
                t = end
            t += 1
        documents.append(spans)
    return documents, lengths


def voter(random: np.random.Generator, documents, lengths, quality, *, silent: bool = False):
    """Draw a voter's tags, O or silence outside of the spans."""
    miss, confuse, move, invent = quality
    columns = []
    for spans, n in zip(documents, lengths, strict=True):
        mine = []
        for start, end, label in spans:
            if random.random() < miss:
                continue
            if random.random() < confuse:
                label = str(random.choice(LABELS))
            if random.random() < move:
                start, end = [(start, min(n, end + 1)), (max(0, start - 1), end)][random.integers(2)]
            mine.append((start, end, label))
        for start in random.integers(0, n, random.poisson(invent * n)):
            mine += [(start, min(n, start + 2), str(random.choice(LABELS)))]
        apart, last = [], 0
        for span in sorted(mine):
            if span[0] >= last:
                apart.append(span)
                last = span[1]
        columns.append(spans_to_bio(apart, n, LABELS))
    tags = np.concatenate(columns)
    return np.where(tags == 0, -1, tags) if silent else tags


def simulated(qualities, n: int = 150, seed: int = 0, *, silent: bool = False):
    random = np.random.default_rng(seed)
    documents, lengths = texts(random, n)
    truth = np.concatenate([spans_to_bio(s, n, LABELS) for s, n in zip(documents, lengths, strict=True)])
    votes = np.stack([voter(random, documents, lengths, quality, silent=silent) for quality in qualities], axis=1)
    return documents, lengths, truth, votes


def is_valid(tags: np.ndarray, lengths: np.ndarray) -> bool:
    return bool((repair_bio(tags, lengths) == tags).all())


@pytest.mark.parametrize(
    ("qualities", "silent", "gain"),
    [
        ((GOOD, FAIR, POOR, POOR, POOR), False, 0.04),  # people of whom most are poor
        ((FAIR,) * 5, False, 0.02),  # nobody to single out
        ((FAIR, FAIR, POOR, POOR, POOR, POOR), True, 0.3),  # functions that only speak up where they find something
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_beats_the_majority_of_the_tokens(qualities, silent, gain, seed):
    documents, lengths, truth, votes = simulated(qualities, seed=seed, silent=silent)
    majority = fit_sequence_model(votes, lengths, LABELS, method="majority")
    model = fit_sequence_model(votes, lengths, LABELS)
    assert model.method == "hmm"
    better, worse = (span_f1(documents, each.spans(votes, lengths)).f1 for each in (model, majority))
    assert better > worse + gain
    better, worse = ((each.predict(votes, lengths) == truth).mean() for each in (model, majority))
    assert better > worse + 0.005


def test_two_voters_are_not_compared_but_with_known_answers():
    _, lengths, truth, votes = simulated((GOOD, POOR), n=30)
    two = fit_sequence_model(votes, lengths, LABELS)
    assert two.method == "majority"
    assert two.report.reason.startswith("chosen because only two voters voted")
    silent = np.concatenate([votes, np.full((len(votes), 1), -1)], axis=1)
    assert fit_sequence_model(silent, lengths, LABELS).method == "majority"
    assert fit_sequence_model(votes[:, :1], lengths, LABELS).report.reason.startswith("chosen because only one voter")
    assert fit_sequence_model(votes, lengths, LABELS, gold=truth).method == "hmm"
    asked = fit_sequence_model(votes, lengths, LABELS, method="hmm")
    assert (asked.method, asked.report.reason) == ("hmm", "asked for")


def test_where_voters_are_equal_and_few_it_stays_near_the_majority():
    documents, lengths, _, votes = simulated((FAIR,) * 3)
    majority = fit_sequence_model(votes, lengths, LABELS, method="majority")
    model = fit_sequence_model(votes, lengths, LABELS)
    better, worse = (span_f1(documents, each.spans(votes, lengths)).f1 for each in (majority, model))
    assert worse > better - 0.06


@pytest.mark.parametrize("silent", [False, True])
def test_the_objective_never_falls(silent):
    _, lengths, truth, votes = simulated((GOOD, FAIR, POOR), n=80, silent=silent)
    gold = np.where(np.arange(len(truth)) < 200, truth, -1)
    for known in (None, gold):
        model = HiddenMarkovModel(
            VoteMatrix.from_dense(votes, n_classes=K), lengths, LABELS, gold=known, max_iterations=40, tolerance=0.0
        )
        assert len(model.history_) > 10
        assert (np.diff(model.history_) > -1e-9 * abs(model.history_[0])).all()


def test_predictions_are_valid_whatever_the_votes():
    random = np.random.default_rng(3)
    lengths = np.array([1, 0, 40, 3, 17, 1, 38])
    votes = random.integers(-1, K, size=(100, 4))
    # Not by way of fit_sequence_model, which falls back from a model of noise.
    hmm = HiddenMarkovModel(VoteMatrix.from_dense(votes, n_classes=K), lengths, LABELS, max_iterations=5)
    for model in (hmm, fit_sequence_model(votes, lengths, LABELS, method="majority")):
        for _ in range(20):
            some = random.integers(-1, K, size=(100, 4))
            best = model.predict(some, lengths)
            assert best.min() >= 0
            assert is_valid(best, lengths)
            np.testing.assert_allclose(model.predict_proba(some, lengths).sum(axis=1), 1.0)
    # No document can begin inside a span.
    assert hmm.predict_proba(votes, lengths)[[0, 1, 41, 44, 61, 62], 2::2].max() == 0.0


def by_definition(model: HiddenMarkovModel, votes: np.ndarray):
    """Every path of one document, one by one: the likeliest classes, their probabilities, and the evidence."""
    n, k = len(votes), model.n_classes
    classes = [*range(k), 0, 0, 0]
    theta = np.exp(model._log_theta)
    joint = {}
    for states in itertools.product(range(k + 3), repeat=n):
        p = model.start_[states[0]]
        for one, other in itertools.pairwise(states):
            p *= model.transitions_[one, other]
        if not p:
            continue
        for t, j in itertools.product(range(n), range(votes.shape[1])):
            label_before = (votes[t - 1, j] + 1) // 2 if t and votes[t - 1, j] > 0 else 0
            p *= theta[j, label_before, votes[t, j], states[t]]
        joint[states] = p
    total = sum(joint.values())
    proba = np.zeros((n, k))
    for states, p in joint.items():
        for t, state in enumerate(states):
            proba[t, classes[state]] += p / total
    return tuple(classes[state] for state in max(joint, key=lambda states: joint[states])), proba, total


@pytest.mark.parametrize("silent", [False, True])
def test_it_is_the_definition(silent):
    random = np.random.default_rng(4)
    votes = random.integers(-1 if silent else 0, 5, size=(60, 3))
    lengths = np.array([4, 3, 1, 3, 4, 2, *[4] * 10, 3])
    matrix = VoteMatrix.from_dense(votes, n_classes=5)
    model = HiddenMarkovModel(matrix, lengths, ["A", "B"], max_iterations=3)
    best, proba = model.predict(matrix, lengths), model.predict_proba(matrix, lengths)
    start = 0
    for n in lengths:
        part = slice(start, start + n)
        tags, expected, _ = by_definition(model, votes[part])
        np.testing.assert_allclose(proba[part], expected, atol=1e-12)
        if (votes[part] >= 0).any():
            assert tuple(best[part]) == tags
        start += n


def test_the_likelihood_is_the_definition():
    random = np.random.default_rng(5)
    votes = random.integers(-1, 3, size=(30, 2))
    lengths = np.array([5, 1, 4, 5, 5, 5, 5])
    matrix = VoteMatrix.from_dense(votes, n_classes=3)
    # Without a gain the last step of EM is the E step, so the parameters are those of the likelihood.
    model = HiddenMarkovModel(matrix, lengths, ["A"], max_iterations=100, tolerance=np.inf)
    starts = np.cumsum(lengths) - lengths
    total = sum(np.log(by_definition(model, votes[s : s + n])[2]) for s, n in zip(starts, lengths, strict=True))
    assert model.report.log_likelihood == pytest.approx(total)


def test_it_finds_the_parameters_of_its_own_model():
    """Voters who err token by token, and whose silence on half the documents says nothing."""
    random = np.random.default_rng(6)
    transitions = np.array([[0.8, 0.2, 0.0], [0.3, 0.1, 0.6], [0.5, 0.1, 0.4]])
    lengths = np.full(600, 15)
    truth = np.zeros((600, 15), dtype=int)
    for t in range(15):
        before = truth[:, t - 1] if t else np.zeros(600, dtype=int)
        truth[:, t] = (random.random((600, 1)) > np.cumsum(transitions[before], axis=1)).sum(axis=1)
    right = random.random((9000, 4)) < [0.95, 0.85, 0.8, 0.7]
    votes = np.where(right, truth.reshape(-1, 1), random.integers(0, 3, (9000, 4)))
    model = fit_sequence_model(votes, lengths, ["A"])
    assert isinstance(model, HiddenMarkovModel)
    by_class = np.stack([model.transitions_[:, [0, 3, 4, 5]].sum(axis=1), *model.transitions_[:, 1:3].T], axis=1)
    np.testing.assert_allclose(by_class[1:3], transitions[1:], atol=0.05)
    assert model.states[3:] == ("O after", "O before", "O between")
    assert model.transitions_[4, 1] == model.transitions_[5, 1] == 1.0
    for j, accuracy in enumerate([0.95, 0.85, 0.8, 0.7]):
        expected = accuracy * np.eye(3) + (1 - accuracy) / 3
        np.testing.assert_allclose(model.confusion(f"voter_{j}")[:, :3], expected, atol=0.05)
    assert (model.predict(votes, lengths) == truth.ravel()).mean() > 0.95


def test_long_documents_and_many_voters_stay_in_range():
    random = np.random.default_rng(7)
    truth = np.where(random.random(1500) < 0.2, 1, 0)
    votes = np.repeat(truth[:, None], 200, axis=1)
    votes[random.random(votes.shape) < 0.05] = 2
    model = fit_sequence_model(votes, [1500], ["A"])
    assert np.isfinite(model.predict_proba(votes, [1500])).all()
    assert (model.predict(votes, [1500]) == truth).mean() > 0.99


def test_voters_who_know_no_beginnings_are_understood():
    documents, lengths, _, votes = simulated((GOOD, GOOD, GOOD, FAIR))
    votes[:, 1:][votes[:, 1:] % 2 == 1] += 1
    model = fit_sequence_model(votes, lengths, LABELS)
    assert span_f1(documents, model.spans(votes, lengths)).f1 > 0.8


def test_silence_is_outside():
    _, lengths, _, votes = simulated((FAIR,) * 4, n=60, silent=True)
    for method in ("hmm", "dawid_skene", "majority"):
        model = fit_sequence_model(votes, lengths, LABELS, method=method)
        nothing = np.full((10, 4), -1)
        assert model.predict(nothing, [4, 6]).tolist() == [0] * 10
        assert model.spans(nothing, [4, 6]) == [[], []]
        assert model.predict_proba(nothing, [4, 6]).argmax(axis=1).tolist() == [0] * 10


def test_a_person_who_did_not_see_a_document_tells_nothing_of_it():
    documents, lengths, _, votes = simulated((GOOD, GOOD, GOOD), silent=True)
    document = np.repeat(np.arange(len(lengths)), lengths)
    asked = np.where(document[:, None] % 3 == np.arange(3), -1, votes)  # each text goes to two of three people
    people = VoteMatrix.from_dense(asked, n_classes=K, kind="person")
    model = fit_sequence_model(people, lengths, LABELS)
    assert span_f1(documents, model.spans(people, lengths)).f1 > 0.75
    first = int(np.flatnonzero(document == 1)[0])
    assert "voter_1" not in set(model.explain(people, first, lengths)["voter"])


def test_a_model_that_votes_is_silent_as_a_function_is():
    _, lengths, _, votes = simulated((GOOD, FAIR, FAIR), n=40, silent=True)
    functions, models, people = (
        fit_sequence_model(VoteMatrix.from_dense(votes, n_classes=K, kind=kind), lengths, LABELS).predict_proba(
            votes, lengths
        )
        for kind in ("function", "model", "person")
    )
    np.testing.assert_array_equal(models, functions)
    assert not np.allclose(people, functions)


def test_an_array_is_read_as_votes_of_the_voters_it_was_fitted_on():
    _, lengths, _, votes = simulated((GOOD, FAIR, FAIR), n=40, silent=True)
    people = VoteMatrix.from_dense(votes, n_classes=K, kind="person")
    model = fit_sequence_model(people, lengths, LABELS)
    np.testing.assert_array_equal(model.predict_proba(votes, lengths), model.predict_proba(people, lengths))


def test_known_answers_help():
    documents, lengths, truth, votes = simulated((FAIR, POOR, POOR))
    document = np.repeat(np.arange(len(lengths)), lengths)
    gold = np.where(document < 75, truth, -1)
    blind = fit_sequence_model(votes, lengths, LABELS)
    taught = fit_sequence_model(votes, lengths, LABELS, gold=gold)
    rest = slice(75, None)
    better, worse = (span_f1(documents[rest], model.spans(votes, lengths)[rest]).f1 for model in (taught, blind))
    assert better > worse + 0.03


def test_known_answers_that_can_not_be_are_read_as_beginnings():
    _, lengths, _, votes = simulated((FAIR,) * 3, n=30)
    gold = np.full(len(votes), -1)
    gold[:2] = [2, 4]
    model = fit_sequence_model(votes, lengths, LABELS, gold=gold)
    assert np.isfinite(model.predict_proba(votes, lengths)).all()


def test_it_falls_back_out_loud_when_it_collapses():
    random = np.random.default_rng(0)
    # Strays of both labels in a row: the chain can't explain the rarer one inside of the other.
    inside = np.where(random.random((200, 1)) < 0.1, 4, 2)
    votes = np.where(random.random((200, 1)) < 0.8, inside, 0)
    with pytest.warns(UserWarning, match=r"COLLAPSED: label 'B'.* The majority vote is used instead"):
        model = fit_sequence_model(votes, [20] * 10, ["A", "B"], method="hmm")
    assert model.method == "majority"
    assert "fell back from hmm, which collapsed" in str(model.report)
    assert "COLLAPSED: label 'B'" in str(model.report)


def test_the_report_tells_how_the_fit_went():
    _, lengths, _, votes = simulated((GOOD, FAIR, POOR), n=40)
    model = fit_sequence_model(votes, lengths, LABELS)
    report = model.report
    assert (report.method, report.n_rows, report.n_covered) == ("hmm", len(votes), len(votes))
    assert sum(report.class_balance) == pytest.approx(1.0)
    assert report.converged
    assert not report.notes
    short = fit_sequence_model(votes, lengths, LABELS, max_iterations=2)
    assert short.report.n_iterations == 2
    assert "stopped before it converged" in str(short.report)
    assert repr(model) == "HiddenMarkovModel('hmm', 3 voters, 3 labels)"


def test_documents_in_another_order_give_the_same():
    _, lengths, _, votes = simulated((GOOD, FAIR, POOR), n=40)
    model = fit_sequence_model(votes, lengths, LABELS)
    order = np.random.default_rng(8).permutation(len(lengths))
    starts = np.cumsum(lengths) - lengths
    rows = np.concatenate([np.arange(starts[d], starts[d] + lengths[d]) for d in order])
    again = fit_sequence_model(votes[rows], lengths[order], LABELS)
    np.testing.assert_allclose(
        again.predict_proba(votes[rows], lengths[order]), model.predict_proba(votes, lengths)[rows], atol=1e-6
    )


def test_explanations_add_up():
    _, lengths, _, votes = simulated((GOOD, FAIR, POOR), n=60, silent=True)
    model = fit_sequence_model(votes, lengths, LABELS)
    proba = model.predict_proba(votes, lengths)
    for i in np.flatnonzero(votes[:, 0] > 0)[:20]:
        table = model.explain(votes, int(i), lengths)
        assert set(table["voter"]) == {"(context)", "voter_0", "voter_1", "voter_2"}
        second, first = np.argsort(proba[i])[-2:]
        assert table.attrs["label"] == first
        assert table.attrs["probability"] == pytest.approx(proba[i, first])
        if proba[i, second] > 1e-9:
            assert table["weight"].sum() == pytest.approx(np.log(proba[i, first] / proba[i, second]))
        assert table["weight"].abs().is_monotonic_decreasing
        assert table.set_index("voter").loc["voter_0", "vote"] == votes[i, 0]
    assert "(prior)" in set(model.explain(votes, 0)["voter"])
    majority = fit_sequence_model(votes, lengths, LABELS, method="majority")
    assert list(majority.explain(votes, 0).columns) == ["voter", "vote", "weight"]


def test_documents_may_be_empty_or_missing():
    _, lengths, _, votes = simulated((GOOD, FAIR, POOR), n=20)
    for kind in ("function", "person"):
        matrix = VoteMatrix.from_dense(votes, n_classes=K, kind=kind)
        for method in ("hmm", "majority"):
            model = fit_sequence_model(matrix, [0, *lengths, 0], LABELS, method=method)
            nothing = np.zeros((0, 3), dtype=int)
            assert model.spans(nothing, [0, 0]) == [[], []]
            assert model.spans(nothing, []) == []
            assert model.predict_proba(nothing, [0]).shape == (0, K)


def test_input_is_left_alone():
    _, lengths, truth, votes = simulated((GOOD, FAIR, POOR), n=20)
    kept = votes.copy(), lengths.copy(), truth.copy()
    model = fit_sequence_model(votes, lengths, LABELS, gold=truth)
    model.predict(votes, lengths)
    for now, then in zip((votes, lengths, truth), kept, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("method", ["hmm", "dawid_skene", "majority"])
@pytest.mark.parametrize(
    ("votes", "lengths", "options", "message"),
    [
        ([[0], [1]], [3], {}, "add up to 3 tokens, and the votes have 2 rows"),
        ([[0], [1]], [3, -1], {}, "0 tokens or more"),
        ([[0], [1]], [[2]], {}, "one list"),
        ([[0], [1]], [1.5, 0.5], {}, "whole numbers"),
        ([[0], [3]], [2], {}, "is no class"),
        (VoteMatrix.from_dense([[0], [3]]), [2], {}, "class 3 was found"),
        ([[-1], [-1]], [2], {}, "no vote at all"),
        ([[0.0], [float("nan")]], [2], {}, "NaN"),
        ([[0.5], [1.0]], [2], {}, "whole numbers"),
        ([[0], [1, 0]], [2], {}, "not a regular array"),
        ([0, 1], [2], {}, "two dimensions"),
        ([[0], [1]], [2], {"gold": [0]}, "one entry a row"),
        ([[0], [1]], [2], {"gold": [0, 3]}, "Gold must hold classes"),
        ([[0], [1]], [2], {"max_iterations": 0}, "one iteration"),
        ([[0], [1]], [2], {"labels": []}, "Labels must"),
    ],
)
def test_bad_input_is_refused(method, votes, lengths, options, message):
    arguments = {"labels": ["A"], **options}
    with pytest.raises(Invalid, match=message):
        fit_sequence_model(votes, lengths, arguments.pop("labels"), method=method, **arguments)


def test_what_a_model_does_not_know_is_refused():
    votes = [[1, 1], [2, 0], [0, 0]]
    for method in ("hmm", "majority"):
        model = fit_sequence_model(votes, [3], ["A"], method=method)
        with pytest.raises(Invalid, match="fitted on 2 voters"):
            model.predict([[1], [2], [0]], [3])
        with pytest.raises(Invalid, match="add up to 2"):
            model.predict(votes, [2])
        with pytest.raises(Invalid, match="add up to 2"):
            model.explain(votes, 0, [2])
        with pytest.raises(Invalid, match="not a regular array"):
            model.predict([[1, 1], [2]], [2])
        with pytest.raises(Invalid, match=r"no (token|row) 3"):
            model.explain(votes, 3)
    with pytest.raises(Invalid, match="no sequence model 'crf'"):
        fit_sequence_model(votes, [3], ["A"], method="crf")  # type: ignore[arg-type]
