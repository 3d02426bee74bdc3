from __future__ import annotations

import pickle
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import f1_score

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import VoteMatrix, fit_label_model
from jupyter_ext.labeling.end_model import train_end_model

SMS = Path(__file__).parents[4] / "shared" / "data" / "labeling" / "sms_rules"
RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(0, 3, 400)
VECTORS = RANDOM.normal(size=(400, 5)) + 3 * np.eye(3, 5)[TRUTH]
SOFT = 0.7 * np.eye(3)[TRUTH] + 0.1


def texts(n=200):
    words = np.array(["cash", "prize", "winner", "home", "dinner", "tomorrow"])
    truth = np.arange(n) % 2
    drawn = RANDOM.integers(0, 3, (n, 4)) + 3 * (1 - truth[:, None])
    return [" ".join(words[row]) for row in drawn], truth


@pytest.mark.parametrize("X", [VECTORS, sparse.csr_array(VECTORS), sparse.csr_matrix(VECTORS), VECTORS.tolist()])
def test_embeddings(X):
    model = train_end_model(X, SOFT)
    proba = model.predict_proba(X)
    assert proba.shape == (400, 3)
    assert proba.sum(axis=1) == pytest.approx(1)
    assert model.classes_.tolist() == [0, 1, 2]
    assert (model.predict(X) == TRUTH).mean() > 0.95


def test_the_loss_is_the_expected_one():
    """Nothing to tell rows apart: the prediction is the mean of the soft labels, not of the argmaxes."""
    soft = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    model = train_end_model(np.zeros((4, 2)), soft)
    assert model.predict_proba(np.zeros((1, 2)))[0] == pytest.approx(soft.mean(axis=0), abs=1e-3)


def test_texts():
    documents, truth = texts()
    soft = np.where(truth[:, None] == [0, 1], 0.9, 0.1)
    for X in (documents, np.array(documents), np.array(documents, dtype=object), pd.Series(documents)):
        model = train_end_model(X, soft)
        assert (model.predict(X) == truth).all()
    assert model.predict(["a cash prise", "home for diner", ""])[:2].tolist() == [1, 0]
    assert train_end_model(pd.Series([None, *documents]), np.vstack([[0.5, 0.5], soft])).predict([None]).shape == (1,)


def table(n=300):
    truth = RANDOM.integers(0, 2, n)
    sentences = np.where(truth == 1, "the parcel arrived broken and late again", "all is well with what I ordered here")
    frame = pd.DataFrame(
        {
            "amount": truth * 10 + RANDOM.normal(size=n),
            "count": pd.array(RANDOM.integers(0, 5, n), dtype="Int64"),
            "city": np.where(truth == 1, "Oslo", RANDOM.choice(["Rome", "Oslo", "Bonn"], n)),
            "member": RANDOM.random(n) < 0.5,
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(RANDOM.integers(0, 300, n), unit="D"),
            "note": [f"{sentence} {number}" for number, sentence in enumerate(sentences)],
            "kind": pd.Categorical(RANDOM.choice(["x", "y"], n)),
            "empty": np.full(n, np.nan),
        }
    )
    for row, name in enumerate(frame.columns):
        frame.loc[row::17, name] = pd.NA if name != "member" else True
    return frame, truth


def test_a_table_of_all_kinds_with_gaps():
    frame, truth = table()
    before = frame.copy()
    soft = np.where(truth[:, None] == [0, 1], 0.8, 0.2)
    model = train_end_model(frame, soft)
    assert (model.predict(frame) == truth).mean() > 0.97
    pd.testing.assert_frame_equal(frame, before)
    new = frame.head(3).assign(city=["Quito", None, "Rome"], amount=[np.inf, np.nan, 0], when=pd.NaT)
    assert np.isfinite(model.predict_proba(new)).all()
    names = dict.fromkeys(step[0] for step in model["features"].transformers_)
    assert list(names) == ["numbers", "dates", "categories", "text note"]


@pytest.mark.parametrize("column", ["amount", "city", "note", "when", "member", "kind"])
def test_a_table_of_one_column(column):
    frame, truth = table()
    assert train_end_model(frame[[column]], truth).predict_proba(frame[[column]]).shape == (300, 2)


def test_rows_without_a_vote_are_left_out():
    """Rows without votes, all of one class and with its balance as their label, would bend the classifier."""
    X = np.concatenate([VECTORS, np.full((600, 5), 5.0)])
    votes = VoteMatrix.from_dense(np.concatenate([TRUTH, np.full(600, -1)])[:, None], n_classes=3)
    soft = np.concatenate([SOFT, np.tile([0.9, 0.05, 0.05], (600, 1))])
    alone = train_end_model(VECTORS, SOFT)
    told = train_end_model(X, soft, votes=votes)
    assert told["classifier"].coef_.shape == (3, 5)
    assert (told.predict(VECTORS) == alone.predict(VECTORS)).mean() > 0.99
    assert (told.predict(X[400:]) == 0).mean() < 0.5 < (train_end_model(X, soft).predict(X[400:]) == 0).mean()


@pytest.mark.parametrize("prior", [None, [1 / 3, 1 / 3, 1 / 3]])
def test_what_a_label_model_gives_rows_without_votes_is_seen(prior):
    dense = np.where(RANDOM.random((400, 3)) < 0.4, TRUTH[:, None], -1)
    label_model = fit_label_model(dense, n_classes=3, method="majority", class_prior=prior)
    soft = label_model.predict_proba(dense)
    seen, told = train_end_model(VECTORS, soft), train_end_model(VECTORS, soft, votes=dense)
    assert seen["classifier"].coef_ == pytest.approx(told["classifier"].coef_, abs=1e-6)


def test_hard_labels_and_unknown_ones():
    hard = np.where(np.arange(400) % 2, TRUTH, -1)
    soft = np.where(np.arange(400)[:, None] % 2, np.eye(3)[TRUTH], np.nan)
    by_number, by_nan = train_end_model(VECTORS, hard), train_end_model(VECTORS, soft)
    assert by_number["classifier"].coef_ == pytest.approx(by_nan["classifier"].coef_)


def test_a_class_that_is_nowhere_likely_keeps_its_column():
    soft = np.column_stack([SOFT, np.zeros(400)])
    model = train_end_model(VECTORS, soft)
    assert model.classes_.tolist() == [0, 1, 2, 3]
    assert model.predict_proba(VECTORS)[:, 3].max() < 0.01


def test_self_training_uses_rows_without_votes():
    random = np.random.default_rng(3)
    truth = np.arange(1000) % 2
    X = random.normal(size=(1000, 30)) + 0.8 * truth[:, None]
    votes = np.where(np.arange(1000) < 12, truth, -1)[:, None]
    soft = np.where(truth[:, None] == [0, 1], 0.95, 0.05)
    plain, further = (train_end_model(X, soft, votes=votes, self_training=rounds) for rounds in (0, 5))
    assert (further.predict(X) == truth).mean() > (plain.predict(X) == truth).mean()


def test_the_same_each_time_and_can_be_kept():
    documents, truth = texts()
    model = train_end_model(documents, truth)
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(documents) == train_end_model(documents, truth).predict_proba(documents)).all()
    assert clone(model).fit(documents, truth).predict(documents).tolist() == truth.tolist()


@pytest.mark.parametrize(
    ("X", "labels", "more", "message"),
    [
        (VECTORS, SOFT[:5], {}, "X has 400 rows and soft_labels 5"),
        (VECTORS, TRUTH[:5], {}, "X has 400 rows and soft_labels 5"),
        (VECTORS, SOFT * 2, {}, "must add up to 1"),
        (VECTORS, np.zeros(400, int), {}, "All labels are for class 0"),
        (VECTORS, np.full(400, -1), {}, "nothing to train on"),
        (VECTORS, np.full((400, 2), 0.5), {}, "nothing to train on"),
        (VECTORS, np.full((400, 2), np.nan), {}, "nothing to train on"),
        (VECTORS, np.where(np.eye(400, 3) > 0, np.nan, SOFT), {}, "soft_labels holds NaN"),
        (VECTORS, TRUTH - 2, {}, "found -2"),
        (VECTORS, ["a"] * 400, {}, "whole numbers"),
        (VECTORS, SOFT, {"votes": [[1]]}, "X has 400 rows and votes 1"),
        (VECTORS, SOFT, {"kind": "image"}, "no kind 'image'"),
        (VECTORS, SOFT, {"kind": "table"}, "must be a DataFrame"),
        (VECTORS, SOFT, {"self_training": -1}, "rounds from 0"),
        (np.where(np.eye(400, 5) > 0, np.nan, VECTORS), SOFT, {}, "embeddings holds NaN"),
        (np.zeros(400), SOFT, {}, "X must be texts, a DataFrame, or"),
        ([], SOFT[:0], {}, "X must be texts"),
        (pd.DataFrame(index=range(400)), SOFT, {}, "no columns"),
        (pd.DataFrame(np.zeros((400, 2)), columns=["a", "a"]), SOFT, {}, "two columns of one name"),
        (["?!"] * 400, SOFT, {"kind": "text"}, "No features could be made"),
        (pd.DataFrame({"a": ["x"] * 400}), SOFT, {"kind": "text"}, "give frame\\[column\\]"),
    ],
)
def test_bad_input(X, labels, more, message):
    with pytest.raises(Invalid, match=message):
        train_end_model(X, labels, **more)


@pytest.mark.skipif(not SMS.is_dir(), reason="the shared labeling data (../shared/data/labeling) is absent")
def test_spam_from_rules():
    def split(name):
        frame = pd.read_csv(SMS / f"{name}.csv", encoding="latin-1").astype(str)
        return frame["v2"].str.lower().str.strip(), (frame["v1"] == "spam").to_numpy().astype(int)

    lines = (SMS / "rule.txt").read_text(encoding="latin-1").splitlines()
    rules = [(int(label == "spam"), re.compile(pattern)) for label, pattern, *_ in (line.split("\t") for line in lines)]
    (messages, _), (new, truth) = split("train"), split("test")
    votes = np.array([[c if rule.search(message) else -1 for c, rule in rules] for message in messages])
    soft = fit_label_model(votes, method="majority").predict_proba(votes)
    start = time.process_time()
    model = train_end_model(messages, soft, votes=votes)
    assert time.process_time() - start < 5
    # The rules alone reach .78 on the 4 of 10 messages that they say anything about.
    assert f1_score(truth, model.predict(new)) > 0.8
