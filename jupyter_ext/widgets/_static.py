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


def _page(twin: str, css: str, body: str) -> str:
    """Return one self-contained element with its style.

    Blank lines are taken out: Markdown renderers end a piece of HTML at the first one.
    """
    style = re.sub(r"/\*.*?\*/\s*", "", css, flags=re.DOTALL)
    hatch = f"--jx-hatch: url(#{twin}-hatch)"
    text = f'<div class="jx {twin}" style="{hatch}"><style>{style}{twin_style(twin)}</style>{body}</div>'
    return re.sub(r"\n\s*", "\n", text)


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
