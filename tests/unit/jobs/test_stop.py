"""The stop notice, in real jobs that are sent a SIGTERM."""

from __future__ import annotations

import threading
import time

import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs import checkpoint
from jupyter_ext.jobs.protocol import Context
from jupyter_ext.jobs.stop import Notice
from support.attempts import Attempt

HEAD = """
import os, signal, sys, threading, time
from jupyter_ext.jobs import checkpoint, progress
"""


def saved(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> checkpoint.Saved | None:
    """What the next attempt would find."""
    monkeypatch.setenv(Context.VARIABLE, attempt.context.environ()[Context.VARIABLE])
    return checkpoint.latest()


def test_what_is_registered_is_saved_before_the_code_is_torn(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
main = threading.get_ident()
def state():
    print("saving in main thread:", threading.get_ident() == main)
    return step, {"step": step}
step = 0
checkpoint.on_stop(state)
print("begun")
try:
    while True:
        step += 1
        time.sleep(0.01)
finally:
    print("tidied up")
"""
    assert attempt.stop(HEAD + source) == 1
    assert (attempt.outcome.succeeded, attempt.outcome.reason) == (False, "terminated")
    lines = attempt.log.splitlines()
    assert lines[1] == "saving in main thread: True"
    assert lines[2].startswith("[checkpoint] saved step ")
    assert lines[3:] == ["tidied up", "[job] stopped"]
    found = saved(attempt, monkeypatch)
    assert found is not None
    assert found.state == {"step": found.step}
    assert attempt.status.durable_step == found.step


def test_once_though_told_twice_and_not_after_it_was_taken_back(attempt: Attempt) -> None:
    source = """
checkpoint.on_stop(lambda: print("one")).close()
with checkpoint.on_stop(lambda: print("two")):
    pass
def three():
    os.kill(os.getpid(), signal.SIGTERM)
    print("three")
checkpoint.on_stop(three)
print("begun")
time.sleep(60)
"""
    attempt.stop(HEAD + source)
    assert attempt.log.splitlines() == ["begun", "three", "[job] stopped"]


def test_one_that_fails_does_not_keep_the_others_from_it(attempt: Attempt) -> None:
    source = """
checkpoint.on_stop(lambda: 1 / 0)
checkpoint.on_stop(lambda: (7, "state"))
print("begun")
time.sleep(60)
"""
    attempt.stop(HEAD + source)
    assert "ZeroDivisionError" in attempt.log
    assert attempt.status.durable_step == 7
    assert attempt.outcome.reason == "terminated"


def test_who_takes_too_long_is_cut_off_in_time_for_the_outcome(attempt: Attempt) -> None:
    attempt.grace_s = 2.0
    started = time.monotonic()
    attempt.stop(HEAD + "checkpoint.on_stop(lambda: time.sleep(60))\nprint('begun')\ntime.sleep(60)")
    assert "The time was over before everything was saved." in attempt.log
    assert attempt.outcome.reason == "terminated"
    assert time.monotonic() - started < 20


def test_a_loop_that_looks_ends_by_itself_and_counts_as_stopped(attempt: Attempt) -> None:
    source = """
step = 0
while not checkpoint.stopping():
    if step == 0:
        print("begun")
    step += 1
    time.sleep(0.01)
checkpoint.save(step, step)
print("ended by itself")
"""
    attempt.stop(HEAD + source, fetch=("step",))
    assert attempt.log.splitlines()[2:] == ["ended by itself", "[job] stopped"]
    assert (attempt.outcome.succeeded, attempt.outcome.reason) == (False, "terminated")
    assert not attempt.objects.exists(attempt.path("result.pkl"))


def test_a_loop_that_does_not_look_again_is_torn_when_the_grace_is_nearly_over(attempt: Attempt) -> None:
    attempt.grace_s = 2.0
    attempt.stop(HEAD + "checkpoint.stopping()\nprint('begun')\ntime.sleep(60)")
    assert attempt.outcome.reason == "terminated"


def test_work_that_was_done_before_it_looked_again_is_done(attempt: Attempt) -> None:
    source = """
checkpoint.stopping()
print("begun")
time.sleep(1)
done = True
"""
    assert attempt.stop(HEAD + source, fetch=("done",)) == 0
    assert attempt.result == {"done": True}


def test_a_handler_of_another_library_comes_after_ours(attempt: Attempt) -> None:
    # What ray.init() does.
    source = """
checkpoint.on_stop(lambda: (3, "state"))
print("it was", signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number)))
print("begun")
time.sleep(60)
"""
    attempt.stop(HEAD + source)
    assert "[checkpoint] saved step 3" in attempt.log
    assert attempt.outcome.reason == "terminated"


def test_a_handler_that_calls_the_one_before_it(attempt: Attempt) -> None:
    source = """
checkpoint.on_stop(lambda: (3, "state"))
before = signal.getsignal(signal.SIGTERM)
def handler(number, frame):
    print("theirs")
    before(number, frame)
signal.signal(signal.SIGTERM, handler)
print("begun")
time.sleep(60)
"""
    attempt.stop(HEAD + source)
    assert attempt.log.splitlines()[1:] == ["[checkpoint] saved step 3 (20 bytes)", "theirs", "[job] stopped"]


def test_a_fork_dies_as_forks_do(attempt: Attempt) -> None:
    source = """
import multiprocessing
checkpoint.on_stop(lambda: print("saved by", os.getpid()))
fork = multiprocessing.get_context("fork")
lives = fork.Event()
def work():
    lives.set()
    time.sleep(60)
child = fork.Process(target=work)
child.start()
lives.wait()
child.terminate()
child.join()
print("child ended with", child.exitcode)
"""
    assert attempt.run(HEAD + source) == 0
    assert attempt.log == "child ended with -15\n"


def test_the_notice_waits_for_a_save_that_is_under_way(attempt: Attempt) -> None:
    source = """
import pickle
class Slow:
    def __reduce__(self):
        return str, ("state",)
from jupyter_ext.store import Objects
put = Objects.put
def slow_put(self, path, data):
    if "checkpoints" in path:
        print("begun", flush=True)
        time.sleep(1)
    put(self, path, data)
Objects.put = slow_put
checkpoint.save(5, "state")
print("never")
"""
    attempt.stop(HEAD + source)
    assert attempt.log.splitlines()[:3] == ["begun", "[checkpoint] saved step 5 (20 bytes)", "[job] stopped"]


def test_outside_of_a_job_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(Context.VARIABLE, raising=False)
    with checkpoint.on_stop(lambda: (1, "state")) as registration:
        assert not checkpoint.stopping()
    registration.close()


def test_only_the_main_thread_can_begin_to_listen() -> None:
    heard: list[BaseException] = []

    def listen() -> None:
        try:
            Notice().listen()
        except Invalid as error:
            heard.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert "in the main thread" in str(heard[0])
