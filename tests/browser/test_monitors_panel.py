"""The Monitors panel as people meet it: JupyterLab in Chromium, monitors made in a notebook."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from support import server as servers
from support.lab import SidePanel, brightness, run_all_cells

pytestmark = [pytest.mark.browser]
expect.set_options(timeout=60_000)

#: Ages that move after seven days; a column that is wrong at once; one that is wrong in the last window only.
MONITORS = """
import numpy as np
import pandas as pd
from jupyter_ext import connect
from jupyter_ext.monitoring import DriftCheck, Profile, QualityCheck, WebhookRoute

workspace = connect()
for old in workspace.monitors.list():
    old.delete()
rng = np.random.default_rng(7)
before = pd.DataFrame({"age": rng.normal(40, 9, 600), "income": rng.lognormal(8, 0.4, 600)})
after = pd.DataFrame({"age": rng.normal(40, 9, 600), "income": rng.lognormal(8, 0.4, 600)})
after["at"] = pd.date_range("2026-05-01", periods=600, freq="24min", tz="UTC")
after.loc[420:, "age"] += 25
profile = workspace.monitors.save_profile("people", Profile.of(before))
unheard = WebhookRoute(url="http://127.0.0.1:9/hook")
sane = QualityCheck(ranges={"age": (0, 150), "income": (0, None)}, learned=False)
monitors = {
    name: workspace.monitors.create(name, profile=profile, **how)
    for name, how in {
        "not used yet": {},
        "people daily": {"checks": [DriftCheck(), sane], "timestamp": "at", "period": "D"},
        "sane ages": {"checks": [sane], "fire_after": 1, "resolve_after": 1, "routes": [unheard]},
        "income at night": {"checks": [QualityCheck()]},
    }.items()
}
monitors["people daily"].check(after)
monitors["income at night"].check(before.assign(income=-1.0)[:50])
monitors["sane ages"].check(before.assign(age=-1.0), key="monday")
"""
AGAIN = "monitors['sane ages'].check(before.assign(age=-2.0), key='tuesday')"
RIGHT = "monitors['sane ages'].check(before, key='wednesday')"

#: Those that fire first, then the newest.
NAMES = ["sane ages", "people daily", "income at night", "not used yet"]

OpenLab = Callable[..., SidePanel]


@pytest.fixture
def open_lab(lab: servers.Server, open_notebook: Callable[..., Page]) -> OpenLab:
    """Open a notebook that makes monitors in a theme, and run it."""

    def open_(name: str, *cells: str, theme: str = "light") -> SidePanel:
        httpx.put(
            f"{lab.url}lab/api/settings/@jupyterlab/apputils-extension:themes",
            json={"raw": f'{{"theme": "JupyterLab {theme.capitalize()}", "adaptive-theme": false}}'},
            headers={"Authorization": f"token {lab.token}"},
            trust_env=False,
        ).raise_for_status()
        panel = SidePanel(open_notebook(name, *cells), "Monitors")
        if cells:
            run_all_cells(panel.page)
        return panel

    return open_


def row(panel: SidePanel, name: str) -> Locator:
    """The row of a monitor."""
    return panel.node.get_by_role("option", name=re.compile(f"^{re.escape(name)},"))


def open_(panel: SidePanel, name: str) -> None:
    """Open a monitor by the keyboard."""
    row(panel, name).focus()
    panel.page.keyboard.press("Enter")
    expect(panel.node.get_by_role("heading", name=name)).to_be_focused()


def test_nothing_yet_says_how_to_begin(open_lab: OpenLab) -> None:
    panel = open_lab("nothing.ipynb", "1 + 1")
    panel.show("Show Monitors")
    expect(panel.node.get_by_text("No monitors yet.")).to_be_visible()
    expect(panel.node.get_by_label("Code that makes a first monitor")).to_contain_text("monitors.create(")
    panel.screenshot("monitors-empty")
    assert panel.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_alarms_are_seen_and_read(open_lab: OpenLab, theme: str) -> None:
    panel = open_lab(f"watch-{theme}.ipynb", MONITORS, theme=theme)
    page, node = panel.page, panel.node
    toast = page.locator(".Toastify__toast", has_text="Monitor “people daily”: 'age' drifted")
    expect(toast).to_be_visible(timeout=60_000)
    panel.show("Show Monitors")
    expect(node.locator(".jpx-Row-name")).to_have_text(NAMES)
    expect(node.get_by_text("Alarms: 2 firing, 1 pending")).to_be_visible()
    expect(page.get_by_role("tab", name="Monitors: 2 firing, 1 pending")).to_have_attribute("data-jpx-count", "2")
    expect(row(panel, "people daily")).to_contain_text("1 firing")
    expect(row(panel, "people daily")).to_contain_text("profile people")
    expect(row(panel, "income at night")).to_contain_text("1 pending")
    expect(row(panel, "not used yet")).to_contain_text("No window yet")
    text, background = brightness(row(panel, "people daily"))
    assert (text < 200 < 400 < background) if theme == "light" else (background < 200 < 400 < text)
    panel.screenshot(f"monitors-list-{theme}")

    # The same keys as those of the jobs.
    row(panel, "sane ages").focus()
    page.keyboard.press("End")
    expect(row(panel, "not used yet")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(row(panel, "people daily")).to_be_focused()
    page.keyboard.press("Enter")
    expect(node.get_by_role("heading", name="people daily")).to_be_focused()
    alarms = panel.section("Alarms")
    expect(alarms.get_by_role("listitem")).to_contain_text("'age' drifted: distance")
    expect(alarms.get_by_role("listitem")).to_contain_text("in 3 windows in a row")
    chart = node.get_by_role("img", name=re.compile("drift: age. 10 windows, 3 breaches."))
    expect(chart).to_be_visible()
    expect(chart.locator(".jpx-Chart-breach")).to_have_count(3)
    panel.screenshot(f"monitors-detail-{theme}")

    node.get_by_role("button", name="Table").focus()
    page.keyboard.press("Enter")
    table = node.get_by_role("region", name="age")
    expect(table.get_by_role("row")).to_have_count(11)
    expect(table.get_by_role("row").nth(1)).to_contain_text("breach")
    panel.screenshot(f"monitors-table-{theme}")
    node.get_by_label("What to show").select_option(label="income, outside of its range")
    expect(node.get_by_text("Share of the rows: above the line is a breach.")).to_be_visible()
    for section in ("Last windows", "Checks and settings"):
        panel.section(section)
    windows = panel.section("Last windows").get_by_role("listitem")
    expect(windows).to_have_count(10)
    expect(windows.nth(1)).to_contain_text("Fired: 'age' drifted")
    settings = panel.section("Checks and settings")
    expect(settings).to_contain_text("Rows are cut into windows of 1 day by the time in “at”, in UTC.")
    settings.scroll_into_view_if_needed()
    panel.screenshot(f"monitors-settings-{theme}")
    page.keyboard.press("Escape")
    expect(row(panel, "people daily")).to_be_focused()
    assert panel.errors == []


def test_the_panel_follows_what_happens_and_else_asks_nothing(open_lab: OpenLab) -> None:
    panel = open_lab("follow.ipynb", MONITORS, AGAIN, RIGHT)
    page, node = panel.page, panel.node
    expect(page.locator(".jp-OutputArea-output").nth(2)).to_be_visible(timeout=90_000)
    # What the toast offers: another monitor is opened, and by mouse.
    page.locator(".Toastify__toast", has_text="people daily").get_by_role("button", name="Show").click()
    expect(node.get_by_role("heading", name="people daily")).to_be_focused()
    page.keyboard.press("Escape")
    expect(node.locator(".jpx-Row-name")).to_have_text(["people daily", "income at night", "sane ages", "not used yet"])
    expect(row(panel, "sane ages")).to_contain_text("Quiet")
    row(panel, "sane ages").click()
    past = panel.section("Past alarms")
    expect(past.get_by_role("listitem")).to_contain_text("100 % of 'age' is outside of its range")
    messages = panel.section("Messages")
    # It is tried again after ten seconds, which no event tells.
    expect(messages.get_by_role("listitem")).to_have_count(2)
    expect(messages.get_by_role("listitem").first).to_contain_text("Waiting")
    expect(messages.get_by_role("listitem").last).to_contain_text("1 alarm fired · 2 attempts", timeout=60_000)
    expect(messages.get_by_role("listitem").last).to_contain_text("Webhook http://127.0.0.1:9/hook")
    messages.scroll_into_view_if_needed()
    panel.screenshot("monitors-messages")
    page.keyboard.press("Escape")
    page.wait_for_timeout(1_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(8_000)
    assert [url for url in asked if "jupyter-ext" in url] == []

    def run(code: str) -> None:
        page.locator(".jp-Notebook .jp-Cell").nth(1).locator(".cm-content").click()
        page.keyboard.press("Control+a")
        page.keyboard.type(code)
        page.keyboard.press("Control+Enter")

    # A new window, and what the notebook does to monitors: the panel hears of it.
    run("monitors['sane ages'].check(before.assign(age=-3.0))")
    expect(row(panel, "sane ages")).to_contain_text("1 firing")
    expect(node.get_by_role("status")).to_have_text("sane ages: 1 firing")
    run("later = workspace.monitors.create('made later', profile=profile)")
    expect(row(panel, "made later")).to_contain_text("No window yet")
    run("later.pause()")
    expect(row(panel, "made later")).to_contain_text("Paused")
    run("later.delete()")
    expect(row(panel, "made later")).to_have_count(0)
    assert panel.errors == []


def test_a_monitor_is_paused_resumed_and_deleted_by_keyboard(open_lab: OpenLab) -> None:
    panel = open_lab("change.ipynb", MONITORS, "monitors['sane ages'].refresh().enabled")
    page, node = panel.page, panel.node
    expect(page.locator(".jp-OutputArea-output").nth(1)).to_have_text("True", timeout=90_000)
    page.keyboard.press("Control+Alt+m")
    expect(node.locator(".jpx-Row-name")).to_have_text(NAMES)
    # Shown, the panel has the focus: also where the row that had it was deleted by the notebook.
    expect(node.locator("[data-row-id]:focus")).to_have_count(1)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(node.get_by_role("heading", name="sane ages")).to_be_focused()
    node.get_by_role("button", name="Pause the monitor").focus()
    page.keyboard.press("Enter")
    resume = node.get_by_role("button", name="Resume the monitor")
    expect(resume).to_be_focused()
    expect(node.locator(".jpx-Summary").get_by_text("Paused, 1 firing")).to_be_visible()
    panel.screenshot("monitors-paused")
    page.locator(".jp-Notebook .jp-Cell").nth(1).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".jp-OutputArea-output").nth(1)).to_have_text("False")
    panel.command("Resume Monitor")
    expect(node.locator(".jpx-Summary").get_by_text("1 firing", exact=True)).to_be_visible()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.command("Copy Python That Opens Monitor")
    expect(page.locator(".Toastify__toast", has_text='Copied workspace.monitors.get("sane ages")')).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == 'workspace.monitors.get("sane ages")'

    node.get_by_role("heading", name="sane ages").focus()
    page.keyboard.press("Escape")
    expect(row(panel, "sane ages")).to_be_focused()
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete “sane ages”?")
    panel.screenshot("monitors-delete")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(row(panel, "sane ages")).to_be_visible()
    # Of an open monitor, too; then the list is shown.
    open_(panel, "sane ages")
    panel.command("Delete Monitor…")
    dialog.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(row(panel, "people daily")).to_be_visible()
    expect(row(panel, "sane ages")).to_have_count(0)
    expect(node.get_by_role("status")).to_have_text("sane ages was deleted.")
    assert panel.errors == []
