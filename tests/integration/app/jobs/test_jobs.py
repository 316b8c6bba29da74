"""Jobs: what is checked before one is queued, and what can be done with it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.tables import DatasetRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState, Stage
from tests.integration.app.conftest import Front


def start(front: Front, kind: str, **body: Any) -> Any:
    return front.client.post(f"/jobs/{kind}", json=body)


def refused(answer: Any, status: int, code: str, pointer: str | None = None) -> None:
    body = answer.json()
    assert (answer.status_code, body["type"]) == (status, f"/problems/{code}"), body
    if pointer is not None:
        assert [error["pointer"] for error in body["errors"]] == [pointer]


def inputs_of(front: Front, job: dict[str, Any]) -> dict[str, Any]:
    """What a job's row says that it reads and makes."""
    with front.services.database.read() as session:
        return session.get_one(JobRow, job["id"]).inputs


def test_a_masktune_job_is_resolved_in_full(front: Front) -> None:
    dataset = front.dataset()
    request = {"dataset": dataset, "preset": "biased_mnist", "epochs": 3, "masking": {"sigmas": 1}}
    answer = start(front, "masktune", **request)
    body = answer.json()
    assert answer.status_code == 202, body
    assert body["request"] == request
    assert answer.headers["Location"] == f"/jobs/{body['id']}"
    assert front.client.get(answer.headers["Location"]).json() == body
    assert (body["state"], body["dataset"], body["attempt"]) == ("queued", dataset, 0)
    params = body["params"]
    assert (params["epochs"], params["batch_size"], params["masking"]["sigmas"]) == (3, 128, 1.0)
    assert params["optimizer"]["momentum"] == 0.9
    assert body["queued_at"].endswith("Z")
    assert body["ended_at"] is None
    assert inputs_of(front, body)["dataset"] == dataset
    uncontrolled = start(front, "masktune", dataset=dataset, control=False)
    for made, arms in (
        (answer, {"erm", "masktune", "masktune_control"}),
        (uncontrolled, {"erm", "masktune"}),
        (start(front, "erm", dataset=dataset), {"erm"}),
    ):
        assert set(inputs_of(front, made.json())["model_ids"]) == arms


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 3}, "/epoch"),
    ({"epochs": 0}, "/epochs"),
    ({"epochs": "3"}, "/epochs"),
    ({"epochs": 3.5}, "/epochs"),
    ({"gpus": 1}, "/gpus"),  # of 0.1.0
    ({"seed": 2**63}, "/seed"),
    ({"optimizer": {"nme": "sgd"}}, "/optimizer/nme"),
    ({"optimizer": {"nesterov": True, "momentum": 0}}, "/optimizer/nesterov"),
    ({"schedule": {"milestones": [5, 1]}}, "/schedule/milestones"),
    ({"preset": "nothing"}, "/preset"),
    ({"masking": {"sigmas": 1}}, "/masking"),
    ({"backbone": ""}, "/backbone"),
    ({"augmentation": "twirl"}, "/augmentation"),
]


def test_faulty_fields(front: Front) -> None:
    dataset = front.dataset()
    for fields, pointer in FAULTY:
        refused(start(front, "erm", dataset=dataset, **fields), 422, "invalid-input", pointer)
    for fields, meant in (({"epoch": 3}, "epochs"), ({"optimizer": {"nme": "sgd"}}, "name")):
        assert f"did you mean {meant}?" in start(front, "erm", dataset=dataset, **fields).json()["detail"]
    assert front.client.get("/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("kind", "field", "name", "found_by"),
    [
        (
            "erm",
            "dataset",
            "my birds",
            "an id (ds_…), not a name; GET /datasets?name=my%20birds finds the id",
        ),
        ("erm", "dataset", "b" * 40, "finds the id"),
        ("evaluate", "job", "monday", "an id (job_…), not a name; GET /jobs?name=monday finds the id"),
        (
            "evaluate",
            "model",
            "the best",
            "an id (mdl_… or an alias), not a name; GET /models?name=the%20best",
        ),
    ],
)
def test_a_name_in_place_of_an_id(
    shared_front: Front, kind: str, field: str, name: str, found_by: str
) -> None:
    answer = start(shared_front, kind, **{field: name})
    refused(answer, 422, "invalid-input", f"/{field}")
    assert found_by in answer.json()["errors"][0]["detail"]


def test_a_name_in_place_of_an_alias(shared_front: Front) -> None:
    answer = start(shared_front, "evaluate", model="birds")
    refused(answer, 404, "not-found")
    assert "GET /models?name=NAME finds the id of a name" in answer.json()["detail"]


def test_names_that_only_the_learning_knows(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    answer = start(shared_front, "masktune", dataset=dataset, backbone="resnet5O")
    refused(answer, 422, "invalid-input", "/backbone")
    assert "resnet50" in answer.json()["detail"]
    answer = start(shared_front, "masktune", dataset=dataset, masking={"method": "xgradcm"})
    refused(answer, 422, "invalid-input", "/masking/method")
    for fields in (
        {"backbone": "timm/resnet50"},
        {"backbone": "resnet18"},
        {"masking": {"method": "layercam"}},
    ):
        assert start(shared_front, "masktune", dataset=dataset, **fields).status_code == 202
    refused(
        start(shared_front, "erm", dataset=dataset, backbone="torchvision/small_cnn"),
        422,
        "invalid-input",
        "/backbone",
    )


def test_data_sets_that_cannot_be_used(shared_front: Front) -> None:
    refused(start(shared_front, "erm", dataset=new_id("ds")), 404, "not-found")
    refused(start(shared_front, "erm", dataset="ds_\0"), 422, "invalid-input", "/dataset")
    importing = shared_front.client.post("/datasets", json={"name": "d", "source": "builtin:digits"}).json()[
        "id"
    ]
    refused(start(shared_front, "erm", dataset=importing), 409, "dataset-not-ready")


def test_starting_from_one_of_our_models(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    model = shared_front.model(dataset)
    for other in ({"backbone": "small_cnn"}, {"preset": "biased_mnist"}):
        asked = start(shared_front, "erm", dataset=dataset, pretrained=model, **other)
        refused(asked, 422, "invalid-input", "/pretrained")
    refused(start(shared_front, "erm", dataset=dataset, pretrained=new_id("mdl")), 404, "not-found")
    params = start(shared_front, "erm", dataset=dataset, pretrained=model).json()["params"]
    assert (params["pretrained"], params["backbone"], params["image_size"]) == (model, "resnet32", 32)
    params = start(shared_front, "erm", dataset=dataset, pretrained=model, image_size=48).json()["params"]
    assert params["image_size"] == 48


def test_a_backbone_of_a_library_gets_images_that_it_can_see(shared_front: Front) -> None:
    """The data set's own, of 28 pixels, are one position for it: the job would fail."""
    params = start(shared_front, "erm", dataset=shared_front.dataset(), backbone="resnet18").json()["params"]
    assert params["image_size"] == 224
    params = start(
        shared_front, "erm", dataset=shared_front.dataset(), preset="waterbirds", image_size=96
    ).json()["params"]
    assert (params["backbone"], params["image_size"]) == ("torchvision/resnet50", 96)


def test_a_mask_job_takes_what_the_model_is(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    body = start(shared_front, "mask", model=shared_front.model(dataset), preset="celeba").json()
    assert body["dataset"] == dataset
    assert (body["params"]["backbone"], body["params"]["image_size"]) == ("resnet32", 32)
    refused(start(shared_front, "mask", model=shared_front.model(None)), 422, "invalid-input", "/dataset")
    refused(start(shared_front, "mask"), 422, "invalid-input", "/model")


def test_a_model_of_another_data_set(shared_front: Front) -> None:
    dataset, other = shared_front.dataset(), shared_front.dataset(classes=["up", "down"])
    model = shared_front.model(dataset)
    for kind in ("mask", "evaluate", "predict"):
        refused(start(shared_front, kind, model=model, dataset=other), 422, "model-of-another-dataset")
        refused(start(shared_front, kind, model="nobody"), 404, "not-found")
        assert start(shared_front, kind, model=model, dataset=dataset).status_code == 202


def test_a_finetune_takes_a_mask_set(front: Front) -> None:
    dataset = front.dataset()
    model = front.model(dataset)
    mask = start(front, "mask", model=model, masking={"sigmas": 1}).json()
    refused(start(front, "finetune", mask_set=mask["id"]), 422, "invalid-input", "/mask_set")
    lease = front.claim()
    front.finish_stage(lease, Stage.MASK, artifact=f"jobs/{mask['id']}/mask")
    front.end(lease)
    body = start(front, "finetune", mask_set=mask["id"], finetune={"epochs": 2}).json()
    assert body["inputs"] == {"mask_set": mask["id"], "model": model, "image_answers": None}
    assert (body["params"]["finetune"]["epochs"], body["params"]["masking"]["sigmas"]) == (2, 1.0)
    refused(start(front, "finetune", mask_set=new_id("job")), 404, "not-found")
    refused(start(front, "finetune", mask_set=front.job()), 422, "invalid-input", "/mask_set")


def masked(front: Front, *, done: dict[str, Any] | None = None, **body: Any) -> str:
    """A mask job that has succeeded; `done` are further results of its stage."""
    made = start(front, "mask", **body)
    assert made.status_code == 202, made.json()
    mask: str = made.json()["id"]
    lease = front.claim()
    while lease.job_id != mask:  # what made the model
        front.end(lease)
        lease = front.claim()
    front.finish_stage(lease, Stage.MASK, artifact=f"jobs/{mask}/mask", **(done or {}))
    front.end(lease)
    return mask


def trained(front: Front, dataset: str, **fields: Any) -> str:
    """A model with a training."""
    made = start(front, "erm", dataset=dataset, backbone="resnet32", image_size=32, **fields)
    assert made.status_code == 202, made.json()
    return front.model(dataset, job_id=made.json()["id"])


def test_a_model_of_a_frozen_backbone_is_masked_and_tuned(front: Front) -> None:
    dataset = front.dataset()
    model = trained(front, dataset, pretrained=front.model(dataset), freeze_backbone=True)
    mask = masked(front, model=model)
    body = start(front, "finetune", mask_set=mask).json()
    assert body["params"]["freeze_backbone"] is True, body
    assert body["params"]["pretrained"] == model


def test_one_iteration_is_masked_by_the_set_that_is_given(front: Front) -> None:
    set_by = {"method": "gradcam", "target": "label", "sigmas": 1.5, "share": 0.1, "crop": "centre"}
    mask = masked(front, model=front.model(front.dataset()), masking=set_by)
    asked: dict[str, Any] = {"mask_set": mask, "preset": "celeba", "masking": {"fill": "blur"}}
    params = start(front, "finetune", **asked).json()["params"]
    assert {name: params["masking"][name] for name in set_by} == set_by
    assert params["masking"]["fill"] == "blur"
    other: dict[str, Any] = {"method": "random", "target": "predicted", "sigmas": 1.0, "crop": "none"}
    for name, value in (other | {"share": None}).items():
        asked = {"mask_set": mask, "masking": {name: value}}
        refused(start(front, "finetune", **asked), 422, "invalid-input", f"/masking/{name}")
        assert start(front, "finetune", mask_set=mask, masking={name: set_by[name]}).status_code == 202
        more = start(front, "finetune", mask_set=mask, masking={name: value, "iterations": 2}).json()
        assert more["params"]["masking"][name] == value, more


def test_a_finetune_has_the_threshold_that_was_chosen_for_its_masks(front: Front) -> None:
    model = front.model(front.dataset())
    mask = masked(front, model=model, masking={"sigmas": "auto"}, done={"sigmas": {"sigmas": 0.5}})
    options: list[dict[str, Any]] = [{}, {"sigmas": "auto"}, {"iterations": 2}]
    for masking in options:
        body = start(front, "finetune", mask_set=mask, masking=masking).json()
        assert body["params"]["masking"]["sigmas"] == 0.5, masking


def test_a_finetune_goes_on_with_the_optimizer_that_there_is(front: Front) -> None:
    dataset = front.dataset()
    model = trained(front, dataset)
    mask = masked(front, model=model)
    answer = start(front, "finetune", mask_set=mask, preset="cats_vs_dogs")
    refused(answer, 422, "invalid-input", "/preset")
    assert "adam" in answer.json()["detail"]
    named = masked(front, model=model, preset="cats_vs_dogs")
    refused(start(front, "finetune", mask_set=named), 422, "invalid-input", "/mask_set")
    assert start(front, "finetune", mask_set=mask, preset="celeba").status_code == 202
    fresh = masked(front, model=front.model(dataset))  # has no state to go on with
    assert start(front, "finetune", mask_set=fresh, preset="cats_vs_dogs").status_code == 202


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"coverage": 0.9, "min_score": 0.5}, "/"),
        ({"risk_confidence": 0.9}, "/"),
        ({"coverage": 0}, "/coverage"),
        ({"max_risk": 1}, "/max_risk"),
        ({"max_risk": 0.1, "risk_confidence": 0.4}, "/risk_confidence"),
        ({"coverage": 0.9, "max_missed": 0.5}, "/"),
        ({"set_coverage": 0.9, "risk_confidence": 0.9}, "/"),
        ({"max_class_risk": 0}, "/max_class_risk"),
        ({"set_coverage": 1}, "/set_coverage"),
        ({"coverage": 0.9}, "/coverage"),  # the model has no calibration
        ({"max_class_risk": 0.1, "max_missed": 0.1}, "/max_class_risk"),
        ({"set_coverage": 0.9}, "/set_coverage"),
        ({"score": "product"}, "/score"),  # the model has no ERM model
        ({"explain": True, "method": "random"}, "/method"),
        ({"output": "xlsx"}, "/output"),
        ({"split": "every"}, "/split"),
        ({"order": "path"}, "/order"),
        ({"top_k": 0}, "/top_k"),
    ],
)
def test_policies_that_cannot_be_kept(shared_front: Front, fields: dict[str, Any], pointer: str) -> None:
    model = shared_front.model(shared_front.dataset())
    refused(start(shared_front, "predict", model=model, **fields), 422, "invalid-input", pointer)


def test_an_empty_split(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    with shared_front.services.database.begin() as session:
        row = session.get_one(DatasetRow, dataset)
        row.summary = row.summary | {
            "splits": {k: v for k, v in row.summary["splits"].items() if k != "test"}
        }
    model = shared_front.model(dataset)
    refused(start(shared_front, "evaluate", model=model), 422, "invalid-input", "/splits")
    refused(start(shared_front, "predict", model=model), 422, "invalid-input", "/split")
    assert start(shared_front, "evaluate", model=model, splits=["val"]).json()["params"]["splits"] == ["val"]


def test_cancelling_and_resuming(front: Front) -> None:
    job = front.job()
    path = f"/jobs/{job}"
    refused(front.client.post(f"{path}/resume"), 409, "job-not-resumable")
    assert front.client.post(f"{path}/cancel").json()["state"] == "cancelled"
    refused(front.client.post(f"{path}/cancel"), 409, "job-ended")
    resumed = front.client.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["state"], resumed.json()["ended_at"]) == (202, "queued", None)
    lease = front.claim()
    assert front.client.post(f"{path}/cancel").json()["state"] == "cancelling"
    assert front.client.post(f"{path}/cancel").status_code in (202, 409)
    front.end(lease, JobState.CANCELLED)
    body = front.client.get(path).json()
    assert body["state"] == "cancelled"
    assert None not in (body["started_at"], body["cancelling_at"], body["ended_at"])
    for verb in ("cancel", "resume"):
        refused(front.client.post(f"/jobs/{new_id('job')}/{verb}"), 404, "not-found")


def test_a_job_that_has_ended_is_deleted_with_its_files_and_its_model_stays(front: Front) -> None:
    dataset = front.dataset()
    job, other = (start(front, "erm", dataset=dataset).json()["id"] for _ in range(2))
    model = front.model(dataset, job_id=job)
    keys = [f"jobs/{job}/erm", f"jobs/{job}/report", f"jobs/{other}/erm"]
    for key in keys:
        with front.services.artifacts.writing(key) as folder:
            (folder / "file").touch()
    refused(front.client.delete(f"/jobs/{job}"), 409, "conflict")
    front.end(front.claim())
    assert front.client.delete(f"/jobs/{job}").status_code == 204
    assert [key for key in keys if front.services.artifacts.exists(key)] == keys[2:]
    refused(front.client.get(f"/jobs/{job}"), 404, "not-found")
    refused(front.client.delete(f"/jobs/{job}"), 404, "not-found")
    assert front.client.get(f"/models/{model}").json()["job"] is None
    mask = start(front, "mask", model=model).json()
    assert mask["params"]["pretrained"] == model, mask


def test_an_etag_holds_until_the_job_changes(front: Front) -> None:
    job = front.job()
    etag = front.client.get(f"/jobs/{job}").headers["ETag"]
    asking = {"If-None-Match": etag}
    assert front.client.get(f"/jobs/{job}", headers=asking).status_code == 304
    front.claim()
    changed = front.client.get(f"/jobs/{job}", headers=asking)
    assert (changed.status_code, changed.json()["state"]) == (200, "running")


def test_the_pictures_of_a_report(front: Front) -> None:
    job = front.job(JobKind.EVALUATE)
    path = f"/jobs/{job}/report/pictures/7-erm-mask_outline.png"
    refused(front.client.get(path), 409, "report-not-ready")
    lease = front.claim()
    key = f"jobs/{job}/report"
    with front.services.artifacts.writing(key) as folder:
        (folder / "7-erm-mask_outline.png").write_bytes(b"pixels")
        (folder / "report.json").write_text("{}")
    front.finish_stage(lease, Stage.EVALUATE, artifact=key)
    sent = front.client.get(path)
    assert (sent.content, sent.headers["content-type"]) == (b"pixels", "image/png")
    assert front.client.get(path, headers={"If-None-Match": sent.headers["ETag"]}).status_code == 304
    refused(front.client.get(f"/jobs/{job}/report/pictures/8-image.png"), 404, "not-found")
    for name in ("report.json", "..%2freport.json", ".png"):
        assert front.client.get(f"/jobs/{job}/report/pictures/{name}").status_code in (404, 422)


def test_the_file_of_a_predict_job(front: Front) -> None:
    job = front.job(JobKind.PREDICT)
    path = f"/jobs/{job}/predictions"
    refused(front.client.get(path), 409, "report-not-ready")
    lease = front.claim()
    key = f"jobs/{job}/predictions"
    with front.services.artifacts.writing(key) as folder:
        (folder / "predictions.csv").write_text("sample,label\n0,left\n")
    front.finish_stage(lease, Stage.PREDICT, artifact=key, file="predictions.csv", rows=1)
    front.end(lease)
    answer = front.client.get(path)
    assert answer.text == "sample,label\n0,left\n"
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert f'filename="{job}.csv"' in answer.headers["Content-Disposition"]
    assert front.client.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert front.client.get(f"/jobs/{job}").json()["links"]["predictions"] == path
    refused(front.client.get(f"/jobs/{front.job()}/predictions"), 404, "not-found")


def test_the_rows_of_a_predict_job(front: Front) -> None:
    job = front.job(JobKind.PREDICT)
    path = f"/jobs/{job}/predictions/rows"
    refused(front.client.get(path), 409, "report-not-ready")
    assert front.client.get(f"/jobs/{job}").json()["counts"] is None
    lease = front.claim()
    key = f"jobs/{job}/predictions"
    rows = [{"row": n, "path": f"{n}.png", "label": "left", "predicted": "left"} for n in range(3)]
    rows = [row | {"decision": "answer", "score": 0.9 - 0.1 * n} for n, row in enumerate(rows)]
    with front.services.artifacts.writing(key) as folder:
        pq.write_table(pa.Table.from_pylist(rows), folder / "predictions.parquet")
    counts = {"rows": 3, "answered": 3, "abstained": 0, "unreadable": 0, "labels": {"left": 3}}
    counts |= {"abstain_reasons": {}}
    front.finish_stage(lease, Stage.PREDICT, artifact=key, file="predictions.parquet", **counts)
    counts |= {"coverage": 1.0, "drift": None}
    front.end(lease)
    described = front.client.get(f"/jobs/{job}").json()
    assert (described["counts"], described["links"]["prediction_rows"]) == (counts, path)
    page = front.client.get(path, params={"sort": "least_sure", "limit": 2, "decision": "answer"}).json()
    assert [row["row"] for row in page["data"]] == [2, 1]
    rest = front.client.get(path, params={"sort": "least_sure", "cursor": page["next_cursor"]}).json()
    assert ([row["row"] for row in rest["data"]], rest["next_cursor"]) == ([0], None)
    for bad in ({"decision": "maybe"}, {"min_score": 2}, {"sort": "path"}, {"cursor": "x"}, {"limit": 0}):
        assert front.client.get(path, params=bad).status_code == 422
    refused(front.client.get(f"/jobs/{front.job()}/predictions/rows"), 404, "not-found")


def test_every_image_is_predicted_without_a_split(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    model = shared_front.model(dataset)
    planned = shared_front.client.post(
        "/jobs/predict", params={"dry_run": True}, json={"model": model, "split": "all", "top_k": 3}
    ).json()
    assert (planned["params"]["split"], planned["params"]["order"]) == ("all", "stored")
    assert planned["params"]["top_k"] == 3


def test_presets_are_listed(shared_front: Front) -> None:
    names = [preset["name"] for preset in shared_front.client.get("/presets").json()["data"]]
    assert "biased_mnist" in names
    assert shared_front.client.get("/presets/biased_mnist").json()["params"]["backbone"] == "small_cnn"
    refused(shared_front.client.get("/presets/nothing"), 404, "not-found")
