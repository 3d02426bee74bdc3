"""What this server is: versions, shape, and the OpenAPI document."""

from __future__ import annotations

import json

from jupyter_ext._version import __version__
from jupyter_ext.server.routing import Bytes, Call, route
from jupyter_ext.values import Value


class Status(Value):
    """A running server's facts. Clients compare ``version`` with their own."""

    version: str
    user: str
    database: str
    ready: bool


@route("GET", "/status", resource="status", tracks_activity=False)
def get_status(call: Call) -> Status:
    """Say who is asked, and in which version."""
    return Status(version=__version__, user=call.user, database=call.workspace.store.database.dialect, ready=True)


@route("GET", "/openapi.json", resource="status", tracks_activity=False, media_type="application/json")
def get_openapi(call: Call) -> Bytes:
    """Return the OpenAPI 3.1 document of this API."""
    from jupyter_ext.server.handlers import all_routes
    from jupyter_ext.server.openapi import openapi_document

    return Bytes(json.dumps(openapi_document(all_routes())).encode())
