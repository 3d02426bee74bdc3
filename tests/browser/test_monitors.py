"""Alarms of monitors as people see them in JupyterLab."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from support import hub as hubs
from support.lab import run_all_cells

pytestmark = pytest.mark.browser

#: Machines that run all tests at once are slow.
expect.set_options(timeout=60_000)

SCREENSHOTS = hubs.ROOT / "build" / "screenshots"

WATCH = """
import numpy as np
import pandas as pd
from jupyter_ext import connect
from jupyter_ext.monitoring import Profile, QualityCheck

workspace = connect()
before = pd.DataFrame({"age": np.arange(18.0, 98.0), "income": np.arange(80.0)})
profile = workspace.monitors.save_profile("people", Profile.of(before))
monitor = workspace.monitors.create(
    "people daily", profile=profile, checks=[QualityCheck()], fire_after=1, resolve_after=1)
monitor
"""
WRONG = "monitor.check(before.assign(age=-1.0), key='monday')"
RIGHT = "monitor.check(before, key='tuesday')"


def test_an_alarm_is_shown_until_it_is_closed_and_its_end_too(open_notebook: object) -> None:
    page = open_notebook("watch.ipynb", WATCH, WRONG, RIGHT, "monitor")  # type: ignore[operator]
    run_all_cells(page)
    toasts = page.locator(".Toastify__toast")
    fired = toasts.filter(has_text="Monitor “people daily”: 100 % of 'age' is outside of its range (at most 1 %).")
    expect(fired).to_be_visible()
    expect(toasts.filter(has_text="Monitor “people daily”: resolved. 100 % of 'age'")).to_be_visible()
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text=re.compile(r"people daily.*watches.*no window yet", re.DOTALL))).to_be_visible()
    # Asked for later, it says how it is then.
    expect(outputs.filter(has_text=re.compile(r"people daily.*watches.*quiet, last window", re.DOTALL))).to_be_visible()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "monitor-alarm.png")
