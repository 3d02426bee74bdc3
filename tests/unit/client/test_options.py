from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from jupyter_ext.client._options import NAMES, grid, parse_memory, parse_seconds, plain
from jupyter_ext.client.jobs import Jobs
from jupyter_ext.errors import Invalid


def test_a_sweep_is_every_combination_in_order() -> None:
    assert grid(None) == ()
    assert grid({"lr": np.logspace(-2, -1, 2), "depth": range(2)}) == (
        {"lr": 0.01, "depth": 0},
        {"lr": 0.01, "depth": 1},
        {"lr": 0.1, "depth": 0},
        {"lr": 0.1, "depth": 1},
    )
    assert len(grid({"seed": range(1000)})) == 1000


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({}, "makes 0 jobs"),
        ([], "makes 0 jobs"),
        ({"lr": []}, "makes 0 jobs"),
        ({"a": range(100), "b": range(11)}, "makes 1,100 jobs; there must be 1 to 1,000"),
        ({"lr": "0.1"}, "'lr' needs a list of values"),
        ({"lr": 0.1}, "'lr' needs a list of values"),
        ({"lr": [float("nan")]}, "'lr' is nan"),
        ({"model": [object()]}, "'model' is of type object"),
        ("lr", 'Write a sweep as sweep={"lr"'),
        ([1, 2], 'Write a sweep as sweep={"lr"'),
    ],
)
def test_a_wrong_sweep_is_told(sweep: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        grid(sweep)


def test_parameters_become_what_json_has() -> None:
    assert plain("n", np.int64(3)) == 3
    assert type(plain("n", np.int64(3))) is int
    assert plain("on", np.bool_(True)) is True
    assert plain("nested", {"a": (1, None)}) == {"a": [1, None]}


def test_lengths_and_amounts() -> None:
    assert parse_seconds(1.5) == 1.5
    with pytest.raises(Invalid, match="no length of time") as caught:
        parse_seconds("soon", "since")
    assert caught.value.details == {"field": "since"}
    with pytest.raises(Invalid, match="no amount of memory"):
        parse_memory("2 elephants")


def test_options_add_up_and_are_told_by_name() -> None:
    jobs = Jobs(None)  # type: ignore[arg-type]
    assert jobs.options(cpus=2, name="a").options(name="b")._options == {"cpus": 2, "name": "b"}
    assert jobs._options == {}
    with pytest.raises(Invalid, match=r"no option 'retrys'\. Did you mean 'retries'"):
        jobs.options(retrys=3)  # type: ignore[call-arg]
    assert set(inspect.signature(jobs.options).parameters) == set(NAMES)
    for name in NAMES:
        assert name in str(Jobs.options.__doc__)
