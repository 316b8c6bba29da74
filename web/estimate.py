"""Estimates a job's duration before it starts, from the rates of earlier jobs or else from a stated guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

GUESSED_SIDE = 28
"""Image side in pixels for which the guesses of the small networks hold."""
GUESSES = {
    "small_cnn": (2_000.0, 6_000.0),
    "resnet32": (150.0, 600.0),
    "resnet18": (12.0, 40.0),
    "resnet50": (5.0, 16.0),
}
"""Images per second on two CPU cores, in training and in a forward pass; orders of magnitude only."""
UNKNOWN = (8.0, 25.0)
"""The same for a network without an entry in `GUESSES`."""
SMALL_SIDE, SMALL_EPOCHS, LARGE_EPOCHS = 64, 15, 30
"""The service's expected defaults for empty fields; the started job shows the actual ones."""
OVERHEAD = 12.0
"""Seconds for a worker's child process to start and load libraries."""


@dataclass(frozen=True)
class Plan:
    """What the job will do, as far as it is known. `side`: side of the images in pixels."""

    kind: str
    images: Mapping[str, int]
    """Number of images by split."""
    backbone: str | None = None
    epochs: int | None = None
    image_size: int | None = None
    finetune_epochs: int | None = None
    control: bool = True
    side: int | None = None

    @property
    def small(self) -> bool:
        return (self.image_size or self.side or GUESSED_SIDE) <= SMALL_SIDE

    @property
    def counted(self) -> tuple[str, int]:
        """The images that the job works on: (label, number)."""
        if self.kind in ("evaluate", "predict"):
            return "Images", sum(self.images.values())
        return "Training images", self.images.get("train", 0)

    @property
    def network(self) -> str:
        return self.backbone or ("small_cnn" if self.small else "resnet18")

    @property
    def passes(self) -> int:
        return self.epochs or (SMALL_EPOCHS if self.small else LARGE_EPOCHS)


@dataclass(frozen=True)
class Measured:
    """The throughput of one finished job: images per second by stage, and the device."""

    job: str
    backbone: str
    image_size: int | None
    dataset: str | None
    rates: Mapping[str, float]
    device: str


@dataclass(frozen=True)
class Estimate:
    """`seconds` is the total; `basis` says where the figure comes from."""

    seconds: float
    basis: str
    measured: bool


def work(plan: Plan) -> dict[str, int]:
    """Number of images that each stage passes through the network."""
    train, val = plan.images.get("train", 0), plan.images.get("val", 0)
    rest = sum(plan.images.get(split, 0) for split in ("val", "calibration", "test"))
    trained, tuned = plan.passes * (train + val), (plan.finetune_epochs or 1) * (train + val)
    erm = {"erm": trained, "calibrate": plan.images.get("calibration", 0), "evaluate": rest}
    match plan.kind:
        case "erm":
            return erm
        case "masktune":
            models = 3 if plan.control else 2
            more = {"mask": train, "finetune": tuned} | ({"control": tuned} if plan.control else {})
            return erm | more | {"calibrate": erm["calibrate"] * models, "evaluate": rest * models}
        case "retrain_head":
            return {"retrain_head": train + val, "calibrate": erm["calibrate"] * 2, "evaluate": rest * 2}
        case "mask":
            return {"mask": train}
        case "finetune":
            return {"finetune": tuned, "calibrate": erm["calibrate"], "evaluate": rest}
        case "predict":  # a forward pass like evaluation, whose rate reports contain
            return {"evaluate": sum(plan.images.values())}
        case _:  # `images` are the evaluated splits; the calibration split for thresholds comes first
            return {"evaluate": sum(plan.images.values())}


def estimate(plan: Plan, earlier: Sequence[Measured]) -> Estimate:
    """Estimate the plan's duration. An earlier job counts if its network and image size are the same."""
    jobs = [m for m in earlier if m.backbone == plan.network and plan.image_size in (None, m.image_size)]
    known = max(jobs, key=lambda m: len(m.rates), default=None)
    trained, looked = _guessed(plan)
    total, guessed = OVERHEAD, 0.0
    for stage, images in work(plan).items():
        rate = known.rates.get(stage) if known is not None else None
        if not rate:
            rate = trained if stage in ("erm", "finetune", "control") else looked
            guessed += images / rate
        total += images / rate
    if known is not None and guessed < (total - OVERHEAD) / 2:
        return Estimate(
            total, f"Measured: job {known.job} ran {known.backbone} on {known.device or 'this machine'}", True
        )
    return Estimate(
        total,
        f"A guess: no job has run {plan.network} at this image size here yet. It assumes two CPU cores; "
        "a GPU is many times faster",
        False,
    )


def measured(job: str, dataset: str | None, params: Json, cost: Sequence[Json]) -> Measured:
    """Build it from a finished job's parameters and the `cost` of its report."""
    rates = {str(c["stage"]): float(c["images_per_second"]) for c in cost if c.get("images_per_second")}
    device = next((str(c["device"]) for c in cost if c.get("device")), "")
    return Measured(job, str(params.get("backbone", "")), params.get("image_size"), dataset, rates, device)


def _guessed(plan: Plan) -> tuple[float, float]:
    """Guessed images per second: (training, forward pass)."""
    trained, looked = GUESSES.get(plan.network.rpartition("/")[2], UNKNOWN)
    base = GUESSED_SIDE if plan.network in ("small_cnn", "resnet32") else 224
    shrink = (base / max(1, plan.image_size or (plan.side if base == GUESSED_SIDE else None) or base)) ** 2
    return trained * shrink, looked * shrink
