"""What a person does in JupyterLab, for Playwright."""

from __future__ import annotations

from playwright.sync_api import Page


def choose(page: Page, *path: str) -> None:
    """Choose an entry of JupyterLab's menus: ``choose(page, "File", "Save Notebook")``."""
    page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).first.click()
    for entry in path[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=entry).first.click()


def run_all_cells(page: Page) -> None:
    """Run all cells as soon as the kernel is there: before that, JupyterLab forgets what it was told."""
    page.get_by_text("(ipykernel) | Idle").wait_for()
    choose(page, "Run", "Run All Cells")
