"""The table of labeling functions as plain HTML, for a saved notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from typing import Any

from jupyter_ext.widgets._static import _page

#: Bytes of lines that a saved notebook keeps, of the functions and of the conflicting rows.
MAX_LINES_BYTES = 48_000
MAX_DETAIL_BYTES = 30_000


def percent(share: float) -> str:
    """Return a share as a person reads it; what is there never reads as nothing.

    Examples
    --------
    >>> percent(0.2125), percent(0.0002), percent(0), percent(1)
    ('21.3 %', '<0.1 %', '0 %', '100 %')
    """
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    # As the live view rounds: halves up, where Python's format would go to the even digit.
    rounded = Decimal(100 * share).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{rounded} %" if rounded else "<0.1 %"


def share_bar(share: float, widest: float) -> str:
    """Return a bar with its number: ``share`` drawn to the scale of ``widest``.

    Examples
    --------
    >>> 'style="width: 50.0%"' in share_bar(0.2, 0.4)
    True
    """
    width = 100 * share / widest if widest else 0
    return (
        f'<span class="jx-share" aria-hidden="true"><span style="width: {width:.1f}%"></span></span>'
        f'<span class="jx-number">{percent(share)}</span>'
    )


def whisker_svg(accuracy: float, low: float, high: float, *, width: int = 120, height: int = 16) -> str:
    """Return an accuracy as a dot on the line from 0 to 1, with its interval.

    Examples
    --------
    >>> whisker_svg(0.8, 0.49, 0.94).count("<path")
    2
    """
    at = [4 + share * (width - 8) for share in (accuracy, low, high)]
    middle = height / 2
    return (
        f'<svg class="jx-whisker" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>accuracy {percent(accuracy)}, between {percent(low)} and {percent(high)}</title>"
        f'<path class="jx-axis" d="M4 {middle:g}H{width - 4}M4 {middle - 2:g}v4M{width / 2:g} {middle - 2:g}v4'
        f'M{width - 4} {middle - 2:g}v4"/>'
        f'<path class="jx-interval" d="M{at[1]:.1f} {middle:g}H{at[2]:.1f}M{at[1]:.1f} {middle - 4:g}v8'
        f'M{at[2]:.1f} {middle - 4:g}v8"/>'
        f'<circle class="jx-dot" cx="{at[0]:.1f}" cy="{middle:g}" r="3.5"/></svg>'
    )


def lf_table_html(
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    detail: Mapping[str, Any],
    *,
    twin: str,
    css: str,
) -> str:
    """Return the table of labeling functions as HTML, and below it the one that was open.

    Parameters
    ----------
    facts, rows, detail
        What the live view gets, see `jupyter_ext.widgets.lf_table.LFTable`.
    twin
        The class by which the live view finds this piece, to hide it.
    css
        The style of the live view.
    """
    names = ["Function", "Votes for", "Coverage", "Overlaps", "Conflicts", *(["Accuracy"] if facts["has_gold"] else [])]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    lines = _first([_line(row, facts) for row in rows], MAX_LINES_BYTES)
    left = facts["total"] - len(lines)
    more = f'<p class="jx-quiet jx-more">{left:,} more functions are in .table.</p>' if left else ""
    body = (
        f'<h3>{escape(facts["headline"])}</h3><p class="jx-quiet">{escape(facts["basis"])}</p>'
        f'<table class="jx-table"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>{more}'
        f"{_detail(detail, facts) if detail else ''}"
    )
    return _page(twin, css, body)


def _first(lines: Sequence[str], n_bytes: int) -> list[str]:
    kept = []
    for line in lines:
        n_bytes -= len(line.encode())
        if n_bytes < 0:
            break
        kept.append(line)
    return kept


def _line(row: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    shares = "".join(
        f'<td class="jx-shares">{share_bar(row[name], facts["widest"])}</td>'
        for name in ("coverage", "overlaps", "conflicts")
    )
    accuracy = f"<td>{_accuracy(row)}</td>" if facts["has_gold"] else ""
    mark = "" if facts["has_gold"] else _flag(row["note"])
    return (
        f'<tr><th scope="row"><b>{escape(row["name"])}</b>{mark}</th><td>{escape(row["votes_for"]) or "&ndash;"}</td>'
        f"{shares}{accuracy}</tr>"
    )


def _flag(note: str) -> str:
    """Return the mark of a function that a reader should be warned of."""
    if not note:
        return ""
    return f'<span class="jx-flag" role="img" title="{escape(note)}" aria-label="Note: {escape(note)}">!</span>'


def _accuracy(row: Mapping[str, Any]) -> str:
    if row["accuracy"] is None:
        return f'<span class="jx-quiet">no known answers</span>{_flag(row["note"])}'
    return (
        f'<div class="jx-accuracy">{whisker_svg(row["accuracy"], row["low"], row["high"])}<span>'
        f'<span class="jx-number">{percent(row["accuracy"])}</span>{_flag(row["note"])}'
        f'<span class="jx-kind">{row["correct"]:,} of {row["known"]:,}</span></span></div>'
    )


def _detail(detail: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    note = f'<p class="jx-note">{escape(detail["note"])}</p>' if detail["note"] else ""
    counts = "".join(
        f'<tr><th scope="row">{escape(line["name"])}</th><td class="jx-number">{line["votes"]:,}</td>'
        f'<td class="jx-shares">{share_bar(line["share"], 1)}</td>{_right(line, facts)}</tr>'
        for line in detail["counts"]
    )
    names = ["Class", "Votes", "Share", *(["Right"] if facts["has_gold"] else [])]
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    table = f'<table class="jx-counts"><thead><tr>{heads}</tr></thead><tbody>{counts}</tbody></table>' if counts else ""
    return f'<div class="jx-detail"><h4>{escape(detail["voter"])}</h4>{note}{table}{_conflicts(detail, facts)}</div>'


def _right(line: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if not facts["has_gold"]:
        return ""
    return f'<td class="jx-number">{line["correct"]:,} of {line["known"]:,}</td>' if line.get("known") else "<td></td>"


def _conflicts(detail: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if not detail["n_conflicts"]:
        return '<p class="jx-quiet jx-more">No other function contradicts it.</p>'
    gold = facts["has_gold"]
    lines = _first([_conflict(row, gold=gold) for row in detail["rows"]], MAX_DETAIL_BYTES)
    from_ = detail["page"] * facts["page_size"]
    told = f"{from_ + 1:,} to {from_ + len(lines):,} of {detail['n_conflicts']:,} rows on which others contradict it"
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("Row", "Its vote", "Others say", *(["Known"] if gold else []))
    )
    return (
        f'<p class="jx-quiet jx-more">{told}</p><table class="jx-conflicts"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _conflict(row: Mapping[str, Any], *, gold: bool) -> str:
    key = f" · {escape(row['key'])}" if row.get("key") else ""
    fields = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{_value(value)}</dd></div>" for name, value in row["fields"]
    )
    if len(row["fields"]) == 1:
        content = f'<div class="jx-text">{_value(row["fields"][0][1])}</div>'
    else:
        content = f'<dl class="jx-fields">{fields}</dl>' if fields else ""
    others = "".join(
        f'<div><b>{escape(name)}</b> <span class="jx-quiet">{escape(who)}</span></div>' for name, who in row["others"]
    )
    answer, verdict = "", ""
    if gold:
        unknown = '<span class="jx-quiet">unknown</span>'
        answer = f"<td>{unknown if row['gold'] is None else escape(row['gold'])}</td>"
        verdict = {None: "", True: '<span class="jx-kind">right</span>', False: '<span class="jx-kind">wrong</span>'}[
            row["right"]
        ]
    return (
        f'<tr><td><span class="jx-kind">row {row["row"]:,}{key}</span>{content}</td>'
        f"<td><b>{escape(row['vote'])}</b>{verdict}</td><td>{others}</td>{answer}</tr>"
    )


def _value(value: str | None) -> str:
    return '<span class="jx-missing">missing</span>' if value is None else escape(value)
