"""Events: in order, at least once, across failures of the sink and restarts of the process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from jupyter_ext.store import Store
from jupyter_ext.store.outbox import Dispatcher

Event = tuple[str, dict[str, Any]]


def emit(store: Store, *numbers: int) -> None:
    for number in numbers:
        with store.write() as tx:
            tx.emit("job", {"n": number})


def test_events_arrive_in_the_order_of_their_commits(store: Store) -> None:
    got: list[int] = []
    done = threading.Event()

    def sink(noun: str, data: dict[str, Any]) -> None:
        assert noun == "job"
        got.append(data["n"])
        if len(got) == 300:
            done.set()

    store.outbox.start(sink)
    emit(store, *range(300))
    assert done.wait(60)
    assert got == list(range(300))


def test_what_an_earlier_process_left_is_delivered_first(store: Store) -> None:
    emit(store, 1, 2)
    got: list[int] = []
    third = threading.Event()

    def sink(_noun: str, data: dict[str, Any]) -> None:
        got.append(data["n"])
        if data["n"] == 3:
            third.set()

    store.outbox.start(sink)
    emit(store, 3)
    assert third.wait(60)
    assert got == [1, 2, 3]


def test_an_event_that_the_sink_refuses_is_tried_again_and_none_overtakes_it(store: Store) -> None:
    emit(store, 1, 2, 3)
    tried: list[int] = []

    def refuse_two(_noun: str, data: dict[str, Any]) -> None:
        tried.append(data["n"])
        if data["n"] == 2 and tried.count(2) == 1:
            raise ConnectionError

    dispatcher = Dispatcher(store.database)
    with pytest.raises(ConnectionError):
        dispatcher.deliver(refuse_two)
    assert dispatcher.deliver(refuse_two) == 2
    assert tried == [1, 2, 2, 3]
    assert dispatcher.deliver(refuse_two) == 0


def test_the_thread_survives_a_failing_sink(store: Store) -> None:
    done = threading.Event()
    calls: list[int] = []

    def sink(_noun: str, data: dict[str, Any]) -> None:
        calls.append(data["n"])
        if len(calls) == 1:
            raise RuntimeError("the loop is busy")
        done.set()

    store.outbox.start(sink)
    emit(store, 7)
    assert done.wait(60)
    assert calls == [7, 7]


def test_stopping_delivers_what_is_there(store: Store) -> None:
    got: list[int] = []
    store.outbox.start(lambda _noun, data: got.append(data["n"]))
    emit(store, 1, 2, 3)
    store.outbox.stop(timeout_s=60)
    assert got == [1, 2, 3]
