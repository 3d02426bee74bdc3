"""Every error that crosses a door of ours, with its HTTP status and its machine-readable reason.

Services raise these; ``server`` turns them into ``{"message", "reason", "details"}`` and ``client`` turns that back
into the same class, so a user of the notebook sees the service's own sentence.
"""

from __future__ import annotations

from typing import Any


class JupyterExtError(Exception):
    """Base of all our errors.

    Parameters
    ----------
    message
        What was wrong, where, and what to do, in one or two sentences. Never the user's data.
    details
        JSON-able facts for a program (the offending field, the allowed values).

    Examples
    --------
    >>> error = NotFound("There is no job 'j-1'.", job="j-1")
    >>> error.status, error.reason, error.details
    (404, 'not_found', {'job': 'j-1'})
    """

    status = 500
    reason = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(JupyterExtError):
    """The input is wrong: an unknown column, a mis-shaped vote, a label outside the schema."""

    status = 400
    reason = "invalid"


class Forbidden(JupyterExtError):
    """The user is known and may not do this."""

    status = 403
    reason = "forbidden"


class NotFound(JupyterExtError):
    """There is nothing of that name or id."""

    status = 404
    reason = "not_found"


class MethodNotAllowed(JupyterExtError):
    """The path exists, the method on it does not."""

    status = 405
    reason = "method_not_allowed"


class Conflict(JupyterExtError):
    """The thing exists already with other content, or is in a state that forbids the verb."""

    status = 409
    reason = "conflict"


class TooLarge(JupyterExtError):
    """The upload is over the configured limit."""

    status = 413
    reason = "too_large"


class Unavailable(JupyterExtError):
    """A part we depend on (Ray, MLflow, the database) does not answer now; trying later may work."""

    status = 503
    reason = "unavailable"


class StorageFull(JupyterExtError):
    """The object store has no room left. Nothing was written."""

    status = 507
    reason = "storage_full"


def _by_reason() -> dict[str, type[JupyterExtError]]:
    return {cls.reason: cls for cls in JupyterExtError.__subclasses__()}


def from_payload(status: int, payload: dict[str, Any]) -> JupyterExtError:
    """Rebuild the error a server sent.

    Examples
    --------
    >>> error = from_payload(404, {"message": "gone", "reason": "not_found", "details": {}})
    >>> type(error).__name__, str(error)
    ('NotFound', 'gone')
    """
    cls = _by_reason().get(str(payload.get("reason")), JupyterExtError)
    error = cls(str(payload.get("message") or f"HTTP {status}"), **dict(payload.get("details") or {}))
    error.status = status
    return error
