"""The widgets in a real JupyterLab: a person labels by keyboard, reads a drift report, and reopens the notebook."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from support import hub as hubs
from support.lab import choose, run_all_cells

pytestmark = pytest.mark.browser

#: Machines that run all tests at once are slow.
expect.set_options(timeout=60_000)

SCREENSHOTS = hubs.ROOT / "build" / "screenshots"

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

FOLLOWED = """
import numpy as np
import pandas as pd
from jupyter_ext.monitoring import drift, drift_over_time
from jupyter_ext.widgets import DriftView

random = np.random.default_rng(0)

def rows(n, shift):
    return pd.DataFrame({
        "size": random.normal(shift, 1, n), "colour": random.choice(["red", "blue", "green"], n),
        "weight": np.where(random.random(n) < 0.1, np.nan, random.gamma(2, 3 + shift, n))})

before, after = rows(2_000, 0), pd.concat([rows(600, 0), rows(400, 1.2)], ignore_index=True)
history = drift_over_time(before, after, chunk_size=100)
view = DriftView(drift(before, after), history=history, current=after, label=["right", "wrong"])
view
"""

CHOSEN = "print('rows:', len(view.rows), 'of', view.rows['size'].max() == after['size'].max(), view.annotator.votes)"


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
    expect(status).to_have_text("Waiting for the kernel…", timeout=60_000)
    assert not (lab.root / f"{name}.json").exists()
    expect(status).to_have_text("All votes saved", timeout=60_000)
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


def test_the_rows_of_a_bin_are_seen_and_labelled_by_keyboard(open_notebook):
    page = open_notebook("rows.ipynb", FOLLOWED, CHOSEN)
    page.get_by_text("(ipykernel) | Idle").wait_for()
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.keyboard.press("Control+Enter")
    view = page.get_by_role("group", name="Drift report")
    view.get_by_role("button", name="size", exact=True).press("Enter")
    expect(view).to_contain_text("Choose a bin to see its rows.")
    bins = view.get_by_role("group", name="Bins: Enter shows the rows").get_by_role("button")
    expect(bins).to_have_count(20)
    bins.first.focus()
    page.keyboard.press("ArrowRight")
    expect(bins.nth(1)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(view.get_by_text(re.compile(r"^\d+ of 1,000 current rows are in size: ")).first).to_be_visible()
    expect(bins.last).to_be_focused()
    expect(bins.last).to_have_attribute("aria-pressed", "true")
    expect(view.get_by_role("table", name="Rows in the bin").get_by_role("columnheader")).to_have_text(
        ["Row", "size", "colour", "weight"]
    )

    view.get_by_role("button", name=re.compile(r"^Label these \d+ rows$")).press("Enter")
    annotator = page.get_by_role("group", name="Annotator: Annotate")
    expect(annotator).to_be_visible()
    expect(view).to_be_visible()
    annotator.focus()
    page.keyboard.press("w")
    expect(annotator.get_by_role("progressbar")).to_have_attribute("aria-valuetext", re.compile("1 of .* labelled"))
    page.locator(".jp-Notebook .jp-Cell").nth(1).locator(".jp-InputArea").click()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text(re.compile(r"rows: \d+ of True \{\d+: 'wrong'\}"))).to_be_visible()

    # Missing values and categories have bins too, and the mouse does the same.
    view.get_by_role("button", name="weight", exact=True).click()
    weight = view.locator(".jx-rows[data-feature=weight]")
    view.get_by_role("button", name=re.compile("^missing: reference")).click()
    expect(weight).to_contain_text("current rows are in weight: missing.")
    expect(weight.get_by_role("table").get_by_text("missing").first).to_be_visible()
    assert page.locator(".jp-Notebook .jp-Cell").count() == 2


def test_thresholds_are_moved_over_the_history_without_a_kernel(open_notebook):
    page = open_notebook("history.ipynb", FOLLOWED)
    run_all_cells(page)
    view = page.get_by_role("group", name="Drift report")
    history = view.get_by_role("region", name="Over time")
    sentence = history.locator(".jx-sentence")
    expect(sentence).to_have_text(re.compile(r"^\d+ alarms in \d of 10 chunks\.$"))
    stored = sentence.text_content()
    cells = history.get_by_role("gridcell")
    expect(cells).to_have_count(30)
    marks = cells.filter(has_text="▲")
    n_marks = marks.count()
    assert stored.startswith(f"{n_marks} alarms")
    choose(page, "Kernel", "Shut Down Kernel")
    page.get_by_role("button", name="No Kernel", exact=True).wait_for()

    # The one cell that Tab stops at; arrows go on, Enter chooses feature and chunk.
    cells.first.focus()
    page.keyboard.press("End")
    expect(cells.nth(9)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    expect(cells.nth(18)).to_be_focused()
    page.keyboard.press("Enter")
    expect(cells.nth(18)).to_have_attribute("aria-selected", "true")
    second = history.get_by_role("rowheader").nth(1).text_content()
    expect(history.get_by_role("heading", name=second)).to_be_visible()
    expect(history.get_by_role("img", name=re.compile(f"^{second}: .* by chunk with its threshold"))).to_be_visible()
    expect(history.locator(".jx-where-chunk")).to_contain_text("chunk 8: ")
    cells.first.click()
    expect(history.get_by_role("heading", name="size")).to_be_visible()

    slider = history.get_by_role("slider", name="What if thresholds were")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "times 2.3")
    expect(sentence).to_have_text(re.compile(rf"^\d alarms? in \d of 10 chunks instead of {n_marks} in \d\.$"))
    assert 0 < marks.count() < n_marks
    history.get_by_label("Threshold of size").fill("0.9")
    expect(sentence).to_have_text(re.compile(rf"^0 alarms in 0 of 10 chunks instead of {n_marks} in \d\.$"))
    expect(marks).to_have_count(0)
    history.get_by_role("button", name="As stored").press("Enter")
    expect(sentence).to_have_text(stored)
    expect(slider).to_be_focused()
    history.get_by_text("Numbers", exact=True).press("Enter")
    expect(history.get_by_role("table", name="Values by chunk").get_by_role("row")).to_have_count(11)

    view.get_by_role("button", name="colour", exact=True).press("Enter")
    expect(history.get_by_role("heading", name="colour")).to_be_visible()
    view.get_by_role("button", name=re.compile("^red: reference")).press("Enter")
    expect(view.get_by_role("alert")).to_contain_text("The kernel hasn't answered yet.")


def test_a_followed_report_is_still_read_without_a_kernel(open_notebook, lab):
    page = open_notebook("reopened.ipynb", FOLLOWED)
    run_all_cells(page)
    expect(page.locator(".jx-live")).to_be_visible()
    expect(page.locator(".jx:not(.jx-live)")).to_be_hidden()
    choose(page, "File", "Save Notebook")
    saved = lab.root / "reopened.ipynb"
    while "Over time" not in saved.read_text():
        page.wait_for_timeout(200)  # the test's own limit of time ends this
    page.close()
    again = open_notebook("reopened.ipynb")
    twin = again.locator(".jx")
    expect(twin).to_have_count(1)
    expect(twin.get_by_role("img", name=re.compile("^size: Kolmogorov-Smirnov by chunk"))).to_be_visible()
    twin.get_by_text("Numbers", exact=True).last.click()
    expect(twin.get_by_role("columnheader", name="Threshold")).to_be_visible()
    expect(again.get_by_text("model not found")).to_be_hidden()


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


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_followed_report_stands_out_in_both_themes(open_notebook, theme):
    page = open_notebook("followed.ipynb", FOLLOWED)
    page.set_viewport_size({"width": 1400, "height": 3000})
    choose(page, "Settings", "Theme", theme)
    run_all_cells(page)
    dark = theme.endswith("Dark")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false" if dark else "true")
    view = page.get_by_role("group", name="Drift report")
    view.locator(".jx-row", has_text="size").click()
    view.locator(".jx-bin").nth(12).click()
    expect(view.get_by_role("table", name="Rows in the bin")).to_be_visible()
    view.get_by_role("gridcell").nth(7).click()
    view.get_by_role("button", name=re.compile("^Label these")).click()
    expect(page.get_by_role("group", name="Annotator: Annotate")).to_be_visible()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"drift-{'dark' if dark else 'light'}.png")
    assert view.evaluate(CONTRAST) >= 4.5
