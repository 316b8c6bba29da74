"""Serving at the engine's speed: masktune, an empty handler, a naive one and LitServe compared in one run.

    pip install --group bench && python -m benchmarks.serving [--rounds 3] [--seconds 3] [--old DIR]
    python -m benchmarks.serving --only explaining    # without the rivals

Two networks: SmallCNN with PNG bodies, ResNet-50 with JPEG bodies. Closed loops with 1, 8 and 32 clients; an
open loop at twice the rate of the closed one; the client is a separate process on the same cores. The
engine's own rate is that of ONNX Runtime, called directly with decoded pixels. Weights are random, images
real. masktune runs twice: as one process, and as one per core (`masktune api --processes`); so do the empty
and the naive handler. `--old` runs another checkout of masktune, such as a worktree of an earlier commit, as
one process beside it. The aims compare what a user would start: masktune on all cores, FastAPI with its
defaults. The table and `like_for_like` in the JSON line also compare equal numbers of processes.

The speed of a rented machine's cores changes by half from one minute to the next. So every service is started
at the beginning (the rivals are paused while others are measured), and each round measures all services one
after the other; a ratio is taken within each round, and the median over the rounds is reported. Ends with one
JSON line; exits with 1 if a target is missed. `cpu_ms` is the CPU time of the service's processes per
response, `busy` the load average.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from app.inference.engines.onnx import OnnxEngine
from benchmarks._common import Aim, device_name, load_average, table, usable_cores
from benchmarks._load import LoadResult, Plan, load
from benchmarks._needs import need_checkout, need_packages
from benchmarks._serving_measures import (
    CLIENTS,
    EXPLAINED,
    Bench,
    engine_alone,
    engine_rate,
    explaining,
    explaining_aims,
    only_explaining,
    over,
    predict_job,
)
from benchmarks._serving_world import (
    Furnished,
    Kind,
    Server,
    digits,
    export,
    furnish,
    furnish_old,
    masktune,
    photographs,
    rival,
    warm,
)
from core.settings import Settings

LET_IN = Settings().predict_in_flight
"""Number of requests that one process admits at a time."""
OPEN_CONNECTIONS = 1024
"""More than may wait: with fewer, requests would wait in the client, and none would be refused."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement in each round")
    parser.add_argument("--old", type=Path, help="another checkout of masktune, measured beside this one")
    parser.add_argument("--only", choices=("explaining",), help="what a map adds to a prediction, by itself")
    arguments = parser.parse_args()
    need_checkout(arguments.old, "--old")
    if arguments.only is None:
        need_packages("litserve")
    small, large, bench = digits(), photographs(), Bench(arguments.seconds)
    if arguments.only == "explaining":
        with_maps = only_explaining(bench, large, arguments.rounds)
        return _printed(bench, {}, explaining_aims(bench, with_maps))
    with tempfile.TemporaryDirectory(prefix="masktune-serving-") as name:
        folder = Path(name)
        worlds = {kind.backbone: furnish(folder, kind) for kind in (small, large)}
        with ExitStack() as running:
            rivals = {
                (service, kind.backbone): running.enter_context(
                    rival(name, worlds[kind.backbone].folder, kind, processes=processes)
                )
                for service, (name, processes, kinds) in _rivals(small, large).items()
                for kind in kinds
            }
            for server in rivals.values():
                with server.awake():
                    pass  # paused from now on
            alone = running.enter_context(masktune(folder, "api"))
            together = running.enter_context(masktune(folder, "api", processes=usable_cores()))
            _warm(alone, together, (small, large), worlds)
            old = None
            if arguments.old is not None:
                old = running.enter_context(_old(arguments.old.resolve(), folder / "old", (small, large)))
            engines = {k.backbone: engine_alone(k, worlds[k.backbone], folder) for k in (small, large)}
            for _ in range(arguments.rounds):
                for (service, network), server in rivals.items():
                    kind = small if network == small.backbone else large
                    with server.awake():
                        bench.clients(service, kind, server, "/predict", CLIENTS if kind is small else (1, 8))
                for kind in (small, large):
                    engine, world = engines[kind.backbone], worlds[kind.backbone]
                    _round(bench, engine, kind, world, Services(alone, together, old))
            with_maps = explaining(engines[large.backbone], large, bench.seconds)
        job = predict_job(folder, large, worlds[large.backbone])
    alike = _like_for_like(bench)
    return _printed(bench, alike, _aims(bench, alike, with_maps, job))


def _printed(bench: Bench, alike: dict[str, float], aims: dict[str, Aim]) -> int:
    """Print the table, the targets and the JSON line; the exit code."""
    print(table(bench.rows))
    for key, value in alike.items():
        print(f"{key:58} {value:.2f}")
    for key, aim in aims.items():
        print(f"{key:58} {json.dumps(aim.to_json())}")
    ok = all(aim.ok for aim in aims.values())
    line = {
        "benchmark": "serving",
        "device": device_name(torch.device("cpu")),
        "cores": usable_cores(),
        "load_average": load_average(),
        "engine_images_per_second": {
            f"{network}, batch {batch}": rates for (network, batch), rates in bench.engine.items()
        },
        "figures": bench.rows,
        "overload": bench.overload,
        "like_for_like": alike,
        "targets": {key: aim.to_json() for key, aim in aims.items()},
        "ok": ok,
    }
    print(json.dumps(line), flush=True)
    return 0 if ok else 1


_MANY, _OLD = " (processes)", "masktune (old)"


def _rivals(small: Kind, large: Kind) -> dict[str, tuple[str, int, tuple[Kind, ...]]]:
    """Service → the rival's name, its number of processes, and the networks it runs."""
    return {
        "empty": ("empty", 1, (small,)),
        "empty" + _MANY: ("empty", usable_cores(), (small,)),
        "naive": ("naive", 1, (small, large)),
        "naive" + _MANY: ("naive", usable_cores(), (small,)),
        "litserve": ("litserve", 1, (small, large)),
    }


def _like_for_like(bench: Bench) -> dict[str, float]:
    """SmallCNN's rate, over that of rivals with as many processes."""
    return {
        f"masktune{many} over {rival}{many}, {clients} clients": median(
            over(a, b)
            for a, b in zip(
                bench.rates("masktune" + many, "small_cnn", clients),
                bench.rates(rival + many, "small_cnn", clients),
                strict=True,
            )
        )
        for rival in ("empty", "naive")
        for many in ("", _MANY)
        for clients in CLIENTS[1:]
    }


def _warm(alone: Server, together: Server, kinds: Sequence[Kind], worlds: dict[str, Furnished]) -> None:
    """Let the graphs be exported first, off the clock; each process then loads them for itself."""
    engines = 0
    for kind in kinds:
        world = worlds[kind.backbone]
        for model in (world.alone, world.pair):
            export(alone.port, model)
        for model in (world.alone, world.pair):
            engines += 1
            warm(alone.port, kind, model, engines)
    for number, kind in enumerate(kinds, 1):
        warm(together.port, kind, worlds[kind.backbone].alone, number * usable_cores())


class Old(NamedTuple):
    """One process of another checkout, and its models by network."""

    server: Server
    models: dict[str, str]


@contextmanager
def _old(checkout: Path, folder: Path, kinds: Sequence[Kind]) -> Iterator[Old]:
    """Another checkout on a data folder of its own, with its graphs loaded, and paused."""
    models = furnish_old(checkout, folder)
    with masktune(folder, "api", checkout=checkout) as server:
        for number, kind in enumerate(kinds, 1):
            export(server.port, models[kind.backbone])
            warm(server.port, kind, models[kind.backbone], number)
        with server.awake():
            pass  # paused from now on
        yield Old(server, models)


class Services(NamedTuple):
    """masktune as one process, as one per core, and one process of another checkout."""

    alone: Server
    together: Server
    old: Old | None


def _round(bench: Bench, engine: OnnxEngine, kind: Kind, world: Furnished, services: Services) -> None:
    """Measure the engine and masktune, one after the other."""
    for batch in (1, 16):
        bench.engine[kind.backbone, batch].append(engine_rate(engine, kind, batch, bench.seconds))
    if services.old is not None:
        server, models = services.old
        with server.awake():
            bench.clients(_OLD, kind, server, f"/predict?model={models[kind.backbone]}", CLIENTS)
    _masktune(bench, services.alone, services.together, kind, world)
    bench.overload[kind.backbone].append(_overload(bench, services.alone.port, kind, world.alone))


def _masktune(bench: Bench, alone: Server, together: Server, kind: Kind, world: Furnished) -> None:
    path = f"/predict?model={world.alone}"
    bench.clients("masktune", kind, alone, path, (*CLIENTS, LET_IN))
    bench.clients("masktune (processes)", kind, together, path, CLIENTS if kind.side < 100 else (8,))
    bench.clients("masktune (pair)", kind, alone, f"/predict?model={world.pair}", (8,))
    if kind.side >= 100:
        bench.clients(EXPLAINED, kind, alone, f"{path}&explain=true", (8,))


def _overload(bench: Bench, port: int, kind: Kind, model: str) -> dict[str, float]:
    """Send twice the rate of this round's best closed loop, at even intervals.

    That closed loop runs for as long before and after, and its mean rate counts; all three run beside 20
    requests/s to /livez. A peak from a better minute, or without the probe, would not be comparable.
    """
    seconds = max(bench.seconds, 10.0)

    def beside_probe(clients: int, rate: float | None) -> list[LoadResult]:
        plan = Plan(
            port, f"/predict?model={model}", kind.content_type, kind.bodies, clients, seconds,
            rate=rate, warmup=4.0,
        )  # fmt: skip
        probe = Plan(port, "/livez", "text/plain", [""], 4, seconds, rate=20.0, warmup=4.0, method="GET")
        with ThreadPoolExecutor(2) as threads:
            return [running.result() for running in [threads.submit(load, each) for each in (plan, probe)]]

    clients = bench.best("masktune", kind.backbone)
    peak, _ = beside_probe(clients, None)
    flooded, alive = beside_probe(OPEN_CONNECTIONS, 2 * peak.rate)
    again, _ = beside_probe(clients, None)

    def p99(clients: int) -> float:
        return bench.measured["masktune", kind.backbone, clients][-1].p99

    bench.row("masktune", kind, f"{clients} clients, its best", peak)
    bench.row("masktune", kind, "twice its best", flooded)
    bench.row("masktune", kind, f"{clients} clients, again", again)
    bench.row("masktune /livez", kind, "meanwhile", alive)
    return {
        "throughput": over(flooded.rate, (peak.rate + again.rate) / 2),
        "p99": over(flooded.p99, p99(32)),
        "p99_let_in": over(flooded.p99, p99(LET_IN)),
        "livez_p99_ms": alive.p99,
        "livez_unanswered": float(alive.unanswered),
    }


def _aims(bench: Bench, alike: dict[str, float], explaining: float, job: float) -> dict[str, Aim]:
    flood, light = bench.flooded("resnet50"), bench.flooded("small_cnn")
    tails = [over(measured.p99, measured.p50) for measured in bench.measured["masktune", "small_cnn", 32]]

    def over_rival(service: str) -> float:
        ours = bench.rates("masktune (processes)", "small_cnn", 32)
        theirs = bench.rates(service, "small_cnn", 32)
        return median(over(a, b) for a, b in zip(ours, theirs, strict=True))

    def of_engine(clients: int, batch: int) -> float:
        ours, own = bench.rates("masktune", "resnet50", clients), bench.engine["resnet50", batch]
        return median(over(a, b) for a, b in zip(ours, own, strict=True))

    cpu = zip(bench.cpu["masktune", "small_cnn", 8], bench.cpu[_OLD, "small_cnn", 8], strict=False)
    of_old = [over(ours, theirs) for ours, theirs in cpu]  # empty without `--old`
    name = "small_cnn, CPU of an answer over that of the old one"
    return ({name: Aim(median(of_old), at_most=1.1)} if of_old else {}) | {
        "small_cnn, 8 clients, one process over the naive handler": Aim(
            alike["masktune over naive, 8 clients"], at_least=1.2
        ),
        "small_cnn, 32 clients, one process over the naive handler": Aim(
            alike["masktune over naive, 32 clients"], at_least=1.2
        ),
        "small_cnn, 32 clients, over LitServe": Aim(over_rival("litserve"), at_least=2),
        "small_cnn, 32 clients, over the naive handler": Aim(over_rival("naive"), at_least=2),
        "small_cnn, 32 clients, p99 over p50": Aim(median(tails), at_most=2),
        "resnet50, 8 clients, over the engine's batch 16": Aim(of_engine(8, 16), at_least=0.92),
        "resnet50, 1 client, over the engine's batch 1": Aim(of_engine(1, 1), at_least=0.8),
        "predict job over torch's own rate": Aim(job, at_least=0.9),
        "resnet50, twice the best rate: throughput over it": Aim(flood["throughput"], at_least=0.9),
        "small_cnn, twice the best rate: throughput over it": Aim(light["throughput"], at_least=0.85),
        "resnet50, twice the best rate: p99 over that at 32 clients": Aim(flood["p99"], at_most=1.5),
        "resnet50, twice the best rate: /livez p99, ms": Aim(flood["livez_p99_ms"], at_most=50),
        "small_cnn, twice the best rate: /livez p99, ms": Aim(light["livez_p99_ms"], at_most=50),
        **explaining_aims(bench, explaining),
    }


if __name__ == "__main__":
    sys.exit(main())
