"""Bundles are packed into few nodes, never beyond a limit, and GPUs are not spent on what needs none."""

from __future__ import annotations

import math
import random

from jupyter_ext.clusters.backends.kuberay.packing import pack
from jupyter_ext.clusters.values import WorkerKind

CPU = WorkerKind(name="cpu", resources={"CPU": 4, "memory": 16.0}, max_nodes=3)
GPU = WorkerKind(name="gpu", resources={"CPU": 8, "GPU": 2, "memory": 64.0}, max_nodes=2)


def test_nothing_needs_nothing() -> None:
    assert pack([], [CPU, GPU]).nodes == {"cpu": 0, "gpu": 0}
    assert pack([{}, {"CPU": 0}], [CPU, GPU]).nodes == {"cpu": 0, "gpu": 0}
    assert pack([{"CPU": 1}], []).left == [{"CPU": 1}]


def test_small_bundles_share_a_node() -> None:
    assert pack([{"CPU": 1}] * 4, [CPU, GPU]).nodes == {"cpu": 1, "gpu": 0}
    assert pack([{"CPU": 1}] * 5, [CPU, GPU]).nodes == {"cpu": 2, "gpu": 0}
    assert pack([{"CPU": 0.1}] * 40, [CPU]).nodes == {"cpu": 1}, "a sum of tenths is not quite a sum of ones"


def test_the_scarcest_resource_decides() -> None:
    assert pack([{"CPU": 1, "memory": 16.0}] * 2, [CPU]).nodes == {"cpu": 2}
    assert pack([{"GPU": 0.5, "CPU": 1}] * 4, [CPU, GPU]).nodes == {"cpu": 0, "gpu": 1}


def test_gpus_are_not_spent_on_what_needs_none() -> None:
    found = pack([{"CPU": 4}] * 5, [GPU, CPU])
    assert (found.nodes, len(found.left)) == ({"gpu": 0, "cpu": 3}, 2)
    assert pack([{"GPU": 1}, {"CPU": 1}], [GPU, CPU]).nodes == {"gpu": 1, "cpu": 1}


def test_unless_nothing_else_is_large_enough() -> None:
    assert pack([{"CPU": 6}], [CPU, GPU]).nodes == {"cpu": 0, "gpu": 1}


def test_large_bundles_go_first() -> None:
    assert pack([{"CPU": 1}] * 2 + [{"CPU": 3}] * 2, [CPU]).nodes == {"cpu": 2}


def test_what_finds_no_room_is_told() -> None:
    found = pack([{"GPU": 2}] * 3 + [{"TPU": 1}, {"CPU": 100}], [CPU, GPU])
    assert found.nodes == {"cpu": 0, "gpu": 2}
    assert len(found.left) == 3


def test_all_fit_into_what_is_counted() -> None:
    chance = random.Random(1)
    for _ in range(300):
        drawn = [
            {"CPU": chance.randint(0, 9), "GPU": chance.choice((0, 0, 1, 3)), "memory": chance.uniform(0, 70)}
            for _ in range(chance.randint(0, 30))
        ]
        asked = [{name: amount for name, amount in bundle.items() if chance.random() < 0.7} for bundle in drawn]
        found = pack(asked, [CPU, GPU])
        assert all(found.nodes[kind.name] <= kind.max_nodes for kind in (CPU, GPU))
        placed = list(asked)
        for bundle in found.left:
            placed.remove(bundle)
        for name in ("CPU", "GPU", "memory"):
            room = sum(kind.resources.get(name, 0.0) * found.nodes[kind.name] for kind in (CPU, GPU))
            assert sum(bundle.get(name, 0.0) for bundle in placed) <= room + 1e-6


def test_it_is_near_the_fewest() -> None:
    chance = random.Random(2)
    unlimited = CPU.model_copy(update={"max_nodes": 100})
    for _ in range(200):
        cpus = [chance.choice((1, 2, 4)) for _ in range(chance.randint(0, 40))]
        # Powers of two leave no gaps, so the fewest is known.
        assert pack([{"CPU": cpu} for cpu in cpus], [unlimited]).nodes["cpu"] == math.ceil(sum(cpus) / 4)
