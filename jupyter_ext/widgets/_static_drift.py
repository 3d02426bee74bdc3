"""A drift report as plain HTML, for a saved notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jupyter_ext.widgets._history import excess, threshold_at
from jupyter_ext.widgets._static import _page
from jupyter_ext.widgets._view import MAX_STATE_BYTES

#: Bytes of a page, and rows of its table.
MAX_PAGE_BYTES = MAX_STATE_BYTES - 3_000
MAX_ROWS = 60
#: Cells of the heat map that a saved notebook keeps.
MAX_CELLS = 1_000
#: Bytes of the tables of shares: as many at most, as many left to them by the rows, and those of their frame.
MAX_SHARES_BYTES, _LEFT_TO_SHARES, _SHARES_FRAME = 30_000, 15_000, 200
#: Where the levels of the heat map begin, as shares of the threshold.
LEVELS = (0.5, 0.8, 1.0, 2.0)

Histogram = Mapping[str, Any]


def _number(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.3g}"


def _probability(value: float | None) -> str:
    # No p-value is 0: below a ten-thousandth its size says nothing more.
    return "&lt;0.0001" if value is not None and value < 1e-4 else _number(value)


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
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    history: Mapping[str, Any],
    *,
    twin: str,
    css: str,
    limit: int = MAX_PAGE_BYTES,
) -> str:
    """Return a drift report as HTML: the verdict, a table with a twin histogram a row, and the history, if any.

    Each picture has its numbers in a table below, those of the histograms as far as there is room.

    Parameters
    ----------
    facts, rows, history
        What the live view gets, see `jupyter_ext.widgets.drift_view.DriftView`.
    twin
        The class by which the live view finds this piece, to hide it.
    css
        The style of the live view.
    limit
        Bytes to keep in the saved notebook: of the rows those that drifted most, 60 at most.
    """
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Feature", "Shares", "Test", "Statistic", "q-value", "Verdict")
    )
    over_time = _history(history)
    room = limit - len(f"{css}{over_time}".encode())
    lines: list[str] = []
    for row in rows[:MAX_ROWS]:
        histogram = row.get("histogram")
        picture = histogram_svg(histogram, row["feature"]) if histogram else ""
        verdict = (
            '<span class="jx-drifted"><span class="jx-mark">▲</span> drifted</span>'
            if row["drifted"]
            else f'<span class="jx-quiet">{"not tested" if row["statistic"] is None else "steady"}</span>'
        )
        line = (
            f'<tr><th scope="row">{escape(row["feature"])}<span class="jx-kind">{escape(row["kind"])}</span></th>'
            f"<td>{picture}</td><td>{escape(row['test'])}</td>"
            f'<td class="jx-number">{_number(row["statistic"])}'
            f"{_threshold(row)}</td>"
            f'<td class="jx-number">{_probability(row["q_value"])}</td><td>{verdict}</td></tr>'
        )
        room -= len(line.encode())
        if room < _LEFT_TO_SHARES:
            break
        lines.append(line)
    left = facts["total"] - len(lines)
    more = f'<p class="jx-quiet jx-more">{left:,} more features are in report.table.</p>' if left else ""
    shares = _shares(rows[: len(lines)], room)
    body = (
        f'<h3>{escape(facts["verdict"])}</h3><p class="jx-quiet">{escape(facts["basis"])}</p>{_legend(f"{twin}-hatch")}'
        f'<table class="jx-table"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>{more}'
        f"{shares}{over_time}"
    )
    return _page(twin, css, body)


def _shares(rows: Sequence[Mapping[str, Any]], room: int) -> str:
    """Return what the twin histograms show in tables, of as many rows as there is room for."""
    pictured = [row for row in rows if row.get("histogram")]
    room = min(room, MAX_SHARES_BYTES) - _SHARES_FRAME
    tables: list[str] = []
    for row in pictured:
        histogram = row["histogram"]
        sides = zip(histogram["bins"], histogram["reference"], histogram["current"], strict=True)
        numbers = [[escape(name), *(f"{100 * share:.1f} %" for share in shares)] for name, *shares in sides]
        table = _rows_table(["Bin", "Reference", "Current"], numbers)
        table = f"<details><summary>{escape(row['feature'])}</summary>{table}</details>"
        room -= len(table.encode())
        if room < 0:
            break
        tables.append(table)
    if not tables:
        return ""
    left = len(pictured) - len(tables)
    more = f'<p class="jx-quiet jx-more">Those of {left:,} more are in report.histograms.</p>' if left else ""
    return f"<section><h4>Shares in numbers</h4>{''.join(tables)}{more}</section>"


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


def _history(history: Mapping[str, Any]) -> str:
    """Return the heat map of chunks and features, and the timeline of the worst feature, each with a table."""
    lines = history.get("lines")
    if not lines:
        return ""
    chunks = history["chunks"]
    kept = lines[: max(1, MAX_CELLS // len(chunks))]
    left = history["total"] - len(kept)
    more = f'<p class="jx-quiet jx-more">{left:,} more features have fewer alarms.</p>' if left else ""
    worst = kept[0]
    method = f'<span class="jx-quiet"> {escape(worst["method"])}</span>'
    return (
        f"<section><h4>Over time: {history_sentence(history)}</h4>{heat_svg(chunks, kept)}{_heat_key()}"
        f"<details><summary>Numbers</summary>{_heat_table(chunks, kept)}</details>{more}"
        f"<h4>{escape(worst['feature'])}{method}</h4>{timeline_svg(chunks, worst)}"
        f"<details><summary>Numbers</summary>{_timeline_table(chunks, worst)}</details></section>"
    )


def history_sentence(history: Mapping[str, Any]) -> str:
    """Return how many alarms there were.

    Examples
    --------
    >>> history_sentence({"n_alarms": 8, "n_alarmed": 5, "chunks": range(10), "total": 30})
    '8 alarms in 5 of 10 chunks, 30 features.'
    """
    n, total, chunks = history["n_alarms"], history["total"], len(history["chunks"])
    return (
        f"{n:,} alarm{'s' * (n != 1)} in {history['n_alarmed']:,} of {chunks:,} chunk{'s' * (chunks != 1)}, "
        f"{total:,} feature{'s' * (total != 1)}."
    )


def level(share: float | None) -> int:
    """Return the level of a value that is this far on its way to its threshold: 0 below half of it, 4 from its double.

    Examples
    --------
    >>> [level(share) for share in (None, 0.4, 0.5, 0.9, 1, 7)]
    [0, 0, 1, 2, 3, 4]
    """
    return 0 if share is None else sum(share >= least for least in LEVELS)


def heat_svg(chunks: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the heat map: a line a feature, a column a chunk, the darker the nearer the threshold, alarms marked.

    Examples
    --------
    >>> line = {"feature": "age", "values": [0.1, 0.3], "thresholds": 0.2, "alarms": [1]}
    >>> svg = heat_svg(["0", "1"], [line])
    >>> svg.count('class="jx-level'), svg.count('class="jx-alarm')
    (2, 1)
    """
    width, row, foot = 880, 18, 20
    left = 16 + 6.2 * min(28, max(len(line["feature"]) for line in lines))
    step = min((width - left) / len(chunks), 84)
    places: list[list[str]] = [[] for _ in range(len(LEVELS) + 1)]
    marks: list[list[str]] = [[] for _ in places]
    names = []
    for number, line in enumerate(lines):
        top = number * row
        names.append(
            f'<text x="{left - 8:.1f}" y="{top + 13}" text-anchor="end">{escape(_shorten(line["feature"], 28))}</text>'
        )
        for place, value in enumerate(line["values"]):
            if value is None:
                continue
            x = left + place * step
            found = level(excess(line, place))
            places[found].append(f"M{x:.1f} {top}h{step - 1:.1f}v{row - 1}h-{step - 1:.1f}z")
            if place in line["alarms"]:
                marks[found].append(_triangle(x + (step - 1) / 2, top + 8.5, min(4, step / 3)))
    height = len(lines) * row + foot
    every = -(-64 // max(1, int(step)))
    under = "".join(
        f'<text x="{left + place * step:.1f}" y="{height - 6}">{escape(_shorten(name, 16))}</text>'
        for place, name in enumerate(chunks)
        if place % every == 0
    )
    cells = "".join(
        f'<path class="jx-{kind} jx-{kind}-{number}" d="{"".join(found)}"/>'
        for kind, drawn in (("level", places), ("alarm-mark", marks))
        for number, found in enumerate(drawn)
        if found
    )
    return (
        f'<svg class="jx-heat-map" role="img" viewBox="0 0 {width} {height}">'
        "<title>How far each feature was on its way to its threshold in each chunk; triangles are alarms. "
        f"The numbers follow in a table.</title>{cells}"
        f"{''.join(names)}{under}</svg>"
    )


def timeline_svg(chunks: Sequence[str], line: Mapping[str, Any]) -> str:
    """Return the values of one feature by chunk, with its thresholds as steps and its alarms as triangles.

    Examples
    --------
    >>> line = {"feature": "age", "method": "ks", "values": [0.1, 0.3], "thresholds": 0.2, "alarms": [1]}
    >>> svg = timeline_svg(["0", "1"], line)
    >>> svg.count("jx-limit"), "1 alarm." in svg
    (1, True)
    """
    width, height, left, bottom = 880, 200, 52, 28
    base = height - bottom
    limits = [threshold_at(line, place) for place in range(len(chunks))]
    top = 1.1 * max([value for value in [*line["values"], *limits] if value is not None], default=1.0) or 1.0
    step = (width - left) / len(chunks)
    size = min(4.5, max(2.0, step / 3))

    def y(value: float) -> float:
        return min(max(base - value / top * (base - 8), 2), base)

    steps, path, calm, alarmed = [], [], [], []
    for place, (value, limit) in enumerate(zip(line["values"], limits, strict=True)):
        x = left + (place + 0.5) * step
        if limit is not None:
            before = limits[place - 1] if place else None
            steps.append(f"{'M' if before is None else 'L'}{x - step / 2:.1f} {y(limit):.1f}h{step:.1f}")
        if value is not None:
            before = line["values"][place - 1] if place else None
            path.append(f"{'M' if before is None else 'L'}{x:.1f} {y(value):.1f}")
            if place in line["alarms"]:
                alarmed.append(_triangle(x, y(value), size + 1))
            else:
                calm.append(_dot(x, y(value), size - 1))
    every = -(-90 // max(1, int(step)))
    under = "".join(
        f'<text x="{left + (place + 0.5) * step:.1f}" y="{base + 18}" text-anchor="middle">'
        f"{escape(_shorten(name, 16))}</text>"
        for place, name in enumerate(chunks)
        if place % every == 0 and (len(chunks) - place - 0.5) * step > 3 * len(_shorten(name, 16))
    )
    grid = "".join(
        f'<path class="jx-grid" d="M{left} {y(tick):.1f}H{width}"/>'
        f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>'
        for tick in ticks(top)
    )
    n = len(line["alarms"])
    return (
        f'<svg class="jx-timeline" role="img" viewBox="0 0 {width} {height}"><title>{escape(line["feature"])}: '
        f"{escape(line['method'])} by chunk with its threshold, {n} alarm{'s' * (n != 1)}. "
        f"The numbers follow in a table.</title>{grid}"
        f'<path class="jx-limit" d="{"".join(steps)}"/><path class="jx-line" d="{"".join(path)}"/>'
        f'<path class="jx-dot" d="{"".join(calm)}"/><path class="jx-alarm-dot" d="{"".join(alarmed)}"/>'
        f'<path class="jx-axis" d="M{left} {base}H{width}"/>{under}</svg>'
    )


def ticks(top: float) -> list[float]:
    """Return round steps from 0 to ``top``, five of them at most: 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> ticks(93), ticks(0.5)
    ([0.0, 50.0], [0.0, 0.2, 0.4])
    """
    rough = top / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    return [place * step for place in range(int(top / step + 1e-9) + 1)]


def _triangle(x: float, y: float, size: float) -> str:
    return f"M{x:.1f} {y - size:.1f}l{size:.1f} {1.8 * size:.1f}h-{2 * size:.1f}z"


def _dot(x: float, y: float, radius: float) -> str:
    half = f"a{radius:.1f} {radius:.1f} 0 1 0"
    return f"M{x - radius:.1f} {y:.1f}{half} {2 * radius:.1f} 0{half} {-2 * radius:.1f} 0z"


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _rows_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of escaped cells, the first of each row its heading."""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return f'<div class="jx-scroll"><table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>'


def _marked(value: float | None, alarm: bool) -> str:
    return f"{_number(value)}{' ▲' * alarm}"


def _heat_table(chunks: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(line["feature"]),
            *(_marked(value, place in line["alarms"]) for place, value in enumerate(line["values"])),
        ]
        for line in lines
    ]
    return _rows_table(["Feature", *map(escape, chunks)], rows)


def _timeline_table(chunks: Sequence[str], line: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(chunk),
            _number(value),
            _number(threshold_at(line, place)),
            "▲ alarm" if place in line["alarms"] else "",
        ]
        for place, (chunk, value) in enumerate(zip(chunks, line["values"], strict=True))
    ]
    return _rows_table(["Chunk", "Value", "Threshold", "Alarm"], rows)


def _heat_key() -> str:
    """Return the legend of the heat map."""

    def swatch(number: int) -> str:
        return (
            '<svg width="12" height="12" aria-hidden="true">'
            f'<path class="jx-level jx-level-{number}" d="M0 0h12v12h-12z"/></svg>'
        )

    names = ("below half of the threshold", *(f"from {least:g}" for least in LEVELS))
    keys = "".join(f"<span>{swatch(number)}{name}</span>" for number, name in enumerate(names))
    return f'<p class="jx-legend jx-key">{keys}<span>▲ alarm</span></p>'
