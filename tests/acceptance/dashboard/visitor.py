"""A page in a real browser as a person uses it. Every page is checked for accessibility in both themes and in
a narrow window, and no request may leave the machine.

If MASKTUNE_SCREENSHOTS names a folder, screenshots of every page are kept there.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.waits import PATIENCE

expect.set_options(timeout=1000 * PATIENCE)
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
ALL_BUT_COLOURS = {"rules": {"color-contrast": {"enabled": False}}}
COLOURS = {"runOnly": ["color-contrast"]}
"""All that a theme changes. It takes longer than all other rules together, seconds on a long report."""
ALIKE = """() => {
  const seen = new Set()
  for (const text of document.querySelectorAll('body :not(:has(*))')) {
    if (!text.checkVisibility()) continue
    let key = getComputedStyle(text).color
    for (let up = text; up; up = up.parentElement)
      key += ` ${up.tagName}.${up.getAttribute('class')} ${getComputedStyle(up).backgroundColor}`
    text.toggleAttribute('data-alike', seen.has(key))
    seen.add(key)
  }
}"""
"""Marks texts whose colours, tags and classes, with those of what they stand in, are those of a text before
them: three of four texts of a report."""
SCROLLING = {"runOnly": ["scrollable-region-focusable"]}
"""All that a narrow window changes: it hides words and adds none, and what does not fit scrolls there."""
OPTIONS = {"resultTypes": ["violations"], "preload": False}  # no page plays sounds
SCREENSHOTS = os.environ.get("MASKTUNE_SCREENSHOTS")


@dataclass
class Visitor:
    """A browser page, and all URLs that it requested."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def goto(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def heading(self, name: str | re.Pattern[str]) -> Any:
        return self.page.get_by_role("heading", name=name)

    def badge(self, text: str) -> Any:
        return self.page.locator(".badge", has_text=text).first

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def fill(self, label: str, value: str) -> None:
        """Type into a field, and retry if the text is not there: typing goes to the focused element, and a
        list that is just closing may take the focus back.
        """
        field = self.page.get_by_label(label, exact=True)
        for _ in range(2):
            field.fill(value)
            with suppress(AssertionError):
                return expect(field).to_have_value(value, timeout=2_000)
        field.fill(value)
        return expect(field).to_have_value(value)

    def loaded(self, selector: str) -> None:
        """Wait for the first image that matches. It is requested when it scrolls into view, and the first
        saliency map loads torch and the model.
        """
        image = self.page.locator(selector).first
        image.scroll_into_view_if_needed()
        there = "image => image.naturalWidth > 0"
        self.page.wait_for_function(there, arg=image.element_handle())

    def looked_at(self, name: str, *, whole: bool = False) -> None:
        """Check the page with axe, its colours in both themes, what scrolls in a narrow window too. The page
        must fit that. `whole`: the screenshots of the wide page show more than the window does.
        """
        self.page.set_viewport_size(WIDE)
        self.page.evaluate("scrollTo(0, 0)")
        for dark in (True, False):
            self.page.emulate_media(color_scheme="dark" if dark else "light")
            self._accessible(f"{name}, {'dark' if dark else 'light'}", COLOURS)
            self._screenshot(f"{name}{'-dark' if dark else ''}", whole=whole)
        self._accessible(name, ALL_BUT_COLOURS)
        self.page.set_viewport_size(NARROW)
        self._screenshot(f"{name}-narrow", whole=True)
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW["width"], f"{name} is wider than a narrow window: {width} px"
        self._accessible(f"{name}, narrow", SCROLLING)
        self.page.set_viewport_size(WIDE)

    def _screenshot(self, name: str, *, whole: bool) -> None:
        if SCREENSHOTS:  # they take longer than the checks
            expect(self.page.locator(".q-notification")).to_have_count(0)  # it lies over the page
            self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=whole)

    def _accessible(self, what: str, rules: dict[str, Any]) -> None:
        if not self.page.evaluate("'axe' in window"):  # a second copy would be compiled anew, for 0.3 s
            self.page.evaluate(AXE_SCRIPT)
        # While elements fade in or out, they do not have their own colours.
        self.page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")
        if rules is COLOURS:
            self.page.evaluate(ALIKE)
        found = self.page.evaluate(
            "([context, options]) => axe.run(context, options).then(found => found.violations)",
            [{"exclude": ["[data-alike]"]} if rules is COLOURS else "html", rules | OPTIONS],
        )
        bad = [
            f"{v['id']}: {v['nodes'][0]['html'][:120]}"
            for v in found
            if v["impact"] in ("moderate", "serious", "critical")
        ]
        assert bad == [], f"{what}: {bad}"

    def stayed_here(self) -> None:
        """Assert that no request left the machine and that no script failed."""
        assert self.errors == []
        hosts = {urlsplit(url).hostname for url in self.asked if not url.startswith(("data:", "blob:"))}
        assert hosts == {"127.0.0.1"}, "a request left the machine"

    @property
    def log(self) -> Any:
        return self.page.locator(".log")


def png(size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    Image.effect_noise(size, 60).save(data, "PNG")
    return data.getvalue()
