"""From the report's step to test images that judge its models."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, expect

from masktune import Client
from masktune.contract.report.text.judged_job import BREAKS_PATTERN
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.biased_digits import make_digits
from tests.support.jobs.golden import Golden

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*-lacks.png")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def test_test_images_are_uploaded_and_judge_every_model(
    visitor: Visitor, golden: Golden, tmp_path: Path
) -> None:
    page = visitor.page
    digits = make_digits(tmp_path / "digits", aligned=9)
    with Client(visitor.url) as client, contextlib.ExitStack() as at_end:
        job = client.jobs.get(golden.job)
        visitor.goto(f"/ui/jobs/{job.id}/report")
        visitor.button("Judge on other images").click()
        page.wait_for_url(f"**/ui/jobs/{job.id}/judge")

        file: FilePayload = {
            "name": "bare digits.zip",
            "mimeType": "application/zip",
            "buffer": zipped(digits),
        }
        page.get_by_label("Archive of test images").set_input_files([file])
        expect(page.get_by_label("Test images", exact=True).first).to_have_value("bare digits")
        page.get_by_role("switch", name=BREAKS_PATTERN).click()
        visitor.button("Judge the models").click()
        page.wait_for_url(lambda url: "/ui/jobs/job_" in url and job.id not in url)
        judging = client.jobs.wait(page.url.rpartition("/")[2])
        at_end.callback(client.jobs.delete, judging.id)  # others read what the job's own report says
        assert judging.dataset is not None
        uploaded = client.datasets.get(judging.dataset)
        report = client.jobs.report(judging.id)
        assert {split: n for split, n in uploaded.splits.items() if n} == {"test": uploaded.report.count}  # type: ignore[union-attr]  # it has ended
        assert report.judged_job is not None
        assert (report.judged_job.job, report.judged_job.breaks_pattern) == (job.id, True)
        assert report.models.keys() == client.jobs.report(job.id).models.keys()
        visitor.goto(f"/ui/jobs/{judging.id}/report")
        expect(page.get_by_text(f"judge the models of job {job.id}")).to_be_visible()
        visitor.goto(f"/ui/jobs/{job.id}/report")
        expect(page.get_by_text("These models were judged on other images")).to_be_visible()
    visitor.stayed_here()
