"""Engines side by side: how fast each answers, how close it stays to torch, and what a map costs.

    python -m benchmarks.engines [--networks small_cnn resnet50] [--rounds 5]

torch and ONNX Runtime, built as in the service, and called directly with decoded pixels: handwritten digits,
at 28 px in SmallCNN on one thread, at 224 px in ResNet-50 on all cores. SmallCNN is trained on half of them.
ResNet-50 keeps random filters, which does not affect its speed; its last layer is fitted to their features.

Each round measures both engines one after the other, so that changes in the machine's speed affect both; a
ratio is taken within each round, and the median over the rounds is reported. Labels are compared on the other
half of the digits (200 of them for ResNet-50). Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from app.inference.engines.onnx import TOLERANCE, OnnxEngine, difference
from app.inference.engines.torch import TorchEngine
from app.inference.types import Engine, Explain, Scores
from benchmarks._common import Aim, finish, table, usable_cores
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.images.decoding import to_unit
from models.onnx_export import export_onnx
from models.run import Run
from models.runtime.process import prepare_process

CLASSES = 10
BATCHES = (1, 16)
_ENOUGH_SECONDS = 0.3
"""Least duration of one measurement in a round."""
_MOST_EXPLAINING = 1.2
_XGRADCAM = Explain("xgradcam")


@dataclass(frozen=True)
class Kind:
    """A network, and at most how many digits to fit and to judge it with."""

    backbone: str
    side: int
    threads: int
    fitting: int
    judging: int


KINDS = {
    "small_cnn": Kind("small_cnn", 28, 1, 898, 899),
    "resnet50": Kind("resnet50", 224, usable_cores(), 200, 200),
}


class Digits(NamedTuple):
    """`images` (N, 3, S, S) uint8, `labels` (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    prepare_process(usable_cores())
    rows: list[dict[str, Any]] = []
    aims: dict[str, Aim] = {}
    for name in arguments.networks:
        with tempfile.TemporaryDirectory(prefix="masktune-engines-") as folder:
            figures, targets = measure(KINDS[name], arguments.rounds, Path(folder))
        rows, aims = rows + figures, aims | targets
    print(table(rows))
    for key, aim in aims.items():
        print(f"{key:58} {aim.value:10.3g}  {'held' if aim.ok else 'MISSED'}")
    return finish("engines", Run(), rows=rows, aims=aims, rounds=arguments.rounds)


def measure(kind: Kind, rounds: int, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Aim]]:
    """One row per engine, and the targets."""
    torch.set_num_threads(kind.threads)
    fitting, judging = digits(kind)
    network = fitted(kind, fitting)
    engines = built(network, kind, folder)
    by_engine = {name: answers(engine, judging.images) for name, engine in engines.items()}
    rates, costs = timed(engines, judging.images, rounds)
    rows = [
        _row(kind, name, rates, costs, by_engine[name], by_engine["torch"], judging.labels)
        for name in engines
    ]
    return rows, _aims(kind, rows)


def digits(kind: Kind) -> tuple[Digits, Digits]:
    """The digits to fit with and those to judge with; no digit is in both."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    half = len(order) // 2
    return tuple(  # type: ignore[return-value]  # two of them
        Digits(np.stack([_square(pixels[n], kind.side) for n in rows]), labels[rows].astype(np.int64))
        for rows in (order[:half][: kind.fitting], order[half:][: kind.judging])
    )


def _square(digit: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    picture = Image.fromarray((digit.reshape(8, 8) * 15.9).astype(np.uint8)).convert("RGB")
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def fitted(kind: Kind, data: Digits) -> Network:
    """A network that tells most digits apart, so that its accuracy is meaningful."""
    torch.manual_seed(0)
    network = build_network(kind.backbone, classes=CLASSES, image_size=kind.side, seed=0)
    images, labels = to_unit(torch.from_numpy(data.images)), torch.from_numpy(data.labels)
    if kind.backbone == "small_cnn":
        _train(network, images, labels)
    else:
        _fit_last_layer(network, images, labels)
    return network.eval()


def _train(network: Network, images: torch.Tensor, labels: torch.Tensor, epochs: int = 12) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, epochs)
    network.train()
    for _ in range(epochs):
        for some in torch.split(torch.randperm(len(labels)), 32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images[some]), labels[some])
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()


def _fit_last_layer(network: Network, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Ridge regression on the random filters' features, after the batch norms have seen the images."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches, not a moving one
    layer = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        for some in torch.split(images, 32):
            network.train()(some)
        network.eval()
        features = torch.cat(
            [network.features(some).mean((2, 3)) for some in torch.split(images, 16)]
        ).double()
        centre, spread = features.mean(0), features.std(0) + 1e-6
        features = (features - centre) / spread
        targets = torch.nn.functional.one_hot(labels, CLASSES).double() - 1 / CLASSES
        gram = features @ features.T + len(labels) * torch.eye(len(labels), dtype=torch.float64)
        weights = (features.T @ torch.linalg.solve(gram, targets)) / spread[:, None]
        layer.weight.copy_(10 * weights.T)
        layer.bias.copy_(10 * (1 / CLASSES - centre @ weights))


def built(network: Network, kind: Kind, folder: Path) -> dict[str, Engine]:
    """Every engine of the service, by name."""
    graph = folder / "model.onnx"
    export_onnx(network, graph)
    in_torch = TorchEngine(network, None, torch.device("cpu"))
    in_onnx = OnnxEngine(in_torch, graph, threads=kind.threads)
    return {"torch": in_torch, "onnxruntime": in_onnx}


def answers(engine: Engine, images: NDArray[np.uint8]) -> Scores:
    """The scores of all images, computed sixteen at a time."""
    return Scores.joined([engine.run(images[n : n + 16], None) for n in range(0, len(images), 16)])


class Timed(NamedTuple):
    """One value per round: images/s by engine and batch size; the time with maps over that without, at 16."""

    rates: Mapping[tuple[str, int], Sequence[float]]
    explaining: Mapping[str, Sequence[float]]


def timed(engines: Mapping[str, Engine], images: NDArray[np.uint8], rounds: int) -> Timed:
    """Measure all engines in each round."""
    rates: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    explaining: defaultdict[str, list[float]] = defaultdict(list)
    for engine in engines.values():  # the first run of a shape chooses its kernels
        for batch in BATCHES:
            engine.run(images[:batch], None)
            engine.run(images[:batch], _XGRADCAM)
    for _ in range(rounds):
        for name, engine in engines.items():
            for batch in BATCHES:
                rates[name, batch].append(batch / _seconds(engine, images[:batch], None))
            explaining[name].append(_seconds(engine, images[:16], _XGRADCAM) * rates[name, 16][-1] / 16)
    return Timed(rates, explaining)


def _seconds(engine: Engine, images: NDArray[np.uint8], explain: Explain | None) -> float:
    """Seconds of one run: the median of as many as fill the duration, at least two."""
    took: list[float] = []
    while sum(took) < _ENOUGH_SECONDS or len(took) < 2:
        began = time.perf_counter()
        engine.run(images, explain)
        took.append(time.perf_counter() - began)
    return median(took)


def _row(
    kind: Kind,
    name: str,
    rates: Mapping[tuple[str, int], Sequence[float]],
    explaining: Mapping[str, Sequence[float]],
    scores: Scores,
    torchs: Scores,
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    right = np.asarray(scores.logits.argmax(1) == labels)
    apart = difference(scores, torchs)
    row: dict[str, Any] = {"network": kind.backbone, "engine": name, "threads": kind.threads}
    for batch in BATCHES:
        pairs = zip(rates[name, batch], rates["torch", batch], strict=True)
        row[f"images/s at {batch}"] = round(median(rates[name, batch]), 1)
        row[f"over torch at {batch}"] = round(median(own / torchs for own, torchs in pairs), 2)
    return row | {
        "map over none": round(median(explaining[name]), 2),
        "logits off": apart.logit,
        "labels differ": apart.labels,
        "accuracy": float(right.mean()),
        "n": len(right),
    }


def _aims(kind: Kind, rows: Sequence[Mapping[str, Any]]) -> dict[str, Aim]:
    aims = {}
    for row in rows:
        name = f"{kind.backbone}, {row['engine']}"
        if row["engine"] != "torch":
            for batch in BATCHES:
                aims[f"{name}: rate over torch's at {batch}"] = Aim(row[f"over torch at {batch}"], at_least=1)
        if row["engine"] == "onnxruntime":
            aims[f"{name}: logits off torch's"] = Aim(row["logits off"], at_most=TOLERANCE)
            aims[f"{name}: labels that differ from torch's"] = Aim(row["labels differ"], at_most=0)
        if kind.backbone == "resnet50" and row["engine"] in ("torch", "onnxruntime"):  # a closed form
            aims[f"{name}: a map over none"] = Aim(row["map over none"], at_most=_MOST_EXPLAINING)
    return aims


if __name__ == "__main__":
    sys.exit(main())
