from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.widgets._items import MAX_IMAGE_BYTES, Items, as_text

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
READING = "A text that is long enough to be read and not to be looked up in a table."


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "row"),
        (["red", "blue"], "text"),
        ([READING, READING], "text"),
        ([PNG, None], "image"),
        (["a/b.PNG", "c.jpeg"], "image"),
        ([READING, 3], "row"),
        ([None, None], "row"),
    ],
)
def test_a_series_is_what_its_values_look_like(values, kind):
    assert Items(pd.Series(values)).kind == kind


def test_short_texts_among_other_columns_are_a_row():
    frame = pd.DataFrame({"colour": ["red", "blue"], "size": [1, 2]})
    assert Items(frame).kind == "row"
    assert Items(frame, kind="text").show(0) == {"fields": [["size", "1"]], "text": "red"}


def test_the_longer_text_is_read_and_the_others_are_fields():
    frame = pd.DataFrame({"title": ["t", "u"], "body": [READING, READING]})
    assert Items(frame).show(1) == {"fields": [["title", "u"]], "text": READING}


def test_columns_choose_and_order_what_is_shown():
    frame = pd.DataFrame({"a": [1], "b": [2], "c": [3]})
    assert Items(frame, columns=["c", "a"]).show(0)["fields"] == [["c", "3"], ["a", "1"]]


def test_a_key_column_names_the_items_and_is_not_shown():
    items = Items(pd.DataFrame({"id": ["x", "y"], "a": [1, 2]}), key="id")
    assert items.keys == ["x", "y"]
    assert items.show("y") == {"fields": [["a", "2"]]}


def test_integers_beside_floats_keep_their_digits():
    frame = pd.DataFrame({"count": [123456789], "share": [0.5]})
    assert Items(frame).show(0)["fields"] == [["count", "123456789"], ["share", "0.5"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pd.NA, None),
        (pd.NaT, None),
        (np.float64("nan"), None),
        (np.float32(0.5), "0.5"),
        (b"abc", "3 bytes"),
        (True, "True"),
    ],
)
def test_cells_are_written_for_people(value, text):
    assert as_text(value) == text


def test_long_values_and_wide_rows_are_cut_and_say_so():
    assert as_text("x" * 1_500) == "x" * 1_000 + "… (500 more characters)"
    wide = Items(pd.DataFrame([{f"column {number}": "x" * 100 for number in range(500)}])).show(0)
    assert "more columns" in wide["fields"][-1][1]
    assert len(json.dumps(wide)) < 25_000
    long = Items(pd.Series(["é" * 20_000])).show(0)
    assert (len(long["text"]), long["more"]) == (12_000, 8_000)


def test_images_are_read_from_bytes_and_files(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    items = Items(
        pd.Series([str(tmp_path / "a.png"), bytearray(b"\xff\xd8\xff\xe0"), memoryview(b"GIF89a")]), kind="image"
    )
    assert [items.image(key)[0] for key in items.keys] == ["image/png", "image/jpeg", "image/gif"]
    assert items.image(0)[1] == PNG


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere/a.png", "can't be read: No such file"),
        (b"<svg onload=alert(1)>", "none of PNG"),
        (PNG + bytes(MAX_IMAGE_BYTES), "larger than 10 MB"),
        (None, "no image"),
    ],
)
def test_an_image_that_cannot_be_shown_says_why(value, message):
    items = Items(pd.Series([PNG, value], dtype=object))
    with pytest.raises(Invalid, match=message):
        items.image(1)


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (pd.DataFrame({"a": [1]}), {"columns": ["a", "b"]}, "columns= names a column .* doesn't have: b"),
        (pd.DataFrame({"a": [1]}), {"key": "id"}, "key= names a column .* doesn't have: id"),
        (pd.DataFrame({"a": []}), {}, "no rows"),
        (pd.DataFrame({"a": [1]}), {"key": "a"}, "no column to show"),
        (pd.DataFrame({"a": [1, 2], "k": ["x", None]}), {"key": "k"}, "keys are missing"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "same name"),
        (pd.DataFrame({"a": [1]}), {"kind": "image"}, "No column holds images"),
        (pd.DataFrame({"a": [1]}), {"kind": "text"}, "No column holds texts"),
        (pd.DataFrame({"a": [1]}), {"kind": "video"}, "kind must be"),
        ([1, 2], {}, "not as list"),
    ],
)
def test_bad_input_is_told(frame, arguments, message):
    with pytest.raises(Invalid, match=message):
        Items(frame, **arguments)
