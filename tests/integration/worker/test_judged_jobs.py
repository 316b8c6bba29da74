"""A job's models judged on images that were brought for it: what counts, and what becomes of the advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from core.queries import registry
from core.tables import DatasetRow, JobRow
from masktune.contract.report import Report
from masktune.contract.report.judged_job import JudgedJob
from masktune.contract.report.recommendation import AddTestImages
from masktune.contract.vocabulary import Arm, JobKind, JobState, Stage
from models.data.store import Store
from tests.support.biased_digits import on_light, picture_of
from tests.support.jobs.bench import Bench

ALL = slice(800, 1100)
"""Digits that trained nothing."""


def make_new_digits(
    root: Path,
    digits: slice = ALL,
    *,
    classes: tuple[str, ...] = ("low", "high"),
) -> Path:
    """Digits on a light ground where they are high, against the pattern of the training images."""
    pixels, values = load_digits(return_X_y=True)
    for index in range(*digits.indices(len(pixels))):
        label = "high" if values[index] >= 5 else "low"
        picture = on_light(picture_of(pixels[index]), label == "high")
        if label in classes:
            folder = root / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{index:04d}.png")
    return root


def with_table(root: Path, **columns: str) -> Path:
    """A table beside the images with these columns; `{label}` in a cell is the class."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    rows = [
        ",".join([str(path), path.parts[0], *(cell.format(label=path.parts[0]) for cell in columns.values())])
        for path in paths
    ]
    (root / "labels.csv").write_text("\n".join([",".join(["path", "label", *columns]), *rows]))
    return root


@pytest.fixture(scope="module")
def breaking(golden_bench: Bench) -> Path:
    return make_new_digits(golden_bench.images / "images" / "breaking")


@pytest.fixture(scope="module")
def confirming(golden_bench: Bench, golden_job: JobRow, breaking: Path) -> tuple[JobRow, DatasetRow, Report]:
    """A job that judges on images that break the pattern, their data set, and the job's report."""
    done, dataset = judged(golden_bench, golden_job, breaking, breaks_pattern=True)
    return done, dataset, golden_bench.report(done)


def judged(
    bench: Bench,
    job: JobRow,
    images: Path,
    *,
    breaks_pattern: bool = False,
    split: str | None = "test",
    look: int = 1,
) -> tuple[JobRow, DatasetRow]:
    """Import the images and judge the job's models on them."""
    _, dataset = bench.imported({"address": f"file://{images}"}, options={"split": split} if split else {})
    assert dataset.summary["problems"] == []
    job_id = bench.run(
        JobKind.EVALUATE,
        dataset_id=dataset.id,
        params={"splits": ["test"], "job": job.id, "breaks_pattern": breaks_pattern},
        inputs={
            "judged": job.done["evaluate"]["compared"],
            "trained_on": [bench.dataset_id],
            "model_ids": {},
            "look": look,
        },
    )
    return bench.done(job_id)[0], dataset


def advice(report: Report) -> tuple[Arm | None, list[str]]:
    assert report.recommendation is not None
    return report.recommendation.arm, [step.step for step in report.recommendation.next]


def section(report: Report) -> JudgedJob:
    assert report.judged_job is not None
    return report.judged_job


def test_every_arm_is_judged_in_one_report(
    golden_bench: Bench, golden_job: JobRow, confirming: tuple[JobRow, DatasetRow, Report]
) -> None:
    own, (done, dataset, report) = golden_bench.report(golden_job), confirming
    assert (done.state, done.error, list(done.done)) == (JobState.SUCCEEDED, None, [Stage.EVALUATE])
    assert report.models == own.models
    assert (report.dataset.id, report.dataset.classes) == (dataset.id, own.dataset.classes)
    assert {arm: of.n for arm, of in report.metrics["test"].items()} == dict.fromkeys(own.models, 300)
    assert report.metrics.keys() == {"test"}
    assert report.verdicts.keys() == own.verdicts.keys()
    assert report.recommendation is not None
    steps = [step.model_dump(mode="json") for step in report.recommendation.next]
    assert steps
    assert done.done[Stage.EVALUATE]["next"] == steps
    assert report.certificates == {}
    assert section(report).left_out.images == 0


def test_what_was_measured_stays_with_each_model(
    golden_bench: Bench, golden_job: JobRow, confirming: tuple[JobRow, DatasetRow, Report]
) -> None:
    done, dataset, report = confirming
    own, by_arm = golden_bench.report(golden_job), dict[Arm, dict[str, Any]]()
    with golden_bench.runtime.database.read() as session:
        for arm, model in own.models.items():
            by_arm[arm] = registry.get(session, model.id).evaluations
    for arm, of_model in by_arm.items():
        assert {golden_job.id, done.id} <= of_model.keys()
        judged, trained = of_model[done.id], of_model[golden_job.id]
        figures = report.metrics["test"][arm]
        assert judged == {
            "dataset": dataset.id,
            "dataset_name": dataset.name,
            "n": 300,
            "groups": "labelled",
            "smallest_group": min(of.n for of in figures.classes),
            "accuracy": figures.accuracy,
            "worst_group_accuracy": figures.worst_class_accuracy,
            "low": figures.worst_class_accuracy_low,
            "high": figures.worst_class_accuracy_high,
            "created_at": report.created_at,
            "job": done.id,
        }
        figures = own.metrics["test"][arm]
        decide = own.verdict is not None and own.verdict.inferred
        assert trained["groups"] == ("inferred" if decide else None)
        assert (trained["low"], trained["high"]) == (
            (figures.worst_group_accuracy_low, figures.worst_group_accuracy_high)
            if decide
            else (figures.low, figures.high)
        )


def test_images_that_break_the_pattern_confirm_a_model_without_it(
    golden_job: JobRow, confirming: tuple[JobRow, DatasetRow, Report]
) -> None:
    _, _, report = confirming
    assert (section(report).job, section(report).breaks_pattern) == (golden_job.id, True)
    assert (section(report).recommended, section(report).outcome) == (Arm.RETRAINED, "confirmed")
    assert report.verdict is not None
    assert report.verdict.verdict == "helped"
    assert advice(report) == (Arm.RETRAINED, ["use_model"])


def test_labelled_groups_decide(golden_bench: Bench, golden_job: JobRow) -> None:
    images = make_new_digits(golden_bench.images / "images" / "grouped", slice(800, 1700))
    with_table(images, split="test", group="{label} against the pattern")
    report = golden_bench.report(judged(golden_bench, golden_job, images, split=None, look=2)[0])
    assert report.verdict is not None
    level = 1 - 0.05 / 6
    assert (section(report).look, section(report).confidence) == (2, level)
    assert {one.confidence for one in report.differences["test"]} == {level}
    assert report.verdict.deciding_difference.statistic == "worst_group_accuracy"
    assert {of.name for of in report.metrics["test"][Arm.ERM].groups} == {
        "low against the pattern",
        "high against the pattern",
    }


def test_few_images_say_how_many_more_would_decide(golden_bench: Bench, golden_job: JobRow) -> None:
    too_few = slice(817, 823)  # three of each class, which decide no difference
    images = make_new_digits(golden_bench.images / "images" / "few", too_few)
    report = golden_bench.report(judged(golden_bench, golden_job, images, breaks_pattern=True)[0])
    assert (section(report).outcome, section(report).undecided) == ("undecided", "few_images")
    assert section(report).more.keys() == {"low", "high"}
    arm, steps = advice(report)
    assert (arm, steps) == (Arm.RETRAINED, ["use_model", "add_test_images"])
    assert report.recommendation is not None
    step = next(step for step in report.recommendation.next if isinstance(step, AddTestImages))
    assert step.per_class == max(section(report).more.values())


def test_images_of_one_class_are_measured_and_decide_nothing(
    golden_bench: Bench, golden_job: JobRow, confirming: tuple[JobRow, DatasetRow, Report]
) -> None:
    """Their class has another number in the golden_job."""
    images = make_new_digits(golden_bench.images / "images" / "low", classes=("low",))
    report = golden_bench.report(judged(golden_bench, golden_job, images, breaks_pattern=True)[0])
    _, _, everything = confirming
    for arm, of in report.metrics["test"].items():
        (low,) = (one for one in everything.metrics["test"][arm].classes if one.name == "low")
        assert of.classes == [low]
    assert (section(report).outcome, section(report).undecided) == ("undecided", "one_class")


def test_images_and_subjects_that_trained_the_models_are_left_out_by_name(
    golden_bench: Bench, golden_job: JobRow
) -> None:
    trained = Store.open(golden_bench.folder(f"datasets/{golden_bench.dataset_id}"))
    images = make_new_digits(golden_bench.images / "images" / "partly", slice(800, 860))
    rows = [int(trained.rows(split)[0]) for split in ("train", "val", "calibration", "test")]
    for row in rows:
        target = images / trained.sample(row).path
        target.write_bytes(trained.image_bytes(row))
    paths = [trained.sample(row).path for row in rows[:2]]
    report = golden_bench.report(judged(golden_bench, golden_job, images)[0])
    left_out = section(report).left_out
    assert (left_out.images, left_out.same_image, left_out.paths) == (2, 2, sorted(paths))
    assert {of.n for of in report.metrics["test"].values()} == {62}
    with_table(images, subject="one burst")  # with an image that trained them, so that none of it counts
    failed = judged(golden_bench, golden_job, images)[0]
    assert failed.error is not None
    assert failed.error["reason"] == "no_new_images"
    assert "bring images that are not in train or val" in failed.error["detail"]


def test_all_images_count_whichever_split_the_import_gave_them(
    golden_bench: Bench, golden_job: JobRow, breaking: Path
) -> None:
    done, dataset = judged(golden_bench, golden_job, breaking, split=None)
    assert {name: split["count"] for name, split in dataset.summary["splits"].items()}["train"] == 180
    assert {of.n for of in golden_bench.report(done).metrics["test"].values()} == {300}
