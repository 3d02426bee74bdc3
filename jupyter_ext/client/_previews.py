"""What a labeling function would say, before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_ext.labeling.functions import LabelingFunction


@dataclass(frozen=True)
class FunctionPreview:
    """A labeling function on a sample of a task's rows.

    Attributes
    ----------
    n_rows : int
        Rows of the sample.
    votes : dict of str to int
        How often it votes for each class.
    n_judged, n_right : int
        Votes on rows whose answer is known, and how many of them agree with it.
    precision : tuple of float, or None
        Their share, and its 95 % Wilson interval; None where no answer is known.
    n_conflicts : int
        Votes on which a stored function, a model or a person says otherwise.
    n_errors : int
        Rows on which it failed; ``error`` is the first failure.
    examples : DataFrame
        Some of the rows that it votes on, with its vote; those that contradict a known answer first.
    """

    function: LabelingFunction
    n_rows: int
    votes: dict[str, int]
    n_judged: int
    n_right: int
    precision: tuple[float, float, float] | None
    n_conflicts: int
    n_errors: int
    error: str
    examples: pd.DataFrame

    @property
    def n_votes(self) -> int:
        """How many rows of the sample it votes on."""
        return sum(self.votes.values())

    def facts(self) -> dict[str, str]:
        """Return what is told, by heading."""
        share = self.n_votes / self.n_rows if self.n_rows else 0.0
        told = {
            "votes": f"{self.n_votes:,} of {self.n_rows:,} rows ({share:.1%})"
            + "".join(f", {label} {count:,}" for label, count in self.votes.items()),
            "precision": "no answer is known for these rows",
            "conflicts": f"{self.n_conflicts:,} of its votes",
        }
        if self.precision is not None:
            value, low, high = self.precision
            told["precision"] = (
                f"{value:.1%} ({low:.1%} to {high:.1%}), {self.n_right:,} of {self.n_judged:,} known answers"
            )
        if self.n_errors:
            told["failed"] = f"on {self.n_errors:,} rows: {self.error}"
        return told

    def __repr__(self) -> str:
        lines = [f"{heading}: {fact}" for heading, fact in self.facts().items()]
        return "\n".join([f"{self.function.name}, on a sample", *lines])

    def _repr_html_(self) -> str:
        left = "style='text-align: left'"
        rows = "".join(
            f"<tr><th {left}>{escape(heading)}</th><td {left}>{escape(fact)}</td></tr>"
            for heading, fact in self.facts().items()
        )
        shown = self.examples.to_html(index=False, max_rows=10) if len(self.examples) else ""
        return f"<div><b>{escape(self.function.name)}</b>, on a sample<table><tbody>{rows}</tbody></table>{shown}</div>"
