"""Label rows, texts and images in a notebook cell, one at a time, by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import traitlets

from jupyter_ext.errors import Invalid, JupyterExtError
from jupyter_ext.widgets._ballot import Ballot, Key, Votes, unique_classes
from jupyter_ext.widgets._items import Items, Kind
from jupyter_ext.widgets._static import annotator_html
from jupyter_ext.widgets._view import View, read_asset

if TYPE_CHECKING:
    import pandas as pd


class Task(Protocol):
    """Where votes go: a handle of ``client.labels`` is one."""

    name: str
    classes: Sequence[str]

    def vote(self, votes: Mapping[Any, str | None], /) -> object:
        """Store the votes, all or none, and return when they are committed; None withdraws one."""


Suggestion = str | Mapping[str, float] | Sequence[float]


class Annotator(View):
    """Ask a person for the class of each row, text or image.

    A vote counts when it is acknowledged: by the task's server, by ``on_submit``, or by both if both are given. A vote
    that couldn't be saved is kept in `unsaved`, shown with the reason, and sent again by `retry`. Buttons, keys and the
    methods below go the same way.

    Parameters
    ----------
    frame
        The items, one a row; a `pandas.Series` is a frame of one column. It is not changed.
    classes
        2 to 100 answers. Those of the task if None.
    key
        The column whose values name the items; the index if None.
    columns
        The columns to show; all of them if None.
    kind
        ``"row"``, ``"text"``, ``"image"`` (a column of bytes or of paths), or ``"auto"``: what the values look like.
    task
        The labeling task that stores the votes.
    votes
        Votes to begin with, key to class.
    on_submit
        Called with ``{key: class or None}`` before a vote counts; if it raises, the vote is kept as unsaved.
    order
        The keys to ask, the most useful first; all of the frame if None.
    suggestions
        Key to a class, or to probabilities (by class, or in the order of the classes); shown as a hint.
    title
        What is asked; the task's name if None.

    Raises
    ------
    Invalid
        On an unknown column, key or class, and on duplicate keys.

    Examples
    --------
    >>> import pandas as pd
    >>> cells = pd.DataFrame({"radius": [17.9, 7.8]}, index=["a", "b"])
    >>> annotator = Annotator(cells, classes=["benign", "malignant"])
    >>> annotator.label("a", "malignant")
    >>> annotator.votes, annotator.remaining, annotator.done
    ({'a': 'malignant'}, ['b'], False)
    >>> annotator.undo()
    >>> annotator.votes
    {}
    """

    _esm = read_asset("annotator.js")
    _css = read_asset("base.css") + read_asset("annotator.css")

    #: What never changes: title, kind, classes, how many items.
    _facts = traitlets.Dict().tag(sync=True)
    #: What does: where we are, the items at hand, the counts, what isn't saved.
    _state = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        frame: pd.DataFrame | pd.Series,
        *,
        classes: Iterable[str] | None = None,
        key: Hashable | None = None,
        columns: Sequence[Hashable] | None = None,
        kind: Kind | Literal["auto"] = "auto",
        task: Task | None = None,
        votes: Mapping[Any, str] | None = None,
        on_submit: Callable[[Votes], object] | None = None,
        order: Iterable[Any] | None = None,
        suggestions: Mapping[Any, Suggestion] | None = None,
        title: str | None = None,
    ) -> None:
        if classes is None:
            if task is None:
                raise Invalid("Name the classes with classes=, or give a task that has them.")
            classes = task.classes
        answers = unique_classes(classes)
        if task is not None and not set(answers) <= set(task.classes):
            raise Invalid(
                f"The task {task.name!r} doesn't have all of these classes; it has {', '.join(task.classes)}."
            )
        self._items = Items(frame, key=key, columns=columns, kind=kind)
        self._ballot = Ballot(self._items.keys, answers, order=order, votes=votes)
        if not self._ballot.queue:
            raise Invalid("order= is empty: there is nothing to ask.")
        self._task = task
        self._on_submit = on_submit
        self._unsaved: Votes = {}
        self._problem: str | None = None
        self._suggestions = {
            self._ballot.key(key): _suggestion(answers, given) for key, given in (suggestions or {}).items()
        }
        #: Where we are in the queue; None when every item has its vote.
        self._place = self._ballot.next_open(-1)
        super().__init__()
        self._facts = {
            "title": title or (task.name if task is not None else "Annotate"),
            "kind": self._items.kind,
            "classes": list(answers),
            "hotkeys": hotkeys(answers),
            "total": len(self._ballot.queue),
        }
        self._publish()
        self.on_msg(self._on_message)

    # What people call

    @property
    def classes(self) -> tuple[str, ...]:
        """The answers to choose from."""
        return self._ballot.classes

    @property
    def votes(self) -> dict[Key, str]:
        """The acknowledged votes, key to class."""
        return dict(self._ballot.votes)

    @property
    def remaining(self) -> list[Key]:
        """The keys still to answer, in the order in which they are asked."""
        return self._ballot.remaining

    @property
    def done(self) -> bool:
        """Whether every item that is asked has a vote."""
        return not self._ballot.remaining

    @property
    def unsaved(self) -> Votes:
        """Votes that were given and couldn't be saved."""
        return dict(self._unsaved)

    def label(self, key: Any, label: str | None) -> None:
        """Vote on one item, as `submit` does."""
        self.submit({key: label})

    def submit(self, votes: Mapping[Any, str | None]) -> None:
        """Vote on several items: all are saved, or none. A new vote replaces the old one; None withdraws it.

        Raises
        ------
        Invalid
            On an unknown key, or a label outside the classes; nothing is sent then.
        Exception
            What the task or ``on_submit`` raised. The votes are in `unsaved` then.
        """
        checked = self._ballot.check(votes)
        if not checked:
            return
        try:
            self._save(checked)
        except Exception as error:
            self._unsaved |= checked
            self._problem = _sentence(error)
            self._publish()
            raise
        self._settle(checked)
        self._ballot.record(checked)
        place = self._ballot.place(next(reversed(checked)))
        if place is not None:
            self._place = self._ballot.next_open(place)
        self._publish()

    def undo(self) -> None:
        """Take the last `submit` back: earlier votes return, others are withdrawn, and the first item is shown again.

        Raises
        ------
        Invalid
            If there is nothing to undo.
        Exception
            What the task or ``on_submit`` raised; nothing has changed then.
        """
        before = self._ballot.undoing()
        self._save(before)
        self._settle(before)
        for key in self._ballot.undo()[:1]:
            self._place = self._ballot.place(key)
        self._publish()

    def retry(self) -> None:
        """Send the unsaved votes again, as `submit` does."""
        self.submit(self._unsaved)

    # How it works

    def _save(self, votes: Votes) -> None:
        if self._task is not None:
            self._task.vote({str(key): label for key, label in votes.items()})
        if self._on_submit is not None:
            self._on_submit(dict(votes))

    def _settle(self, votes: Votes) -> None:
        for key in votes:
            self._unsaved.pop(key, None)
        if not self._unsaved:
            self._problem = None

    def _go(self, place: int) -> None:
        self._place = min(max(place, 0), len(self._ballot.queue) - 1)
        self._publish()

    def _item(self, place: int) -> dict[str, Any]:
        key = self._ballot.queue[place]
        return {
            "place": place,
            "key": str(key)[:200],
            "label": self._ballot.votes.get(key),
            "unsaved": self._unsaved.get(key),
            "suggestion": self._suggestions.get(key),
            **self._items.show(key),
        }

    def _publish(self) -> None:
        """Send the view what it draws: the item at hand, the one that comes next, and the counts."""
        here = self._place
        upcoming = self._ballot.next_open(here) if here is not None else None
        places = [place for place in (here, upcoming) if place is not None]
        self._state = {
            "place": here,
            "items": [self._item(place) for place in dict.fromkeys(places)],
            "labelled": self._ballot.n_labelled,
            "counts": self._ballot.counts(),
            "n_unsaved": len(self._unsaved),
            "problem": self._problem,
            "can_undo": self._ballot.can_undo,
        }
        self._refresh_static()

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Do what the view asks, then answer: the view holds a vote as unsaved until it hears so."""
        if content.get("do") == "image":
            self._send_image(int(content["place"]))
            return
        problem = None
        try:
            self._obey(content)
        except Exception as error:  # whatever a task or a callback raised is told to the person
            problem = _sentence(error)
            if not isinstance(error, JupyterExtError):
                self.log.warning("An annotator's vote was not saved", exc_info=True)
        self.send({"answer": content.get("id"), "problem": problem})

    def _obey(self, content: dict[str, Any]) -> None:
        match content.get("do"):
            case "vote":
                place = int(content["place"])
                # A failed vote leaves the view where it was cast.
                self._place = place
                self.label(self._ballot.queue[place], content["label"])
            case "undo":
                self.undo()
            case "retry":
                self.retry()
            case "show":
                self._go(int(content["place"]))
            case "skip":
                after = self._ballot.next_open(int(content["place"]))
                if after is not None:
                    self._go(after)
            case other:
                raise Invalid(f"The annotator can't {other!r}.")

    def _send_image(self, place: int) -> None:
        try:
            media, data = self._items.image(self._ballot.queue[place])
        except Invalid as error:
            self.send({"image": place, "problem": str(error)})
        else:
            self.send({"image": place, "media": media}, buffers=[data])

    def __repr__(self) -> str:
        return f"<Annotator {self._facts['title']!r}: {self._state['labelled']} of {self._facts['total']} labelled>"

    def static_html(self) -> str:
        """Return the progress and the item at hand as self-contained HTML."""
        image = None
        if self._items.kind == "image" and self._state["items"]:
            try:
                image = self._items.image(self._ballot.queue[self._state["items"][0]["place"]])
            except Invalid:
                image = None
        return annotator_html(self._facts, self._state, twin=self._twin, css=self._css, image=image)


def hotkeys(classes: Sequence[str]) -> list[list[str]]:
    """Return the keys of each class: its place, and its first letter where no other class begins with it.

    ``u`` is for undo and ``r`` for retry. Classes that are digits themselves have just these as their keys.

    Examples
    --------
    >>> hotkeys(["benign", "malignant", "mixed", "unsure"])
    [['1', 'b'], ['2'], ['3'], ['4']]
    >>> hotkeys("012")
    [['0'], ['1'], ['2']]
    """
    if all(name.isdecimal() and name.isascii() and len(name) == 1 for name in classes):
        return [[name] for name in classes]
    initials = [name[0].lower() for name in classes]
    keys = []
    for place, initial in enumerate(initials):
        own = [str((place + 1) % 10)] if place < 10 else []
        if initial.isalpha() and initial not in "ur" and initials.count(initial) == 1:
            own.append(initial)
        keys.append(own)
    return keys


def _sentence(error: Exception) -> str:
    """Return what to tell a person: our own errors speak for themselves, others are named."""
    text = str(error).strip()[:2_000]
    if isinstance(error, JupyterExtError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _suggestion(classes: tuple[str, ...], given: Suggestion) -> dict[str, Any]:
    """Return the suggested class, and a share for each class where probabilities were given."""
    if isinstance(given, str):
        if given not in classes:
            raise Invalid(f"The suggestion {given[:100]!r} is none of the classes.")
        return {"label": given, "shares": None}
    if isinstance(given, Mapping):
        unknown = [str(name) for name in given if name not in classes]
        if unknown:
            raise Invalid(f"A suggestion has probabilities of unknown classes: {', '.join(unknown[:5])}.")
        shares = [float(given.get(name, 0.0)) for name in classes]
    else:
        shares = [float(share) for share in given]
    if len(shares) != len(classes) or not all(0 <= share <= 1 for share in shares):
        raise Invalid(f"A suggestion must have {len(classes)} probabilities between 0 and 1, one a class.")
    best = max(range(len(classes)), key=shares.__getitem__)
    return {"label": classes[best], "shares": [round(share, 4) for share in shares]}
