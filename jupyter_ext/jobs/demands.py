"""What a job asks of its cluster, by Ray's names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.values import Resources

#: Ray asks for an accelerator by a sliver of a resource that its nodes have one of.
_SLIVER = 0.001
_ACCELERATOR = "accelerator_type:"


def bundles(asked: Resources) -> list[dict[str, float]]:
    """Return what must fit on one node each: the workers', or else the job's own process's.

    Examples
    --------
    >>> bundles(Resources(cpus=1, gpus=1, workers=2))
    [{'CPU': 1.0, 'GPU': 1.0}, {'CPU': 1.0, 'GPU': 1.0}]
    """
    amounts = {"CPU": float(asked.cpus), "GPU": float(asked.gpus), "memory": float(asked.memory_bytes or 0)}
    one = {name: amount for name, amount in amounts.items() if amount}
    if asked.accelerator:
        one[_ACCELERATOR + asked.accelerator] = _SLIVER
    return [dict(one) for _ in range(max(1, asked.workers))]


def demand(asked: Resources) -> dict[str, float]:
    """Return what a job asks for in all, without what is not asked for.

    Examples
    --------
    >>> demand(Resources(cpus=1, memory_bytes=10)), demand(Resources(cpus=2, workers=3))
    ({'CPU': 1.0, 'memory': 10.0}, {'CPU': 6.0})
    """
    (one, *_), count = bundles(asked), max(1, asked.workers)
    return {name: amount * count for name, amount in one.items()}


def driver(asked: Resources) -> dict[str, Any]:
    """Return what the job's own process asks for, as `RayJobs.submit` takes it.

    Examples
    --------
    >>> driver(Resources(cpus=1, gpus=1, workers=2))["cpus"]
    0
    """
    if asked.workers:
        return {"cpus": 0, "gpus": 0, "memory_bytes": None, "resources": None}
    accelerator = {_ACCELERATOR + asked.accelerator: _SLIVER} if asked.accelerator else None
    return {
        "cpus": asked.cpus,
        "gpus": asked.gpus,
        "memory_bytes": asked.memory_bytes,
        "resources": accelerator,
    }


def require_possible(asked: Resources, capacity: Mapping[str, float]) -> None:
    """Raise `Invalid` when a request can never be met. A capacity that does not name a resource has none of it.

    Which accelerators a cluster has is known only while it runs, so a capacity that names none says nothing of them.

    Examples
    --------
    >>> require_possible(Resources(cpus=2), {"CPU": 2.0})
    >>> require_possible(Resources(gpus=1), {"CPU": 2.0})
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: The job asks for 1 GPU, and your cluster has 0. Ask for at most that.
    >>> require_possible(Resources(accelerator="A100"), {"CPU": 2.0, "accelerator_type:T4": 1.0})
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: The job asks for an accelerator A100, and your cluster has T4.
    """
    types = sorted(name.removeprefix(_ACCELERATOR) for name in capacity if name.startswith(_ACCELERATOR))
    if asked.accelerator and types and asked.accelerator not in types:
        raise Invalid(f"The job asks for an accelerator {asked.accelerator}, and your cluster has {', '.join(types)}.")
    for name, wanted in demand(asked).items():
        available = capacity.get(name, 0.0)
        if wanted > available and not name.startswith(_ACCELERATOR):
            raise Invalid(
                f"The job asks for {_amount(name, wanted)}, and your cluster has "
                f"{_amount(name, available, bare=True)}. Ask for at most that.",
                resource=name,
                asked=wanted,
                available=available,
            )


def _amount(name: str, value: float, *, bare: bool = False) -> str:
    if name == "memory":
        return f"{value / 1e9:,.1f} GB" + ("" if bare else " of memory")
    return f"{value:,.6g}" if bare else f"{value:,.6g} {name}{'' if value == 1 else 's'}"
