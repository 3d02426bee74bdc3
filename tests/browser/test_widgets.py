"""The widgets in a real JupyterLab: a person labels by keyboard, reads a drift report, and reopens the notebook."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from support.lab import choose, run_all_cells

pytestmark = pytest.mark.browser

#: Machines that run all tests at once are slow.
expect.set_options(timeout=30_000)

#: Votes are acknowledged when they are in a file; while a file called "down" is there, they can't be saved.
ANNOTATOR = """
import json, pathlib
import pandas as pd
from jupyter_ext.errors import Unavailable
from jupyter_ext.widgets import Annotator

def save(votes):
    if pathlib.Path("{name}.down").exists():
        raise Unavailable("The database doesn't answer.")
    path = pathlib.Path("{name}.json")
    known = json.loads(path.read_text()) if path.exists() else dict()
    path.write_text(json.dumps({{**known, **votes}}))

cells = pd.DataFrame({{"radius": [17.9, 7.8, 12.0, 9.5], "texture": [10, 20, 30, 40]}}, index=["a", "b", "c", "d"])
annotator = Annotator(cells, classes=["benign", "malignant"], title="Is it malignant?", on_submit=save)
annotator
"""

IMAGES = """
import struct, zlib
import pandas as pd
from jupyter_ext.widgets import Annotator

def png(grey):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\\0" + bytes([grey]) * 8 for _ in range(8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    return b"\\x89PNG\\r\\n\\x1a\\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

Annotator(
    pd.DataFrame({"picture": [png(0), png(255)]}, index=["dark", "light"]), classes=["no", "yes"], title="Is it light?")
"""

DRIFT = """
from sklearn.datasets import load_breast_cancer
from jupyter_ext.monitoring import drift
from jupyter_ext.widgets import DriftView

frame = load_breast_cancer(as_frame=True).data.sample(frac=1, random_state=0)
later = frame[400:].assign(**{"mean area": frame["mean area"] / 100})
DriftView(drift(frame[:400], later))
"""


@pytest.fixture
def labelling(open_notebook, request):
    """A page with an annotator in it, focused, and the name of its files."""
    name = re.sub(r"\W+", "_", request.node.name)
    page = open_notebook(f"{name}.ipynb", ANNOTATOR.format(name=name))
    run_all_cells(page)
    page.get_by_role("group", name="Annotator: Is it malignant?").focus()
    return page, name


def progress(page: Page, text: str) -> None:
    bar = page.get_by_role("progressbar", name="Progress").last
    expect(bar).to_have_attribute("aria-valuetext", text)


def item(page: Page, text: str) -> None:
    expect(page.locator(".jx-live .jx-where")).to_contain_text(text)


def test_labelling_by_keyboard_alone(labelling, lab):
    page, name = labelling
    votes = lab.root / f"{name}.json"
    status = page.locator(".jx-live").get_by_role("status")
    item(page, "item 1 · a")
    page.keyboard.press("m")
    progress(page, "1 of 4 labelled")
    item(page, "item 2 · b")
    expect(status).to_have_text("All votes saved")
    page.keyboard.press("1")
    progress(page, "2 of 4 labelled")
    assert json.loads(votes.read_text()) == {"a": "malignant", "b": "benign"}

    page.keyboard.press("u")
    progress(page, "1 of 4 labelled")
    item(page, "item 2 · b")
    page.keyboard.press("Control+z")
    progress(page, "0 of 4 labelled")
    item(page, "item 1 · a")
    assert json.loads(votes.read_text()) == {"a": None, "b": None}

    page.keyboard.press("Space")
    item(page, "item 2 · b")
    page.keyboard.press("ArrowRight")
    item(page, "item 3 · c")
    page.keyboard.press("ArrowLeft")
    item(page, "item 2 · b")

    # The classes are a group of radio buttons: arrows reach them, Enter chooses.
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="benign")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    item(page, "item 3 · c")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="malignant")).to_be_checked()
    page.keyboard.press("b")  # a changed mind
    item(page, "item 3 · c")
    progress(page, "1 of 4 labelled")

    page.keyboard.press("?")
    expect(page.get_by_role("region", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Keys")).to_be_hidden()

    for count in (2, 3, 4):
        page.keyboard.press("b")
        progress(page, f"{count} of 4 labelled")
    expect(page.get_by_role("heading", name="All 4 items labelled")).to_be_visible()
    assert json.loads(votes.read_text()) == dict.fromkeys("abcd", "benign")
    # Each of these keys means something to JupyterLab too, such as a new cell for "b".
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1


def test_a_vote_that_cannot_be_saved_is_told_kept_and_sent_again(labelling, lab):
    page, name = labelling
    (lab.root / f"{name}.down").touch()
    page.keyboard.press("m")
    alert = page.locator(".jx-live").get_by_role("alert")
    expect(alert).to_contain_text("One vote is not saved. The database doesn't answer.")
    expect(page.locator(".jx-live").get_by_role("status")).to_have_text("1 vote not saved")
    progress(page, "0 of 4 labelled")
    item(page, "item 1 · a")
    expect(page.get_by_role("radio", name="malignant")).to_be_checked()

    (lab.root / f"{name}.down").unlink()
    alert.get_by_role("button", name="Retry").click()
    expect(alert).to_be_hidden()
    progress(page, "1 of 4 labelled")
    item(page, "item 2 · b")
    assert json.loads((lab.root / f"{name}.json").read_text()) == {"a": "malignant"}

    (lab.root / f"{name}.down").touch()
    page.keyboard.press("b")
    expect(alert).to_be_visible()
    (lab.root / f"{name}.down").unlink()
    page.keyboard.press("r")
    expect(alert).to_be_hidden()
    progress(page, "2 of 4 labelled")
    assert json.loads((lab.root / f"{name}.json").read_text()) == {"a": "malignant", "b": "benign"}


def test_a_fast_typist_labels_each_item_once(labelling, lab):
    page, name = labelling
    page.keyboard.press("1")
    page.keyboard.press("2")
    progress(page, "2 of 4 labelled")
    assert json.loads((lab.root / f"{name}.json").read_text()) == {"a": "benign", "b": "malignant"}


def test_a_busy_kernel_is_told_and_the_vote_arrives(labelling, lab):
    page, name = labelling
    page.locator(".jp-Notebook .jp-Cell").first.click(position={"x": 5, "y": 5})
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.type("import time; time.sleep(12)")
    page.keyboard.press("Control+Enter")
    page.locator(".jx-live").focus()
    page.keyboard.press("m")
    status = page.locator(".jx-live").get_by_role("status")
    expect(status).to_have_text("Saving…")
    expect(status).to_have_text("Waiting for the kernel…", timeout=12_000)
    assert not (lab.root / f"{name}.json").exists()
    expect(status).to_have_text("All votes saved", timeout=30_000)
    assert json.loads((lab.root / f"{name}.json").read_text()) == {"a": "malignant"}


def test_images_are_shown_one_after_the_other(open_notebook):
    page = open_notebook("images.ipynb", IMAGES)
    run_all_cells(page)
    page.get_by_role("group", name="Annotator: Is it light?").focus()
    for key in ("dark", "light"):
        picture = page.locator(".jx-live").get_by_role("img", name=f"Item {key}")
        expect(picture).to_have_js_property("naturalWidth", 8)
        page.keyboard.press("y")
    expect(page.get_by_role("heading", name="All 2 items labelled")).to_be_visible()


def test_a_reopened_notebook_shows_the_last_state_without_a_kernel(labelling, lab, open_notebook):
    page, name = labelling
    expect(page.locator(".jx")).to_have_count(2)
    expect(page.locator(".jx:not(.jx-live)")).to_be_hidden()
    page.keyboard.press("m")
    progress(page, "1 of 4 labelled")
    choose(page, "File", "Save Notebook")
    saved = lab.root / f"{name}.ipynb"
    while "1 of 4 labelled" not in saved.read_text():
        page.wait_for_timeout(200)  # the test's own limit of time ends this
    page.close()
    again = open_notebook(f"{name}.ipynb")
    twin = again.locator(".jx")
    expect(twin).to_have_count(1)
    expect(twin).to_contain_text("1 of 4 labelled")
    expect(twin).to_contain_text("item 2 · b")
    expect(again.get_by_text("model not found")).to_be_hidden()
    assert saved.stat().st_size < 100_000


def test_a_drift_report_is_read_by_keyboard(open_notebook):
    page = open_notebook("drift.ipynb", DRIFT)
    run_all_cells(page)
    view = page.get_by_role("group", name="Drift report")
    expect(view.get_by_role("heading")).to_contain_text("1 of 30 features drifted: mean area.")
    expect(view).to_contain_text("400 reference rows against 169 current rows")
    rows = view.locator(".jx-row")
    expect(rows).to_have_count(30)
    expect(rows.first.get_by_role("rowheader")).to_contain_text("mean area")
    expect(rows.first).to_contain_text("▲ drifted")

    search = view.get_by_role("searchbox", name="Search features")
    rows.first.get_by_role("button").focus()
    page.keyboard.press("/")
    expect(search).to_be_focused()
    page.keyboard.type("texture")
    expect(rows).to_have_count(3)
    page.keyboard.press("Escape")
    expect(rows).to_have_count(30)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = rows.nth(1).get_by_role("button")
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-expanded", "true")
    expect(second).to_be_focused()
    expect(view.locator(".jx-detail").get_by_role("img")).to_have_count(2)  # the bins, the distribution
    view.get_by_text("Numbers", exact=True).press("Enter")
    expect(view.get_by_role("columnheader", name="Change (points)")).to_be_visible()
    second.press("Enter")
    expect(view.locator(".jx-detail")).to_have_count(0)

    view.get_by_role("button", name="Feature").press("Enter")
    expect(view.get_by_role("columnheader", name="Feature")).to_have_attribute("aria-sort", "ascending")
    expect(rows.first.get_by_role("rowheader")).to_contain_text("area error")
    view.get_by_role("checkbox", name="Only drifted (1)").press("Space")
    expect(rows).to_have_count(1)
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1


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


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_text_stands_out_in_both_themes(open_notebook, theme):
    page = open_notebook("themes.ipynb", ANNOTATOR.format(name="themes"), DRIFT)
    choose(page, "Settings", "Theme", theme)
    run_all_cells(page)
    expect(page.locator(".jx-live")).to_have_count(2)
    dark = theme.endswith("Dark")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false" if dark else "true")
    page.locator(".jx-live.jx-annotator").focus()
    page.keyboard.press("?")
    for view in page.locator(".jx-live").all():
        assert view.evaluate(CONTRAST) >= 4.5
        ground = view.evaluate("(root) => getComputedStyle(root).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 64) == dark
