"""What version 0.1.0 left behind is read, served and gone on with by this one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from core.queries import jobs, registry
from core.tables import JobRow
from models.export import load_model
from models.masking.store import MaskSet
from models.training.checkpoints import Checkpoint, weights_digest
from tests.integration.worker.inline import run_inline
from tests.upgrade.conftest import Old
from worker.runtime import Runtime
from worker.supervisor.sweeper import sweep_once

pytestmark = pytest.mark.slow

STATES = {"failed": "failed", "cancelled": "cancelled"}
"""Of the jobs that did not succeed; `running` and `queued` are gone on with."""
REPORTED = ("masktune", "inferred", "given", "undivided", "evaluate")


@pytest.fixture(scope="module")
def runtime(old: Old) -> Iterator[Runtime]:
    """A worker's connections, whose jobs run in this process."""
    opened = Runtime.open(old.front.settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield opened
    torch.set_num_threads(threads)
    opened.close()


def row(old: Old, part: str) -> JobRow:
    with old.front.services.database.read() as session:
        return jobs.get(session, old.facts["jobs"][part])


def folder(old: Old, key: str) -> Path:
    return old.front.services.artifacts.folder(key)


def test_no_row_is_lost(old: Old) -> None:
    assert {table: old.kept[table] for table in old.rows} == old.rows
    assert old.rows["idempotency"] == 1
    assert old.rows["served"] > 0


def test_data_sets_are_read(old: Old) -> None:
    ready, invalid = (old.get(f"/datasets/{old.facts[name]}") for name in ("dataset", "invalid_dataset"))
    assert (ready["state"], invalid["state"]) == ("ready", "invalid")
    assert sum(ready["splits"].values()) == ready["report"]["count"] == 160
    assert len(ready["groups"]) == 4
    assert invalid["report"]["problems"]
    assert [found["id"] for found in old.get("/datasets")["data"]] == [invalid["id"], ready["id"]]
    for dataset in (ready, invalid):
        assert old.get(f"/datasets/{dataset['id']}/report")
    sample = old.get(f"/datasets/{ready['id']}/samples", split="test")["data"][0]
    assert old.get(f"/datasets/{ready['id']}/samples/{sample['id']}") == sample
    image = old.get(f"/datasets/{ready['id']}/samples/{sample['id']}/image")
    assert image.content.startswith(b"\x89PNG")


def test_jobs_and_their_events_are_read(old: Old) -> None:
    listed = {job["id"]: job for job in old.get("/jobs", limit=100)["data"]}
    assert len(listed) == old.rows["jobs"]
    for part, id in old.facts["jobs"].items():
        job = old.get(f"/jobs/{id}")
        if part not in ("running", "queued"):
            assert job == listed[id]
            assert job["state"] == STATES.get(part, "succeeded")
        assert (job["error"] is not None) == (part == "failed")
        told = old.get(f"/jobs/{id}/events")["data"]
        assert told[0]["data"]["state"] == "queued"
        messages = [event["data"]["message"] for event in told if event["type"] == "log"]
        assert len(messages) == (part == "undivided")


def test_models_and_aliases_are_read(old: Old) -> None:
    models = {model["id"]: model for model in old.get("/models", limit=100)["data"]}
    assert len(models) == old.rows["models"]
    for id, model in models.items():
        assert old.get(f"/models/{id}") == model
        assert len(old.get(f"/models/{id}/download").content) > 100_000
        if model["calibration"] is not None:
            assert old.get(f"/models/{id}/risk-coverage")["points"]
            assert old.get(f"/models/{id}/drift")
    arms = {model["arm"] for model in models.values()}
    assert arms == {"erm", "masktune", "masktune_control", "retrained", "retrained_control", "imported"}
    for arm in ("erm", "masktune", "masktune_control"):
        assert models[old.model(arm)]["arm"] == arm
    for arm in arms:
        filtered = {model["id"] for model in old.get("/models", arm=arm)["data"]}
        assert filtered == {id for id, model in models.items() if model["arm"] == arm}
    erm, masktune = old.model("erm"), old.model("masktune")
    (alias,) = old.get("/aliases")["data"]
    assert (alias["name"], alias["model"], alias["version"]) == ("best", masktune, 3)
    moves = old.get("/aliases/best")["history"]
    assert [(move["version"], move["model"]) for move in moves] == [(3, masktune), (2, erm), (1, masktune)]


ARMS = {
    "masktune": ("erm", "masktune", "masktune_control"),
    "inferred": ("erm", "retrained", "retrained_control"),
    "given": ("erm", "retrained"),
    "undivided": ("erm", "retrained"),
    "evaluate": ("erm", "masktune"),
}


@pytest.mark.parametrize("part", REPORTED)
def test_arms_and_groups_have_the_words_of_today(old: Old, part: str) -> None:
    """Wherever a job names them: models, figures, events, parameters, report."""
    job, report = (old.get(f"/jobs/{old.facts['jobs'][part]}{rest}") for rest in ("", "/report"))
    arms = set(ARMS[part])
    assert job["metrics"].keys() == report["models"].keys() == report["metrics"]["test"].keys() == arms
    trained = {"masktune": arms, "evaluate": set()}.get(part, arms - {"erm"})
    assert job["models"].keys() == row(old, part).inputs.get("model_ids", {}).keys() == trained
    for arm, id in job["models"].items():
        assert old.get(f"/models/{id}")["arm"] == arm
    (told,) = [
        e["data"] for e in old.get(f"/jobs/{job['id']}/events", limit=100)["data"] if e["type"] == "metrics"
    ]
    assert told == job["metrics"]
    if part == "given":
        assert (job["params"]["groups"], report["groups"]["source"]) == ("labels", "labels")
    assert ("control" in str(report["verdict"]["b"])) == (part in ("masktune", "inferred"))


@pytest.mark.parametrize("part", REPORTED)
def test_reports_are_read(old: Old, part: str) -> None:
    path = f"/jobs/{old.facts['jobs'][part]}/report"
    report = old.get(path)
    if part == "masktune":
        figures = report["metrics"]["test"]
        accuracy = {old.model(arm): told["accuracy"] for arm, told in figures.items()}
        assert accuracy == {id: old.facts["accuracy"][arm] for arm, id in old.facts["models"].items()}
    headers = {"Authorization": f"Bearer {old.facts['operator']}", "Accept": "text/html"}
    page = old.front.client.get(path, headers=headers)
    assert page.status_code == 200
    assert page.text.rstrip().endswith("</html>")


def test_the_predictions_of_a_job_are_read(old: Old) -> None:
    packed = old.get(f"/jobs/{old.facts['jobs']['predict']}/predictions").content
    assert pq.read_table(io.BytesIO(packed)).num_rows == 20


def test_keys_that_were_given_out_are_known(old: Old) -> None:
    line, revoked = (old.facts["keys"][name] for name in ("line 1", "revoked"))
    assert old.get("/keys/self", key=line["secret"])["scopes"] == ["predict", "read"]
    headers = {"Authorization": f"Bearer {revoked['secret']}"}
    assert old.front.client.get("/keys/self", headers=headers).status_code == 401
    assert {key["id"] for key in old.get("/keys")["data"]} == {line["id"], revoked["id"]}


def test_a_model_answers_as_before_under_a_certified_policy(old: Old) -> None:
    where = f"/datasets/{old.facts['dataset']}/samples"
    for told in old.facts["answers"]:
        image = old.get(f"{where}/{told['sample']}/image").content
        query = {"model": "best"} | old.facts["policy"]
        answer = old.post("/predict", params=query, files={"file": ("image.png", image)})
        assert answer["selection"]["status"] == "certified"
        (found,), before = answer["predictions"], told["answer"]
        assert (found["label"], found["decision"]) == (before["label"], before["decision"])
        assert found["score"] == pytest.approx(before["score"], abs=1e-5)


def test_weights_checkpoints_and_mask_sets_are_opened(old: Old) -> None:
    done = row(old, "masktune").done
    trained = {"erm": "erm", "masktune": "finetune", "masktune_control": "control"}
    for arm, stage in trained.items():
        network, card = load_model(folder(old, f"models/{old.model(arm)}"))
        assert card.arm == arm
        assert weights_digest(network.model) == done[stage]["figures"]["weights"]
        (file,) = folder(old, done[stage]["artifact"]).glob("*.pt")
        assert Checkpoint.read(file).weights.keys() == network.model.state_dict().keys()
    for job in (row(old, "masktune"), row(old, "mask")):
        assert len(MaskSet.open(folder(old, job.done["mask"]["artifact"])).rows) == 80
    with old.front.services.database.read() as session:
        imported = registry.get(session, old.facts["imported_model"])
    assert load_model(folder(old, imported.artifact))


@pytest.fixture(scope="package")
def weights() -> dict[str, str]:
    """Stage → digest of the weights that the running job ended with, as it was stored first."""
    return {}


def test_jobs_are_gone_on_with(old: Old, runtime: Runtime, weights: dict[str, str]) -> None:
    """The one that was running goes on after its first epoch, the others are begun, resumed or started."""
    ids = old.facts["jobs"]
    sweep_once(runtime)
    resumed = old.post(f"/jobs/{ids['cancelled']}/resume")["id"]
    finetuned = old.post("/jobs/finetune", json={"mask_set": ids["mask"]})["id"]
    while run_inline(runtime):
        pass
    for id, attempt in {ids["running"]: 2, ids["queued"]: 1, resumed: 1, finetuned: 1}.items():
        job = old.get(f"/jobs/{id}")
        assert (job["state"], job["error"], job["attempt"]) == ("succeeded", None, attempt)
    assert epochs(old, ids["running"]) == [1, 2, 2, 3]
    done = row(old, "running").done
    for stage in ("erm", "finetune", "control"):
        assert (
            weights.setdefault(stage, done[stage]["figures"]["weights"]) == done[stage]["figures"]["weights"]
        )
    report = old.get(f"/jobs/{ids['running']}/report")
    assert report["metrics"]["test"].keys() == {"erm", "masktune", "masktune_control"}


def epochs(old: Old, job: str) -> list[int]:
    """The epochs of ERM that either version told of."""
    told: list[dict[str, Any]] = old.get(f"/jobs/{job}/events", limit=100)["data"]
    whole = [e["data"] for e in told if e["type"] == "progress" and e["data"]["step"] == 0]
    return [progress["epoch"] for progress in whole if progress["epochs"] == 3]
