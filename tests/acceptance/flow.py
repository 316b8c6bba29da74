"""The main workflow, end to end, as a user's program runs it: over HTTP, with only the client."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from launcher.demo.digits import FIELDS
from launcher.demo.digits_zip import CLASSES, write_zip
from masktune import Client, Dataset, Job, PredictJob, StageEvent, StateEvent
from masktune.contract.vocabulary import Arm

PNG = b"\x89PNG\r\n\x1a\n"


QUICK = FIELDS | {"epochs": 1, "finetune": {"epochs": 1}}


def flow(url: str, scratch: Path, *, key: str | None = None) -> None:
    """Upload, train, report, predict with and without the reject option, explain; assert at each step.

    `tests/acceptance/test_demo.py` trains for as long as the models need to show that masking helps.
    """
    with Client(url, key=key) as client:
        dataset = _upload(client, scratch)
        job = _train(client, dataset)
        _report(client, job)
        _predict(client, dataset, job)
        _registry(client, dataset, job, scratch)


def _every_fifth(whole: Path, archive: Path) -> Counter[str]:
    """Write an archive of some of the images of the demo's; return how many there are of each split."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(archive, "w") as target:
        head, *rows = source.read("labels.csv").decode().splitlines()
        target.writestr("labels.csv", "\n".join([head, *rows[::5]]))
        paths = [row.partition(",")[0] for row in rows[::5]]
        for path in paths:
            target.writestr(path, source.read(path))
    return Counter(path.partition("/")[0] for path in paths)


def _upload(client: Client, scratch: Path) -> Dataset:
    archive = scratch / "digits.zip"
    write_zip(scratch / "whole.zip")
    counts = _every_fifth(scratch / "whole.zip", archive)
    sent: list[int] = []
    dataset = client.datasets.upload(archive, name="digits", on_sent=lambda now, _: sent.append(now))
    assert sent[-1] == archive.stat().st_size
    dataset = client.datasets.wait(dataset.id)
    assert dataset.classes == list(CLASSES)
    assert dataset.splits["test"] == counts["test"]
    assert sum(dataset.splits.values()) == counts.total()
    assert set(dataset.splits) == {"train", "val", "calibration", "test"}
    assert sum(group.n for group in dataset.groups) == counts.total()
    return dataset


def _train(client: Client, dataset: Dataset) -> Job:
    key = "the-only-one"
    job = client.jobs.start("masktune", dataset=dataset.id, idempotency_key=key, **QUICK)
    assert client.jobs.start("masktune", dataset=dataset.id, idempotency_key=key, **QUICK).id == job.id
    events = list(client.jobs.events(job.id))
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    states = [event.data.state for event in events if isinstance(event, StateEvent)]
    assert (states[0], states[-1]) == ("queued", "succeeded")
    stages = [event.data for event in events if isinstance(event, StageEvent)]
    finished = [stage.stage for stage in stages if stage.status == "finished"]
    assert finished == ["erm", "infer_groups", "mask", "finetune", "control", "calibrate", "evaluate"]
    job = client.jobs.wait(job.id)
    assert set(job.models) == {"erm", "masktune", "masktune_control"}
    assert (job.attempt, job.progress.fraction, job.error) == (1, 1.0, None)
    return job


def _report(client: Client, job: Job) -> None:
    report = client.jobs.report(job.id)
    assert report.verdict is not None
    assert report.metrics["test"][Arm.MASKTUNE].accuracy == job.metrics[Arm.MASKTUNE]["test"].accuracy
    assert "</html>" in client.jobs.report_html(job.id)


def _predict(client: Client, dataset: Dataset, job: Job) -> None:
    model = job.models["masktune"]
    sample = next(client.datasets.samples(dataset.id, split="test", label=CLASSES[1]))
    where: dict[str, Any] = {"model": model, "dataset": dataset.id, "sample": sample.id}

    plain = client.predict.sample(**where)
    assert plain.selection.status == "none"
    assert plain.predictions[0].decision == "answer"
    again = client.predict.images(model, [client.datasets.image(dataset.id, sample.id)])
    assert again.predictions == plain.predictions

    covered = client.predict.sample(**where, coverage=0.9)
    assert covered.selection.status == "target_coverage"
    assert covered.selection.calibration is not None
    assert covered.selection.calibration.n == dataset.splits["calibration"]

    certified = client.predict.sample(**where, max_risk=0.05, risk_confidence=0.95)
    assert certified.selection.status in ("certified", "not_certifiable")
    if certified.selection.status == "not_certifiable":
        assert certified.predictions[0].abstain_reason == "no_certified_threshold"
    for answer in (covered, certified):
        one = answer.predictions[0]
        assert (one.label is None) == (one.decision == "abstain")

    explained = client.predict.sample(**where, explain=True).predictions[0].saliency
    assert explained is not None
    assert client.saliency.sample_picture(**where).startswith(PNG)

    many = client.jobs.wait(client.jobs.predict(model, dataset.id, order="least_sure").id)
    assert isinstance(many, PredictJob)
    assert many.counts is not None
    rows = list(client.jobs.prediction_rows(many.id, limit=100))
    assert len({row.row for row in rows}) == len(rows) == many.counts.answered == sum(dataset.splits.values())
    assert [row.score for row in rows] == sorted(row.score for row in rows if row.score is not None)


def _registry(client: Client, dataset: Dataset, job: Job, scratch: Path) -> None:
    model = job.models["masktune"]
    assert client.models.set_alias("digits-best", model).model == model
    assert client.models.get("digits-best").id == model
    client.models.set_alias("digits-best", job.models["erm"])
    assert client.models.roll_back_alias("digits-best").model == model
    assert {found.id for found in client.models.list(job=job.id)} == set(job.models.values())
    weights = client.models.download("digits-best", scratch / "model.safetensors")
    assert weights.stat().st_size > 10_000
    assert job.id in [found.id for found in client.jobs.list(dataset=dataset.id, kind="masktune")]
