from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import LFApplier
from jupyter_ext.labeling._literals import needed_literals
from jupyter_ext.labeling.builders import dictionary, expression, keyword, model_votes, nearest, numeric, regex


def votes_of(lf, **columns):
    frame = pd.DataFrame(columns)
    applier = LFApplier([lf])
    votes = applier.apply(frame, progress=False).to_dense().ravel().tolist()
    for row, vote in zip(frame.to_dict("records"), votes, strict=True):
        if not applier.errors:
            assert lf(row) == vote  # one row says what many say
    return votes


def test_a_keyword_is_a_whole_word_whatever_its_case():
    texts = ["Free!", "freedom", "for free", None, float("nan"), ""]
    assert votes_of(keyword("free", 1, "text"), text=texts) == [1, -1, 1, -1, -1, -1]
    assert votes_of(keyword("free", 1, "text", whole_words=False), text=texts) == [1, 1, 1, -1, -1, -1]
    assert votes_of(keyword("free", 1, "text", ignore_case=False), text=texts) == [-1, -1, 1, -1, -1, -1]
    assert votes_of(keyword(["c++", "naïve"], 0, "text"), text=["C++ code", "Naïve", "c+"]) == [0, 0, -1]


def test_a_keyword_may_ask_for_several():
    lf = keyword(["win", "prize", "now"], 1, "text", at_least=2)
    assert votes_of(lf, text=["win win", "win a prize", "now", "win now, prize"]) == [-1, 1, -1, 1]


@pytest.mark.parametrize(
    ("words", "at_least"), [([], 1), ([""], 1), (["a", " "], 1), ([3], 1), (["a"], 2), (["a", "a"], 2), (["a"], 0)]
)
def test_bad_keywords_are_refused(words, at_least):
    with pytest.raises(Invalid):
        keyword(words, 1, "text", at_least=at_least)


PATTERNS = [
    r"( |^)(won|won)[^\w]* (\w+ ){0,1}(claim|,)[^\w]*( |$)",
    r"(?i)straße|call now",
    r"(?:ab|cd)+e?",
    r"x{2,3}y?",
    r"(a|b*)c",
    r"(?i:kiss) me",
    r"(?=foo)f",
    r"colou?r",
    r"[ab]c\d",
    r"(?>long)er",
    r"^$",
    r"a|b|c|d|e|f|g|h",
    r"(?P<one>he)llo (?P=one)",
    r"(?s).",
    r"ſ|s",
    r"no(?# comment)w",
]


@pytest.mark.parametrize("flags", [0, re.IGNORECASE])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_found_where_a_search_finds_it(pattern, flags):
    random = np.random.default_rng(0)
    alphabet = [*"abcdefgxy wonclaim,STRAßEſK\n", "won ", "claim", "call now", "KISS me", "hello he", "long", "now"]
    texts = ["".join(random.choice(alphabet, random.integers(0, 12))) for _ in range(600)]
    compiled = re.compile(pattern, flags)
    expected = [1 if compiled.search(text) else -1 for text in texts]
    assert votes_of(regex(pattern, 1, "text", flags=flags), text=texts) == expected


def test_needed_literals_by_hand():
    assert needed_literals(re.compile(PATTERNS[0])) == ("won",)
    assert needed_literals(re.compile("Call", re.IGNORECASE)) == ("call",)
    assert needed_literals(re.compile("colou?r")) == ("colo",)
    assert needed_literals(re.compile("straße", re.IGNORECASE)) == ()
    assert needed_literals(re.compile("(?i:kiss) me")) == (" me",)
    assert needed_literals(re.compile("a|")) == ()


def test_bad_patterns_are_refused():
    with pytest.raises(Invalid, match="no regular expression"):
        regex("(", 1, "text")
    with pytest.raises(Invalid, match="pattern of text"):
        regex(re.compile(b"x"), 1, "text")
    with pytest.raises(Invalid, match="number of a class"):
        regex("x", -1, "text")
    with pytest.raises(Invalid, match="number of a class"):
        regex("x", True, "text")


def test_a_number_where_text_was_expected_is_an_error_of_its_row():
    applier = LFApplier([keyword("free", 1, "text"), dictionary({"free": 1}, "text")])
    votes = applier.apply(pd.DataFrame({"text": ["free", 3, None, "free"]}), progress=False)
    assert votes.to_dense().tolist() == [[1, 1], [-1, -1], [-1, -1], [1, 1]]
    assert {errors.rows for errors in applier.errors.values()} == {(1,)}
    assert "holds int where text was expected" in applier.errors["dictionary"].traceback


def test_numbers_between_bounds():
    values = [1, 2.0, 3, None, float("nan"), float("inf")]
    assert votes_of(numeric("x", 0, at_least=2), x=values) == [-1, 0, 0, -1, -1, 0]
    assert votes_of(numeric("x", 0, above=1, below=3), x=values) == [-1, 0, -1, -1, -1, -1]
    assert votes_of(numeric("x", 0, at_least=2, at_most=2), x=values) == [-1, 0, -1, -1, -1, -1]


@pytest.mark.parametrize(
    "bounds",
    [{}, {"above": 1, "at_least": 2}, {"above": 3, "below": 1}, {"above": 1, "at_most": 1}, {"above": float("nan")}],
)
def test_bounds_without_sense_are_refused(bounds):
    with pytest.raises(Invalid):
        numeric("x", 0, **bounds)


def test_an_expression_over_columns():
    lf = expression("links > 2 and `mean length` < 40", 1, ["links", "mean length"])
    assert votes_of(lf, links=[3, 3, 1, None], **{"mean length": [10, 50, 10, 10]}) == [1, -1, -1, -1]
    lf = expression('text.str.contains("win") and n in [1, 2]', 1, ["text", "n"])
    assert votes_of(lf, text=["win", "win", "no"], n=[1, 3, 2]) == [1, -1, -1]


def test_bad_expressions_are_refused():
    with pytest.raises(Invalid, match="no expression"):
        expression("a >", 1, ["a"])
    with pytest.raises(Invalid, match="list of column names"):
        expression("a > 1", 1, "a")
    applier = LFApplier([expression("b > 1", 1, ["a"])])
    applier.apply(pd.DataFrame({"a": [1, 2]}), progress=False)
    assert applier.errors["b > 1"].count == 2


def test_a_dictionary_votes_for_the_class_with_most_entries():
    lf = dictionary({"goal": 0, "penalty kick": 0, "prime minister": 1, "vote": 1}, "text")
    texts = ["GOAL", "a penalty-kick", "goal, vote", "vote for the prime minister's goal", "penalty", ""]
    assert votes_of(lf, text=texts) == [0, 0, -1, 1, -1, -1]


@pytest.mark.parametrize("entries", [{}, {"!": 0}, {"a b c d e f g h i": 0}, {"a": "spam"}, {"a": -1}, {"a": True}])
def test_bad_dictionaries_are_refused(entries):
    with pytest.raises(Invalid):
        dictionary(entries, "text")


def test_names_of_their_own_fit_on_a_line():
    assert regex("win (a|the)\n\x00  prize", 1, "text", flags=re.VERBOSE).name == "regex win (a|the) prize"
    assert len(keyword("x" * 200, 1, "text").name) == 60
    assert expression("length > 2  and length < 4", 1, ["length"]).name == "length > 2 and length < 4"


def test_another_model_votes_where_it_is_sure():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=200)})
    model = LogisticRegression().fit(frame, np.where(frame["x"] > 0, "spam", "ham"))
    lf = model_votes(model, ["x"], at_least=0.95, classes={"ham": 0, "spam": 1})
    proba = model.predict_proba(frame)
    expected = np.where(proba[:, 1] >= 0.95, 1, np.where(proba[:, 0] >= 0.95, 0, -1))
    assert votes_of(lf, x=frame["x"].tolist()) == expected.tolist()
    assert 0 < (expected >= 0).sum() < 200
    with pytest.raises(Invalid, match="needs predict_proba"):
        model_votes(object(), ["x"])


def test_the_nearest_examples_vote():
    vectors = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]
    lf = nearest(vectors, [0, 0, 1], "v", n_neighbors=2, at_least=0.8)
    given = [np.array([1.0, 0.05]), np.array([0.0, 2.0]), np.array([-1.0, -1.0]), None]
    assert votes_of(lf, v=given) == [0, 1, -1, -1]


def test_the_nearest_texts_vote():
    embed = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), n_features=256).transform
    lf = nearest(["win a free prize", "see you at home"], [1, 0], "text", n_neighbors=1, at_least=0.4, embed=embed)
    assert votes_of(lf, text=["free prizes to win", "at home, see you", "quarterly figures"]) == [1, 0, -1]


def test_bad_examples_are_refused():
    with pytest.raises(Invalid, match="each example needs"):
        nearest([[1.0]], [0, 1], "v")
    with pytest.raises(Invalid, match="finite"):
        nearest([[float("nan")]], [0], "v")


def test_a_function_is_the_same_while_what_it_was_given_is():
    def digests(**how):
        return keyword(["a", "b"], 1, "text", **how).digest

    assert digests() == keyword(["b", "a"], 1, "text").digest
    assert len({digests(), digests(at_least=2), digests(ignore_case=False), keyword("a", 1, "text").digest}) == 4
    assert digests() == digests(name="another")
    assert keyword("a", 1, "text").source == (
        "keyword(words=['a'], column='text', at_least=1, whole_words=True, ignore_case=True, label=1)"
    )
