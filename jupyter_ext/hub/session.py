"""A signed-in user of a hub, through the same doors a browser uses: the login form, the REST API, the proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from jupyter_ext.errors import Forbidden, Unavailable


@dataclass(frozen=True)
class SpawnStep:
    """One line of a spawn's progress: how far in percent, and what is happening."""

    progress: int
    message: str


class HubSession:
    """Sign a user in and hold a token of theirs.

    Parameters
    ----------
    url
        The hub's public address.
    user, password
        What the person types into the login form.

    Raises
    ------
    Forbidden
        If the hub refuses name or password.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self.token = self._sign_in(password)
        self.http = httpx.Client(headers={"Authorization": f"token {self.token}"}, timeout=60, trust_env=False)

    def _sign_in(self, password: str) -> str:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as browser:
            browser.get("/hub/login").raise_for_status()
            xsrf = browser.cookies["_xsrf"]
            form = {"username": self.user, "password": password, "_xsrf": xsrf}
            answer = browser.post("/hub/login", data=form)
            if answer.status_code == 403:
                raise Forbidden(f"The hub refused to sign in {self.user!r}: the name or the password is wrong.")
            if not answer.is_redirect:
                raise Unavailable(f"The hub's login answered {answer.status_code}.")
            # The hub ties its token to the session that it now began.
            browser.get("/hub/home", follow_redirects=True).raise_for_status()
            headers = {"X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/") or xsrf, "Referer": f"{self.url}/hub/"}
            asked = {"note": "HubSession", "expires_in": 86_400}
            token = browser.post(f"/hub/api/users/{quote(self.user, safe='')}/tokens", json=asked, headers=headers)
            token.raise_for_status()
            return str(token.json()["token"])

    @property
    def server_url(self) -> str:
        """The address of the user's server behind the proxy, without a trailing slash."""
        return f"{self.url}/user/{quote(self.user, safe='@~')}"

    @property
    def _api(self) -> str:
        return f"{self.url}/hub/api/users/{quote(self.user, safe='')}"

    def start_server(self) -> Iterator[SpawnStep]:
        """Start the user's server and yield its progress until it is ready.

        Raises
        ------
        Unavailable
            If the server does not come up; the message is the hub's.
        """
        answer = self.http.post(f"{self._api}/server")
        if answer.status_code == 400 and "already running" in answer.text:
            return
        answer.raise_for_status()
        with self.http.stream("GET", f"{self._api}/server/progress", timeout=180) as events:
            events.raise_for_status()
            for line in events.iter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line.removeprefix("data:"))
                if event.get("failed"):
                    raise Unavailable(f"The server of {self.user!r} did not start: {event.get('message', '')}")
                yield SpawnStep(int(event.get("progress", 0)), str(event.get("message", "")))
                if event.get("ready"):
                    return
        raise Unavailable(f"The hub ended its progress report before the server of {self.user!r} was ready.")

    def stop_server(self, timeout: float = 90) -> None:
        """Stop the user's server through the hub, and wait until it is gone.

        Raises
        ------
        Unavailable
            If it still runs after ``timeout`` seconds.
        """
        answer = self.http.delete(f"{self._api}/server", timeout=timeout)
        if answer.status_code not in (202, 204, 404):
            raise Unavailable(f"The hub answered {answer.status_code} to stopping the server of {self.user!r}.")
        deadline = time.monotonic() + timeout
        while self._server_is_known():
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The server of {self.user!r} still runs {timeout:.0f} s after the hub was asked to stop it."
                )
            time.sleep(0.2)

    def _server_is_known(self) -> bool:
        answer = self.http.get(self._api)
        answer.raise_for_status()
        user = answer.json()
        return bool(user.get("server") or user.get("pending"))

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request to the user's server; ``path`` begins with ``/`` and is relative to the server."""
        return self.http.request(method, self.server_url + path, **kwargs)

    def close(self) -> None:
        """Close the connections; the token expires by itself."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
