"""The Jobs panel as people meet it: JupyterLab in Chromium, behind a hub, below an address with odd characters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from jupyter_ext.hub import HubSession, LocalHub, user_folder
from support import hub as hubs
from support.lab import SidePanel, brightness

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("hub")]
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
SAVING = """
import time
from jupyter_ext.jobs import checkpoint, progress

saved = checkpoint.latest()
for step in range(saved.step + 1 if saved else 1, 1201):
    if step % 4 == 0:
        checkpoint.save(step, {"step": step})
    progress(step, 1200)
    time.sleep(0.25)
"""
TRIAL = """
import time
from jupyter_ext.jobs import progress

progress(1, 2, loss=rate)
time.sleep(1)
assert rate < 0.3, "diverged"
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


class Lab(SidePanel):
    """JupyterLab in one browser page, with the panel of jobs, driven by the keyboard."""

    def __init__(self, page: Page) -> None:
        super().__init__(page, "Jobs")
        self.panel = self.node

    def show_jobs(self) -> None:
        """Open the panel by the command palette."""
        self.show("Show Jobs")

    def row(self, name: str) -> Locator:
        """The row of a job."""
        return self.panel.get_by_role("treeitem", name=re.compile(f"^{re.escape(name)},"))

    def open(self, name: str) -> None:
        """Open a job by the keyboard."""
        self.row(name).focus()
        self.page.keyboard.press("Enter")
        expect(self.panel.get_by_role("heading", name=name)).to_be_focused()


Open = Callable[..., Lab]


def submit(session: HubSession, name: str, source: str, **more: Any) -> str:
    """Submit a job of a small CPU share with whatever else a job can ask for, and return its id."""
    spec = {"name": name, "source": source, "resources": {"cpus": 0.25}, **more}
    answer = session.request("POST", f"{hubs.API}/jobs", json=spec)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def cancel(session: HubSession, job_id: str) -> None:
    """Cancel a job, and wait until it is."""
    session.request("POST", f"{hubs.API}/jobs/{job_id}/cancel").raise_for_status()
    hubs.wait_for(lambda: hubs.job(session, job_id)["state"] == "cancelled", 60, "the job's end")


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
    expect(opened.panel.get_by_text("No jobs yet. Submit one from a notebook with %%submit_job.")).to_be_visible()
    expect(opened.page.get_by_text("official Jupyter news")).to_have_count(0)

    hubs.submit(session, "train the classifier", TRAINING)
    row = opened.row("train the classifier")
    expect(row).to_be_visible(timeout=30 * SECOND)
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
    expect(row.get_by_text("Cancelled")).to_be_visible(timeout=60 * SECOND)
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
    text, background = brightness(row)
    assert background < 200 < 400 < text

    row.focus()
    opened.page.keyboard.press("Enter")
    expect(opened.panel.get_by_role("log", name="Log")).to_contain_text("hello from Ray")
    opened.screenshot("jobs-detail-dark")
    assert opened.errors == []


@pytest.mark.ray
def test_a_job_is_paused_and_goes_on_from_its_checkpoint_while_another_waits(
    session: HubSession, sign_in: Open
) -> None:
    opened = sign_in(session)
    opened.show_jobs()
    saving = submit(session, "saving", SAVING, priority=5)
    hubs.wait_for(lambda: hubs.job(session, saving)["state"] == "running", 120, "the job's start")
    cpus = session.request("GET", f"{hubs.API}/clusters/default").json()["total"]["CPU"]
    waiting = submit(session, "waiting", "print('at last')", resources={"cpus": cpus}, after=[saving])
    greedy = submit(session, "greedy", "print('at last')", resources={"cpus": cpus})
    expect(opened.row("saving")).to_contain_text("priority 5")
    expect(opened.row("greedy")).to_contain_text("in the queue · Waiting for CPU: 0.25 of", timeout=60 * SECOND)
    expect(opened.row("waiting")).to_contain_text("Waiting for 'saving' to succeed.")
    opened.screenshot("jobs-queue-light")

    opened.open("waiting")
    expect(opened.panel.get_by_role("button", name="saving")).to_be_visible()
    opened.panel.get_by_role("button", name="saving").focus()
    opened.page.keyboard.press("Enter")
    expect(opened.panel.get_by_role("heading", name="saving")).to_be_focused()
    checkpoints = opened.section("Checkpoints")
    expect(checkpoints.get_by_role("row")).to_have_count(4, timeout=60 * SECOND)

    opened.panel.get_by_role("button", name="Pause the job").focus()
    opened.page.keyboard.press("Enter")
    resume = opened.panel.get_by_role("button", name="Resume the job")
    expect(resume).to_be_focused(timeout=60 * SECOND)
    expect(opened.panel.get_by_text("Paused; it goes on from step").first).to_be_visible()
    opened.screenshot("jobs-paused-light")
    for job_id in (waiting, greedy):
        cancel(session, job_id)
    opened.page.keyboard.press("Enter")
    resumed = opened.section("Attempts").get_by_text("Attempt 2 resumed at step")
    expect(resumed).to_be_visible(timeout=90 * SECOND)
    resumed.scroll_into_view_if_needed()
    opened.screenshot("jobs-attempts-light")
    cancel(session, saving)
    assert opened.errors == []


@pytest.mark.ray
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_sweep_is_one_line_that_opens(session: HubSession, sign_in: Open, theme: str) -> None:
    opened = sign_in(session, theme=f"JupyterLab {theme.capitalize()}")
    opened.show_jobs()
    name = f"sweep-{theme}"
    sweep = submit(session, name, TRIAL, sweep=[{"rate": 0.1}, {"rate": 0.2}, {"rate": 0.4}])
    row = opened.row(name)
    expect(row).to_have_attribute("aria-expanded", "false")
    row.focus()
    opened.page.keyboard.press("ArrowRight")
    children = opened.panel.locator('[role="treeitem"][aria-level="2"]')
    expect(children).to_have_count(3)
    expect(opened.row(f"{name}-3")).to_contain_text("rate=0.4")
    expect(row).to_contain_text("1 of 3 jobs failed.", timeout=120 * SECOND)
    expect(opened.row(f"{name}-3").get_by_text("Failed")).to_be_visible()
    expect(opened.row(f"{name}-1").get_by_text("Succeeded")).to_be_visible()
    opened.screenshot(f"jobs-sweep-{theme}")

    opened.page.keyboard.press("ArrowRight")
    expect(opened.row(f"{name}-3")).to_be_focused()
    opened.page.keyboard.press("Enter")
    expect(opened.section("Parameters")).to_contain_text("rate0.4")
    opened.panel.get_by_role("button", name=name, exact=True).focus()
    opened.page.keyboard.press("Enter")
    expect(opened.section("Jobs of the sweep").get_by_role("listitem")).to_have_text(["Failed1", "Succeeded2"])
    opened.screenshot(f"jobs-sweep-detail-{theme}")
    assert hubs.job(session, sweep)["children"] == {"failed": 1, "succeeded": 2}
    assert opened.errors == []


@pytest.mark.ray
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_long_log_is_searched_by_keyboard(session: HubSession, sign_in: Open, theme: str) -> None:
    source = (
        "print('the needle')\nfor line in range(20_000): print(f'line {line} of a long log, with an Error {line % 7}')"
    )
    job_id = submit(session, f"talkative-{theme}", source)
    hubs.wait_for(lambda: hubs.job(session, job_id)["state"] == "succeeded", 120, "the job's success")
    opened = sign_in(session, theme=f"JupyterLab {theme.capitalize()}")
    opened.show_jobs()
    opened.open(f"talkative-{theme}")
    log = opened.panel.get_by_role("log", name="Log")
    expect(log).to_contain_text("line 19999")
    log.focus()
    opened.page.keyboard.press("Control+f")
    expect(opened.panel.get_by_role("textbox", name="Find in the log")).to_be_focused()
    opened.page.keyboard.type("error 3")
    said = opened.panel.get_by_role("search").get_by_role("status")
    expect(said).to_have_text("1000 of the last 1000")
    opened.page.keyboard.press("Shift+Enter")
    expect(said).to_have_text("999 of the last 1000")
    current = log.locator("mark[aria-current]")
    expect(current).to_have_text("Error 3")
    expect(current).to_be_in_viewport()
    opened.screenshot(f"jobs-log-search-{theme}")

    opened.page.keyboard.press("Control+a")
    opened.page.keyboard.type("needle")
    expect(said).to_have_text("No match")
    expect(opened.panel.get_by_text("Not loaded and not searched: the first")).to_be_visible()
    earlier = opened.panel.get_by_role("button", name="Load earlier lines")
    while earlier.count():
        earlier.click()
        opened.page.wait_for_timeout(500)
    expect(current).to_have_text("needle")
    expect(current).to_be_in_viewport()
    opened.panel.get_by_role("textbox", name="Find in the log").focus()
    opened.page.keyboard.press("Escape")
    expect(log).to_be_focused()
    assert opened.errors == []


@pytest.mark.ray
def test_an_executed_notebook_opens_to_read(session: HubSession, sign_in: Open) -> None:
    code = nbformat.v4.new_code_cell("print('so many:', 6 * 7)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A report"), code])
    job_id = submit(session, "report", json.dumps(notebook), kind="notebook")
    hubs.wait_for(lambda: hubs.job(session, job_id)["state"] == "succeeded", 180, "the job's success")
    opened = sign_in(session)
    opened.show_jobs()
    opened.open("report")
    opened.panel.get_by_role("button", name="Open the executed notebook").focus()
    opened.page.keyboard.press("Enter")
    expect(opened.page.locator(".jp-NotebookPanel .jp-OutputArea-output")).to_contain_text("so many: 42")
    expect(opened.page.get_by_role("heading", name="A report")).to_be_visible()
    opened.screenshot("jobs-notebook-light")
    assert session.request("GET", "/api/sessions").json() == []
    tab = opened.page.locator(".lm-TabBar-tab", has_text="report.ipynb")
    tab.locator(".lm-TabBar-tabCloseIcon").click()
    expect(tab).to_have_count(0)
    # ipywidgets' own manager misses a kernel in every notebook without one.
    assert [error for error in opened.errors if "reading 'kernel'" not in error] == []


@pytest.mark.ray
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_cluster_is_looked_at_stopped_and_started(session: HubSession, sign_in: Open, theme: str) -> None:
    job_id = submit(session, f"holding-{theme}", TRAINING)
    hubs.wait_for(lambda: hubs.job(session, job_id)["state"] == "running", 120, "the job's start")
    opened = sign_in(session, theme=f"JupyterLab {theme.capitalize()}")
    opened.show_jobs()
    clusters = opened.panel.get_by_role("region", name="Clusters")
    expect(clusters.locator("summary")).to_have_text("ClusterRunning")
    expect(clusters.get_by_text("Last 30 days: ")).to_be_visible()
    clusters.locator("summary").focus()
    opened.page.keyboard.press("Enter")
    expect(clusters.get_by_role("list", name="Nodes")).to_contain_text("0.25 of", timeout=60 * SECOND)
    opened.screenshot(f"cluster-{theme}")

    stop = clusters.get_by_role("button", name="Stop the cluster")
    stop.focus()
    opened.page.keyboard.press("Enter")
    dialog = opened.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Stop the cluster while 1 job runs?")
    opened.page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    cancel(session, job_id)
    if theme == "dark":
        return
    stop.focus()
    opened.page.keyboard.press("Enter")
    start = clusters.get_by_role("button", name="Start the cluster")
    expect(start).to_be_visible(timeout=60 * SECOND)
    expect(clusters.get_by_role("list", name="Nodes")).to_have_count(0)
    start.focus()
    opened.page.keyboard.press("Enter")
    expect(stop).to_be_visible()
    expect(clusters.get_by_role("list", name="Nodes")).to_be_visible(timeout=90 * SECOND)
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
