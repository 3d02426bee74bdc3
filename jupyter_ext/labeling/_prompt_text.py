"""The text that goes to a language model and the one that comes back: templates, and labels in answers."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.votes import ABSTAIN


class Cells:
    """A row as a template reads it: mappings, series and rows by item, simple objects by attribute."""

    def __init__(self, row: Any) -> None:
        self._row = row

    def __getitem__(self, name: str) -> Any:
        if hasattr(self._row, "__getitem__") and not isinstance(self._row, tuple):
            return self._row[name]
        return getattr(self._row, name)


class Reader:
    """Reads the class from an answer; None where it names no label or labels of two classes.

    Examples
    --------
    >>> read = Reader({"spam": 1, "not spam": 0})
    >>> read("**Spam!**"), read("This is Not-Spam."), read("spammy"), read("spam or not spam")
    (1, 0, None, None)
    """

    def __init__(self, labels: Mapping[str, int]) -> None:
        self._labels = labels
        longest_first = sorted(labels, key=lambda label: (-len(label), label))
        self._pattern = re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)")

    def __call__(self, answer: str) -> int | None:
        classes = {self._labels[label] for label in self._pattern.findall(_words(answer))}
        return classes.pop() if len(classes) == 1 else None


def _words(text: str) -> str:
    r"""Return the words, in lower case and with a space between.

    Examples
    --------
    >>> _words(" **YES**, it's_spam!\n")
    'yes it s spam'
    """
    # By category, as \w would tear the vowel signs off the words of many languages.
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in folded).split())


def readings(labels: Mapping[str, int]) -> dict[str, int]:
    """The labels as they are looked for in answers."""
    readings: dict[str, int] = {}
    for label, number in labels.items():
        words = _words(str(label))
        if not words:
            raise Invalid(f"The label {label!r} has no letter or digit to look for in an answer.")
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < ABSTAIN:
            raise Invalid(f"The label {label!r} must stand for the number of a class, or ABSTAIN ({ABSTAIN}).")
        if readings.setdefault(words, int(number)) != number:
            raise Invalid(f"The label {label!r} can't be told from another one of a different class.")
    if not readings:
        raise Invalid("There are no labels; write which class an answer stands for, such as {'yes': 1, 'no': 0}.")
    return dict(sorted(readings.items()))


def fields(template: str) -> list[str]:
    """The columns that a template reads, in order.

    Examples
    --------
    >>> fields("{text} by {mean age:.1f} of {tags[0]}, {text!r} {{x}}")
    ['text', 'mean age', 'tags']
    """
    found: list[str] = []

    def collect(part: str | None) -> None:
        for _, field, spec, _ in string.Formatter().parse(part or ""):
            if field is None:
                continue
            name = re.split(r"[.\[]", field, maxsplit=1)[0]
            if not name or name.isdigit():
                raise Invalid("The template has a field without a name; write the column into the braces: {text}.")
            found.append(name)
            collect(spec)

    try:
        collect(template)
    except ValueError as error:
        raise Invalid(f"The template is no format string ({error}). Write {{{{ and }}}} for braces.") from None
    if not found:
        raise Invalid("The template names no column, such as {text}: every row would have the same prompt.")
    return list(dict.fromkeys(found))
