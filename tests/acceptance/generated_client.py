"""The tutorial's flow with nothing but a client that openapi-python-client has generated.

python generated_client.py ADDRESS ZIP: the test runs it in an environment without any package of ours.
"""

from __future__ import annotations

import io
import sys
import time
import zipfile
from pathlib import Path

from masktune_api import Client
from masktune_api.api.datasets import (
    create_dataset,
    download_dataset,
    get_dataset,
    get_sample_image,
    list_samples,
)
from masktune_api.api.jobs import get_job, get_report, list_events, start_masktune
from masktune_api.api.models import get_model
from masktune_api.api.predict import explain_sample, predict_images, predict_sample
from masktune_api.models import (
    Answer,
    Dataset,
    DatasetState,
    DatasetUpload,
    ErrorCode,
    EventPage,
    FinetuneFields,
    ImageUpload,
    JobState,
    MasktuneRequest,
    Model,
    PageSample,
    Problem,
    Report,
    SaliencyAnswer,
    SourceRequest,
    TrainingJob,
)
from masktune_api.types import File

_LONGEST_SECONDS = 600


def main(address: str, archive: Path) -> None:
    client = Client(address, raise_on_unexpected_status=True)
    with archive.open("rb") as payload:
        form = DatasetUpload(name="digits", file=File(payload, archive.name))
        dataset = create_dataset.sync(client=client, body=form)
    assert isinstance(dataset, Dataset)
    deadline = time.monotonic() + _LONGEST_SECONDS
    while dataset.state == DatasetState.IMPORTING and time.monotonic() < deadline:
        time.sleep(0.2)
        dataset = get_dataset.sync(dataset.id, client=client)
        assert isinstance(dataset, Dataset)
    assert dataset.state == DatasetState.READY

    request = MasktuneRequest(dataset=dataset.id, epochs=2, finetune=FinetuneFields(epochs=1))
    job = start_masktune.sync(client=client, body=request, idempotency_key="only-once")
    again = start_masktune.sync_detailed(client=client, body=request, idempotency_key="only-once")
    assert (again.headers["Idempotency-Replayed"], again.headers["Location"]) == ("true", f"/jobs/{job.id}")
    while job.ended_at is None and time.monotonic() < deadline:
        time.sleep(0.2)
        job = get_job.sync(job.id, client=client)
        assert isinstance(job, TrainingJob)
    assert job.state == JobState.SUCCEEDED
    assert job.params.finetune.epochs == 1

    report = get_report.sync(job.id, client=client)
    assert isinstance(report, Report)
    events = list_events.sync(job.id, client=client)
    assert isinstance(events, EventPage)
    model = get_model.sync(job.models["masktune"], client=client)
    assert isinstance(model, Model)

    samples = list_samples.sync(dataset.id, client=client, limit=1)
    assert isinstance(samples, PageSample)
    sample = {"model": model.id, "dataset": dataset.id, "sample": samples.data[0].id}
    answer = predict_sample.sync(client=client, **sample, coverage=0.9)
    assert isinstance(answer, Answer)
    archive_again = download_dataset.sync_detailed(dataset.id, client=client).content
    assert "labels.csv" in zipfile.ZipFile(io.BytesIO(archive_again)).namelist()
    image = get_sample_image.sync_detailed(dataset.id, samples.data[0].id, client=client).content
    upload = ImageUpload(file=[File(io.BytesIO(image), "a.png"), File(io.BytesIO(image), "b.png")])
    uploaded = predict_images.sync(client=client, body=upload, model=model.id, coverage=0.9)
    assert isinstance(uploaded, Answer)
    assert [one.decision for one in uploaded.predictions] == [answer.predictions[0].decision] * 2
    saliency = explain_sample.sync(client=client, **sample)
    assert isinstance(saliency, SaliencyAnswer)

    refusal = create_dataset.sync(client=client, body=SourceRequest(name="digits", source="builtin:none"))
    assert isinstance(refusal, Problem)
    assert refusal.code == ErrorCode.INVALID_INPUT


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
