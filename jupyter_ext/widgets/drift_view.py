"""Read a drift report in a notebook cell: what drifted, how it looks, since when, and which rows it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets
import numpy as np
import traitlets
from IPython.display import display

from jupyter_ext.errors import Invalid, JupyterExtError
from jupyter_ext.monitoring.histograms import RANKS
from jupyter_ext.widgets._ballot import unique_classes
from jupyter_ext.widgets._bins import Bins, bin_of_each, bins_of
from jupyter_ext.widgets._history import read_history, test_name
from jupyter_ext.widgets._items import as_text, is_missing
from jupyter_ext.widgets._static_drift import drift_html
from jupyter_ext.widgets._view import MAX_STATE_BYTES, View, read_asset
from jupyter_ext.widgets.annotator import Annotator, Task, _sentence

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of a view's state for all but its source, its table and its history.
_RESERVE_BYTES = 4_000
#: Of what is left: the table's share where there is a history too, and its share in which rows have their histograms.
_TABLE, _PICTURED = 0.6, 0.75
#: Rows of a bin, their columns and characters of a cell that are sent to the view.
MAX_ROWS = 50
_MAX_COLUMNS = 30
_MAX_CELL = 200

Labeler = Callable[["pd.DataFrame"], object]


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
    """Show which features drifted, how far and since when, how they look, and the rows that make the difference.

    The table begins with the features that drifted most. It sorts by any heading, searches by name, and opens a
    feature's bins, distribution and quantiles by a click or Enter. With a history, a heat map of chunks and features
    and the timeline of one feature follow; thresholds can be moved there, and the history is told again with them.
    A click on a bin shows its rows, which can be labeled.

    The view carries at most 100 kB: of a very wide report or history it keeps the features that drifted most, and
    says how many are left out.

    Parameters
    ----------
    report
        A `jupyter_ext.monitoring.DriftReport`.
    history
        What `jupyter_ext.monitoring.drift_over_time` answers, or stored values with the same columns.
    current
        The current rows that the report is about, in any order.
    label
        How to label the rows of a bin: a labeling task (of ``client.labels``), the names of classes for votes in
        memory, or a function that takes the rows as a DataFrame and may return something to display.

    Attributes
    ----------
    rows : DataFrame or None
        The rows of the bin that was chosen last, with their index; None before.
    annotator : Annotator or None
        The annotator that asks for their labels, and has the votes; None before, and where ``label`` is a function.

    Raises
    ------
    Invalid
        If ``report`` is none, ``history`` no history, or ``current`` not as long as the report says.

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

    _esm = "".join(map(read_asset, ("drift_charts.js", "drift_history.js", "drift_view.js")))
    _css = "".join(map(read_asset, ("base.css", "table.css", "drift_view.css")))

    _facts = traitlets.Dict().tag(sync=True)
    _rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    _history = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        report: Report,
        *,
        history: pd.DataFrame | None = None,
        current: pd.DataFrame | None = None,
        label: Task | Iterable[str] | Labeler | None = None,
    ) -> None:
        missing = [
            name
            for name in ("table", "drifted", "histograms", "alpha", "correction", "notes")
            if not hasattr(report, name)
        ]
        if missing:
            raise Invalid(f"DriftView shows a DriftReport; {type(report).__name__} has no {' and no '.join(missing)}.")
        self._current = _checked(current, report.n_current)
        self._label = _labeler(label)
        self._histograms = {str(name): histogram for name, histogram in report.histograms.items()}
        self._kinds = {str(name): str(kind) for name, kind in report.table["kind"].items()}
        self.rows: pd.DataFrame | None = None
        self.annotator: Annotator | None = None
        rows = _rows_of(report)
        drifted = [str(name) for name in report.drifted]
        room = MAX_STATE_BYTES - _RESERVE_BYTES - len(f"{self._esm}{self._css}".encode())
        kept = _within_budget(rows, room if history is None else int(_TABLE * room))
        told = {} if history is None else read_history(history, room - sum(map(_size, kept)))
        super().__init__()
        self._facts = {
            "verdict": _verdict(drifted, len(rows)),
            "basis": _basis(report, sum(row["q_value"] is not None for row in rows)),
            "n_drifted": len(drifted),
            "total": len(rows),
            "ranks": list(RANKS),
            "can_label": label is not None,
        }
        self._rows = kept
        self._history = told
        #: Where the rows are labeled, below the view.
        self._below = ipywidgets.Output() if label is not None else None
        self.on_msg(self._on_message)

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        return str(self._facts["verdict"])

    def rows_in(self, feature: str, where: int | str) -> pd.DataFrame:
        """Return the current rows in a bin of a feature.

        Parameters
        ----------
        feature
            Its name.
        where
            The place of the bin, or its name as the view shows it: ``"missing"``, ``"(other)"``, a category.

        Raises
        ------
        Invalid
            There are no current rows, no such feature in them, or no such bin.
        """
        frame = self._current
        if frame is None:
            raise Invalid("The view doesn't have the current rows. Give them to it: DriftView(report, current=frame).")
        kind, histogram = self._kinds.get(feature, ""), self._histograms.get(feature)
        bins = bins_of(histogram, feature, kind)
        places = [place for place, name in enumerate(frame.columns) if str(name) == feature]
        if bins is None or histogram is None or not places:
            what = "The report has no bins" if places else "The current rows have no column"
            raise Invalid(f"{what} {feature[:100]!r}.")
        place = _place(bins, feature, where)
        inside = bin_of_each(frame.iloc[:, places[0]], histogram, kind)
        return frame[np.isin(inside, bins.parts[place])]

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        """Do what the view asks, and answer it, with a sentence where that can't be done."""
        answer: dict[str, Any] = {}
        try:
            match content.get("do"):
                case "rows":
                    answer = self._show_rows(str(content["feature"]), int(content["bin"]))
                case "label":
                    self._label_rows()
                case other:
                    raise Invalid(f"The view can't {other!r}.")
        except Exception as error:  # whatever a column or a function of the person raised is told
            answer = {"problem": _sentence(error)}
            if not isinstance(error, JupyterExtError):
                self.log.warning("A drift view could not do what it was asked", exc_info=True)
        self.send({"answer": content.get("id"), **answer})

    def _show_rows(self, feature: str, place: int) -> dict[str, Any]:
        # The names of features are cut where they are long.
        feature = next((name for name in self._kinds if name[:200] == feature), feature)
        self.rows = self.rows_in(feature, place)
        assert self._current is not None
        n, head = len(self.rows), self.rows.head(MAX_ROWS)
        # The feature in question comes first; a table of all columns is not read.
        order = sorted(range(head.shape[1]), key=lambda column: str(head.columns[column]) != feature)[:_MAX_COLUMNS]
        cells = [[_cell(value) for value in head.iloc[:, column].tolist()] for column in order]
        return {
            "n": n,
            "of": len(self._current),
            "columns": [str(head.columns[column])[:100] for column in order],
            "more_columns": head.shape[1] - len(order),
            "keys": [_cell(key) for key in head.index.tolist()],
            "lines": [list(line) for line in zip(*cells, strict=True)],
        }

    def _label_rows(self) -> None:
        if self.rows is None or self._below is None or self._label is None:
            raise Invalid("Choose a bin first, and give DriftView a label=.")
        self.annotator = None
        self._below.clear_output()
        with self._below:
            shown = self._label(self.rows)
            if isinstance(shown, Annotator):
                self.annotator = shown
            if shown is not None:
                display(shown)  # type: ignore[no-untyped-call]

    def _live_bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._below is None:
            return super()._live_bundle()
        # One widget, so that one rule hides both where the notebook is opened without a kernel.
        return ipywidgets.VBox([self, self._below])._repr_mimebundle_(), {}

    def __repr__(self) -> str:
        return f"<DriftView: {self.verdict}>"

    def static_html(self) -> str:
        """Return the verdict, the table and the history as self-contained HTML."""
        return drift_html(self._facts, self._rows, self._history, twin=self._twin, css=self._css)


def _checked(current: Any, n: int) -> pd.DataFrame | None:
    import pandas as pd

    if current is not None and not isinstance(current, pd.DataFrame):
        raise Invalid(f"current is a DataFrame of the current rows, not {type(current).__name__}.")
    if current is not None and len(current) != n:
        raise Invalid(f"current has {len(current):,} rows, and the report is about {n:,}: give the rows it compared.")
    return current


def _labeler(label: Task | Iterable[str] | Labeler | None) -> Labeler | None:
    """Return what asks for the labels of rows."""
    if label is None:
        return None
    if hasattr(label, "vote"):
        task: Any = label
        return lambda rows: Annotator(rows, task=task)
    if callable(label):
        return label
    if not isinstance(label, Iterable):
        raise Invalid(f"label is a labeling task, names of classes, or a function, not {type(label).__name__}.")
    classes = unique_classes(label)
    return lambda rows: Annotator(rows, classes=classes)


def _place(bins: Bins, feature: str, where: int | str) -> int:
    # The missing values come last, after a category that may be called so.
    places = [place for place, name in enumerate(bins.names) if where in (place, name)]
    if not places:
        raise Invalid(f"{feature[:100]!r} has no bin {where!r}; it has {', '.join(bins.names)[:500]}.")
    return places[-1]


def _cell(value: Any) -> str | None:
    text = as_text(value)
    return text if text is None or len(text) <= _MAX_CELL else f"{text[:_MAX_CELL]}…"


def _float(value: Any) -> float | None:
    """Return a number that JSON can carry, None for a missing or infinite one."""
    if is_missing(value) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _rows_of(report: Report) -> list[dict[str, Any]]:
    rows = []
    places = {str(name)[:200]: place for place, name in enumerate(report.drifted)}
    for record in report.table.reset_index(names="feature").to_dict("records"):
        feature, kind, method = str(record["feature"]), str(record["kind"]), str(record["method"])
        histogram = report.histograms.get(record["feature"])
        bins = bins_of(histogram, feature, kind)
        rows.append(
            {
                "feature": feature[:200],
                "kind": kind,
                "test": test_name(method),
                "statistic": _float(record["statistic"]),
                "threshold": _float(record["threshold"]),
                "q_value": _float(record["q_value"]),
                "drifted": bool(record["drifted"]),
                "note": report.notes.get(record["feature"]),
                "histogram": bins.shown() | _quantiles(histogram, kind) if bins and histogram else None,
            }
        )
    # What drifted in the order of the report, then the others by how near they are to their thresholds.
    return sorted(rows, key=lambda row: (places.get(row["feature"], len(places)), -_excess(row)))


def _excess(row: Mapping[str, Any]) -> float:
    statistic, threshold = row["statistic"], row["threshold"]
    return float(statistic / threshold) if statistic is not None and threshold else 0.0


def _quantiles(histogram: Mapping[str, Any], kind: str) -> dict[str, list[list[float]]]:
    """Return the quantiles of both sides, where the histogram has them at the ranks that views draw."""
    found = histogram.get("quantiles")
    if not found or len(found["ranks"]) != len(RANKS):
        return {}
    # Moments are seconds since 1970: six digits of those are weeks.
    digits = 12 if kind == "datetime" else 6
    return {"quantiles": [[float(f"{value:.{digits}g}") for value in found[side]] for side in ("reference", "current")]}


def _within_budget(rows: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """Return the first rows, the first of those with their histograms, that fit into ``room`` bytes."""
    kept: list[dict[str, Any]] = []
    used = 0
    for row in rows:
        if used + _size(row) > _PICTURED * room:
            row = {**row, "histogram": None}
        used += _size(row)
        if used > room:
            break
        kept.append(row)
    return kept


def _size(row: Mapping[str, Any]) -> int:
    return len(json.dumps(row, ensure_ascii=False).encode()) + 2


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
