"""Who was asked, what was answered, and how to take the last answer back: the state of an annotator, without a face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from jupyter_ext.errors import Invalid

Key = Hashable
#: None takes a vote back.
Votes = dict[Key, str | None]


def _some(items: Iterable[Any], at_most: int = 5) -> str:
    """Name a few keys or classes of many."""
    items = list(items)
    return ", ".join(map(str, items[:at_most])) + (f" and {len(items) - at_most} more" if len(items) > at_most else "")


def unique_classes(classes: Iterable[str], most: int = 100) -> tuple[str, ...]:
    """Return the classes after checking them: two at least, ``most`` at most, all different, none empty.

    Raises
    ------
    Invalid
        If they aren't.

    Examples
    --------
    >>> unique_classes(["benign", "malignant"])
    ('benign', 'malignant')
    """
    if isinstance(classes, str):
        raise Invalid(f"The classes must be a list of names, not the text {classes!r}.")
    names = tuple(classes)
    if not all(isinstance(name, str) and name for name in names):
        raise Invalid("Every class must be a non-empty text.")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Invalid(f"The classes must differ from each other; given twice: {_some(twice)}.", classes=twice)
    if not 2 <= len(names) <= most:
        raise Invalid(f"An annotator takes 2 to {most} classes, not {len(names)}.")
    return names


class Ballot:
    """The votes of one person over a list of keys.

    Keys are looked up as they are, or by their text: the API knows keys as text only, the data frame by their own type.

    Parameters
    ----------
    keys
        Every key that may be voted on. They must differ, also as text.
    classes
        The answers.
    order
        The keys to ask, in this order; all of them if None.
    votes
        Votes to begin with.

    Raises
    ------
    Invalid
        On duplicate or unknown keys, and on labels outside the classes.

    Examples
    --------
    >>> ballot = Ballot([7, 8, 9], ("yes", "no"))
    >>> ballot.record(ballot.check({7: "yes", "8": "no"}))
    >>> ballot.votes, ballot.remaining
    ({7: 'yes', 8: 'no'}, [9])
    >>> ballot.undoing(), ballot.undo(), ballot.votes
    ({7: None, 8: None}, [7, 8], {})
    """

    def __init__(
        self,
        keys: Sequence[Key],
        classes: tuple[str, ...],
        *,
        order: Iterable[Key] | None = None,
        votes: Mapping[Any, str] | None = None,
    ) -> None:
        self.classes = classes
        self._by_text = {str(key): key for key in keys}
        if len(self._by_text) != len(keys):
            twice = [text for text, times in Counter(map(str, keys)).items() if times > 1]
            raise Invalid(
                f"Every item needs a key of its own; given more than once: {_some(twice)}. "
                "Name a column of unique values with key=, or reset the index."
            )
        self.queue: list[Key] = [self.key(key) for key in order] if order is not None else list(keys)
        self._places = {key: place for place, key in enumerate(self.queue)}
        if len(self._places) != len(self.queue):
            raise Invalid("order= names a key more than once.")
        self.votes: dict[Key, str] = {}
        for key, label in self.check(votes or {}).items():
            if label is not None:
                self.votes[key] = label
        self._past: list[Votes] = []

    def key(self, key: Any) -> Key:
        """Return the key as the data frame has it; `Invalid` if there is none such."""
        try:
            return self._by_text[str(key)]
        except KeyError:
            raise Invalid(f"There is no item with the key {str(key)[:100]!r}.", key=str(key)[:100]) from None

    def check(self, votes: Mapping[Any, str | None]) -> Votes:
        """Return the votes with the frame's own keys; `Invalid` for an unknown key or class, and nothing is changed."""
        if not isinstance(votes, Mapping):
            raise Invalid(f"Votes are given as {{key: label}}, not as {type(votes).__name__}.")
        for label in votes.values():
            if label is not None and label not in self.classes:
                raise Invalid(
                    f"{str(label)[:100]!r} is none of the classes: {_some(self.classes, 20)}.",
                    classes=list(self.classes),
                )
        return {self.key(key): label for key, label in votes.items()}

    def record(self, votes: Votes) -> None:
        """Count checked votes. A new vote on the same key takes the place of the old one."""
        self._past.append({key: self.votes.get(key) for key in votes})
        self._count(votes)

    def undoing(self) -> Votes:
        """Return the votes that restore what was before the last `record`; `Invalid` if nothing was recorded."""
        if not self._past:
            raise Invalid("There is nothing to undo.")
        return dict(self._past[-1])

    def undo(self) -> list[Key]:
        """Restore what was before the last `record`, and return the keys that it concerned."""
        before = self.undoing()
        self._past.pop()
        self._count(before)
        return list(before)

    def _count(self, votes: Votes) -> None:
        for key, label in votes.items():
            if label is None:
                self.votes.pop(key, None)
            else:
                self.votes[key] = label

    @property
    def can_undo(self) -> bool:
        """Whether something was recorded that can be undone."""
        return bool(self._past)

    @property
    def remaining(self) -> list[Key]:
        """The keys still to answer, in the order in which they are asked."""
        return [key for key in self.queue if key not in self.votes]

    @property
    def n_labelled(self) -> int:
        """How many of the keys that are asked have a vote."""
        return sum(key in self._places for key in self.votes)

    def place(self, key: Key) -> int | None:
        """Return where in the queue the key stands, None if it isn't asked."""
        return self._places.get(key)

    def next_open(self, place: int) -> int | None:
        """Return the first place after ``place`` without a vote, going round at the end; None if all have one.

        Examples
        --------
        >>> ballot = Ballot("abc", ("yes", "no"), votes={"c": "no"})
        >>> ballot.next_open(0), ballot.next_open(1)
        (1, 0)
        """
        n = len(self.queue)
        for step in range(1, n + 1):
            if self.queue[(place + step) % n] not in self.votes:
                return (place + step) % n
        return None

    def counts(self) -> list[int]:
        """Return how many votes each class has, in the order of the classes."""
        counts = dict.fromkeys(self.classes, 0)
        for label in self.votes.values():
            counts[label] += 1
        return list(counts.values())
