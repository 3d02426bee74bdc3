"""What a person does in JupyterLab, for Playwright."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from support import hub as hubs

SCREENSHOTS = hubs.ROOT / "build" / "screenshots"


def choose(page: Page, *path: str) -> None:
    """Choose an entry of JupyterLab's menus: ``choose(page, "File", "Save Notebook")``."""
    page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).first.click()
    for entry in path[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=entry).first.click()


def run_all_cells(page: Page) -> None:
    """Run all cells as soon as the kernel is there: before that, JupyterLab forgets what it was told."""
    page.get_by_text("(ipykernel) | Idle").wait_for()
    choose(page, "Run", "Run All Cells")


def brightness(node: Locator) -> tuple[float, float]:
    """How bright a text is, and what lies behind it: the sums of their red, green and blue."""
    text, background = node.evaluate(
        """node => {
          let back = node;
          while (back && getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)') back = back.parentElement;
          const sum = color => color.match(/[0-9.]+/g).slice(0, 3).reduce((all, each) => all + Number(each), 0);
          return [sum(getComputedStyle(node).color), sum(getComputedStyle(back).backgroundColor)];
        }"""
    )
    return text, background


class SidePanel:
    """One of our side panels in a JupyterLab, driven by the keyboard."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.node = page.get_by_role("region", name=name, exact=True)
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def command(self, label: str) -> None:
        """Run a command by the command palette."""
        self.page.keyboard.press("Control+Shift+C")
        self.page.locator(".lm-CommandPalette-input:focus").wait_for()
        self.page.keyboard.type(label)
        self.page.locator(".lm-CommandPalette-item", has_text=label).first.wait_for()
        self.page.keyboard.press("Enter")

    def show(self, command: str) -> None:
        """Open the panel by its command."""
        self.command(command)
        expect(self.node).to_be_visible()

    def section(self, title: str) -> Locator:
        """A part of an open thing, opened."""
        summary = self.page.locator("summary", has_text=re.compile(f"^{re.escape(title)}"))
        part = self.node.locator("details", has=summary)
        if part.get_attribute("open") is None:
            part.locator("summary").focus()
            self.page.keyboard.press("Enter")
        return part

    def screenshot(self, name: str) -> None:
        """Keep a picture for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")
