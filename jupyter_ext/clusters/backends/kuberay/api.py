"""A thin, synchronous client of the Kubernetes API: the dozen verbs that are needed here.

Why our own, over httpx: the services are synchronous and run in threads, where kubernetes-asyncio (KubeSpawner's) would
need a loop of its own; the synchronous `kubernetes` package brings requests and some 60 MB of generated models to read
plain dicts with; httpx is here anyway. What is left to write is small, and its errors are ours from the start.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_ext.clusters.backends.kuberay.access import Access
from jupyter_ext.clusters.backends.kuberay.options import Object
from jupyter_ext.errors import Conflict, Forbidden, Invalid, JupyterExtError, NotFound, TooLarge, Unavailable

if TYPE_CHECKING:
    import httpx

#: Who we are in `managedFields`.
FIELD_MANAGER = "jupyter-ext"
_PAGE = 500
_WATCH_SECONDS = 60.0
_LOG_BYTES = 64 * 1024


@dataclass(frozen=True)
class Resource:
    """Where objects of a kind are found."""

    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the path of an object, or of all of them (in a namespace, or in all).

        Examples
        --------
        >>> RESOURCES["RayCluster"].path("ray", "a"), RESOURCES["Pod"].path(None)
        ('/apis/ray.io/v1/namespaces/ray/rayclusters/a', '/api/v1/pods')
        """
        parts = ["/apis" if "/" in self.version else "/api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        return "/".join([*parts, self.plural, *([] if name is None else [quote(name, safe="")])])


RESOURCES = {
    "RayCluster": Resource("ray.io/v1", "rayclusters"),
    "Pod": Resource("v1", "pods"),
    "Secret": Resource("v1", "secrets"),
    "ServiceAccount": Resource("v1", "serviceaccounts"),
    "PodDisruptionBudget": Resource("policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": Resource("networking.k8s.io/v1", "networkpolicies"),
    "ResourceQuota": Resource("v1", "resourcequotas"),
    "LimitRange": Resource("v1", "limitranges"),
    "Namespace": Resource("v1", "namespaces", namespaced=False),
}


class Expired(Unavailable):
    """A list or a watch is too old to go on from: begin anew."""


class Api:
    """A client of one API server. Thread-safe; connects on first use.

    No answer, and an answer that asks for patience, raise `Unavailable`; it never means that something is not there.

    Parameters
    ----------
    access
        Where the server is, and what lets one in.
    timeout
        Seconds to wait for an answer.

    Examples
    --------
    >>> Api(Access("http://127.0.0.1:9")).get("RayCluster", "ray", "a")
    Traceback (most recent call last):
    jupyter_ext.errors.Unavailable: The Kubernetes API server at http://127.0.0.1:9 does not answer: ...
    """

    def __init__(self, access: Access, timeout: float = 10.0) -> None:
        self.access = access
        self._timeout = timeout
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None

    def get(self, kind: str, namespace: str | None, name: str) -> Object:
        """Return an object.

        Raises
        ------
        NotFound
            There is none of that name.
        """
        return self._json("GET", RESOURCES[kind].path(namespace, name))

    def list_all(
        self, kind: str, namespace: str | None, labels: dict[str, str] | None = None
    ) -> tuple[list[Object], str]:
        """Return all objects with some labels, and the version of the list, from which a watch goes on.

        Raises
        ------
        Expired
            The list changed so much between two pages that it must be begun anew.
        """
        found: list[Object] = []
        query: dict[str, Any] = {"limit": _PAGE, **_selector(labels)}
        while True:
            page = self._json("GET", RESOURCES[kind].path(namespace), params=query)
            # The items of a list don't say what they are.
            about = {"apiVersion": RESOURCES[kind].version, "kind": kind}
            found.extend({**about, **item} for item in page.get("items") or [])
            following = page["metadata"].get("continue")
            if not following:
                return found, str(page["metadata"].get("resourceVersion") or "")
            query["continue"] = following

    def create(self, item: Object) -> Object:
        """Create an object.

        Raises
        ------
        Conflict
            There is one of that name.
        """
        path = RESOURCES[item["kind"]].path(item["metadata"].get("namespace"))
        return self._json("POST", path, params=_writing(), body=item)

    def apply(self, item: Object, *, force: bool = False) -> Object:
        """Bring an object to what is given, and create it where there is none (server-side apply).

        Fields that others set stay as they are.

        Raises
        ------
        Conflict
            Another manager set one of the fields to something else; ``force`` takes it over.
        """
        path = RESOURCES[item["kind"]].path(item["metadata"].get("namespace"), item["metadata"]["name"])
        params = {**_writing(), **({"force": "true"} if force else {})}
        return self._json("PATCH", path, params=params, body=item, content_type="application/apply-patch+yaml")

    def merge(self, kind: str, namespace: str | None, name: str, change: Object) -> Object:
        """Change fields of an object (JSON merge patch): what is not named stays, None removes, lists are replaced."""
        path = RESOURCES[kind].path(namespace, name)
        return self._json("PATCH", path, params=_writing(), body=change, content_type="application/merge-patch+json")

    def edit(self, item: Object, operations: list[Object]) -> Object:
        """Change fields of an object by their paths (JSON patch), if it is still as it was read.

        Raises
        ------
        Conflict
            Somebody changed it since: read it again.
        """
        kind, metadata = item["kind"], item["metadata"]
        # The version in the patch is what makes the server refuse instead of patching whatever it has now.
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        path = RESOURCES[kind].path(metadata.get("namespace"), metadata["name"])
        kind_of_patch = "application/json-patch+json"
        return self._json("PATCH", path, params=_writing(), body=[version, *operations], content_type=kind_of_patch)

    def delete(self, item: Object, *, foreground: bool = False, unchanged: bool = False) -> None:
        """Delete this very object, and what it owns: with ``foreground`` that goes first. Nothing, if it is gone.

        Parameters
        ----------
        unchanged
            Only if nobody changed it since it was read; `Conflict` otherwise.
        """
        metadata = item["metadata"]
        preconditions = {"uid": metadata["uid"]}
        if unchanged:
            preconditions["resourceVersion"] = metadata["resourceVersion"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if foreground else "Background",
            "preconditions": preconditions,
        }
        try:
            self._json("DELETE", RESOURCES[item["kind"]].path(metadata.get("namespace"), metadata["name"]), body=body)
        except NotFound:
            return
        except Conflict:
            # Another one of that name took its place, so this one is gone.
            if unchanged:
                raise

    def log(self, namespace: str, pod: str, container: str, lines: int = 100) -> str:
        """Return the last lines that a container wrote."""
        params = {"container": container, "tailLines": lines, "limitBytes": _LOG_BYTES}
        path = RESOURCES["Pod"].path(namespace, pod) + "/log"
        return str(self._send("GET", path, params=params).text)

    def watch(
        self, kind: str, namespace: str | None, labels: dict[str, str] | None, version: str, seconds: float
    ) -> Iterator[tuple[str, Object]]:
        """Yield what happens to objects after a version of their list: ADDED, MODIFIED, DELETED, BOOKMARK.

        It ends when the server ends it, at the latest after ``seconds``.

        Raises
        ------
        Expired
            The server does not remember that version any more.
        Unavailable
            The connection broke.
        """
        import httpx

        params: dict[str, Any] = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": max(1, round(seconds)),
            **_selector(labels),
        }
        # Silence is normal in a watch; longer than the whole of it, it is a connection that broke unnoticed.
        timeout = httpx.Timeout(self._timeout, read=max(1, round(seconds)) + self._timeout)
        path = RESOURCES[kind].path(namespace)
        try:
            with self._client().stream(
                "GET", path, params=params, headers=self._headers(), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise self._error(response)
                for line in response.iter_lines():
                    if not line.strip():
                        continue
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise self._status_error(int(event["object"].get("code") or 500), event["object"], None)
                    yield event["type"], event["object"]
        except (httpx.TransportError, json.JSONDecodeError) as error:
            raise self._silent(error) from error

    def follow(
        self, kind: str, namespace: str, labels: dict[str, str] | None, *, seconds: float
    ) -> Generator[dict[str, Object], None, None]:
        """Yield all objects with some labels by name: as they are now, and after each change, for some seconds.

        A watch that breaks off, or that the server does not remember, is begun anew with a list. A server that does
        not answer is asked again, until the time is over; then its `Unavailable` is raised.
        """
        deadline = time.monotonic() + seconds
        pause = 0.1
        while True:
            try:
                items, version = self.list_all(kind, namespace, labels)
                found = {item["metadata"]["name"]: item for item in items}
                yield dict(found)
                pause = 0.1
                while (left := deadline - time.monotonic()) > 0:
                    # One that ended in good order goes on from where it was.
                    for event, item in self.watch(kind, namespace, labels, version, min(left, _WATCH_SECONDS)):
                        version = item["metadata"]["resourceVersion"]
                        if event == "BOOKMARK":
                            continue
                        if event == "DELETED":
                            found.pop(item["metadata"]["name"], None)
                        else:
                            found[item["metadata"]["name"]] = item
                        yield dict(found)
                        if time.monotonic() > deadline:
                            return
                return
            except Unavailable as error:
                if isinstance(error, Expired):
                    pause = 0.1
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 2.0)

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def _json(self, method: str, path: str, **how: Any) -> Object:
        try:
            found: Object = self._send(method, path, **how).json()
        except ValueError as error:
            # Something in between answered.
            raise Unavailable(f"What answers at {self.access.server} is no Kubernetes API server.") from error
        return found

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> httpx.Response:
        import httpx

        content = None if body is None else json.dumps(body).encode()
        for again in (False, True):
            headers = {**self._headers(again=again), "Accept": "application/json"}
            if content is not None:
                headers["Content-Type"] = content_type
            try:
                response = self._client().request(method, path, params=params, content=content, headers=headers)
            except httpx.TransportError as error:
                raise self._silent(error) from error
            if response.status_code != 401:
                break
            # The token may just have been replaced.
        if response.is_success:
            return response
        raise self._error(response)

    def _headers(self, *, again: bool = False) -> dict[str, str]:
        try:
            return self.access.headers(again=again)
        except OSError as error:
            raise Unavailable(f"The token for the Kubernetes API server can't be read: {error.strerror}") from error

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                make = self.access.make_context
                self._http = httpx.Client(
                    base_url=self.access.server,
                    timeout=self._timeout,
                    # Proxies and .netrc of the machine have no say in talking to the cluster.
                    trust_env=False,
                    # Reading the certificates takes 30 ms in which no other thread has its turn.
                    verify=make() if make is not None else self.access.server.startswith("https:"),
                )
            return self._http

    def _silent(self, error: Exception) -> Unavailable:
        said = str(error) or type(error).__name__
        return Unavailable(f"The Kubernetes API server at {self.access.server} does not answer: {said}")

    def _error(self, response: httpx.Response) -> JupyterExtError:
        try:
            status = response.json()
        except ValueError:
            status = {"message": response.text.strip()[:500]}
        return self._status_error(response.status_code, status, response.headers.get("Retry-After"))

    def _status_error(self, code: int, status: Object, retry_after: str | None) -> JupyterExtError:
        said = str(status.get("message") or f"HTTP {code}")[:1000]
        if code == 410:
            return Expired(f"Kubernetes does not remember that far: {said}")
        if code == 429 or code >= 500:
            seconds = retry_after or (status.get("details") or {}).get("retryAfterSeconds")
            wait = {"retry_after": float(seconds)} if seconds and str(seconds).isdigit() else {}
            return Unavailable(f"The Kubernetes API server asks for patience (HTTP {code}): {said}", **wait)
        if code == 401:
            return Forbidden("The Kubernetes API server does not accept our credentials. Is the token still valid?")
        kinds = {403: Forbidden, 404: NotFound, 409: Conflict, 413: TooLarge}
        return kinds.get(code, Invalid)(f"Kubernetes says: {said}")


def _selector(labels: dict[str, str] | None) -> dict[str, str]:
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}


def _writing() -> dict[str, str]:
    # Strict: a misspelt field is refused, instead of being dropped.
    return {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
