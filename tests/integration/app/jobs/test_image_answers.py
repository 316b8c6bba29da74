"""What a person says of the images that a report lists: kept, shown, and used by the next job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from masktune.contract.report import Report
from masktune.contract.vocabulary import JobKind, Stage
from tests.integration.app.conftest import ROOT, Front
from tests.support.reports import report

LISTED = [4, 2, 8]
DOUBTED = [9, 2, 7]


@pytest.fixture
def guarded(guarded: Front) -> Front:
    guarded.client.headers.update(ROOT)
    return guarded


def reported(front: Front, dataset: str, *, samples: list[int] = LISTED) -> str:
    """A job that has ended, whose report lists these samples."""
    job = front.job(JobKind.MITIGATE, dataset_id=dataset)
    lease = front.claim()
    assert lease.job_id == job
    steps: list[dict[str, Any]] = [{"step": "review_images", "samples": samples}] if samples else []
    steps += [{"step": "check_labels", "samples": DOUBTED, "n": len(DOUBTED)}]
    section = {"arm": "masktune", "model": "mdl_2", "reason": "masktune_helped", "next": steps}
    document = report() | {"job": job, "kind": "mitigate", "recommendation": section}
    with front.services.artifacts.writing(f"jobs/{job}/report") as folder:
        (folder / "report.json").write_text(json.dumps(document))
    front.finish_stage(lease, Stage.EVALUATE, artifact=f"jobs/{job}/report")
    front.end(lease)
    return job


def body_of(*lacking: int, samples: list[int] = LISTED) -> dict[str, Any]:
    return {"answers": [{"sample": one, "lacks_pattern": one in lacking} for one in samples]}


def test_answers_are_kept_with_who_gave_them_and_replaced(guarded: Front) -> None:
    job = reported(guarded, guarded.dataset())
    path = f"/jobs/{job}/image-answers"
    assert guarded.client.get(path).status_code == 404
    created_key = guarded.client.post("/keys", json={"name": "Ada", "scopes": ["train", "read"]}).json()
    own = {"X-API-Key": created_key["secret"]}
    first = guarded.client.put(path, json=body_of(4, 2), headers=own)
    assert (first.status_code, first.headers["Location"]) == (201, path)
    kept = first.json()
    assert kept == guarded.client.get(path).json()
    assert (kept["created_by"], kept["created_by_name"]) == (created_key["id"], "Ada")
    assert (kept["job"], kept["gate"], kept["lacking"]) == (job, "open", 2)
    assert kept["answers"] == [
        {"sample": sample, "lacks_pattern": lacks} for sample, lacks in ((2, True), (4, True), (8, False))
    ]
    etag = {"If-Match": first.headers["ETag"]}
    second = guarded.client.put(path, json=body_of(4, samples=[4, 8]), headers=etag)
    assert second.status_code == 200
    assert (second.json()["gate"], second.json()["lacking"]) == ("closed", 1)  # half is no majority
    assert second.json()["created_by_name"] is None
    assert guarded.client.put(path, json=body_of(4), headers=etag).status_code == 412
    assert guarded.client.get(path).json() == second.json()
    (last, *_) = guarded.client.get("/audit", params={"action": "set_image_answers"}).json()["data"]
    assert (last["actor"], last["object"]) == ("operator", job)


def test_that_a_doubted_label_is_right_is_kept_beside_the_answers_for_the_next_job(guarded: Front) -> None:
    dataset = guarded.dataset()
    path = f"/jobs/{reported(guarded, dataset)}/image-answers"
    body = body_of(4, 2) | {"label_right": [9, 7]}
    kept = guarded.client.put(path, json=body).json()
    assert kept == guarded.client.get(path).json()
    assert kept["label_right"] == [7, 9]
    assert (kept["gate"], kept["lacking"], len(kept["answers"])) == ("open", 2, 3)  # as without it
    started = guarded.client.post("/jobs/mitigate", json={"dataset": dataset}).json()
    assert started["inputs"]["image_answers"] == kept
    assert guarded.client.put(path, json=body_of(4)).json()["label_right"] == []


@pytest.mark.parametrize(
    ("label_right", "code"), [([9, 4], "not-listed"), ([9, 2], "not-listed"), ([9, 9], "duplicate")]
)
def test_only_a_doubted_label_that_has_no_other_answer_is_said_to_be_right(
    shared_front: Front, label_right: list[int], code: str
) -> None:
    path = f"/jobs/{reported(shared_front, shared_front.dataset())}/image-answers"
    refused = shared_front.client.put(path, json=body_of(4) | {"label_right": label_right})
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["pointer"], error["code"]) == (422, "/label_right/1", code)


@pytest.mark.parametrize(
    ("answers", "pointer"),
    [
        ([{"sample": 4, "lacks_pattern": True}, {"sample": 3, "lacks_pattern": True}], "/answers/1/sample"),
        ([{"sample": 4, "lacks_pattern": True}, {"sample": 4, "lacks_pattern": False}], "/answers/1/sample"),
        ([{"sample": 4, "lacks_pattern": "yes"}], "/answers/0/lacks_pattern"),
        ([], "/answers"),
    ],
)
def test_an_answer_is_of_an_image_that_the_report_lists_and_one_each(
    shared_front: Front, answers: list[dict[str, Any]], pointer: str
) -> None:
    job = reported(shared_front, shared_front.dataset())
    refused = shared_front.client.put(f"/jobs/{job}/image-answers", json={"answers": answers})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert shared_front.client.get(f"/jobs/{job}/image-answers").status_code == 404


def test_a_report_that_lists_no_images_takes_no_answers(front: Front) -> None:
    dataset = front.dataset()
    for job in (reported(front, dataset, samples=[]), front.job(JobKind.PREDICT), front.job()):
        refused = front.client.put(f"/jobs/{job}/image-answers", json=body_of(4))
        assert refused.status_code == 409
        assert refused.json()["detail"]


def test_the_report_says_what_was_said_and_never_changes_itself(guarded: Front) -> None:
    job = reported(guarded, guarded.dataset())
    path = f"/jobs/{job}/report"
    before = guarded.client.get(path)
    assert before.json()["image_answers"] is None
    guarded.client.put(f"/jobs/{job}/image-answers", json=body_of(4, 2, 8))
    after = guarded.client.get(path, headers={"If-None-Match": before.headers["ETag"]})
    section = Report.model_validate(after.json()).image_answers
    assert section is not None
    assert (section.job, section.gate, section.answered, section.lacking) == (job, "open", 3, 3)
    assert {**after.json(), "image_answers": None} == before.json()
    page = guarded.client.get(path, headers={"Accept": "text/html"})
    assert "3 of 3 images lack a pattern" in " ".join(page.text.split())


@pytest.mark.parametrize("kind", ["mitigate", "retrain_head"])
def test_the_next_job_on_the_data_set_goes_by_the_newest_answers(guarded: Front, kind: str) -> None:
    dataset, other = guarded.dataset(), guarded.dataset()
    fields: dict[str, Any] = {"dataset": dataset}
    if kind == "retrain_head":
        fields |= {"model": guarded.model(dataset)}
    older, newer = reported(guarded, dataset), reported(guarded, dataset)
    guarded.client.put(f"/jobs/{reported(guarded, other)}/image-answers", json=body_of(4, 2))

    def start(**changes: Any) -> dict[str, Any]:
        answer = guarded.client.post(f"/jobs/{kind}", json=fields | changes)
        assert answer.status_code == 202, answer.json()
        started: dict[str, Any] = answer.json()
        return started

    assert (start()["params"]["head"]["gate"], start()["inputs"]["image_answers"]) == ("auto", None)
    for job, lacking, gate in ((older, (4, 2), "open"), (newer, (4,), "closed"), (older, (4, 8), "open")):
        kept = guarded.client.put(f"/jobs/{job}/image-answers", json=body_of(*lacking)).json()
        started = start()
        assert (started["params"]["head"]["gate"], started["inputs"]["image_answers"]) == (gate, kept)
    # The answers are the job's own: it never changes, whatever is said later.
    guarded.client.put(f"/jobs/{older}/image-answers", json=body_of())
    assert guarded.client.get(f"/jobs/{started['id']}").json()["inputs"]["image_answers"] == kept
    plan = guarded.client.post(f"/jobs/{kind}?dry_run=true", json=fields).json()
    assert (plan["params"]["head"]["gate"], plan["inputs"]["image_answers"]["job"]) == ("closed", older)
    for gate in ("auto", "open"):
        told = start(head={"gate": gate})
        assert (told["params"]["head"]["gate"], told["inputs"]["image_answers"]) == (gate, None)
    assert start(groups="cross_mistakes")["inputs"]["image_answers"] is None


def test_answers_go_with_their_data_set(guarded: Front) -> None:
    dataset = guarded.dataset()
    job = reported(guarded, dataset)
    guarded.client.put(f"/jobs/{job}/image-answers", json=body_of(4))
    assert guarded.client.delete(f"/datasets/{dataset}").status_code == 204
    assert guarded.client.get(f"/jobs/{job}/image-answers").status_code == 404
    assert guarded.client.put(f"/jobs/{job}/image-answers", json=body_of(4)).status_code == 404
    assert guarded.client.get(f"/jobs/{job}/report").json()["image_answers"] is None
