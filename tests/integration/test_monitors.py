"""Monitors through a real server: client, REST and the magic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_ext.errors import Invalid, NotFound
from jupyter_ext.magics import _base
from jupyter_ext.magics.monitors import MonitorMagics, complete_drift
from jupyter_ext.monitoring import DriftReport, Profile, drift
from support.server import Server


def frame(seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"steady": rng.normal(size=800), "moved": rng.normal(size=800) + shift})


@pytest.fixture
def shell(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A kernel's shell with our magic, connected to the server."""
    monkeypatch.setenv("JUPYTER_EXT_URL", server.url)
    monkeypatch.setenv("JUPYTER_EXT_TOKEN", server.token)
    _base.forget_client()
    made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    made.register_magics(MonitorMagics)
    yield made
    _base.forget_client()
    InteractiveShell.clear_instance()


def test_a_profile_comes_back_as_it_was(client: Any) -> None:
    profile = Profile.of(frame(1))
    saved = client.monitors.save_profile("round trip", profile, description="a test")
    again = client.monitors.profile("round trip")
    assert again.table.equals(profile.table)
    assert client.monitors.profile(saved.id).n_rows == 800
    assert [p.id for p in client.monitors.profiles("round trip")] == [saved.id]
    assert drift(again, frame(2, 1)).drifted == ["moved"]
    with pytest.raises(NotFound, match="no stored profile 'nothing'"):
        client.monitors.profile("nothing")
    with pytest.raises(Invalid, match="A Profile is kept, not DataFrame"):
        client.monitors.save_profile("wrong", frame(1))


def test_a_report_comes_back_as_it_was(client: Any) -> None:
    report = drift(frame(1), frame(2, 0.5))
    saved = client.monitors.save_report("of today", report)
    assert saved.drifted == ("moved",)
    again = client.monitors.report(saved.id)
    pd.testing.assert_frame_equal(again.table, report.table, check_dtype=False)
    listed = client.monitors.reports("of today")
    assert [r.id for r in listed] == [saved.id]
    assert "moved" in repr(listed)
    assert "moved" in listed._repr_html_()
    assert client.monitors.reports("never") == []


def test_a_report_with_a_feature_that_was_not_tested_is_stored_too(client: Any) -> None:
    tiny = pd.DataFrame({"x": [1.0, 2.0]})
    saved = client.monitors.save_report("tiny", drift(tiny, tiny + 9, methods="psi"))
    assert saved.features[0].q_value is None


async def test_rest_refuses_what_is_no_profile(api: Any) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (await api("PUT", f"/blobs/{digest}", data=b"hello"))[0] == 201
    code, answer = await api("POST", "/monitors/profiles", json={"name": "x", "blob": digest, "n_rows": 1})
    assert (code, answer["reason"]) == (400, "invalid")
    assert "not a profile" in answer["message"]
    code, answer = await api("POST", "/monitors/reports", json={"name": "x"})
    assert (code, "n_reference" in answer["message"]) == (400, True)
    assert (await api("GET", "/monitors/reports/none"))[0] == 404
    assert (await api("GET", "/monitors/profiles/none"))[0] == 404


def test_the_magic_compares_variables(shell: InteractiveShell) -> None:
    shell.user_ns |= {"before": frame(1), "after": frame(2, 1), "stored": Profile.of(frame(1))}
    report = shell.run_line_magic("drift", "before after --alpha 0.01 --method psi --correction by")
    assert isinstance(report, DriftReport)
    assert (report.drifted, report.alpha, report.correction) == (["moved"], 0.01, "by")
    assert set(report.table["method"]) == {"psi"}
    assert shell.run_line_magic("drift", "stored after").drifted == ["moved"]


def test_the_magic_compares_with_a_stored_profile_and_keeps_the_report(shell: InteractiveShell, client: Any) -> None:
    saved = client.monitors.save_profile("last spring", Profile.of(frame(1)))
    shell.user_ns["after"] = frame(2, 1)
    shell.run_line_magic("drift", "'last spring' after --save 'by magic'")
    kept = client.monitors.reports("by magic")[0]
    assert (kept.drifted, kept.profile_id) == (("moved",), saved.id)
    assert '"last spring"' in complete_drift(client, "%drift ")
    assert complete_drift(client, "%drift a b --method ") == ["ks", "psi", "chi2"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("befor after", "neither a variable nor a stored profile 'befor'. Did you mean before?"),
        ("before number", "The current data must be a DataFrame, an Arrow table or a Profile, not int"),
        ("before after --alpha 7", "alpha must be between 0 and 1"),
        ("before after --model churn/1", "give --save NAME too"),
        ("before after --method mmd", "invalid choice"),
        ("before", "required"),
    ],
)
def test_the_magic_says_what_was_wrong(shell: InteractiveShell, line: str, said: str) -> None:
    shell.user_ns |= {"before": frame(1), "after": frame(2), "number": 3}
    with pytest.raises(UsageError, match=said):
        shell.run_line_magic("drift", line)
