from __future__ import annotations

from jupyter_ext.jobs.admission import Waiting, admit


def test_all_that_fits_starts_in_order() -> None:
    queue = [Waiting(name, {"CPU": 0.5}) for name in "abc"]
    assert admit(queue, [{"CPU": 0.5}], {"CPU": 2}, 8) == {"a": None, "b": None, "c": None}


def test_small_jobs_do_not_overtake_a_large_one() -> None:
    queue = [Waiting("large", {"CPU": 2}), Waiting("small", {"CPU": 1})]
    assert admit(queue, [{"CPU": 1}], {"CPU": 2}, 8) == {
        "large": "Waiting for CPU: 1 of 2 in use, 2 asked for.",
        "small": "Waiting behind 1 other job.",
    }


def test_every_resource_counts() -> None:
    queue = [Waiting("a", {"CPU": 1, "memory": 5e9})]
    decision = admit(queue, [{"memory": 4e9}], {"CPU": 2, "memory": 8e9}, 8)["a"]
    assert decision is not None
    assert decision.startswith("Waiting for memory")


def test_number_of_running_jobs_is_limited() -> None:
    queue = [Waiting("a", {}), Waiting("b", {})]
    assert admit(queue, [{}], {"CPU": 1}, 2) == {"a": None, "b": "Waiting: 2 jobs are running, which is the limit."}


def test_thirds_add_up() -> None:
    queue = [Waiting(str(number), {"CPU": 1 / 3}) for number in range(3)]
    assert set(admit(queue, [], {"CPU": 1}, 8).values()) == {None}
