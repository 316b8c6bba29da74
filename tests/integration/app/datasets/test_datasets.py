"""Data sets: uploads, sources, reports, samples."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import select, update
from starlette.types import Message

from core.storage.maintenance import run_maintenance
from core.tables import DatasetRow, JobRow, TrashRow
from masktune.contract.datasets import FormatOptions
from masktune.contract.vocabulary import JobState
from models.data.report import REPORT_FILE, DuplicateSet, ImportReport
from tests.integration.app.conftest import CLASSES, Front, StartFront, http_scope, pages, picture
from tests.support.stubborn_store import StubbornStore


def archive(*names: str) -> bytes:
    """The same bytes for the same names, whenever it is called: its entries have no date of today."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number, name in enumerate(names or ("a/1.png", "b/2.png")):
            file.writestr(zipfile.ZipInfo(name), picture(number))
    return buffer.getvalue()


def upload(
    front: Front, data: bytes | None = None, headers: dict[str, str] | None = None, **fields: str
) -> Any:
    form = {"name": "mine"} | fields
    files = {"file": ("mine.zip", archive() if data is None else data)}
    return front.client.post("/datasets", data=form, files=files, headers=headers)


def leftovers(front: Front) -> list[Path]:
    folder = front.settings.scratch / "uploads"
    return list(folder.rglob("*")) if folder.exists() else []


def stored_uploads(front: Front) -> list[Path]:
    folder = front.settings.data_dir / "artifacts" / "uploads"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_an_upload_becomes_an_artifact_a_row_and_a_job(front: Front) -> None:
    data = archive()
    answer = upload(front, data, format="image_folder", options='{"classes": ["a", "b"]}', seed="7")
    body = answer.json()
    assert answer.status_code == 202, body
    assert answer.headers["Location"] == f"/datasets/{body['id']}"
    assert front.client.get(answer.headers["Location"]).json() == body
    assert (body["state"], body["name"], body["report"]) == ("importing", "mine", None)
    folder = front.services.artifacts.folder(f"uploads/{body['id']}")
    assert [file.name for file in folder.iterdir()] == ["archive"]
    assert (folder / "archive").read_bytes() == data
    with front.services.database.read() as session:
        job = session.get_one(JobRow, body["job"])
        assert (job.kind, job.state, job.dataset_id) == ("import", "queued", body["id"])
        assert job.params["options"] == FormatOptions(classes=["a", "b"]).model_dump(mode="json")
        assert (job.params["format"], job.params["seed"]) == ("image_folder", 7)
        assert session.get_one(DatasetRow, body["id"]).source == {"upload": f"uploads/{body['id']}"}
    assert not leftovers(front)


FAULTY: list[tuple[dict[str, str], str]] = [
    ({"name": ""}, "/name"),
    ({"name": "a\nb"}, "/name"),
    ({"name": "x" * 201}, "/name"),
    ({"format": "tiff"}, "/format"),
    ({"options": "{"}, "/options"),
    ({"options": "[]"}, "/options"),
    ({"options": '{"clases": []}'}, "/options/clases"),
    ({"options": '{"classes": ["a", "b\\u0000"]}'}, "/options"),
    ({"options": '{"classes": ["a", "\\ud800"]}'}, "/options"),
    ({"options": '{"subject": "*/*_*"}'}, "/options/subject"),
    ({"options": '{"subject": "{subject}/{subject}_*"}'}, "/options/subject"),
    ({"options": '{"hold_out": ["site=Berlin"]}'}, "/options/hold_out/0"),
    ({"seed": "-1"}, "/seed"),
    ({"seed": "x"}, "/seed"),
    ({"colour": "red"}, "/colour"),
]


def test_faulty_fields_leave_nothing(front: Front) -> None:
    for fields, pointer in FAULTY:
        answer = upload(front, None, None, **fields)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer, fields
    assert not leftovers(front)
    assert not stored_uploads(front)
    assert front.client.get("/datasets").json()["data"] == []


def test_an_empty_file_and_a_missing_one(shared_front: Front) -> None:
    assert upload(shared_front, b"").json()["errors"][0]["code"] == "empty"
    answer = shared_front.client.post("/datasets", files={"other": ("x", b"x")})
    assert answer.json()["errors"][0]["pointer"] == "/file"


def test_other_kinds_of_body(shared_front: Front) -> None:
    for kind in ("text/plain", "application/zip", "application/x-www-form-urlencoded"):
        answer = shared_front.client.post("/datasets", content=b"x", headers={"Content-Type": kind})
        assert answer.status_code == 415


def test_a_file_that_is_no_archive_is_refused_and_leaves_nothing(shared_front: Front) -> None:
    for content, what in ((b"%PDF-1.7", "a PDF document"), (b"GIF89a", "a single image")):
        answer = upload(shared_front, content)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/file")
        assert f"the file is {what}: send a folder" in answer.json()["detail"]
    assert not leftovers(shared_front)
    assert not stored_uploads(shared_front)


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(start: StartFront) -> None:
    front = start(max_upload_bytes=1024)
    answer = upload(front, b"x" * (3 * 2**20))
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"
    assert not leftovers(front)


def post_raw(front: Front, messages: list[Message], headers: list[tuple[bytes, bytes]]) -> list[Message]:
    """What the application sends, asked as a server asks it."""
    form = (b"content-type", b"multipart/form-data; boundary=cut")
    scope = http_scope("POST", "/datasets", form, *headers)
    sent: list[Message] = []
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await front.app(scope, receive, send)

    anyio.run(run)
    return sent


HEAD = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'


def test_a_client_that_leaves_leaves_no_file(front: Front) -> None:
    chunk = {"type": "http.request", "body": b"x" * 2**20, "more_body": True}
    head = {"type": "http.request", "body": HEAD, "more_body": True}
    post_raw(front, [head, chunk, chunk, {"type": "http.disconnect"}], [])
    assert not leftovers(front)
    assert not stored_uploads(front)


def test_an_upload_that_cannot_fit_is_refused_before_it_is_read(start: StartFront) -> None:
    front = start(max_upload_bytes=2**60)
    sent = post_raw(front, [], [(b"content-length", str(2**59).encode())])
    assert sent[0]["status"] == 507
    assert json.loads(sent[1]["body"])["type"] == "/problems/storage-full"


def test_an_allowed_folder(start: StartFront, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    front = start(allowed_sources=f"file://{tmp_path}/sets")
    made = front.client.post("/datasets", json={"name": "d", "source": f"file://{tmp_path}/sets/../sets"})
    assert made.json()["source"] == {"address": f"file://{tmp_path}/sets"}


def test_a_ready_data_set_and_its_report(front: Front) -> None:
    dataset = front.dataset()
    body = front.client.get(f"/datasets/{dataset}").json()
    assert body["state"] == "ready"
    assert body["classes"] == CLASSES
    assert body["splits"] == {"train": 6, "val": 6, "calibration": 6, "test": 6}
    report = body["report"]
    assert [r["path"] for r in report["rejected"]] == ["train/left/broken.png"]
    assert report["rejected_total"] == sum(report["rejected_by_code"].values()) == 1
    full = front.client.get(f"/datasets/{dataset}/report")
    assert full.json()["rejected"] == report["rejected"]
    again = front.client.get(f"/datasets/{dataset}/report", headers={"If-None-Match": full.headers["ETag"]})
    assert again.status_code == 304
    (listed,) = front.client.get("/datasets").json()["data"]
    assert (listed["report"]["rejected"], listed["report"]["rejected_total"]) == ([], 1)


def test_the_first_duplicates_are_named_those_with_two_labels_before_others(front: Front) -> None:
    dataset = front.dataset()
    file = front.services.artifacts.file(f"datasets/{dataset}", REPORT_FILE)
    copies = DuplicateSet(tuple(f"{n}.png" for n in range(7)), ("train",) * 7, ("left",) * 7, same_bytes=True)
    doubted = DuplicateSet(("a.png", "b.png"), ("train", "test"), ("left", "right"), same_bytes=False)
    report = ImportReport("ready", "d", "csv", duplicates=(*[copies] * 120, doubted)).to_json()
    file.write_text(json.dumps(report), encoding="utf-8")
    first, second, *others = front.client.get(f"/datasets/{dataset}").json()["report"]["duplicates"]
    assert (first["paths"], first["labels"], first["more"]) == (["a.png", "b.png"], ["left", "right"], 0)
    assert first["codes"] == ["in_two_splits", "conflicting_labels"]
    assert (second["paths"], second["more"]) == ([f"{n}.png" for n in range(5)], 2)
    assert len(others) == 98
    (listed,) = front.client.get("/datasets").json()["data"]
    assert listed["report"]["duplicates"] == []


def test_a_faulty_range_is_passed_over(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    answer = shared_front.client.get(f"/datasets/{dataset}/report", headers={"Range": "bytes=z"})
    assert answer.status_code == 200


def test_samples_by_split_class_and_page(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    path = f"/datasets/{dataset}/samples"
    seen = pages(shared_front.client, path, split="train", limit=4)
    assert len(seen) == len({sample["id"] for sample in seen}) == 6
    assert {sample["split"] for sample in seen} == {"train"}
    right = shared_front.client.get(path, params={"label": "right", "limit": 100}).json()["data"]
    assert {sample["label"] for sample in right} == {"right"}
    assert len(right) == 12
    assert shared_front.client.get(f"{path}/{right[0]['id']}").json() == right[0]
    for query, pointer in (
        ({"label": "up"}, "?label"),
        ({"group": "x"}, "?group"),
        ({"split": "x"}, "?split"),
    ):
        answer = shared_front.client.get(path, params=query)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_an_image_is_the_file_that_was_uploaded(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    sample = shared_front.client.get(f"/datasets/{dataset}/samples").json()["data"][0]
    path = f"/datasets/{dataset}/samples/{sample['id']}/image"
    image = shared_front.client.get(path)
    assert hashlib.sha256(image.content).hexdigest() == sample["sha256"]
    assert image.headers["Content-Type"] == "image/png"
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert shared_front.client.get(path, headers={"If-None-Match": image.headers["ETag"]}).status_code == 304
    for number in (24, -1, 2**70):
        assert shared_front.client.get(f"/datasets/{dataset}/samples/{number}/image").status_code == 404
    assert shared_front.client.get(f"/datasets/{dataset}/samples/x/image").status_code == 422


def test_samples_of_a_data_set_that_is_not_ready(shared_front: Front) -> None:
    made = upload(shared_front).json()
    answer = shared_front.client.get(f"/datasets/{made['id']}/samples")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/dataset-not-ready")
    answer = shared_front.client.get(f"/datasets/{made['id']}/report")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/report-not-ready")


def test_an_unused_data_set_is_deleted_with_its_files_and_no_other(front: Front) -> None:
    busy = upload(front).json()
    refused = front.client.delete(f"/datasets/{busy['id']}")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/dataset-in-use")
    assert busy["job"] in refused.json()["detail"]
    dataset = front.dataset()
    assert front.services.artifacts.exists(f"datasets/{dataset}")
    assert front.client.delete(f"/datasets/{dataset}").status_code == 204
    assert not front.services.artifacts.exists(f"datasets/{dataset}")
    assert front.client.get(f"/datasets/{dataset}").status_code == 404
    assert front.client.delete(f"/datasets/{dataset}").status_code == 404


def test_deleting_leaves_nothing_of_an_import_that_was_killed(front: Front) -> None:
    """After its artifact was there and before its row named it; the job was given up later."""
    made = upload(front).json()
    keys = [f"datasets/{made['id']}", f"jobs/{made['job']}/work", f"uploads/{made['id']}"]
    for key in keys[:2]:
        with front.services.artifacts.writing(key) as folder:
            (folder / "file").touch()
    front.end(front.claim(), JobState.FAILED)
    assert front.client.delete(f"/datasets/{made['id']}").status_code == 204
    assert [key for key in keys if front.services.artifacts.exists(key)] == []


def test_deleting_takes_the_features_and_the_work_of_jobs_that_need_it(front: Front) -> None:
    dataset, other = front.dataset(), front.dataset()
    job = front.job(dataset_id=dataset)
    front.end(front.claim(), JobState.CANCELLED)
    kept = f"features/{other}/one-train"
    keys = [f"features/{dataset}/one-train", f"features/{dataset}/two-val", f"jobs/{job}/work", kept]
    for key in keys:
        with front.services.artifacts.writing(key) as folder:
            (folder / "file").touch()
    assert front.client.delete(f"/datasets/{dataset}").status_code == 204
    assert [key for key in keys if front.services.artifacts.exists(key)] == [kept]


def test_deleting_while_the_store_is_away_is_done_later(
    start: StartFront, stubborn: type[StubbornStore], tmp_path: Path
) -> None:
    front = start(storage_url=f"stubborn://{tmp_path.name}")
    dataset = front.dataset()
    stubborn.stuck = True
    assert front.client.delete(f"/datasets/{dataset}").status_code == 204
    assert front.client.get(f"/datasets/{dataset}").status_code == 404
    stubborn.stuck = False
    with front.services.database.begin() as session:
        assert f"datasets/{dataset}" in set(session.scalars(select(TrashRow.key)))
        session.execute(update(TrashRow).values(at=0.0))
    run_maintenance(front.services.database, front.settings)
    assert not front.services.artifacts.exists(f"datasets/{dataset}")


def test_lists_are_paged_and_conditional(front: Front) -> None:
    made = [upload(front, name=f"set {number}").json()["id"] for number in range(5)]
    assert [row["id"] for row in pages(front.client, "/datasets", limit=2)] == made[::-1]
    etag = front.client.get("/datasets").headers["ETag"]
    assert front.client.get("/datasets", headers={"If-None-Match": etag}).status_code == 304
    upload(front, name="one more")
    assert front.client.get("/datasets", headers={"If-None-Match": etag}).status_code == 200
