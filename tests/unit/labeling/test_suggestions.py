from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import LFApplier
from jupyter_ext.labeling.suggestions import suggest_functions


@pytest.fixture
def mail():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 600)
    spam, ham, noise = ["prize", "click", "free"], ["lunch", "meeting", "thanks"], ["the", "a", "to", "you", "now"]
    texts = [
        " ".join(
            [*random.choice(noise, 4), *(random.choice(spam if kind else ham, 1) if random.random() < 0.7 else [])]
        )
        for kind in truth
    ]
    texts = [f"{text} win, now" if kind and random.random() < 0.3 else text for text, kind in zip(texts, truth)]  # noqa: B905
    length = random.normal(20 + 15 * truth, 5)
    return pd.DataFrame({"text": texts, "length": length, "id": [f"m{i}" for i in range(600)]}), truth


def test_what_points_to_a_class_is_suggested(mail):
    frame, truth = mail
    gold = np.where(np.arange(600) < 300, truth, -1)
    table = suggest_functions(frame, gold, columns=["text"], n=8)
    names = set(table["function"].map(lambda lf: lf.name.partition(" ")[2]))
    assert {"prize", "click", "free", "lunch", "meeting", "thanks"} <= names
    assert not names & {"the", "a", "to", "you"}
    assert (table["precision_low"] > 0.75).all()


def test_a_suggestion_votes_where_it_was_counted(mail):
    frame, truth = mail
    table = suggest_functions(frame, truth, n=30)
    votes = LFApplier(table["function"].tolist()).apply(frame, progress=False).to_dense()
    assert (votes >= 0).sum(axis=0).tolist() == table["votes"].tolist()
    assert ((votes == truth[:, None]) & (votes >= 0)).sum(axis=0).tolist() == table["correct"].tolist()
    np.testing.assert_allclose((votes >= 0).mean(axis=0), table["coverage"])
    assert table["label"].tolist() == [int(column[column >= 0][0]) for column in votes.T]


def test_thresholds_part_the_classes(mail):
    frame, truth = mail
    table = suggest_functions(frame, truth, columns=["length"], n=2)
    assert set(table["label"]) == {0, 1}
    assert (table["precision"] > 0.8).all()
    assert all(len(function.name) < 25 for function in table["function"])  # a cut that a person can read


def test_suggestions_hold_on_rows_that_were_not_seen(mail):
    frame, truth = mail
    table = suggest_functions(frame[:300], truth[:300], n=10)
    votes = LFApplier(table["function"].tolist()).apply(frame[300:], progress=False).to_dense()
    said = votes >= 0
    assert (votes == truth[300:, None])[said].mean() > 0.8


def test_phrases_and_missing_cells():
    frame = pd.DataFrame(
        {"text": ["call me back", "call me now", None, "me call"] * 10, "x": [1.0, None, 2.0, 5.0] * 10}
    )
    gold = np.array([1, 1, 0, 0] * 10)
    table = suggest_functions(frame, gold, columns=["text"])
    assert table["function"].iloc[0].name == "phrase call me"
    assert table["votes"].iloc[0] == 20
    assert len(suggest_functions(frame, gold, columns=["x"]))


def test_nothing_to_suggest_is_an_empty_table():
    frame = pd.DataFrame({"text": ["a", "b"] * 20})
    gold = np.random.default_rng(0).integers(0, 2, 40)
    table = suggest_functions(frame, gold)
    assert list(table.columns[:2]) == ["function", "label"]
    assert len(table) == 0


def test_bad_input_is_refused():
    frame = pd.DataFrame({"text": ["a", "b"]})
    with pytest.raises(Invalid, match="two classes"):
        suggest_functions(frame, [1, -1])
    with pytest.raises(Invalid, match="no column 'body'"):
        suggest_functions(frame, [1, 0], columns=["body"])
    with pytest.raises(Invalid, match="each of the 2 rows"):
        suggest_functions(frame, [1])
