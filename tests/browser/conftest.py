"""A real Chromium, and a real JupyterLab to drive with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import httpx
import nbformat
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from support import server as servers

Open = Callable[..., Page]


@pytest.fixture(autouse=True)
def jp_asyncio_loop() -> None:
    """Take the place of pytest-jupyter's loop: Playwright runs its own, which must not be closed after each test."""


@pytest.fixture(autouse=True)
def jp_server_cleanup() -> None:
    """Take the place of pytest-jupyter's cleaning up, which needs that loop: no server runs inside this process."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A JupyterLab with the extension on a port and folders of its own: ``.url``, ``.token``, ``.root``."""
    folder = tmp_path_factory.mktemp("lab")
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    # No question about news on the first page: there is no network in a test.
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    running = servers.start(folder, app="jupyterlab")
    try:
        yield running
    finally:
        running.stop()


def stop_kernels(lab: servers.Server) -> None:
    """Shut down every kernel of a JupyterLab."""
    headers = {"Authorization": f"token {lab.token}"}
    with httpx.Client(base_url=f"{lab.url}api/", headers=headers, trust_env=False, timeout=60) as api:
        for session in api.get("sessions").json():
            api.delete(f"sessions/{session['id']}")


@pytest.fixture
def open_notebook(lab: servers.Server, browser: Browser) -> Iterator[Open]:
    """Open code cells as a notebook in a page of its own: ``page = open_notebook("a.ipynb", "1 + 1", "2 + 2")``.

    Without cells, the notebook of that name is opened as it lies there, after its kernel has been shut down.
    """
    context = browser.new_context(viewport={"width": 1400, "height": 1200})
    context.set_default_timeout(60_000)

    def open_(name: str, *cells: str) -> Page:
        if cells:
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            code = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
            nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), lab.root / name)
        else:
            stop_kernels(lab)
        page = context.new_page()
        page.goto(f"{lab.url}lab/tree/{name}?token={lab.token}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        return page

    yield open_
    context.close()
    stop_kernels(lab)
