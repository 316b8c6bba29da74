"""Help: the page of the documentation for what is on the screen, without the internet."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.acceptance.dashboard.visitor import Visitor
from tests.support.jobs.golden import Golden

pytestmark = pytest.mark.browser

KOLKATA = r"(IST|GMT\+5:30)"
"""What browsers call its zone."""


def test_help_leads_to_the_section_on_this_page_and_to_the_glossary(visitor: Visitor, golden: Golden) -> None:
    page = visitor.page
    visitor.goto(f"/ui/jobs/{golden.job}/image-answers")
    page.get_by_role("link", name="Help", exact=True).click()
    expect(visitor.heading("Images for a person to look at")).to_be_in_viewport()
    page.get_by_role("link", name="What the words mean").click()
    expect(page.locator(".manual li", has_text="Worst group:")).to_be_visible()
    visitor.goto("/ui/help/DASHBOARD.md")
    visitor.loaded(".manual img")
    visitor.goto("/ui/help/nothing.md")
    expect(page.get_by_text("The documentation has no such page")).to_be_visible()


def test_times_are_in_the_zone_of_the_reader(visitor: Visitor, golden: Golden) -> None:
    page = visitor.page
    page.context.new_cdp_session(page).send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    visitor.goto(f"/ui/jobs/{golden.job}")
    expect(page.locator(".log time").first).to_have_text(re.compile(rf"^\d\d:\d\d:\d\d {KOLKATA}$"))
    expect(page.locator(".facts time")).to_have_text(re.compile(rf"^\d+ \w+ 20\d\d, \d\d:\d\d {KOLKATA}$"))
    visitor.goto("/ui/jobs")
    expect(page.locator("td time").first).to_have_attribute("title", re.compile(rf", \d\d:\d\d {KOLKATA}$"))
