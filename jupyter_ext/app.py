"""The server extension: traits in, services and handlers out."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_events import EventLogger
from jupyter_server.extension.application import ExtensionApp
from tornado.ioloop import PeriodicCallback

from jupyter_ext.errors import JupyterExtError, Unavailable
from jupyter_ext.server import API_PREFIX
from jupyter_ext.server.handler import RouteHandler
from jupyter_ext.workspace import Workspace

if TYPE_CHECKING:
    from jupyter_ext.server.routing import Api
    from jupyter_ext.store.outbox import Sink

EVENTS = Path(__file__).parent / "server" / "events"
EVENT_ID = "https://jupyter-ext.readthedocs.io/events/{noun}/v1"
_ACTIVITY_SECONDS = 60


class JupyterExt(ExtensionApp):
    """jupyter-ext as an extension of a Jupyter server."""

    name = "jupyter_ext"
    description = "Label, train on Ray, register and watch models without leaving JupyterLab."
    extension_url = "/lab"
    load_other_extensions = True
    classes = [Workspace]

    workspace: Workspace
    _ready: asyncio.Future[Api] | None = None
    _activity: PeriodicCallback | None = None
    _jobs_live = False

    def initialize_settings(self) -> None:
        """Build the workspace, which costs nothing yet, and declare our events."""
        self.workspace = Workspace(parent=self)
        for schema in sorted(EVENTS.glob("*.yaml")):
            self._events.register_event_schema(schema)

    def initialize_handlers(self) -> None:
        """Declare where our API lies."""
        self.handlers.append((f"/{API_PREFIX}(?:/.*)?", RouteHandler, {"api": self._opened}))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Open the workspace in a thread, now that the loop runs, and let kernels find us."""
        await super()._start_jupyter_server_extension(serverapp)  # type: ignore[no-untyped-call]
        os.environ["JUPYTER_EXT_URL"] = serverapp.connection_url
        os.environ["JUPYTER_EXT_TOKEN"] = _token(serverapp)
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        try:
            api = await loop.run_in_executor(None, self._open, self._sink(loop))
        except JupyterExtError as error:
            self.log.error("jupyter-ext cannot serve: %s", error)
            self._ready.set_exception(error)
            # Read at once, so that asyncio does not report it as forgotten when nobody calls us.
            self._ready.exception()
            return
        except BaseException as error:
            self._ready.set_exception(
                Unavailable(f"The workspace could not be opened: {error!r}. See the server's log.")
            )
            self._ready.exception()
            raise
        self._ready.set_result(api)
        self._activity = PeriodicCallback(self._note_activity, _ACTIVITY_SECONDS * 1000)
        self._activity.start()

    async def stop_extension(self) -> None:
        """Stop the background work in good order."""
        if self._activity is not None:
            self._activity.stop()
        if self._ready is not None and self._ready.done() and self._ready.exception() is None:
            await asyncio.get_running_loop().run_in_executor(None, self.workspace.close)

    def current_activity(self) -> dict[str, Any] | None:
        """Tell the server's shutdown check about live jobs."""
        return {"jobs": {"live": True}} if self._jobs_live else None

    @property
    def _events(self) -> EventLogger:
        assert self.serverapp is not None, "an extension runs in a server"
        assert self.serverapp.event_logger is not None
        return self.serverapp.event_logger

    def _open(self, sink: Sink) -> Api:
        """Open the workspace and load the routes into it."""
        # Modules that are loaded stay for good. Frozen, the collector does not walk through them again and again, which
        # holds up the event loop for up to a tenth of a second each time.
        gc.freeze()
        from jupyter_ext.server.handlers import all_routes
        from jupyter_ext.server.routing import Api, Router

        self.workspace.open()
        router = Router(all_routes())
        self.workspace.start(sink)
        gc.freeze()
        return Api(self.workspace, router)

    def _opened(self) -> Awaitable[Api]:
        if self._ready is None:
            raise Unavailable("The server is still starting; try again in a moment.")
        return asyncio.shield(self._ready)

    def _sink(self, loop: asyncio.AbstractEventLoop) -> Sink:
        async def deliver(noun: str, data: dict[str, Any]) -> None:
            self._events.emit(schema_id=EVENT_ID.format(noun=noun), data=data)

        def sink(noun: str, data: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(deliver(noun, data), loop).result(timeout=10)

        return sink

    async def _note_activity(self) -> None:
        """Stamp activity while jobs are live, so that a culler does not stop the server under them."""
        from jupyter_server._tz import utcnow

        loop = asyncio.get_running_loop()
        self._jobs_live = await loop.run_in_executor(self.workspace.executor, self.workspace.jobs.has_live_jobs)
        if self._jobs_live:
            self.settings.setdefault("last_activity_times", {})["jupyter_ext_jobs"] = utcnow()


def _token(serverapp: Any) -> str:
    """Return the token with which kernels of this server reach it: the hub's, or the server's own."""
    return os.environ.get("JUPYTERHUB_API_TOKEN") or str(getattr(serverapp.identity_provider, "token", "") or "")
