"""What needs something that may be deleted, and what fills the store."""

from __future__ import annotations

from typing import Any

from core.queries import registry
from masktune.contract.ids import pattern_judge_id
from masktune.contract.vocabulary import JobKind, JobState
from tests.integration.app.conftest import Front, weights


def dependents(front: Front, of: str) -> dict[str, Any]:
    answer = front.client.get("/dependents", params={"of": of})
    assert answer.status_code == 200, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def point(front: Front, alias: str, model: str) -> None:
    with front.services.database.begin() as session:
        registry.move_alias(session, alias, model)


def test_what_needs_a_data_set_a_model_or_a_job(front: Front) -> None:
    dataset, other = front.dataset(), front.dataset()
    job = front.job(JobKind.MASK, dataset_id=dataset)
    erm = front.model(dataset, job_id=job)
    tuned, foreign = front.model(dataset, erm_id=erm), front.model(other)
    reads = front.job(JobKind.PREDICT, dataset_id=other, inputs={"model": erm})
    finetunes = front.job(JobKind.FINETUNE, dataset_id=dataset, inputs={"mask_set": job, "model": foreign})
    front.job(JobKind.IMPORT, dataset_id=dataset)  # goes with its data set
    for alias, model in (("best", tuned), ("first", erm), ("elsewhere", foreign)):
        point(front, alias, model)
    of_both = {"models": [erm, tuned], "aliases": ["best", "first"]}
    assert dependents(front, dataset) == {"of": dataset, "jobs": [job, finetunes], "datasets": [], **of_both}
    of_erm = {"of": erm, "models": [tuned], "jobs": [reads], "datasets": [], "aliases": ["best", "first"]}
    assert dependents(front, erm) == dependents(front, "first") == of_erm
    of_job = {"of": job, "models": [erm], "jobs": [finetunes], "datasets": [], "aliases": ["first"]}
    assert dependents(front, job) == of_job
    for unknown in ("nobody", "ds_1", "job_1"):
        assert front.client.get("/dependents", params={"of": unknown}).status_code == 404


def test_what_fills_the_store_and_what_may_go(front: Front) -> None:
    dataset = front.dataset()
    upload = {"backbone": "small_cnn", "classes": '["left", "right"]', "image_size": "28"}
    file = {"file": ("w.safetensors", weights())}
    imported = front.client.post("/models", data=upload, files=file).json()
    job = front.job(dataset_id=dataset)
    front.end(front.claim(), JobState.FAILED)
    erm = front.model(dataset)
    named, spare = front.model(dataset, erm_id=erm), front.model(dataset)
    point(front, "best", named)
    sizes = {f"jobs/{job}/work": 5_000_000, f"features/{dataset}/one-train": 300, f"exports/{named}": 20}
    sizes |= {f"models/{erm}": 1, f"models/{named}": 2, f"models/{spare}": 40, f"backbones/{erm}": 700}
    sizes |= {f"pattern_judges/{pattern_judge_id(job)}": 9}
    for key, size in sizes.items():
        with front.services.artifacts.writing(key) as folder:
            (folder / "file").write_bytes(bytes(size))
    stored = front.client.get("/storage").json()
    images = front.services.artifacts.size(f"datasets/{dataset}")
    assert imported["occupies"] == front.services.artifacts.size(f"models/{imported['id']}") > 0
    assert stored["kinds"] == {
        "jobs": 5_000_000,
        "datasets": images,
        "models": 43 + imported["occupies"],
        "backbones": 700,
        "features": 300,
        "exports": 20,
        "pattern_judges": 9,
    }
    owners = {job: 5_000_000, dataset: images + 300, imported["id"]: imported["occupies"], named: 22}
    assert stored["largest"] == owners | {spare: 40, erm: 1}
    assert next(iter(stored["largest"])) == job
    assert stored["removable"] == {"resumable_jobs": 5_000_000, "unnamed_models": 40, "caches": 320}
    assert stored["free"] > 0
