"""The wire: REST calls with our token, JSON in and out, errors as our own classes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_ext.errors import JupyterExtError, Unavailable, from_payload

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel

API_PREFIX = "jupyter-ext/api/v1"
_TIMEOUT_SECONDS = 60.0
#: What a hub and its proxy answer for a server that is stopped or starting, and a server that can't work now.
_AWAY = (424, 502, 503, 504)


class Unreachable(Unavailable):
    """Nobody took the call: the server is stopped, starting, or out of reach."""


def segment(value: object) -> str:
    """Quote a value for use as one segment of a path.

    Examples
    --------
    >>> segment("a/b @c")
    'a%2Fb%20%40c'
    """
    return quote(str(value), safe="")


class Transport:
    """Calls one server's API.

    Parameters
    ----------
    url
        The Jupyter server's URL, base path included.
    token
        Its token; sent as ``Authorization: token …``.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/") + "/"
        #: Which workspace and user are behind the address, once the server has said so.
        self.workspace: str | None = None
        #: Called after every answer that is no error.
        self.on_answer: Callable[[], None] = lambda: None
        self._token = token
        self._http: httpx.Client | None = None
        self._opening = threading.Lock()

    def identify(self) -> None:
        """Learn whose workspace is behind the address, unless it is known."""
        if self.workspace is None:
            status = self.get("status")
            # A server of an older version does not say.
            self.workspace = f"{status['workspace']}/{status['user']}" if "workspace" in status else None

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of a GET; parameters that are None are left out."""
        return self._json("GET", path, params={name: value for name, value in params.items() if value is not None})

    def post(self, path: str, body: BaseModel | dict[str, Any] | None = None) -> Any:
        """Return the JSON of a POST (None for an empty answer)."""
        return self._json("POST", path, json=_plain(body))

    def patch(self, path: str, body: BaseModel | dict[str, Any] | None = None) -> Any:
        """Return the JSON of a PATCH (None for an empty answer)."""
        return self._json("PATCH", path, json=_plain(body))

    def put(self, path: str, body: BaseModel | dict[str, Any] | None = None) -> Any:
        """Return the JSON of a PUT (None for an empty answer)."""
        return self._json("PUT", path, json=_plain(body))

    def delete(self, path: str) -> Any:
        """Return the JSON of a DELETE (None for an empty answer)."""
        return self._json("DELETE", path)

    def pages(self, path: str, **params: Any) -> list[Any]:
        """Return the items of all pages of a list."""
        items: list[Any] = []
        cursor = None
        while True:
            page = self.get(path, **params, cursor=cursor)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    def upload(self, data: bytes) -> str:
        """Store a blob, unless the server has it already, and return its digest."""
        digest = hashlib.sha256(data).hexdigest()
        known = self._send("HEAD", f"blobs/{digest}")
        self._checked(known if known.status_code != 404 else self._send("PUT", f"blobs/{digest}", content=data))
        return digest

    def download(self, path: str) -> bytes:
        """Return the bytes of a binary GET."""
        return self._checked(self._send("GET", path)).content

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _json(self, method: str, path: str, **how: Any) -> Any:
        response = self._checked(self._send(method, path, **how))
        return None if response.status_code == 204 else response.json()

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        import httpx

        with self._opening:
            self._http = self._http or self._open()
            http = self._http
        try:
            return http.request(method, path.lstrip("/"), **how)
        except httpx.TransportError as error:
            raise Unreachable(
                f"The Jupyter server at {self.url} does not answer: {error}. Is it still running?"
            ) from error

    def _open(self) -> httpx.Client:
        import httpx

        # A bare token keeps the hub's cookies and the machine's proxies out of it: the server is next door.
        return httpx.Client(
            base_url=self.url + API_PREFIX,
            headers={"Authorization": f"token {self._token}"} if self._token else {},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
            verify=self.url.startswith("https:"),
        )

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            self.on_answer()
            return response
        try:
            payload = response.json()
        except ValueError:
            payload = {}
        if response.status_code in _AWAY:
            said = payload.get("message") or f"HTTP {response.status_code}"
            raise Unreachable(str(said), **dict(payload.get("details") or {}))
        if response.status_code == 404 and "reason" not in payload:
            raise Unavailable(
                f"The Jupyter server at {self.url} runs without jupyter-ext. "
                "Install it there and enable it: jupyter server extension enable jupyter_ext"
            )
        if response.status_code in (401, 403) and payload.get("reason") != "forbidden":
            error = JupyterExtError(
                f"The Jupyter server at {self.url} refuses this token (HTTP {response.status_code})."
            )
            error.status = response.status_code
            raise error
        raise from_payload(response.status_code, payload)


def _plain(body: Any) -> Any:
    return body.model_dump(mode="json") if hasattr(body, "model_dump") else body
