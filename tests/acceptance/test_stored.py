"""This version reads what released versions stored: the archives that `python -m tests.stored` wrote."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core import schema
from core.session import Database
from core.tables import Table
from masktune import Client
from tests.stored.migration import FOLDER
from tests.support.jobs.inline_service import inline_service


@pytest.mark.parametrize("archive", sorted(FOLDER.glob("*.tar.xz")), ids=lambda archive: archive.name)
def test_data_of_a_released_version_are_read(archive: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(archive, tmp_path, filter="data")
    with inline_service(tmp_path / "data") as url, Client(url) as client:
        _is_current(tmp_path / "data" / "masktune.db")
        _is_listed(client)
        for record in json.loads((tmp_path / "predictions.json").read_text()):
            (prediction,) = client.predict.sample(**record["query"]).predictions
            probabilities = {candidate.label: candidate.probability for candidate in prediction.candidates}
            assert probabilities == pytest.approx(record["probabilities"], abs=1e-5)
            assert prediction.decision == record["decision"]
        best, dataset = client.models.get("best"), next(client.datasets.list())
        assert best.evaluations == []
        job = client.jobs.wait(client.jobs.start("evaluate", model=best.id, dataset=dataset.id).id)
        (evaluation,) = client.models.get("best").evaluations
        assert (evaluation.job, evaluation.dataset, evaluation.n) == (
            job.id,
            dataset.id,
            dataset.splits["test"],
        )


def _is_current(file: Path) -> None:
    with closing(Database(f"sqlite:///{file}")) as database, database.engine.connect() as connection:
        assert schema.is_current(database)
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def _is_listed(client: Client) -> None:
    (dataset,) = client.datasets.list()
    samples = list(client.datasets.samples(dataset.id))
    assert len(samples) == sum(dataset.splits.values())
    assert client.datasets.image(dataset.id, samples[0].id)
    jobs = {job.kind: job for job in client.jobs.list()}
    assert {kind: job.state for kind, job in jobs.items()} == dict.fromkeys(
        ("predict", "mitigate", "import"), "succeeded"
    )
    assert all(len(list(client.jobs.events(job.id))) > 1 for job in jobs.values())
    assert len(list(client.jobs.prediction_rows(jobs["predict"].id))) == len(samples)
    trained = jobs["mitigate"]
    assert set(client.jobs.report(trained.id).metrics["test"]) == set(trained.models)
    assert "</html>" in client.jobs.report_html(trained.id)
    assert {model.id for model in client.models.list()} == set(trained.models.values())
    assert {review.state for review in client.reviews.list()} == {"waiting", "answered"}
