"""Estimates a job's duration before it starts, from the rates of earlier jobs or else from a stated guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.report.report import StageCost

Json = Mapping[str, Any]

GUESSED_SIDE = 28
"""Image side in pixels for which the guesses of the small networks hold."""
LITE0 = "timm/tf_efficientnet_lite0"
GUESSES = {
    "small_cnn": (2_000.0, 6_000.0),
    "resnet32": (150.0, 600.0),
    "resnet18": (12.0, 40.0),
    "resnet50": (5.0, 16.0),
    "tf_efficientnet_lite0": (15.0, 45.0),
}
"""Images per second on two CPU cores, in training and in a forward pass; orders of magnitude only."""
UNKNOWN = (8.0, 25.0)
"""The same for a network without an entry in `GUESSES`."""
SMALL_NETWORKS = ("small_cnn", "resnet32")
SMALL_SIDE, LIBRARY_SIDE, SMALL_EPOCHS, LARGE_EPOCHS = 64, 224, Hyperparameters.epochs, 30
"""The service's expected defaults for empty fields; the started job shows the actual ones."""
TRAINING = ("erm", "masktune", "finetune")
"""The kinds of job that train a network, or its last layer, by epochs."""
OVERHEAD = 12.0
"""Seconds for a worker's child process to start and load libraries."""
MAPPED, MASKED, MASKED_PASSES = 2_048, 1_024, 4
"""What a report looks at: the most images of a split with a map, the most with masks, passes for masks."""


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
    pretrained: bool | str | None = None
    freeze_backbone: bool | None = None

    @property
    def small(self) -> bool:
        return (self.side or GUESSED_SIDE) <= SMALL_SIDE

    @property
    def counted(self) -> tuple[str, int]:
        """The images that the job works on: (label, number)."""
        if self.kind in ("evaluate", "predict"):
            return "Images", sum(self.images.values())
        return "Training images", self.images.get("train", 0)

    @property
    def network(self) -> str:
        return self.backbone or ("small_cnn" if self.small else LITE0)

    @property
    def frozen(self) -> bool:
        """Whether only the last layer is trained; by default on photographs, with the packaged weights."""
        if self.freeze_backbone is not None:
            return self.freeze_backbone
        packaged = self.network in (LITE0, LITE0.removeprefix("timm/"))
        return not self.small and packaged and self.pretrained in (None, True)

    @property
    def size(self) -> int:
        """Side in pixels at which the network sees the images."""
        if self.image_size:
            return self.image_size
        own = self.network in SMALL_NETWORKS if self.small else self.frozen
        return min(max(self.side or 0, GUESSED_SIDE), LIBRARY_SIDE) if own else LIBRARY_SIDE

    @property
    def passes(self) -> int:
        return self.epochs or (SMALL_EPOCHS if self.small else LARGE_EPOCHS)


@dataclass(frozen=True)
class Measured:
    """The throughput of one finished job: images per second by stage, and the device."""

    job: str
    backbone: str
    image_size: int | None
    frozen: bool
    rates: Mapping[str, float]
    device: str

    def fits(self, plan: Plan) -> bool:
        """Whether the plan runs the same network at the same image size and trains the same part of it."""
        same = (self.backbone, self.image_size) == (plan.network, plan.size)
        return same and (plan.kind not in TRAINING or self.frozen == plan.frozen)

    def rate(self, stage: str) -> float | None:
        """With a frozen backbone, only the masks' rate counts: the other stages read features that exist."""
        return self.rates.get("mask" if self.frozen else stage)


@dataclass(frozen=True)
class Estimate:
    """`seconds` is the total; `basis` says where the figure comes from."""

    seconds: float
    basis: str
    measured: bool


def work(plan: Plan) -> dict[str, int]:
    """Number of images that each stage passes through the network.

    The features of a frozen backbone are computed once per image, for all epochs and models of the job, and
    once more for the masked images.
    """
    train, val = plan.images.get("train", 0), plan.images.get("val", 0)
    erm = train + val if plan.frozen else plan.passes * (train + val)
    tuned = train if plan.frozen else (plan.finetune_epochs or 1) * (train + val)
    match plan.kind:
        case "erm":
            return {"erm": erm} | _judging(plan, models=1, shown=1)
        case "masktune":
            control = {"control": tuned} if plan.control and not plan.frozen else {}
            judging = _judging(plan, models=3 if plan.control else 2, shown=2)
            return {"erm": erm, "mask": train, "finetune": tuned} | control | judging
        case "retrain_head":
            return {"retrain_head": train + val} | _judging(plan, models=2, shown=2)
        case "mask":
            return {"mask": train}
        case "finetune":
            return {"finetune": tuned} | _judging(plan, models=1, shown=1)
        case "predict":  # a forward pass like evaluation, whose rate reports contain
            return {"evaluate": sum(plan.images.values())}
        case _:  # `images` are the evaluated splits; the calibration split for thresholds comes first
            return {"evaluate": sum(plan.images.values()) + _maps(plan.images)}


def _judging(plan: Plan, *, models: int, shown: int) -> dict[str, int]:
    """The same for calibration and evaluation; the report shows where `shown` of the models look."""
    calibration, val, test = (plan.images.get(split, 0) for split in ("calibration", "val", "test"))
    plain = {"calibrate": calibration * models, "evaluate": (val + test) * models}
    if plan.frozen:  # one set of features for all models; those of val exist since ERM
        plain = {"calibrate": calibration, "evaluate": test}
    return plain | {"evaluate": plain["evaluate"] + shown * _maps({"val": val, "test": test})}


def _maps(images: Mapping[str, int]) -> int:
    """Forward passes to show where a model looks and what its own mask costs, on these splits."""
    masked = sum(min(number, MASKED) for number in images.values())
    return min(images.get("test", 0), MAPPED) + MASKED_PASSES * masked


def estimate(plan: Plan, earlier: Sequence[Measured]) -> Estimate:
    """Estimate the plan's duration. An earlier job counts if it `fits` the plan."""
    known = max((m for m in earlier if m.fits(plan)), key=lambda m: len(m.rates), default=None)
    trained, looked = _guessed(plan)
    total, guessed = OVERHEAD, 0.0
    for stage, images in work(plan).items():
        rate = known.rate(stage) if known is not None else None
        if not rate:
            by_epochs = stage in ("erm", "finetune", "control") and not plan.frozen
            rate = trained if by_epochs else looked
            guessed += images / rate
        total += images / rate
    if known is not None and guessed < (total - OVERHEAD) / 2:
        return Estimate(
            total, f"Measured: job {known.job} ran {known.backbone} on {known.device or 'this machine'}", True
        )
    return Estimate(
        total,
        f"A guess: no such job has measured {plan.network} at {plan.size} px here yet. It assumes two CPU "
        "cores; a GPU is many times faster",
        False,
    )


def measured(job: str, params: Json, cost: Sequence[StageCost]) -> Measured:
    """Build it from a finished job's parameters and the `cost` of its report."""
    rates = {c.stage.value: c.images_per_second for c in cost if c.images_per_second}
    device = next((c.device for c in cost if c.device), "")
    frozen = bool(params.get("freeze_backbone"))
    return Measured(job, str(params.get("backbone", "")), params.get("image_size"), frozen, rates, device)


def _guessed(plan: Plan) -> tuple[float, float]:
    """Guessed images per second: (training, forward pass)."""
    trained, looked = GUESSES.get(plan.network.rpartition("/")[2], UNKNOWN)
    base = GUESSED_SIDE if plan.network in SMALL_NETWORKS else LIBRARY_SIDE
    shrink = (base / plan.size) ** 2
    return trained * shrink, looked * shrink
