"""A drift report: the answer of `drift`, as a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from jupyter_ext.monitoring.histograms import Histogram
from jupyter_ext.monitoring.statistics import Correction

SCHEMA = 1
_NAMED = 5
_SHOWN = 60
_CONTROL: dict[Correction, str] = {
    "bh": "at a false discovery rate of {alpha:.3g} (Benjamini-Hochberg)",
    "by": "at a false discovery rate of {alpha:.3g} (Benjamini-Yekutieli)",
    "bonferroni": "with a chance of {alpha:.3g} of any false alarm (Bonferroni)",
    "none": "at a level of {alpha:.3g} a feature, not corrected for their number",
}


def no_rows() -> None:
    """Find no rows: a profile has none."""


@dataclass(frozen=True, repr=False, eq=False)
class DriftReport:
    """Which features moved, and the evidence.

    Parameters
    ----------
    table
        One row a feature: ``kind``, ``method``, ``statistic``, ``threshold`` (after correction: a statistic at or
        above it is drift), ``p_value``, ``q_value`` (the p-value corrected over features), ``drifted``,
        ``n_reference``, ``n_current``.
    alpha, correction
        As given to `drift`.
    n_reference, n_current
        Rows of both sides.
    histograms
        Shares of both sides a feature, for drawing; see `Histogram`.
    notes
        What else a reader should know about a feature: constant, unseen categories, not tested and why.
    """

    table: pd.DataFrame
    alpha: float
    correction: Correction
    n_reference: int
    n_current: int
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    #: Finds the current rows while somebody else still has them, so that the view can show those of a bin.
    _find_rows: Callable[[], pd.DataFrame | None] = field(default=no_rows, kw_only=True)

    @property
    def drifted(self) -> list[str]:
        """The features that moved, strongest evidence first."""
        moved = self.table[self.table["drifted"]]
        # Very small p-values are all 0: the distance over its threshold tells them apart.
        excess = moved["statistic"] / moved["threshold"]
        return list(moved.assign(excess=-excess).sort_values(["q_value", "excess"], kind="stable").index)

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        moved, tested = self.drifted, int(self.table["p_value"].notna().sum())
        names = ", ".join(moved[:_NAMED]) + (f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else "")
        what = f"{len(moved)} of {tested} feature{'s' * (tested != 1)} drifted" + (f" ({names})" if moved else "")
        rows = f"comparing {self.n_current:,} current with {self.n_reference:,} reference rows"
        untested = [name for name, note in self.notes.items() if note.startswith("not tested")]
        more = f"; {len(untested)} not tested ({', '.join(untested[:_NAMED])})" if untested else ""
        return f"{what}, {rows} {_CONTROL[self.correction].format(alpha=self.alpha)}{more}."

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as JSON-able values; ``schema`` says their shape."""
        features = [
            {"feature": name, **{key: _plain(value) for key, value in row.items()}}
            for name, row in self.table.to_dict(orient="index").items()
        ]
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "alpha": self.alpha,
            "correction": self.correction,
            "n_reference": self.n_reference,
            "n_current": self.n_current,
            "drifted": self.drifted,
            "features": features,
            "histograms": {name: {**h, "missing": list(h["missing"])} for name, h in self.histograms.items()},
            "notes": dict(self.notes),
        }

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self._sorted().head(_SHOWN).to_string(float_format='{:.4g}'.format)}"

    def _ipython_display_(self) -> None:
        """Show the interactive view, with a still picture of it for when no kernel runs."""
        from jupyter_ext.widgets import DriftView

        current = self._find_rows()
        same = current is not None and len(current) == self.n_current
        DriftView(self, current=current if same else None)._ipython_display_()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_find_rows": no_rows}

    def _sorted(self) -> pd.DataFrame:
        return self.table.sort_values(["q_value"], kind="stable")


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value
