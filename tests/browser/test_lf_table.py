"""The table of labeling functions in a real JupyterLab: sorted, searched, opened and paged by keyboard, and updated."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from support import hub as hubs
from support.lab import choose, run_all_cells

pytestmark = pytest.mark.browser

#: Machines that run all tests at once are slow.
expect.set_options(timeout=60_000)

SCREENSHOTS = hubs.ROOT / "build" / "screenshots"

FUNCTIONS = """
import numpy as np
import pandas as pd
from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.widgets import LFTable

random = np.random.default_rng(0)
truth = random.integers(0, 2, 400)
names = ["mentions_channel", "has_link", "short_comment", "asks_to_subscribe", "praises_the_song", "never_matches"]
votes = np.full((400, 6), -1)
for place, (share, skill) in enumerate([(0.3, 0.95), (0.12, 0.9), (0.5, 0.6), (0.2, 0.97), (0.25, 0.8)]):
    voted = random.random(400) < share
    votes[voted, place] = np.where(random.random(400) < skill, truth, 1 - truth)[voted]
gold = np.where(np.arange(400) < 120, truth, -1)
comments = pd.DataFrame({
    "text": [f"Comment {row}: check out my channel, I sing covers of this song every week." for row in range(400)],
    "likes": range(400)})
table = LFTable(VoteMatrix.from_dense(votes, voters=names), gold, frame=comments, classes=["ham", "spam"])
table
"""

UPDATE = """
better = votes.copy()
better[:, 1] = -1
better[:10, 1] = 1
table.update(VoteMatrix.from_dense(better, voters=[*names[:5], "brand_new"]))
print("opened:", table.selected)
"""

MANY = """
import numpy as np
from jupyter_ext.labeling import VoteMatrix
from jupyter_ext.widgets import LFTable
votes = np.random.default_rng(0).integers(-1, 2, size=(50, 1_000))
LFTable(VoteMatrix.from_dense(votes, voters=[f"a_function_with_some_name_{place}" for place in range(1_000)]))
"""

#: The least contrast between a text and what lies behind it.
CONTRAST = """
(root) => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const colour = numbers(getComputedStyle(n).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const texts = [...root.querySelectorAll("*")].filter(
    (node) => !node.closest("svg, style, :disabled, .jx-hidden") && node.checkVisibility() &&
      [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
  return Math.min(...texts.map((node) => {
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
}
"""


def table_of(page: Page):
    return page.get_by_role("group", name="Labeling functions")


def names(view) -> list[str]:
    return view.locator(".jx-name").all_text_contents()


def test_functions_are_sorted_searched_and_opened_by_keyboard(open_notebook):
    page = open_notebook("functions.ipynb", FUNCTIONS)
    run_all_cells(page)
    view = table_of(page)
    expect(view.get_by_role("heading", level=3)).to_contain_text("6 functions vote on ")
    expect(view).to_contain_text("120 known answers; whiskers are 95 % intervals")
    rows = view.locator(".jx-row")
    expect(rows).to_have_count(6)
    expect(rows.first.get_by_role("img", name=re.compile("accuracy .* between"))).to_be_visible()
    expect(rows.last.get_by_role("img", name="Note: it never votes")).to_be_visible()
    as_given = names(view)

    heading = view.get_by_role("columnheader", name="Conflicts")
    heading.get_by_role("button").press("Enter")
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(heading.get_by_role("button")).to_be_focused()
    assert names(view)[-1] == "never_matches"
    page.keyboard.press("Enter")
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert names(view)[0] == "never_matches"
    page.keyboard.press("Enter")
    expect(heading).not_to_have_attribute("aria-sort", re.compile("."))
    assert names(view) == as_given
    for name in ("Function", "Votes for", "Coverage", "Overlaps", "Accuracy"):
        view.get_by_role("columnheader", name=name).get_by_role("button").click()
        expect(view.get_by_role("columnheader", name=name)).to_have_attribute("aria-sort", re.compile("."))
    assert names(view)[-1] == "never_matches"  # what has no accuracy comes last

    page.keyboard.press("/")
    search = view.get_by_role("searchbox", name="Search functions")
    expect(search).to_be_focused()
    page.keyboard.type("LINK")
    expect(rows).to_have_count(1)
    page.keyboard.press("Escape")
    expect(rows).to_have_count(6)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = rows.nth(1).locator(".jx-name")
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-expanded", "true")
    expect(second).to_be_focused()
    detail = view.get_by_role("region", name=f"Function {names(view)[1]}")
    expect(detail.get_by_role("table", name="Votes by class")).to_contain_text("spam")
    expect(detail.get_by_role("table", name="Conflicting rows")).to_contain_text("check out my channel")
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    expect(second).to_be_focused()
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1


def test_conflicting_rows_are_paged_and_stay_open_over_an_update(open_notebook):
    page = open_notebook("paging.ipynb", FUNCTIONS, UPDATE)
    page.get_by_text("(ipykernel) | Idle").wait_for()
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.keyboard.press("Control+Enter")
    view = table_of(page)
    view.get_by_role("columnheader", name="Coverage").get_by_role("button").click()
    view.locator(".jx-row", has_text="short_comment").click()
    detail = view.get_by_role("region", name="Function short_comment")
    expect(detail).to_contain_text(re.compile(r"1 to 20 of \d+ rows"))
    following = detail.get_by_role("button", name="Next")
    following.press("Enter")
    expect(detail).to_contain_text(re.compile(r"21 to 40 of \d+ rows"))
    expect(following).to_be_focused()
    expect(detail.locator(".jx-conflicts tbody tr")).to_have_count(20)

    page.locator(".jp-Notebook .jp-Cell").nth(1).locator(".jp-InputArea").click()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("opened: short_comment")).to_be_visible()
    expect(view.locator(".jx-row", has_text="brand_new")).to_be_visible()
    expect(view.get_by_role("columnheader", name="Coverage")).to_have_attribute("aria-sort", "descending")
    expect(detail).to_contain_text(re.compile(r"21 to 40 of \d+ rows"))


def test_of_a_thousand_functions_all_can_be_found(open_notebook):
    page = open_notebook("thousand.ipynb", MANY)
    run_all_cells(page)
    view = table_of(page)
    expect(view).to_contain_text("more functions don't fit into the view")
    view.get_by_role("searchbox").fill("name_999")
    expect(view.locator(".jx-row")).to_have_count(1)
    view.locator(".jx-name").press("Enter")
    expect(view.get_by_role("region", name="Function a_function_with_some_name_999")).to_contain_text("rows on which")


def test_a_reopened_notebook_shows_the_open_function_without_a_kernel(open_notebook, lab):
    page = open_notebook("reopened.ipynb", FUNCTIONS)
    run_all_cells(page)
    view = table_of(page)
    expect(page.locator(".jx")).to_have_count(2)
    expect(page.locator(".jx:not(.jx-live)")).to_be_hidden()
    view.locator(".jx-row", has_text="has_link").click()
    expect(view.get_by_role("region", name="Function has_link")).to_contain_text("rows on which")
    choose(page, "File", "Save Notebook")
    saved = lab.root / "reopened.ipynb"
    while "rows on which others contradict it" not in saved.read_text():
        page.wait_for_timeout(200)  # the test's own limit of time ends this
    page.close()
    again = open_notebook("reopened.ipynb")
    twin = again.locator(".jx")
    expect(twin).to_have_count(1)
    expect(twin).to_contain_text("6 functions vote on")
    expect(twin.get_by_role("heading", name="has_link")).to_be_visible()
    expect(again.get_by_text("model not found")).to_be_hidden()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    again.screenshot(path=SCREENSHOTS / "functions-static.png")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_text_stands_out_in_both_themes(open_notebook, theme):
    page = open_notebook("themes.ipynb", FUNCTIONS)
    choose(page, "Settings", "Theme", theme)
    run_all_cells(page)
    dark = theme.endswith("Dark")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false" if dark else "true")
    view = table_of(page)
    view.locator(".jx-row", has_text="has_link").click()
    expect(view.get_by_role("region")).to_contain_text("rows on which")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    view.scroll_into_view_if_needed()
    page.screenshot(path=SCREENSHOTS / f"functions-{'dark' if dark else 'light'}.png")
    assert view.evaluate(CONTRAST) >= 4.5
    ground = view.evaluate("(root) => getComputedStyle(root).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 64) == dark
