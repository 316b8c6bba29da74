"""Serving at the engine's speed: masktune beside an empty handler, a naive one and LitServe, in one run.

    pip install --group bench && python -m benchmarks.serving [--seconds 6]

Two networks: SmallCNN with PNG bodies, ResNet-50 with JPEG bodies. Closed-loop clients at 1, 8 and 32; an
open loop at twice the rate of the closed one; the client is a process of its own on the same cores. The
engine's own rate is ONNX Runtime's, called directly with ready pixels. Weights are random, images real.
Ends with one JSON line; exits with 1 when a target is missed. Read ratios, not absolutes: the table says
how busy the machine was, and `cpu_ms` what an answer cost the service's processes, which depends less on it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.engine import TorchEngine
from app.inference.images import to_square
from app.inference.onnx_engine import Graphs, OnnxEngine
from app.inference.shapes import Explain, Upload
from benchmarks._common import Aim, table
from benchmarks._load import Plan, Seen, load
from benchmarks._machine import device_name, load_average, usable_cores
from benchmarks._serving_world import (
    Furnished,
    Kind,
    Server,
    digits,
    furnish,
    masktune,
    photographs,
    rival,
    warm,
)
from client import Client
from models.data.checks import ImageLimits
from models.export import export_onnx, load_model
from models.process import keep_freed_memory

CLIENTS = (1, 8, 32)
OPEN_CONNECTIONS = 1024
"""More than may wait: with fewer, the rest would wait in the client and nothing would be refused."""


class Bench:
    """Rows for people, and rates by (service, network, clients) for the targets."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []
        self.seen: dict[tuple[str, str, int], Seen] = {}

    def clients(self, service: str, kind: Kind, server: Server, path: str, clients: Sequence[int]) -> None:
        """Closed loops, one after the other."""
        for count in clients:
            before = server.cpu_seconds()
            seconds = self.seconds if kind.side < 100 else 3 * self.seconds  # few answers a second
            plan = Plan(server.port, path, kind.content_type, kind.bodies, count, seconds, warmup=0.5)
            seen = load(plan)
            self.seen[service, kind.backbone, count] = seen
            # The warm-up's requests are counted at the pace of the others.
            answers = max(1.0, seen.rate * (plan.seconds + plan.warmup))
            cpu = (server.cpu_seconds() - before) / answers
            self.row(service, kind, f"{count} clients", seen, cpu_ms=round(1000 * cpu, 3))

    def row(self, service: str, kind: Kind, load_: str, seen: Seen, cpu_ms: float | None = None) -> None:
        refused = sum(seen.statuses.values()) - seen.answered
        self.rows.append(
            {
                "service": service,
                "network": kind.backbone,
                "load": load_,
                "answers/s": round(seen.rate, 1),
                "p50_ms": seen.p50,
                "p99_ms": seen.p99,
                "refused": refused,
                "cpu_ms": cpu_ms,
                "busy": load_average(),
            }
        )
        print(json.dumps(self.rows[-1]), file=sys.stderr, flush=True)

    def rate(self, service: str, network: str, clients: int) -> float:
        return self.seen[service, network, clients].rate


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    arguments = parser.parse_args()
    keep_freed_memory()
    small, large, bench = digits(), photographs(), Bench(arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="masktune-serving-") as name:
        folder = Path(name)
        worlds = {kind.backbone: furnish(folder, kind) for kind in (small, large)}
        engines = {k.backbone: _engine_rates(k, worlds[k.backbone], folder, bench) for k in (small, large)}
        for service in ("empty", "naive", "litserve"):
            for kind in (small, large) if service != "empty" else (small,):
                with rival(service, worlds[kind.backbone].folder, kind) as server:
                    bench.clients(service, kind, server, "/predict", CLIENTS if kind is small else (1, 8))
        with masktune(folder, "api") as server:
            overload = _masktune(bench, server, (small, large), worlds)
        job = _predict_job(folder, large, worlds[large.backbone])
    aims = _aims(bench, engines, overload, job)
    print(table(bench.rows))
    for key, aim in aims.items():
        print(f"{key:58} {json.dumps(aim.to_json())}")
    ok = all(aim.ok for aim in aims.values())
    line = {
        "benchmark": "serving",
        "device": device_name(torch.device("cpu")),
        "cores": usable_cores(),
        "load_average": load_average(),
        "engine_images_per_second": engines,
        "figures": bench.rows,
        "targets": {key: aim.to_json() for key, aim in aims.items()},
        "ok": ok,
    }
    print(json.dumps(line), flush=True)
    return 0 if ok else 1


def _masktune(
    bench: Bench, server: Server, kinds: tuple[Kind, Kind], worlds: dict[str, Furnished]
) -> dict[str, Any]:
    """Our own rows, then twice the sustainable rate. The graphs are exported first, outside the clock."""
    small, large = kinds
    for number, (kind, model) in enumerate(
        (k, m) for k in kinds for m in (worlds[k.backbone].alone, worlds[k.backbone].pair)
    ):
        warm(server.port, kind, model, number + 1)
    for kind, counts in ((small, CLIENTS), (large, CLIENTS)):
        path = f"/predict?model={worlds[kind.backbone].alone}"
        bench.clients("masktune", kind, server, path, counts)
        bench.clients("masktune (pair)", kind, server, f"/predict?model={worlds[kind.backbone].pair}", (8,))
    explained = f"/predict?model={worlds[large.backbone].alone}&explain=true"
    bench.clients("masktune (explained)", large, server, explained, (8,))
    return {kind.backbone: _overload(bench, server.port, kind, worlds[kind.backbone].alone) for kind in kinds}


def _overload(bench: Bench, port: int, kind: Kind, model: str) -> dict[str, float]:
    """Twice the closed loop's best rate, at even times, and /livez asked 20 times a second meanwhile."""
    best = max(bench.rate("masktune", kind.backbone, count) for count in CLIENTS)
    seconds = max(bench.seconds, 10.0)
    flood = Plan(
        port, f"/predict?model={model}", kind.content_type, kind.bodies, OPEN_CONNECTIONS, seconds,
        rate=2 * best, warmup=4.0,
    )  # fmt: skip
    probe = Plan(port, "/livez", "text/plain", [""], 4, seconds, rate=20.0, warmup=4.0, method="GET")
    with ThreadPoolExecutor(2) as threads:
        flooded, alive = (running.result() for running in [threads.submit(load, p) for p in (flood, probe)])
    bench.row("masktune", kind, "twice its best", flooded)
    bench.row("masktune /livez", kind, "meanwhile", alive)
    return {
        "throughput": _over(flooded.rate, best),
        "p99": _over(flooded.p99, bench.seen["masktune", kind.backbone, 32].p99),
        "livez_p99_ms": alive.p99,
        "livez_unanswered": float(alive.unanswered),
    }


def _engine_rates(kind: Kind, world: Furnished, folder: Path, bench: Bench) -> dict[str, float]:
    """Images/s of ONNX Runtime alone at batch 1 and 16; the cost of a map at batch 16."""
    network, _ = load_model(world.folder)
    graph = folder / f"{kind.backbone}.onnx"
    export_onnx(network, graph)
    torch.set_num_threads(usable_cores())
    engine = OnnxEngine(
        Graphs(graph, None),
        TorchEngine(network, None, torch.device("cpu")),
        threads=usable_cores(),
        cuda=False,
    )
    squares = np.stack([to_square(Upload(data), kind.side, ImageLimits()) for data in kind.images[:16]])
    rates = {
        "batch_1": _rate(lambda batch: engine.run(batch, None), squares[:1], bench.seconds),
        "batch_16": _rate(lambda batch: engine.run(batch, None), squares, bench.seconds),
    }
    explained = _rate(lambda batch: engine.run(batch, Explain("xgradcam")), squares, bench.seconds)
    return rates | {"explaining_costs": rates["batch_16"] / explained}


def _rate(run: Callable[[NDArray[np.uint8]], object], batch: NDArray[np.uint8], seconds: float) -> float:
    run(batch)
    done, start = 0, time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        run(batch)
        done += len(batch)
    return done / (now - start)


def _predict_job(folder: Path, kind: Kind, world: Furnished) -> float:
    """Images/s that a `predict` job reports, over torch's own rate at its batch of 32."""
    with masktune(folder, "api", "worker") as server, Client(f"http://127.0.0.1:{server.port}") as client:
        job = client.jobs.start("predict", model=world.alone, dataset=world.dataset)
        reported = 0.0
        while not (job := client.jobs.get(job.id)).ended_at:
            reported = job.progress.images_per_second or reported
            time.sleep(0.2)
        if job.state != "succeeded":
            raise RuntimeError(f"the job {job.state}")
    network, _ = load_model(world.folder)
    engine = TorchEngine(network, None, torch.device("cpu"))
    square = to_square(Upload(kind.images[0]), kind.side, ImageLimits())
    own = _rate(lambda batch: engine.run(batch, None), np.stack([square] * 32), 6.0)
    return reported / own


def _over(value: float, other: float) -> float:
    """A ratio; infinite where nothing came back at all."""
    return value / other if other else float("inf")


def _aims(
    bench: Bench, engines: dict[str, dict[str, float]], overload: dict[str, Any], job: float
) -> dict[str, Aim]:
    ours = {clients: bench.rate("masktune", "small_cnn", clients) for clients in CLIENTS}
    at_32, large = bench.seen["masktune", "small_cnn", 32], engines["resnet50"]
    flood, light = overload["resnet50"], overload["small_cnn"]

    def over(service: str) -> float:
        return _over(ours[32], bench.rate(service, "small_cnn", 32))

    return {
        "small_cnn, 32 clients, over the empty handler": Aim(over("empty"), at_least=0.45),
        "small_cnn, 32 clients, over LitServe": Aim(over("litserve"), at_least=4),
        "small_cnn, 32 clients, over the naive handler": Aim(over("naive"), at_least=4),
        "small_cnn, 32 clients, p99 over p50": Aim(_over(at_32.p99, at_32.p50), at_most=2),
        "resnet50, 8 clients, over the engine's batch 16": Aim(
            bench.rate("masktune", "resnet50", 8) / large["batch_16"], at_least=0.85
        ),
        "resnet50, 1 client, over the engine's batch 1": Aim(
            bench.rate("masktune", "resnet50", 1) / large["batch_1"], at_least=0.8
        ),
        "explaining over predicting, closed form, engine": Aim(large["explaining_costs"], at_most=1.2),
        "predict job over torch's own rate": Aim(job, at_least=0.9),
        "resnet50, twice the best rate: throughput over it": Aim(flood["throughput"], at_least=0.9),
        "resnet50, twice the best rate: p99 over that at 32 clients": Aim(flood["p99"], at_most=1.5),
        "resnet50, twice the best rate: /livez p99, ms": Aim(flood["livez_p99_ms"], at_most=50),
        "small_cnn, twice the best rate: throughput over it": Aim(light["throughput"], at_least=0.9),
        "small_cnn, twice the best rate: p99 over that at 32 clients": Aim(light["p99"], at_most=1.5),
        "small_cnn, twice the best rate: /livez p99, ms": Aim(light["livez_p99_ms"], at_most=50),
    }


if __name__ == "__main__":
    sys.exit(main())
