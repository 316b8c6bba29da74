"""A worker whose artifacts and sources are in S3: a real server of its protocol, started here."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import s3fs.core
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer

from app.datasets.presenter import describe
from core.artifacts import ArtifactMissing, Artifacts
from core.queries import datasets, jobs
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from models.data.importing import import_dataset
from models.data.store import Store
from models.export import load_model
from tests.integration.worker.bench import Bench, opened_bench
from tests.integration.worker.real_jobs import make_folder


class S3:
    """A server that can go away and come back at its address, with all it holds."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port)
        self._server.start()
        _, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    server = S3()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(server: S3) -> Iterator[str]:
    """The address of an empty bucket; the usual variables of AWS lead to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "anyone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # of tests without credentials
        name = f"masktune-{uuid.uuid4().hex[:8]}"
        fs, _ = fsspec.core.url_to_fs(f"s3://{name}")
        fs.mkdir(name)
        try:
            yield f"s3://{name}"
        finally:
            fs.invalidate_cache()
            fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def bench(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("s3")
    images = make_folder(folder / "images", 40)
    import_dataset(images, folder / "store")
    settings = {"storage_url": f"{bucket}/artifacts", "allowed_sources": f"{bucket}/sources"}
    with opened_bench(folder, folder / "store", images, **settings) as opened:
        yield opened


def test_artifacts_appear_whole_are_replaced_and_go(bucket: str, tmp_path: Path) -> None:
    writer = Artifacts(f"{bucket}/a", cache=tmp_path / "writer")
    writer.check()
    with writer.writing("models/mdl_1") as folder:
        (folder / "inner").mkdir()
        (folder / "inner/card").write_text("one")
        assert not writer.exists("models/mdl_1"), "nothing is there before all of it is"
    reader = Artifacts(f"{bucket}/a", cache=tmp_path / "reader")
    assert (reader.folder("models/mdl_1") / "inner/card").read_text() == "one"
    with writer.writing("models/mdl_1") as folder:
        (folder / "card").write_text("two")
    late = Artifacts(f"{bucket}/a", cache=tmp_path / "late")
    assert [p.name for p in late.folder("models/mdl_1").iterdir()] == ["card"]
    writer.delete("models/mdl_1")
    writer.delete("models/mdl_1")
    with pytest.raises(ArtifactMissing):
        Artifacts(f"{bucket}/a", cache=tmp_path / "last").folder("models/mdl_1")


def test_a_job_reads_its_images_from_s3_and_leaves_its_model_there(bench: Bench, bucket: str) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    source = f"{bucket}/sources/digits"
    for file in bench.images.rglob("*.png"):
        fs.put_file(str(file), f"{source}/{file.relative_to(bench.images).as_posix()}")
    imported, dataset = bench.imported({"address": source})
    assert (imported.state, dataset.state) == (JobState.SUCCEEDED, DatasetState.READY)
    (job,) = bench.succeed(bench.run(JobKind.ERM, dataset_id=dataset.id))
    assert fs.exists(f"{bucket}/artifacts/models/{job.models['erm']}/.complete")
    _, card = load_model(bench.folder(f"models/{job.models['erm']}"))
    assert sorted(card.classes) == sorted(dataset.classes)
    report = bench.folder(job.done["evaluate"]["artifact"]) / "report.json"
    assert json.loads(report.read_text())["metrics"]["test"]["erm"]["n"] > 0


def test_a_store_that_is_away_is_waited_for_by_who_wants_to(
    bucket: str, server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3fs.core, "S3_RETRYABLE_ERRORS", s3fs.core.S3_RETRYABLE_ERRORS)
    artifacts = Artifacts(f"{bucket}/away", cache=tmp_path)
    monkeypatch.setattr(artifacts.fs, "retries", artifacts.fs.retries)
    server.stop()
    try:
        with pytest.raises(EndpointConnectionError):
            artifacts.exists("models/mdl_1")
        artifacts.outlast()
    finally:
        back = threading.Timer(1.0, server.start)
        back.start()
    assert not artifacts.exists("models/mdl_1")
    back.join()


def test_a_data_set_that_was_invalid_is_read_anew_once_it_is_ready(bench: Bench, bucket: str) -> None:
    """The front had fetched what there was first, under the same key."""
    fs, _ = fsspec.core.url_to_fs(bucket)
    source = f"{bucket}/sources/mended"
    fs.pipe_file(f"{source}/a/1.png", b"no picture")
    job, dataset = bench.imported({"address": source})
    assert (job.state, dataset.state) == (JobState.FAILED, DatasetState.INVALID)
    settings = bench.runtime.settings
    front = Artifacts(settings.storage, cache=settings.data_dir / "front")
    report = describe(dataset, front).report
    assert report is not None
    assert [entry.path for entry in report.rejected] == ["a/1.png"]
    assert not list((settings.data_dir / "front").rglob("samples.arrow"))

    fs.rm_file(f"{source}/a/1.png")
    for file in bench.images.rglob("*.png"):
        fs.put_file(str(file), f"{source}/{file.relative_to(bench.images).as_posix()}")
    with bench.runtime.database.begin() as session:
        jobs.resume(session, job.id)
    (job,) = bench.succeed(job.id)
    with bench.runtime.database.read() as session:
        dataset = datasets.get(session, dataset.id)
    assert dataset.state is DatasetState.READY
    assert describe(dataset, front).report != report
    assert not list((settings.data_dir / "front").rglob("samples.arrow")), "its report alone was asked for"
    assert len(Store.open(front.folder(f"datasets/{dataset.id}"))) > 0


def test_names_in_a_bucket_cannot_leave_the_folder_they_are_copied_to(bench: Bench, bucket: str) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    fs.pipe_file(f"{bucket}/sources/hostile/a/../../../../escaped.png", b"x")
    job, _ = bench.imported({"address": f"{bucket}/sources/hostile"})
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["reason"] == "source_unsafe"
    assert not list(bench.runtime.settings.data_dir.rglob("escaped.png"))


def test_an_address_beside_the_allowed_one_is_refused(bench: Bench, bucket: str) -> None:
    job, _ = bench.imported({"address": f"{bucket}/artifacts"})
    assert job.error is not None
    assert job.error["reason"] == "source_not_allowed"
