"""One step of one job: look at the evidence, write down what it means, do the next thing.

Every step may be cut off anywhere and taken again by another supervisor: what is to be done outside is written down
before it is done, and can be asked for afterwards by its submission id.
"""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from jupyter_ext.errors import Forbidden, Invalid, Unavailable
from jupyter_ext.jobs import checkpoint, ledger, logs, tables
from jupyter_ext.jobs.demands import driver
from jupyter_ext.jobs.evidence import Evidence
from jupyter_ext.jobs.protocol import Context, Status, Task, attempt_path, checkpoints_path, fence_path
from jupyter_ext.jobs.states import Blame, Verdict, judge
from jupyter_ext.jobs.values import JobState, Progress, Resources
from jupyter_ext.store import Row, now

if TYPE_CHECKING:
    import logging

    from jupyter_ext.clusters.service import Connection
    from jupyter_ext.jobs.service import JobService

ACTOR = "supervisor"


class Settings(Protocol):
    """What the steps need to know of the supervisor's configuration."""

    lost_after_s: float
    hung_after_s: float
    poll_s: float
    max_interruptions: int
    stop_grace_s: int


@dataclass
class Memory:
    """What this process remembers of a job between steps; forgetting it is harmless."""

    submitted: bool = False
    polled_at: float = 0.0
    stopped_at: float = 0.0
    poked_at: float = 0.0
    silent_since: float | None = None


class Steps:
    """Moves jobs on.

    Parameters
    ----------
    start_cluster
        Begins to start a user's cluster in the background, and returns what to tell meanwhile.
    """

    def __init__(
        self, service: JobService, settings: Settings, start_cluster: Callable[[str], str], log: logging.Logger
    ) -> None:
        self._store = service.store
        self._clusters = service.clusters
        self._settings = settings
        self._start_cluster = start_cluster
        self._log = log
        self._evidence = Evidence(service.store, log)
        self._memories: dict[str, Memory] = {}

    def advance(self, job_id: str) -> None:
        """Take a job as far as it goes now."""
        step: Callable[[Row], bool] | None
        while True:
            with self._store.read() as tx:
                row = ledger.find(tx, job_id)
            step = None if row is None else self._next_step(row)
            if row is None or step is None or not step(row):
                break
        if row is None or JobState(row["state"]).final:
            self._forget(job_id)

    def _next_step(self, row: Row) -> Callable[[Row], bool] | None:
        if row["kind"] == "sweep":
            return None if JobState(row["state"]).final else self._family
        steps: dict[JobState, Callable[[Row], bool]] = {
            JobState.ADMITTED: self._admitted,
            JobState.STARTING: self._starting,
            JobState.RUNNING: self._running,
            JobState.INTERRUPTED: self._interrupted,
            JobState.CANCELLING: self._cancelling,
        }
        return steps.get(JobState(row["state"]))

    # Each of the following returns whether the job moved, so that the next step is taken at once.

    def _admitted(self, row: Row) -> bool:
        connection = self._clusters.connection(row["owner"])
        if connection is None:
            self.say(row, self._start_cluster(row["owner"]))
            return False
        number = row["attempt"] + 1
        message = f"Starting attempt {number}."
        with self._store.write() as tx:
            moved = ledger.move(tx, row, JobState.STARTING, actor=ACTOR, attempt=number, message=message)
            if moved is None:
                return True
            tx.execute(
                sa.insert(tables.attempt).values(
                    job_id=row["id"],
                    number=number,
                    submission_id=f"{row['id']}-a{number}",
                    incarnation=connection.incarnation,
                    state=JobState.STARTING.value,
                    created_at=now(),
                    log_size=0,
                    in_ray=True,
                    message=message,
                    cpu_seconds=0.0,
                    gpu_seconds=0.0,
                )
            )
        return True

    def _starting(self, row: Row) -> bool:
        attempt = self._attempt(row)
        status = self._evidence.status(row)
        if status is not None:
            return self._began(row, attempt, status)
        connection = self._clusters.connection(row["owner"])
        if connection is not None and connection.incarnation == attempt["incarnation"]:
            memory = self._memory(row)
            if not memory.submitted:
                # Also after a restart between writing down and submitting: the submission has a name, so doing it
                # again is the same submission.
                memory.submitted = self._submit(row, attempt, connection)
                memory.polled_at = time.monotonic()
                return False
        return self._look(row, attempt, status, since=attempt["created_at"])

    def _began(self, row: Row, attempt: Row, status: Status) -> bool:
        message = "Running." if attempt["number"] == 1 else f"Attempt {attempt['number']} is running."
        started_at = row["started_at"] or now()
        with self._store.write() as tx:
            moved = ledger.move(tx, row, JobState.RUNNING, actor=ACTOR, message=message, started_at=started_at)
            if moved is not None:
                table = tables.attempt
                tx.execute(
                    sa.update(table)
                    .where(table.c.job_id == row["id"], table.c.number == attempt["number"])
                    .values(state=JobState.RUNNING.value, started_at=now(), message=message)
                )
        return True

    def _running(self, row: Row) -> bool:
        attempt = self._attempt(row)
        status = self._evidence.status(row)
        if status is not None:
            self._evidence.write_down(row, attempt, status)
            if status.finished:
                return self._end(row, attempt, judge(self._evidence.outcome(row), None, "it left no outcome"))
        limit = row["timeout_s"]
        if limit is not None and attempt["started_at"] and now() - attempt["started_at"] > timedelta(seconds=limit):
            with self._store.write() as tx:
                ledger.move(
                    tx,
                    row,
                    JobState.CANCELLING,
                    actor=ACTOR,
                    reason="timeout",
                    want_state=JobState.FAILED.value,
                    message=f"Stopping: it ran longer than its limit of {limit:g} s.",
                )
            return True
        return self._look(row, attempt, status, since=status.at if status else attempt["created_at"])

    def _interrupted(self, row: Row) -> bool:
        with self._store.write() as tx:
            ledger.move(tx, row, JobState.QUEUED, actor=ACTOR, reason=row["reason"], message=row["message"])
        return False

    def _cancelling(self, row: Row) -> bool:
        attempt = self._attempt(row)
        status = self._evidence.status(row)
        if status is not None:
            self._evidence.write_down(row, attempt, status)
        if not (status is not None and status.finished) and not self._stopped(row, attempt):
            return False
        # Whatever still runs somewhere out of reach may write nothing from now on.
        self._store.objects.put(fence_path(row["id"]), str(row["attempt"] + 1).encode())
        if row["want_state"] == JobState.PAUSED:
            outcome = self._evidence.outcome(row)
            if outcome is not None and outcome.succeeded:
                message = "Done, before it could be paused."
                self._close(row, attempt, JobState.SUCCEEDED, JobState.SUCCEEDED, message=message)
                return True
            step = (status.durable_step if status else None) or attempt["durable_step"]
            rest = "it begins anew when it is resumed" if step is None else f"it goes on from step {step} when resumed"
            self._close(
                row, attempt, JobState.PAUSED, JobState.INTERRUPTED, message=f"Paused; {rest}.", reason="paused"
            )
            return True
        timed_out = row["want_state"] == JobState.FAILED
        final = JobState.FAILED if timed_out else JobState.CANCELLED
        reason = "timeout" if timed_out else "cancelled"
        message = f"It ran longer than its limit of {row['timeout_s'] or 0:g} s." if timed_out else "Cancelled."
        self._close(row, attempt, final, final, message=message, reason=reason)
        return True

    def _family(self, row: Row) -> bool:
        """Move a sweep by what its children do."""
        state, want = JobState(row["state"]), row["want_state"]
        with self._store.write() as tx:
            counts = ledger.states_of_children(tx, row["id"])
            total, done = sum(counts.values()), sum(n for child, n in counts.items() if child.final)
            failed, cancelled = counts.get(JobState.FAILED, 0), counts.get(JobState.CANCELLED, 0)
            waiting = counts.get(JobState.QUEUED, 0) + counts.get(JobState.PAUSED, 0)
            said = f"{done} of {total} jobs done" + (f", {failed} failed" if failed else "") + "."
            if state is JobState.CANCELLING:
                resting = done + (counts.get(JobState.PAUSED, 0) if want == JobState.PAUSED else 0)
                if resting < total:
                    return False
                paused = want == JobState.PAUSED and done < total
                to = JobState.PAUSED if paused else JobState.CANCELLED
                message = f"Paused; {said}" if paused else f"Cancelled; {said}"
                ledger.move(tx, row, to, actor=ACTOR, message=message, reason=to.value)
            elif state is JobState.QUEUED and waiting < total:
                ledger.move(tx, row, JobState.RUNNING, actor=ACTOR, message=said, started_at=row["started_at"] or now())
            elif state is JobState.RUNNING and done == total and cancelled and not failed:
                move = ledger.move(
                    tx,
                    row,
                    JobState.CANCELLING,
                    actor=ACTOR,
                    message=f"{cancelled} of {total} jobs were cancelled.",
                    reason="cancelled",
                    want_state=JobState.CANCELLED.value,
                )
                return move is not None
            elif state is JobState.RUNNING and done == total:
                to = JobState.FAILED if failed else JobState.SUCCEEDED
                message = f"{failed} of {total} jobs failed." if failed else "Done."
                reason = "children_failed" if failed else None
                ledger.move(tx, row, to, actor=ACTOR, message=message, reason=reason, progress=_share(done, total))
            elif state is JobState.RUNNING and row["message"] != said:
                table = tables.job
                same = (table.c.id == row["id"]) & (table.c.version == row["version"])
                changed = sa.update(table).where(same).values(message=said, progress=_share(done, total))
                new = tx.one_or_none(changed.returning(table))
                if new is not None:
                    ledger.announce(tx, new, "progress")
                return False
            else:
                return False
        return True

    def _stopped(self, row: Row, attempt: Row) -> bool:
        """Ask Ray to stop the attempt; return whether it is known to have ended."""
        connection = self._clusters.connection(row["owner"])
        if connection is None or connection.incarnation != attempt["incarnation"]:
            return True
        memory = self._memory(row)
        try:
            info = connection.jobs.get(attempt["submission_id"])
            if info is None or info.ended:
                return True
            if not memory.stopped_at or time.monotonic() - memory.stopped_at > self._settings.stop_grace_s + 5:
                connection.jobs.stop(attempt["submission_id"])
                memory.stopped_at = time.monotonic()
        except Unavailable as error:
            self.say(row, f"Cancelling: your Ray cluster can't be reached now ({error.message}). Trying on.")
        return False

    def _look(self, row: Row, attempt: Row, status: Status | None, *, since: Any) -> bool:
        """Ask Ray how the attempt is. What can't be reached is not dead; what Ray lost and is silent, is."""
        memory = self._memory(row)
        moment, polled_at = time.monotonic(), memory.polled_at
        if moment - polled_at < self._settings.poll_s:
            return False
        memory.polled_at = moment
        silent = now() - since > timedelta(seconds=self._settings.lost_after_s)
        if not silent or moment - polled_at > self._settings.lost_after_s:
            # While nobody could look (the storage was away, this supervisor stood still), nobody could be heard.
            memory.silent_since = None
        if silent and memory.silent_since is None:
            memory.silent_since = moment
        connection = self._clusters.connection(row["owner"])
        if connection is None or connection.incarnation != attempt["incarnation"]:
            return self._gone(row, attempt, silent, "its Ray cluster was stopped or lost")
        name = attempt["submission_id"]
        try:
            info = connection.jobs.get(name)
            if info is not None and not info.ended and silent:
                if moment - memory.poked_at > self._settings.lost_after_s:
                    # After a restart of its head, Ray looks at its old jobs only when something wakes the agent.
                    memory.poked_at = moment
                    connection.jobs.logs(name)
                if info.status == "RUNNING" and moment - (memory.silent_since or moment) > self._settings.hung_after_s:
                    connection.jobs.stop(name)
                    # It may still wake up somewhere; it finds that it may write no more.
                    self._store.objects.put(fence_path(row["id"]), str(attempt["number"] + 1).encode())
                    return self._gone(row, attempt, silent, "no sign of life, though Ray says that it runs")
        except Unavailable as error:
            self.say(row, f"Your Ray cluster can't be reached now ({error.message}). The job may well go on.")
            return False
        if info is None:
            return self._gone(row, attempt, silent, "Ray knows nothing of it")
        if info.ended:
            outcome = self._evidence.outcome(row)
            return self._end(row, attempt, judge(outcome, info.exit_code, info.message))
        if silent and status is not None:
            self.say(row, "No sign of life from the job's process, though Ray says that it runs.")
        elif status is None and silent:
            self.say(row, "Ray has not started the job's process yet.")
        else:
            self.say(row, attempt["message"])
        return False

    def _gone(self, row: Row, attempt: Row, silent: bool, evidence: str) -> bool:
        outcome = self._evidence.outcome(row)
        if outcome is not None:
            return self._end(row, attempt, judge(outcome, None, evidence))
        if silent:
            return self._end(row, attempt, judge(None, None, evidence))
        self.say(row, f"Waiting for a sign of life: {evidence}.")
        return False

    def _end(self, row: Row, attempt: Row, verdict: Verdict) -> bool:
        if JobState(row["state"]) is JobState.STARTING:
            # Ended before its first word was read: the event history still tells of a run.
            status = self._evidence.status(row)
            if status is not None:
                return self._began(row, attempt, status)
            if verdict.blame is Blame.NOBODY:
                return self._began(row, attempt, Status(at=now()))
        number = attempt["number"]
        if verdict.blame is Blame.NOBODY:
            done = "Done." if number == 1 else f"Done, at attempt {number}."
            self._close(row, attempt, JobState.SUCCEEDED, JobState.SUCCEEDED, message=done)
        elif verdict.blame is Blame.USER and row["failures"] >= row["retries"]:
            spent = f" (all {row['retries'] + 1} tries used)" if row["retries"] else ""
            self._close(
                row,
                attempt,
                JobState.FAILED,
                JobState.FAILED,
                message=verdict.message + spent,
                reason=verdict.reason,
                failures=row["failures"] + 1,
            )
        elif verdict.blame is Blame.USER:
            left = row["retries"] - row["failures"]
            self._again(
                row,
                attempt,
                JobState.FAILED,
                verdict,
                f"Attempt {number} failed: {_sentence(verdict.message)} Trying again ({left} left).",
                failures=row["failures"] + 1,
            )
        elif self._got_ahead(row, attempt):
            # It moves, however often it is interrupted; only interruptions in vain count.
            self._again(row, attempt, JobState.INTERRUPTED, verdict, _interrupted(number, verdict), interruptions=0)
        elif row["interruptions"] >= self._settings.max_interruptions:
            self._close(
                row,
                attempt,
                JobState.FAILED,
                JobState.INTERRUPTED,
                message=f"Given up after {row['interruptions'] + 1} interruptions in a row in which it got no further; "
                f"the last: {verdict.message}",
                reason="interrupted_too_often",
                interruptions=row["interruptions"] + 1,
            )
        else:
            self._again(
                row,
                attempt,
                JobState.INTERRUPTED,
                verdict,
                _interrupted(number, verdict),
                interruptions=row["interruptions"] + 1,
            )
        return True

    def _got_ahead(self, row: Row, attempt: Row) -> bool:
        """Whether an attempt saved a checkpoint beyond the one that it began from."""
        saved = checkpoint.entries(self._store.objects.list(checkpoints_path(row["id"])))
        status = self._evidence.status(row)
        said = attempt if status is None else status.model_dump()
        resumed = said["resumed_step"]
        # What lies in storage counts, said or not; Ray Train keeps its checkpoints elsewhere, and only says them.
        steps = [entry.step for entry in saved if entry.attempt == attempt["number"]]
        steps += [said["durable_step"]] if said["durable_step"] is not None else []
        return any(resumed is None or step > resumed for step in steps)

    def _again(self, row: Row, attempt: Row, ended: JobState, verdict: Verdict, message: str, **counts: int) -> None:
        # After an attempt that got ahead the next comes at once, as after the first.
        tries = 0 if counts.get("interruptions") == 0 else row["failures"] + row["interruptions"]
        # The first repeat comes at once; then twice as long each time, a little spread, up to a minute after the job's
        # own failures, which may do harm outside, and to ten seconds after others.
        longest = 60.0 if verdict.blame is Blame.USER else 10.0
        wait = 0.0 if tries == 0 else min(longest, 2.0 ** (tries - 1)) * random.uniform(0.8, 1.2)  # noqa: S311
        self._close(
            row,
            attempt,
            JobState.INTERRUPTED,
            ended,
            message=message[:2000],
            reason=verdict.reason,
            not_before=now() + timedelta(seconds=wait),
            **counts,
        )

    def _close(
        self,
        row: Row,
        attempt: Row,
        to: JobState,
        ended: JobState,
        *,
        message: str,
        reason: str | None = None,
        **values: Any,
    ) -> None:
        """Move the job, end its attempt and settle the size of its log, in one transaction."""
        status = self._evidence.status(row)
        if status is not None:
            self._evidence.write_down(row, attempt, status)
        number = attempt["number"]
        size = logs.stored_size(self._store.objects, row["id"], number)
        with self._store.write() as tx:
            moved = ledger.move(
                tx,
                row,
                to,
                actor=ACTOR,
                message=message,
                reason=reason,
                log_size=ledger.log_total(number, row["id"], size),
                **values,
            )
            if moved is not None:
                ledger.end_attempt(
                    tx,
                    row["id"],
                    number,
                    ended,
                    log_size=size,
                    message=message,
                    reason=reason,
                    **ledger.held_until_now(attempt, row["resources"]),
                )
        self._forget(row["id"])

    def say(self, row: Row, message: str) -> None:
        """Tell the user something about a job that stays in its state."""
        if row["message"] == message:
            return
        job = tables.job
        with self._store.write() as tx:
            new = tx.one_or_none(
                sa.update(job)
                .where(job.c.id == row["id"], job.c.version == row["version"])
                .values(message=message)
                .returning(job)
            )
            if new is not None:
                ledger.announce(tx, new, "state")

    def _submit(self, row: Row, attempt: Row, connection: Connection) -> bool:
        objects, number = self._store.objects, attempt["number"]
        task = Task(
            job_id=row["id"],
            attempt=number,
            name=row["name"],
            kind=row["kind"],
            source=row["source"],
            parameters=row["parameters"],
            inputs=self._store.blobs.path(row["inputs"]) if row["inputs"] else None,
            fetch=tuple(row["fetch"]),
            python=row["environment"].get("python"),
            resources=Resources(**row["resources"]),
            environment_path=self._clusters.environment_to_tell(row["owner"], connection.incarnation),
        )
        objects.put(attempt_path(row["id"], number, "task.json"), task.model_dump_json().encode())
        objects.put(fence_path(row["id"]), str(number).encode())
        context = Context(objects.root_url, objects.storage_options, row["id"], number)
        try:
            connection.jobs.submit(
                attempt["submission_id"],
                # `exec`: without it a shell stands between, and the driver outlives its head as an orphan.
                f"exec {shlex.quote(connection.python)} -m jupyter_ext.jobs.runner",
                env={**context.environ(), "RAY_JOB_STOP_WAIT_TIME_S": str(self._settings.stop_grace_s)},
                **driver(Resources(**row["resources"])),
                metadata={"job": row["id"], "name": row["name"], "attempt": str(number), "owner": row["owner"]},
            )
        except Unavailable as error:
            self.say(row, f"Your Ray cluster can't be reached now ({error.message}). Trying on.")
            return False
        except (Invalid, Forbidden) as error:
            self._close(row, attempt, JobState.FAILED, JobState.FAILED, message=error.message, reason="refused")
        return True

    def _attempt(self, row: Row) -> Row:
        with self._store.read() as tx:
            found = ledger.find_attempt(tx, row["id"], row["attempt"])
        if found is None:
            raise RuntimeError(f"job {row['id']} is {row['state']} without its attempt {row['attempt']}")
        return found

    def _memory(self, row: Row) -> Memory:
        return self._memories.setdefault(row["id"], Memory())

    def _forget(self, job_id: str) -> None:
        self._memories.pop(job_id, None)
        self._evidence.forget(job_id)


def _sentence(text: str) -> str:
    """Return a text with a full stop at its end.

    Examples
    --------
    >>> _sentence("OSError: away (line 12)"), _sentence("Done.")
    ('OSError: away (line 12).', 'Done.')
    """
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _interrupted(number: int, verdict: Verdict) -> str:
    said = _sentence(verdict.message)
    return f"Attempt {number} was interrupted: {said} The next one goes on from the last checkpoint."


def _share(done: int, total: int) -> dict[str, Any]:
    return Progress(step=done, total=total, at=now()).model_dump(mode="json")
