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


def test_what_is_installed_later_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "nowhere")])
    before = read_environment()
    assert read_environment() == before
    assert "brand_new" not in before.modules
    (tmp_path / "brand_new.py").touch()
    (tmp_path / "no-module").mkdir()
    modules = read_environment().modules
    assert "brand_new" in modules
    assert "no-module" not in modules


def test_what_lies_in_the_working_directory_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").touch()
    (tmp_path / "loose_files").mkdir()
    (tmp_path / "numpy").mkdir()
    monkeypatch.chdir(tmp_path)
    modules = read_environment().modules
    assert {"mine", "loose_files"} <= set(modules)
    assert modules["numpy"] == ("numpy",)
