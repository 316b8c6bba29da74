"""What `benchmarks.serving` measures: services under load, ONNX Runtime called directly, torch in a job."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.engines.onnx import OnnxEngine
from app.inference.engines.torch import TorchEngine
from app.inference.images import to_square
from app.inference.types import Explain, Upload
from benchmarks._common import Aim, load_average, usable_cores
from benchmarks._load import LoadResult, Plan, load
from benchmarks._serving_world import Furnished, Kind, Server, export, furnish, masktune, warm
from masktune import Client
from models.data.images.limits import ImageLimits
from models.export import load_model
from models.onnx_export import export_onnx

CLIENTS = (1, 8, 32)
"""Of the closed loops."""
EXPLAINED = "masktune (explained)"


class Bench:
    """Rows for the table, and the measurements of each round, for the targets."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []
        self.measured: defaultdict[tuple[str, str, int], list[LoadResult]] = defaultdict(list)
        self.engine: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        """Images/s of each round, by network and batch."""
        self.cpu: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)
        """CPU seconds of an answer in each round, by service, network and clients."""
        self.overload: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
        """Figures of each round, by network."""

    def clients(self, service: str, kind: Kind, server: Server, path: str, clients: Sequence[int]) -> None:
        """Run closed loops, one after the other."""
        for count in clients:
            before = server.cpu_seconds()
            seconds = self.seconds if kind.side < 100 else 2 * self.seconds  # few answers a second
            plan = Plan(server.port, path, kind.content_type, kind.bodies, count, seconds, warmup=0.5)
            measured = load(plan)
            self.measured[service, kind.backbone, count].append(measured)
            # The requests of the warm-up are counted at the rate of the others.
            answers = max(1.0, measured.rate * (plan.seconds + plan.warmup))
            cpu = (server.cpu_seconds() - before) / answers
            self.cpu[service, kind.backbone, count].append(cpu)
            self.row(service, kind, f"{count} clients", measured, cpu_ms=round(1000 * cpu, 3))

    def row(
        self, service: str, kind: Kind, load_: str, measured: LoadResult, cpu_ms: float | None = None
    ) -> None:
        refused = sum(measured.statuses.values()) - measured.answered
        self.rows.append(
            {
                "service": service,
                "network": kind.backbone,
                "load": load_,
                "answers/s": round(measured.rate, 1),
                "p50_ms": measured.p50,
                "p99_ms": measured.p99,
                "refused": refused,
                "cpu_ms": cpu_ms,
                "busy": load_average(),
            }
        )
        print(json.dumps(self.rows[-1]), file=sys.stderr, flush=True)

    def rates(self, service: str, network: str, clients: int) -> list[float]:
        """Answers/s of each round."""
        return [measured.rate for measured in self.measured[service, network, clients]]

    def best(self, service: str, network: str) -> int:
        """This round's best number of clients."""
        return max(CLIENTS, key=lambda count: self.rates(service, network, count)[-1])

    def flooded(self, network: str) -> dict[str, float]:
        """Medians over the rounds; for figures that must hold throughout, the worst."""
        rounds = self.overload[network]
        return {
            key: (max if key.startswith("livez") else median)([figures[key] for figures in rounds])
            for key in rounds[0]
        }


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


def only_explaining(bench: Bench, kind: Kind, rounds: int) -> float:
    """Measure one process with maps and without, in turn; then `explaining`, which is returned."""
    with tempfile.TemporaryDirectory(prefix="masktune-serving-") as name:
        folder = Path(name)
        world = furnish(folder, kind)
        path = f"/predict?model={world.alone}"
        with masktune(folder, "api") as server:
            export(server.port, world.alone)
            warm(server.port, kind, world.alone, 1)
            for _ in range(rounds):
                bench.clients("masktune", kind, server, path, (8,))
                bench.clients(EXPLAINED, kind, server, f"{path}&explain=true", (8,))
        return explaining(engine_alone(kind, world, folder), kind, bench.seconds)


def explaining_aims(bench: Bench, in_engine: float) -> dict[str, Aim]:
    """What a prediction of ResNet-50 takes with a map, over one without."""
    plain, explained = ("masktune", "resnet50", 8), (EXPLAINED, "resnet50", 8)
    cpu = zip(bench.cpu[explained], bench.cpu[plain], strict=True)
    rates = zip(bench.rates(*plain), bench.rates(*explained), strict=True)
    name = "explaining over predicting"
    return {
        f"{name}, closed form, engine": Aim(in_engine, at_most=1.2),
        f"{name}, resnet50, 8 clients: CPU": Aim(median(over(*pair) for pair in cpu), at_most=1.15),
        f"{name}, resnet50, 8 clients: time": Aim(median(over(*pair) for pair in rates), at_most=1.15),
    }


def over(value: float, other: float) -> float:
    """A ratio; infinite if `other` is 0 because nothing came back."""
    return value / other if other else float("inf")


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
