"""What a person does in JupyterLab, for Playwright."""

from __future__ import annotations

from playwright.sync_api import Page


def choose(page: Page, *path: str) -> None:
    """Choose an entry of JupyterLab's menus: ``choose(page, "Run", "Run All Cells")``."""
    page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).first.click()
    for entry in path[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=entry).first.click()
