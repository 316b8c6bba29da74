"""The masking stage compared with its limit, a plain forward pass, and with the grad-cam package.

    python -m benchmarks.masking [--device cpu|cuda] [--networks resnet18 …] [--quick]

Random images are held in memory, so that no loader is measured. Measured per network and layout, in turn
and several times: `network(images)`, one batch after the other on all cores; the same with one batch on
each core, as in the stage (`apart`); the stage (maps, thresholds, mask set written to disk); and the
package's XGradCAM with the mask in numpy, always in torch's own layout. Figures are medians over the
runs; shares and gains are medians of the pairs. Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks._common import device_name, load_average
from benchmarks._needs import need_device
from masktune.contract.hyperparameters import MaskingConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.loading.batched_eval import side_by_side
from models.data.loading.batches import Batch
from models.masking.compute import compute_mask_set
from models.masking.store import MaskSet
from models.run import Run
from models.runtime.process import prepare_process


class Case(NamedTuple):
    """`share` is the target: the stage's rate over the forward pass's."""

    size: int
    batch: int
    images: int
    share: float


CASES = {
    "small_cnn": Case(28, 256, 12_800, 0.80),  # as `map_loader` batches small images
    "resnet18": Case(224, 16, 160, 0.95),
    "resnet50": Case(224, 16, 96, 0.95),
}
# On a GPU the batches are large enough to fill it.
CUDA_CASES = {
    "small_cnn": Case(28, 1024, 102_400, 0.80),
    "resnet18": Case(224, 256, 8192, 0.90),
    "resnet50": Case(224, 256, 8192, 0.90),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
OVER_LIBRARY = {"contiguous": 2.5, "channels_last": 3.0}
MOST_DIFFERENT = 1e-5
MOST_BYTES = 300


@dataclass(frozen=True)
class Fixed:
    """A loader that repeats one batch held in memory."""

    pixels: Tensor
    batches: int

    @property
    def images(self) -> int:
        return self.batches * len(self.pixels)

    def __len__(self) -> int:
        return self.batches

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        labels = torch.zeros(len(self.pixels), dtype=torch.int64, device=self.pixels.device)
        for index in range(self.batches):
            rows = torch.arange(len(self.pixels)) + index * len(self.pixels)
            yield Batch(self.pixels, labels, rows)


class Whole(nn.Module):
    """One forward pass with a layer to hook, as the package requires."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.tap = network, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.head(self.tap(self.network.features(images)))


def forward_pass(network: Network, loader: Fixed) -> None:
    with torch.inference_mode():
        for batch in loader.epoch(None):
            network(batch.images)


def forward_apart(network: Network, loader: Fixed) -> None:
    device = loader.pixels.device

    def answer(batch: Batch) -> None:
        with torch.inference_mode():
            network(batch.images)

    for _ in side_by_side(loader.epoch(None), device, answer):
        pass


def library_masks(network: Network, loader: Fixed) -> NDArray[np.bool_]:
    """The package's masks of the last batch."""
    from pytorch_grad_cam import XGradCAM

    whole = Whole(network).eval()
    masks: list[NDArray[np.bool_]] = []
    with XGradCAM(whole, [whole.tap]) as cam:
        for batch in loader.epoch(None):
            masks = []
            for heat in cam(batch.images, None):
                positive = heat[heat > 0]
                bound = positive.mean() + 2 * positive.std() if positive.size else np.inf
                masks.append(heat > bound)
    return np.array(masks)


def timed(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Plan:
    device: torch.device
    runs: int
    folder: Path


def measure(name: str, case: Case, layout: str, plan: Plan) -> dict[str, Any]:
    """Medians in images/s, the size of the mask set, and how many mask pixels differ from the package's."""
    network = build_network(name, classes=2, image_size=case.size, seed=1).to(plan.device)
    network = network.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]  # torch's stub knows no memory_format alone
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(case.batch, 3, case.size, case.size, generator=generator).to(plan.device)
    loader = Fixed(pixels.contiguous(memory_format=LAYOUTS[layout]), case.images // case.batch)
    plain = build_network(name, classes=2, image_size=case.size, seed=1).to(plan.device)
    plain = plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub knows no memory_format alone
    few = Fixed(pixels.contiguous(), max(1, loader.batches // 4))  # the package needs three times as long
    run = Run(device=plan.device)
    seconds = dict[str, list[float]](forward=[], apart=[], stage=[], library=[])
    folders = (plan.folder / f"{name}-{layout}-{i}" for i in range(plan.runs + 1))
    first_folder = next(folders)
    forward_pass(network, few)  # warm-up
    compute_mask_set(network, few, MaskingConfig(), run, folder=first_folder)
    reference = library_masks(network, Fixed(loader.pixels, 1))
    library_masks(plain, Fixed(few.pixels, 1))
    for folder in folders:
        seconds["forward"].append(timed(lambda: forward_pass(network, loader), plan.device))
        seconds["apart"].append(timed(lambda: forward_apart(network, loader), plan.device))
        seconds["stage"].append(
            timed(
                lambda at=folder: compute_mask_set(  # type: ignore[misc]  # a lambda's default
                    network, loader, MaskingConfig(), run, folder=at
                ),
                plan.device,
            )
        )
        seconds["library"].append(timed(lambda: library_masks(plain, few), plan.device))
    ours = MaskSet.open(first_folder).masks(torch.arange(case.batch), case.size, torch.device("cpu")).numpy()
    return {
        "network": name,
        "layout": layout,
        **rates(seconds, images=loader.images, few=few.images),
        "pixels_different": int((ours != reference).sum()),
        "pixels": ours.size,
        "bytes_per_image": sum(path.stat().st_size for path in folder.iterdir()) / loader.images,
    }


def rates(seconds: dict[str, list[float]], *, images: int, few: int) -> dict[str, float]:
    """Medians in images/s, and of the paired ratios; the package saw `few` images."""
    shares, apart = (
        statistics.median(f / s for f, s in zip(seconds[name], seconds["stage"], strict=True))
        for name in ("forward", "apart")
    )
    gains = [
        (slow / few) / (fast / images)
        for slow, fast in zip(seconds["library"], seconds["stage"], strict=True)
    ]
    return {
        "forward": images / statistics.median(seconds["forward"]),
        "stage": images / statistics.median(seconds["stage"]),
        "stage_over_forward": shares,
        "forward_apart": images / statistics.median(seconds["apart"]),
        "stage_over_forward_apart": apart,
        "library": few / statistics.median(seconds["library"]),
        "stage_over_library": statistics.median(gains),
    }


def targets(rows: list[dict[str, Any]], cases: dict[str, Case]) -> dict[str, dict[str, Any]]:
    outcomes: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = f"{row['network']}/{row['layout']}"
        aims = {"stage_over_forward": (row["stage_over_forward"], ">=", cases[row["network"]].share)}
        aims["bytes_per_image"] = (row["bytes_per_image"], "<=", MOST_BYTES)
        aims["pixels_different"] = (row["pixels_different"] / row["pixels"], "<=", MOST_DIFFERENT)
        aims["stage_over_library"] = (row["stage_over_library"], ">=", OVER_LIBRARY[row["layout"]])
        for aim, (value, sign, bound) in aims.items():
            ok = value >= bound if sign == ">=" else value <= bound
            outcomes[f"{key}/{aim}"] = {"value": value, sign: bound, "ok": ok}
    return outcomes


def show(row: dict[str, Any]) -> None:
    library = f"{row['library']:9.1f} {row['stage_over_library']:5.2f}"
    print(
        f"{row['network']:10} {row['layout']:13} {row['forward']:9.1f} "
        f"{row['stage']:9.1f} {row['stage_over_forward']:6.3f} "
        f"{row['forward_apart']:9.1f} {row['stage_over_forward_apart']:6.3f} {library} "
        f"{row['pixels_different']:6} of {row['pixels']:8} {row['bytes_per_image']:6.1f} B",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--quick", action="store_true", help="one short run of each: a smoke test")
    arguments = parser.parse_args()
    device = need_device(arguments.device)
    prepare_process(arguments.threads)
    torch.backends.cudnn.allow_tf32 = False  # as in the stage, whose fp32 is full float32
    cases = CUDA_CASES if device.type == "cuda" else CASES
    if arguments.quick:
        cases = {name: case._replace(images=2 * case.batch) for name, case in cases.items()}
    runs = 1 if arguments.quick else arguments.runs
    print(
        f"{'network':10} {'layout':13} {'forward':>9} {'stage':>9} {'share':>6} "
        f"{'apart':>9} {'share':>6} {'library':>9} {'gain':>5}"
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            for layout in LAYOUTS:
                rows.append(measure(name, cases[name], layout, Plan(device, runs, Path(folder))))
                show(rows[-1])
    aims = targets(rows, cases)
    ok = arguments.quick or all(aim["ok"] for aim in aims.values())
    where = device_name(device)
    print(
        json.dumps(
            {
                "benchmark": "masking",
                "device": where,
                "threads": arguments.threads,
                "load_average": load_average(),
                "runs": runs,
                "torch": torch.__version__,
                "figures": rows,
                "targets": aims,
                "ok": ok,
            }
        )
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
