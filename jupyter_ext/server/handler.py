"""The one tornado handler behind every route.

A request is authenticated, authorised by resource and verb, run in the workspace's thread pool (so the event loop never
waits for a database), and its errors are mapped once, here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async
from tornado import web

from jupyter_ext.errors import Forbidden, JupyterExtError, MethodNotAllowed, Unavailable
from jupyter_ext.server import API_PREFIX

if TYPE_CHECKING:
    from jupyter_ext.server.routing import Api

_READS = ("GET", "HEAD")


class RouteHandler(APIHandler):
    """Serves every path below the API's prefix.

    One handler for all: routes are loaded when the workspace opens, not when the server loads its extensions.
    """

    def initialize(self, api: Callable[[], Awaitable[Api]]) -> None:
        """Take what the specification carries."""
        self._api = api
        # Decided when the route is known.
        self._track_activity = False

    @web.authenticated
    async def get(self) -> None:
        """Serve GET."""
        await self._serve()

    @web.authenticated
    async def head(self) -> None:
        """Serve HEAD."""
        await self._serve()

    @web.authenticated
    async def post(self) -> None:
        """Serve POST."""
        await self._serve()

    @web.authenticated
    async def put(self) -> None:
        """Serve PUT."""
        await self._serve()

    @web.authenticated
    async def delete(self) -> None:
        """Serve DELETE."""
        await self._serve()

    @web.authenticated
    async def patch(self) -> None:
        """Serve PATCH."""
        await self._serve()

    async def _serve(self) -> None:
        api = await self._api()
        method = str(self.request.method)
        # As it was sent, still encoded: a parameter may hold a slash.
        chosen, parameters = api.router.find(method, self.request.path.partition(API_PREFIX)[2])
        self._track_activity = chosen.tracks_activity
        action = "read" if chosen.method in _READS else "write"
        allowed = await ensure_async(self.authorizer.is_authorized(self, self.current_user, action, chosen.resource))
        if not allowed:
            raise Forbidden(f"You may not {action} {chosen.resource} on this server.", resource=chosen.resource)
        from jupyter_ext.server.routing import Call, run

        workspace = api.workspace
        call = Call(workspace, workspace.user_of(self.current_user), chosen.method)
        arguments, body = self.request.query_arguments, self.request.body
        try:
            running = asyncio.get_running_loop().run_in_executor(
                workspace.executor, lambda: run(chosen, call, parameters, arguments, body)
            )
        except RuntimeError as error:
            raise Unavailable("The server is stopping.") from error
        status, media_type, headers, payload = await running
        self.set_status(status)
        for name, value in headers.items():
            self.set_header(name, value)
        if payload is None:
            self.clear_header("Content-Type")
            await self.finish()
        else:
            await self.finish(payload, set_content_type=media_type)

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
            if isinstance(error, MethodNotAllowed):
                self.set_header("Allow", ", ".join(error.details["allowed"]))
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
