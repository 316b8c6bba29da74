"""What a job may cost, before it starts: from what earlier jobs measured, else from a stated guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

GUESSED_SIDE = 28
"""Side in pixels for which the small networks' guesses hold."""
GUESSES = {
    "small_cnn": (2_000.0, 6_000.0),
    "resnet32": (150.0, 600.0),
    "resnet18": (12.0, 40.0),
    "resnet50": (5.0, 16.0),
}
"""Images per second on two CPU cores, trained and looked at; an order of magnitude, no more."""
UNKNOWN = (8.0, 25.0)
"""For a network that nobody has measured here."""
SMALL_SIDE, SMALL_EPOCHS, LARGE_EPOCHS = 64, 15, 30
"""What the service is expected to choose where a field is left empty; the started job shows what it chose."""
OVERHEAD = 12.0
"""Seconds: a worker's child starts, and libraries load."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained, as far as it is known. `side`: of the images in pixels."""

    kind: str
    images: Mapping[str, int]
    """By split."""
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
        """The images that the job is about, with their name."""
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
    """What one ended job took: images per second by stage, and what they were taken on."""

    job: str
    backbone: str
    image_size: int | None
    dataset: str | None
    rates: Mapping[str, float]
    device: str


@dataclass(frozen=True)
class Estimate:
    """`seconds` in all; `basis` says where the figure comes from."""

    seconds: float
    basis: str
    measured: bool


def work(plan: Plan) -> dict[str, int]:
    """Images that each stage passes through the network."""
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
        case "predict":  # a pass as measuring is; reports tell of no other
            return {"evaluate": sum(plan.images.values())}
        case _:  # `images` are those that are measured; the calibration split is asked for thresholds before
            return {"evaluate": sum(plan.images.values())}


def estimate(plan: Plan, earlier: Sequence[Measured]) -> Estimate:
    """Seconds for this plan. An earlier job counts if its network and the size of its images are the same."""
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
        f"A guess: no job has run {plan.network} at this size here yet; it supposes two CPU cores, "
        "a GPU is many times faster",
        False,
    )


def measured(job: str, dataset: str | None, params: Json, cost: Sequence[Json]) -> Measured:
    """From an ended job's parameters and the `cost` of its report."""
    rates = {str(c["stage"]): float(c["images_per_second"]) for c in cost if c.get("images_per_second")}
    device = next((str(c["device"]) for c in cost if c.get("device")), "")
    return Measured(job, str(params.get("backbone", "")), params.get("image_size"), dataset, rates, device)


def _guessed(plan: Plan) -> tuple[float, float]:
    """(trained, looked at) images per second without any measurement."""
    trained, looked = GUESSES.get(plan.network.rpartition("/")[2], UNKNOWN)
    base = GUESSED_SIDE if plan.network in ("small_cnn", "resnet32") else 224
    shrink = (base / max(1, plan.image_size or (plan.side if base == GUESSED_SIDE else None) or base)) ** 2
    return trained * shrink, looked * shrink
