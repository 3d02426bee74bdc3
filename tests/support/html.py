"""Check HTML that must stand alone in a saved notebook."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
FORBIDDEN = {"script", "iframe", "object", "embed", "link", "base", "form", "meta"}


class _Reader(HTMLParser):
    """Follow the tags, and keep the text outside of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in FORBIDDEN, f"a <{tag}> in static HTML"
        for name, value in attrs:
            assert not name.startswith("on"), f"an event handler in static HTML: {name}={value!r}"
            assert name not in {"href", "srcset", "action"}, f"a link in static HTML: {value!r}"
            if name == "src":
                assert (value or "").startswith("data:image/"), f"something to fetch in static HTML: {value!r}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def assert_self_contained(page: str) -> str:
    """Check that ``page`` is well formed, has no script and fetches nothing; return its text."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open, f"left open: {reader.open}"
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style), "something to fetch in a style"
    return re.sub(r"\s+", " ", "".join(reader.text))
