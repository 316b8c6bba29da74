"""A console on which a name is text and nothing else, whoever gave it."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from cli.output import WIDE, shown


class Terminal(Console):
    """Shows strings as they are: without markup and emoji, and with nothing that a terminal obeys.

    What is to have a style is a `Text`.
    """

    def __init__(self, width: int | None) -> None:
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def print_whole(self, what: RenderableType) -> None:
        """Print it as wide as it is: rich would cut ids to fit, and they are there to be copied."""
        own = self.width
        self.width = max(own, self.measure(what, options=self.options.update(width=WIDE)).maximum)
        self.print(what)
        self.width = own

    def render_str(self, text: str, **options: Any) -> Text:
        """What rich makes of every string: of a cell, a title, a line."""
        return super().render_str(shown(text), **options)
