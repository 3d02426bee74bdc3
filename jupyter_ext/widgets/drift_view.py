"""Read a drift report in a notebook cell: the verdict, a sortable table, and each feature's two histograms."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import traitlets

from jupyter_ext.errors import Invalid
from jupyter_ext.widgets._items import as_text, is_missing
from jupyter_ext.widgets._static import drift_html
from jupyter_ext.widgets._view import View, read_asset

#: Bytes of rows that a view carries, the histograms of the features that drifted most among them.
MAX_ROWS_BYTES = 60_000
MAX_HISTOGRAMS_BYTES = 45_000
MAX_BINS = 40
_DAY = 86_400

_TESTS = {
    "psi": "population stability",
    "ks": "Kolmogorov-Smirnov",
    "chi2": "chi-square",
    "chi_square": "chi-square",
}


class Report(Protocol):
    """What is shown: `jupyter_ext.monitoring.DriftReport` is one."""

    # Properties, because a report is never written to.
    @property
    def alpha(self) -> float:
        """The level of the tests."""

    @property
    def correction(self) -> str:
        """How false alarms over all features are controlled."""

    @property
    def drifted(self) -> Sequence[str]:
        """The features that drifted, strongest evidence first."""

    @property
    def n_reference(self) -> int:
        """Rows of the reference."""

    @property
    def n_current(self) -> int:
        """Rows that were compared with it."""

    @property
    def table(self) -> Any:
        """A pandas.DataFrame with the index feature and kind, method, statistic, threshold, q_value, drifted."""

    @property
    def histograms(self) -> Mapping[str, Mapping[str, Any]]:
        """Shares of every feature."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What else a reader should know about a feature."""


class DriftView(View):
    """Show which features drifted, how far, and how they look.

    The table begins with the features that drifted most. It sorts by any heading, searches by name, and opens a
    feature's histogram and its numbers by a click or Enter. The view carries at most 100 kB: of a very wide report it
    keeps the features that drifted most, and says how many are left out.

    Parameters
    ----------
    report
        A `jupyter_ext.monitoring.DriftReport`.

    Raises
    ------
    Invalid
        If it is none.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {"kind": "numeric", "method": "ks", "statistic": [0.4, 0.02], "threshold": 0.1, "q_value": [0.001, 0.9],
    ...      "drifted": [True, False]}, index=["area", "texture"])
    >>> report = SimpleNamespace(
    ...     table=table, drifted=["area"], histograms={}, notes={},
    ...     alpha=0.05, correction="bh", n_reference=400, n_current=169)
    >>> DriftView(report).verdict
    '1 of 2 features drifted: area.'
    """

    _esm = read_asset("drift_view.js")
    _css = read_asset("base.css") + read_asset("drift_view.css")

    _facts = traitlets.Dict().tag(sync=True)
    _rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)

    def __init__(self, report: Report) -> None:
        missing = [
            name
            for name in ("table", "drifted", "histograms", "alpha", "correction", "notes")
            if not hasattr(report, name)
        ]
        if missing:
            raise Invalid(f"DriftView shows a DriftReport; {type(report).__name__} has no {' and no '.join(missing)}.")
        rows = _rows_of(report)
        drifted = [str(name) for name in report.drifted]
        super().__init__()
        kept = _within_budget(rows)
        self._facts = {
            "verdict": _verdict(drifted, len(rows)),
            "basis": _basis(report, sum(row["q_value"] is not None for row in rows)),
            "n_drifted": len(drifted),
            "total": len(rows),
        }
        self._rows = kept

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        return str(self._facts["verdict"])

    def __repr__(self) -> str:
        return f"<DriftView: {self.verdict}>"

    def static_html(self) -> str:
        """Return the verdict and the table as self-contained HTML."""
        return drift_html(self._facts, self._rows, twin=self._twin, css=self._css)


def _float(value: Any) -> float | None:
    """Return a number that JSON can carry, None for a missing or infinite one."""
    if is_missing(value) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _rows_of(report: Report) -> list[dict[str, Any]]:
    rows = []
    places = {str(name)[:200]: place for place, name in enumerate(report.drifted)}
    for record in report.table.reset_index(names="feature").to_dict("records"):
        feature = str(record["feature"])
        method = str(record["method"])
        rows.append(
            {
                "feature": feature[:200],
                "kind": str(record["kind"]),
                "test": _TESTS.get(method, method.replace("_", " ")),
                "statistic": _float(record["statistic"]),
                "threshold": _float(record["threshold"]),
                "q_value": _float(record["q_value"]),
                "drifted": bool(record["drifted"]),
                "note": report.notes.get(record["feature"]),
                "histogram": _bins(report.histograms.get(record["feature"]), feature, str(record["kind"])),
            }
        )
    # What drifted in the order of the report, then the others by how near they are to their thresholds.
    return sorted(rows, key=lambda row: (places.get(row["feature"], len(places)), -_excess(row)))


def _excess(row: Mapping[str, Any]) -> float:
    statistic, threshold = row["statistic"], row["threshold"]
    return float(statistic / threshold) if statistic is not None and threshold else 0.0


def _bins(histogram: Mapping[str, Any] | None, feature: str, kind: str) -> dict[str, list[Any]] | None:
    """Return names and shares of at most `MAX_BINS` bins, the missing values in one of their own."""
    if not histogram or not len(histogram["reference"]):
        return None
    reference, current = [list(map(float, histogram[side])) for side in ("reference", "current")]
    if histogram.get("categories") is not None:
        names = [as_text(name) or "missing" for name in histogram["categories"]]
    else:
        names = _spans(histogram.get("edges"), len(reference), kind)
    missing = histogram.get("missing", (0, 0))
    if any(missing):
        names, reference, current = [*names, "missing"], [*reference, missing[0]], [*current, missing[1]]
    if not len(names) == len(reference) == len(current):
        raise Invalid(
            f"The histogram of {feature[:100]!r} has {len(names)} bins, {len(reference)} and {len(current)} shares."
        )
    if len(names) > MAX_BINS:
        most = sorted(range(len(names)), key=lambda place: -max(reference[place], current[place]))[: MAX_BINS - 1]
        kept = sorted(most)
        names = [*(names[place] for place in kept), f"{len(names) - len(kept)} others"]
        reference = [*(reference[place] for place in kept), 1 - sum(reference[place] for place in kept)]
        current = [*(current[place] for place in kept), 1 - sum(current[place] for place in kept)]
    return {
        "bins": [name[:60] for name in names],
        "reference": [round(max(share, 0.0), 4) for share in reference],
        "current": [round(max(share, 0.0), 4) for share in current],
    }


def _spans(edges: Sequence[float] | None, n: int, kind: str = "numeric") -> list[str]:
    """Return the names of bins between edges; the outer ones may be open. Times are in seconds since 1970.

    Examples
    --------
    >>> _spans([0, 1, 2.5], 2)
    ['0 to 1', '1 to 2.5']
    >>> _spans([1], 2), _spans([3, 3], 1)
    (['< 1', '≥ 1'], ['3'])
    >>> _spans([0, 86400], 1, "datetime")
    ['1970-01-01 to 1970-01-02']
    """
    if edges is None:
        return [f"bin {place + 1}" for place in range(n)]
    sides = [-math.inf, *edges, math.inf] if len(edges) == n - 1 else list(edges)
    longest = max((right - left for left, right in itertools.pairwise(sides)), default=0)

    def name(edge: float) -> str:
        if kind != "datetime":
            return f"{edge:.4g}"
        return f"{datetime.fromtimestamp(edge, UTC):{'%Y-%m-%d' if longest >= _DAY else '%m-%d %H:%M'}}"

    names = []
    for left, right in itertools.pairwise(sides):
        if math.isinf(left):
            names.append(f"< {name(right)}")
        elif math.isinf(right):
            names.append(f"≥ {name(left)}")
        else:
            names.append(name(left) if left == right else f"{name(left)} to {name(right)}")
    return names


def _within_budget(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first rows, the first of those with their histograms, that fit into what a view may carry."""
    kept: list[dict[str, Any]] = []
    used = 0
    for row in rows:
        if used + _size(row) > MAX_HISTOGRAMS_BYTES:
            row = {**row, "histogram": None}
        used += _size(row)
        if used > MAX_ROWS_BYTES:
            break
        kept.append(row)
    return kept


def _size(row: Mapping[str, Any]) -> int:
    return len(json.dumps(row, ensure_ascii=False).encode())


def _verdict(drifted: Sequence[str], total: int) -> str:
    features = "feature" if total == 1 else "features"
    if not drifted:
        return f"None of {total:,} {features} drifted."
    names = ", ".join(drifted[:5]) + (f" and {len(drifted) - 5:,} more" if len(drifted) > 5 else "")
    return f"{len(drifted):,} of {total:,} {features} drifted: {names}."


def _basis(report: Report, n_tests: int) -> str:
    sizes = f"{report.n_reference:,} reference rows against {report.n_current:,} current rows. "
    if not n_tests:
        return sizes + "Each statistic is held against its own threshold."
    level = f"{100 * report.alpha:.3g} %"
    tests = f"{n_tests:,} test{'s' if n_tests > 1 else ''}"
    control = {
        "bh": f"False-discovery rate held at {level} over {tests} (Benjamini-Hochberg).",
        "by": f"False-discovery rate held at {level} over {tests} (Benjamini-Yekutieli).",
        "bonferroni": f"Family-wise error held at {level} over {tests} (Bonferroni).",
    }
    return sizes + control.get(report.correction, f"Each of {tests} at {level}, not corrected for their number.")
