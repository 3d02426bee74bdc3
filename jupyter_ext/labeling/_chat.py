"""Asking an endpoint that speaks OpenAI's ``/chat/completions``: how fast, how often, and what it answers."""

from __future__ import annotations

import email.utils
import functools
import json
import math
import os
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from jupyter_ext.errors import Invalid, JupyterExtError, Unavailable

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 60.0
#: An endpoint that asks to come back later than this stops the run instead of holding up the notebook.
_LONGEST_WAIT = 600.0
#: Of English text; used until an endpoint has counted.
CHARACTERS_PER_TOKEN = 4


class Clock:
    """Time as the rate limit and the retries see it. A test hands in its own."""

    def now(self) -> float:
        """Return the seconds since some moment."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Return after so many seconds, or at once when ``stop`` is set."""
        stop.wait(seconds)


@dataclass(frozen=True)
class Answer:
    text: str
    input_tokens: int
    output_tokens: int


class Stop(Exception):
    """No further prompt would be answered either: wrong key, wrong address."""

    def __init__(self, error: JupyterExtError) -> None:
        super().__init__(str(error))
        self.error = error


class Pace:
    """A token bucket for requests and one for tokens, each as deep as one request, so no minute ever exceeds a limit.

    Examples
    --------
    >>> class Still(Clock):
    ...     def now(self):
    ...         return 100.0
    >>> pace = Pace(requests=60, tokens=600, clock=Still())
    >>> [pace.reserve(10), pace.reserve(30), pace.reserve(5), pace.reserve(5)]
    [100.0, 101.0, 104.0, 105.0]
    """

    def __init__(self, requests: float | None, tokens: float | None, clock: Clock) -> None:
        self._a_request = 60 / requests if requests else 0.0
        self._a_token = 60 / tokens if tokens else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next_request = self._next_token = self._held = -math.inf

    def reserve(self, tokens: int) -> float:
        """Return the moment from which a request with so many tokens may be sent."""
        with self._lock:
            moment = max(self._clock.now(), self._next_request, self._next_token)
            self._next_request = moment + self._a_request
            self._next_token = moment + tokens * self._a_token
        return moment

    def correct(self, tokens: int) -> None:
        """Charge so many tokens more (less, if negative) than was reserved."""
        with self._lock:
            self._next_token += tokens * self._a_token

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: the endpoint asked for it."""
        with self._lock:
            self._held = max(self._held, self._clock.now() + seconds)

    def wait(self, tokens: int, stop: threading.Event) -> None:
        """Return when a request with so many tokens may be sent, or ``stop`` is set."""
        moment = self.reserve(tokens)
        while not stop.is_set() and (left := max(moment, self._held) - self._clock.now()) > 0:
            self._clock.wait(stop, left)


class Key:
    """A bearer token that neither a repr, nor a pickle, nor an error shows."""

    def __init__(self, value: str | None) -> None:
        self.__value = value

    def __repr__(self) -> str:
        return "<key>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")

    def headers(self) -> dict[str, str]:
        value = (self.__value or os.environ.get("OPENAI_API_KEY") or "").strip()
        if not value:
            return {}
        # Checked here, as the HTTP library would show the key in its error.
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise Invalid("The API key has characters that no key can have; copy it again.")
        return {"Authorization": f"Bearer {value}"}


def address(url: str) -> httpx.URL:
    """Return the address to post to.

    Examples
    --------
    >>> str(address("https://models.example/v1/"))
    'https://models.example/v1/chat/completions'
    """
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        raise Invalid("url is no address; it looks like http://127.0.0.1:8000/v1.", field="url") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise Invalid("url must begin with http:// or https:// and a host.", field="url")
    if address.userinfo or address.query or address.fragment:
        # It is stored and shown in errors, where a password has no place.
        raise Invalid("url is scheme, host and path alone; a password or key goes into api_key.", field="url")
    return address.copy_with(path=address.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions")


@functools.cache
def _certificates() -> ssl.SSLContext:
    # Reading them takes longer than many a model takes to answer.
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Endpoint:
    """Where the model is, and how patiently it is asked."""

    address: httpx.URL
    key: Key
    retries: int
    timeout: float
    pace: Pace
    clock: Clock

    def client(self, connections: int) -> httpx.Client:
        return httpx.Client(
            headers={"Content-Type": "application/json", **self.key.headers()},
            timeout=self.timeout,
            limits=httpx.Limits(max_connections=connections),
            verify=_certificates(),
            # A proxy for the outer world knows nothing of a server on this machine.
            trust_env=self.address.host not in ("localhost", "127.0.0.1", "::1"),
        )

    def ask(
        self, client: httpx.Client, key: str, body: bytes, stop: threading.Event, sent: Callable[[], None]
    ) -> Answer:
        """Send a request until it is answered.

        Raises
        ------
        Unavailable
            It was not answered, after all retries.
        Invalid
            The endpoint rejects this request.
        Stop
            The endpoint would reject every request.
        """
        estimate = tokens(body) + int(json.loads(body)["max_tokens"])
        reason = ""
        for attempt in range(self.retries + 1):
            self.pace.wait(estimate, stop)
            if stop.is_set():
                break
            sent()
            wanted: float | None = None
            try:
                response = client.post(self.address, content=body)
            except httpx.RequestError as error:
                # Only its kind, as its text may hold what was sent.
                reason = f"failed with {type(error).__name__}"
            else:
                if response.is_success:
                    return self._answer(response, body, estimate)
                reason = f"answered {response.status_code}{_code(response)}"
                self._refuse(response, reason)
                wanted = _retry_after(response.headers.get("Retry-After"))
            if attempt == self.retries:
                break
            if wanted is not None and wanted > _LONGEST_WAIT:
                raise Stop(Unavailable(f"{self.address} {reason} and asks to come back in {wanted:.0f} s."))
            if wanted is not None:
                self.pace.hold(wanted)
            else:
                self.clock.wait(stop, _backoff(attempt, key))
        raise Unavailable(f"{self.address} {reason}, {self.retries + 1} times.")

    def _refuse(self, response: httpx.Response, reason: str) -> None:
        """Raise if sending the same again makes no sense."""
        status = response.status_code
        if status in (401, 403):
            given = "Check api_key" if "Authorization" in response.request.headers else "Pass a key as api_key"
            raise Stop(Invalid(f"{self.address} {reason}. {given}, or set OPENAI_API_KEY."))
        if status == 404:
            raise Stop(Invalid(f"{self.address} {reason}. Check url, which often ends with /v1, and model."))
        if status == 402 or "insufficient_quota" in reason:
            raise Stop(Invalid(f"{self.address} {reason}. There is no credit left."))
        if status not in (408, 425, 429) and status < 500:
            raise Invalid(f"{self.address} {reason} and takes no such request.")

    def _answer(self, response: httpx.Response, body: bytes, estimate: int) -> Answer:
        try:
            told = response.json()
            text = told["choices"][0]["message"].get("content")
            if text is None:  # a refusal, or all tokens went into thinking
                text = ""
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Unavailable(f"{self.address} answered with something that is no chat completion.") from None
        usage = told.get("usage")
        counted = usage if isinstance(usage, dict) else {}
        answer = Answer(
            text,
            _count(counted.get("prompt_tokens"), tokens(body)),
            _count(counted.get("completion_tokens"), tokens(text)),
        )
        self.pace.correct(answer.input_tokens + answer.output_tokens - estimate)
        return answer


def tokens(text: str | bytes) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise


def _code(response: httpx.Response) -> str:
    """What the endpoint calls the error: its code, never its sentence, which may repeat the prompt or the key."""
    try:
        error = response.json()["error"]
        code = error.get("code") or error.get("type") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return f" ({code})" if re.fullmatch(r"[a-z]+(_[a-z]+){0,5}", str(code)) else ""


def _backoff(attempt: int, key: str) -> float:
    """Seconds to wait, doubled by each attempt; spread by the request's hash, so that threads don't come back at once.

    Examples
    --------
    >>> [_backoff(attempt, "f" * 64) for attempt in (0, 1, 2, 20)]
    [0.5, 1.0, 2.0, 60.0]
    """
    longest = min(_FIRST_BACKOFF * 2.0**attempt, _LONGEST_BACKOFF)
    return longest * (0.5 + 0.5 * int(key[:8], 16) / 0xFFFFFFFF)


def _retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header, which has them or a date.

    Examples
    --------
    >>> _retry_after("2.5"), _retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), _retry_after("soon"), _retry_after(None)
    (2.5, 0.0, None, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
