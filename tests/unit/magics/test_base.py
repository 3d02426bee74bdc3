"""Loading and unloading the magics, their help, their errors, their completion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from jupyter_ext.magics import _base, _classes

ONE_JOB = {"job", "cancel_job", "pause_job", "resume_job"}
MAGICS = {"submit_job", "jobs", "label", "models", "promote", "drift", "cluster"} | ONE_JOB


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell with the extension loaded, and no server known."""
    monkeypatch.delenv("JUPYTER_EXT_URL", raising=False)
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.history_manager.enabled = False
    made.extension_manager.load_extension("jupyter_ext")
    yield made
    made.extension_manager.unload_extension("jupyter_ext")
    made.history_manager.end_session()
    InteractiveShell.clear_instance()


def test_loading_brings_every_magic_and_unloading_takes_it(shell: InteractiveShell) -> None:
    assert set(shell.magics_manager.magics["line"]) >= MAGICS
    assert "submit_job" in shell.magics_manager.magics["cell"]
    shell.extension_manager.unload_extension("jupyter_ext")
    assert not MAGICS & set(shell.magics_manager.magics["line"])
    shell.extension_manager.load_extension("jupyter_ext")


@pytest.mark.parametrize("name", sorted(MAGICS))
def test_every_magic_has_help(shell: InteractiveShell, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_line_magic(name, "--help")
    assert f"%{name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(MAGICS - {"label", "drift", "submit_job", "promote"}))
def test_without_a_server_a_magic_says_one_sentence(shell: InteractiveShell, name: str) -> None:
    with pytest.raises(UsageError, match="JUPYTER_EXT_URL"):
        shell.run_line_magic(name, "x" if name in ONE_JOB else "")


def test_completion_without_a_server_offers_nothing_and_raises_nothing(shell: InteractiveShell) -> None:
    for name in MAGICS:
        line = f"%{name} x"
        with provisionalcompleter():
            list(shell.Completer.completions(line, len(line)))


def test_every_magic_has_a_completer() -> None:
    completed = {name for cls in _classes() for name in cls.completers}
    assert completed >= MAGICS


def test_the_client_is_shared_and_forgotten(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_EXT_URL", server.url)
    monkeypatch.setenv("JUPYTER_EXT_TOKEN", server.token)
    _base.forget_client()
    assert _base.shared_client() is _base.shared_client()
    _base.forget_client()
