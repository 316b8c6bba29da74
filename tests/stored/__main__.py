"""Writes what later versions are tested with: `python -m tests.stored`, in the last commit of a version.

It writes the statements of the first migration, and an archive: the data folder of a service that was used,
and `predictions.json`, what its models say of stored images.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from masktune import Client
from tests.stored.migration import DIALECTS, FIRST, FOLDER, statements
from tests.support.jobs.real_jobs import QUICK, make_folder
from tests.support.processes import Processes, address, started
from tests.support.waits import PATIENCE

IMAGES = 100
TRAINING: dict[str, Any] = {
    "epochs": 2,
    "optimizer": {"momentum": 0, "learning_rate": 0.05},
    "finetune": {"epochs": 1, "learning_rate": 1e-12},
    "head": QUICK,
}
"""All models and checkpoints have the same bits but for their heads, so that the archive is small."""


def main() -> None:
    for dialect in DIALECTS:
        (FOLDER / f"{FIRST}-{dialect}.sql").write_text(statements(FIRST, dialect))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = make_folder(folder / "digits", IMAGES)
        with started(Processes(folder)) as processes:
            serve = processes.masktune("serve", "--port", "0", "--data-dir", str(folder / "stored" / "data"))
            with Client(address(serve)) as client:
                predictions = _use(client, images)
            serve.terminate()
            assert serve.wait(PATIENCE) == 0
        (folder / "stored" / "predictions.json").write_text(json.dumps(predictions))
        shutil.make_archive(str(FOLDER / version("masktune")), "xztar", folder / "stored")


def _use(client: Client, images: Path) -> list[dict[str, Any]]:
    """Import, train, predict, answer a review; return predictions of stored images."""
    dataset = client.datasets.wait(client.datasets.upload(images).id)
    job = client.jobs.wait(client.jobs.start("mitigate", dataset=dataset.id, **TRAINING).id)
    client.jobs.wait(client.jobs.predict(job.models["erm"], dataset.id).id)
    client.models.set_alias("best", job.models["retrained"])
    client.reviews.set_policy("best", enabled=True)
    client.predict.images("best", sorted(images.rglob("*.png"))[:2], min_score=1)
    client.reviews.answer(next(client.reviews.list()).id, "label", dataset.classes[0])
    return [
        _predicted(client, {"model": model, "dataset": dataset.id, "sample": sample.id, "coverage": 0.5})
        for sample in client.datasets.samples(dataset.id, split="test")
        for model in ("best", *job.models.values())
    ]


def _predicted(client: Client, query: dict[str, Any]) -> dict[str, Any]:
    (prediction,) = client.predict.sample(**query).predictions
    probabilities = {candidate.label: candidate.probability for candidate in prediction.candidates}
    return {"query": query, "decision": prediction.decision, "probabilities": probabilities}


if __name__ == "__main__":
    main()
