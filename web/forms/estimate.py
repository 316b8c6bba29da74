"""Estimates a job's duration before it starts, from the rates of earlier jobs or else from a stated guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.report.report import StageCost

Json = Mapping[str, Any]

SMALL_NETWORK_SIDE = 28
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
OTHER_NETWORK = (8.0, 25.0)
"""The same for a network without an entry in `GUESSES`."""
SMALL_NETWORKS = ("small_cnn", "resnet32")
SMALL_SIDE, LIBRARY_SIDE, SMALL_EPOCHS, LARGE_EPOCHS = 64, 224, Hyperparameters.epochs, 30
"""The service's expected defaults for empty fields; the started job shows the actual ones."""
TRAINING_KINDS = ("mitigate", "erm", "masktune", "finetune")
"""The kinds of job that train a network, or its last layer, by epochs."""
OVERHEAD = 12.0
"""Seconds for a worker's child process to start and load libraries."""
MAP_LIMIT, MASK_LIMIT, MASK_PASSES = 2_048, 1_024, 4
"""Of a report: the most images of a split with a map, the most with masks, forward passes for masks."""


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
    def is_small(self) -> bool:
        return (self.side or SMALL_NETWORK_SIDE) <= SMALL_SIDE

    @property
    def image_count(self) -> tuple[str, int]:
        """The images that the job works on: (label, number)."""
        if self.kind in ("evaluate", "predict"):
            return "Images", sum(self.images.values())
        return "Training images", self.images.get("train", 0)

    @property
    def network(self) -> str:
        return self.backbone or ("small_cnn" if self.is_small else LITE0)

    @property
    def is_frozen(self) -> bool:
        """Whether only the last layer is trained; by default on photographs, with the packaged weights."""
        if self.freeze_backbone is not None:
            return self.freeze_backbone
        packaged = self.network in (LITE0, LITE0.removeprefix("timm/"))
        return not self.is_small and packaged and self.pretrained in (None, True)

    @property
    def size(self) -> int:
        """Side in pixels at which the network sees the images."""
        if self.image_size:
            return self.image_size
        keeps_side = self.network in SMALL_NETWORKS if self.is_small else self.is_frozen
        return min(max(self.side or 0, SMALL_NETWORK_SIDE), LIBRARY_SIDE) if keeps_side else LIBRARY_SIDE

    @property
    def expected_epochs(self) -> int:
        return self.epochs or (SMALL_EPOCHS if self.is_small else LARGE_EPOCHS)


@dataclass(frozen=True)
class MeasuredRates:
    """The throughput of one finished job: images per second by stage, and the device."""

    job: str
    backbone: str
    image_size: int | None
    is_frozen: bool
    rates: Mapping[str, float]
    device: str

    def fits(self, plan: Plan) -> bool:
        """Whether the plan runs the same network at the same image size and trains the same part of it."""
        same = (self.backbone, self.image_size) == (plan.network, plan.size)
        return same and (plan.kind not in TRAINING_KINDS or self.is_frozen == plan.is_frozen)

    def rate(self, stage: str) -> float | None:
        """With a frozen backbone, only the masks' rate counts: the other stages read features that exist."""
        return self.rates.get("mask" if self.is_frozen else stage)


@dataclass(frozen=True)
class Estimate:
    """`seconds` is the total; `basis` says where the figure comes from."""

    seconds: float
    basis: str
    is_measured: bool


def work(plan: Plan) -> dict[str, int]:
    """Number of images that each stage passes through the network.

    The features of a frozen backbone are computed once per image, for all epochs and models of the job, and
    once more for the masked images.
    """
    train, val = plan.images.get("train", 0), plan.images.get("val", 0)
    erm = train + val if plan.is_frozen else plan.expected_epochs * (train + val)
    finetune = train if plan.is_frozen else (plan.finetune_epochs or 1) * (train + val)
    match plan.kind:
        case "erm":
            return {"erm": erm} | _evaluation(plan, models=1, explained=1)
        case "masktune":
            control = {"control": finetune} if plan.control and not plan.is_frozen else {}
            evaluation = _evaluation(plan, models=3 if plan.control else 2, explained=2)
            return {"erm": erm, "mask": train, "finetune": finetune} | control | evaluation
        case "mitigate":
            heads = {"retrain_head": 0 if plan.is_frozen else train + val}
            tuned = {} if plan.is_frozen else {"mask": train, "finetune": finetune, "control": finetune}
            return {"erm": erm} | heads | tuned | _evaluation(plan, models=5, explained=3)
        case "retrain_head":
            return {"retrain_head": train + val} | _evaluation(plan, models=2, explained=2)
        case "mask":
            return {"mask": train}
        case "finetune":
            return {"finetune": finetune} | _evaluation(plan, models=1, explained=1)
        case "predict":  # a forward pass like evaluation, whose rate reports contain
            return {"evaluate": sum(plan.images.values())}
        case _:  # `images` are the evaluated splits; the calibration split for thresholds comes first
            return {"evaluate": sum(plan.images.values()) + _maps(plan.images)}


def _evaluation(plan: Plan, *, models: int, explained: int) -> dict[str, int]:
    """The same for calibration and evaluation; the report shows where `explained` of the models look."""
    calibration, val, test = (plan.images.get(split, 0) for split in ("calibration", "val", "test"))
    passes = {"calibrate": calibration * models, "evaluate": (val + test) * models}
    if plan.is_frozen:  # one set of features for all models; those of val exist since ERM
        passes = {"calibrate": calibration, "evaluate": test}
    return passes | {"evaluate": passes["evaluate"] + explained * _maps({"val": val, "test": test})}


def _maps(images: Mapping[str, int]) -> int:
    """Forward passes to show where a model looks and what its own mask costs, on these splits."""
    with_masks = sum(min(number, MASK_LIMIT) for number in images.values())
    return min(images.get("test", 0), MAP_LIMIT) + MASK_PASSES * with_masks


def estimate(plan: Plan, earlier: Sequence[MeasuredRates]) -> Estimate:
    """Estimate the plan's duration. An earlier job counts if it `fits` the plan."""
    measured = max((rates for rates in earlier if rates.fits(plan)), key=lambda m: len(m.rates), default=None)
    training_rate, forward_rate = _guess(plan)
    total, guess = OVERHEAD, 0.0
    for stage, images in work(plan).items():
        rate = measured.rate(stage) if measured is not None else None
        if not rate:
            trains = stage in ("erm", "finetune", "control") and not plan.is_frozen
            rate = training_rate if trains else forward_rate
            guess += images / rate
        total += images / rate
    if measured is not None and guess < (total - OVERHEAD) / 2:
        device = measured.device or "this machine"
        return Estimate(total, f"Measured: job {measured.job} ran {measured.backbone} on {device}", True)
    return Estimate(
        total,
        f"A guess: no such job has measured {plan.network} at {plan.size} px here yet. It assumes two CPU "
        "cores; a GPU is many times faster",
        False,
    )


def measured_rates(job: str, params: Json, cost: Sequence[StageCost]) -> MeasuredRates:
    """Build it from a finished job's parameters and the `cost` of its report."""
    rates = {c.stage.value: c.images_per_second for c in cost if c.images_per_second}
    device = next((c.device for c in cost if c.device), "")
    is_frozen = bool(params.get("freeze_backbone"))
    return MeasuredRates(
        job, str(params.get("backbone", "")), params.get("image_size"), is_frozen, rates, device
    )


def _guess(plan: Plan) -> tuple[float, float]:
    """Guessed images per second: (training, forward pass)."""
    training_rate, forward_rate = GUESSES.get(plan.network.rpartition("/")[2], OTHER_NETWORK)
    base = SMALL_NETWORK_SIDE if plan.network in SMALL_NETWORKS else LIBRARY_SIDE
    scale = (base / plan.size) ** 2
    return training_rate * scale, forward_rate * scale
