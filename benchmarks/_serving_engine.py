"""What `benchmarks.serving` compares the service with: ONNX Runtime called directly, and torch in a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.engines.onnx import OnnxEngine
from app.inference.engines.torch import TorchEngine
from app.inference.images import to_square
from app.inference.types import Explain, Upload
from benchmarks._common import usable_cores
from benchmarks._serving_world import Furnished, Kind, masktune
from masktune import Client
from models.data.images.limits import ImageLimits
from models.export import export_onnx, load_model


def engine_alone(kind: Kind, world: Furnished, folder: Path) -> OnnxEngine:
    """ONNX Runtime alone, on all cores."""
    network, _ = load_model(world.folder)
    graph = folder / f"{kind.backbone}.onnx"
    export_onnx(network, graph)
    torch.set_num_threads(usable_cores())
    served = TorchEngine(network, None, torch.device("cpu"))
    return OnnxEngine(served, graph, threads=usable_cores())


def engine_rate(engine: OnnxEngine, kind: Kind, batch: int, seconds: float) -> float:
    """Images/s at this batch size."""
    return _rate(lambda squares: engine.run(squares, None), _squares(kind, batch), seconds)


def explaining(engine: OnnxEngine, kind: Kind, seconds: float) -> float:
    """The time of a batch of 16 with maps, over one without."""
    squares = _squares(kind, 16)
    explained = _rate(lambda batch: engine.run(batch, Explain("xgradcam")), squares, seconds)
    return _rate(lambda batch: engine.run(batch, None), squares, seconds) / explained


def _squares(kind: Kind, count: int) -> NDArray[np.uint8]:
    return np.stack([to_square(Upload(data), kind.side, ImageLimits()) for data in kind.images[:count]])


def _rate(run: Callable[[NDArray[np.uint8]], object], batch: NDArray[np.uint8], seconds: float) -> float:
    run(batch)
    done, start = 0, time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        run(batch)
        done += len(batch)
    return done / (now - start)


def predict_job(folder: Path, kind: Kind, world: Furnished) -> float:
    """Images/s that a `predict` job reports, over torch's own rate at its batch of 32."""
    network, _ = load_model(world.folder)
    engine = TorchEngine(network, None, torch.device("cpu"))
    batch = np.repeat(_squares(kind, 1), 32, axis=0)
    before = _rate(lambda squares: engine.run(squares, None), batch, 6.0)
    with masktune(folder, "api", "worker") as server, Client(f"http://127.0.0.1:{server.port}") as client:
        job = client.jobs.start("predict", model=world.alone, dataset=world.dataset)
        reported = 0.0
        while not (job := client.jobs.get(job.id)).ended_at:
            reported = job.progress.images_per_second or reported
            time.sleep(0.2)
        if job.state != "succeeded":
            raise RuntimeError(f"the job {job.state}")
    after = _rate(lambda squares: engine.run(squares, None), batch, 6.0)
    return reported / ((before + after) / 2)
