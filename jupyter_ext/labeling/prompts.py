"""Labeling functions that ask a language model, behind any endpoint that speaks OpenAI's ``/chat/completions``."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid, Unavailable
from jupyter_ext.labeling._chat import CHARACTERS_PER_TOKEN, Answer, Clock, Endpoint, Key, Pace, Stop, address
from jupyter_ext.labeling._chat_cache import Cache, cache_folder
from jupyter_ext.labeling._prompt_text import Cells, Reader, fields, readings
from jupyter_ext.labeling.functions import LabelingFunction, unknown_column
from jupyter_ext.labeling.votes import ABSTAIN

#: This many prompts in a row without an answer mean that the endpoint is down, not that some rows are odd.
_GIVE_UP_AFTER = 20
#: What was sent when the user interrupts is paid for, so it gets this long to be answered and kept.
_GRACE_SECONDS = 5.0
_SAMPLES, _SAMPLE_LENGTH = 10, 200


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
        read = fields(template)
        missing = sorted(set(read) - set(read if columns is None else columns))
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
        wanted = readings(labels)
        facts = {
            "template": template,
            "labels": wanted,
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
            columns=read if columns is None else columns,
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
        self.cache = Path(cache).expanduser() if cache is not None else cache_folder()
        self._fields = read
        self._read_answer = Reader(wanted)
        self._lock = threading.Lock()
        self._counts = {"requests": 0, "cached": 0, "input_tokens": 0, "output_tokens": 0, "unmatched": 0}
        self._samples: list[str] = []
        clock = clock or Clock()
        pace = Pace(requests_per_minute, tokens_per_minute, clock)
        self._endpoint = Endpoint(address(url), Key(api_key), int(retries), timeout, pace, clock)
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
        votes = [self._read_answer(one.text) if isinstance(one, Answer) else ABSTAIN for one in outcomes]
        table = pd.DataFrame(
            {
                "prompt": [prompt if isinstance(prompt, str) else None for prompt in sample],
                "answer": [one.text if isinstance(one, Answer) else None for one in outcomes],
                "vote": np.array([ABSTAIN if vote is None else vote for vote in votes], dtype=np.int64),
            },
            index=frame.index[chosen],
        )
        table.attrs["estimate"] = self._estimate(prompts, answers)
        table.attrs["errors"] = [str(one) for one in outcomes if isinstance(one, Exception)]
        return table

    def _vote_on_row(self, row: Any, **_resources: Any) -> int:
        """Vote on one row."""
        prompt = self.template.format_map(Cells(row))
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

    def _answers(self, prompts: Iterable[str | Exception]) -> dict[str, Answer | Exception]:
        """Return what each prompt was answered, from the cache or from the endpoint, or why it has no answer."""
        bodies = self._bodies(prompts)
        cache = Cache(self.cache)
        try:
            known = cache.find(key for key, _ in bodies.values())
        except BaseException:
            cache.close()
            raise
        outcomes: dict[str, Answer | Exception] = {}
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
                if isinstance(outcome, Answer):
                    unanswered = 0
                elif isinstance(outcome, Unavailable):
                    unanswered += 1
                    if unanswered >= _GIVE_UP_AFTER:
                        raise Unavailable(f"{outcome} {unanswered} prompts in a row had no answer; stopped asking.")
        return outcomes

    def _ask(
        self, todo: list[tuple[str, str, bytes]], cache: Cache
    ) -> Generator[tuple[str, Answer | Exception], None, None]:
        """Ask with several threads, and give each prompt's outcome when it arrives. Closing this stops the asking."""
        stop = threading.Event()
        work: queue.SimpleQueue[tuple[str, str, bytes]] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[str, Answer | Exception | Stop]] = queue.SimpleQueue()
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
                        outcome: Answer | Exception | Stop = self._endpoint.ask(client, key, body, stop, self._sent)
                        if isinstance(outcome, Answer):
                            self._received(outcome)
                            cache.put(key, outcome)
                    except Exception as error:  # noqa: BLE001 - handed to the thread that waits for it
                        outcome = error
                    done.put((prompt, outcome))
                    if isinstance(outcome, Stop):
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
                if isinstance(outcome, Stop):
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

    def _received(self, answer: Answer) -> None:
        with self._lock:
            self._counts["input_tokens"] += answer.input_tokens
            self._counts["output_tokens"] += answer.output_tokens

    def _cost(self, input_tokens: float, output_tokens: float) -> float | None:
        if self.price is None:
            return None
        return (input_tokens * self.price[0] + output_tokens * self.price[1]) / 1e6

    def _estimate(
        self, prompts: list[str | Exception], sample: Mapping[str, Answer | Exception]
    ) -> dict[str, int | float | None]:
        bodies = self._bodies(prompts)
        with closing(Cache(self.cache)) as cache:
            known = cache.find(key for key, _ in bodies.values())
        left = [len(prompt) for prompt, (key, _) in bodies.items() if key not in known]
        seen = {prompt: one for prompt, one in sample.items() if isinstance(one, Answer)}
        # A straight line through the origin: the system message and the template count as a part of every prompt.
        rate, output = 1 / CHARACTERS_PER_TOKEN, float(self.max_tokens)
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


def _require(fine: bool, what: str, wanted: str) -> None:
    if not fine:
        raise Invalid(f"{what} must be {wanted}.", field=what)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _next_of(results: queue.SimpleQueue[tuple[str, Answer | Exception | Stop]]) -> tuple[str, Any]:
    # Windows can't interrupt a wait without an end.
    while True:
        try:
            return results.get(timeout=0.5)
        except queue.Empty:
            continue
