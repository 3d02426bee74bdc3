"""Where a model version comes from: found when it is registered, walked when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.registry.tables import lineage_edge, lineage_node
from jupyter_ext.registry.values import Lineage, LineageEdge, LineageNode, ModelVersion, ModelVersionSpec

if TYPE_CHECKING:
    from jupyter_ext.datasets.service import DatasetService
    from jupyter_ext.datasets.values import Dataset
    from jupyter_ext.jobs.service import JobService
    from jupyter_ext.jobs.values import Job
    from jupyter_ext.labeling.service import LabelService
    from jupyter_ext.labeling.values import LabelSet
    from jupyter_ext.store import Transaction


@dataclass(frozen=True)
class Origins:
    """What a version was made from. Each thing feeds the next: data set → label set → job → model version."""

    dataset: Dataset | None = None
    label_set: LabelSet | None = None
    job: Job | None = None

    @property
    def links(self) -> dict[str, str]:
        """Ids by the names that `ModelVersion` gives them."""
        found = {"dataset_id": self.dataset, "label_set_id": self.label_set, "job_id": self.job}
        return {name: thing.id for name, thing in found.items() if thing is not None}

    @property
    def nodes(self) -> list[LineageNode]:
        """The chain, upstream first."""
        nodes = []
        if self.dataset is not None:
            nodes.append(_dataset_node(self.dataset))
        if self.label_set is not None:
            nodes.append(_label_set_node(self.label_set))
        if self.job is not None:
            nodes.append(_job_node(self.job))
        return nodes

    @property
    def edges(self) -> list[LineageEdge]:
        """The arrows of the chain."""
        nodes = self.nodes
        return [LineageEdge(source=before.id, target=after.id) for before, after in pairwise(nodes)]

    @property
    def parent(self) -> str | None:
        """The id of the node that the version itself follows."""
        nodes = self.nodes
        return nodes[-1].id if nodes else None


def find_origins(
    spec: ModelVersionSpec, *, owner: str, datasets: DatasetService, labels: LabelService, jobs: JobService
) -> Origins:
    """Look up what a specification names, and what those things name in turn.

    A job knows its label set and a label set its data set, so naming the job is enough.

    Raises
    ------
    NotFound
        One of them does not exist, or is not the owner's to see.
    Invalid
        They do not belong together.
    """
    job = jobs.get(spec.job_id, owner=owner) if spec.job_id else None
    label_set_id = spec.label_set_id
    if job is not None:
        label_set_id = _agreed("label set", label_set_id, f"job {job.name!r}", job.label_set_id)
    label_set = labels.get_set(label_set_id, owner=owner) if label_set_id else None
    dataset_id = spec.dataset_id
    if label_set is not None:
        dataset_id = _agreed("data set", dataset_id, f"label set {label_set.name!r}", label_set.dataset_id)
    if job is not None:
        dataset_id = _agreed("data set", dataset_id, f"job {job.name!r}", job.dataset_id)
    if dataset_id is None:
        return Origins(None, label_set, job)
    try:
        return Origins(datasets.get(dataset_id, owner=owner), label_set, job)
    except NotFound:
        # A label set can be shared while its data set is not: the chain then begins at the label set.
        if spec.dataset_id is None and label_set is not None:
            return Origins(None, label_set, job)
        raise


def _agreed(what: str, named: str | None, downstream: str, theirs: str | None) -> str | None:
    """Return the one id that the caller and the thing downstream agree on."""
    if named is not None and theirs is not None and named != theirs:
        raise Invalid(
            f"The {downstream} was made from the {what} {theirs!r}, not from {named!r}. "
            f"Name that one, or leave the {what} out: it is found by itself.",
            expected=theirs,
            given=named,
        )
    return named or theirs


def _dataset_node(dataset: Dataset) -> LineageNode:
    return LineageNode(
        id=f"dataset:{dataset.id}",
        kind="dataset",
        label=f"{dataset.name} v{dataset.version}",
        at=dataset.created_at,
        facts={"rows": dataset.n_rows, "columns": len(dataset.columns)},
    )


def _label_set_node(label_set: LabelSet) -> LineageNode:
    facts: dict[str, Any] = {"method": label_set.method, "labeled": label_set.n_labeled, "items": label_set.n_items}
    if label_set.agreement is not None:
        facts["agreement"] = round(label_set.agreement, 4)
    return LineageNode(
        id=f"label_set:{label_set.id}",
        kind="label_set",
        label=f"{label_set.name} v{label_set.version}",
        at=label_set.created_at,
        facts=facts,
    )


def _job_node(job: Job) -> LineageNode:
    return LineageNode(
        id=f"job:{job.id}",
        kind="job",
        label=job.name,
        at=job.created_at,
        facts={"job": job.id, "cpus": job.resources.cpus, "gpus": job.resources.gpus},
    )


def version_node_id(name: str, version: int) -> str:
    """Return the id of a version's node.

    Examples
    --------
    >>> version_node_id("churn", 3)
    'model_version:churn/3'
    """
    return f"model_version:{name}/{version}"


def write_nodes(tx: Transaction, nodes: list[LineageNode], edges: list[LineageEdge]) -> None:
    """Write what is not there yet; what is there does not change."""
    known = {
        row["id"] for row in tx.all(sa.select(lineage_node.c.id).where(lineage_node.c.id.in_(n.id for n in nodes)))
    }
    for node in nodes:
        if node.id not in known:
            tx.execute(sa.insert(lineage_node).values(node.model_dump()))
    for edge in edges:
        same = sa.and_(lineage_edge.c.source == edge.source, lineage_edge.c.target == edge.target)
        if tx.one_or_none(sa.select(lineage_edge).where(same)) is None:
            tx.execute(sa.insert(lineage_edge).values(edge.model_dump()))


def read_upstream(tx: Transaction, version: ModelVersion) -> Lineage:
    """Return everything that went into a version, in two statements whatever the depth."""
    own = LineageNode(
        id=version_node_id(version.name, version.version),
        kind="model_version",
        label=f"{version.name} v{version.version}",
        at=version.created_at,
        facts={"flavor": version.flavor, "aliases": list(version.aliases), "metrics": version.metrics},
    )
    into_own = sa.select(lineage_edge.c.source, lineage_edge.c.target).where(lineage_edge.c.target == own.id)
    upstream = into_own.cte("upstream", recursive=True)
    upstream = upstream.union(
        sa.select(lineage_edge.c.source, lineage_edge.c.target).join(
            upstream, lineage_edge.c.target == upstream.c.source
        )
    )
    edges = [LineageEdge(**row) for row in tx.all(sa.select(upstream.c.source, upstream.c.target))]
    sources = {edge.source for edge in edges}
    rows = tx.all(sa.select(lineage_node).where(lineage_node.c.id.in_(sources)).order_by(lineage_node.c.at))
    nodes = [LineageNode(**row) for row in rows]
    return Lineage(nodes=(*nodes, own), edges=tuple(sorted(edges, key=lambda edge: (edge.target, edge.source))))
