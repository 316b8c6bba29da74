"""Patterns that a job has inferred: samples are filtered by them, and marked wherever they are shown."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.acceptance.dashboard.visitor import Visitor
from tests.support.jobs.golden import Golden

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_samples_that_lack_a_pattern_are_found_and_marked_as_inferred(
    visitor: Visitor, golden: Golden
) -> None:
    page = visitor.page
    visitor.goto(f"/ui/datasets/{golden.dataset}")
    samples = page.locator(".samples li")
    expect(samples).to_have_count(36)
    expect(page.get_by_label("Pattern of its class", exact=True).first).not_to_be_visible()
    visitor.choose("Patterns", f"inferred by {golden.job}")
    expect(samples.filter(has_text="shows the pattern of")).to_have_count(36)
    visitor.choose("Class", "low")
    visitor.choose("Pattern of its class", "lacks it")
    expect(samples.filter(has_text="shows the pattern of low")).to_have_count(0)
    expect(samples.first).to_contain_text("shows the pattern of high · inferred")
    page.wait_for_url(re.compile("lacks_pattern=true"))
    visitor.looked_at("samples-inferred")

    # --- the same list as a file
    with page.expect_download() as started:
        page.get_by_role("link", name="Download this list").click()
    with Path(started.value.path()).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["label"], row["inferred_pattern"]) for row in rows} == {("low", "high")}
    assert len(rows) >= samples.count()

    # --- the address leads back to them; without a job, nothing is filtered by patterns
    page.reload()
    expect(samples.first).to_contain_text("shows the pattern of high · inferred")
    samples.first.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/samples/\d+\?.*inferred_by=job_"))
    expect(visitor.badge("shows the pattern of high · inferred")).to_be_visible()
    visitor.goto(f"/ui/datasets/{golden.dataset}?lacks_pattern=true")
    expect(samples).to_have_count(36)
    expect(samples.filter(has_text="inferred")).to_have_count(0)
