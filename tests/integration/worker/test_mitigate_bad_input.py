"""Data that a method against shortcuts can do little with: what the job recommends then, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.tables import DatasetRow, JobRow
from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.image_answers import ImageAnswers
from masktune.contract.report import Report
from masktune.contract.report.groups import EarlyStageGroups
from masktune.contract.report.text import next_steps
from masktune.contract.report.text.groups import UNDIVIDED_REASONS
from masktune.contract.report.text.names import split_note
from masktune.contract.vocabulary import Arm, JobKind, JobState, Stage
from models.data.store import Store
from models.export import WEIGHTS_FILE
from models.mitigation.finder import MAX_CLASSES
from models.types import Floats
from tests.support.biased_digits import make_digits
from tests.support.jobs.bench import Bench, bench_with_digits
from tests.support.jobs.real_jobs import CLASSES, QUICK, hyperparameters
from tests.support.seeds import shifted
from worker.stages.infer_groups import InferredGroups

pytestmark = pytest.mark.trains

TRAINING: dict[str, Any] = {"image_size": 16, "epochs": 1, "batch_size": 16, "seed": shifted(3)}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_with_digits(tmp_path_factory.mktemp("bad-input"), images=30) as opened:
        yield opened


def squares(folder: Path, label: int, images: int, *, side: int = 32, mode: str = "RGB") -> None:
    """Noise under a grid of 4 × 2 squares. Those are bright that are ones in the binary label: a last layer
    can tell the classes apart after three images."""
    folder.mkdir(parents=True, exist_ok=True)
    ones = np.array([label >> bit & 1 for bit in range(8)], np.uint8).reshape(4, 2)
    bright = 180 * ones.repeat(side // 4, 0).repeat(side // 2, 1)
    rng = np.random.default_rng([shifted(label), side])
    for number in range(images):
        noise = rng.integers(0, 60, (side, side), dtype=np.uint8)
        Image.fromarray(noise + bright).convert(mode).save(folder / f"{side}-{number}.png")


def mitigated(bench: Bench, images: Path) -> tuple[DatasetRow, JobRow, Report]:
    """Import these images and run a whole job on them, without MaskTune."""
    _, dataset = bench.imported({"address": f"file://{images}"})
    params = MitigateConfig.from_json(hyperparameters(**TRAINING) | {"head": QUICK, "masktune": False})
    job = bench.succeed(bench.run(JobKind.MITIGATE, dataset_id=dataset.id, params=params.to_json()))[0]
    return dataset, job, bench.report(job)


def test_the_next_job_doubts_no_label_that_a_person_said_is_right(bench: Bench) -> None:
    images = make_digits(bench.images.parent / "mislabelled", aligned=9)
    wrong = sorted(images.rglob("*.png"))[::8]
    for path in wrong:
        path.rename(images / ("high" if path.parent.name == "low" else "low") / path.name)
    _, dataset = bench.imported({"address": f"file://{images}"})
    params = hyperparameters(**TRAINING | {"epochs": 2, "batch_size": 32}) | {
        "head": QUICK | {"gate": "open"},
        "masktune": False,
    }

    def doubt(label_right: list[int]) -> Floats:
        """How probably each label is wrong, by a job that goes by these answers."""
        fields = {"job": "job_1", "updated_at": "2026-01-02T03:04:05Z", "gate": "open", "lacking": 0}
        review = ImageAnswers.model_validate(fields | {"answers": [], "label_right": label_right})
        job_id = bench.run(
            JobKind.MITIGATE,
            dataset_id=dataset.id,
            params=MitigateConfig.from_json(params).to_json(),
            inputs={"review": review.model_dump(mode="json")},
        )
        job = bench.succeed(job_id)[0]
        return InferredGroups.load(bench.folder(job.done[Stage.INFER_GROUPS]["artifact"])).label_doubt

    store = Store.open(bench.folder(f"datasets/{dataset.id}"))
    before = doubt([])
    doubted = [rows[before[rows] > 0] for rows in (store.rows("train"), store.rows("test"))]
    right = np.concatenate([rows[:9] for rows in doubted]).tolist()
    assert right
    after = doubt(right)
    assert not after[right].any()
    assert after.any()  # of the others


def test_five_images_a_class_leave_the_classes_whole_and_more_are_asked_for(bench: Bench) -> None:
    images = bench.images.parent / "five"
    for label in (0, 1):
        squares(images / str(label), label, 5)
    _, _, report = mitigated(bench, images)
    assert isinstance(report.groups, EarlyStageGroups)
    assert (report.groups.divided, report.groups.details.reason) == (False, "too_few_mistakes")
    assert report.recommendation is not None
    assert report.recommendation.arm is Arm.ERM, "nothing shows that the control is better"
    assert "label_more" in [step.step for step in report.recommendation.next]


def test_more_classes_than_are_searched_get_the_control_which_says_so(bench: Bench) -> None:
    images = bench.images.parent / "many"
    for label in range(MAX_CLASSES + 1):
        squares(images / f"{label:03d}", label, 4, side=16)
    _, job, report = mitigated(bench, images)
    assert report.recommendation is not None
    assert report.recommendation.arm is Arm.RETRAINED_CONTROL
    assert next_steps(report)[0].sentence == UNDIVIDED_REASONS["too_many_classes"]
    assert UNDIVIDED_REASONS["too_many_classes"] in bench.logs(job.id)


def test_grey_thumbnails_and_a_class_without_an_image_in_val(bench: Bench) -> None:
    images = bench.images.parent / "odd"
    for split, labels, count in (("train", (0, 1, 2), 30), ("val", (0, 1), 16), ("test", (0, 1, 2), 12)):
        for label in labels:
            squares(images / split / str(label), label, count, mode="L")
    squares(images / "train" / "0", 0, 4, side=8)
    dataset, _, report = mitigated(bench, images)
    assert report.recommendation is not None
    assert report.recommendation.arm is Arm.RETRAINED_CONTROL
    of_val = report.metrics["val"][Arm.RETRAINED_CONTROL]
    assert [one.name for one in of_val.classes] == ["0", "1"]
    assert of_val.balanced_accuracy == sum(one.accuracy for one in of_val.classes) / 2
    assert "No image of 2 is in val" in split_note(report, "val")
    assert {note["code"] for note in dataset.summary["notes"]} >= {"small_images", "class_not_in_split"}


@pytest.mark.parametrize("damage", [slice(0, -100), slice(100, None)])
def test_damaged_weights_are_named_with_what_to_do(bench: Bench, damage: slice) -> None:
    model = bench.untrained(CLASSES)
    file = bench.folder(f"models/{model}") / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[damage])
    params = MitigateConfig.from_json(hyperparameters(pretrained=model)).to_json()
    (job,) = bench.done(bench.run(JobKind.MITIGATE, params=params))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["reason"] == "model_unusable"
    assert f"model {model} cannot be loaded" in job.error["detail"]
    assert "restore its files from a backup" in job.error["detail"]
