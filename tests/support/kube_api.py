"""An API server of Kubernetes for tests: a real HTTP server on the loopback that speaks the verbs we use, strictly.

Versions of objects, optimistic locking, server-side apply with owners of fields, JSON and merge patches, lists in
pages, watches with bookmarks that may be too old, deletion with finalizers, owners and preconditions, roles. Whether
it is as strict as the real one is known from reading: it was written after the API's documentation.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kubernetes_validate

from support import crd

Object = dict[str, Any]
Key = tuple[str, str, str]

KINDS = {
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "resourcequotas": ("v1", "ResourceQuota"),
    "limitranges": ("v1", "LimitRange"),
    "namespaces": ("v1", "Namespace"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "rayclusters": ("ray.io/v1", "RayCluster"),
}
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?$"
)
_FOREGROUND = "foregroundDeletion"
_BOOKMARK_SECONDS = 0.2


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        details = {} if retry_after is None else {"retryAfterSeconds": retry_after}
        self.code = code
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.status = {
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": code, "reason": reason, "message": message, "details": details,
        }  # fmt: skip


@dataclass
class Asked:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: Any


@dataclass
class KubeApi:
    """The server. ``rules`` are those of roles: without any, everything is allowed. ``tls`` makes it speak HTTPS."""

    token: str = "the-api-token"
    rules: list[Object] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    longest_watch: float = 60.0
    gone_by_status: bool = False
    asked: list[Asked] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    #: Asked before each request; may raise `Refused`, or do what another writer does.
    before: Callable[[Asked], None] = field(default=lambda asked: None)

    def __post_init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.items: dict[Key, Object] = {}
        self.fields: dict[Key, dict[str, str]] = {}
        self.version = 100
        self.horizon = 0
        self.history: list[tuple[int, str, str, Object]] = []
        #: What went wrong in the server itself; `stop` raises it.
        self.failures: list[Exception] = []
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._sockets: set[socket.socket] = set()
        self._watches: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        for name in ("default", "kube-system", "ray", "hub"):
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    # What tests and controllers do

    def start(self) -> KubeApi:
        """Listen; after `stop`, on the same port."""
        if crd.FILE.is_file():
            crd.problems({})  # reads the schema, which on a busy machine takes longer than a client waits for an answer
        server = _Server(("127.0.0.1", self._port), _handler(self))
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Go away, with all connections."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._cut(self._sockets)
        with self.changed:
            self.changed.notify_all()
        if self.failures:
            raise self.failures[0]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    def drop_watches(self) -> None:
        """Break all watches off, in the middle."""
        self._cut(self._watches)

    def compact(self) -> None:
        """Forget all that happened until now."""
        with self.changed:
            self.horizon = self.version
            self.history.clear()

    def get(self, plural: str, name: str, namespace: str = "ray") -> Object | None:
        """A copy of an object."""
        with self.changed:
            return copy.deepcopy(self.items.get((plural, namespace if plural != "namespaces" else "", name)))

    def all(self, plural: str, labels: dict[str, str] | None = None) -> list[Object]:
        """Copies of objects, in the order of their names."""
        wanted = (labels or {}).items()
        with self.changed:
            found = [item for (kind, *_), item in sorted(self.items.items()) if kind == plural]
            return copy.deepcopy([item for item in found if wanted <= (item["metadata"].get("labels") or {}).items()])

    def put(self, item: Object) -> Object:
        """Create or replace an object, as a controller may."""
        with self.changed:
            plural = next(plural for plural, (_, kind) in KINDS.items() if kind == item["kind"])
            metadata = item["metadata"]
            key = (plural, metadata.get("namespace", ""), metadata["name"])
            return self._store(key, copy.deepcopy(item))

    def edit(self, plural: str, name: str, change: Callable[[Object], Any], namespace: str = "ray") -> None:
        """Change an object, as a controller may; nothing, if it is gone."""
        with self.changed:
            old = self.get(plural, name, namespace)
            if old is None:
                return
            new = copy.deepcopy(old)
            change(new)
            if new != old:
                self._store((plural, namespace if plural != "namespaces" else "", name), new)

    def remove(self, plural: str, name: str, namespace: str = "ray") -> None:
        """Delete an object in the background, as a controller may."""
        with self.changed:
            key = (plural, namespace if plural != "namespaces" else "", name)
            if key in self.items:
                self._delete(key, "Background")

    # Requests

    def answer(self, asked: Asked) -> Object | str:
        """Do what is asked."""
        self.before(asked)
        found = _PATH.fullmatch(asked.path)
        if found is None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        plural, name, sub = found["plural"], found["name"], found["sub"]
        version = found["core"] or f"{found['group']}/{found['version']}"
        if KINDS.get(plural, ("", ""))[0] != version:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        key = (plural, unquote(found["namespace"] or ""), unquote(name or ""))
        self._authorize(asked, found["group"] or "", key, sub)
        with self.changed:
            if asked.method == "GET" and sub == "log":
                return self._log(key, asked.query)
            if asked.method == "GET":
                return copy.deepcopy(self._require(key)) if name else self._list(key, asked.query)
            if asked.method == "POST":
                return self._create(key, asked)
            if asked.method == "PATCH":
                return self._patch(key, asked)
            if asked.method == "DELETE":
                return self._delete_asked(key, asked.body or {})
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def watch(self, asked: Asked, connection: socket.socket) -> Iterator[Object | None]:
        """Yield events after a version; None now and then, to see whether anybody still listens."""
        found = _PATH.fullmatch(asked.path)
        assert found is not None
        plural, namespace = found["plural"], unquote(found["namespace"] or "")
        self._authorize(asked, found["group"] or "", (plural, namespace, ""), None)
        position = int(asked.query.get("resourceVersion") or 0)
        with self.changed:
            if position < self.horizon:
                raise Refused(410, "Expired", f"too old resource version: {position} ({self.version})")
        self._watches.add(connection)
        end = time.monotonic() + min(float(asked.query.get("timeoutSeconds", 60)), self.longest_watch)
        bookmarks = asked.query.get("allowWatchBookmarks") == "true"
        about = dict(zip(("apiVersion", "kind"), KINDS[plural], strict=True))
        try:
            while time.monotonic() < end and self._server is not None:
                with self.changed:
                    new = [event for event in self.history if event[0] > position]
                    if not new:
                        self.changed.wait(_BOOKMARK_SECONDS)
                        new = [event for event in self.history if event[0] > position]
                    latest = self.version
                for version, what, kind, item in new:
                    position = version
                    if kind == plural and _selected(item, namespace, asked.query):
                        yield {"type": what, "object": copy.deepcopy(item)}
                if not new and bookmarks:
                    position = latest
                    yield {"type": "BOOKMARK", "object": {**about, "metadata": {"resourceVersion": str(latest)}}}
        finally:
            self._watches.discard(connection)

    # Verbs

    def _list(self, key: Key, query: dict[str, str]) -> Object:
        plural, namespace, _ = key
        if token := query.get("continue"):
            version, rest = self._pages.pop(token, (-1, []))
            if version < self.horizon:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
        else:
            version = self.version
            rest = [
                copy.deepcopy(item)
                for (kind, *_), item in sorted(self.items.items())
                if kind == plural and _selected(item, namespace, query)
            ]
        limit = int(query.get("limit") or 0) or len(rest)
        page, rest = rest[:limit], rest[limit:]
        metadata: Object = {"resourceVersion": str(version)}
        if rest:
            metadata["continue"] = base64.b64encode(uuid.uuid4().bytes).decode()
            self._pages[metadata["continue"]] = (version, rest)
        api_version, kind = KINDS[plural]
        if kind != "RayCluster":
            # Items of built-in kinds don't say what they are.
            page = [{**item, "apiVersion": None, "kind": None} for item in page]
            page = [{name: value for name, value in item.items() if value is not None} for item in page]
        return {"apiVersion": api_version, "kind": f"{kind}List", "metadata": metadata, "items": page}

    def _create(self, key: Key, asked: Asked) -> Object:
        plural, namespace, _ = key
        item = copy.deepcopy(asked.body)
        name = item["metadata"]["name"]
        if plural != "namespaces" and ("namespaces", "", namespace) not in self.items:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        if (plural, namespace, name) in self.items:
            raise Refused(409, "AlreadyExists", f'{plural} "{name}" already exists')
        self._validate(key, item, asked)
        stored = self._store((plural, namespace, name), item)
        manager = asked.query.get("fieldManager", "unknown") + "/Update"
        self.fields[plural, namespace, name] = dict.fromkeys(_leaves(item), manager)
        return stored

    def _patch(self, key: Key, asked: Asked) -> Object:
        old = self.items.get(key)
        manager = asked.query.get("fieldManager", "unknown")
        if asked.content_type == "application/apply-patch+yaml":
            return self._apply(key, old, asked, manager)
        if old is None:
            self._require(key)
        assert old is not None
        new = copy.deepcopy(old)
        if asked.content_type == "application/merge-patch+json":
            new = _merged(new, asked.body)
        elif asked.content_type == "application/json-patch+json":
            for operation in asked.body:
                _operate(new, operation)
        else:
            raise Refused(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        if new["metadata"]["uid"] != old["metadata"]["uid"]:
            raise Refused(422, "Invalid", f'{key[0]} "{key[2]}" is invalid: metadata.uid: field is immutable')
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
            said = f'Operation cannot be fulfilled on {key[0]} "{key[2]}": the object has been modified'
            raise Refused(409, "Conflict", f"{said}; please apply your changes to the latest version and try again")
        self._validate(key, new, asked, old)
        before = dict(_values(old))
        for path, value in _values(new):
            if before.get(path) != value:
                self.fields.setdefault(key, {})[path] = f"{manager}/Update"
        return copy.deepcopy(old) if new == old else self._store(key, new)

    def _apply(self, key: Key, old: Object | None, asked: Asked, manager: str) -> Object:
        if not asked.query.get("fieldManager"):
            raise Refused(400, "BadRequest", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        given = copy.deepcopy(asked.body)
        uid = given["metadata"].pop("uid", None)
        if uid is not None and (old is None or old["metadata"]["uid"] != uid):
            raise Refused(409, "Conflict", f"uid mismatch: the provided object specified uid {uid}")
        me, owners = f"{manager}/Apply", self.fields.setdefault(key, {})
        mine = {path: value for path, value in _values(given) if not path.startswith(("apiVersion", "kind"))}
        new = copy.deepcopy(old) if old is not None else {**given, "metadata": dict(given["metadata"])}
        has = dict(_values(new))
        theirs = [path for path, value in mine.items() if owners.get(path, me) != me and has.get(path) != value]
        if theirs and asked.query.get("force") != "true":
            raise Refused(409, "Conflict", f"Apply failed with {len(theirs)} conflict(s): {', '.join(theirs[:3])}")
        for path in [path for path, owner in owners.items() if owner == me and path not in mine]:
            _set(new, path, None, remove=True)
            del owners[path]
        for path, value in mine.items():
            _set(new, path, value)
            if has.get(path) != value or path not in owners:
                owners[path] = me
        self._validate(key, new, asked, old)
        return copy.deepcopy(old) if old is not None and new == old else self._store(key, new)

    def _delete_asked(self, key: Key, options: Object) -> Object:
        item = self._require(key)
        for name, value in (options.get("preconditions") or {}).items():
            if item["metadata"][name] != value:
                raise Refused(409, "Conflict", f"Precondition failed: {name} in precondition: {value}")
        self._delete(key, options.get("propagationPolicy") or "Background")
        return {"apiVersion": "v1", "kind": "Status", "status": "Success"}

    def _delete(self, key: Key, policy: str) -> None:
        item = copy.deepcopy(self.items[key])
        metadata = item["metadata"]
        finalizers = list(metadata.get("finalizers") or [])
        if policy == "Foreground" and _FOREGROUND not in finalizers:
            finalizers.append(_FOREGROUND)
        # A pod is there until its kubelet has ended it.
        if not finalizers and key[0] != "pods":
            self._drop(key)
            return
        metadata["finalizers"] = finalizers
        metadata.setdefault("deletionTimestamp", _now())
        self._store(key, item)

    def collect_garbage(self) -> None:
        """What the garbage collector does: dependents go with their owners, or before them."""
        with self.changed:
            uids = {item["metadata"]["uid"] for item in self.items.values()}
            leaving = {
                item["metadata"]["uid"]
                for item in self.items.values()
                if _FOREGROUND in (item["metadata"].get("finalizers") or [])
            }
            for key, item in list(self.items.items()):
                references = item["metadata"].get("ownerReferences") or []
                orphan = references and not any(reference["uid"] in uids for reference in references)
                goes = any(reference["uid"] in leaving for reference in references)
                if (orphan or goes) and "deletionTimestamp" not in item["metadata"]:
                    self._delete(key, "Background")
            for key, item in list(self.items.items()):
                uid = item["metadata"]["uid"]
                blocked = any(
                    reference["uid"] == uid and reference.get("blockOwnerDeletion")
                    for other in self.items.values()
                    for reference in other["metadata"].get("ownerReferences") or []
                )
                if uid in leaving and not blocked:
                    new = copy.deepcopy(item)
                    new["metadata"]["finalizers"].remove(_FOREGROUND)
                    self._store(key, new)

    def _log(self, key: Key, query: dict[str, str]) -> str:
        pod = self._require(key)
        if pod["status"].get("phase") == "Pending":
            container = query.get("container")
            raise Refused(
                400, "BadRequest",
                f'container "{container}" in pod "{key[2]}" is waiting to start: ContainerCreating',
            )  # fmt: skip
        lines = self.logs.get(key[2], "").splitlines(keepends=True)
        return "".join(lines[-int(query.get("tailLines") or len(lines) or 1) :])

    # What holds for all

    def _authorize(self, asked: Asked, group: str, key: Key, sub: str | None) -> None:
        if not self.rules:
            return
        plural, namespace, name = key
        watches = asked.query.get("watch") == "1"
        verb = {
            "GET": "get" if name else "watch" if watches else "list",
            "POST": "create", "PATCH": "patch", "DELETE": "delete",
        }[asked.method]  # fmt: skip
        resource = f"{plural}/{sub}" if sub else plural
        if not any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and ("resourceNames" not in rule or name in rule["resourceNames"])
            for rule in self.rules
        ):
            raise Refused(
                403, "Forbidden",
                f'{plural} is forbidden: User "system:serviceaccount:hub:jupyter-ext" cannot {verb} resource '
                f'"{resource}" in API group "{group}" in the namespace "{namespace}"',
            )  # fmt: skip

    def _validate(self, key: Key, item: Object, asked: Asked, old: Object | None = None) -> None:
        api_version, kind = KINDS[key[0]]
        if (item["apiVersion"], item["kind"]) != (api_version, kind):
            raise Refused(400, "BadRequest", f"the object is no {kind} of {api_version}")
        if kind == "RayCluster" and crd.FILE.is_file():
            if asked.query.get("fieldValidation") == "Strict" and (found := _checked(_stable(item))):
                raise Refused(422, "Invalid", f'RayCluster.ray.io "{key[2]}" is invalid: {"; ".join(found[:3])}')
            item.update(crd.defaulted(item))
        elif kind != "RayCluster" and (found := _checked(_stable(item))):
            raise Refused(400, "BadRequest", f"strict decoding error: {found[0]}")
        if old is not None and _backend(old) != _backend(item):
            raise Refused(422, "Invalid", "gcsFaultToleranceOptions.backend is immutable")

    def _require(self, key: Key) -> Object:
        if key not in self.items:
            raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.items[key]

    def _store(self, key: Key, item: Object) -> Object:
        old = self.items.get(key)
        metadata = item["metadata"]
        self.version += 1
        if old is None:
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 1}
        elif old.get("spec") != item.get("spec"):
            metadata["generation"] = old["metadata"]["generation"] + 1
        metadata["resourceVersion"] = str(self.version)
        self.items[key] = item
        if "deletionTimestamp" in metadata and not metadata.get("finalizers") and key[0] != "pods":
            self._drop(key)
        else:
            self._tell("ADDED" if old is None else "MODIFIED", key[0], item)
        return copy.deepcopy(item)

    def _drop(self, key: Key) -> None:
        item = self.items.pop(key)
        self.fields.pop(key, None)
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", key[0], item)

    def end_pod(self, name: str, namespace: str = "ray") -> None:
        """What a kubelet does when a pod's containers have ended after its deletion."""
        with self.changed:
            if ("pods", namespace, name) in self.items:
                self._drop(("pods", namespace, name))

    def _tell(self, what: str, plural: str, item: Object) -> None:
        self.history.append((self.version, what, plural, copy.deepcopy(item)))
        self.changed.notify_all()

    def _cut(self, connections: set[socket.socket]) -> None:
        for connection in tuple(connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: Any) -> None:
        """Connections are cut on purpose."""


def _handler(api: KubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise each answer takes 40 ms.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            api._sockets.add(self.connection)

        def finish(self) -> None:
            api._sockets.discard(self.connection)
            super().finish()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(
                self.command,
                parts.path,
                {name: values[0] for name, values in parse_qs(parts.query).items()},
                self.headers.get("Content-Type") or "",
                json.loads(body) if body else None,
            )
            api.asked.append(asked)
            try:
                if api.token and self.headers.get("Authorization") != f"Bearer {api.token}":
                    raise Refused(401, "Unauthorized", "Unauthorized")
                if asked.query.get("watch") == "1":
                    self._stream(asked)
                else:
                    found = api.answer(asked)
                    text = found if isinstance(found, str) else json.dumps(found)
                    self._send(201 if asked.method == "POST" else 200, text, {})
            except Refused as refused:
                self._send(refused.code, json.dumps(refused.status), refused.headers)
            except OSError:
                # The connection was cut, by the client or by a test.
                self.close_connection = True
            except Exception as error:
                api.failures.append(error)
                raise

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def _stream(self, asked: Asked) -> None:
            api.before(asked)
            events = api.watch(asked, self.connection)
            try:
                first = next(events, None)
            except Refused as refused:
                # The real one says so in either way.
                if api.gone_by_status or refused.code != 410:
                    raise
                first, events = {"type": "ERROR", "object": refused.status}, iter(())
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if first is not None:
                self._chunk(first)
            for event in events:
                if event is not None:
                    self._chunk(event)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, event: Object) -> None:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

        def _send(self, code: int, text: str, headers: dict[str, str]) -> None:
            payload = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(payload)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _stable(item: Object) -> str:
    """An object without what is another for each, and without what only the server writes."""
    metadata = {**item["metadata"], **dict.fromkeys({"uid", "resourceVersion"} & item["metadata"].keys(), "1")}
    for name in ("creationTimestamp", "generation", "managedFields"):
        metadata.pop(name, None)
    if "annotations" in metadata:
        metadata["annotations"] = {name: str(value)[:1] for name, value in metadata["annotations"].items()}
    return json.dumps({**{name: value for name, value in item.items() if name != "status"}, "metadata": metadata})


@lru_cache(1000)
def _checked(text: str) -> tuple[str, ...]:
    """What is wrong with an object. Remembered, because looking takes a tenth of a second."""
    item = json.loads(text)
    if item["kind"] == "RayCluster":
        return tuple(crd.problems(item))
    try:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return (error.message,)
    return ()


def _backend(cluster: Object) -> Any:
    return cluster.get("spec", {}).get("gcsFaultToleranceOptions", {}).get("backend")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _selected(item: Object, namespace: str, query: dict[str, str]) -> bool:
    metadata = item["metadata"]
    if namespace and metadata.get("namespace") != namespace:
        return False
    wanted = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
    return wanted.items() <= (metadata.get("labels") or {}).items()


def _values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by their paths; lists are leaves."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _values(below, f"{path}\0{name}" if path else name)
    else:
        yield path, value


def _leaves(item: Object) -> list[str]:
    return [path for path, _ in _values(item)]


def _set(item: Object, path: str, value: Any, *, remove: bool = False) -> None:
    *above, last = path.split("\0")
    for name in above:
        if not isinstance(item.get(name), dict):
            if remove:
                return
            item[name] = {}
        item = item[name]
    if remove:
        item.pop(last, None)
    else:
        item[last] = copy.deepcopy(value)


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    made = dict(value) if isinstance(value, dict) else {}
    for name, part in patch.items():
        if part is None:
            made.pop(name, None)
        else:
            made[name] = _merged(made.get(name), part)
    return made


def _operate(item: Any, operation: Object) -> None:
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    try:
        for name in above:
            item = item[int(name)] if isinstance(item, list) else item[name]
        at: Any = int(last) if isinstance(item, list) else last
        if operation["op"] == "test":
            if item[at] != operation["value"]:
                raise Refused(422, "Invalid", f"testing value {operation['path']} failed: test failed")
        elif operation["op"] == "replace":
            item[at]
            item[at] = operation["value"]
        elif operation["op"] == "add":
            item[at] = operation["value"]
        elif operation["op"] == "remove":
            del item[at]
        else:
            raise Refused(400, "BadRequest", f"unknown operation {operation['op']}")
    except (KeyError, IndexError) as error:
        raise Refused(422, "Invalid", f"{operation['op']} operation does not apply: missing path") from error
