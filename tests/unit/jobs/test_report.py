from __future__ import annotations

import math
from typing import Any

import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.report import Reported, format_progress, progress


def test_what_is_printed_is_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    progress(3, total=10, loss=0.125, **{"val/accuracy": 1e-9})
    line = capsys.readouterr().out.strip().encode()
    said = Reported()
    assert said.read(line)
    assert (said.step, said.total, said.metrics) == (3, 10, {"loss": 0.125, "val/accuracy": 1e-9})


def test_numpy_numbers_are_numbers() -> None:
    import numpy as np

    assert format_progress(np.int64(2), np.int32(4), {"loss": np.float32(0.5)}) == "[progress] 2/4 loss=0.5"  # type: ignore[arg-type]


def test_a_diverged_loss_does_not_break_the_rest() -> None:
    said = Reported()
    said.read(format_progress(1, None, {"loss": math.nan, "lr": math.inf, "accuracy": 0.5}).encode())
    assert said.metrics == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("step", "total", "metrics", "wrong"),
    [
        (-1, None, {}, "step is -1"),
        (1.5, None, {}, "step is 1.5"),
        (1, -2, {}, "total is -2"),
        (1, None, {"a b": 1}, "'a b' is no name"),
        (1, None, {"a": "high"}, "'a' is str"),
        (1, None, {"a": None}, "'a' is NoneType"),
    ],
)
def test_bad_reports(step: Any, total: Any, metrics: dict[str, Any], wrong: str) -> None:
    with pytest.raises(Invalid, match=wrong):
        format_progress(step, total, metrics)


@pytest.mark.parametrize("line", [b"[progress]", b"[progress] x/3", b"progress 1/3", b"[progress] 1/3 and more", b""])
def test_other_lines_say_nothing(line: bytes) -> None:
    assert not Reported().read(line)
