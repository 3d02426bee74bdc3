"""A hub that cannot start says why, and leaves nothing running."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from jupyter_ext.errors import Unavailable
from jupyter_ext.hub import LaptopSettings, LocalHub
from jupyter_ext.hub.process import tail


def hub(tmp_path: Path, config: str) -> LocalHub:
    (tmp_path / "config.py").write_text(config)
    return LocalHub(LaptopSettings(home=tmp_path / "home", password="a long password"), tmp_path / "config.py")


def test_a_broken_configuration_is_told_with_the_log(tmp_path: Path) -> None:
    broken = hub(tmp_path, "raise RuntimeError('the disk is upside down')\n")
    with pytest.raises(Unavailable, match=r"(?s)ended with status 1.*the disk is upside down"):
        broken.start()


def test_a_hub_that_never_answers_is_stopped(tmp_path: Path) -> None:
    silent = hub(tmp_path, "import time\ntime.sleep(600)\n")
    with pytest.raises(Unavailable, match="did not answer within 2 s"):
        silent.start(timeout=2)
    assert silent.process is None
    assert not [each for each in psutil.Process().children() if str(tmp_path) in " ".join(each.cmdline())]


def test_stopping_twice_is_fine(tmp_path: Path) -> None:
    never_started = hub(tmp_path, "")
    never_started.stop()
    never_started.stop()


def test_tail_returns_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"{number}\n" for number in range(100)))
    assert tail(tmp_path / "log", 3) == "97\n98\n99"
    assert "was not written" in tail(tmp_path / "none")
