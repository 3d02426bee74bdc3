"""Lists that show themselves as tables, as text and as plain HTML that a saved notebook shows too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CHIP = (
    "display:inline-block;padding:0 7px;margin-right:4px;border-radius:9px;font-size:0.9em;"
    "border:1px solid var(--jp-brand-color1, #1976d2);color:var(--jp-brand-color1, #1976d2)"
)


@dataclass(frozen=True)
class Column:
    """A column of a table: its key in a frame, its value, and how the value reads."""

    key: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] = lambda value: "" if value is None else str(value)
    chips: bool = False


def when(moment: datetime | None) -> str:
    """Return a moment as a person reads it, in the local time zone."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


class Rows(list[Any]):
    """A list that shows itself as a table."""

    columns: tuple[Column, ...] = ()
    empty = "Nothing yet."

    def frame(self) -> pd.DataFrame:
        """Return the rows as a DataFrame."""
        import pandas as pd

        names = [column.key for column in self.columns]
        return pd.DataFrame([[column.value(row) for column in self.columns] for row in self], columns=names)

    def __repr__(self) -> str:
        return text_table(self, self.columns, self.empty)

    def _repr_html_(self) -> str:
        return html_table(self, self.columns, self.empty)


def html_table(rows: Sequence[Any], columns: Sequence[Column], empty: str) -> str:
    """Return rows as an HTML table."""
    if not rows:
        return f"<p>{escape(empty)}</p>"
    head = "".join(f'<th style="text-align:left">{escape(column.key.replace("_", " "))}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cell(column, row) for column in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(column: Column, row: Any) -> str:
    text = column.text(column.value(row))
    parts = text.split(", ") if column.chips and text else []
    shown = "".join(f'<span style="{CHIP}">{escape(part)}</span>' for part in parts) or escape(text)
    return f'<td style="text-align:left">{shown}</td>'


def text_table(rows: Sequence[Any], columns: Sequence[Column], empty: str) -> str:
    """Return rows as aligned text.

    Examples
    --------
    >>> print(text_table([{"a": 1}], [Column("a", lambda row: row["a"])], "none"))
    a
    1
    """
    if not rows:
        return empty
    lines = [[column.key for column in columns]]
    lines += [[column.text(column.value(row)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
