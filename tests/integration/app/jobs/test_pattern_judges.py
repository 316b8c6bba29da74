"""The judge of patterns that is stored with a model: told with it, kept without its job, deleted with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.queries import registry
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.backup import restore, save
from tests.integration.app.conftest import Front, running
from tests.support.jobs.golden import Golden


@pytest.fixture
def trained(golden: Golden, tmp_path: Path) -> Iterator[Front]:
    golden.copy(tmp_path / "data")
    with running(Settings(data_dir=tmp_path / "data")) as front:
        yield front


def _judge_of(front: Front, model: str) -> Any:
    return front.client.get(f"/models/{model}").json()["pattern_judge"]


def _artifact(front: Front, model: str) -> str:
    with front.services.database.read() as session:
        judge = registry.get(session, model).pattern_judge
    assert judge is not None
    artifact: str = judge["artifact"]
    return artifact


def test_the_model_whose_network_it_reads_tells_of_it(trained: Front, golden: Golden) -> None:
    judge = _judge_of(trained, golden.models["erm"])
    assert judge.keys() == {"job", "module", "created_at"}
    assert judge["job"] == golden.job
    assert judge["created_at"].endswith("Z")
    assert _judge_of(trained, golden.models["retrained"]) is None


def test_it_outlives_its_job_and_goes_with_its_model(trained: Front, golden: Golden) -> None:
    erm = golden.models["erm"]
    judge, artifact = _judge_of(trained, erm), _artifact(trained, erm)
    assert trained.client.delete(f"/jobs/{golden.job}").status_code == 204
    assert _judge_of(trained, erm) == judge
    assert trained.services.artifacts.exists(artifact)
    for arm in ("retrained_control", "retrained", "erm"):
        assert trained.services.artifacts.exists(artifact)
        assert trained.client.delete(f"/models/{golden.models[arm]}").status_code == 204
    assert not trained.services.artifacts.exists(artifact)


def test_a_backup_has_it(trained: Front, golden: Golden, tmp_path: Path) -> None:
    erm, services = golden.models["erm"], trained.services
    save(services.settings.database, services.artifacts, tmp_path / "backup")
    settings = Settings(data_dir=tmp_path / "restored")
    artifacts = Artifacts(settings.storage, cache=tmp_path / "cache")
    restore(tmp_path / "backup", settings.database, artifacts)
    with running(settings) as restored:
        assert _judge_of(restored, erm) == _judge_of(trained, erm)
    key = _artifact(trained, erm)
    (file,) = artifacts.folder(key).iterdir()
    assert file.read_bytes() == services.artifacts.file(key, file.name).read_bytes()
