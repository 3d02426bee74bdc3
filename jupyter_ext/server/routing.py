"""Routes: a function with a contract becomes a tornado handler and a piece of the OpenAPI document.

A route is authenticated, authorised by resource and verb, parsed into values, run in the workspace's thread pool (so
the event loop never waits for a database), serialised, and its errors are mapped once, here.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async, url_path_join
from pydantic import BaseModel, TypeAdapter, ValidationError
from tornado import web

from jupyter_ext.errors import Forbidden, Invalid, JupyterExtError, NotFound

if TYPE_CHECKING:
    from jupyter_ext.workspace import Workspace

API_PREFIX = "jupyter-ext/api/v1"
_READS = ("GET", "HEAD")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """Who calls, and what they may reach."""

    workspace: Workspace
    user: str
    method: str


@dataclass(frozen=True)
class Bytes:
    """A binary answer."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A verb on a path, the function behind it, and its contract."""

    method: str
    path: str
    resource: str
    status: int
    tracks_activity: bool
    media_type: str
    function: Callable[..., Any]

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The function's annotations, resolved when first needed."""
        return typing.get_type_hints(self.function, include_extras=True)

    @property
    def body(self) -> Any:
        """The type of the body: a model, ``bytes``, or None."""
        return self.hints.get("body")

    @property
    def query(self) -> type[BaseModel] | None:
        """The model of the query string, or None."""
        return self.hints.get("query")

    @cached_property
    def adapter(self) -> TypeAdapter[Any] | None:
        """What serialises the answer, or None for binary and empty ones."""
        answer = self.hints.get("return")
        return None if answer in (None, type(None), Bytes) else TypeAdapter(answer)

    @property
    def path_parameters(self) -> list[str]:
        """Names of the path's parameters, in order."""
        return re.findall(r"{(\w+)}", self.path)

    def parse(self, arguments: dict[str, list[bytes]], body: bytes) -> dict[str, Any]:
        """Return the keyword arguments that query string and body stand for, or raise `Invalid`."""
        parsed: dict[str, Any] = {}
        if self.query is not None:
            parsed["query"] = _validated(self.query, _query_values(arguments), "query")
        if self.body is bytes:
            parsed["body"] = body
        elif self.body is not None:
            parsed["body"] = _validated(self.body, _json(body), "body")
        return parsed


def route(
    method: str,
    path: str,
    *,
    resource: str,
    status: int = 200,
    tracks_activity: bool = True,
    media_type: str = "application/octet-stream",
) -> Callable[[F], F]:
    """Declare a function to be a route.

    Parameters
    ----------
    method, path
        The verb, and the path below ``jupyter-ext/api/v1`` with ``{parameters}``.
    resource
        The noun that the server's authorizer is asked about: GET and HEAD need ``read``, the others ``write``.
    status
        The HTTP status of success.
    tracks_activity
        False for what a panel calls by itself, so that an open tab does not keep a pod alive.
    media_type
        What a binary answer is.
    """

    def declare(function: F) -> F:
        function.__route__ = Route(method, path, resource, status, tracks_activity, media_type, function)  # type: ignore[attr-defined]
        return function

    return declare


def routes_of(module: ModuleType) -> list[Route]:
    """Return the routes that a module declares."""
    return [
        value.__route__ for value in vars(module).values() if inspect.isfunction(value) and hasattr(value, "__route__")
    ]


def tornado_handlers(
    base_url: str, routes: Iterable[Route], workspace: Callable[[], Awaitable[Workspace]]
) -> list[Any]:
    """Return tornado handler specifications for ``routes``, one a path, and one that answers unknown paths in JSON."""
    by_path: dict[str, dict[str, Route]] = {}
    for item in routes:
        by_path.setdefault(item.path, {})[item.method] = item
    specifications: list[Any] = []
    # Literal segments first, so that /labels/sets is never taken for /labels/{something}.
    for path in sorted(by_path, key=lambda path: [(segment.startswith("{"), segment) for segment in path.split("/")]):
        pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)
        specifications.append(
            (
                url_path_join(base_url, API_PREFIX, pattern),
                RouteHandler,
                {"routes": by_path[path], "workspace": workspace},
            )
        )
    specifications.append(
        (url_path_join(base_url, API_PREFIX) + r"(?:/.*)?", RouteHandler, {"routes": {}, "workspace": workspace})
    )
    return specifications


class RouteHandler(APIHandler):
    """Serves the routes of one path."""

    def initialize(self, routes: dict[str, Route], workspace: Callable[[], Awaitable[Workspace]]) -> None:
        """Take what the specification carries."""
        self._routes = routes
        self._workspace = workspace
        chosen = routes.get(str(self.request.method))
        self._track_activity = chosen is None or chosen.tracks_activity

    @web.authenticated
    async def get(self, **path: str) -> None:
        """Serve GET."""
        await self._serve(path)

    @web.authenticated
    async def head(self, **path: str) -> None:
        """Serve HEAD."""
        await self._serve(path)

    @web.authenticated
    async def post(self, **path: str) -> None:
        """Serve POST."""
        await self._serve(path)

    @web.authenticated
    async def put(self, **path: str) -> None:
        """Serve PUT."""
        await self._serve(path)

    @web.authenticated
    async def delete(self, **path: str) -> None:
        """Serve DELETE."""
        await self._serve(path)

    @web.authenticated
    async def patch(self, **path: str) -> None:
        """Serve PATCH."""
        await self._serve(path)

    async def _serve(self, path: dict[str, str]) -> None:
        chosen = self._routes.get(str(self.request.method))
        if chosen is None:
            raise self._no_route()
        action = "read" if chosen.method in _READS else "write"
        allowed = await ensure_async(self.authorizer.is_authorized(self, self.current_user, action, chosen.resource))
        if not allowed:
            raise Forbidden(f"You may not {action} {chosen.resource} on this server.", resource=chosen.resource)
        workspace = await self._workspace()
        call = Call(workspace, workspace.user_of(self.current_user), chosen.method)
        arguments, body = self.request.query_arguments, self.request.body
        status, media_type, headers, payload = await asyncio.get_running_loop().run_in_executor(
            workspace.executor, lambda: _run(chosen, call, path, arguments, body)
        )
        self.set_status(status)
        for name, value in headers.items():
            self.set_header(name, value)
        if payload is None:
            self.clear_header("Content-Type")
            await self.finish()
        else:
            await self.finish(payload, set_content_type=media_type)

    def _no_route(self) -> JupyterExtError | web.HTTPError:
        if not self._routes:
            return NotFound(
                f"There is no {self.request.method} {self.request.path} here; see {API_PREFIX}/openapi.json."
            )
        self.set_header("Allow", ", ".join(sorted(self._routes)))
        return web.HTTPError(405, f"{self.request.method} is not possible here.", reason="method_not_allowed")

    def _reason_of(self, status_code: int) -> str:
        if status_code in (401, 403):
            return "forbidden" if getattr(self, "_jupyter_current_user", None) else "unauthenticated"
        return "error"

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is our fault with its traceback; what the caller can mend is theirs to read."""
        if isinstance(value, JupyterExtError) and value.status < 500:
            return
        super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error as ``{"message", "reason", "details"}``."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, JupyterExtError):
            self.set_status(error.status)
            reply = {"message": error.message, "reason": error.reason, "details": error.details}
        elif isinstance(error, web.HTTPError):
            reply = {
                "message": error.log_message or self._reason,
                "reason": error.reason or self._reason_of(status_code),
                "details": {},
            }
        else:
            reply = {
                "message": "The server failed on this request; its log has the traceback.",
                "reason": "internal",
                "details": {},
            }
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(reply, default=str))


def _run(
    chosen: Route, call: Call, path: dict[str, str], arguments: dict[str, list[bytes]], body: bytes
) -> tuple[int, str, dict[str, str], bytes | None]:
    answer = chosen.function(call, **path, **chosen.parse(arguments, body))
    if answer is None:
        return (204 if chosen.method != "HEAD" else 200), "", {}, None
    if isinstance(answer, Bytes):
        return chosen.status, chosen.media_type, answer.headers, answer.data
    assert chosen.adapter is not None
    return chosen.status, "application/json", {}, chosen.adapter.dump_json(answer)


#: Query arguments that belong to Jupyter, not to a route.
_JUPYTERS_OWN = {"no_track_activity", "token", "_xsrf"}


def _query_values(arguments: dict[str, list[bytes]]) -> dict[str, str]:
    values = {}
    for name, given in arguments.items():
        # JupyterLab appends a bare time stamp against caches: ?1700000000000
        if name in _JUPYTERS_OWN or (name.isdecimal() and given == [b""]):
            continue
        try:
            values[name] = given[-1].decode()
        except UnicodeDecodeError as error:
            raise Invalid(f"query: {name} is not UTF-8.") from error
    return values


def _json(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"The body is not JSON: {error}") from error


def _validated(model: Any, value: Any, where: str) -> Any:
    try:
        return (
            TypeAdapter(model).validate_python(value)
            if where == "query"
            else TypeAdapter(model).validate_json(json.dumps(value))
        )
    except ValidationError as error:
        problems = [
            {"field": ".".join(map(str, item["loc"])) or where, "message": item["msg"]}
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        said = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:5])
        raise Invalid(f"The {where} is wrong. {said}", problems=problems) from error
