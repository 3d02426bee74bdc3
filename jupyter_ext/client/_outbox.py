"""Submissions that the server could not take: kept in a private folder of this machine, and sent later, once.

::

    waiting/<key>/entry.json, inputs    what is to be sent
    sent/<key>/entry.json, job          what was, and the job that it became
    refused/<key>/entry.json, inputs, refusal
    lock                                held by the process that sends

A folder comes and goes by one rename, so that it is there whole or not at all. A submission has its idempotency key
from the beginning: an answer that got lost, a process that died before it could note the answer, cost no second job.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jupyter_ext.client._transport import Unreachable
from jupyter_ext.errors import Forbidden, Invalid, JupyterExtError, NotFound, StorageFull
from jupyter_ext.jobs.values import Job, JobSpec
from jupyter_ext.values import new_id

if TYPE_CHECKING:
    from jupyter_ext.client._transport import Transport

JOB_ID = re.compile(r"job-[0-9a-z]{26}")
KEPT_ID = re.compile(r"kept-[0-9a-z]{26}")
_DAY_S = 86_400.0
#: How long it is remembered which job a kept submission became.
_REMEMBER_S = 30 * _DAY_S


@dataclass(frozen=True)
class Draft:
    """A submission that is complete but for what only the server knows.

    ``spec`` is a `JobSpec` without its inputs; its ``after`` may name jobs by name, or by the key of a kept submission.
    """

    spec: JobSpec
    inputs: bytes | None = None

    def send(self, transport: Transport, outbox: Outbox) -> Job:
        """Send it, and return the job."""
        return Job.model_validate(transport.post("jobs", self.complete(transport, outbox)))

    def complete(self, transport: Transport, outbox: Outbox) -> JobSpec:
        """Return the whole spec, its inputs uploaded."""
        changes: dict[str, Any] = {"after": tuple(outbox.job_id(name) for name in self.spec.after)}
        if self.inputs is not None:
            changes["inputs"] = transport.upload(self.inputs)
        return self.spec.model_copy(update=changes)


@dataclass(frozen=True)
class Fate:
    """What became of a kept submission: the job that it is, or why the server refused it."""

    state: Literal["waiting", "sent", "refused", "withdrawn"]
    job_id: str = ""
    refusal: str = ""


class Outbox:
    """The kept submissions of one workspace, seen by one client."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sending = threading.Lock()
        # Keys of other workspaces' submissions, so that they are read once.
        self._foreign: set[str] = set()

    def job_id(self, name: str) -> str:
        """Return the id of a job by its id, by its name (the newest), or by the key of what was kept."""
        if JOB_ID.fullmatch(name):
            return name
        if KEPT_ID.fullmatch(name):
            fate = self.fate(name)
            if fate.state == "waiting":
                raise Unreachable("It comes after a job that is still kept here.")
            if fate.state != "sent":
                raise Invalid(f"It was to come after a job that was {fate.state}.", field="after")
            return fate.job_id
        found = self._transport.get("jobs", name=name, limit=1)["items"]
        if not found:
            raise NotFound(f"There is no job {name!r}. `client.jobs.list()` or %jobs shows what there is.")
        return str(found[0]["id"])

    def keep(self, draft: Draft) -> str:
        """Keep a submission on this machine, and return the key it is known by until it is sent."""
        key = new_id("kept")
        entry = {
            "url": self._transport.url,
            "workspace": self._transport.workspace,
            "kept_at": datetime.now(UTC).isoformat(),
            "spec": draft.spec.model_dump(mode="json"),
        }
        os.makedirs(_folder(), mode=0o700, exist_ok=True)
        _folder().chmod(0o700)
        made = _folder() / f"new-{key}"
        made.mkdir(mode=0o700)
        if draft.inputs is not None:
            _write(made / "inputs", draft.inputs)
        _write(made / "entry.json", json.dumps(entry).encode())
        _move(made, "waiting", key)
        return key

    def fate(self, key: str) -> Fate:
        """Return what became of a kept submission."""
        # Moved on between two looks, it is found by the third.
        for _ in range(2):
            if (_folder() / "waiting" / key).exists():
                return Fate("waiting")
            if (_folder() / "sent" / key).exists():
                return Fate("sent", job_id=(_folder() / "sent" / key / "job").read_text())
            if (_folder() / "refused" / key).exists():
                return Fate("refused", refusal=(_folder() / "refused" / key / "refusal").read_text())
        return Fate("withdrawn")

    def withdraw(self, key: str) -> bool:
        """Take a kept submission back; False when it is sent already."""
        with self._sending, _locked(wait=True):
            if not (_folder() / "waiting" / key).exists():
                return False
            shutil.rmtree(_folder() / "waiting" / key)
            return True

    def flush(self, *, wait: bool = True) -> list[str]:
        """Send what is kept for this workspace, oldest first; return the ids of the jobs.

        Each is sent once, whoever else sends at the same time. What the server refuses is told and put aside.

        Parameters
        ----------
        wait
            Whether to wait for another process that sends. Without it, that one does.

        Raises
        ------
        Unavailable
            The server does not answer; what is kept stays.
        """
        # Also what keeps the calls made below from sending again.
        if not _waiting() - self._foreign or not self._sending.acquire(blocking=wait):
            return []
        try:
            with _locked(wait=wait) as mine:
                return list(self._send_all()) if mine else []
        finally:
            self._sending.release()

    def _send_all(self) -> Iterator[str]:
        self._transport.identify()
        _tidy()
        for key in sorted(_waiting() - self._foreign):
            folder = _folder() / "waiting" / key
            entry = json.loads((folder / "entry.json").read_text())
            if not self._is_ours(entry):
                self._foreign.add(key)
                continue
            name, since = entry["spec"]["name"], _clock(entry["kept_at"])
            try:
                job_id = self._send(folder, entry)
            except (Unreachable, StorageFull):
                raise
            except JupyterExtError as error:
                if isinstance(error, Forbidden) or error.status not in (401, 403):
                    _write(folder / "refusal", error.message.encode())
                    moved = _move(folder, "refused", key)
                    print(f"[job] {name!r}, kept here {since}, is refused: {error.message} It lies in {moved}.")
                    continue
                raise
            print(f"[job] {name!r}, kept here {since}, is sent: {job_id}.")
            yield job_id

    def _send(self, folder: Path, entry: dict[str, Any]) -> str:
        noted = folder / "job"
        if not noted.exists():
            inputs = folder / "inputs"
            draft = Draft(JobSpec(**entry["spec"]), inputs.read_bytes() if inputs.exists() else None)
            _write(noted, draft.send(self._transport, self).id.encode())
            inputs.unlink(missing_ok=True)
        job_id = noted.read_text()
        _move(folder, "sent", folder.name)
        return job_id

    def _is_ours(self, entry: dict[str, Any]) -> bool:
        """Whether it is for this workspace, which may have another address by now."""
        if entry["workspace"] and self._transport.workspace:
            return bool(entry["workspace"] == self._transport.workspace)
        return bool(entry["url"] == self._transport.url)


def _folder() -> Path:
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "jupyter-ext" / "outbox"


def _waiting() -> set[str]:
    try:
        return set(os.listdir(_folder() / "waiting"))
    except FileNotFoundError:
        return set()


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _move(folder: Path, to: str, key: str) -> Path:
    (_folder() / to).mkdir(mode=0o700, exist_ok=True)
    return folder.rename(_folder() / to / key)


@contextmanager
def _locked(*, wait: bool) -> Iterator[bool]:
    """Hold the folder's lock, which ends with the process; say whether it could be had."""
    descriptor = os.open(_folder() / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _tidy() -> None:
    """Forget what was sent long ago, and what a process that died left half written."""
    now = time.time()
    for folder in (*_folder().glob("sent/*"), *_folder().glob("new-*")):
        if now - folder.stat().st_mtime > (_REMEMBER_S if folder.parent.name == "sent" else _DAY_S):
            shutil.rmtree(folder, ignore_errors=True)


def _clock(moment: str) -> str:
    return f"since {datetime.fromisoformat(moment).astimezone():%d %b %H:%M}"
