"""See in a notebook cell what each labeling function says, how good it is, and where others contradict it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import traitlets

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling.analysis import conflicting_rows, lf_summary
from jupyter_ext.labeling.votes import ABSTAIN, IntArray, VoteMatrix, as_gold, as_votes
from jupyter_ext.widgets._items import Items, _require_columns, is_missing
from jupyter_ext.widgets._static_lf import lf_table_html, percent
from jupyter_ext.widgets._view import View, read_asset

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of functions that a view carries, and of the conflicting rows of the one that is open.
MAX_ROWS_BYTES = 40_000
MAX_DETAIL_BYTES = 24_000
#: Conflicting rows on a page.
PAGE_SIZE = 20
#: Classes, and voters of one class, that are named; the others are counted.
MAX_CLASSES = 30
MAX_NAMED = 5
MAX_FIELDS = 8
_LONG_NAME = 60

_KEEP: Any = object()


class LFTable(View):
    """Show a line for each labeling function, and the rows on which others contradict the one that is open.

    The table sorts by any heading and searches by name. A click or Enter on a function opens how often it says which
    class and its conflicting rows, 20 at a time. The view carries at most 100 kB: of very many functions it holds the
    first in the order it is sorted by, says how many are left out, and asks the kernel for those that are searched.

    Parameters
    ----------
    votes
        (n rows, m functions), -1 where a function abstains.
    gold
        Known answers, shape (n,), -1 where unknown.
    frame
        The rows that were voted on, n of them; what a conflicting row looks like.
    classes
        Names of the classes 0, 1, …; their numbers if None.
    columns
        The columns of ``frame`` to show; those that hold text if None, or all where none does.

    Attributes
    ----------
    selected
        The name of the function that is open, or None. Set it to open another.

    Raises
    ------
    Invalid
        On votes, gold or a frame of different lengths, on unknown columns, and on votes outside the classes.

    Examples
    --------
    >>> from jupyter_ext.labeling import VoteMatrix
    >>> votes = VoteMatrix.from_dense([[1, -1], [1, 0], [-1, -1], [-1, 0]], voters=["short", "links"])
    >>> view = LFTable(votes, gold=[1, 1, -1, 0], classes=["ham", "spam"])
    >>> view
    <LFTable: 2 functions vote on 75 % of 4 rows; 33 % of those are in conflict.>
    >>> view.table.loc["links", ["correct", "incorrect"]].tolist()
    [1, 1]
    >>> view.selected = "short"
    >>> view.update(votes.take([0, 2]), gold=None)
    >>> view, view.selected
    (<LFTable: 2 functions vote on 50 % of 2 rows; none of those are in conflict.>, 'short')
    """

    _esm = read_asset("lf_table.js")
    _css = "".join(map(read_asset, ("base.css", "table.css", "lf_table.css")))

    selected: traitlets.Unicode[str | None, str | bytes | None] = traitlets.Unicode(None, allow_none=True).tag(
        sync=True
    )

    _facts = traitlets.Dict().tag(sync=True)
    _rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    #: What the view asks for: an order, ``{"by": heading, "falling": bool}`` or ``{}`` for that of the votes, names
    #: with something in them, and a page of conflicting rows.
    _sort = traitlets.Dict().tag(sync=True)
    _query = traitlets.Unicode("").tag(sync=True)
    _page = traitlets.Int(0).tag(sync=True)
    #: The answer to ``selected`` and ``_page``.
    _detail = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        votes: VoteMatrix | npt.ArrayLike,
        gold: npt.ArrayLike | None = None,
        *,
        frame: pd.DataFrame | None = None,
        classes: Sequence[str] | None = None,
        columns: Sequence[Hashable] | None = None,
    ) -> None:
        self._classes = None if classes is None else _class_names(classes)
        self._frame = None if frame is None else _shown_columns(frame, columns)
        if frame is None and columns is not None:
            raise Invalid("columns= names columns of a frame, and no frame= is given.")
        self._read(votes, gold)
        super().__init__()
        self._publish()

    # What people call

    @property
    def table(self) -> pd.DataFrame:
        """What `jupyter_ext.labeling.lf_summary` says of the votes."""
        return self._table.copy()

    def update(self, votes: VoteMatrix | npt.ArrayLike, gold: npt.ArrayLike | None = _KEEP) -> None:
        """Show other votes on the same rows, wherever this view is displayed.

        The open function, the order and the search stay; a function that no longer exists is closed.

        Parameters
        ----------
        votes
            As in the constructor.
        gold
            As in the constructor; the known answers stay if it is left out.

        Raises
        ------
        Invalid
            As the constructor; nothing has changed then.
        """
        self._read(votes, self._gold if gold is _KEEP else gold)
        with self.hold_sync():
            if self.selected not in self._votes.voters:
                self.selected = None
            self._publish()

    def __repr__(self) -> str:
        return f"<LFTable: {self._facts['headline']}>"

    def static_html(self) -> str:
        """Return the table, and the function that is open, as self-contained HTML."""
        return lf_table_html(self._facts, self._rows, self._detail, twin=self._twin, css=self._css)

    # How it works

    def _read(self, votes: VoteMatrix | npt.ArrayLike, gold: npt.ArrayLike | None) -> None:
        """Take votes and gold in, if all of them are valid."""
        matrix = as_votes(votes, None if self._classes is None else len(self._classes))
        n_rows = matrix.shape[0]
        if self._frame is not None and len(self._frame) != n_rows:
            raise Invalid(f"The frame has {len(self._frame):,} rows, and there are votes on {n_rows:,}.")
        known = None if gold is None else as_gold(gold, matrix)
        self._table = lf_summary(matrix, known)
        self._votes, self._gold = matrix, known
        n_distinct = np.diff(matrix.class_counts().indptr)
        self._in_conflict: npt.NDArray[np.bool_] = n_distinct > 1
        n_covered = int((n_distinct > 0).sum())
        self._lines = _lines_of(self._table, self._class_name)
        self._about = {
            "headline": _headline(len(self._lines), n_rows, n_covered, int(self._in_conflict.sum())),
            "basis": _basis(self._table, known),
            "total": len(self._lines),
            "widest": max((line["coverage"] for line in self._lines), default=0.0),
            "has_gold": known is not None,
            "page_size": PAGE_SIZE,
        }

    def _class_name(self, number: int) -> str:
        return str(number) if self._classes is None else self._classes[number]

    def _publish(self) -> None:
        """Send the view what it draws."""
        self._facts = self._about
        self._send_rows()
        self._send_detail()
        self._refresh_static()

    def _send_rows(self) -> None:
        lines = _sorted(self._lines, self._sort)
        if _size(lines) > MAX_ROWS_BYTES:
            query = self._query.lower()
            lines = [line for line in lines if query in line["name"].lower()]
        self._rows = _within_budget(lines)

    def _send_detail(self) -> None:
        voter = self.selected
        if voter is None or voter not in self._votes.voters:
            self._page, self._detail = 0, {}
            return
        items, classes = self._votes.column(voter)
        against = np.sort(items[self._in_conflict[items]])
        last = max(0, math.ceil(len(against) / PAGE_SIZE) - 1)
        self._page = min(max(self._page, 0), last)
        rows = against[self._page * PAGE_SIZE : (self._page + 1) * PAGE_SIZE]
        detail = {
            "voter": voter,
            "note": self._table.loc[voter, "note"],
            "counts": self._counts(items, classes),
            "page": self._page,
            "n_pages": last + 1,
            "n_conflicts": len(against),
            "rows": [],
        }
        # Where the texts don't fit, all of them are cut shorter rather than some left out.
        for room in (1_600, 800, 400, 200, 80):
            detail["rows"] = self._conflicting(voter, rows, room)
            if _size(detail) <= MAX_DETAIL_BYTES:
                break
        self._detail = detail

    def _counts(self, items: IntArray, classes: IntArray) -> list[dict[str, Any]]:
        """Count one function's votes by class, most frequent first, and how many are right where that is known."""
        numbers, votes = np.unique(classes, return_counts=True)
        counts = []
        for place in np.argsort(-votes, kind="stable")[:MAX_CLASSES].tolist():
            line: dict[str, Any] = {"name": _cut(self._class_name(int(numbers[place])), _LONG_NAME)}
            line["votes"] = int(votes[place])
            line["share"] = _short(votes[place] / len(classes))
            if self._gold is not None:
                answers = self._gold[items[classes == numbers[place]]]
                line["known"] = int((answers != ABSTAIN).sum())
                line["correct"] = int((answers == numbers[place]).sum())
            counts.append(line)
        if len(numbers) > MAX_CLASSES:
            rest = int(len(classes) - sum(line["votes"] for line in counts))
            other: dict[str, Any] = {"name": f"{len(numbers) - MAX_CLASSES:,} other classes", "votes": rest}
            counts.append({**other, "share": _short(rest / len(classes))})
        return counts

    def _conflicting(self, voter: str, rows: IntArray, room: int) -> list[dict[str, Any]]:
        """Describe some rows on which others contradict ``voter``, the text of each in at most ``room`` bytes."""
        if not len(rows):
            return []
        # Only these rows are looked at: a function in conflict on a million others costs nothing.
        known = None if self._gold is None else self._gold[rows]
        table = conflicting_rows(self._votes.take(rows), voter, known)
        items = None
        if self._frame is not None:
            items = Items(self._frame.iloc[rows].reset_index(drop=True), kind="row")
        shown = []
        for record in table.to_dict("records"):
            place = int(record["row"])
            line: dict[str, Any] = {
                "row": int(rows[place]),
                "vote": _cut(self._class_name(int(record["vote"])), _LONG_NAME),
                "others": self._others(record["others"]),
                "fields": [] if items is None else _fields(items.show(place)["fields"], room),
            }
            if self._frame is not None:
                line["key"] = self._key(int(rows[place]))
            if known is not None:
                answer = int(record["gold"])
                line["gold"] = None if answer == ABSTAIN else _cut(self._class_name(answer), _LONG_NAME)
                line["right"] = None if answer == ABSTAIN else answer == int(record["vote"])
            shown.append(line)
        return shown

    def _key(self, row: int) -> str | None:
        """Return what the frame calls a row, unless it only counts them."""
        assert self._frame is not None
        label = self._frame.index[row]
        return None if label == row else _cut(str(label), _LONG_NAME)

    def _others(self, others: Sequence[tuple[str, int]]) -> list[list[str]]:
        """Return pairs of a class and who votes for it, the class with most of them first."""
        by_class: dict[int, list[str]] = {}
        for name, number in others:
            by_class.setdefault(number, []).append(name)
        said = sorted(by_class.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        lines = []
        for number, names in said[:MAX_NAMED]:
            more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
            who = ", ".join(_cut(name, _LONG_NAME) for name in names[:MAX_NAMED])
            lines.append([_cut(self._class_name(number), _LONG_NAME), who + more])
        if len(said) > MAX_NAMED:
            lines.append([f"{len(said) - MAX_NAMED:,} other classes", ""])
        return lines

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Any) -> str | None:
        name: str | None = proposal["value"]
        if name is not None and name not in self._votes.voters:
            raise Invalid(f"There is no function {name[:100]!r} in the table.")
        return name

    @traitlets.observe("selected")
    def _on_selected(self, change: Any) -> None:
        # The browser may ask for what an update has just taken away; its values come in before they are checked.
        if self.selected is not None and self.selected not in self._votes.voters:
            self.selected = None
            return
        self._page = 0
        self._send_detail()
        self._refresh_static()

    @traitlets.observe("_page")
    def _on_page(self, change: Any) -> None:
        self._send_detail()
        self._refresh_static()

    @traitlets.observe("_sort", "_query")
    def _on_order(self, change: Any) -> None:
        self._send_rows()
        self._refresh_static()


def _class_names(classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str):
        raise Invalid("Give the classes as a list of names, one a class number.")
    names = [str(name) for name in classes]
    if len(names) < 2 or len(set(names)) < len(names):
        raise Invalid(f"Give two classes or more, all of different names; there are {len(set(names))} different ones.")
    return names


def _shown_columns(frame: pd.DataFrame, columns: Sequence[Hashable] | None) -> pd.DataFrame:
    """Return the part of the frame that is shown of a row."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise Invalid(f"The frame is given as a pandas DataFrame, not as {type(frame).__name__}.")
    if not frame.columns.is_unique:
        raise Invalid("Some columns of the frame have the same name; rename them first.")
    if columns is None:
        texts = [name for name in frame.columns if _is_text(frame[name].iloc[:50])]
        return frame[texts or list(frame.columns)]
    names = [columns] if isinstance(columns, str) else list(columns)
    _require_columns(frame, names, "columns")
    if not names:
        raise Invalid("columns= is empty: there is nothing to show of a row.")
    return frame[names]


def _is_text(values: pd.Series) -> bool:
    present = [value for value in values if not is_missing(value)]
    return bool(present) and all(isinstance(value, str) for value in present)


def _lines_of(table: pd.DataFrame, class_name: Any) -> list[dict[str, Any]]:
    """Return the table as what the view draws, in the order of the votes."""
    lines = []
    for place, record in enumerate(table.reset_index(names="voter").to_dict("records")):
        polarity = [int(number) for number in record["polarity"]]
        said = [_cut(class_name(number), 24) for number in polarity[:3]]
        line: dict[str, Any] = {
            "place": place,
            "name": str(record["voter"]),
            "votes_for": ", ".join(said) + (f" and {len(polarity) - 3:,} more" if len(polarity) > 3 else ""),
            **{name: _short(record[name]) for name in ("coverage", "overlaps", "conflicts")},
            "note": str(record["note"]),
        }
        if "accuracy" in record:
            line["correct"] = int(record["correct"])
            line["known"] = line["correct"] + int(record["incorrect"])
            line["accuracy"] = _short(record["accuracy"]) if line["known"] else None
            line["low"], line["high"] = _short(record["accuracy_low"]), _short(record["accuracy_high"])
        lines.append(line)
    return lines


def _sorted(lines: Sequence[dict[str, Any]], order: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines in an order: missing values last, equal ones as they came.

    Examples
    --------
    >>> [line["x"] for line in _sorted([{"x": None}, {"x": 1}, {"x": 2}], {"by": "x", "falling": True})]
    [2, 1, None]
    >>> [line["x"] for line in _sorted([{"x": "lf_10"}, {"x": "Lf_9"}], {"by": "x", "falling": False})]
    ['Lf_9', 'lf_10']
    """
    by = str(order.get("by"))
    present = [line for line in lines if line.get(by) is not None]
    if not present:
        return list(lines)
    missing = [line for line in lines if line.get(by) is None]
    return sorted(present, key=lambda line: _natural(line[by]), reverse=bool(order.get("falling"))) + missing


def _natural(value: Any) -> Any:
    """Return a key by which numbers inside names count as numbers."""
    if not isinstance(value, str):
        return value
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", value.lower())]


def _within_budget(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first lines, as many as a view may carry."""
    kept: list[dict[str, Any]] = []
    used = 0
    for line in lines:
        used += _size(line)
        if used > MAX_ROWS_BYTES:
            break
        kept.append(line)
    return kept


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def _short(share: float) -> float:
    return float(f"{share:.4g}")


def _cut(text: str, n_bytes: int) -> str:
    """Return the beginning of a text, in so many bytes.

    Examples
    --------
    >>> _cut("a long text", 6), _cut("short", 6), _cut("ééé", 3)
    ('a long…', 'short', 'é…')
    """
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= n_bytes else f"{data[:n_bytes].decode(errors='ignore')}…"


def _fields(fields: Sequence[Sequence[str | None]], room: int) -> list[list[str | None]]:
    """Return names and values that take at most some ``room`` bytes; short values leave their room to the long ones."""
    kept = fields[:MAX_FIELDS]
    shown: list[list[str | None]] = []
    left = room
    by_length = sorted(range(len(kept)), key=lambda place: len(kept[place][1] or ""))
    cut = {}
    for done, place in enumerate(by_length):
        value = kept[place][1]
        cut[place] = None if value is None else _cut(value, left // (len(kept) - done))
        left -= len((cut[place] or "").encode())
    shown = [[_cut(str(name), 40), cut[place]] for place, (name, _) in enumerate(kept)]
    if len(fields) > len(kept):
        shown.append(["…", f"{len(fields) - len(kept):,} more columns; choose some with columns="])
    return shown


def _headline(n_functions: int, n_rows: int, n_covered: int, n_conflicts: int) -> str:
    if not n_functions:
        return "There are no functions yet."
    who = "1 function votes" if n_functions == 1 else f"{n_functions:,} functions vote"
    rows = "1 row" if n_rows == 1 else f"{n_rows:,} rows"
    if not n_covered:
        return f"{who} on none of {rows}."
    conflict = _about(n_conflicts, n_covered)
    return f"{who} on {_about(n_covered, n_rows)} of {rows}; {conflict} of those are in conflict."


def _about(part: int, whole: int) -> str:
    """Return a share in whole percents that never rounds something to nothing, or less than all to all.

    Examples
    --------
    >>> _about(0, 5), _about(1, 900), _about(1, 3), _about(899, 900), _about(9, 9)
    ('none', 'under 1 %', '33 %', 'over 99 %', '100 %')
    """
    if not part:
        return "none"
    rounded = round(100 * part / whole)
    if rounded == 0:
        return "under 1 %"
    return "over 99 %" if rounded == 100 and part < whole else f"{rounded} %"


def _basis(table: pd.DataFrame, gold: IntArray | None) -> str:
    widest = f"Bars are drawn to the widest coverage, {percent(table['coverage'].max())}." if len(table) else ""
    if gold is None:
        return f"{widest} Give gold= to see accuracies.".strip()
    n_known = int((gold != ABSTAIN).sum())
    known = "1 known answer" if n_known == 1 else f"{n_known:,} known answers"
    return f"{known}; whiskers are 95 % intervals (Wilson). {widest}".strip()
