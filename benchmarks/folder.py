"""Many images: the rate of a predict job's stage beside that of the serving engine, on the same files.

    python -m benchmarks.folder [--networks small_cnn resnet18] [--rounds 3] [--threads 2] [--device cpu|cuda]

Both decode the same PNGs of a packed data set, and both count it. The stage is called as a worker's child
calls it: it loads the model, predicts every image shard by shard, writes each shard and joins them. The
engine is the service's, and its scores are dropped; its batches are decoded in turn with it, or ahead of it
in threads, whichever was faster in the round that warms both up.
The two alternate, so that changes in the machine's speed affect both; a ratio is taken within each round, and
the median is reported. Ends with one JSON line; exits with 1 if the stage has less than 0.95 of the rate.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from app.inference.engines.torch import TorchEngine
from benchmarks._common import Aim, finish, packed, table, work_folder
from benchmarks._needs import need_device
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.job_params import PredictParams
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.backbones.build import build_network
from models.data.images.decoding import stored_square
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.export import card_of, load_model, save_model
from models.run import Run, resolve_device
from models.runtime.process import prepare_process
from tests.support.arrays import Arrays
from worker.context import StageContext
from worker.protocol import DatasetSpec, Spec
from worker.results import ModelSpec
from worker.stages.predict import predict
from worker.workspace import Workspace

LEAST = 0.95
CLASSES = ("a", "b")
BATCH = 64


class Kind(NamedTuple):
    """A network's input, and the files that it is given: PNGs of `side` pixels."""

    image_size: int
    side: int
    images: int


KINDS = {"small_cnn": Kind(64, 96, 5000), "resnet18": Kind(224, 256, 512)}


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    run = Run(need_device(arguments.device))
    prepare_process(arguments.threads)
    rows, aims = [], {}
    for name in arguments.networks:
        with work_folder(None) as folder:
            row, ratio = measure(name, folder, arguments)
        rows.append(row | {"ratio": ratio})
        aims[f"{name}: the stage's rate over the engine's"] = Aim(ratio, at_least=LEAST)
    print(table(rows))
    return finish("folder", run, rows=rows, aims=aims)


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, object], float]:
    """A row with the images per second of both, and the stage's over the engine's."""
    kind = KINDS[name]
    settings = Settings(data_dir=folder, threads=arguments.threads)
    artifacts = Artifacts(settings.storage, cache=settings.scratch / "cache")
    shape = (kind.images, kind.side, kind.side, 3)
    # Blocks, because noise would be decoded more slowly than any photograph.
    blocks = np.random.default_rng(0).integers(0, 256, (*shape[:1], 8, 8, 3), dtype=np.uint8)
    images = np.kron(blocks, np.ones((1, kind.side // 8, kind.side // 8, 1), np.uint8))
    arrays = Arrays(images, np.arange(kind.images) % 2, ["test"] * kind.images)
    store = packed(Path(artifacts.root) / "datasets/ds_1", arrays, DatasetInfo("files", "csv", CLASSES))
    network = build_network(name, classes=len(CLASSES), image_size=kind.image_size, seed=0)
    with artifacts.writing("models/mdl_1") as target:
        save_model(network, card_of(network, CLASSES, "imported"), target)

    def of_stage(number: int) -> float:
        context = _context(f"job_{number}", name, settings, artifacts, arguments)
        started = time.perf_counter()
        assert predict(context).rows == kind.images
        return kind.images / (time.perf_counter() - started)

    def of_engine(*, ahead: bool) -> float:
        return kind.images / _engine_seconds(store, artifacts, arguments, ahead=ahead)

    of_stage(0)
    in_turn = of_engine(ahead=False)
    ahead = arguments.threads > 1 and of_engine(ahead=True) > in_turn
    rates = [(of_stage(number), of_engine(ahead=ahead)) for number in range(1, arguments.rounds + 1)]
    row = {
        "network": name,
        "images": kind.images,
        "stage images/s": round(median(stage for stage, _ in rates), 1),
        "engine images/s": round(median(engine for _, engine in rates), 1),
    }
    return row, median(stage / engine for stage, engine in rates)


def _context(
    job_id: str, backbone: str, settings: Settings, artifacts: Artifacts, arguments: argparse.Namespace
) -> StageContext:
    """The stage of a job that predicts every image, as its child makes it."""
    model = ModelSpec(
        id="mdl_1",
        arm=Arm.IMPORTED,
        artifact="models/mdl_1",
        erm_id=None,
        job_id=None,
        classes=CLASSES,
        backbone=backbone,
        image_size=KINDS[backbone].image_size,
    )
    dataset = DatasetSpec(id="ds_1", name="files", source={}, artifact="datasets/ds_1", classes=CLASSES)
    spec = Spec(
        job_id=job_id,
        kind=JobKind.PREDICT,
        attempt=1,
        stages=(Stage.PREDICT,),
        params=PredictParams(split="all"),
        model=model.id,
        dataset=dataset,
        models={model.id: model},
    )
    return StageContext(
        spec=spec,
        stage=Stage.PREDICT,
        settings=settings,
        artifacts=artifacts,
        workspace=Workspace.started(artifacts, job_id, scratch=settings.scratch),
        device=arguments.device,
        threads=arguments.threads,
        on_progress=lambda _: None,
        should_stop=lambda: False,
        log=print,
    )


def _engine_seconds(
    store: Store, artifacts: Artifacts, arguments: argparse.Namespace, *, ahead: bool
) -> float:
    """Seconds in which the engine scores every image of the store, decoded `ahead` of it or in turn."""
    started = time.perf_counter()
    torch.set_num_threads(arguments.threads)
    network, _ = load_model(artifacts.folder("models/mdl_1"))
    engine = TorchEngine(network, None, resolve_device(arguments.device))

    def decoded(first: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        rows = range(first, min(first + BATCH, len(store)))
        return torch.stack([stored_square(store.image_bytes(row), engine.image_size) for row in rows]).numpy()

    with ThreadPoolExecutor(arguments.threads) as pool:
        for squares in (pool.map if ahead else map)(decoded, range(0, len(store), BATCH)):
            engine.run(squares, None)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
