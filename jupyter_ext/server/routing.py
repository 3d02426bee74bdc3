"""Routes: a function with a contract becomes a part of the API and a piece of the OpenAPI document."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, TypeAdapter, ValidationError

from jupyter_ext.errors import Invalid, MethodNotAllowed, NotFound
from jupyter_ext.server import API_PREFIX

if TYPE_CHECKING:
    from jupyter_ext.workspace import Workspace

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


class Router:
    """Finds the route of a request.

    Examples
    --------
    >>> def show(call, name): ...
    >>> router = Router([Route("GET", "/models/{name}", "models", 200, True, "", show)])
    >>> found, parameters = router.find("GET", "/models/tu%20mour")
    >>> found.path, parameters
    ('/models/{name}', {'name': 'tu mour'})
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        by_path: dict[str, dict[str, Route]] = {}
        for item in routes:
            by_path.setdefault(item.path, {})[item.method] = item
        # Literal segments first, so that /labels/sets is never taken for /labels/{something}.
        ordered = sorted(by_path, key=lambda path: [(part.startswith("{"), part) for part in path.split("/")])
        self._paths = [(re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), by_path[path]) for path in ordered]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route of ``method`` on ``path`` (percent-encoded), and its parameters.

        Raises
        ------
        NotFound
            There is no such path.
        MethodNotAllowed
            There is, for other methods.
        """
        for pattern, routes in self._paths:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method not in routes:
                raise MethodNotAllowed(f"{method} is not possible here.", allowed=sorted(routes))
            try:
                return routes[method], {
                    name: unquote(value, errors="strict") for name, value in match.groupdict().items()
                }
            except UnicodeDecodeError as error:
                raise Invalid("The path is not UTF-8.") from error
        raise NotFound(f"There is no {method} {path} here; see {API_PREFIX}/openapi.json.")


@dataclass(frozen=True)
class Api:
    """What answers requests: an open workspace, and the routes into it."""

    workspace: Workspace
    router: Router


def run(
    chosen: Route, call: Call, path: dict[str, str], arguments: dict[str, list[bytes]], body: bytes
) -> tuple[int, str, dict[str, str], bytes | None]:
    """Parse a request, call its route, and serialise what it returns: status, media type, headers, body."""
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
