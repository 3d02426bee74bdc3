from __future__ import annotations

import email.utils
import json
import pickle
import signal
import threading
import time
from collections import Counter
from types import SimpleNamespace

import cloudpickle
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid, Unavailable
from jupyter_ext.labeling import ABSTAIN, LFApplier, _chat, _chat_cache, labeling_function, prompts
from jupyter_ext.labeling.prompts import Clock, PromptFunction, prompt_function
from support.chat_server import ChatServer, Reply, chat_server

KEY = "sk-a-secret-of-the-tests"
TEMPLATE = "Is it spam?\n{text}\nyes or no"
LABELS = {"yes": 1, "no": 0}


class FastClock(Clock):
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.moment

    def wait(self, stop, seconds):
        self.waits.append(seconds)
        self.moment += seconds


@pytest.fixture
def server():
    with chat_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def make(server, folder):
    def make(template=TEMPLATE, labels=LABELS, **more):
        settings = {"name": "asked", "model": "stub", "url": server.url, "cache": folder, "concurrency": 1} | more
        return PromptFunction(template, labels, **settings)

    return make


@pytest.fixture
def interruptible():
    """Ctrl-C means what it does in a terminal; what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def frame_of(*texts):
    return pd.DataFrame({"text": list(texts)})


def numbered(count):
    return frame_of(*(f"comment {number}" for number in range(count)))


def answer_by_text(server: ChatServer, answers: dict[str, Reply | str]) -> None:
    server.respond = lambda prompt: answers[prompt.split("\n")[1]]


# Votes


def test_votes_are_the_answers_of_the_model(server, make):
    answer_by_text(server, {"win": "Yes.", "hello": " **NO**\n", "ham": "No, it isn't."})
    asked = make(concurrency=3, system="You moderate.", temperature=0.5, max_tokens=3)
    assert asked.batch(frame_of("win", "hello", "ham")) == [1, 0, 0]
    call = next(call for call in server.calls if "win" in call.prompt)
    assert call.path == "/v1/chat/completions"
    assert call.body == {
        "model": "stub",
        "messages": [
            {"role": "system", "content": "You moderate."},
            {"role": "user", "content": "Is it spam?\nwin\nyes or no"},
        ],
        "temperature": 0.5,
        "max_tokens": 3,
    }


@pytest.mark.parametrize("row", [{"text": "win"}, SimpleNamespace(text="win"), pd.Series({"text": "win"})])
def test_a_row_is_asked_alone(server, make, row):
    assert make()(row) == 1
    assert server.prompts == ["Is it spam?\nwin\nyes or no"]


def test_an_answer_with_no_label_or_two_classes_abstains_and_is_kept_as_a_sample(server, make):
    answers = {"a": "yes", "b": "perhaps", "c": "yes and no", "d": "noyes", "e": Reply(None), "f": "Yes, yes!"}
    answer_by_text(server, answers)
    asked = make()
    assert asked.batch(frame_of(*answers, "b")) == [1, -1, -1, -1, -1, 1, -1]
    assert asked.usage.unmatched == 5
    assert asked.usage.unmatched_samples == ("perhaps", "yes and no", "noyes", "")


def test_the_longest_label_counts_and_a_label_may_abstain(server, make):
    answer_by_text(server, {"a": "Not spam.", "b": "SPAM", "c": "I'm unsure", "d": "spam... not_spam"})
    asked = make(labels={"spam": 1, "not spam": 0, "unsure": ABSTAIN})
    assert asked.batch(frame_of("a", "b", "c", "d")) == [0, 1, ABSTAIN, ABSTAIN]
    assert asked.usage.unmatched == 1


def test_labels_in_other_scripts(server, make):
    answer_by_text(server, {"a": "हाँ।", "b": "NEİN", "c": "ＹＥＳ"})
    assert make(labels={"हाँ": 1, "nei̇n": 0, "yes": 2}).batch(frame_of("a", "b", "c")) == [1, 0, 2]


def test_a_cell_that_the_template_cannot_show_fails_its_own_row(server, make):
    votes = make("{text:.1f}").batch(pd.DataFrame({"text": [1.0, "one", 2.0]}))
    assert votes[::2] == [1, 1]
    assert isinstance(votes[1], ValueError)
    assert sorted(server.prompts) == ["1.0", "2.0"]


def test_through_the_applier(server, make):
    answer_by_text(server, {"a": "yes", "b": Reply(status=400), "c": "no", "d": "hm"})
    applier = LFApplier([make(concurrency=2)], n_classes=2)
    assert applier.apply(frame_of("a", "b", "c", "d"), progress=False).to_dense().ravel().tolist() == [1, -1, 0, -1]
    assert applier.errors["asked"].count == 1
    assert applier.errors["asked"].rows == (1,)
    assert "answered 400" in str(applier.errors["asked"])


def test_a_missing_column_is_told_before_anything_is_asked(server, make):
    with pytest.raises(Invalid, match="'text'"):
        LFApplier([make()]).apply(pd.DataFrame({"txt": ["a"]}))
    with pytest.raises(Invalid, match="Did you mean 'txt'"):
        make().preview(pd.DataFrame({"txt": ["a"]}))
    assert server.calls == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"template": "Is it?"}, "names no column"),
        ({"template": "{} is it?"}, "without a name"),
        ({"template": "{text"}, "no format string"),
        ({"columns": ["txt"]}, "not among its columns"),
        ({"labels": {}}, "no labels"),
        ({"labels": {"!": 1}}, "no letter"),
        ({"labels": {"yes": True}}, "number of a class"),
        ({"labels": {"yes": -2}}, "number of a class"),
        ({"labels": {"Yes": 1, "yes!": 0}}, "can't be told"),
        ({"url": "models.example/v1"}, "http://"),
        ({"url": "http://me:word@models.example/v1"}, "api_key"),
        ({"url": "http://models.example/v1?key=word"}, "api_key"),
        ({"concurrency": 0}, "concurrency"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"temperature": float("nan")}, "temperature"),
        ({"price": (1.0,)}, "price"),
    ],
)
def test_what_makes_no_sense_is_told_at_once(make, change, told):
    with pytest.raises(Invalid, match=told):
        make(**change)


# The cache


def test_the_same_prompt_is_asked_once_in_a_frame(server, make):
    asked = make(concurrency=4)
    assert asked.batch(frame_of("a", "b", "a", "a", "b")) == [1] * 5
    assert len(server.calls) == 2
    assert (asked.usage.requests, asked.usage.cached) == (2, 0)


def test_another_instance_finds_the_answers(server, make):
    make().batch(frame_of("a", "b"))
    again = make(url="http://127.0.0.1:9/v1", name="other", concurrency=2)
    assert again.batch(frame_of("b", "a")) == [1, 1]
    assert again(SimpleNamespace(text="a")) == 1
    assert len(server.calls) == 2
    assert (again.usage.requests, again.usage.cached, again.usage.input_tokens) == (0, 3, 0)


@pytest.mark.parametrize("change", [{"model": "other"}, {"system": "Be kind."}, {"temperature": 1}, {"max_tokens": 9}])
def test_another_question_is_asked_again(server, make, change):
    make().batch(frame_of("a"))
    make(**change).batch(frame_of("a"))
    assert len(server.calls) == 2


def test_a_failed_row_is_asked_again_next_time(server, make):
    server.script.append(Reply(status=400))
    assert isinstance(make().batch(frame_of("a"))[0], Invalid)
    assert make().batch(frame_of("a")) == [1]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_resumes_without_asking_twice(server, make):
    lock, seen = threading.Lock(), Counter()

    def respond(prompt):
        with lock:
            seen[prompt] += 1
            if seen.total() == 6:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.02)
        return "yes"

    server.respond = respond
    rows = numbered(200)
    asked = make(concurrency=3)
    with pytest.raises(KeyboardInterrupt):
        LFApplier([asked]).apply(rows, progress=False)
    n_before = seen.total()
    # The signal takes its time on a busy machine; all of them would take more than a second.
    assert n_before < 100
    assert make(concurrency=3).batch(rows) == [1] * 200
    assert set(seen.values()) == {1}
    assert len(seen) == 200


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_does_not_wait_for_a_slow_endpoint_but_its_answer_is_kept(server, make, monkeypatch):
    monkeypatch.setattr(prompts, "_GRACE_SECONDS", 0.05)
    release = threading.Event()

    def respond(_prompt):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        release.wait(10)
        return "no"

    server.respond = respond
    asked = make()
    with pytest.raises(KeyboardInterrupt):
        asked.batch(numbered(3))
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("prompts-"):
            thread.join(10)
    assert len(server.calls) == 1
    assert make()(SimpleNamespace(text="comment 0")) == 0
    assert len(server.calls) == 1


def test_a_broken_cache_is_told_with_its_path(make, folder):
    folder.mkdir()
    (folder / "answers.db").write_bytes(b"no database at all, but long enough to look at" * 20)
    with pytest.raises(Invalid, match=r"answers\.db' can't be used"):
        make()(SimpleNamespace(text="a"))


def test_the_cache_is_in_the_users_cache_folder_unless_told(monkeypatch, tmp_path):
    monkeypatch.setattr(_chat_cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = prompt_function(TEMPLATE, LABELS, name="asked", model="stub")
    assert asked.cache == tmp_path / "jupyter-ext" / "prompts"


# Limits, retries and refusals


def test_requests_are_spread_over_the_minute(server, make):
    clock = FastClock()
    make(requests_per_minute=60, clock=clock).batch(numbered(5))
    assert clock.moment == pytest.approx(4)


def test_requests_of_several_threads_are_spread_together(server, make):
    make(requests_per_minute=1200, concurrency=4).batch(numbered(7))
    arrived = sorted(call.at for call in server.calls)
    assert arrived[-1] - arrived[0] > 0.9 * 6 * 0.05


def test_tokens_are_spread_as_the_endpoint_counts_them(server, make):
    server.respond = lambda _prompt: Reply(tokens=(90, 10))
    clock = FastClock()
    make(tokens_per_minute=600, max_tokens=1000, clock=clock).batch(numbered(4))
    assert clock.moment == pytest.approx(30)


@pytest.mark.parametrize(
    "bad", [Reply(status=429), Reply(status=500), Reply(status=503, raw=b"<html>"), Reply(drop=True)]
)
def test_what_may_pass_is_tried_again_with_doubled_waits(server, make, bad):
    server.script.extend([bad, bad, bad])
    clock = FastClock()
    asked = make(clock=clock)
    assert asked.batch(frame_of("a")) == [1]
    assert asked.usage.requests == 4
    assert [second / first for first, second in zip(clock.waits, clock.waits[1:], strict=False)] == [2, 2]
    assert 0.25 <= clock.waits[0] <= 0.5


def test_an_endpoint_that_is_not_there_fails_the_row(make, server):
    asked = make(retries=1, clock=FastClock(), url="http://127.0.0.1:9/v1", api_key=KEY)
    (error,) = asked.batch(frame_of("a"))
    assert isinstance(error, Unavailable)
    assert str(error) == "http://127.0.0.1:9/v1/chat/completions failed with ConnectError, 2 times."


def test_the_endpoint_says_how_long_to_wait(server, make):
    server.script.extend(
        [Reply(status=429, headers={"Retry-After": "7"}), Reply(status=503, headers={"Retry-After": "3"})]
    )
    clock = FastClock()
    assert make(clock=clock).batch(frame_of("a")) == [1]
    assert clock.waits == [7, 3]


def test_every_thread_is_held_when_the_endpoint_says_so():
    clock = FastClock()
    pace = _chat.Pace(requests=60, tokens=None, clock=clock)
    pace.wait(1, threading.Event())
    pace.hold(7)
    pace.hold(2)
    pace.wait(1, threading.Event())
    assert clock.moment == 7


def test_a_date_says_how_long_to_wait_too(server, make):
    server.script.append(Reply(status=503, headers={"Retry-After": email.utils.formatdate(time.time() + 90)}))
    clock = FastClock()
    assert make(clock=clock).batch(frame_of("a")) == [1]
    assert 30 < clock.moment <= 90


def test_a_wait_of_hours_stops_the_run(server, make):
    server.script.append(Reply(status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(Unavailable, match="come back in 7200 s"):
        make().batch(numbered(3))
    assert len(server.calls) == 1


def test_one_row_that_fails_for_good_leaves_the_others(server, make):
    bad = Reply(
        status=400, raw=json.dumps({"error": {"message": f"{KEY} a", "code": "context_length_exceeded"}}).encode()
    )
    answer_by_text(server, {"a": "yes", "b": bad, "c": Reply(status=500), "d": "no"})
    votes = make(retries=2, clock=FastClock()).batch(frame_of("a", "b", "c", "d"))
    assert (votes[0], votes[3]) == (1, 0)
    assert isinstance(votes[1], Invalid)
    assert "400 (context_length_exceeded)" in str(votes[1])
    assert KEY not in str(votes[1])
    assert isinstance(votes[2], Unavailable)
    assert "answered 500, 3 times" in str(votes[2])
    assert Counter(server.prompts)["Is it spam?\nb\nyes or no"] == 1


@pytest.mark.parametrize(
    "raw",
    [b"<html>hello</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}', b"\xff{"],
)
def test_an_answer_that_is_none_fails_its_row_and_is_not_kept(server, make, raw):
    server.script.append(Reply(raw=raw))
    votes = make().batch(frame_of("a", "b"))
    assert isinstance(votes[0], Unavailable)
    assert "no chat completion" in str(votes[0])
    assert votes[1] == 1
    assert make().batch(frame_of("a")) == [1]


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "Check api_key"), (403, "Check api_key"), (404, "Check url"), (402, "no credit")]
)
def test_a_refusal_stops_at_once_and_names_the_endpoint_but_not_the_key(server, make, status, hint):
    server.respond = lambda _prompt: Reply(
        status=status, raw=json.dumps({"error": {"message": KEY, "code": KEY}}).encode()
    )
    asked = make(api_key=KEY, concurrency=2)
    with pytest.raises(Invalid, match=hint) as caught:
        asked.batch(numbered(100))
    assert f"{server.url}/chat/completions answered {status}" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.calls) <= 4
    with pytest.raises(Invalid, match=hint):
        asked(SimpleNamespace(text="a"))


def test_no_credit_is_no_reason_to_try_again(server, make):
    server.script.append(Reply(status=429, raw=b'{"error": {"code": "insufficient_quota"}}'))
    with pytest.raises(Invalid, match="no credit left"):
        make().batch(numbered(3))
    assert len(server.calls) == 1


def test_an_endpoint_that_is_down_is_not_asked_for_every_row(server, make):
    server.respond = lambda _prompt: Reply(status=500)
    with pytest.raises(Unavailable, match="20 prompts in a row"):
        make(retries=0).batch(numbered(500))
    assert len(server.calls) < 100


# Usage and preview


def test_usage_counts_tokens_and_cost(server, make):
    server.respond = lambda _prompt: Reply(tokens=(200, 5))
    asked = make(price=(2.0, 10.0))
    assert asked.usage.cost == 0
    asked.batch(frame_of("a", "b", "a"))
    usage = asked.usage
    assert (usage.requests, usage.cached, usage.input_tokens, usage.output_tokens) == (2, 0, 400, 10)
    assert usage.cost == pytest.approx(400 * 2e-6 + 10 * 10e-6)
    assert make().usage.cost is None
    with pytest.raises(AttributeError):
        usage.requests = 0


def test_tokens_are_estimated_where_the_endpoint_does_not_count(server, make):
    server.script.append(Reply("no, not at all", tokens=None))
    asked = make()
    asked.batch(frame_of("a"))
    assert asked.usage.output_tokens == 4
    assert 10 < asked.usage.input_tokens < 60


def test_a_preview_shows_some_rows_and_what_the_rest_would_cost(server, make):
    server.respond = lambda prompt: Reply("yes" if "comment 1" in prompt else "hm", tokens=(len(prompt), 2))
    rows = numbered(40).set_axis([f"row {number}" for number in range(40)])
    asked = make(price=(1.0, 100.0), concurrency=4)
    table = asked.preview(rows, n=10, random_state=1)
    assert list(table.columns) == ["prompt", "answer", "vote"]
    assert len(table) == len(server.calls) == 10
    for row, (prompt, answer, vote) in table.T.items():
        assert prompt == f"Is it spam?\n{rows.text[row]}\nyes or no"
        assert (answer, vote) == (("yes", 1) if "comment 1" in prompt else ("hm", ABSTAIN))
    estimate = table.attrs["estimate"]
    left = sum(len(TEMPLATE.format(text=text)) for text in rows.text.drop(table.index))
    assert (estimate["requests"], estimate["input_tokens"], estimate["output_tokens"]) == (30, left, 60)
    assert estimate["tokens"] == left + 60
    assert estimate["cost"] == pytest.approx((left + 6000) / 1e6)
    assert asked.usage.unmatched == 0
    pd.testing.assert_frame_equal(asked.preview(rows, n=10, random_state=1), table)
    assert len(server.calls) == 10
    asked.batch(rows)
    assert asked.preview(rows).attrs["estimate"]["requests"] == 0


def test_a_preview_of_rows_that_fail(server, make):
    server.script.append(Reply(status=400))
    table = make().preview(frame_of("a", "b"))
    assert table["answer"].isna().tolist() == [True, False]
    assert table["vote"].tolist() == [ABSTAIN, 1]
    assert len(table.attrs["errors"]) == 1
    assert table.attrs["estimate"]["cost"] is None


def test_a_preview_of_nothing(make):
    assert make().preview(frame_of()).empty
    assert make().preview(frame_of("a"), n=0).empty


# What is stored


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://elsewhere.example/v1"},
        {"api_key": KEY},
        {"concurrency": 3},
        {"requests_per_minute": 3, "tokens_per_minute": 3},
        {"retries": 0, "timeout": 1},
        {"price": (1, 2)},
        {"cache": "elsewhere"},
        {"labels": {"No": 0, "YES": 1}},
        {"temperature": 0},
    ],
)
def test_what_does_not_decide_the_votes_is_not_in_the_digest(make, change):
    assert make(**change).digest == make().digest


@pytest.mark.parametrize(
    "change",
    [
        {"template": "{text}?"},
        {"labels": {"yes": 1, "no": 2}},
        {"labels": {"yes": 1}},
        {"model": "other"},
        {"system": "Be kind."},
        {"temperature": 0.1},
        {"max_tokens": 17},
    ],
)
def test_what_decides_the_votes_is_in_the_digest(make, change):
    assert make(**change).digest != make().digest

    def caller(asked):
        return labeling_function(resources={"asked": asked})(lambda row, asked: asked(row)).digest

    assert caller(make(**change)) != caller(make())
    assert caller(make(api_key=KEY, url="http://elsewhere.example")) == caller(make())


def test_the_key_is_sent_and_nowhere_else(server, make, folder):
    asked = make(api_key=f"{KEY}\n", system="Be kind.", price=(1, 2))
    answer_by_text(server, {"a": "yes", "b": Reply(status=400)})
    votes = asked.batch(frame_of("a", "b"))
    assert {call.key for call in server.calls} == {f"Bearer {KEY}"}
    shown = [repr(asked), repr(vars(asked)), asked.source, asked.digest, repr(votes), repr(asked.usage)]
    assert KEY not in " ".join(shown)
    stored = [pickle.dumps(asked), cloudpickle.dumps(asked), *(path.read_bytes() for path in folder.iterdir())]
    assert len(stored) > 2
    for data in stored:
        assert KEY.encode() not in data


def test_the_cache_file_holds_no_prompt(server, make, folder):
    make().batch(frame_of("a comment of a person"))
    assert all(b"of a person" not in path.read_bytes() for path in folder.iterdir())
    assert folder.stat().st_mode & 0o077 == 0


def test_a_pickled_function_takes_its_key_from_where_it_is_unpickled(server, make, monkeypatch):
    asked = prompt_function(
        TEMPLATE, LABELS, name="asked", model="stub", url=server.url, api_key="first", cache=make().cache
    )
    again = pickle.loads(pickle.dumps(asked))
    assert (again.name, again.columns, again.digest) == ("asked", ("text",), asked.digest)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert again.batch(frame_of("a")) == [1]
    assert server.calls[-1].key == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(server, make):
    make().batch(frame_of("a"))
    assert server.calls[-1].key is None
    server.respond = lambda _prompt: Reply(status=401)
    with pytest.raises(Invalid, match="Pass a key as api_key"):
        make().batch(frame_of("b"))


@pytest.mark.parametrize("key", ["sk secret", "sk-sécret", "sk-\nsecret"])
def test_a_key_that_cannot_be_sent_is_told_without_showing_it(make, key):
    with pytest.raises(Invalid, match="characters that no key can have") as caught:
        make(api_key=key).batch(frame_of("a"))
    assert "cret" not in str(caught.value)


def test_the_source_can_be_read(make):
    assert make(system="You moderate.").source == (
        "Model: stub (temperature 0, at most 16 tokens)\n\nSystem:\nYou moderate.\n\n"
        "Prompt:\nIs it spam?\n{text}\nyes or no\n\nLabels:\nyes → 1\nno → 0\n"
    )
