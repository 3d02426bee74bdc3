"""Labeling functions that ask a language model, behind any endpoint that speaks OpenAI's ``/chat/completions``."""

from __future__ import annotations

import email.utils
import functools
import hashlib
import json
import math
import os
import queue
import re
import sqlite3
import ssl
import string
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import httpx
import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid, JupyterExtError, Unavailable
from jupyter_ext.labeling.functions import LabelingFunction, unknown_column
from jupyter_ext.labeling.votes import ABSTAIN

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 60.0
#: An endpoint that asks to come back later than this stops the run instead of holding up the notebook.
_LONGEST_WAIT = 600.0
#: This many prompts in a row without an answer mean that the endpoint is down, not that some rows are odd.
_GIVE_UP_AFTER = 20
#: What was sent when the user interrupts is paid for, so it gets this long to be answered and kept.
_GRACE_SECONDS = 5.0
_SAMPLES, _SAMPLE_LENGTH = 10, 200
#: Of English text; used until an endpoint has counted.
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class PromptUsage:
    """What a prompt function has used since it was made.

    Attributes
    ----------
    requests
        Requests sent, with those that were sent again.
    cached
        Prompts whose answers were found on disk.
    input_tokens, output_tokens
        As the endpoint counted them; estimated from the length of the text where it doesn't say.
    cost
        Of these tokens, in the currency of ``price``; None without a price.
    unmatched
        Rows whose answer named no label, or labels of different classes. They abstain.
    unmatched_samples
        The first few such answers, each once.
    """

    requests: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    unmatched: int = 0
    unmatched_samples: tuple[str, ...] = ()


class Clock:
    """Time as the rate limit and the retries see it. A test hands in its own."""

    def now(self) -> float:
        """Return the seconds since some moment."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Return after so many seconds, or at once when ``stop`` is set."""
        stop.wait(seconds)


class PromptFunction(LabelingFunction):
    """A labeling function whose votes are a language model's answers. Made by :func:`prompt_function`."""

    def __init__(
        self,
        template: str,
        labels: Mapping[str, int],
        *,
        name: str,
        model: str,
        url: str = "http://127.0.0.1:8000/v1",
        api_key: str | None = None,
        system: str | None = None,
        columns: Sequence[str] | None = None,
        temperature: float = 0.0,
        max_tokens: int = 16,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        retries: int = 5,
        timeout: float = 60.0,
        price: tuple[float, float] | None = None,
        cache: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        fields = _fields(template)
        missing = sorted(set(fields) - set(fields if columns is None else columns))
        if missing:
            raise Invalid(f"The template of {name!r} reads {missing[0]!r}, which is not among its columns.")
        _require(bool(model), "model", "the name of a model")
        _require(0 <= temperature < math.inf, "temperature", "a number from 0")
        _require(max_tokens >= 1, "max_tokens", "a number from 1")
        _require(concurrency >= 1, "concurrency", "a number from 1")
        _require(requests_per_minute is None or requests_per_minute > 0, "requests_per_minute", "a number above 0")
        _require(tokens_per_minute is None or tokens_per_minute > 0, "tokens_per_minute", "a number above 0")
        _require(retries >= 0, "retries", "a number from 0")
        _require(timeout > 0, "timeout", "a number of seconds above 0")
        _require(price is None or (len(price) == 2 and min(price) >= 0), "price", "two numbers from 0")
        readings = _readings(labels)
        facts = {
            "template": template,
            "labels": readings,
            "model": model,
            "system": system,
            "temperature": float(temperature),
            "max_tokens": int(max_tokens),
        }
        # As resources they count where another function calls this one and its digest is taken.
        super().__init__(
            self._vote_on_row,
            name=name,
            resources=facts,
            pre=(),
            columns=fields if columns is None else columns,
            batch=self._vote_on_frame,
        )
        self.kind = "model"
        self.__doc__ = f"Asks {model}: {template}"
        self.template = template
        self.labels = dict(labels)
        self.model = model
        self.system = system
        self.temperature = float(temperature)
        self.max_tokens = int(max_tokens)
        self.concurrency = int(concurrency)
        self.price = price
        self.cache = Path(cache).expanduser() if cache is not None else _cache_folder()
        self._fields = fields
        self._read_answer = _Reader(readings)
        self._lock = threading.Lock()
        self._counts = {"requests": 0, "cached": 0, "input_tokens": 0, "output_tokens": 0, "unmatched": 0}
        self._samples: list[str] = []
        clock = clock or Clock()
        pace = _Pace(requests_per_minute, tokens_per_minute, clock)
        self._endpoint = _Endpoint(_address(url), _Key(api_key), int(retries), timeout, pace, clock)
        self._again = functools.partial(
            prompt_function, template, self.labels, name=name, model=model, url=url, system=system, columns=columns,
            temperature=temperature, max_tokens=max_tokens, concurrency=concurrency,
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, retries=retries,
            timeout=timeout, price=price, cache=cache,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Callable[[], PromptFunction], tuple[()]]:
        # Without the key: what is pickled is stored and sent. The environment gives it where this is unpickled.
        return self._again, ()

    def __repr__(self) -> str:
        return f"PromptFunction({self.name!r}, model={self.model!r})"

    @cached_property
    def source(self) -> str:
        """The question, as a person reads it: model, system message, template, labels."""
        parts = [f"Model: {self.model} (temperature {self.temperature:g}, at most {self.max_tokens} tokens)"]
        if self.system is not None:
            parts.append(f"System:\n{self.system}")
        parts.append(f"Prompt:\n{self.template}")
        parts.append("Labels:\n" + "\n".join(f"{answer} → {number}" for answer, number in self.labels.items()))
        return "\n\n".join(parts) + "\n"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the votes: template, labels, model, system message, temperature, length of answers.

        Neither the address nor the key, the limits, the price or the cache count.
        """
        return hashlib.sha256(_json(self.resources)).hexdigest()

    @property
    def usage(self) -> PromptUsage:
        """What was asked so far, and what it cost."""
        with self._lock:
            counts, samples = dict(self._counts), tuple(self._samples)
        cost = self._cost(counts["input_tokens"], counts["output_tokens"])
        return PromptUsage(**counts, cost=cost, unmatched_samples=samples)

    def preview(self, frame: pd.DataFrame, n: int = 10, random_state: int = 0) -> pd.DataFrame:
        """Ask for a few rows, to see what the model makes of the prompt and what the whole frame would cost.

        Parameters
        ----------
        frame
            The rows to choose from.
        n
            How many to ask about.
        random_state
            Seed of the choice.

        Returns
        -------
        DataFrame
            With ``frame``'s index and the columns ``prompt``, ``answer`` (missing where the row failed) and ``vote``.
            ``.attrs["estimate"]`` says what is left to ask for the whole frame: ``requests``, ``input_tokens``,
            ``output_tokens``, ``tokens`` (their sum) and ``cost`` (None without a price). ``.attrs["errors"]`` has the
            reasons of rows that failed.

        Raises
        ------
        Invalid
            The endpoint refuses the key, or knows no such address or model.
        """
        prompts = self._prompts(frame)
        size = min(max(n, 0), len(prompts))
        chosen = np.sort(np.random.default_rng(random_state).choice(len(prompts), size, replace=False))
        sample = [prompts[number] for number in chosen]
        answers = self._answers(sample)
        outcomes = [answers[prompt] if isinstance(prompt, str) else prompt for prompt in sample]
        votes = [self._read_answer(one.text) if isinstance(one, _Answer) else ABSTAIN for one in outcomes]
        table = pd.DataFrame(
            {
                "prompt": [prompt if isinstance(prompt, str) else None for prompt in sample],
                "answer": [one.text if isinstance(one, _Answer) else None for one in outcomes],
                "vote": np.array([ABSTAIN if vote is None else vote for vote in votes], dtype=np.int64),
            },
            index=frame.index[chosen],
        )
        table.attrs["estimate"] = self._estimate(prompts, answers)
        table.attrs["errors"] = [str(one) for one in outcomes if isinstance(one, Exception)]
        return table

    def _vote_on_row(self, row: Any, **_resources: Any) -> int:
        """Vote on one row."""
        prompt = self.template.format_map(_Cells(row))
        outcome = self._answers([prompt])[prompt]
        if isinstance(outcome, Exception):
            raise outcome
        return self._count_vote(outcome.text)

    def _vote_on_frame(self, frame: pd.DataFrame) -> list[int | Exception]:
        """Vote on some rows, several at a time."""
        prompts = self._prompts(frame)
        answers = self._answers(prompts)
        votes: list[int | Exception] = []
        for prompt in prompts:
            outcome = answers[prompt] if isinstance(prompt, str) else prompt
            votes.append(outcome if isinstance(outcome, Exception) else self._count_vote(outcome.text))
        return votes

    def _count_vote(self, answer: str) -> int:
        vote = self._read_answer(answer)
        if vote is not None:
            return vote
        short = answer[:_SAMPLE_LENGTH]
        with self._lock:
            self._counts["unmatched"] += 1
            if len(self._samples) < _SAMPLES and short not in self._samples:
                self._samples.append(short)
        return ABSTAIN

    def _prompts(self, frame: pd.DataFrame) -> list[str | Exception]:
        for column in self._fields:
            if column not in frame.columns:
                raise unknown_column(self.name, column, frame.columns)
        prompts: list[str | Exception] = []
        for cells in zip(*(frame[column].tolist() for column in self._fields), strict=True):
            try:
                prompts.append(self.template.format_map(dict(zip(self._fields, cells, strict=True))))
            except Exception as error:  # noqa: BLE001 - a cell that the template can't show fails its own row
                prompts.append(error)
        return prompts

    def _body(self, prompt: str) -> bytes:
        messages = [{"role": "user", "content": prompt}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        return _json(
            {
                "model": self.model,
                "messages": messages,
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
            }
        )

    def _bodies(self, prompts: Iterable[str | Exception]) -> dict[str, tuple[str, bytes]]:
        """The key in the cache and the body of the request, by prompt; each prompt once."""
        bodies = {prompt: self._body(prompt) for prompt in prompts if isinstance(prompt, str)}
        return {prompt: (hashlib.sha256(body).hexdigest(), body) for prompt, body in bodies.items()}

    def _answers(self, prompts: Iterable[str | Exception]) -> dict[str, _Answer | Exception]:
        """Return what each prompt was answered, from the cache or from the endpoint, or why it has no answer."""
        bodies = self._bodies(prompts)
        cache = _Cache(self.cache)
        try:
            known = cache.find(key for key, _ in bodies.values())
        except BaseException:
            cache.close()
            raise
        outcomes: dict[str, _Answer | Exception] = {}
        todo: list[tuple[str, str, bytes]] = []
        for prompt, (key, body) in bodies.items():
            if key in known:
                outcomes[prompt] = known[key]
            else:
                todo.append((prompt, key, body))
        with self._lock:
            self._counts["cached"] += len(outcomes)
        if not todo:
            cache.close()
            return outcomes
        unanswered = 0
        with closing(self._ask(todo, cache)) as arriving:
            for prompt, outcome in arriving:
                outcomes[prompt] = outcome
                if isinstance(outcome, _Answer):
                    unanswered = 0
                elif isinstance(outcome, Unavailable):
                    unanswered += 1
                    if unanswered >= _GIVE_UP_AFTER:
                        raise Unavailable(f"{outcome} {unanswered} prompts in a row had no answer; stopped asking.")
        return outcomes

    def _ask(
        self, todo: list[tuple[str, str, bytes]], cache: _Cache
    ) -> Generator[tuple[str, _Answer | Exception], None, None]:
        """Ask with several threads, and give each prompt's outcome when it arrives. Closing this stops the asking."""
        stop = threading.Event()
        work: queue.SimpleQueue[tuple[str, str, bytes]] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[str, _Answer | Exception | _Stop]] = queue.SimpleQueue()
        for item in todo:
            work.put(item)
        n_threads = min(self.concurrency, len(todo))
        client = self._endpoint.client(n_threads)
        running = threading.Semaphore(n_threads - 1)

        def ask_on() -> None:
            try:
                while not stop.is_set():
                    try:
                        prompt, key, body = work.get_nowait()
                    except queue.Empty:
                        return
                    try:
                        outcome: _Answer | Exception | _Stop = self._endpoint.ask(client, key, body, stop, self._sent)
                        if isinstance(outcome, _Answer):
                            self._received(outcome)
                            cache.put(key, outcome)
                    except Exception as error:  # noqa: BLE001 - handed to the thread that waits for it
                        outcome = error
                    done.put((prompt, outcome))
                    if isinstance(outcome, _Stop):
                        stop.set()
            finally:
                # The last thread closes, not the one that waits: after an interrupt that one may leave earlier.
                if not running.acquire(blocking=False):
                    client.close()
                    cache.close()

        threads = [threading.Thread(target=ask_on, daemon=True, name=f"prompts-{n}") for n in range(n_threads)]
        try:
            for thread in threads:
                thread.start()
            for _ in todo:
                prompt, outcome = _next_of(done)
                if isinstance(outcome, _Stop):
                    raise outcome.error
                yield prompt, outcome
        finally:
            stop.set()
            deadline = time.monotonic() + _GRACE_SECONDS
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, deadline - time.monotonic()))

    def _sent(self) -> None:
        with self._lock:
            self._counts["requests"] += 1

    def _received(self, answer: _Answer) -> None:
        with self._lock:
            self._counts["input_tokens"] += answer.input_tokens
            self._counts["output_tokens"] += answer.output_tokens

    def _cost(self, input_tokens: float, output_tokens: float) -> float | None:
        if self.price is None:
            return None
        return (input_tokens * self.price[0] + output_tokens * self.price[1]) / 1e6

    def _estimate(
        self, prompts: list[str | Exception], sample: Mapping[str, _Answer | Exception]
    ) -> dict[str, int | float | None]:
        bodies = self._bodies(prompts)
        with closing(_Cache(self.cache)) as cache:
            known = cache.find(key for key, _ in bodies.values())
        left = [len(prompt) for prompt, (key, _) in bodies.items() if key not in known]
        seen = {prompt: one for prompt, one in sample.items() if isinstance(one, _Answer)}
        # A straight line through the origin: the system message and the template count as a part of every prompt.
        rate, output = 1 / _CHARACTERS_PER_TOKEN, float(self.max_tokens)
        if seen:
            rate = sum(one.input_tokens for one in seen.values()) / max(sum(map(len, seen)), 1)
            output = sum(one.output_tokens for one in seen.values()) / len(seen)
        tokens_in, tokens_out = round(rate * sum(left)), round(output * len(left))
        return {
            "requests": len(left),
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "tokens": tokens_in + tokens_out,
            "cost": self._cost(tokens_in, tokens_out),
        }


def prompt_function(
    template: str,
    labels: Mapping[str, int],
    *,
    name: str,
    model: str,
    url: str = "http://127.0.0.1:8000/v1",
    api_key: str | None = None,
    system: str | None = None,
    columns: Sequence[str] | None = None,
    temperature: float = 0.0,
    max_tokens: int = 16,
    concurrency: int = 8,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    retries: int = 5,
    timeout: float = 60.0,
    price: tuple[float, float] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> PromptFunction:
    r"""Make a labeling function that asks a language model about each row and reads a class from its answer.

    Answers are kept on disk, so nothing is asked twice: not for rows with the same prompt, not after an interrupt, not
    by another notebook. What is kept is the answer and its tokens below the SHA-256 of the request, never the prompt
    or the key.

    Parameters
    ----------
    template
        The prompt as a format string over the row's columns; write ``{{`` for a brace.
    labels
        The class that each answer stands for. Case, punctuation and what surrounds the words of a label make no
        difference; the longest label counts where one holds another ("not spam", "spam"). An answer with none of them,
        or with those of two classes, abstains and is counted in ``.usage``. The class may be ``ABSTAIN``.
    name
        What it is called in tables and in the workspace.
    model
        As the endpoint calls it.
    url
        The endpoint's address, up to and without ``/chat/completions``.
    api_key
        Sent as bearer token, and never stored. The environment variable ``OPENAI_API_KEY`` without, if it is set.
    system
        The message before the prompt.
    columns
        The columns that are checked before anything runs; those in the template without.
    temperature, max_tokens
        Of the model's answer.
    concurrency
        How many requests are under way at a time.
    requests_per_minute, tokens_per_minute
        Limits that are not exceeded: requests are spread evenly. Tokens are estimated, and corrected by each answer.
    retries
        How often a request is sent again after a failed connection, an overloaded (429) or a broken (5xx) endpoint:
        after as long as the endpoint asks for, or else after half a second, a second, two.
    timeout
        Seconds without a byte from the endpoint that count as a failed connection.
    price
        Of a million input tokens and of a million output tokens, for the cost in ``.usage`` and ``.preview``.
    cache
        The folder with the answers; ``jupyter-ext/prompts`` in the user's cache folder without.

    Returns
    -------
    PromptFunction
        A labeling function, with ``.preview(frame)`` and ``.usage``.

    Raises
    ------
    Invalid
        Here, for a template without columns, labels that can't be told apart, or numbers that make no sense. When
        asking, for an endpoint that refuses the key or knows no such address or model.
    Unavailable
        When asking, if many prompts in a row had no answer.

    Examples
    --------
    >>> spam = prompt_function(
    ...     "Is this comment spam?\n\n{text}\n\nAnswer yes or no.", {"yes": 1, "no": 0}, name="asked", model="qwen3-8b"
    ... )
    >>> spam
    PromptFunction('asked', model='qwen3-8b')
    >>> spam.columns
    ('text',)
    >>> print(spam.source)
    Model: qwen3-8b (temperature 0, at most 16 tokens)
    <BLANKLINE>
    Prompt:
    Is this comment spam?
    <BLANKLINE>
    {text}
    <BLANKLINE>
    Answer yes or no.
    <BLANKLINE>
    Labels:
    yes → 1
    no → 0
    <BLANKLINE>
    >>> prompt_function("Is it spam?", {"yes": 1}, name="asked", model="qwen3-8b")
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: The template names no column, such as {text}: every row would have the same prompt.
    """
    return PromptFunction(
        template,
        labels,
        name=name,
        model=model,
        url=url,
        api_key=api_key,
        system=system,
        columns=columns,
        temperature=temperature,
        max_tokens=max_tokens,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        retries=retries,
        timeout=timeout,
        price=price,
        cache=cache,
    )


@dataclass(frozen=True)
class _Answer:
    text: str
    input_tokens: int
    output_tokens: int


class _Stop(Exception):
    """No further prompt would be answered either: wrong key, wrong address."""

    def __init__(self, error: JupyterExtError) -> None:
        super().__init__(str(error))
        self.error = error


class _Cells:
    """A row as a template reads it: mappings, series and rows by item, simple objects by attribute."""

    def __init__(self, row: Any) -> None:
        self._row = row

    def __getitem__(self, name: str) -> Any:
        if hasattr(self._row, "__getitem__") and not isinstance(self._row, tuple):
            return self._row[name]
        return getattr(self._row, name)


class _Reader:
    """Reads the class from an answer; None where it names no label or labels of two classes.

    Examples
    --------
    >>> read = _Reader({"spam": 1, "not spam": 0})
    >>> read("**Spam!**"), read("This is Not-Spam."), read("spammy"), read("spam or not spam")
    (1, 0, None, None)
    """

    def __init__(self, labels: Mapping[str, int]) -> None:
        self._labels = labels
        longest_first = sorted(labels, key=lambda label: (-len(label), label))
        self._pattern = re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)")

    def __call__(self, answer: str) -> int | None:
        classes = {self._labels[label] for label in self._pattern.findall(_words(answer))}
        return classes.pop() if len(classes) == 1 else None


def _words(text: str) -> str:
    r"""Return the words, in lower case and with a space between.

    Examples
    --------
    >>> _words(" **YES**, it's_spam!\n")
    'yes it s spam'
    """
    # By category, as \w would tear the vowel signs off the words of many languages.
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in folded).split())


def _readings(labels: Mapping[str, int]) -> dict[str, int]:
    """The labels as they are looked for in answers."""
    readings: dict[str, int] = {}
    for label, number in labels.items():
        words = _words(str(label))
        if not words:
            raise Invalid(f"The label {label!r} has no letter or digit to look for in an answer.")
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < ABSTAIN:
            raise Invalid(f"The label {label!r} must stand for the number of a class, or ABSTAIN ({ABSTAIN}).")
        if readings.setdefault(words, int(number)) != number:
            raise Invalid(f"The label {label!r} can't be told from another one of a different class.")
    if not readings:
        raise Invalid("There are no labels; write which class an answer stands for, such as {'yes': 1, 'no': 0}.")
    return dict(sorted(readings.items()))


def _fields(template: str) -> list[str]:
    """The columns that a template reads, in order.

    Examples
    --------
    >>> _fields("{text} by {mean age:.1f} of {tags[0]}, {text!r} {{x}}")
    ['text', 'mean age', 'tags']
    """
    found: list[str] = []

    def collect(part: str | None) -> None:
        for _, field, spec, _ in string.Formatter().parse(part or ""):
            if field is None:
                continue
            name = re.split(r"[.\[]", field, maxsplit=1)[0]
            if not name or name.isdigit():
                raise Invalid("The template has a field without a name; write the column into the braces: {text}.")
            found.append(name)
            collect(spec)

    try:
        collect(template)
    except ValueError as error:
        raise Invalid(f"The template is no format string ({error}). Write {{{{ and }}}} for braces.") from None
    if not found:
        raise Invalid("The template names no column, such as {text}: every row would have the same prompt.")
    return list(dict.fromkeys(found))


def _require(fine: bool, what: str, wanted: str) -> None:
    if not fine:
        raise Invalid(f"{what} must be {wanted}.", field=what)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _next_of(results: queue.SimpleQueue[tuple[str, _Answer | Exception | _Stop]]) -> tuple[str, Any]:
    # Windows can't interrupt a wait without an end.
    while True:
        try:
            return results.get(timeout=0.5)
        except queue.Empty:
            continue


def _cache_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jupyter-ext" / "prompts"


class _Cache:
    """Answers by the SHA-256 of their requests, in a SQLite file that several processes may use at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "answers.db"
        self._lock = threading.Lock()
        try:
            # Answers may tell of the data, so the folder is for its owner alone.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                " (key TEXT PRIMARY KEY, text TEXT NOT NULL, input_tokens INTEGER NOT NULL,"
                " output_tokens INTEGER NOT NULL, answered_at REAL NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            self._database.close()
            self._fail(error)

    def find(self, keys: Iterable[str]) -> dict[str, _Answer]:
        """Return the answers that are there."""
        question = "SELECT text, input_tokens, output_tokens FROM answers WHERE key = ?"
        found = {}
        with self._lock:
            try:
                for key in keys:
                    row = self._database.execute(question, (key,)).fetchone()
                    if row is not None:
                        found[key] = _Answer(*row)
            except sqlite3.Error as error:
                self._fail(error)
        return found

    def put(self, key: str, answer: _Answer) -> None:
        """Keep an answer. It is on disk when this returns."""
        row = (key, answer.text, answer.input_tokens, answer.output_tokens, time.time())
        with self._lock:
            try:
                self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            except sqlite3.Error as error:
                try:
                    self._fail(error)
                except Invalid as told:
                    # Without the cache the next run would pay for everything again.
                    raise _Stop(told) from None

    def close(self) -> None:
        self._database.close()

    def _fail(self, error: Exception) -> NoReturn:
        raise Invalid(
            f"The cache of answers {str(self._path)!r} can't be used: {error}. Pass another folder as cache, or remove "
            "the file if it is broken."
        ) from None


class _Pace:
    """A token bucket for requests and one for tokens, each as deep as one request, so no minute ever exceeds a limit.

    Examples
    --------
    >>> class Still(Clock):
    ...     def now(self):
    ...         return 100.0
    >>> pace = _Pace(requests=60, tokens=600, clock=Still())
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


class _Key:
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


def _address(url: str) -> httpx.URL:
    """Return the address to post to.

    Examples
    --------
    >>> str(_address("https://models.example/v1/"))
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
class _Endpoint:
    """Where the model is, and how patiently it is asked."""

    address: httpx.URL
    key: _Key
    retries: int
    timeout: float
    pace: _Pace
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
    ) -> _Answer:
        """Send a request until it is answered.

        Raises
        ------
        Unavailable
            It was not answered, after all retries.
        Invalid
            The endpoint rejects this request.
        _Stop
            The endpoint would reject every request.
        """
        estimate = _tokens(body) + int(json.loads(body)["max_tokens"])
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
                raise _Stop(Unavailable(f"{self.address} {reason} and asks to come back in {wanted:.0f} s."))
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
            raise _Stop(Invalid(f"{self.address} {reason}. {given}, or set OPENAI_API_KEY."))
        if status == 404:
            raise _Stop(Invalid(f"{self.address} {reason}. Check url, which often ends with /v1, and model."))
        if status == 402 or "insufficient_quota" in reason:
            raise _Stop(Invalid(f"{self.address} {reason}. There is no credit left."))
        if status not in (408, 425, 429) and status < 500:
            raise Invalid(f"{self.address} {reason} and takes no such request.")

    def _answer(self, response: httpx.Response, body: bytes, estimate: int) -> _Answer:
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
        answer = _Answer(
            text,
            _count(counted.get("prompt_tokens"), _tokens(body)),
            _count(counted.get("completion_tokens"), _tokens(text)),
        )
        self.pace.correct(answer.input_tokens + answer.output_tokens - estimate)
        return answer


def _tokens(text: str | bytes) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


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
