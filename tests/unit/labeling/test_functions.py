from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling import ABSTAIN, labeling_function
from jupyter_ext.labeling.fingerprint import fingerprint

WORDS = {"win", "prize"}


def has_word(text: str) -> bool:
    return bool(WORDS & set(text.split()))


def make(source: str, **names: object) -> object:
    """Define a function as a notebook cell would, with globals of its own."""
    scope = {"labeling_function": labeling_function, "ABSTAIN": ABSTAIN, "__name__": "__main__", **names}
    exec(source, scope)
    return scope["rule"]


def test_a_function_is_called_with_its_resources_and_after_its_preprocessors():
    def shout(row):
        return SimpleNamespace(text=row.text.upper())

    @labeling_function(name="loud", resources={"word": "WIN"}, pre=[shout])
    def rule(row, word):
        return 1 if word in row.text else ABSTAIN

    assert rule.name == "loud"
    assert rule(SimpleNamespace(text="win")) == 1
    assert rule(SimpleNamespace(text="lose")) == ABSTAIN
    assert "word in row.text" in rule.source


def test_the_name_is_the_functions_own():
    @labeling_function()
    def short(row):
        return ABSTAIN

    assert short.name == "short"


def test_forgetting_the_parentheses_is_told():
    with pytest.raises(Invalid, match="parentheses"):
        labeling_function(lambda row: ABSTAIN)


RULE = "@labeling_function()\ndef rule(row):\n    return 1 if row.x > limit else ABSTAIN\n"


def test_the_digest_depends_on_what_the_function_would_do():
    first = make(RULE, limit=3).digest
    assert make(RULE, limit=3).digest == first
    assert make(RULE, limit=4).digest != first, "a variable it reads"
    assert make(RULE.replace(">", ">="), limit=3).digest != first, "its code"


def test_the_digest_ignores_variables_that_the_function_does_not_read():
    assert make(RULE, limit=3, x=1).digest == make(RULE, limit=3, x=2).digest


def test_the_digest_depends_on_resources_columns_and_preprocessors():
    def digest(**how):
        return labeling_function(**how)(has_word).digest

    plain = digest()
    others = [digest(resources={"a": 1}), digest(resources={"a": 2}), digest(columns=["x"]), digest(pre=[has_word])]
    assert len({plain, *others}) == 5


def test_the_digest_follows_functions_that_are_called():
    source = "def helper(x):\n    return x > 1\n\n" + RULE.replace("row.x > limit", "helper(row.x)")
    assert make(source).digest != make(source.replace("x > 1", "x > 2")).digest


def test_the_digest_sees_into_comprehensions():
    source = RULE.replace("row.x > limit", "any(row.x > bound for bound in limits)")
    assert make(source, limits=[1]).digest != make(source, limits=[2]).digest


def test_a_function_that_calls_itself_has_a_digest():
    source = RULE.replace("row.x > limit", "row.x and rule")
    assert make(source).digest == make(source).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        ("1", 1),
        ([1, 2], [2, 1]),
        (re.compile("a"), re.compile("a", re.I)),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([1]), np.array([1.0])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
        ({"a": 1}, {"a": 2}),
        (len, sum),
    ],
)
def test_fingerprints_tell_values_apart(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_what_can_not_be_told_apart_is_refused():
    with (
        open(__file__) as handle,
        pytest.raises(Invalid, match="can't be pickled"),
    ):
        fingerprint({"file": handle})
