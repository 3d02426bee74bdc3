"""Which nodes would hold what is asked for. Pure: bundles of resources in, nodes to have out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jupyter_ext.clusters.values import WorkerKind

#: Amounts by Ray's names, to be had on one node.
Bundle = Mapping[str, float]

#: Sums of thirds and tenths must not keep a bundle out by the last bit.
_SLACK = 1 + 1e-9
#: Ray asks for an accelerator by a sliver of a resource that its nodes have one of.
_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True)
class Placement:
    """What was placed, and where.

    ``nodes`` counts the workers of each kind that it takes. ``bundles`` are those that found a place, in the order
    asked for, and without what no node declares.
    """

    nodes: dict[str, int] = field(default_factory=dict)
    bundles: list[dict[str, float]] = field(default_factory=list)


def fits(bundle: Bundle, node: Bundle) -> bool:
    """Return whether an empty node can hold a bundle.

    Of which type its GPUs are, a node may leave open; then it may be any.

    Examples
    --------
    >>> fits({"CPU": 1, "GPU": 1}, {"CPU": 4})
    False
    >>> fits({"GPU": 1, "accelerator_type:A100": 0.001}, {"GPU": 2})
    True
    >>> fits({"GPU": 1, "accelerator_type:A100": 0.001}, {"GPU": 2, "accelerator_type:T4": 1})
    False
    """
    return all(amount <= node.get(name, 0.0) * _SLACK for name, amount in _counted(bundle, node).items())


def place(bundles: Iterable[Bundle], head: Bundle, kinds: Sequence[WorkerKind]) -> Placement:
    """Place bundles on an empty cluster that may grow up to its limits.

    The first asked for are placed first; one that finds no place is left out, because Ray ignores a request as a
    whole when one bundle of it can't be met, also when it is one node too many. A bundle goes to the node on which it
    wastes least: without a GPU if it asks for none, one there is rather than a new one, then the smaller one.

    Parameters
    ----------
    bundles
        What is wanted at once, a node's share each.
    head
        What the head has.
    kinds
        What may be added, and how much of it.

    Examples
    --------
    >>> gpu = WorkerKind(name="gpu", resources={"CPU": 1, "GPU": 1}, max_nodes=2)
    >>> place([{"CPU": 2}, {"GPU": 1}, {"GPU": 1}, {"GPU": 1}], {"CPU": 2}, [gpu])
    Placement(nodes={'gpu': 2}, bundles=[{'CPU': 2}, {'GPU': 1}, {'GPU': 1}])
    """
    open_nodes = [_Node(dict(head), dict(head))]
    placement = Placement()
    for bundle in bundles:
        new = [
            _Node(dict(kind.resources), dict(kind.resources), kind.name)
            for kind in kinds
            if placement.nodes.get(kind.name, 0) < kind.max_nodes
        ]
        asked = {name: amount for name, amount in bundle.items() if amount > 0}
        candidates = [node for node in (*open_nodes, *new) if node.holds(asked)]
        if not candidates:
            continue
        best = min(candidates, key=lambda node: (node.wasted(asked), node in new, sum(node.total.values())))
        placement.bundles.append(best.take(asked))
        if best in new:
            open_nodes.append(best)
            placement.nodes[best.kind] = placement.nodes.get(best.kind, 0) + 1
    return placement


def total(head: Bundle, kinds: Iterable[WorkerKind]) -> dict[str, float]:
    """Return what a cluster has when it has grown to its limits.

    Examples
    --------
    >>> total({"CPU": 2}, [WorkerKind(name="gpu", resources={"CPU": 1, "GPU": 1}, max_nodes=3)])
    {'CPU': 5.0, 'GPU': 3.0}
    """
    found = {name: float(amount) for name, amount in head.items()}
    for kind in kinds:
        for name, amount in kind.resources.items():
            if kind.max_nodes:
                found[name] = found.get(name, 0.0) + amount * kind.max_nodes
    return found


@dataclass(eq=False)
class _Node:
    total: dict[str, float]
    left: dict[str, float]
    kind: str = ""

    def holds(self, bundle: Bundle) -> bool:
        counted = _counted(bundle, self.total)
        return all(amount <= self.left.get(name, 0.0) * _SLACK for name, amount in counted.items())

    def wasted(self, bundle: Bundle) -> bool:
        """Whether a GPU would stand by idly."""
        return self.total.get("GPU", 0.0) > 0 and not bundle.get("GPU")

    def take(self, bundle: Bundle) -> dict[str, float]:
        taken = _counted(bundle, self.total)
        for name, amount in taken.items():
            self.left[name] -= amount
        return taken


def _counted(bundle: Bundle, node: Bundle) -> dict[str, float]:
    """Return the part of a bundle that a node has to have: without the type of its GPUs if it leaves that open."""
    left_open = node.get("GPU", 0.0) > 0 and not any(name.startswith(_ACCELERATOR) for name in node)
    return {name: amount for name, amount in bundle.items() if not (left_open and name.startswith(_ACCELERATOR))}
