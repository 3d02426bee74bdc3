"""Which queued jobs may start now. Pure: what is running, what waits, what the cluster has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Demand = Mapping[str, float]


@dataclass(frozen=True)
class Waiting:
    """A job in the queue: its id and what it asks for by Ray's names."""

    id: str
    demand: Demand


def admit(
    queue: Iterable[Waiting], running: Iterable[Demand], capacity: Demand, max_running: int
) -> dict[str, str | None]:
    """Decide over one user's queue, in order.

    A job is never parked inside Ray, which gives up on what waits there too long; and no job overtakes one that waits
    before it, or a large one would wait for ever behind small ones.

    Parameters
    ----------
    queue
        Waiting jobs, first come first.
    running
        What the jobs that hold a place ask for.
    capacity
        What the cluster has in all.
    max_running
        How many jobs may hold a place: every one costs memory on the head.

    Returns
    -------
    dict
        For each job, in order, None when it may start, or else why it waits.

    Examples
    --------
    >>> queue = [Waiting("a", {"CPU": 1}), Waiting("b", {"CPU": 2}), Waiting("c", {"CPU": 1})]
    >>> admit(queue, [], {"CPU": 2}, max_running=8)
    {'a': None, 'b': 'Waiting for CPU: 1 of 2 in use, 2 asked for.', 'c': 'Waiting behind 1 other job.'}
    """
    placed = list(running)
    used: dict[str, float] = {}
    for demand in placed:
        _add(used, demand)
    count = len(placed)
    decisions: dict[str, str | None] = {}
    ahead = 0
    for job in queue:
        if ahead:
            decisions[job.id] = f"Waiting behind {ahead} other job{'s' if ahead > 1 else ''}."
        else:
            decisions[job.id] = _obstacle(job.demand, used, capacity, count, max_running)
        if decisions[job.id] is None:
            _add(used, job.demand)
            count += 1
        else:
            ahead += 1
    return decisions


def _obstacle(demand: Demand, used: Demand, capacity: Demand, count: int, max_running: int) -> str | None:
    if count >= max_running:
        return f"Waiting: {count} jobs are running, which is the limit."
    for name, amount in demand.items():
        in_use, total = used.get(name, 0.0), capacity.get(name, 0.0)
        # Sums of thirds and tenths must not keep a job out by the last bit.
        if in_use + amount > total * (1 + 1e-9):
            return f"Waiting for {name}: {in_use:.6g} of {total:.6g} in use, {amount:.6g} asked for."
    return None


def _add(used: dict[str, float], demand: Demand) -> None:
    for name, amount in demand.items():
        used[name] = used.get(name, 0.0) + amount
