"""Ray's Jobs REST API over plain HTTP: what a supervisor needs, without importing Ray.

Ray Client ties both sides to one version and ends its jobs with the connection; the REST API does neither.
"""

from __future__ import annotations

import builtins
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_ext.clusters.values import NodeState
from jupyter_ext.errors import Conflict, Forbidden, Invalid, JupyterExtError, Unavailable

if TYPE_CHECKING:
    import httpx

#: Longer than the ten seconds that a head waits for its job agent before it answers "No available agent".
_TIMEOUT_SECONDS = 20.0
_RAISED = re.compile(r"[\w.]*(?:Error|Exception): (.+)")
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class RayJob:
    """What Ray knows of one submission.

    ``status`` is PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED; ``exit_code`` is the driver's (negative: the signal
    that ended it), None while it runs or when its supervisor was lost.
    """

    submission_id: str
    status: str
    message: str = ""
    error_type: str | None = None
    exit_code: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.status in _ENDED


@dataclass(frozen=True)
class RayNode:
    """A node that lives, and its logical resources by Ray's names (``CPU``, ``GPU``, ``memory`` in bytes).

    ``used`` lacks what Ray does not report to the byte. ``name`` is what its starter called it.
    """

    id: str
    name: str
    is_head: bool
    total: dict[str, float]
    used: dict[str, float]

    @property
    def state(self) -> NodeState:
        """Running, or idle when nothing is in use."""
        return NodeState.RUNNING if any(self.used.values()) else NodeState.IDLE


@dataclass(frozen=True)
class RayResources:
    """Logical resources of a cluster by Ray's names (``CPU``, ``GPU``, ``memory`` in bytes).

    ``available`` lacks what Ray does not report to the byte.
    """

    total: dict[str, float]
    available: dict[str, float]


class RayJobs:
    """A client of one head. Thread-safe; connects on first use.

    What cannot be reached raises `Unavailable`, always: no answer never means that a job is dead.

    Parameters
    ----------
    url
        The dashboard of the head.
    token
        Its auth token.
    timeout
        Seconds to wait for an answer.

    Examples
    --------
    >>> RayJobs("http://127.0.0.1:9", "t").get("job-1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jupyter_ext.errors.Unavailable: The Ray cluster at http://127.0.0.1:9 does not answer: ...
    """

    def __init__(self, url: str, token: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None

    def submit(
        self,
        submission_id: str,
        entrypoint: str,
        *,
        env: dict[str, str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        cpus: float | None = None,
        gpus: float | None = None,
        memory_bytes: int | None = None,
        resources: dict[str, float] | None = None,
    ) -> None:
        """Submit a shell command. A submission of that id that exists already counts as this one.

        Parameters
        ----------
        submission_id
            Names the submission; submitting twice runs once.
        entrypoint
            The command. Begin it with ``exec``: without it a shell stands between Ray and the driver, and the driver
            outlives its head as an orphan.
        env, runtime_env
            Environment variables, and the rest of Ray's runtime environment.
        metadata
            Strings that Ray gives back with the job.
        cpus, gpus, memory_bytes, resources
            What the driver itself asks for.

        Raises
        ------
        Unavailable
            The head, or its job agent, does not answer now.
        Invalid
            Ray refuses the request; the message is Ray's.
        """
        environment = dict(runtime_env or {})
        if env:
            environment["env_vars"] = {**environment.get("env_vars", {}), **env}
        asked = {
            "entrypoint": entrypoint,
            "submission_id": submission_id,
            "runtime_env": environment,
            "metadata": metadata or {},
            "entrypoint_num_cpus": cpus,
            "entrypoint_num_gpus": gpus,
            "entrypoint_memory": memory_bytes,
            "entrypoint_resources": resources,
        }
        try:
            self._call("POST", "/api/jobs/", json={name: value for name, value in asked.items() if value is not None})
        except Conflict:
            return

    def get(self, submission_id: str) -> RayJob | None:
        """Return what Ray knows of a submission, or None when it knows nothing."""
        found = self._call("GET", _path(submission_id), absent=None)
        return None if found is None else _ray_job(found.json())

    def list(self) -> list[RayJob]:
        """Return all submissions that Ray keeps. Drivers that came by other ways are left out."""
        found = self._call("GET", "/api/jobs/").json()
        return [_ray_job(item) for item in found if item.get("submission_id")]

    def stop(self, submission_id: str) -> bool:
        """Ask Ray to end a submission: SIGTERM, then SIGKILL. Return whether there was something to end."""
        answer = self._call("POST", _path(submission_id) + "/stop", absent=None)
        return answer is not None and bool(answer.json().get("stopped"))

    def delete(self, submission_id: str) -> bool:
        """Forget an ended submission; False when Ray did not know it.

        Raises
        ------
        Invalid
            It has not ended yet.
        """
        return self._call("DELETE", _path(submission_id), absent=None) is not None

    def logs(self, submission_id: str) -> str:
        """Return what the driver wrote; empty when Ray does not know the submission.

        Also what wakes the job agent of a head that came back: until then dead jobs show as running.
        """
        answer = self._call("GET", _path(submission_id) + "/logs", absent=None)
        return "" if answer is None else str(answer.json().get("logs") or "")

    def version(self, timeout: float | None = None) -> str:
        """Return the head's Ray version; ``timeout`` seconds for the answer, for who only wants to know if it lives."""
        return str(self._call("GET", "/api/version", timeout=timeout or self._timeout).json()["ray_version"])

    def nodes(self) -> builtins.list[RayNode]:
        """Return the nodes that live."""
        nodes = self._call("GET", "/api/v0/nodes", params={"detail": "1"}).json()["data"]["result"]["result"]
        usage = self._call("GET", "/nodes", params={"view": "summary"}).json()["data"]["nodeLogicalResources"]
        found = []
        for node in nodes:
            if node["state"] == "ALIVE":
                # Ray gives every node a resource of its own, to pin tasks to it; that is no amount of anything.
                total = {
                    name: amount for name, amount in node["resources_total"].items() if not name.startswith("node:")
                }
                reported = _used(usage.get(node["node_id"], ""))
                used = {name: min(reported[name], total[name]) for name in total if name in reported}
                is_head = bool(node.get("is_head_node"))
                found.append(RayNode(node["node_id"], str(node.get("node_name") or ""), is_head, total, used))
        return found

    def resources(self) -> RayResources:
        """Return the logical resources of all nodes that live, in total and not in use."""
        total: dict[str, float] = {}
        available: dict[str, float] = {}
        for node in self.nodes():
            for name, amount in node.total.items():
                total[name] = total.get(name, 0.0) + amount
                if name in node.used:
                    available[name] = available.get(name, 0.0) + amount - node.used[name]
        return RayResources(total, available)

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _call(self, method: str, path: str, **how: Any) -> Any:
        """Return the answer; with ``absent`` given, that value for a 404."""
        import httpx

        may_be_absent = "absent" in how
        absent = how.pop("absent", None)
        try:
            response = self._client().request(method, path, **how)
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"The Ray cluster at {self.url} does not answer: {said}") from error
        if response.is_success:
            return response
        if response.status_code == 404 and may_be_absent:
            return absent
        raise self._error(response)

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                # trust_env False: proxies and .netrc of the machine have no say in talking to the loopback.
                self._http = httpx.Client(
                    base_url=self.url,
                    headers={"Authorization": f"Bearer {self._token}"},
                    timeout=self._timeout,
                    trust_env=False,
                    # Reading the certificates takes 30 ms in which no other thread has its turn.
                    verify=self.url.startswith("https:"),
                )
            return self._http

    def _error(self, response: httpx.Response) -> JupyterExtError:
        status, text = response.status_code, response.text.strip()
        said = _last_sentence(text) or f"HTTP {status}"
        if status in (401, 403):
            return Forbidden(f"The Ray cluster at {self.url} refuses this token: it belongs to another head or user.")
        if "already exists" in text:
            return Conflict(said)
        if "No available agent" in text or status in (502, 503, 504):
            return Unavailable(f"The Ray cluster at {self.url} is not ready for jobs yet: {said}")
        # Asked to delete what still runs, Ray answers 500.
        if status in (400, 404, 413) or "in a non-terminal state" in said:
            return Invalid(f"Ray refuses the request: {said}")
        return JupyterExtError(f"The Ray cluster at {self.url} failed on the request (HTTP {status}): {said}")


def _last_sentence(text: str) -> str:
    """Return what a traceback ends with, or the last line of anything else.

    Examples
    --------
    >>> _last_sentence("Traceback (most recent call last):\\n  File x\\nValueError: no such node\\n.")
    'no such node'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    raised = [match[1] for line in lines if (match := _RAISED.match(line))]
    return (raised or lines or [""])[-1][:1000]


def _path(submission_id: str) -> str:
    return "/api/jobs/" + quote(submission_id, safe="")


def _used(report: str) -> dict[str, float]:
    """Read a node's report of its use; amounts of memory are rounded there, and left out here.

    Examples
    --------
    >>> _used("1.0/2.0 CPU\\n0B/19.42GiB memory")
    {'CPU': 1.0}
    """
    lines = [line.strip().split(" ", 1) for line in report.splitlines() if "/" in line]
    return {name: float(amount) for share, name in lines if (amount := share.partition("/")[0])[-1:].isdigit()}


def _ray_job(found: dict[str, Any]) -> RayJob:
    return RayJob(
        submission_id=str(found["submission_id"]),
        status=str(found["status"]),
        message=str(found.get("message") or ""),
        error_type=found.get("error_type"),
        exit_code=found.get("driver_exit_code"),
        metadata=dict(found.get("metadata") or {}),
    )
