"""Data sets without labels: how they are uploaded, listed, predicted and deleted, and what refuses them."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.main import Services
from core.queries import datasets
from core.storage.maintenance import run_maintenance
from core.sweep import sweep
from core.tables import DatasetRow, JobRow, TrashRow
from masktune.contract.hyperparameters import DatasetFormat
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import ImportReport
from tests.integration.app.conftest import Front, StartFront, picture, weights
from tests.integration.app.datasets.test_datasets import upload
from tests.integration.app.jobs.test_jobs import refused, start
from tests.integration.app.jobs.test_judged_jobs import trained
from tests.support.rows import dataset_row


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImportReport]:
    """The store of three images without labels, to be copied, and the report of its import."""
    folder = tmp_path_factory.mktemp("imported")
    (folder / "source" / "day").mkdir(parents=True)
    for number in range(3):
        (folder / "source" / "day" / f"{number}.png").write_bytes(picture(number))
    options = ImportOptions(format=DatasetFormat.UNLABELLED, threads=1)
    return folder / "store", import_dataset(folder / "source", folder / "store", options)


def unlabelled(services: Services, imported: tuple[Path, ImportReport]) -> str:
    """Add a ready data set of them, as its import would have made it."""
    store, report = imported
    dataset_id = new_id("ds")
    key = f"datasets/{dataset_id}"
    with services.artifacts.writing(key) as target:
        shutil.copytree(store, target, dirs_exist_ok=True)
    facts = report.summary() | {"format": report.format, "splits": {}, "metadata_columns": []}
    source = {"upload": f"uploads/{dataset_id}"}
    row = dataset_row(id=dataset_id, state=DatasetState.IMPORTING, source=source, labelled=False)
    with services.database.begin() as session:
        datasets.add(session, row)
        datasets.finish(session, dataset_id, artifact=key, classes=[], summary=facts, ready=True)
    return dataset_id


@pytest.fixture
def lunch(front: Front, imported: tuple[Path, ImportReport]) -> str:
    return unlabelled(front.services, imported)


def predicted(front: Front, dataset: str) -> str:
    """Add a predict job on the data set, which has succeeded."""
    job = front.job(JobKind.PREDICT, dataset_id=dataset)
    front.end(front.claim())
    return job


def exists(front: Front, dataset: str) -> bool:
    status: int = front.client.get(f"/datasets/{dataset}").status_code
    return status == 200


def test_an_upload_without_labels_is_marked_from_the_start_and_listed(front: Front) -> None:
    unlabelled, other = upload(front, format="unlabelled").json(), upload(front).json()
    assert (unlabelled["labelled"], unlabelled["format"], other["labelled"]) == (False, "unlabelled", True)
    assert front.client.get(f"/datasets/{unlabelled['id']}").json()["labelled"] is False
    for labelled, dataset in (("true", other), ("false", unlabelled)):
        listed = front.client.get("/datasets", params={"labelled": labelled}).json()["data"]
        assert [row["id"] for row in listed] == [dataset["id"]]


@pytest.mark.parametrize(
    "option",
    ['{"classes": ["a", "b"]}', '{"split": "test"}', '{"new_splits": true}', '{"hold_out": ["meta:a=b"]}'],
)
def test_options_on_labels_and_splits_are_refused(shared_front: Front, option: str) -> None:
    name = option.split('"')[1]
    refused(
        upload(shared_front, format="unlabelled", options=option), 422, "invalid-input", f"/options/{name}"
    )


def test_a_table_may_be_uploaded_in_place_of_an_archive_and_nothing_else(shared_front: Front) -> None:
    table = b"path\ns3://bucket/1.png\n"
    assert upload(shared_front, table, format="unlabelled").status_code == 202
    refused(upload(shared_front, table), 422, "invalid-input", "/file")
    refused(upload(shared_front, picture(0), format="unlabelled"), 422, "invalid-input", "/file")


def test_a_source_without_labels(start: StartFront, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    front = start(allowed_sources=f"file://{tmp_path}/sets,s3://bucket/scans/")
    for source in (f"file://{tmp_path}/sets", "s3://bucket/scans/monday/"):
        body = {"name": "d", "source": source, "format": "unlabelled"}
        answer = front.client.post("/datasets", json=body)
        assert (answer.status_code, answer.json()["labelled"]) == (202, False)
    body = {"name": "d", "source": "s3://bucket/other/", "format": "unlabelled"}
    refused(front.client.post("/datasets", json=body), 422, "invalid-input", "/source")


def test_a_data_set_that_is_read_again_stays_without_labels(front: Front, lunch: str) -> None:
    body = {"name": "again", "source": f"dataset:{lunch}"}
    again = front.client.post("/datasets", json=body).json()
    assert (again["labelled"], again["format"]) == (False, "unlabelled")
    answer = front.client.post("/datasets", json=body | {"options": {"split": "test"}})
    refused(answer, 422, "invalid-input", "/options/split")


def test_its_samples_have_neither_label_nor_split(front: Front, lunch: str) -> None:
    dataset = front.client.get(f"/datasets/{lunch}").json()
    assert (dataset["classes"], dataset["splits"], dataset["groups"]) == ([], {}, [])
    assert dataset["report"]["count"] == 3
    page = front.client.get(f"/datasets/{lunch}/samples").json()["data"]
    assert [(sample["path"], sample["label"], sample["split"]) for sample in page] == [
        (f"day/{number}.png", None, None) for number in range(3)
    ]
    assert front.client.get(f"/datasets/{lunch}/samples/1").json() == page[1]
    assert front.client.get(f"/datasets/{lunch}/samples", params={"split": "test"}).json()["data"] == []
    refused(
        front.client.get(f"/datasets/{lunch}/samples", params={"label": "a"}), 422, "invalid-input", "?label"
    )
    table = front.client.get(f"/datasets/{lunch}/samples", headers={"Accept": "text/csv"}).text
    assert list(csv.reader(io.StringIO(table)))[1] == ["day/0.png", "", "", "0"]
    assert front.client.get(f"/datasets/{lunch}/samples/2/image").content == picture(2)


def test_it_is_renamed_downloaded_and_deleted_as_others(front: Front, lunch: str) -> None:
    assert front.client.patch(f"/datasets/{lunch}", json={"name": "noon"}).json()["name"] == "noon"
    zipped = io.BytesIO(front.client.get(f"/datasets/{lunch}/download").content)
    with zipfile.ZipFile(zipped) as file:
        assert sorted(file.namelist()) == ["day/0.png", "day/1.png", "day/2.png", "labels.csv"]
    assert front.client.delete(f"/datasets/{lunch}").status_code == 204
    assert not front.services.artifacts.exists(f"datasets/{lunch}")


def test_whatever_needs_labels_refuses_it_and_says_what_to_do(front: Front, lunch: str) -> None:
    dataset = front.dataset()
    model = front.model(dataset)
    job, _ = trained(front, dataset)
    bodies: dict[str, dict[str, Any]] = {
        "erm": {},
        "masktune": {},
        "mitigate": {},
        "mask": {"model": model},
        "retrain_head": {"model": model},
        "evaluate": {"model": model},
    }
    answers = [start(front, kind, dataset=lunch, **body) for kind, body in bodies.items()]
    for answer in [*answers, start(front, "evaluate", dataset=lunch, job=job)]:
        refused(answer, 422, "invalid-input", "/dataset")
        assert answer.json()["errors"][0]["code"] == "unlabelled"
        assert "name a labelled one" in answer.json()["detail"]
    fields = {"backbone": "small_cnn", "classes": '["a", "b"]', "image_size": "28", "dataset": lunch}
    answer = front.client.post("/models", data=fields, files={"file": ("m.safetensors", weights())})
    refused(answer, 422, "invalid-input", "/dataset")


def test_the_last_predict_job_takes_the_images_along(front: Front, lunch: str) -> None:
    jobs = [predicted(front, lunch) for _ in range(2)]
    assert front.client.get("/dependents", params={"of": jobs[0]}).json()["datasets"] == []
    assert front.client.delete(f"/jobs/{jobs[0]}").status_code == 204
    assert exists(front, lunch)
    assert front.client.get("/dependents", params={"of": jobs[1]}).json()["datasets"] == [lunch]
    assert front.client.get(f"/datasets/{lunch}/samples").status_code == 200  # and so it is open
    assert front.client.delete(f"/jobs/{jobs[1]}").status_code == 204
    assert not exists(front, lunch)
    assert not front.services.artifacts.exists(f"datasets/{lunch}")
    assert front.services.stores.ready(f"datasets/{lunch}") is None


def test_the_images_stay_where_they_are_to_be_kept_or_have_labels(front: Front, lunch: str) -> None:
    assert (
        front.client.delete(f"/jobs/{predicted(front, lunch)}", params={"keep_dataset": True}).status_code
        == 204
    )
    assert exists(front, lunch)
    labelled = front.dataset()
    assert front.client.delete(f"/jobs/{predicted(front, labelled)}").status_code == 204
    assert exists(front, labelled)


def test_the_sweep_deletes_images_without_labels_by_their_age(
    front: Front, imported: tuple[Path, ImportReport]
) -> None:
    old, new, busy = (unlabelled(front.services, imported) for _ in range(3))
    labelled = front.dataset()
    front.job(JobKind.PREDICT, dataset_id=busy)
    with front.services.database.begin() as session:
        aged = update(DatasetRow).where(DatasetRow.id != new)
        session.execute(aged.values(created_at=DatasetRow.created_at - 3 * 86_400))
    sweep(front.services.database, front.settings)
    assert exists(front, old)  # without the setting
    settings = front.settings.model_copy(update={"unlabelled_days": 2.0})
    sweep(front.services.database, settings)
    assert [exists(front, dataset) for dataset in (old, new, busy, labelled)] == [False, True, True, True]
    with front.services.database.begin() as session:
        session.execute(update(JobRow).values(state=JobState.CANCELLED))
    sweep(front.services.database, settings)
    assert not exists(front, busy)
    with front.services.database.begin() as session:
        session.execute(update(TrashRow).values(at=0.0))
    run_maintenance(front.services.database, settings)
    keys = [dataset for dataset in (old, new, busy) if front.services.artifacts.exists(f"datasets/{dataset}")]
    assert keys == [new]
