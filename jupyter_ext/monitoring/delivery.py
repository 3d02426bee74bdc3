"""Messages about alarms: what a webhook and an Alertmanager are sent, and sending it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jupyter_ext.monitoring.values import Alarm, AlertmanagerRoute, Monitor, WebhookRoute

#: How long a receiver has to answer.
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """What is to be sent."""

    url: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What became of it: the HTTP status, if there was one, and what went wrong, if something did."""

    status: int | None
    error: str = ""

    @property
    def worth_another(self) -> bool:
        """Whether trying later may help: the receiver was away, busy or broken, and did not refuse."""
        return self.status is None or self.status in (408, 425, 429) or self.status >= 500


def webhook(
    route: WebhookRoute, secret: str | None, delivery_id: str, monitor: Monitor, event: str, those: Sequence[Alarm],
    at: datetime,
) -> Request:  # fmt: skip
    """Return the POST of a webhook.

    The body is JSON: ``type`` (``alarms.fired`` or ``alarms.resolved``), ``timestamp``, and in ``data`` the monitor and
    the alarms. ``webhook-id`` stays the same when it is sent again, so that a receiver can tell.

    Notes
    -----
    Headers and signature are those of the Standard Webhooks specification 1.0: ``v1,`` and the base64 of the
    HMAC-SHA256 of ``id.timestamp.body``, with the bytes that the secret's base64 stands for.
    """
    told = {
        "type": f"alarms.{event}",
        "timestamp": at.isoformat(),
        "data": {
            "monitor": {"id": monitor.id, "name": monitor.name, "model": monitor.model, "owner": monitor.owner},
            "alarms": [one.model_dump(mode="json", exclude={"monitor", "monitor_id", "model"}) for one in those],
        },
    }
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    stamp = str(int(at.timestamp()))
    headers = {"content-type": "application/json", "webhook-id": delivery_id, "webhook-timestamp": stamp}
    if secret is not None:
        headers["webhook-signature"] = signature(secret, delivery_id, stamp, body)
    return Request(route.url, headers, body)


def signature(secret: str, delivery_id: str, stamp: str, body: bytes) -> str:
    """Return the signature of a message by the Standard Webhooks specification.

    Examples
    --------
    >>> secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    >>> signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, b".".join([delivery_id.encode(), stamp.encode(), body]), hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def alertmanager(
    route: AlertmanagerRoute, monitor: Monitor, those: Sequence[Alarm], at: datetime, lasts_s: float
) -> Request:
    """Return the POST of alerts to an Alertmanager (API v2).

    A firing alert ends by itself after ``lasts_s`` seconds, so that one that nobody tells of any more goes away; a
    resolved one ended.
    """
    alerts = [
        {
            "labels": {
                **route.labels,
                "alertname": "JupyterExtMonitor",
                "monitor": monitor.name,
                "model": monitor.model or "",
                "owner": monitor.owner,
                "check": one.check,
                "feature": one.feature,
                "aspect": one.aspect,
            },
            "annotations": {"summary": one.message, "description": monitor.description},
            "startsAt": (one.fired_at or at).isoformat(),
            "endsAt": (one.resolved_at or at + timedelta(seconds=lasts_s)).isoformat(),
        }
        for one in those
    ]
    url = f"{route.url.rstrip('/')}/api/v2/alerts"
    return Request(url, {"content-type": "application/json"}, json.dumps(alerts, ensure_ascii=False).encode())


def send(client: Any, request: Request) -> Answer:
    """Send a request by an ``httpx.Client``; whatever happens is an answer."""
    import httpx

    try:
        response = client.post(request.url, content=request.body, headers=request.headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Answer(None, f"{type(error).__name__}: {error}"[:500])
    if response.is_success:
        return Answer(response.status_code)
    return Answer(response.status_code, f"HTTP {response.status_code}: {response.text[:300]}")
