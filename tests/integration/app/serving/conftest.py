"""A running front over a small data set and three tiny networks with random weights."""

from __future__ import annotations

import atexit
import io
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from app.inference import Admission, Engine, Explain, ForwardResult, Inference, Pair, Upload
from app.main import Services, create_app
from app.selective.calibrations import FILE
from core.queries import datasets, registry
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind, JobState
from models.backbones.build import build_network
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.export import card_of, save_model
from models.selective import SCORES, CalibrationTable, score
from tests.integration.app.conftest import LOCAL
from tests.support.databases import sqlite_database
from tests.support.rows import dataset_row, model_row

CLASSES = ["left", "right"]
GROUPS = ["left-dark", "right-light"]
SAMPLES = 40
COPIES = 10
"""How often each sample is in the calibration table: enough to certify a risk of 0.05, too few for 0.01."""
TEMPERATURE = 2.0
PNG = {"Content-Type": "image/png"}


def picture(number: int, *, side: int = 28, kind: str = "PNG") -> bytes:
    """A different image for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels[:, : side // 2] //= 1 + number % 4
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class World:
    """The front and its objects. `model` is the mask-tuned model, `job` the job that made the three."""

    client: TestClient
    app: FastAPI
    dataset: str
    job: str
    erm: str
    model: str
    control: str
    scores: NDArray[np.float64]
    """Max-softmax probability of every sample under `model`."""

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    def query(self, **more: Any) -> dict[str, Any]:
        """The query for a stored sample; `more` adds or overrides parameters."""
        return {"model": self.model, "dataset": self.dataset, "sample": 0} | more

    def ask(self, **query: Any) -> dict[str, Any]:
        """Predict a stored sample, by default sample 0."""
        answer = self.client.get("/predict", params=self.query(**query))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def post(self, image: bytes, path: str = "/predict", **query: Any) -> Any:
        """Send one PNG, by default for a prediction by `model`."""
        return self.client.post(path, params={"model": self.model} | query, content=image, headers=PNG)

    def uncalibrated(self) -> str:
        """Add a model with the weights of `model` and nothing else of it."""
        row = model_row(id=new_id("mdl"), arm=Arm.IMPORTED, classes=CLASSES, artifact=f"models/{self.model}")
        with self.services.database.begin() as session:
            registry.add(session, row)
        return row.id

    def http(self) -> httpx2.AsyncClient:
        """A client for the front's own event loop (`in_the_loop`)."""
        transport = httpx2.ASGITransport(self.app)
        return httpx2.AsyncClient(transport=transport, base_url=LOCAL, timeout=60)

    def in_the_loop(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run this in the event loop of the front."""
        assert self.client.portal is not None
        self.client.portal.call(run)


@contextmanager
def furnished(folder: Path, **settings: Any) -> Iterator[World]:
    """Run a front over a copy of the data set and the networks while the block runs."""
    source, names = _furniture()
    shutil.copytree(source, folder, dirs_exist_ok=True)
    given: dict[str, Any] = {"data_dir": folder, "threads": 1, "engine": "torch"} | settings
    app = create_app(Settings(**given))
    with TestClient(app, LOCAL) as client:
        yield World(client, app, **names)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with furnished(tmp_path_factory.mktemp("data")) as world:
        yield world


@pytest.fixture
def fresh_world(tmp_path: Path) -> Iterator[World]:
    """A `World` that the test may modify."""
    with furnished(tmp_path) as world:
        yield world


@cache
def _furniture() -> tuple[Path, dict[str, Any]]:
    """A data folder to copy, and the fields of its `World`."""
    temporary = TemporaryDirectory()
    atexit.register(temporary.cleanup)
    folder = Path(temporary.name)
    artifacts = Artifacts(Settings(data_dir=folder).storage, cache=folder / "cache")
    dataset, job = new_id("ds"), new_id("job")
    ids = {arm: new_id("mdl") for arm in (Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL)}
    _write_store(artifacts, dataset)
    calibrations, scores = {}, {}
    for seed, (arm, model) in enumerate(ids.items()):
        calibrations[model], scores[arm] = _write_model(artifacts, model, erm_seed=0, seed=seed)
    with closing(Database(sqlite_database(folder))) as database, database.begin() as session:
        datasets.add(session, _dataset_row(dataset, job))
        session.add(_job_row(job, dataset, ids))
        for arm, model in ids.items():
            erm = None if arm is Arm.ERM else ids[Arm.ERM]
            registry.add(session, _model_row(model, arm, erm, (dataset, job), calibrations[model]))
    erm, tuned, control = ids.values()
    names = {"dataset": dataset, "job": job, "erm": erm, "model": tuned, "control": control}
    return folder, names | {"scores": scores[Arm.MASKTUNE]}


def _write_store(artifacts: Artifacts, dataset: str) -> None:
    with artifacts.writing(f"datasets/{dataset}") as folder:
        with StoreWriter(folder) as writer:
            for number in range(SAMPLES):
                label = number % 2
                writer.add(
                    Row(f"{CLASSES[label]}/{number}.png", label, "test", label, 28, 28, picture(number))
                )
            writer.finish(DatasetInfo("pair", "image_folder", tuple(CLASSES), tuple(GROUPS)))


def _write_model(
    artifacts: Artifacts, model: str, *, erm_seed: int, seed: int
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    import torch

    from models.data.images.decoding import stored_square, to_unit

    network = build_network("small_cnn", classes=2, image_size=28, seed=seed)
    erm = build_network("small_cnn", classes=2, image_size=28, seed=erm_seed)
    with artifacts.writing(f"models/{model}") as folder:
        save_model(network, card_of(network, tuple(CLASSES), "masktune"), folder)
    with torch.inference_mode():
        images = to_unit(torch.stack([stored_square(picture(n), 28) for n in range(SAMPLES)]))
        logits, erm_logits = network(images).numpy(), erm(images).numpy()
    tables: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    classes: dict[str, Any] = {}
    predicted: dict[str, Any] = {}
    for name in SCORES if seed != erm_seed else ("max_softmax",):
        values = score(name, logits, erm_logits, temperature=TEMPERATURE).scores
        # The more confident half is right; of the rest, every other sample is wrong.
        right = (values >= np.median(values)) | (np.arange(SAMPLES) % 2 == 0)
        tables[name] = CalibrationTable.build(np.repeat(values, COPIES), np.repeat(right, COPIES)).to_json()
        groups[name] = {
            group: CalibrationTable.build(values[label::2], right[label::2]).to_json()
            for label, group in enumerate(GROUPS)
        }
        classes[name] = dict(zip(CLASSES, groups[name].values(), strict=True))
        labels = logits.argmax(1)
        predicted[name] = {
            CLASSES[label]: CalibrationTable.build(
                np.repeat(values[labels == label], COPIES), np.repeat(right[labels == label], COPIES)
            ).to_json()
            for label in np.unique(labels)
        }
    apart = COPIES * int((logits.argmax(1) != erm_logits.argmax(1)).sum())
    scored = score("max_softmax", logits, temperature=TEMPERATURE)
    facts = {
        "scores": tables,
        "groups": groups,
        "classes": classes,
        "predicted": predicted,
        "true_log_probabilities": {
            name: sorted(scored.log_probabilities[label::2, label].tolist(), reverse=True)
            for label, name in enumerate(CLASSES)
        },
        "agreement": None if seed == erm_seed else {"n": SAMPLES * COPIES, "disagree": apart},
        "temperature": {"value": TEMPERATURE, "split": "val", "n": SAMPLES},
    }
    id = new_id("cal")
    with artifacts.writing(f"calibrations/{id}") as folder:
        (folder / FILE).write_text(json.dumps(facts))
    row = {
        "id": id,
        "artifact": f"calibrations/{id}",
        "n": SAMPLES * COPIES,
        "score_name": "max_softmax",
        "scores": list(tables),
        "temperature": TEMPERATURE,
        "created_at": 1.7e9,
    }
    return row, np.exp(scored.scores)


def _dataset_row(dataset: str, job: str) -> DatasetRow:
    return dataset_row(
        id=dataset,
        name="pair",
        format="image_folder",
        job_id=job,
        artifact=f"datasets/{dataset}",
        classes=CLASSES,
    )


def _job_row(job: str, dataset: str, ids: dict[Arm, str]) -> JobRow:
    return JobRow(
        id=job,
        kind=JobKind.MASKTUNE,
        state=JobState.SUCCEEDED,
        dataset_id=dataset,
        params={"masking": {"sigmas": 1.5}},
        models={arm.value: model for arm, model in ids.items()},
    )


def _model_row(
    model: str, arm: Arm, erm: str | None, made: tuple[str, str], calibration: dict[str, Any]
) -> ModelRow:
    dataset, job = made
    figures = {"accuracy": 0.9, "balanced_accuracy": 0.89, "worst_group_accuracy": 0.8, "groups": {"a": 0.8}}
    return model_row(
        id=model,
        dataset_id=dataset,
        job_id=job,
        arm=arm,
        classes=CLASSES,
        erm_id=erm,
        calibration=calibration,
        metrics={"test": figures},
    )


def inference_of(settings: Settings, artifacts: Artifacts) -> Inference:
    """An `Inference` whose models are never deleted."""
    admission = Admission(settings.predict_in_flight, settings.predict_image_bytes)
    return Inference(settings, artifacts, admission, lambda pair: None)


async def forward(
    inference: Inference, pair: Pair, uploads: Sequence[Upload], explain: Explain | None = None
) -> ForwardResult:
    """Run the images through the pair's engine, which is loaded if needed."""
    return await forward_by(inference, await inference.engine(pair), uploads, explain)


async def forward_by(
    inference: Inference, engine: Engine, uploads: Sequence[Upload], explain: Explain | None = None
) -> ForwardResult:
    """Run the images through this engine, as a request that is admitted."""
    with inference.admitted(len(uploads), sum(len(one.content) for one in uploads), explain) as reservation:
        return await inference.forward(engine, uploads, reservation, explain)
