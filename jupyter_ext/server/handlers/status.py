"""What this server is: versions, shape, and the OpenAPI document."""

from __future__ import annotations

import hashlib
import json

from jupyter_ext._version import __version__
from jupyter_ext.server.routing import Bytes, Call, route
from jupyter_ext.values import Value


class Status(Value):
    """A running server's facts. Clients compare ``version`` with their own.

    ``workspace`` is the same for all servers of one workspace: a server that starts again may have another address.
    """

    version: str
    workspace: str
    user: str
    database: str
    ready: bool


@route("GET", "/status", resource="status", tracks_activity=False)
def get_status(call: Call) -> Status:
    """Say who is asked, and in which version."""
    database = call.workspace.store.database
    # As text the URL has no password.
    workspace = hashlib.sha256(str(database.engine.url).encode()).hexdigest()[:32]
    return Status(version=__version__, workspace=workspace, user=call.user, database=database.dialect, ready=True)


@route("GET", "/openapi.json", resource="status", tracks_activity=False, media_type="application/json")
def get_openapi(call: Call) -> Bytes:
    """Return the OpenAPI 3.1 document of this API."""
    from jupyter_ext.server.handlers import all_routes
    from jupyter_ext.server.openapi import openapi_document

    return Bytes(json.dumps(openapi_document(all_routes())).encode())
