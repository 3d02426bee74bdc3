"""Bundles find their places, and what can't be had is left out."""

from __future__ import annotations

import pytest

from jupyter_ext.clusters.packing import fits, place, total
from jupyter_ext.clusters.values import WorkerKind

CPU = WorkerKind(name="cpu", resources={"CPU": 4}, max_nodes=2)
GPU = WorkerKind(name="gpu", resources={"CPU": 2, "GPU": 1}, max_nodes=3)
BIG = WorkerKind(name="big", resources={"CPU": 8, "GPU": 4, "memory": 8e9}, max_nodes=1)
HEAD = {"CPU": 2.0, "memory": 4e9}


@pytest.mark.parametrize(
    ("bundles", "nodes"),
    [
        ([], {}),
        # The head first, then as many nodes as it takes.
        ([{"CPU": 2}], {}),
        ([{"CPU": 2}, {"CPU": 1}], {"cpu": 1}),
        ([{"CPU": 1}] * 6, {"cpu": 1}),
        ([{"CPU": 1}] * 7, {"cpu": 2}),
        # What needs no GPU takes none while there is another place; then it does.
        ([{"CPU": 2}, {"GPU": 1}, {"CPU": 2}], {"gpu": 1, "cpu": 1}),
        ([{"CPU": 1}] * 12, {"cpu": 2, "gpu": 1}),
        # A small node rather than a large one, and the large one when nothing else will do.
        ([{"GPU": 1}] * 3, {"gpu": 3}),
        ([{"GPU": 2}], {"big": 1}),
        ([{"GPU": 2}, {"GPU": 1}], {"big": 1}),
        ([{"GPU": 1}] * 5, {"gpu": 3, "big": 1}),
        ([{"memory": 6e9}], {"big": 1}),
        # Nothing asked for is nothing.
        ([{}, {"GPU": 0}], {}),
    ],
)
def test_bundles_go_where_they_waste_least(bundles: list[dict[str, float]], nodes: dict[str, int]) -> None:
    assert place(bundles, HEAD, [CPU, GPU, BIG]).nodes == nodes


def test_what_finds_no_place_is_left_out_and_the_first_come_first() -> None:
    bundles = [{"GPU": 1, "CPU": 2}] * 5 + [{"GPU": 9}, {"TPU": 1}, {"CPU": 1}]
    placement = place(bundles, HEAD, [GPU])
    assert placement.nodes == {"gpu": 3}
    assert placement.bundles == [*[{"GPU": 1, "CPU": 2}] * 3, {"CPU": 1}]


def test_a_limit_of_nothing_places_nothing() -> None:
    none = GPU.model_copy(update={"max_nodes": 0})
    assert place([{"GPU": 1}], HEAD, [none]).nodes == {}
    assert total(HEAD, [none]) == HEAD


def test_fractions_add_up() -> None:
    assert place([{"GPU": 0.1}] * 10, {}, [GPU]).nodes == {"gpu": 1}
    assert place([{"GPU": 1 / 3}] * 3, {}, [GPU]).nodes == {"gpu": 1}


def test_a_type_of_gpu_counts_where_it_is_declared() -> None:
    a100 = {"GPU": 1, "accelerator_type:A100": 0.001}
    typed = WorkerKind(name="t4", resources={"GPU": 1, "accelerator_type:T4": 1})
    assert fits(a100, GPU.resources)
    assert not fits(a100, typed.resources)
    assert not fits(a100, HEAD)
    # Ray would never find a node for a type that none declares.
    assert place([a100], HEAD, [typed, GPU]).bundles == [{"GPU": 1}]


def test_inputs_stay_as_they_are() -> None:
    bundles, head = [{"CPU": 2.0}], dict(HEAD)
    place(bundles, head, [CPU])
    assert (bundles, head, CPU.resources) == ([{"CPU": 2.0}], HEAD, {"CPU": 4})
