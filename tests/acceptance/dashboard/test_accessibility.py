"""Every page of the dashboard and the report that the API serves: axe calls nothing more than minor."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app.reports.service import render
from masktune.contract.report import Report
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.jobs.golden import Golden
from tests.support.reports import early_stage_groups, evidence, report

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = (
    ("home", "/ui/"),
    ("dataset", "/ui/datasets/{dataset}"),
    ("sample", "/ui/datasets/{dataset}/samples/0"),
    ("new", "/ui/new?dataset={dataset}"),
    ("jobs", "/ui/jobs"),
    ("job", "/ui/jobs/{job}"),
    ("compare", "/ui/compare?jobs={job}"),
    ("report", "/ui/jobs/{job}/report"),
    ("image-answers", "/ui/jobs/{job}/image-answers"),
    ("judge", "/ui/jobs/{job}/judge"),
    ("models", "/ui/models"),
    ("model", "/ui/models/{model}"),
    ("try", "/ui/try?model={model}"),
    ("reviews", "/ui/reviews?model={model}"),
    ("storage", "/ui/storage"),
    ("help", "/ui/help/DASHBOARD.md"),
    ("no-page", "/ui/nowhere"),
    ("report-of-the-api", "/jobs/{job}/report"),
)
"""Name and address. The page that asks for a key is in test_visitors."""


UNFOLD = "for (const fold of document.querySelectorAll('details')) fold.open = true"


@pytest.mark.parametrize(("name", "path"), PAGES, ids=[name for name, _ in PAGES])
def test_a_page_is_accessible(visitor: Visitor, golden: Golden, name: str, path: str) -> None:
    visitor.goto(path.format(dataset=golden.dataset, job=golden.job, model=golden.models["retrained"]))
    expect(visitor.page.locator("h1").first).to_be_visible()
    visitor.page.evaluate(UNFOLD)
    visitor.looked_at(name)


def test_a_report_with_every_section_is_accessible(visitor: Visitor, golden: Golden) -> None:
    visitor.goto(f"/jobs/{golden.job}/report")
    every = Report.model_validate(evidence(report()) | {"groups": early_stage_groups("stages_agree")})
    visitor.page.set_content(render(every, lambda name: "data:,"))
    visitor.page.evaluate(UNFOLD)
    visitor.looked_at("report-with-every-section")
