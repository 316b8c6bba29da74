"""A worker whose artifacts and sources are in S3: a real server of its protocol, started here."""

from __future__ import annotations

import json
import random
import shutil
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import s3fs.core
from botocore.exceptions import EndpointConnectionError

from core.queries import jobs
from core.storage.artifacts import ArtifactMissing, Artifacts, store_fault
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from models.data.importing.datasets import import_dataset
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from tests.support.jobs.bench import Bench, opened_bench
from tests.support.jobs.real_jobs import CLASSES, add_dataset, hyperparameters, make_grouped
from tests.support.object_store import Fault, ObjectStore
from tests.support.seeds import shifted
from worker.networks import passes


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    server = ObjectStore()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(server: ObjectStore) -> Iterator[str]:
    """The address of an empty bucket; the usual variables of AWS lead to it."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, text in server.environment.items():
            patch.setenv(variable, text)
        patch.setenv("AWS_MAX_ATTEMPTS", "2")  # before a third, botocore waits for seconds
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
    places = {"storage_url": f"{bucket}/artifacts", "allowed_sources": f"{bucket}/sources"}
    folder = tmp_path_factory.mktemp("s3")
    images, store = make_grouped(folder / "images", 24), folder / "store"
    import_dataset(images, store)
    with opened_bench(folder, store, images / "digits", max_image_bytes=100_000, **places) as opened:
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
    assert late.sizes() == {("models", "mdl_1"): late.size("models/mdl_1")}
    assert late.size("models/mdl_1") >= len("two")
    writer.delete("models/mdl_1")
    writer.delete("models/mdl_1")
    assert late.size("models") == 0
    with pytest.raises(ArtifactMissing):
        Artifacts(f"{bucket}/a", cache=tmp_path / "last").folder("models/mdl_1")


@pytest.mark.trains
def test_a_job_reads_its_images_from_s3_and_leaves_its_model_there(bench: Bench, bucket: str) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    source = f"{bucket}/sources/digits"
    fs.put(str(bench.images.parent), source, recursive=True)
    imported, dataset = bench.imported({"address": source})
    assert (imported.state, dataset.state) == (JobState.SUCCEEDED, DatasetState.READY)
    params = hyperparameters(epochs=1, backbone="resnet32", image_size=16)
    (job,) = bench.succeed(bench.run(JobKind.ERM, dataset_id=dataset.id, params=params))
    for kind in ("models", "backbones"):
        assert fs.exists(f"{bucket}/artifacts/{kind}/{job.models['erm']}/.complete")
    _, card = bench.load(job.models["erm"])
    assert sorted(card.classes) == sorted(dataset.classes)
    assert bench.report_json(job)["metrics"]["test"]["erm"]["n"] > 0


def _zipped(images: Path, target: Path, *, compression: int, extra: dict[str, bytes] = {}) -> Path:  # noqa: B006  # read
    """The images in no order, between bytes that no image has."""
    files = sorted(images.rglob("*.png"))
    random.Random(0).shuffle(files)
    with zipfile.ZipFile(target, "w", compression) as archive:
        for number, file in enumerate(files):
            archive.write(file, f"all/{file.relative_to(images).as_posix()}")
            if number % 10 == 0:
                archive.writestr(f"all/{number}.bin", random.Random(number).randbytes(100_000))
        for name, content in extra.items():
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("compression", "uploaded"), [(zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, True)]
)
def test_the_images_of_a_zip_are_read_by_range(
    bench: Bench, bucket: str, server: ObjectStore, tmp_path: Path, compression: int, uploaded: bool
) -> None:
    archive = _zipped(bench.images, tmp_path / "digits.zip", compression=compression)
    fs, _ = fsspec.core.url_to_fs(bucket)
    source = {"address": f"{bucket}/sources/digits-{compression}.zip"}
    place = source["address"]
    if uploaded:
        source = {"upload": f"uploads/{new_id('ds')}"}
        place = f"{bucket}/artifacts/{source['upload']}/archive"
        fs.pipe_file(f"{bucket}/artifacts/{source['upload']}/.complete", b"1")
    fs.put_file(str(archive), place)
    report = import_dataset(archive, tmp_path / "here")
    job, dataset = bench.imported(source)
    assert (job.state, dataset.state, report.state) == (JobState.SUCCEEDED, DatasetState.READY, "ready")
    elsewhere = bench.folder(str(dataset.artifact))
    for name in ("samples.arrow", "pixels.npy"):
        assert (elsewhere / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert json.loads((elsewhere / "report.json").read_text())["ignored"] == [
        rejection._asdict() for rejection in report.ignored
    ]


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda archive: archive.replace(b"IDAT", b"IDAX"), "damaged_archive"),
        (lambda archive: archive[:-200], "damaged_archive"),
    ],
)
def test_a_damaged_zip_in_a_bucket_is_refused_as_a_whole(
    bench: Bench, bucket: str, tmp_path: Path, harm: Callable[[bytes], bytes], code: str
) -> None:
    archive = _zipped(bench.images, tmp_path / "digits.zip", compression=zipfile.ZIP_STORED)
    fs, _ = fsspec.core.url_to_fs(bucket)
    fs.pipe_file(f"{bucket}/sources/harmed.zip", harm(archive.read_bytes()))
    job, dataset = bench.imported({"address": f"{bucket}/sources/harmed.zip"})
    assert (job.state, dataset.state) == (JobState.FAILED, DatasetState.INVALID)
    assert [problem["code"] for problem in dataset.summary["problems"]] == [code]


@pytest.mark.parametrize("name", ["all/9/x.png", "all/9/x.csv"])
def test_an_archive_within_a_zip_in_a_bucket_is_refused(
    bench: Bench, bucket: str, tmp_path: Path, name: str
) -> None:
    archive = _zipped(
        bench.images,
        tmp_path / "nested.zip",
        compression=zipfile.ZIP_DEFLATED,
        extra={name: b"PK\3\4" + bytes(99)},
    )
    fs, _ = fsspec.core.url_to_fs(bucket)
    fs.put_file(str(archive), f"{bucket}/sources/nested.zip")
    _, dataset = bench.imported({"address": f"{bucket}/sources/nested.zip"})
    assert [problem["code"] for problem in dataset.summary["problems"]] == ["nested_archive"]


def test_a_zip_in_a_bucket_is_held_against_the_limits(bench: Bench, bucket: str, tmp_path: Path) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(65 << 20))
    fs.put_file(str(tmp_path / "bomb.zip"), f"{bucket}/sources/bomb.zip")
    _, dataset = bench.imported({"address": f"{bucket}/sources/bomb.zip"})
    assert [problem["code"] for problem in dataset.summary["problems"]] == ["wrong_ratio"]


def test_a_shard_in_s3_is_put_once(bucket: str, tmp_path: Path) -> None:
    artifacts = Artifacts(f"{bucket}/once", cache=tmp_path / "cache")
    (tmp_path / "shard").mkdir()
    (tmp_path / "shard/part").write_text("equal")
    key = "jobs/j/work/shards/000001"
    artifacts.fs.pipe_file(f"{artifacts.root}/{key}/part", b"half")  # of a put that was interrupted
    assert artifacts.put_if_absent(tmp_path / "shard", key)
    marked = artifacts.fs.cat_file(f"{artifacts.root}/{key}/.complete")
    assert not artifacts.put_if_absent(tmp_path / "shard", key)
    assert artifacts.fs.cat_file(f"{artifacts.root}/{key}/.complete") == marked
    assert artifacts.file(key, "part").read_text() == "equal"


def test_images_without_labels_are_read_from_a_bucket_or_from_a_table_in_it(
    bench: Bench, bucket: str, server: ObjectStore
) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    source = f"{bucket}/sources/lunch"
    for name, file in zip(("a/1.png", "b/2.png"), bench.images.rglob("*.png"), strict=False):
        fs.put_file(str(file), f"{source}/{name}")
    fs.pipe_file(f"{source}/broken.png", b"no image")
    fs.pipe_file(f"{source}/huge.png", bytes(bench.runtime.settings.max_image_bytes + 1))
    rows = [
        "path",
        "a/1.png",
        f"{source}/b/2.png",
        f"{bucket}/elsewhere/3.png",
        "../digits/4.png",
        "gone.png",
    ]
    fs.pipe_file(f"{source}/table.csv", "\n".join([*rows, "huge.png"]).encode())

    def refuse(method: str, address: str) -> Fault | None:
        return Fault.INTERNAL_ERROR if method == "GET" and "huge" in address else None

    with server.failing(refuse):
        _, folder = bench.imported({"address": f"{source}/"}, format="unlabelled")
        _, table = bench.imported({"address": f"{source}/table.csv"}, format="unlabelled")
    assert [folder.state, table.state] == [DatasetState.READY, DatasetState.READY]
    assert folder.summary["rejected"] == {"too_large": 1, "not_an_image": 1}
    assert folder.summary["ignored"] == {"not_listed": 1}
    assert table.summary["rejected"] == {"bad_path": 2, "missing_file": 1, "too_large": 1}
    paths = [Store.open(bench.folder(str(row.artifact))).paths.to_pylist() for row in (folder, table)]
    assert paths == [["a/1.png", "b/2.png"], ["a/1.png", f"{source}/b/2.png".removeprefix("s3://")]]


@pytest.fixture
def patient(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """A store whose patience ends with the test."""
    for name in ("S3_RETRYABLE_ERRORS", "CUSTOM_ERROR_HANDLER"):
        monkeypatch.setattr(s3fs.core, name, getattr(s3fs.core, name))
    artifacts = Artifacts(f"{bucket}/patient", cache=tmp_path)
    monkeypatch.setattr(artifacts.fs, "retries", artifacts.fs.retries)
    artifacts.outlast()
    return artifacts


@pytest.mark.faults
def test_a_store_that_is_away_is_waited_for_by_who_wants_to(
    bucket: str, server: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    artifacts = Artifacts(f"{bucket}/away", cache=tmp_path)
    server.stop()
    try:
        with pytest.raises(EndpointConnectionError):
            artifacts.exists("models/mdl_1")
        request.getfixturevalue("patient")
    finally:
        back = threading.Timer(0.3, server.start)
        back.start()
    assert not artifacts.exists("models/mdl_1")
    back.join()


def first(times: int, fault: Fault, query: str = "") -> Callable[[str, str], Fault | None]:
    """The first so many requests fail whose query has this text."""
    left = iter([fault] * times)
    return lambda method, address: next(left, None) if query in address else None


@pytest.mark.faults
def test_a_store_that_fails_for_a_while_is_waited_for_by_who_wants_to(
    server: ObjectStore, patient: Artifacts
) -> None:
    with server.failing(first(5, Fault.INTERNAL_ERROR)):
        assert not patient.exists("models/mdl_1")
    assert server.faults == 5


@pytest.fixture
def large_artifact(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Artifacts, Path]:
    """A store, and a folder with a file that is uploaded in three parts, of 5 MiB each instead of 50."""
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 << 20)
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(11 << 20))
    return Artifacts(f"{bucket}/large", cache=tmp_path / "cache"), folder


@pytest.mark.faults
@pytest.mark.parametrize("fault", Fault)
def test_an_upload_that_breaks_in_the_middle_is_repeated(
    server: ObjectStore, large_artifact: tuple[Artifacts, Path], fault: Fault
) -> None:
    artifacts, folder = large_artifact
    with server.failing(first(1, fault, "partNumber=2")):
        artifacts.put(folder, "models/mdl_1")
    assert server.faults == 1
    assert artifacts.file("models/mdl_1", "model.safetensors").read_bytes() == bytes(11 << 20)
    artifacts.delete("models/mdl_1")


@pytest.mark.faults
@pytest.mark.parametrize("query", ["partNumber=2", "uploadId="], ids=["a part", "all but the start"])
def test_an_upload_that_cannot_be_ended_leaves_nothing_to_be_seen(
    server: ObjectStore, large_artifact: tuple[Artifacts, Path], bucket: str, query: str
) -> None:
    """Its parts go at once if the store takes the abort, else by the bucket's rule (docs/how-to/s3.md)."""
    artifacts, folder = large_artifact
    bucket_name = bucket.removeprefix("s3://")
    with (
        server.failing(lambda _, address: Fault.INTERNAL_ERROR if query in address else None),
        pytest.raises(OSError, match="try again") as failed,
    ):
        artifacts.put(folder, "models/mdl_1")
    assert store_fault(failed.value) == "InternalError"
    assert not artifacts.exists("models/mdl_1")
    assert artifacts.fs.find(f"{artifacts.root}/models") == []
    parts_left = artifacts.fs.list_multipart_uploads(bucket_name)
    assert bool(parts_left) == (query == "uploadId=")
    artifacts.fs.clear_multipart_uploads(bucket_name)


@pytest.mark.trains
@pytest.mark.faults
def test_a_job_whose_store_fails_says_so_and_resume_goes_on(
    server: ObjectStore, bench: Bench, bucket: str
) -> None:
    job_id = bench.run(JobKind.ERM, params=hyperparameters(epochs=1, image_size=16))
    with server.failing(lambda method, _: Fault.INTERNAL_ERROR if method == "PUT" else None):
        (job,) = bench.done(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["reason"] == "object_store"
    assert "InternalError" in job.error["detail"]
    fs, _ = fsspec.core.url_to_fs(bucket)
    assert not any(job_id in path for path in fs.find(bucket))
    with bench.runtime.database.begin() as session:
        jobs.resume(session, job_id)
    (job,) = bench.succeed(job_id)
    assert bench.runtime.artifacts.exists(f"models/{job.models['erm']}")


def test_names_in_a_bucket_cannot_leave_the_folder_they_are_copied_to(bench: Bench, bucket: str) -> None:
    fs, _ = fsspec.core.url_to_fs(bucket)
    fs.pipe_file(f"{bucket}/sources/hostile/a/../../../../escaped.png", b"x")
    job, _ = bench.imported({"address": f"{bucket}/sources/hostile"})
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["reason"] == "source_unsafe"
    assert not list(bench.runtime.settings.data_dir.rglob("escaped.png"))


def test_shards_in_s3_are_gone_on_with_on_another_host(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "SHARD_IMAGES", 4)
    images = np.random.default_rng(shifted(0)).integers(0, 256, (8, 28, 28, 3), dtype=np.uint8)
    arrays = Arrays(images, np.arange(8) % 2, ["test"] * 8)
    write_arrays(tmp_path / "store", arrays, DatasetInfo("many", "csv", CLASSES))
    artifacts = bench.runtime.artifacts
    dataset = add_dataset(bench.runtime.database, artifacts, tmp_path / "store")
    request = {"dataset_id": dataset, "inputs": {"model": bench.untrained(CLASSES)}, "params": {}}
    job_id = bench.run(JobKind.PREDICT, **request)
    last = f"jobs/{job_id}/work/shards-uncalibrated/000001"
    bench.stop(job_id, lambda: artifacts.exists(last))
    marked = artifacts.fs.cat_file(f"{artifacts.root}/{last}/.complete")
    shutil.rmtree(bench.runtime.settings.scratch)
    (job,) = bench.succeed(job_id)
    assert artifacts.fs.cat_file(f"{artifacts.root}/{last}/.complete") == marked, "it was not computed again"
    (whole,) = bench.succeed(bench.run(JobKind.PREDICT, **request))
    one, other = (
        artifacts.file(each.done["predict"]["artifact"], "predictions.parquet").read_bytes()
        for each in (job, whole)
    )
    assert one == other
