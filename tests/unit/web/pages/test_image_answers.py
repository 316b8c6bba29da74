"""What a person looks at, and the job that the answer starts."""

from __future__ import annotations

import pytest

from masktune import Job, Sample
from masktune.contract.hyperparameters import Gate, HeadConfig, MitigateConfig, RetrainConfig
from masktune.contract.report import Report
from tests.support.reports import report
from web.pages.image_answers import ORDINARY, fields_without_gate, images_step, spread

CREATED = {"id": "job_1", "created_at": "2025-11-03T09:30:00.000Z", "state": "succeeded", "dataset": "ds_1"}


@pytest.mark.parametrize("gate", ["auto", "open", "closed"])
def test_the_same_job_is_started_again_without_its_gate_so_that_it_goes_by_the_answers(gate: Gate) -> None:
    params = MitigateConfig(epochs=3, seed=7, head=HeadConfig(gate=gate, folds=3)).to_json()
    job = Job.model_validate(CREATED | {"kind": "mitigate", "params": params})
    fields = fields_without_gate(job)
    assert (fields["dataset"], fields["epochs"], fields["seed"]) == ("ds_1", 3, 7)
    assert fields["head"].keys() == params["head"].keys() - {"gate"}
    assert fields["head"]["folds"] == 3
    assert "model" not in fields


def test_a_retrained_head_starts_from_the_same_model() -> None:
    job = CREATED | {"kind": "retrain_head", "params": RetrainConfig().to_json()}
    fields = fields_without_gate(Job.model_validate(job | {"inputs": {"model": "mdl_1"}}))
    assert fields["model"] == "mdl_1"


def test_the_images_are_those_of_the_report() -> None:
    steps = [{"step": "label_more", "per_class": 60}, {"step": "review_images", "samples": [4, 2]}]
    recommendation = {"arm": "masktune", "model": "mdl_2", "reason": "masktune_helped", "next": steps}
    words, samples = images_step(Report.model_validate(report() | {"recommendation": recommendation}))
    assert samples == [4, 2]
    assert words is not None
    assert words.title == "Look at 2 images"
    assert images_step(Report.model_validate(report())) == (None, [])


@pytest.mark.parametrize("there", [0, 3, ORDINARY, 100])
def test_ordinary_images_are_spread_over_those_of_the_class(there: int) -> None:
    shape = {"path": "", "label": "a", "split": "train", "width": 1, "height": 1, "sha256": ""}
    samples = [Sample.model_validate(shape | {"id": number}) for number in range(there)]
    numbers = [sample.id for sample in spread(samples)]
    assert len(numbers) == min(there, ORDINARY)
    assert max(numbers, default=0) >= there * 3 // 4 - 1
