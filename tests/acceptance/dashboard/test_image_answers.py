"""The images that a report asks a person to look at, and the job that goes by the answer."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from masktune import Client
from masktune.contract.report.text.next_steps import (
    ANSWER_KEPT,
    LABEL_CAPTIONS,
    LABEL_HINT,
    PATTERN_ANSWERS,
    PATTERN_CAPTIONS,
    START_AGAIN,
)
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.jobs.golden import Golden

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_job_can_start_again_by_the_answer_of_a_person(visitor: Visitor, golden: Golden) -> None:
    page, dataset = visitor.page, golden.dataset
    with Client(visitor.url) as client:
        job = client.jobs.get(golden.job)
        groups = client.jobs.report(job.id).groups
        assert groups is not None
        assert groups.divided
        visitor.goto(f"/ui/jobs/{job.id}/report")
        visitor.button("Look at them").click()
        page.wait_for_url(f"**/ui/jobs/{job.id}/image-answers")

        # --- guesses of each class, marked as such, beside ordinary images of the class
        expect(page.get_by_text(PATTERN_CAPTIONS[0]).first).to_be_visible()
        for label in ("low", "high"):
            card = page.get_by_role("region", name=label)
            expect(visitor.heading(f"{label}: look at these")).to_be_visible()
            expect(card.locator(".samples")).to_have_count(2)
        visitor.loaded(".samples img")
        expect(page.locator("button.pick").filter(has_text="shows the pattern of")).not_to_have_count(0)

        # --- an image may be an exception; the answer is kept and starts nothing
        exception = page.locator("button.pick").first
        exception.click()
        expect(exception).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_text(PATTERN_CAPTIONS[1])).to_have_count(1)
        visitor.button(PATTERN_ANSWERS["open"]).click()
        expect(page.get_by_text(ANSWER_KEPT)).to_be_visible()
        kept = client.jobs.image_answers(job.id)
        assert (kept.gate, kept.lacking) == ("open", len(kept.answers) - 1)
        expect(visitor.button(START_AGAIN)).to_be_visible()

        # --- the report and the page have it; a job that starts again goes by the opposite answer
        visitor.goto(f"/ui/jobs/{job.id}/report")
        expect(page.get_by_text(f"{kept.lacking} of {len(kept.answers)} images lack")).to_be_visible()
        visitor.button("Look at them").click()
        expect(page.get_by_text(PATTERN_CAPTIONS[1])).to_have_count(1)
        visitor.button(PATTERN_ANSWERS["closed"]).click()
        expect(page.get_by_text(ANSWER_KEPT)).to_be_visible()
        assert client.jobs.image_answers(job.id).gate == "closed"
        visitor.button(START_AGAIN).click()
        page.wait_for_url(lambda url: "/ui/jobs/job_" in url and job.id not in url)
        again = client.jobs.get(page.url.rpartition("/")[2])
        client.jobs.cancel(again.id)
        assert again.params.model_dump(mode="json")["head"] == {
            **job.params.model_dump(mode="json")["head"],
            "gate": "closed",
        }
        assert (again.dataset, again.kind) == (dataset, "mitigate")
        assert again.inputs.image_answers == client.jobs.image_answers(job.id)


def test_a_press_says_that_a_doubted_label_is_right(visitor: Visitor, folder: Path, golden: Golden) -> None:
    page = visitor.page
    (file,) = (folder / "var").rglob(f"{golden.job}/report/report.json")
    original = file.read_text()
    with Client(visitor.url) as client, contextlib.ExitStack() as at_end:
        listed = client.jobs.report(golden.job).recommendation
        assert listed is not None
        samples = client.datasets.samples(golden.dataset, split="test")
        doubted = next(one.id for one in samples if one.id not in listed.samples_to_review)
        report = json.loads(original)
        report["recommendation"]["next"] += [{"step": "check_labels", "samples": [doubted], "n": 1}]
        at_end.callback(file.write_text, original)
        file.write_text(json.dumps(report))
        visitor.goto(f"/ui/jobs/{golden.job}/image-answers")
        expect(page.get_by_text(LABEL_HINT)).to_be_visible()
        before, after = LABEL_CAPTIONS
        doubt = page.locator("button.pick").filter(has_text=before)
        expect(doubt).to_have_count(1)
        doubt.click()
        expect(page.locator("button.pick[aria-pressed=true]").filter(has_text=after)).to_have_count(1)
        visitor.button(PATTERN_ANSWERS["open"]).click()
        expect(page.get_by_text(ANSWER_KEPT)).to_be_visible()
        review = client.jobs.image_answers(golden.job)
        assert (review.gate, review.label_right) == ("open", [doubted])
        assert doubted not in {one.sample for one in review.answers}
        visitor.goto(f"/ui/jobs/{golden.job}/image-answers")
        expect(page.get_by_text(after)).to_have_count(1)


def test_an_image_of_a_report_opens_with_what_its_models_say(visitor: Visitor, golden: Golden) -> None:
    page = visitor.page
    visitor.goto(f"/ui/jobs/{golden.job}/report")
    opened = page.get_by_role("link", name="Open sample").first
    number = (opened.text_content() or "").rpartition(" ")[2]
    opened.click()
    expect(visitor.heading(f"Sample {number}: ")).to_be_visible()
    visitor.loaded("img.full-size")
    with Client(visitor.url) as client:
        models = client.jobs.report(golden.job).models
    cards = page.locator(".looks .card")
    expect(cards).to_have_count(len(models))
    expect(cards.locator(".right, .wrong")).to_have_count(len(models))
    visitor.button("Show where it looks").first.click()
    visitor.loaded(".looks .layers img")
    visitor.looked_at("sample")
    page.get_by_role("link", name="Next").click()
    expect(visitor.heading(f"Sample {number}: ")).to_have_count(0)
    page.get_by_role("link", name="Previous").click()
    expect(visitor.heading(f"Sample {number}: ")).to_be_visible()
