"""Help: the page of the documentation for what is on the screen, without the internet."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.acceptance.dashboard.visitor import Visitor
from tests.integration.golden import Golden


def test_help_leads_to_the_section_on_this_page_and_to_the_glossary(visitor: Visitor, golden: Golden) -> None:
    page = visitor.page
    visitor.goto(f"/ui/jobs/{golden.job}/review")
    page.get_by_role("link", name="Help", exact=True).click()
    expect(visitor.heading("Images for a person to look at")).to_be_in_viewport()
    visitor.looked_at("help")
    page.get_by_role("link", name="What the words mean").click()
    expect(page.locator(".manual li", has_text="Worst group")).to_be_visible()
    visitor.goto("/ui/help/DASHBOARD.md")
    visitor.loaded(".manual img")
    visitor.goto("/ui/help/nothing.md")
    expect(page.get_by_text("The documentation has no such page")).to_be_visible()
