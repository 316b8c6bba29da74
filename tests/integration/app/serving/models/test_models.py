"""`/models`: shown, listed, deleted, downloaded, imported, judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors import safe_open
from safetensors.torch import load, save, save_file

from app.http.responses import send_pieces
from app.inference.engines import graph_store as graphs
from app.registry.weights_file import as_one_file
from core.queries import registry
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState
from models.backbones.build import build_network
from tests.integration.app.conftest import StartFront, pages, weights
from tests.integration.app.serving.conftest import CLASSES, World
from tests.support.graphs import store
from tests.support.stage_results import EVALUATION


def test_a_model_tells_all_of_the_contract(world: World) -> None:
    answer = world.client.get(f"/models/{world.model}")
    body = answer.json()
    assert (body["dataset"], body["job"], body["arm"], body["backbone"]) == (
        world.dataset,
        world.job,
        "masktune",
        "small_cnn",
    )
    assert body["classes"] == CLASSES
    assert body["erm"] == world.erm
    assert body["calibration"]["n"] == 400
    assert "artifact" not in body["calibration"]
    assert body["metrics"]["test"]["worst_group_accuracy"] == 0.8
    assert body["metrics"]["test"]["groups"] == {"a": 0.8}
    assert body["created_at"].endswith("Z")
    again = world.client.get(f"/models/{world.model}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_its_evaluations_are_told_the_one_that_rests_on_the_most_first(fresh_world: World) -> None:
    world = fresh_world
    assert world.client.get(f"/models/{world.control}").json()["evaluations"] == []
    stored = {
        "job_1": EVALUATION | {"job": None, "groups": None, "smallest_group": None, "created_at": 9.0},
        "job_2": EVALUATION | {"job": "job_2"},
    }
    with world.services.database.begin() as session:
        registry.get(session, world.model, lock=True).evaluations = stored
    evaluations = world.client.get(f"/models/{world.model}").json()["evaluations"]
    assert evaluations == [
        EVALUATION | {"job": "job_2", "created_at": "1970-01-01T00:00:01.000Z"},
        stored["job_1"] | {"created_at": "1970-01-01T00:00:09.000Z"},
    ]
    listed = world.client.get("/models", params={"arm": "masktune"}).json()["data"]
    assert [model["evaluations"] for model in listed] == [evaluations]


def test_listing_filters_and_pages(world: World) -> None:
    everything = world.client.get("/models").json()["data"]
    assert {m["id"] for m in everything} == {world.erm, world.model, world.control}
    by_arm = world.client.get("/models", params={"arm": "masktune_control"}).json()["data"]
    assert [m["id"] for m in by_arm] == [world.control]
    assert world.client.get("/models", params={"job": new_id("job")}).json()["data"] == []
    assert len(world.client.get("/models", params={"dataset": world.dataset}).json()["data"]) == 3
    assert pages(world.client, "/models", limit=1) == everything
    assert world.client.get("/models", params={"arm": "best"}).status_code == 422


def test_deleting_minds_what_points_to_it(fresh_world: World) -> None:
    world, delete = fresh_world, fresh_world.client.delete
    world.ask(model=world.control)
    assert delete(f"/models/{world.erm}").status_code == 409  # the ERM half of two
    world.client.put("/aliases/champion", json={"model": world.model})
    assert delete(f"/models/{world.model}").status_code == 409
    job = new_id("job")
    with world.services.database.begin() as session:
        fields: dict[str, Any] = {"params": {}, "inputs": {"model": world.control}}
        session.add(JobRow(id=job, kind=JobKind.EVALUATE, state=JobState.QUEUED, **fields))
    refusal = delete(f"/models/{world.control}")
    assert (refusal.status_code, refusal.json()["type"]) == (409, "/problems/model-in-use")
    assert job in refusal.json()["detail"]
    with world.services.database.begin() as session:
        session.delete(session.get_one(JobRow, job))
        key = registry.get(session, world.control).artifact
    assert delete(f"/models/{world.control}").status_code == 204
    assert not world.services.artifacts.exists(key)
    assert world.client.get("/predict", params=world.query(model=world.control)).status_code == 404
    assert world.client.get(f"/models/{world.control}").status_code == 404


def test_a_model_takes_the_checkpoints_of_its_training_with_it(fresh_world: World) -> None:
    world, artifacts = fresh_world, fresh_world.services.artifacts
    stages = {"erm": world.erm, "finetune": world.model, "control": world.control}
    keys = {stage: f"jobs/{world.job}/{stage}" for stage in stages}
    for key in (*keys.values(), f"jobs/{world.job}/work"):
        with artifacts.writing(key) as folder:
            (folder / "checkpoint").touch()
    with world.services.database.begin() as session:
        job = session.get_one(JobRow, world.job)
        job.state = JobState.FAILED
        job.done = {
            stage: {"artifact": keys[stage], "model": {"id": model}} for stage, model in stages.items()
        } | {
            "evaluate": {
                "artifact": f"jobs/{world.job}/report",
                "compared": {"masktune_control": world.control},
            }
        }
    assert world.client.delete(f"/models/{world.control}").status_code == 204
    assert [stage for stage, key in keys.items() if artifacts.exists(key)] == ["erm", "finetune"]
    assert not artifacts.exists(f"jobs/{world.job}/work"), "without the model it cannot be resumed"


def test_the_weights_come_as_they_are(world: World, tmp_path: Path) -> None:
    answer = world.client.get(f"/models/{world.model}/download")
    assert answer.headers["content-disposition"] == f'attachment; filename="{world.model}.safetensors"'
    file = tmp_path / "weights.safetensors"
    file.write_bytes(answer.content)
    with safe_open(file, "pt") as tensors:
        assert tensors.keys()
    etag = {"If-None-Match": answer.headers["etag"]}
    assert world.client.get(f"/models/{world.model}/download", headers=etag).status_code == 304
    assert world.client.get(f"/models/{world.model}/download", params={"format": "pt"}).status_code == 422


@pytest.mark.parametrize(
    ("form", "kept_under_its_id"),
    [("safetensors", "private, max-age=31536000, immutable"), ("onnx", "private, no-cache")],
)
def test_weights_are_kept_by_caches_under_their_id_and_asked_for_anew_under_an_alias(
    fresh_world: World, form: str, kept_under_its_id: str
) -> None:
    """An alias that moved would go on giving the old weights, for as long as the answer may be kept. An ONNX
    file has the thresholds of a calibration, which may be replaced."""
    world, format = fresh_world, {"format": form}
    for model in (world.model, world.control):
        store(world.services.artifacts, graphs.key(model), f"the graph of {model}".encode())
    named = world.client.get(f"/models/{world.model}/download", params=format)
    assert named.headers["cache-control"] == kept_under_its_id
    world.client.put("/aliases/prod", json={"model": world.model})
    before = world.client.get("/models/prod/download", params=format)
    kept = {"If-None-Match": before.headers["etag"]}
    unmoved = world.client.get("/models/prod/download", params=format, headers=kept)
    world.client.put("/aliases/prod", json={"model": world.control})
    moved = world.client.get("/models/prod/download", params=format, headers=kept)
    assert [answer.status_code for answer in (before, unmoved, moved)] == [200, 304, 200]
    assert {answer.headers["cache-control"] for answer in (before, unmoved, moved)} == {"private, no-cache"}
    assert moved.content != before.content


# --- import ---------------------------------------------------------------------------------------


def _send(client: TestClient, data: bytes, *, key: str | None = None, **fields: str) -> Any:
    form = {"backbone": "small_cnn", "classes": json.dumps(CLASSES), "image_size": "28"} | fields
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/models", data=form, files={"file": ("weights.safetensors", data)}, headers=headers)


def test_an_imported_model_predicts(fresh_world: World) -> None:
    world = fresh_world
    answer = _send(world.client, weights(), dataset=world.dataset)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert answer.headers["location"] == f"/models/{body['id']}"
    assert (body["arm"], body["calibration"], body["dataset"]) == ("imported", None, world.dataset)
    assert world.ask(model=body["id"])["predictions"][0]["decision"] == "answer"


def test_imported_models_share_a_backbone_and_each_is_whole_to_its_user(
    fresh_world: World, tmp_path: Path
) -> None:
    world, network = fresh_world, build_network("resnet32", classes=2, image_size=28, seed=1)
    sent, ids = [], []
    for weight in (0.0, 1.0):
        torch.nn.init.constant_(network.classifier.weight, weight)
        sent.append(
            {name: tensor.clone().contiguous() for name, tensor in network.model.state_dict().items()}
        )
        ids.append(_send(world.client, save(sent[-1]), backbone="resnet32").json()["id"])
    stored = Path(world.services.artifacts.folder(f"backbones/{ids[0]}"))
    assert [folder.name for folder in stored.parent.iterdir()] == [ids[0]]
    for id, tensors in zip(ids, sent, strict=True):
        answer = world.client.get(f"/models/{id}/download")
        assert answer.headers["content-disposition"] == f'attachment; filename="{id}.safetensors"'
        received = load(answer.content)
        assert received.keys() == tensors.keys()
        assert all(torch.equal(received[name], tensor) for name, tensor in tensors.items())
        (tmp_path / "file").write_bytes(answer.content)
        with safe_open(tmp_path / "file", "pt") as file:
            assert len(answer.content) == len(save(tensors, metadata=file.metadata()))
        assert world.ask(model=id)["predictions"][0]["decision"] == "answer"
    assert world.client.delete(f"/models/{ids[0]}").status_code == 204
    assert world.client.get(f"/models/{ids[1]}/download").status_code == 200
    assert world.client.delete(f"/models/{ids[1]}").status_code == 204
    assert not stored.exists()


@pytest.mark.parametrize("names", [("ü.bias", "ü.weight"), ("classifier",), ("a", "z")])
def test_two_files_are_sent_as_the_library_would_write_one(tmp_path: Path, names: tuple[str, ...]) -> None:
    kinds = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.uint8,
        torch.bool,
    )
    below = {f"layer.{kind}": torch.arange(9).reshape(3, 3).to(kind) for kind in kinds}
    own = {name: torch.rand(3) for name in names} | {"empty": torch.zeros(0, 2)}
    for name, tensors in (("own", own), ("below", below)):
        save_file(tensors, tmp_path / name, metadata={"format": "pt"})
    pieces = as_one_file(tmp_path / "own", tmp_path / "below")
    sent = TestClient(send_pieces(pieces, media_type="a/b", headers={"ETag": '"a"'})).get("/")
    assert sent.content == save(own | below, metadata={"format": "pt"})
    assert (int(sent.headers["content-length"]), sent.headers["etag"]) == (len(sent.content), '"a"')


def test_a_model_is_imported_into_a_store_on_another_file_system(start: StartFront, elsewhere: Path) -> None:
    front = start(storage_url=f"file://{elsewhere}/artifacts")
    answer = _send(front.client, weights())
    assert answer.status_code == 201, answer.text
    assert front.client.get(f"/models/{answer.json()['id']}/download").status_code == 200


def test_the_same_key_imports_once(fresh_world: World) -> None:
    world = fresh_world
    first = _send(world.client, weights(), key="once")
    folder = world.services.artifacts.folder(f"models/{first.json()['id']}").parent
    changed = folder.stat().st_mtime_ns
    second = _send(world.client, weights(), key="once")
    assert folder.stat().st_mtime_ns == changed, "nothing is written a second time"
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(world.client.get("/models", params={"arm": "imported"}).json()["data"]) == 1
    assert _send(world.client, weights(), key="once", classes='["a", "b"]').status_code == 422


def test_tensors_must_fit_the_backbone(world: World) -> None:
    for refusal in (
        _send(world.client, weights(classes=3)),
        _send(world.client, weights(), backbone="resnet32"),
    ):
        assert (refusal.status_code, refusal.json()["errors"][0]["code"]) == (422, "does-not-fit")
    refusal = _send(world.client, weights(), backbone="resnet99")
    (fault,) = refusal.json()["errors"]
    assert (refusal.status_code, fault["pointer"], fault["code"]) == (422, "/backbone", "unknown-backbone")
    assert world.client.get("/models", params={"arm": "imported"}).json()["data"] == []


def test_wrong_fields_have_pointers(world: World) -> None:
    file = weights()
    for fields, pointer in (
        ({"classes": "cat, dog"}, "/classes"),
        ({"classes": '["cat"]'}, "/classes"),
        ({"classes": '["cat", "cat"]'}, "/classes"),
        ({"image_size": "big"}, "/image_size"),
        ({"image_size": "4"}, "/image_size"),
        ({"colour": "red"}, "/colour"),
        ({"backbone": ""}, "/backbone"),
    ):
        refusal = _send(world.client, file, key=None, **fields)
        assert refusal.status_code == 422
        assert refusal.json()["errors"][0]["pointer"].startswith(pointer), fields


def test_another_data_sets_classes_and_another_body_are_refused(world: World) -> None:
    wrong = _send(world.client, weights(), dataset=world.dataset, classes='["up", "down"]')
    assert (wrong.status_code, wrong.json()["type"]) == (422, "/problems/model-of-another-dataset")
    assert _send(world.client, weights(), dataset=new_id("ds")).status_code == 404
    assert world.client.post("/models", json={"backbone": "small_cnn"}).status_code == 415
