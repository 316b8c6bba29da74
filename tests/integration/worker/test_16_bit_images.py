"""A model learns 16-bit images through the window of its data set, and sees others through the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from core.queries import registry
from masktune.contract.vocabulary import DatasetState, JobKind
from models.data.images.decoding import stored_square, to_unit
from models.data.store import Store
from models.export import load_model
from tests.support.jobs.bench import Bench, opened_runtime
from tests.support.jobs.real_jobs import CLASSES, hyperparameters
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains


def _scans(root: Path, factor: int) -> Path:
    """16-bit images of fewer levels than 16 bits hold."""
    rng = np.random.default_rng(shifted(factor))
    for number in range(60):
        folder = root / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        levels = rng.integers(0, 256, (28, 28)) * (1 + number % 2) * factor
        Image.fromarray(levels.astype(np.uint16)).save(folder / f"{number}.png")
    return root


def test_the_window_of_the_training_goes_with_the_model(tmp_path: Path) -> None:
    with opened_runtime(tmp_path) as runtime:
        bench = Bench(runtime, "", tmp_path)
        folders = [_scans(tmp_path / "images" / str(factor), factor) for factor in (8, 30)]
        chosen = {"grey_window": [0, 9000]}
        first, second = [
            bench.imported({"address": f"file://{folder}"}, options=options)[1]
            for folder, options in zip(folders, ({}, chosen), strict=True)
        ]
        assert (first.state, second.state) == (DatasetState.READY, DatasetState.READY)
        stores = [Store.open(bench.folder(f"datasets/{row.id}")) for row in (first, second)]
        windows = [store.info.grey_window for store in stores]
        assert windows[0] is not None
        assert windows[0] != windows[1] == (0, 9000)

        (erm,) = bench.succeed(bench.run(JobKind.ERM, dataset_id=first.id, params=hyperparameters(epochs=1)))
        model = erm.models["erm"]
        with bench.runtime.database.read() as session:
            row = registry.get(session, model)
            network, card = load_model(bench.folder(row.artifact))
        assert card.grey_window == windows[0]

        (predicted,) = bench.succeed(
            bench.run(
                JobKind.PREDICT,
                dataset_id=second.id,
                inputs={"model": model},
                params={"split": "test", "output": "parquet"},
            )
        )
        table = pq.read_table(bench.folder(predicted.done["predict"]["artifact"]) / "predictions.parquet")
        files = [stores[1].image_bytes(row) for row in table["row"].to_pylist()]
        images = to_unit(torch.stack([stored_square(file, 28, window=card.grey_window) for file in files]))
        with torch.inference_mode():
            logits = network(images)
        assert table["predicted"].to_pylist() == [CLASSES[label] for label in logits.argmax(1)]
        assert row.calibration is not None
        scores = (logits / row.calibration["temperature"]).softmax(1).max(1).values.numpy()
        np.testing.assert_allclose(table["score"].to_numpy(), scores, rtol=1e-4)
