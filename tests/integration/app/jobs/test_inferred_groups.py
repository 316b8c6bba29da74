"""Groups that a job has inferred without a label of theirs, in the answers of the front."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest

from core.queries import image_answers, jobs
from core.settings import Settings
from masktune.contract.vocabulary import JobKind
from tests.integration.app.conftest import Front, pages, running
from tests.support.jobs.golden import Golden

EVALUATED = ["val", "calibration", "test"]


@pytest.fixture(scope="module")
def trained(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front beside the golden job, whose files say in their names which images lack the pattern."""
    folder = tmp_path_factory.mktemp("trained") / "data"
    golden.copy(folder)
    with running(Settings(data_dir=folder)) as front:
        yield front


def listed(front: Front, golden: Golden, **filters: Any) -> list[dict[str, Any]]:
    return pages(front.client, f"/datasets/{golden.dataset}/samples", limit=100, **filters)


@pytest.mark.parametrize("split", ["train", *EVALUATED])
def test_images_of_every_split_are_named_that_lack_the_pattern(
    trained: Front, golden: Golden, split: str
) -> None:
    samples = listed(trained, golden, split=split, inferred_by=golden.job)
    truly = {sample["id"] for sample in samples if sample["path"].endswith("-lacks.png")}
    inferred = {sample["id"] for sample in samples if sample["inferred"]["lacks_pattern"]}
    assert len(truly & inferred) / len(truly | inferred) > 0.8
    for sample in samples:
        other = {"low": "high", "high": "low"}[sample["label"]]
        guess = sample["inferred"]
        assert guess["job"] == golden.job
        assert guess["pattern"] == (other if guess["lacks_pattern"] else sample["label"])
    filtered = listed(trained, golden, split=split, inferred_by=golden.job, lacks_pattern=True)
    assert {sample["id"] for sample in filtered} == inferred
    number = min(inferred)
    path = f"/datasets/{golden.dataset}/samples/{number}"
    one = trained.client.get(path, params={"inferred_by": golden.job}).json()
    assert one == next(sample for sample in samples if sample["id"] == number)
    assert trained.client.get(path).json() == one | {"inferred": None}


def test_the_same_list_is_a_file(trained: Front, golden: Golden) -> None:
    query: dict[str, str | int] = {
        "split": "test",
        "inferred_by": golden.job,
        "lacks_pattern": "true",
        "limit": 1,
    }
    path = f"/datasets/{golden.dataset}/samples"
    answer = trained.client.get(path, params=query, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    samples = pages(trained.client, path, **query)
    assert [int(row["sample"]) for row in rows] == [sample["id"] for sample in samples]
    assert [row["inferred_pattern"] for row in rows] == [sample["inferred"]["pattern"] for sample in samples]


def test_a_job_that_inferred_patterns_links_to_the_samples(trained: Front, golden: Golden) -> None:
    link = trained.client.get(f"/jobs/{golden.job}").json()["links"]["samples"]
    assert trained.client.get(link).json()["data"][0]["inferred"]["job"] == golden.job
    importing = trained.client.get(f"/datasets/{golden.dataset}").json()["job"]
    assert "samples" not in trained.client.get(f"/jobs/{importing}").json()["links"]


def test_a_job_that_inferred_nothing_of_the_data_set_is_refused(trained: Front, golden: Golden) -> None:
    importing = trained.client.get(f"/datasets/{golden.dataset}").json()["job"]
    other = trained.job(JobKind.ERM, dataset_id=trained.dataset())
    for job, code in ((importing, "no-patterns"), (other, "unknown"), ("job_none", "unknown")):
        for path in ("samples", "samples/0"):
            refused = trained.client.get(f"/datasets/{golden.dataset}/{path}", params={"inferred_by": job})
            assert refused.status_code == 422
            (error,) = refused.json()["errors"]
            assert (error["pointer"], error["code"]) == ("?inferred_by", code)


def test_the_reject_option_is_estimated_for_another_mix(trained: Front, golden: Golden) -> None:
    address = f"/models/{golden.models['erm']}/risk-coverage"
    answers = [
        trained.client.get(address, params={"minority_share": share, "points": 20}).json()
        for share in (0.05, 0.5)
    ]
    for answer in answers:
        assert answer["table"]["groups_inferred"]
        assert answer["mix"]["n_lacking"] + answer["mix"]["n_rest"] == answer["n"]
    few, many = (answer["mix"]["points"][-1]["risk"] for answer in answers)
    assert few < answers[0]["points"][-1]["risk"] < many  # a plain model errs where the pattern is missing


def test_a_persons_answers_bound_how_many_guesses_are_right(trained: Front, golden: Golden) -> None:
    path = f"/jobs/{golden.job}"
    report = trained.client.get(f"{path}/report").json()
    assert report["inferred_groups"]["decide"]
    assert report["inferred_groups"]["precision"] is None
    drawn = report["groups"]["details"]["random_candidates"]
    with trained.services.database.begin() as session:
        answers = {one: one != drawn[0] for one in drawn}
        image_answers.put(
            session, jobs.get(session, golden.job), answers, needed=0, by="operator", by_name=None
        )
    precision = trained.client.get(f"{path}/report").json()["inferred_groups"]["precision"]
    assert (precision["answers"], precision["lacking"]) == (len(drawn), len(drawn) - 1)
    assert 0.5 < precision["low"] <= precision["lacking"] / precision["answers"]
    measured = report["inferred_groups"]["splits"]["test"]["lacking"]["accuracies"]
    assert precision["at_bound"].keys() == measured.keys()
    assert precision["at_bound"]["erm"] <= measured["erm"]["accuracy"]
