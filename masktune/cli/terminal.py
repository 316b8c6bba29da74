"""A console that prints untrusted names as plain text."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from masktune.cli.characters import escape_controls

WIDE = 100_000
"""Columns if the output is not a terminal: wide enough for any line."""


class Terminal(Console):
    """Prints strings literally: no markup, no emoji codes, and no terminal control characters.

    Pass a `Text` for styled output.
    """

    def __init__(self, width: int | None) -> None:
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def print_whole(self, what: RenderableType) -> None:
        """Print at full width: rich would truncate ids, which are meant to be copied."""
        own = self.width
        self.width = max(own, self.measure(what, options=self.options.update(width=WIDE)).maximum)
        self.print(what)
        self.width = own

    def render_str(self, text: str, **options: Any) -> Text:
        """Override of the hook through which rich renders every string: cells, titles, lines."""
        return super().render_str(escape_controls(text), **options)
