"""Labeling functions without code: a keyword, a pattern, a threshold, a word list, another model, near neighbours.

Each builder returns a labeling function like any other, which votes on a column at once and so runs faster than a
Python function that is called for each row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling._literals import needed_literals
from jupyter_ext.labeling.fingerprint import fingerprint
from jupyter_ext.labeling.functions import Batch, LabelingFunction, Vote
from jupyter_ext.labeling.votes import ABSTAIN

_WORD = re.compile(r"\w+")
_LONGEST_PHRASE = 8


class BuiltFunction(LabelingFunction):
    """A labeling function that a builder made; ``source`` is the call that makes it again."""

    def __init__(
        self,
        builder: Callable[..., BuiltFunction],
        name: str,
        label: int | None,
        reads: Sequence[str],
        batch: Batch,
        /,
        **facts: Any,
    ) -> None:
        if label is not None and (isinstance(label, bool) or not isinstance(label, (int, np.integer)) or label < 0):
            raise Invalid(f"label must be the number of a class, 0 or more, not {label!r}.")

        def one(row: Any) -> int:
            vote = batch(pd.DataFrame({column: pd.Series([row[column]], dtype=object) for column in reads}))[0]
            if isinstance(vote, Exception):
                raise vote
            return vote

        super().__init__(one, name=name, resources={}, pre=(), columns=reads, batch=batch)
        self._builder = builder.__name__
        self._facts = {name: fact for name, fact in facts.items() if fact is not None}
        if label is not None:
            self._facts["label"] = int(label)

    @cached_property
    def source(self) -> str:
        """The call that makes this function."""
        return f"{self._builder}({', '.join(f'{name}={_shown(fact)}' for name, fact in self._facts.items())})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the votes: the builder and what it was given."""
        return hashlib.sha256(f"{self._builder} {fingerprint(self._facts)}".encode()).hexdigest()


def keyword(
    words: str | Iterable[str],
    label: int,
    column: str,
    *,
    name: str | None = None,
    at_least: int = 1,
    whole_words: bool = True,
    ignore_case: bool = True,
) -> BuiltFunction:
    """Vote ``label`` where a text holds one of the words, or ``at_least`` so many different ones.

    A missing text abstains. Words may be phrases.

    Raises
    ------
    Invalid
        There is no word, an empty one, or fewer words than ``at_least``.

    Examples
    --------
    >>> spam = keyword(["prize", "click here"], label=1, column="text")
    >>> [spam({"text": text}) for text in ("You won a PRIZE!", "prizes", "Click here")]
    [1, -1, 1]
    """
    chosen = [words] if isinstance(words, str) else list(words)
    if not chosen or not all(isinstance(word, str) and word.strip() for word in chosen):
        raise Invalid("keyword needs one or more words, none of them empty.")
    if not 1 <= at_least <= len(set(chosen)):
        raise Invalid(f"at_least must be from 1 to {len(set(chosen))}, the number of words, not {at_least}.")
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    left, right = (r"(?<!\w)", r"(?!\w)") if whole_words else ("", "")
    if at_least == 1:
        # The longest first, though for a yes or no the order does not matter.
        inner = "|".join(re.escape(word.strip()) for word in sorted(set(chosen), key=lambda word: (-len(word), word)))
        batch = _of_text(column, _matcher(re.compile(f"{left}(?:{inner}){right}", flags)), label)
    else:
        each = [_matcher(re.compile(f"{left}{re.escape(word.strip())}{right}", flags)) for word in sorted(set(chosen))]
        batch = _of_text(column, lambda text: sum(found(text) for found in each) >= at_least, label)
    return BuiltFunction(
        keyword, name or _called(f"keyword {chosen[0]}{' …' if len(chosen) > 1 else ''}"), label, [column], batch,
        words=sorted(set(chosen)), column=column, at_least=at_least, whole_words=whole_words, ignore_case=ignore_case,
    )  # fmt: skip


def regex(
    pattern: str | re.Pattern[str], label: int, column: str, *, name: str | None = None, flags: int = 0
) -> BuiltFunction:
    """Vote ``label`` where ``re.search`` finds the pattern in a text. A missing text abstains.

    Texts without the letters that any match must hold are passed over without a search, which makes a rule several
    times as fast.

    Raises
    ------
    Invalid
        The pattern is none.

    Examples
    --------
    >>> link = regex(r"https?://", label=1, column="text")
    >>> link({"text": "see http://a.example"}), link({"text": "see you"})
    (1, -1)
    """
    try:
        compiled = re.compile(pattern, flags) if isinstance(pattern, str) else pattern
    except re.error as error:
        raise Invalid(f"{pattern!r} is no regular expression: {error}.") from None
    if not isinstance(compiled, re.Pattern) or not isinstance(compiled.pattern, str):
        raise Invalid("regex needs a pattern of text.")
    return BuiltFunction(
        regex, name or _called(f"regex {compiled.pattern}"), label, [column],
        _of_text(column, _matcher(compiled), label),
        pattern=compiled.pattern, column=column, flags=int(compiled.flags),
    )  # fmt: skip


def numeric(
    column: str,
    label: int,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    name: str | None = None,
) -> BuiltFunction:
    """Vote ``label`` where a number lies between bounds. A missing number abstains.

    Raises
    ------
    Invalid
        No bound, two bounds on one side, or bounds with nothing between them.

    Examples
    --------
    >>> large = numeric("radius", label=1, above=15)
    >>> large({"radius": 20.5}), large({"radius": 15})
    (1, -1)
    """
    if (at_least is None) + (above is None) == 0 or (at_most is None) + (below is None) == 0:
        raise Invalid("Give one bound a side: at_least or above, at_most or below.")
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    given = {side: float(bound) for side, bound in bounds.items() if bound is not None}
    if not given or any(np.isnan(bound) for bound in given.values()):
        raise Invalid("numeric needs a bound: at_least, above, at_most or below.")
    low = given.get("at_least", given.get("above", -np.inf))
    high = given.get("at_most", given.get("below", np.inf))
    if low > high or (low == high and not {"at_least", "at_most"} <= given.keys()):
        raise Invalid(f"No number lies between {low:g} and {high:g}.")

    def batch(frame: pd.DataFrame) -> list[Vote]:
        values = np.array([np.nan if _missing(value) else value for value in _cells(frame, column)], dtype=np.float64)
        said = ~np.isnan(values)
        for side, compare in _SIDES.items():
            if side in given:
                said &= compare(values, given[side])
        return _votes(np.where(said, label, ABSTAIN))

    written = " and ".join(f"{side.replace('_', ' ')} {bound:g}" for side, bound in given.items())
    called = name or _called(f"{column} {written}")
    return BuiltFunction(numeric, called, label, [column], batch, column=column, **given)


_SIDES: dict[str, Callable[..., Any]] = {
    "at_least": np.greater_equal,
    "above": np.greater,
    "at_most": np.less_equal,
    "below": np.less,
}


def expression(text: str, label: int, columns: Sequence[str], *, name: str | None = None) -> BuiltFunction:
    """Vote ``label`` where an expression over columns is true: ``"links > 2 and length < 40"``.

    It is what `pandas.DataFrame.eval` takes: comparisons, arithmetic, ``and``, ``or``, ``not``, ``in``, names with
    spaces in backticks, methods as in ``text.str.contains("win")``. Where a value is missing it abstains.

    Parameters
    ----------
    columns
        The columns that the expression reads.

    Raises
    ------
    Invalid
        The expression cannot be read.

    Examples
    --------
    >>> short = expression("links > 2 and length < 40", label=1, columns=["links", "length"])
    >>> short({"links": 3, "length": 10}), short({"links": 3, "length": 100})
    (1, -1)
    """
    chosen = _names(columns)
    if not isinstance(text, str) or not text.strip():
        raise Invalid("expression needs a text such as 'links > 2 and length < 40'.")
    try:
        compile(re.sub(r"`[^`]*`", "column", text).strip(), "<expression>", "eval")
    except SyntaxError as error:
        raise Invalid(f"{text!r} is no expression: {error.msg}.") from None

    def batch(frame: pd.DataFrame) -> list[Vote]:
        some = frame[chosen].infer_objects()
        answer = some.eval(text, engine="python")
        if not isinstance(answer, pd.Series):
            answer = pd.Series(answer, index=some.index)
        said = answer.eq(True).fillna(False).to_numpy(dtype=bool)
        return _votes(np.where(said & ~some.isna().any(axis=1).to_numpy(), label, ABSTAIN))

    return BuiltFunction(expression, name or _called(text), label, chosen, batch, text=text, columns=chosen)


def dictionary(
    entries: Mapping[str, int], column: str, *, name: str = "dictionary", ignore_case: bool = True
) -> BuiltFunction:
    """Vote for the class of which a text holds most entries; abstain on a tie, and where it holds none.

    Entries are words or phrases of up to eight words. A hundred thousand of them cost no more than ten.

    Raises
    ------
    Invalid
        There is no entry, one without a word, one that is too long, or a class that is no number.

    Examples
    --------
    >>> topic = dictionary({"goal": 0, "penalty kick": 0, "election": 1}, column="text")
    >>> [topic({"text": text}) for text in ("A goal, a penalty kick, an election", "goal of the election", "rain")]
    [0, -1, -1]
    """
    known: dict[tuple[str, ...], int] = {}
    for entry, label in entries.items():
        words = tuple(_WORD.findall(entry.lower() if ignore_case else entry))
        if not 1 <= len(words) <= _LONGEST_PHRASE:
            raise Invalid(f"An entry has from 1 to {_LONGEST_PHRASE} words, not {len(words)}: {entry!r:.80}.")
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or label < 0:
            raise Invalid(f"The class of {entry!r:.80} must be a number, 0 or more, not {label!r}.")
        known[words] = int(label)
    if not known:
        raise Invalid("dictionary needs entries: {'word': class number}.")
    lengths = sorted({len(words) for words in known})

    def vote(text: str) -> int:
        words = _WORD.findall(text.lower() if ignore_case else text)
        found: dict[int, int] = {}
        for length in lengths:
            for phrase in zip(*(words[start:] for start in range(length)), strict=False):
                if phrase in known:
                    found[known[phrase]] = found.get(known[phrase], 0) + 1
        return _most(found)

    return BuiltFunction(
        dictionary, name, None, [column], _of_values(column, vote),
        entries={str(entry): int(label) for entry, label in entries.items()}, column=column, ignore_case=ignore_case,
    )  # fmt: skip


class Classifier(Protocol):
    """What scikit-learn's classifiers are."""

    def predict_proba(self, X: Any, /) -> Any:
        """Return (n, k) probabilities."""


def model_votes(
    model: Classifier,
    columns: str | Sequence[str],
    *,
    name: str = "model",
    at_least: float = 0.0,
    classes: Mapping[Any, int] | None = None,
) -> BuiltFunction:
    """Vote for the class that another model predicts, where it is sure enough.

    Parameters
    ----------
    model
        Anything with ``predict_proba``, fitted. It gets a Series where ``columns`` is one name, else a frame.
    at_least
        The probability from which on its answer counts.
    classes
        Its class to the class number here; without, its column number is the class number.

    Raises
    ------
    Invalid
        ``model`` has no ``predict_proba``, or ``at_least`` is no probability.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> tree = DecisionTreeClassifier().fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1])
    >>> model_votes(tree, ["x"], at_least=0.9)({"x": 0.9})
    1
    """
    if not hasattr(model, "predict_proba"):
        raise Invalid(f"A model that votes needs predict_proba; {type(model).__name__} has none.")
    if not 0 <= at_least <= 1:
        raise Invalid(f"at_least must be a probability, not {at_least!r}.")
    chosen = _names([columns] if isinstance(columns, str) else columns)

    def batch(frame: pd.DataFrame) -> list[Vote]:
        given = frame[columns] if isinstance(columns, str) else frame[chosen].infer_objects()
        proba = np.asarray(model.predict_proba(given), dtype=np.float64)
        best = proba.argmax(axis=1)
        number = best
        if classes is not None:
            own = list(getattr(model, "classes_", range(proba.shape[1])))
            number = np.array([classes.get(label, ABSTAIN) for label in own])[best]
        return _votes(np.where(proba[np.arange(len(best)), best] >= at_least, number, ABSTAIN))

    built = BuiltFunction(
        model_votes, name, None, chosen, batch,
        model=model, columns=chosen, at_least=at_least, classes=None if classes is None else dict(classes),
    )  # fmt: skip
    built.kind = "model"
    return built


def nearest(
    examples: npt.ArrayLike,
    labels: Sequence[int],
    column: str,
    *,
    n_neighbors: int = 5,
    at_least: float = 0.7,
    embed: Callable[[Sequence[Any]], Any] | None = None,
    name: str = "nearest",
) -> BuiltFunction:
    """Vote as the nearest labelled examples do, where they are near enough.

    Of the ``n_neighbors`` most similar examples those with a cosine similarity ``at_least`` so high vote; the class
    with more than half of them wins.

    Parameters
    ----------
    examples
        Their embeddings (n, d); or, with ``embed``, what it takes, texts for instance.
    labels
        Their class numbers (n,).
    column
        Of embeddings, one array a cell; or, with ``embed``, of what it takes.
    embed
        Turns a list of cells into an array (n, d).

    Raises
    ------
    Invalid
        Examples and labels differ in number, there is none, or one is not finite.

    Examples
    --------
    >>> near = nearest([[1.0, 0.0], [0.0, 1.0]], [0, 1], column="vector", n_neighbors=1)
    >>> near({"vector": [0.9, 0.1]}), near({"vector": [0.7, 0.7]}), near({"vector": [-1.0, 0.0]})
    (0, 0, -1)
    """
    vectors = _unit(embed(list(examples)) if embed is not None else examples)  # type: ignore[arg-type]
    votes = np.asarray(labels)
    if votes.ndim != 1 or votes.dtype.kind not in "iu" or len(votes) != len(vectors) or not len(votes):
        raise Invalid(f"There are {len(vectors)} examples and {votes.size} labels; each example needs a class number.")
    if (votes < 0).any() or n_neighbors < 1:
        raise Invalid("Class numbers start at 0, and n_neighbors at 1.")
    kept = min(n_neighbors, len(votes))
    onehot = np.eye(int(votes.max()) + 1)[votes]

    def batch(frame: pd.DataFrame) -> list[Vote]:
        cells = _cells(frame, column)
        said: list[Vote] = [ABSTAIN] * len(cells)
        there = [number for number, cell in enumerate(cells) if not _missing(cell)]
        if not there:
            return said
        given = [cells[number] for number in there]
        near = _unit(embed(given) if embed is not None else given) @ vectors.T
        best = np.argpartition(-near, kept - 1, axis=1)[:, :kept]
        close = np.take_along_axis(near, best, axis=1) >= at_least
        counts = (onehot[best] * close[..., None]).sum(axis=1)
        wins = counts.max(axis=1) * 2 > close.sum(axis=1)
        for number, vote in zip(there, np.where(wins, counts.argmax(axis=1), ABSTAIN).tolist(), strict=True):
            said[number] = vote
        return said

    return BuiltFunction(
        nearest, name, None, [column], batch,
        examples=vectors, labels=votes.tolist(), column=column, n_neighbors=n_neighbors, at_least=at_least, embed=embed,
    )  # fmt: skip


def _called(text: str) -> str:
    """Return a name that the workspace can store: one line, and not a long one."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()[:60].rstrip()


def _matcher(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Return whether the pattern is found in a text, without a search where a needed literal is missing."""
    search = pattern.search
    needed = needed_literals(pattern)
    if not needed:
        return lambda text: search(text) is not None
    if pattern.flags & re.IGNORECASE:
        return _folded_matcher(search, needed)
    if len(needed) == 1:
        (only,) = needed
        return lambda text: only in text and search(text) is not None
    return lambda text: any(part in text for part in needed) and search(text) is not None


def _folded_matcher(search: Callable[[str], Any], needed: tuple[str, ...]) -> Callable[[str], bool]:
    def found(text: str) -> bool:
        # Only in ASCII is lower-casing all there is to ignoring case: a long s matches an s, but is no lower-case s.
        if text.isascii():
            small = text.lower()
            if not any(part in small for part in needed):
                return False
        return search(text) is not None

    return found


def _of_text(column: str, found: Callable[[str], bool], label: int) -> Batch:
    def batch(frame: pd.DataFrame) -> list[Vote]:
        texts = _cells(frame, column)
        if set(map(type, texts)) <= {str}:
            return [label if found(text) else ABSTAIN for text in texts]
        return _one_by_one(texts, lambda text: label if found(text) else ABSTAIN, column)

    return batch


def _of_values(column: str, vote: Callable[[str], int]) -> Batch:
    return lambda frame: _one_by_one(_cells(frame, column), vote, column)


def _one_by_one(texts: list[Any], vote: Callable[[str], int], column: str) -> list[Vote]:
    said: list[Vote] = []
    for text in texts:
        if isinstance(text, str):
            said.append(vote(text))
        elif _missing(text):
            said.append(ABSTAIN)
        else:
            said.append(TypeError(f"column {column!r} holds {type(text).__name__} where text was expected"))
    return said


def _cells(frame: pd.DataFrame, column: str) -> list[Any]:
    cells: list[Any] = frame[column].tolist()
    return cells


def _votes(numbers: npt.NDArray[np.integer[Any]]) -> list[Vote]:
    votes: list[Vote] = numbers.tolist()
    return votes


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _most(found: Mapping[int, int]) -> int:
    ranked = sorted(found.items(), key=lambda item: -item[1])
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return ABSTAIN
    return ranked[0][0]


def _unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    if hasattr(vectors, "toarray"):
        vectors = vectors.toarray()
    array = np.asarray([np.asarray(vector, dtype=np.float64) for vector in vectors])  # type: ignore[union-attr]
    if array.ndim != 2 or not np.isfinite(array).all():
        raise Invalid("Embeddings must be finite numbers, one vector of the same length for each row.")
    length = np.linalg.norm(array, axis=1, keepdims=True)
    return np.asarray(array / np.where(length > 0, length, 1.0))


def _names(columns: Sequence[str]) -> list[str]:
    if isinstance(columns, str) or not columns or not all(isinstance(name, str) for name in columns):
        raise Invalid("columns must be a list of column names.")
    return list(columns)


def _shown(fact: Any) -> str:
    text = repr(fact)
    return text if len(text) <= 2_000 else f"{text[:2_000]}…"
