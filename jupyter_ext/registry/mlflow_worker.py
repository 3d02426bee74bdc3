"""The child process that alone imports mlflow: ``python -m jupyter_ext.registry.mlflow_worker``.

It reads one JSON request a line, ``{"id", "method", "params"}``, and answers one line each, ``{"id", "result"}`` or
``{"id", "error": {"reason", "status", "message", "details"}}``. The first request is ``connect``. It ends when its
standard input does, so it never outlives the server, and when nobody asked anything for a while.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import traceback
from typing import IO, TYPE_CHECKING, Any

from jupyter_ext.errors import Conflict, Forbidden, Invalid, JupyterExtError, NotFound, StorageFull, Unavailable

if TYPE_CHECKING:
    from jupyter_ext.registry.mlflow_registry import MlflowRegistry

#: The methods that may be asked for; each may be asked twice with the same effect as once.
METHODS = frozenset(
    {
        "ping",
        "list_models",
        "get_model",
        "list_versions",
        "get_version",
        "require_version",
        "pack_version",
        "register",
        "find_request",
        "discard",
        "set_alias",
        "delete_alias",
        "track",
    }
)
_BY_CODE: dict[str, type[JupyterExtError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "RESOURCE_ALREADY_EXISTS": Conflict,
    "INVALID_PARAMETER_VALUE": Invalid,
    "BAD_REQUEST": Invalid,
    "PERMISSION_DENIED": Forbidden,
    "UNAUTHENTICATED": Forbidden,
    "TEMPORARILY_UNAVAILABLE": Unavailable,
}


class Worker:
    """Answers requests with an `MlflowRegistry`, which ``connect`` makes."""

    def __init__(self) -> None:
        self._registry: MlflowRegistry | None = None

    def answer(self, line: bytes) -> bytes:
        """Return the reply to one request; never raises."""
        number = None
        try:
            request = json.loads(line)
            number = request["id"]
            return _encoded({"id": number, "result": self._call(request["method"], request["params"])})
        except Exception as error:  # noqa: BLE001 - whatever went wrong is an answer; the next request is served all the same
            known = translated(error)
            if type(known) is JupyterExtError:
                traceback.print_exc()
            reply = {"reason": known.reason, "status": known.status, "message": known.message, "details": known.details}
            return _encoded({"id": number, "error": reply})

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        if method == "connect":
            from jupyter_ext.registry.mlflow_registry import MlflowRegistry

            self._registry = MlflowRegistry(**params)
            return self._registry.ping()
        if self._registry is None or method not in METHODS:
            raise Invalid(f"The MLflow worker has no method {method!r} now.")
        return getattr(self._registry, method)(**params)


def translated(error: Exception) -> JupyterExtError:
    """Return the error of ours that stands for an error of MLflow or of the system.

    Examples
    --------
    >>> translated(OSError(28, "No space left on device")).reason
    'storage_full'
    """
    if isinstance(error, JupyterExtError):
        return error
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("The disk under MLflow's artifacts is full. Free some space and register again.")
    if "out-of-date database schema" in text:
        return Unavailable(
            "MLflow's database is from an older version. Back it up, then run: mlflow db upgrade <tracking URI>."
        )
    if "Can't locate revision" in text:
        return Unavailable(
            "MLflow's database was written by a newer version of MLflow. Install that version, or newer."
        )
    code = getattr(error, "error_code", None)
    if code is not None:
        if "API request to" in text and "failed with exception" in text:
            return Unavailable("The MLflow server does not answer. Check its address and that it runs, then try again.")
        return _BY_CODE.get(str(code), JupyterExtError)(f"MLflow says: {text}")
    if isinstance(error, OSError):
        return Unavailable(f"MLflow's files cannot be reached: {text}")
    return JupyterExtError(f"MLflow failed: {text}")


def _encoded(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, allow_nan=False).encode() + b"\n"


def serve(requests: IO[bytes], replies: IO[bytes], idle_stop_s: float) -> None:
    """Answer until the requests end, or until none came for ``idle_stop_s`` seconds."""
    worker = Worker()
    while True:
        # The client starts a new worker when it finds this one gone, even in the middle of a request.
        idle = threading.Timer(idle_stop_s, os._exit, (0,))
        idle.daemon = True
        idle.start()
        line = requests.readline()
        idle.cancel()
        if not line:
            return
        replies.write(worker.answer(line))
        replies.flush()


def main() -> None:
    """Keep the real standard output for replies, send everything that libraries print to standard error, and serve."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        serve(requests, replies, float(sys.argv[1]) if len(sys.argv) > 1 else 1800.0)
    except BrokenPipeError:
        # The server is gone; there is nobody left to tell.
        os._exit(0)


if __name__ == "__main__":
    main()
