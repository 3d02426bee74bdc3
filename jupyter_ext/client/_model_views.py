"""How models, versions, moves and lineage look in a notebook: plain HTML that a saved notebook shows too."""

from __future__ import annotations

from html import escape
from typing import Any

from jupyter_ext.client._rows import CHIP, Column, when
from jupyter_ext.registry.values import AliasMove, Lineage, LineageNode, ModelVersion

_LINE = "1px solid var(--jp-border-color2, #bdbdbd)"
_FAINT = "color:var(--jp-ui-font-color2, #616161)"
#: What people call the things in a lineage.
KINDS = {"dataset": "data set", "label_set": "label set", "job": "job", "model_version": "model"}
_SHOWN_COLUMNS = 8


def _numbers(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _version(number: int | None) -> str:
    return "–" if number is None else f"v{number}"


MODEL_COLUMNS = (
    Column("name", lambda model: model.name),
    Column("latest_version", lambda model: model.latest_version, _version),
    Column(
        "aliases",
        lambda model: model.aliases,
        lambda aliases: ", ".join(f"@{alias} → v{number}" for alias, number in aliases.items()),
        chips=True,
    ),
    Column("updated_at", lambda model: model.updated_at, when),
    Column("description", lambda model: model.description),
)
VERSION_COLUMNS = (
    Column("version", lambda version: version.version, _version),
    Column(
        "aliases",
        lambda version: version.aliases,
        lambda aliases: ", ".join(f"@{alias}" for alias in aliases),
        chips=True,
    ),
    Column("flavor", lambda version: version.flavor),
    Column("metrics", lambda version: version.metrics, _numbers),
    Column("owner", lambda version: version.owner),
    Column("created_at", lambda version: version.created_at, when),
    Column("description", lambda version: version.description),
)
MOVE_COLUMNS = (
    Column("at", lambda move: move.at, when),
    Column("from_version", lambda move: move.from_version, _version),
    Column("to_version", lambda move: move.to_version, _version),
    Column("actor", lambda move: move.actor),
    Column("reason", lambda move: move.reason),
)


def version_card(version: ModelVersion, lineage: Lineage) -> str:
    """Return a version as a card: name, aliases, facts, origins in a sentence, signature."""
    chips = "".join(f'<span style="{CHIP}">@{escape(alias)}</span>' for alias in version.aliases)
    saved = f" as {version.serialization_format}" if version.serialization_format else ""
    facts = [
        f"{version.flavor}{saved}" if version.flavor else "",
        _numbers(version.metrics),
        f"registered {when(version.created_at)}" + (f" by {version.owner}" if version.owner else ""),
    ]
    lines = [
        f'<div style="font-size:1.15em"><b>{escape(version.name)}</b> version {version.version} &nbsp;{chips}</div>',
        f"<div>{escape(version.description)}</div>" if version.description else "",
        f'<div style="{_FAINT}">{escape(" · ".join(fact for fact in facts if fact))}</div>',
        f'<div style="{_FAINT}">{escape(origins_sentence(lineage))}</div>',
        _signature(version),
    ]
    return f'<div style="border:{_LINE};border-radius:6px;padding:8px 12px;max-width:60em">{"".join(lines)}</div>'


def origins_sentence(lineage: Lineage) -> str:
    """Say where a version comes from."""
    depth = _depths(lineage)
    origins = sorted((node for node in lineage.nodes if node.kind != "model_version"), key=lambda node: depth[node.id])
    if not origins:
        return "Nothing is known of where it comes from."
    return f"Made from {' → '.join(f'{KINDS[node.kind]} {node.label}' for node in origins)}."


def _signature(version: ModelVersion) -> str:
    if not version.inputs and not version.outputs:
        return f'<div style="{_FAINT}">No signature: register with example=… to have one.</div>'
    rows = "".join(
        f'<tr><td style="text-align:left">{side}</td><td style="text-align:left">{escape(column.name or "")}</td>'
        f'<td style="text-align:left"><code>{escape(column.type)}</code></td></tr>'
        for side, columns in (("input", version.inputs), ("output", version.outputs))
        for column in columns[:_SHOWN_COLUMNS]
    )
    hidden = max(0, len(version.inputs) - _SHOWN_COLUMNS) + max(0, len(version.outputs) - _SHOWN_COLUMNS)
    more = f'<div style="{_FAINT}">and {hidden} more columns</div>' if hidden else ""
    summary = f"Signature: {len(version.inputs)} inputs, {len(version.outputs)} outputs"
    return f"<details><summary>{summary}</summary><table><tbody>{rows}</tbody></table>{more}</details>"


def lineage_graph(lineage: Lineage) -> str:
    """Return the graph as boxes in columns, each column one step further from the origins."""
    depth = _depths(lineage)
    columns: list[list[LineageNode]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in lineage.nodes:
        columns[depth[node.id]].append(node)
    drawn = (
        f'<div style="display:flex;flex-direction:column;gap:8px">{"".join(map(_box, column))}</div>'
        for column in columns
    )
    arrow = f'<div style="align-self:center;font-size:1.4em;{_FAINT}" aria-label="went into">→</div>'
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px;align-items:stretch">{arrow.join(drawn)}</div>'


def _depths(lineage: Lineage) -> dict[str, int]:
    depth = {node.id: 0 for node in lineage.nodes}
    for _ in lineage.nodes:
        for edge in lineage.edges:
            if edge.source in depth and edge.target in depth:
                depth[edge.target] = max(depth[edge.target], depth[edge.source] + 1)
    return depth


def _box(node: LineageNode) -> str:
    facts = "".join(f"<div>{escape(line)}</div>" for line in _fact_lines(node.facts))
    return (
        f'<div style="border:{_LINE};border-radius:6px;padding:6px 10px;min-width:9em">'
        f'<div style="{_FAINT};font-size:0.85em">{KINDS[node.kind]}</div><b>{escape(node.label)}</b>'
        f'<div style="{_FAINT};font-size:0.85em">{facts}<div>{when(node.at)}</div></div></div>'
    )


def _fact_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{key}: {_short(number)}" for key, number in value.items()]
        elif isinstance(value, list):
            lines += [f"@{item}" for item in value]
        elif value is not None:
            lines.append(f"{name}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def move_sentence(move: AliasMove) -> str:
    """Say a move in words.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> move_sentence(AliasMove(id=1, model="m", alias="champion", from_version=1, to_version=2, actor="ada",
    ...                         at=datetime(2026, 1, 1, tzinfo=UTC)))
    '@champion of m now points to version 2 (before: version 1).'
    """
    if move.to_version is None:
        return f"@{move.alias} of {move.model} was removed (before: version {move.from_version})."
    before = "new" if move.from_version is None else f"before: version {move.from_version}"
    return f"@{move.alias} of {move.model} now points to version {move.to_version} ({before})."
