"""Which queued jobs may start now. Pure: what is held, what waits, what there is, and who may have how much of it."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Amounts by Ray's names; under limits also ``jobs``, the number of jobs.
Demand = Mapping[str, float]

JOBS = "jobs"


@dataclass(frozen=True)
class Waiting:
    """A job in the queue: whose it is, what it asks for, and how urgent it is."""

    id: str
    owner: str
    demand: Demand
    priority: int = 0


@dataclass(frozen=True)
class Quota:
    """What some users may hold together: one user, or a group."""

    name: str
    members: frozenset[str]
    limits: Demand


@dataclass(frozen=True)
class Rules:
    """What there is, and who may have how much of it.

    Parameters
    ----------
    capacity
        By user, what their own cluster has, or can grow to, and with ``jobs``, how many it may run.
    quotas
        Limits of users and groups.
    pool
        What all clusters share; None when they share nothing. What it doesn't name is not shared.
    recent
        By user, what they held on average lately; it counts against their share of the pool.
    weights
        By user, how many shares they have. Default: 1.
    """

    capacity: Mapping[str, Demand]
    quotas: tuple[Quota, ...] = ()
    pool: Demand | None = None
    recent: Mapping[str, Demand] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


def admit(queue: Iterable[Waiting], holding: Iterable[tuple[str, Demand]], rules: Rules) -> dict[str, str | None]:
    """Decide over the queue of all users.

    A job is never parked inside Ray, which gives up on what waits there too long. Of one user's jobs the most urgent
    goes first, then the oldest; of several users', the most urgent job, and among equals that of the user with the
    smallest share of the pool (dominant resource fairness, over what is held and what was held lately). No job
    overtakes one that waits before it for the same thing, be it the user's own cluster, a group's quota or the pool:
    a large one would wait for ever behind small ones.

    Parameters
    ----------
    queue
        Waiting jobs, first come first.
    holding
        Owner and demand of every job that holds a place.

    Returns
    -------
    dict
        For each job, None when it may start, or else why it waits; in the order in which they were considered.

    References
    ----------
    A. Ghodsi, M. Zaharia, B. Hindman, A. Konwinski, S. Shenker, I. Stoica. Dominant resource fairness. NSDI 2011.

    Examples
    --------
    >>> queue = [Waiting("a", "ada", {"CPU": 1}), Waiting("b", "ada", {"CPU": 2}), Waiting("c", "ada", {"CPU": 1})]
    >>> admit(queue, [], Rules(capacity={"ada": {"CPU": 2}}))
    {'a': None, 'b': 'Waiting for CPU: 1 of 2 in use, 2 asked for.', 'c': 'Waiting in the queue.'}
    >>> queue = [Waiting("a", "ada", {"GPU": 1}), Waiting("b", "bob", {"GPU": 1})]
    >>> both = {"ada": {"GPU": 2}, "bob": {"GPU": 2}}
    >>> admit(queue, [("ada", {"GPU": 1})], Rules(capacity=both, pool={"GPU": 2}))
    {'b': None, 'a': 'Waiting for GPU in the shared pool: 2 of 2 in use, 1 asked for.'}
    """
    held: dict[str, dict[str, float]] = {}
    for owner, demand in holding:
        _add(held.setdefault(owner, {}), demand)
    lines: dict[str, list[Waiting]] = {}
    for job in queue:
        lines.setdefault(job.owner, []).append(job)
    for line in lines.values():
        line.sort(key=lambda job: -job.priority)  # stable: among equals first come first
        line.reverse()
    blocked: set[str] = set()
    decisions: dict[str, str | None] = {}
    turn = sorted(_turn(line[-1], held, rules) for line in lines.values())
    while turn:
        _, _, _, owner = turn.pop(0)
        line = lines[owner]
        job = line.pop()
        obstacle, blocks = _obstacle(job, held, rules, blocked)
        decisions[job.id] = obstacle
        if obstacle is None:
            _add(held.setdefault(owner, {}), job.demand)
        else:
            blocked |= blocks
            # All of a user's later jobs are behind this one.
            decisions.update((other.id, "Waiting in the queue.") for other in reversed(line))
            continue
        if line:
            bisect.insort(turn, _turn(line[-1], held, rules))
    return decisions


def _turn(job: Waiting, held: Mapping[str, Demand], rules: Rules) -> tuple[int, float, str, str]:
    """What decides whose job is considered next, the smallest first."""
    share = 0.0
    for name, total in (rules.pool or {}).items():
        taken = held.get(job.owner, {}).get(name, 0.0) + rules.recent.get(job.owner, {}).get(name, 0.0)
        share = max(share, taken / total if total else 0.0)
    return (-job.priority, share / max(rules.weights.get(job.owner, 1.0), 1e-9), job.id, job.owner)


def _obstacle(
    job: Waiting, held: Mapping[str, Demand], rules: Rules, blocked: set[str]
) -> tuple[str | None, frozenset[str]]:
    """Say what keeps a job, and in front of which doors nobody may overtake it."""
    mine = held.get(job.owner, {})
    own = rules.capacity.get(job.owner, {})
    asked = {**job.demand, JOBS: 1.0} if JOBS in own else job.demand
    reason = _lack(asked, mine, own, "")
    if reason is not None:
        return reason, frozenset()
    for quota in rules.quotas:
        if job.owner not in quota.members:
            continue
        together: dict[str, float] = {}
        for member in quota.members:
            _add(together, held.get(member, {}), jobs=False)
        limited = {name: amount for name, amount in {**job.demand, JOBS: 1.0}.items() if name in quota.limits}
        reason = _lack(limited, together, quota.limits, f" in the quota of {quota.name}")
        if reason is None and quota.name in blocked:
            reason = f"Waiting behind others for the quota of {quota.name}."
        if reason is not None:
            return reason, frozenset({quota.name})
    if rules.pool is not None:
        everybody: dict[str, float] = {}
        for demand in held.values():
            _add(everybody, demand, jobs=False)
        shared = {name: amount for name, amount in job.demand.items() if name in rules.pool}
        reason = _lack(shared, everybody, rules.pool, " in the shared pool")
        doors = frozenset(f"pool:{name}" for name in shared)
        if reason is None and blocked & doors:
            reason = "Waiting behind others for the shared pool."
        if reason is not None:
            return reason, doors
    return None, frozenset()


def _lack(demand: Demand, used: Demand, total: Demand, where: str) -> str | None:
    for name, amount in demand.items():
        taken, limit = used.get(name, 0.0), total.get(name, 0.0)
        # Sums of thirds and tenths must not keep a job out by the last bit.
        if taken + amount > limit * (1 + 1e-9):
            if name == JOBS:
                return f"Waiting: {taken:g} jobs are running, which is the limit{where}."
            return f"Waiting for {name}{where}: {taken:.6g} of {limit:.6g} in use, {amount:.6g} asked for."
    return None


def _add(used: dict[str, float], demand: Demand, *, jobs: bool = True) -> None:
    """Add a demand; of a job, and not of a sum of jobs, one job too."""
    for name, amount in demand.items():
        used[name] = used.get(name, 0.0) + amount
    if jobs:
        used[JOBS] = used.get(JOBS, 0.0) + 1
