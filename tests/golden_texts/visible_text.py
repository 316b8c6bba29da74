"""What a reader sees of HTML, as text that can be compared: a line for each block and each row of a table."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import NamedTuple

_MARKS = {"h1": "# ", "h2": "## ", "h3": "### ", "li": "- ", "title": "title: "}
_BLOCKS = frozenset(
    {"p", "div", "section", "header", "footer", "ul", "ol", "dl", "dt", "table", "tr", "svg", "br", "details"}
    | {"figure", "figcaption", "fieldset", "summary", *_MARKS}
)
_BETWEEN = {"td": " | ", "th": " | ", "dd": ": ", "small": " ", "span": " "}
_WITHOUT_END = frozenset({"img", "input", "br", "meta"})
_COLOURS = frozenset({"good", "bad", "unsure", "neutral", "muted", "better", "worse", "unclear", "lowest"})
"""Classes whose colour says what no word does."""


def visible_text(html: str) -> str:
    """The text of a page or of a part of it. What is folded away is indented, a colour stands in braces, a
    picture is its description, and a link has its address. Raises `ValueError` for tags that do not match."""
    reader = _Reader()
    reader.feed(html)
    if len(reader.open) > 1:
        raise ValueError(f"<{reader.open[-1].tag}> has no end")
    return "\n".join(text for line in reader.lines if (text := line.text))


class _Open(NamedTuple):
    """An element that has not ended: whether nobody sees it, what it ends with, how deep it is folded, and
    whether it is in a cell of a table, which has one line."""

    tag: str
    is_unseen: bool
    end: str
    depth: int
    is_in_cell: bool


class _Line:
    def __init__(self, depth: int, mark: str) -> None:
        self.prefix = "  " * depth + mark
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        content = re.sub(r"[ \t\n]+", " ", "".join(self.parts)).strip(" |")
        content = re.sub(r"(\{\w+\})( \1)+", r"\1", content)  # a dot and its whisker
        return f"{self.prefix}{content}" if content else ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines = [_Line(0, "")]
        self.open = [_Open("", False, "", 0, False)]
        self._fold = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: text or "" for name, text in attrs}
        outer = self.open[-1]
        is_unseen = outer.is_unseen or tag == "style" or has.get("aria-hidden") == "true"
        is_unseen |= tag == "time" and "title" in has  # how long ago it was, which changes
        if tag == "details":
            self._fold = "▾ " if "open" in has else "▸ "
        if tag in _BLOCKS and not is_unseen and not outer.is_in_cell:
            is_summary = tag == "summary"
            self._begin(outer.depth - is_summary, self._fold if is_summary else _MARKS.get(tag, ""))
        space = " " if "class" in has else ""  # a box of its own
        colours = (f" {{{one}}} " for one in has.get("class", "").split() if one in _COLOURS)
        self.handle_data("".join((_BETWEEN.get(tag, space), *colours, _described(tag, has))))
        if tag not in _WITHOUT_END:
            address = has.get("href", "#")
            end = space if address.startswith("#") else f" → {address}"
            depth, is_in_cell = outer.depth + (tag == "details"), outer.is_in_cell or tag in ("td", "th")
            self.open.append(_Open(tag, is_unseen or tag == "svg", end, depth, is_in_cell))

    def handle_endtag(self, tag: str) -> None:
        ended = self.open[-1]
        if ended.tag != tag:
            raise ValueError(f"</{tag}> ends <{ended.tag}>")
        self.handle_data(ended.end)
        self.open.pop()
        if tag in _BLOCKS and tag != "dt" and not ended.is_unseen and not ended.is_in_cell:
            self._begin(self.open[-1].depth, "")

    def handle_data(self, data: str) -> None:
        if not self.open[-1].is_unseen:
            self.lines[-1].parts.append(data)

    def _begin(self, depth: int, mark: str) -> None:
        """A new line, unless the last one has only the colour of this one."""
        line = _Line(depth, mark)
        if re.fullmatch(r" *\{\w+\}", self.lines[-1].text):
            line.parts = self.lines.pop().parts
        self.lines.append(line)


def _described(tag: str, has: dict[str, str]) -> str:
    """What stands for a picture or a field, and what is told of an element that a reader points at."""
    title = f" «{has['title']}» " if "title" in has else ""
    if tag == "img":
        return f" [{has['alt']} → {has['src']}] {title}" if has.get("alt") else ""
    if tag in ("svg", "input"):
        return f" [{has['aria-label']}] " if "aria-label" in has else ""
    return title
