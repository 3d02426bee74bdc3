"""The Jobs panel as people meet it: JupyterLab in Chromium, behind a hub, below an address with odd characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from jupyter_ext.hub import HubSession, LocalHub, user_folder
from support import hub as hubs

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("hub"), pytest.mark.timeout(290)]
SCREENSHOTS = hubs.ROOT / "build" / "screenshots"
USER = "a@b c"
SECOND = 1000
TRAINING = """
import time
from jupyter_ext.jobs import progress

for epoch in range(1, 601):
    print(f"epoch {epoch}: loss {1 / epoch:.4f}", flush=True)
    progress(epoch, 600, loss=1 / epoch)
    time.sleep(0.5)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with hubs.running(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def session(hub: LocalHub) -> Iterator[HubSession]:
    with HubSession(hub.url, USER, hub.settings.password) as signed_in:
        hubs.start_server(signed_in)
        yield signed_in
        hubs.stop_server(signed_in)


class Lab:
    """JupyterLab in one browser page, driven by the keyboard."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.get_by_role("region", name="Jobs", exact=True)
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def show_jobs(self) -> None:
        """Open the panel by the command palette."""
        self.page.keyboard.press("Control+Shift+C")
        self.page.locator(".lm-CommandPalette-input:focus").wait_for()
        self.page.keyboard.type("Show Jobs")
        self.page.locator(".lm-CommandPalette-item", has_text="Show Jobs").first.wait_for()
        self.page.keyboard.press("Enter")
        expect(self.panel).to_be_visible()

    def row(self, name: str) -> Locator:
        """The row of a job."""
        return self.panel.get_by_role("option", name=name)

    def screenshot(self, name: str) -> None:
        """Keep a picture for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


Open = Callable[..., Lab]


@pytest.fixture
def sign_in(browser: Browser, hub: LocalHub) -> Iterator[Open]:
    """Sign a user in through the hub's form and open their JupyterLab with a theme."""
    contexts: list[BrowserContext] = []

    def open_lab(session: HubSession, theme: str = "JupyterLab Light") -> Lab:
        settings = session.request(
            "PUT",
            "/lab/api/settings/@jupyterlab/apputils-extension:themes",
            json={"raw": f'{{"theme": "{theme}", "adaptive-theme": false}}'},
        )
        settings.raise_for_status()
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        context.set_default_timeout(30 * SECOND)
        page = context.new_page()
        page.goto(f"{hub.url}/hub/login")
        page.get_by_label("Username:").fill(session.user)
        page.get_by_label("Password:").fill(hub.settings.password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/hub/login" not in url)
        page.goto(f"{session.server_url}/lab?reset")
        page.locator("#jp-main-dock-panel").wait_for()
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        page.locator(".jp-Launcher").wait_for()
        return Lab(page)

    yield open_lab
    for context in contexts:
        context.close()


@pytest.mark.ray
def test_a_job_appears_runs_and_is_cancelled_by_keyboard_alone(session: HubSession, sign_in: Open) -> None:
    opened = sign_in(session)
    opened.show_jobs()
    expect(opened.panel.get_by_text("No jobs yet")).to_be_visible()
    expect(opened.page.get_by_text("official Jupyter news")).to_have_count(0)

    hubs.submit(session, "train the classifier", TRAINING)
    row = opened.row("train the classifier")
    expect(row).to_be_visible(timeout=5 * SECOND)
    expect(row.get_by_text("Running")).to_be_visible(timeout=90 * SECOND)
    expect(row.get_by_role("progressbar")).to_be_visible()
    opened.screenshot("jobs-list-light")

    row.focus()
    opened.page.keyboard.press("Enter")
    expect(opened.panel.get_by_role("heading", name="train the classifier")).to_be_focused()
    log = opened.panel.get_by_role("log", name="Log")
    expect(log).to_contain_text("epoch 1: loss 1.0000")
    seen = opened.panel.get_by_role("progressbar").get_attribute("aria-valuenow")
    expect(opened.panel.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", str(seen))
    opened.screenshot("jobs-detail-light")

    opened.page.keyboard.press("Escape")
    expect(row).to_be_focused()
    opened.page.keyboard.press("Delete")
    dialog = opened.page.get_by_role("dialog")
    expect(dialog.get_by_text("Cancel “train the classifier”?")).to_be_visible()
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(row.get_by_text("Cancelled")).to_be_visible(timeout=30 * SECOND)
    assert opened.errors == []


@pytest.mark.ray
def test_the_panel_listens_and_does_not_ask_while_nothing_happens(session: HubSession, sign_in: Open) -> None:
    opened = sign_in(session)
    opened.show_jobs()
    expect(opened.panel.get_by_role("search")).to_be_visible()
    opened.page.wait_for_timeout(2 * SECOND)
    asked: list[str] = []
    opened.page.on("request", lambda request: asked.append(request.url))
    opened.page.wait_for_timeout(8 * SECOND)
    assert [url for url in asked if "jupyter-ext" in url] == []


@pytest.mark.ray
def test_the_panel_is_dark_in_a_dark_theme(session: HubSession, sign_in: Open) -> None:
    job_id = hubs.submit(session, "hello", "print('hello from Ray')")
    hubs.wait_for(lambda: hubs.job(session, job_id)["state"] == "succeeded", 120, "the job's success")
    opened = sign_in(session, theme="JupyterLab Dark")
    opened.show_jobs()
    row = opened.row("hello")
    expect(row.get_by_text("Succeeded")).to_be_visible()
    opened.screenshot("jobs-list-dark")
    brightness = """node => {
      const own = getComputedStyle(node);
      let back = node;
      while (back && getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)') back = back.parentElement;
      const sum = color => color.match(/[0-9.]+/g).slice(0, 3).reduce((all, each) => all + Number(each), 0);
      return [sum(own.color), sum(getComputedStyle(back).backgroundColor)];
    }"""
    text, background = row.evaluate(brightness)
    assert background < 200 < 400 < text

    row.focus()
    opened.page.keyboard.press("Enter")
    expect(opened.panel.get_by_role("log", name="Log")).to_contain_text("hello from Ray")
    opened.screenshot("jobs-detail-dark")
    assert opened.errors == []


def test_a_server_without_the_extension_gives_one_clear_message(hub: LocalHub, sign_in: Open) -> None:
    configuration = user_folder(hub.settings.home, "ben") / ".jupyter"
    configuration.mkdir(parents=True)
    (configuration / "jupyter_server_config.json").write_text(
        '{"ServerApp": {"jpserver_extensions": {"jupyter_ext": false}}}'
    )
    with HubSession(hub.url, "ben", hub.settings.password) as ben:
        list(ben.start_server())
        opened = sign_in(ben)
        opened.show_jobs()
        alert = opened.panel.get_by_role("alert")
        expect(alert).to_have_count(1)
        expect(alert).to_contain_text("The jupyter-ext server extension is not running")
        expect(alert).to_contain_text("jupyter server extension enable jupyter_ext")
        opened.screenshot("jobs-without-server")
        ben.stop_server()
