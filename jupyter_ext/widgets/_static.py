"""The views as plain HTML: what a saved notebook shows where there is no kernel and no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jupyter_ext.widgets._view import twin_style

#: An image up to this size is kept in the saved notebook.
MAX_SAVED_IMAGE = 40_000

Histogram = Mapping[str, Any]


def _page(twin: str, css: str, body: str) -> str:
    """Return one self-contained element with its style.

    Blank lines are taken out: Markdown renderers end a piece of HTML at the first one.
    """
    style = re.sub(r"/\*.*?\*/\s*", "", css, flags=re.DOTALL)
    hatch = f"--jx-hatch: url(#{twin}-hatch)"
    text = f'<div class="jx {twin}" style="{hatch}"><style>{style}{twin_style(twin)}</style>{body}</div>'
    return re.sub(r"\n\s*", "\n", text)


def _number(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.3g}"


def _probability(value: float | None) -> str:
    # No p-value is 0: below a ten-thousandth its size says nothing more.
    return "&lt;0.0001" if value is not None and value < 1e-4 else _number(value)


def annotator_html(
    facts: Mapping[str, Any],
    state: Mapping[str, Any],
    *,
    twin: str,
    css: str,
    image: tuple[str, bytes] | None = None,
) -> str:
    """Return an annotator's progress, counts and item at hand as HTML.

    Parameters
    ----------
    facts, state
        What the live view gets, see `jupyter_ext.widgets.annotator.Annotator`.
    twin
        The class by which the live view finds this piece, to hide it.
    css
        The style of the live view.
    image
        Media type and bytes of the item's image.
    """
    shown = state["items"][0] if state["place"] is not None else None
    progress = f"{state['labelled']:,} of {facts['total']:,} labelled"
    where = f"item {shown['place'] + 1:,} · {escape(shown['key'])}" if shown else ""
    body = [
        f'<div class="jx-head"><h3>{escape(facts["title"])}</h3>',
        f'<span class="jx-save">{_not_saved(state["n_unsaved"])}</span></div>',
        f'<div class="jx-bar"><span style="width: {100 * state["labelled"] / facts["total"]:.1f}%"></span></div>',
        f'<div class="jx-where"><b>{progress}</b><span class="jx-number">{where}</span></div>',
        '<div class="jx-item">',
    ]
    if shown is None:
        body.append(f'<div class="jx-done"><h3>All {facts["total"]:,} items labelled</h3></div>')
    else:
        if facts["kind"] == "text":
            more = f'<span class="jx-quiet"> … {shown["more"]:,} more characters</span>' if "more" in shown else ""
            body.append(f'<div class="jx-text">{escape(shown["text"]) or _MISSING}{more}</div>')
        if facts["kind"] == "image":
            body.append(f'<div class="jx-image jx-quiet">{_picture(image, shown["key"])}</div>')
        body.append(_fields(shown["fields"]))
    body.append('</div><div class="jx-choices">')
    for name, count in zip(facts["classes"], state["counts"], strict=True):
        counted = f'<span class="jx-count">&times;{count:,}</span>' if count else ""
        body.append(f'<span class="jx-choice"><span>{escape(name)}</span>{counted}</span>')
    body.append('</div><p class="jx-foot jx-quiet">A saved view. Run the cell to label.</p>')
    return _page(twin, css, "".join(body))


_MISSING = '<span class="jx-missing">missing</span>'


def _not_saved(n: int) -> str:
    return f"{n:,} vote{'s' if n > 1 else ''} not saved" if n else ""


def _fields(fields: Sequence[Sequence[str | None]]) -> str:
    if not fields:
        return ""
    wide = " jx-wide" if any(value is not None and len(value) > 40 for _, value in fields) else ""
    rows = (
        f"<div><dt>{escape(str(name))}</dt><dd>{_MISSING if value is None else escape(value)}</dd></div>"
        for name, value in fields
    )
    return f'<dl class="jx-fields{wide}">{"".join(rows)}</dl>'


def _picture(image: tuple[str, bytes] | None, key: str) -> str:
    if image is None:
        return "No image to show."
    media, data = image
    if len(data) > MAX_SAVED_IMAGE:
        return f"{media}, {len(data) / 1000:,.0f} kB: not kept in the saved notebook."
    return f'<img src="data:{media};base64,{base64.b64encode(data).decode()}" alt="Item {escape(key)}">'


def histogram_svg(histogram: Histogram, feature: str, *, width: int = 132, height: int = 34) -> str:
    """Return the twin histogram of one feature: the reference above the middle line, the current rows hatched below.

    Parameters
    ----------
    histogram
        ``{"reference": shares, "current": shares}``, one share a bin.
    feature
        What is drawn, for screen readers.

    Examples
    --------
    >>> svg = histogram_svg({"reference": [0.5, 0.5], "current": [0.1, 0.9]}, "age")
    >>> svg.count("<path"), "age: shares" in svg
    (3, True)
    """
    reference, current = list(histogram["reference"]), list(histogram["current"])
    n = max(len(reference), 1)
    top = max([*reference, *current, 1e-12])
    middle, step = height / 2, width / n

    def bars(shares: Sequence[float], direction: int) -> str:
        bar = f"{step - min(1.0, step / 5):.1f}"
        scale = direction * (middle - 2) / top
        return "".join(
            f"M{place * step:.1f} {middle + direction:g}h{bar}v{scale * share:.1f}h-{bar}z"
            for place, share in enumerate(shares)
            if share > 0
        )

    return (
        f'<svg class="jx-twin" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>{escape(feature)}: shares in the reference above the line, in the current rows below it</title>"
        f'<path class="jx-ref" d="{bars(reference, -1)}"/>'
        f'<path class="jx-cur" d="{bars(current, 1)}"/>'
        f'<path class="jx-axis" d="M0 {middle:g}h{width}"/></svg>'
    )


def drift_html(
    facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, twin: str, css: str, limit: int = 60
) -> str:
    """Return a drift report as HTML: the verdict, and a table with a twin histogram a row.

    Parameters
    ----------
    facts, rows
        What the live view gets, see `jupyter_ext.widgets.drift_view.DriftView`.
    twin
        The class by which the live view finds this piece, to hide it.
    css
        The style of the live view.
    limit
        Rows to keep in the saved notebook, those that drifted most.
    """
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Feature", "Shares", "Test", "Statistic", "q-value", "Verdict")
    )
    lines = []
    for row in rows[:limit]:
        histogram = row.get("histogram")
        picture = histogram_svg(histogram, row["feature"]) if histogram else ""
        verdict = (
            '<span class="jx-drifted"><span class="jx-mark">▲</span> drifted</span>'
            if row["drifted"]
            else f'<span class="jx-quiet">{"not tested" if row["statistic"] is None else "steady"}</span>'
        )
        lines.append(
            f'<tr><th scope="row">{escape(row["feature"])}<span class="jx-kind">{escape(row["kind"])}</span></th>'
            f"<td>{picture}</td><td>{escape(row['test'])}</td>"
            f'<td class="jx-number">{_number(row["statistic"])}'
            f"{_threshold(row)}</td>"
            f'<td class="jx-number">{_probability(row["q_value"])}</td><td>{verdict}</td></tr>'
        )
    left = facts["total"] - len(lines)
    more = f'<p class="jx-quiet jx-more">{left:,} more features are in report.table.</p>' if left else ""
    body = (
        f'<h3>{escape(facts["verdict"])}</h3><p class="jx-quiet">{escape(facts["basis"])}</p>{_legend(f"{twin}-hatch")}'
        f'<table class="jx-table"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>{more}'
    )
    return _page(twin, css, body)


def _threshold(row: Mapping[str, Any]) -> str:
    if row["threshold"] is None:
        return ""
    return f'<span class="jx-kind">threshold {_number(row["threshold"])}</span>'


def _legend(hatch: str) -> str:
    """Return the legend, with the pattern that marks the current rows."""

    def swatch(kind: str) -> str:
        return f'<svg width="12" height="12" aria-hidden="true"><path class="{kind}" d="M0 0h12v12h-12z"/></svg>'

    return (
        f'<p class="jx-legend">{swatch("jx-ref")}reference {swatch("jx-cur")}current'
        '<svg width="0" height="0" aria-hidden="true" style="position: absolute">'
        f'<pattern id="{hatch}" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="jx-hatch-ground" width="4" height="4"/><rect class="jx-hatch-line" width="1.6" height="4"/>'
        "</pattern></svg></p>"
    )
