"""A service that was restored from a backup answers as the one that was saved."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.backup import restore, save
from tests.integration.app.conftest import LOCAL
from tests.integration.app.serving.conftest import World, picture
from tests.support.databases import postgres_database


def answers(client: TestClient, world: World) -> list[Any]:
    """Predictions with and without the reject option, the map, the models, the samples."""
    asked = [
        client.get("/predict", params=world.query(coverage=0.5, explain=True)),
        client.get("/predict", params=world.query(max_risk=0.5, risk_confidence=0.9, sample=3)),
        client.get("/predict", params=world.query(model="best")),
        client.get(f"/models/{world.model}"),
        client.get(f"/jobs/{world.job}"),
        client.get(f"/datasets/{world.dataset}/samples", params={"split": "test"}),
    ]
    assert [answer.status_code for answer in asked] == [200] * len(asked)
    return [answer.json() for answer in asked]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_service_answers_the_same(fresh_world: World, kind: str, tmp_path: Path) -> None:
    assert fresh_world.client.put("/aliases/best", json={"model": fresh_world.model}).status_code in (
        200,
        201,
    )
    before = answers(fresh_world.client, fresh_world)
    services = fresh_world.services
    save(services.settings.database, services.artifacts, tmp_path / "backup")
    with ExitStack() as stack:
        url = stack.enter_context(postgres_database()) if kind == "postgresql" else ""
        settings = Settings(data_dir=tmp_path / "restored", database_url=url, threads=1)
        restored = create_app(settings)
        artifacts = Artifacts(settings.storage, cache=tmp_path / "cache")
        restore(tmp_path / "backup", settings.database, artifacts)
        client = stack.enter_context(TestClient(restored, LOCAL))
        assert answers(client, fresh_world) == before


@pytest.mark.parametrize("included", [False, True])
def test_images_of_review_queues_and_their_subjects_are_in_a_backup_that_asks_for_them(
    fresh_world: World, included: bool, tmp_path: Path
) -> None:
    services = fresh_world.services
    policy = {"enabled": True, "max_risk": 0.05, "audit_share": 1}
    assert fresh_world.client.put(f"/models/{fresh_world.model}/review-policy", json=policy).is_success
    assert fresh_world.post(picture(0), min_score=1, subject="patient 7").is_success
    assert fresh_world.post(picture(1), max_risk=0.05, subject="patient 8").is_success
    services.predictions.spool.fill()
    items = fresh_world.client.get("/reviews").json()["data"]
    assert {item["kind"]: item["subject"] for item in items} == {
        "abstained": "patient 7",
        "audit": "patient 8",
    }
    save(services.settings.database, services.artifacts, tmp_path / "backup", review_images=included)
    files = [file for file in (tmp_path / "backup").rglob("*") if file.is_file()]
    assert any(b"patient" in file.read_bytes() for file in files) == included
    settings = Settings(data_dir=tmp_path / "restored", threads=1)
    restored = create_app(settings)
    restore(tmp_path / "backup", settings.database, Artifacts(settings.storage, cache=tmp_path / "cache"))
    gone = {} if included else {"state": "deleted", "subject": None, "bytes": None}
    with TestClient(restored, LOCAL) as client:
        restored_items = client.get("/reviews").json()["data"]
        for item in [*items, *restored_items]:
            del item["prediction"]  # of the audit sample it is hidden while the image waits
        assert restored_items == [item | gone for item in items]
        for item in items:
            image = client.get(f"/reviews/{item['id']}/image")
            assert image.is_success if included else image.status_code == 404
        # Nobody is handed an image that is not there.
        assert client.post("/reviews/next").status_code == (200 if included else 204)
        answer = client.post(f"/reviews/{items[0]['id']}/answer", json={"outcome": "skip"})
        assert answer.status_code == (200 if included else 409)
