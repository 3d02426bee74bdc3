"""Ids."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jupyter_ext.values import new_id


def test_ids_of_one_millisecond_are_in_the_order_of_their_making() -> None:
    ids = [new_id("job") for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_ids_stay_in_order_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id("job")
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    assert before < new_id("job") < new_id("job")


def test_threads_get_ids_of_their_own() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_id("job"), range(5_000)))
    assert len(set(ids)) == len(ids)
