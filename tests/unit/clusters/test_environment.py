from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from jupyter_ext.clusters.environment import read_environment


def test_it_knows_what_can_be_imported_and_where_it_comes_from() -> None:
    found = read_environment()
    assert (found.python, found.executable) == (platform.python_version(), sys.executable)
    assert found.modules["sklearn"] == ("scikit-learn",)
    assert found.packages["scikit-learn"]
    assert found.modules["json"] == ()


def test_what_is_installed_later_is_seen_and_the_working_directory_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.py").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site"), "", str(tmp_path / "here")])
    before = read_environment()
    assert read_environment() is before
    assert "mine" not in before.modules
    (tmp_path / "site" / "brand_new.py").touch()
    assert "brand_new" in read_environment().modules
