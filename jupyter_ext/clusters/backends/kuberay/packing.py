"""How many nodes of which kinds hold some bundles of resources: first fit, the largest bundles first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jupyter_ext.clusters.values import WorkerKind

#: Sums of fractions such as 0.1 may pass what they add up to by a rounding error.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Packing:
    """How many nodes of each kind, and the bundles that found no room."""

    nodes: dict[str, int]
    left: list[dict[str, float]]


@dataclass
class _Open:
    kind: WorkerKind
    free: dict[str, float]


def pack(bundles: Iterable[dict[str, float]], kinds: Sequence[WorkerKind]) -> Packing:
    """Return how many nodes hold all bundles at once; nothing is counted on that the head could hold.

    A bundle goes into the first open node with room, or else opens one of the first kind that can hold it and has not
    reached its ``max_nodes``. What needs no GPU takes no room on nodes with one, unless no other kind could ever hold
    it: it would keep a dear node from going.

    First-fit decreasing takes at most 11/9 of the fewest possible bins, and one more (Dósa, "The tight bound of first
    fit decreasing bin-packing algorithm", 2007; for one kind and one resource): close enough for a floor.

    Examples
    --------
    >>> kinds = [WorkerKind(name="cpu", resources={"CPU": 4}, max_nodes=2),
    ...          WorkerKind(name="gpu", resources={"CPU": 8, "GPU": 1})]
    >>> pack([{"CPU": 3}, {"CPU": 1}, {"CPU": 2}, {"GPU": 1, "CPU": 1}, {"GPU": 1}], kinds)
    Packing(nodes={'cpu': 2, 'gpu': 1}, left=[{'GPU': 1}])
    """
    opened: list[_Open] = []
    counts = {kind.name: 0 for kind in kinds}
    left = []
    for bundle in sorted(bundles, key=_size, reverse=True):
        asked = {name: amount for name, amount in bundle.items() if amount > 0}
        if not asked:
            continue
        able = [kind for kind in kinds if _fits(asked, kind.resources)]
        able = [kind for kind in able if "GPU" not in kind.resources] or able
        place = next((node for node in opened if node.kind in able and _fits(asked, node.free)), None)
        if place is None:
            kind = next((kind for kind in able if counts[kind.name] < kind.max_nodes), None)
            if kind is None:
                left.append(bundle)
                continue
            counts[kind.name] += 1
            place = _Open(kind, dict(kind.resources))
            opened.append(place)
        for name, amount in asked.items():
            place.free[name] -= amount
    return Packing(counts, left)


def _fits(asked: dict[str, float], free: dict[str, float]) -> bool:
    return all(amount <= free.get(name, 0.0) + _ROUNDING for name, amount in asked.items())


def _size(bundle: dict[str, float]) -> tuple[float, float, float]:
    return bundle.get("GPU", 0.0), bundle.get("CPU", 0.0), bundle.get("memory", 0.0)
