"""`masktune jobs image-answers`: one answer for the images that a report lists, and exceptions to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.reports import report
from tests.unit.masktune.cli.conftest import Service
from tests.unit.masktune.client.conftest import job

PATH = "/jobs/job_1/image-answers"
ANSWERS = [{"sample": sample, "lacks_pattern": sample != 2} for sample in (2, 4, 8)]
KEPT: dict[str, Any] = {
    "job": "job_1",
    "created_by_name": "Ada",
    "updated_at": "2025-11-03T09:30:00.000Z",
    "gate": "open",
    "lacking": 2,
    "answers": ANSWERS,
    "label_right": [31],
}


@pytest.fixture
def listing(service: Service) -> Service:
    """A service with a report that lists three images."""
    steps = [{"step": "review_images", "samples": [4, 2, 8]}]
    section = {"arm": "masktune", "model": "mdl_2", "reason": "masktune_helped", "next": steps}
    service.answers["GET /jobs/job_1/report"] = (200, report() | {"recommendation": section})
    service.answers[f"GET {PATH}"] = service.answers[f"PUT {PATH}"] = (200, KEPT)
    return service


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        (["--yes"], {4, 2, 8}),
        (["--no"], set()),
        (["--yes", "--except", "2"], {4, 8}),
        (["--no", "--except", "2", "--except", "8"], {2, 8}),
    ],
)
def test_every_listed_image_is_answered(listing: Service, options: list[str], lacking: set[int]) -> None:
    done = listing.masktune("jobs", "image-answers", "job_1", *options)
    assert done.exit_code == 0, done.output
    asked, body = listing.asked[-1]
    assert asked == f"PUT {PATH}"
    answers = json.loads(body)["answers"]
    assert {one["sample"]: one["lacks_pattern"] for one in answers} == {n: n in lacking for n in (4, 2, 8)}
    for text in ("2 of 3 images", "Ada", "infers groups from them", "except"):
        assert text in done.stdout


def test_a_doubted_label_that_is_right_is_named_beside_the_answers(listing: Service) -> None:
    named = ["--label-right", "31", "--label-right", "9", "--label-right", "4"]
    done = listing.masktune("jobs", "image-answers", "job_1", "--no", *named)
    assert done.exit_code == 0, done.output
    body = json.loads(listing.asked[-1][1])
    assert body["label_right"] == [9, 31]  # 4 has an answer about its pattern
    assert {one["sample"] for one in body["answers"]} == {4, 2, 8}
    assert "label is right" in done.stdout


def test_without_an_answer_what_was_said_is_shown(listing: Service) -> None:
    done = listing.masktune("jobs", "image-answers", "job_1", "--json")
    assert [asked for asked, _ in listing.asked] == [f"GET {PATH}"]
    assert json.loads(done.stdout)["answers"] == ANSWERS


@pytest.mark.parametrize(
    "options", [["--yes", "--no"], ["--except", "2"], ["--label-right", "9"], ["--yes", "--except", "3"]]
)
def test_what_cannot_be_meant_is_sent_nowhere(listing: Service, options: list[str]) -> None:
    done = listing.masktune("jobs", "image-answers", "job_1", *options)
    assert done.exit_code == 2
    assert done.stderr.startswith("masktune: ")
    assert not any(asked.startswith("PUT") for asked, _ in listing.asked)


def test_a_report_that_lists_no_images_is_one_line(listing: Service) -> None:
    listing.answers["GET /jobs/job_1/report"] = (200, report())
    done = listing.masktune("jobs", "image-answers", "job_1", "--yes")
    assert done.exit_code == 1
    assert done.stderr == "masktune: the report of job job_1 lists no images to look at\n"


def test_a_job_and_a_plan_say_by_which_answers_they_go(listing: Service) -> None:
    inputs = {"image_answers": KEPT | {"job": "job_reviewed"}}
    params: dict[str, Any] = {"head": {"gate": "open"}}
    estimate = {"seconds": 1.0, "source": "guessed", "stages": [], "memory_bytes": 1, "disk_bytes": 1}
    plan = {"kind": "mitigate", "dataset": "ds_1", "params": params, "inputs": inputs, "estimate": estimate}
    listing.answers["POST /jobs/mitigate"] = (200, plan)
    listing.answers["GET /jobs/job_1"] = (200, job(kind="mitigate", params=params, inputs=inputs))
    for command in ("show job_1", "start mitigate --dataset ds_1 --dry-run"):
        done = listing.masktune("jobs", *command.split())
        assert done.exit_code == 0, done.output
        assert "job_reviewed" in done.stdout
