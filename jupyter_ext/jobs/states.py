"""The life of a job as a table of moves, and what an attempt's end means. Pure: no clock, no database, no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from signal import Signals

from jupyter_ext.jobs.protocol import Outcome
from jupyter_ext.jobs.values import JobState

S = JobState

#: From each state, where a job may go. A final state has nothing after it.
MOVES: Mapping[JobState | None, frozenset[JobState]] = {
    None: frozenset({S.QUEUED}),
    # Straight to running and on goes only the parent of a sweep; straight to failed, what comes after a failure.
    S.QUEUED: frozenset({S.ADMITTED, S.RUNNING, S.CANCELLED, S.PAUSED, S.FAILED}),
    S.ADMITTED: frozenset({S.STARTING, S.CANCELLED, S.PAUSED}),
    S.STARTING: frozenset({S.RUNNING, S.FAILED, S.INTERRUPTED, S.CANCELLING}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.INTERRUPTED, S.CANCELLING}),
    S.INTERRUPTED: frozenset({S.QUEUED, S.FAILED, S.CANCELLED, S.PAUSED}),
    # To succeeded goes what was done before it heard of a pause.
    S.CANCELLING: frozenset({S.CANCELLED, S.FAILED, S.PAUSED, S.SUCCEEDED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}

LIVE = frozenset(state for state in JobState if not state.final)
#: States in which a job holds a place on its cluster.
PLACED = frozenset({S.ADMITTED, S.STARTING, S.RUNNING, S.CANCELLING})
#: States in which no process of the job can exist, so that a cancel or a pause is done at once.
UNPLACED = frozenset({S.QUEUED, S.ADMITTED, S.INTERRUPTED, S.PAUSED})


def sources(to: JobState) -> frozenset[JobState]:
    """Return the states from which a job may move to ``to``.

    Examples
    --------
    >>> sorted(sources(JobState.PAUSED))[:2]
    [<JobState.ADMITTED: 'admitted'>, <JobState.CANCELLING: 'cancelling'>]
    """
    return frozenset(state for state, targets in MOVES.items() if state is not None and to in targets)


class Blame(StrEnum):
    """Who ended an attempt: only the user's own failures spend the retry budget."""

    NOBODY = "nobody"
    USER = "user"
    CLUSTER = "cluster"


@dataclass(frozen=True)
class Verdict:
    """What the end of an attempt means: whose fault, a reason for programs, a sentence for people."""

    blame: Blame
    reason: str | None
    message: str


_CRASHES = {
    Signals.SIGSEGV: "a segmentation fault",
    Signals.SIGABRT: "an abort",
    Signals.SIGFPE: "an arithmetic fault",
    Signals.SIGBUS: "a bus error",
    Signals.SIGILL: "an illegal instruction",
}

#: The runner's own exit codes: it could not do its part (the storage failed), or a newer attempt has taken over.
EXIT_TRY_AGAIN = 75
EXIT_FENCED = 76


def judge(outcome: Outcome | None, exit_code: int | None, evidence: str) -> Verdict:
    """Say what the end of an attempt means.

    Parameters
    ----------
    outcome
        The runner's own marker in storage; None when it left none. It outranks everything Ray says.
    exit_code
        The driver's exit code where Ray knows it; negative for a signal.
    evidence
        What Ray says, for the message.

    Notes
    -----
    Success needs the marker: a job that "ended well" without one may have been cut off half-way. A driver killed by
    SIGKILL or SIGTERM was killed by somebody (the kernel's out-of-memory killer, a node that went away), so the
    cluster is to blame; a driver that died of a fault in its own code is a failure of that code.

    Examples
    --------
    >>> judge(None, -9, "").blame, judge(None, -11, "").blame, judge(None, 3, "").blame
    (<Blame.CLUSTER: 'cluster'>, <Blame.USER: 'user'>, <Blame.USER: 'user'>)
    """
    if outcome is not None:
        if outcome.succeeded:
            return Verdict(Blame.NOBODY, None, "Done.")
        blame = Blame.CLUSTER if outcome.reason == "terminated" else Blame.USER
        return Verdict(blame, outcome.reason, outcome.message)
    if exit_code is None:
        return Verdict(Blame.CLUSTER, "attempt_lost", f"Its process was lost: {evidence}")
    if exit_code in (EXIT_TRY_AGAIN, EXIT_FENCED):
        return Verdict(Blame.CLUSTER, "storage_lost", "It could not reach the workspace's storage.")
    if exit_code < 0:
        try:
            number = Signals(-exit_code)
        except ValueError:
            return Verdict(Blame.CLUSTER, "killed", f"Its process was killed by signal {-exit_code}.")
        if number in _CRASHES:
            return Verdict(Blame.USER, "crashed", f"The job's process died of {_CRASHES[number]} ({number.name}).")
        return Verdict(
            Blame.CLUSTER,
            "killed",
            f"Its process was killed ({number.name}); when that repeats, ask for more memory with --memory.",
        )
    return Verdict(
        Blame.USER,
        "no_result",
        f"The job's process ended with exit code {exit_code} before its end was recorded. "
        "Does its code call os._exit()? End with an exception or sys.exit() instead.",
    )
