"""`/jobs/{id}/report`: JSON or a page by Accept, and why there is none."""

from __future__ import annotations

import json

import pytest

from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState
from tests.integration.app.serving.conftest import World, picture
from tests.support.reports import GALLERY_ITEM, report


@pytest.fixture(scope="module")
def reported(world: World) -> World:
    """The world, whose job has a report with a picture in it and a figure that is no number."""
    key, value = f"jobs/{world.job}/report", report()
    value["gallery"]["items"] = [GALLERY_ITEM]
    value["masks"]["seconds"] = float("nan")
    with world.services.artifacts.writing(key) as folder:
        (folder / "report.json").write_text(json.dumps(value))
        for name in ("7-image.png", "h.png", "m.png", "o.png"):
            (folder / name).write_bytes(picture(1))
    with world.services.database.begin() as session:
        session.get_one(JobRow, world.job).done = {"evaluate": {"artifact": key}}
    return world


def test_a_program_gets_json(reported: World) -> None:
    answer = reported.client.get(f"/jobs/{reported.job}/report")
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["verdict"]["verdict"] == "helped"
    assert body["masks"]["seconds"] is None
    etag = {"If-None-Match": answer.headers["etag"]}
    assert reported.client.get(f"/jobs/{reported.job}/report", headers=etag).status_code == 304


def test_a_person_gets_a_page_that_may_load_nothing(reported: World) -> None:
    answer = reported.client.get(
        f"/jobs/{reported.job}/report", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    )
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "MaskTune helped" in answer.text
    # The image, and for each of two models the image again beneath its map, its mask and the mask's outline.
    assert answer.text.count("data:image/png;base64,iVBOR") == 1 + 2 * 4


def test_why_there_is_none(world: World) -> None:
    for kind, state, hint in (
        (JobKind.MASKTUNE, JobState.RUNNING, "last stage"),
        (JobKind.MASKTUNE, JobState.FAILED, "resume"),
        (JobKind.PREDICT, JobState.SUCCEEDED, "has no report"),
    ):
        job = new_id("job")
        with world.services.database.begin() as session:
            session.add(JobRow(id=job, kind=kind, state=state, params={}))
        refusal = world.client.get(f"/jobs/{job}/report")
        assert (refusal.status_code, refusal.json()["type"]) == (409, "/problems/report-not-ready")
        assert hint in refusal.json()["detail"]
    assert world.client.get(f"/jobs/{new_id('job')}/report").status_code == 404
