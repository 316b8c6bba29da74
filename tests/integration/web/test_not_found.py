"""What stands where there is no page: a sentence in the frame of every page, and a way on from there."""

from __future__ import annotations

import pytest

from tests.integration.web.conftest import Browse

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = {"Accept": "*/*"}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/ui/nothing", 404, "There is no page at this address."),
        ("/ui/datasets/a/b", 404, "There is no page at this address."),
        ("/ui/try?value=much", 422, "remove everything after the question mark"),
        ("/ui/files/jobs/job_1/predictions", 502, "The service is not responding"),
    ],
)
def test_errors_are_pages_for_browsers_and_json_for_scripts(
    browse: Browse, path: str, status: int, said: str
) -> None:
    browser = browse()
    shown = browser.get(path, headers=BROWSER)
    assert (shown.status_code, said in shown.text) == (status, True)
    assert 'href=\\"/ui/jobs\\"' in shown.text, "the way to the other pages"
    told = browser.get(path, headers=SCRIPT)
    assert (told.status_code, told.headers["content-type"]) == (status, "application/json")


def test_a_page_of_an_api_that_is_away_says_so(browse: Browse) -> None:
    browser = browse()
    page = browser.get("/ui/jobs", headers=BROWSER)
    assert (page.status_code, "The service is not responding" in page.text) == (200, True)
    assert "Try again" in page.text


def test_a_missing_asset_is_a_json_404(browse: Browse) -> None:
    browser = browse()
    missing = browser.get("/ui/static/nothing.js", headers=SCRIPT)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/json")
