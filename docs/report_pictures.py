"""Take the picture of a report that the documentation shows.

    python -m docs.report_pictures REPORT.html FOLDER

Writes FOLDER/gallery.png, where each model looks on average.
Needs Chromium and Playwright (`make install-dev`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.browser import FLAGS, chromium

WIDTH, HEIGHT = 1100, 1080
"""Of the window, in pixels."""


def main() -> None:
    """Exit with 2 if there is no browser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    browser = chromium()
    if browser is None:
        parser.error("there is no Chromium here; install the package `chromium`")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(arguments.report.resolve().as_uri())
        page.locator(".card", has=page.locator(".means")).screenshot(path=arguments.folder / "gallery.png")
        opened.close()


if __name__ == "__main__":
    main()
