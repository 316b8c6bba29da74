"""Hyperparameters: one frozen object, always passed whole, from the request to the checkpoint.

Plain dataclasses, so this package needs no web framework. `from_json` is strict, so a typo in a preset
or in the JSON beside a checkpoint fails where it is read.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from models.errors import LearningError

Augmentation = Literal["none", "flip", "crop_flip", "flip_affine", "pad_crop", "crop_flip_jitter"]
Crop = Literal["none", "centre", "square"]
Fill = Literal["black", "mean", "blur"]
GroupSource = Literal["given", "saliency_clusters", "disagreement", "cross_mistakes"]
OptimizerName = Literal["sgd", "adam", "adamw"]
Precision = Literal["auto", "fp32", "bf16"]
ScheduleName = Literal["constant", "multistep", "cosine"]
Target = Literal["predicted", "label"]


class ConfigError(LearningError, ValueError):
    """A hyperparameter that cannot be used. `pointer` is its JSON pointer (RFC 6901)."""

    reason = "invalid_parameters"

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer}: {message}")
        self.pointer = pointer
        self.message = message


class _Json:
    """Strict conversion to and from plain JSON values, shared by every config object."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]  # a mixin of dataclasses only

    @classmethod
    def from_json(cls, value: object, pointer: str = "") -> Self:
        if not isinstance(value, dict):
            raise ConfigError(pointer or "/", "must be an object")
        hints = typing.get_type_hints(cls)
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # a mixin of dataclasses only
        for name in value:
            if name not in known:
                raise ConfigError(f"{pointer}/{name}", "is not a known field")
        return cls(**{k: _convert(hints[k], v, f"{pointer}/{k}") for k, v in value.items()})


def _convert(hint: Any, value: object, pointer: str) -> Any:
    """Convert `value` to the annotated type: nested configs, tuples of a plain type, unions, literals."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            if _fits(option, value):
                return _convert(option, value, pointer)
        raise ConfigError(pointer, f"{value!r} does not have an accepted type")
    if origin is Literal:
        if value not in args:
            raise ConfigError(pointer, f"must be one of {', '.join(map(str, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(pointer, "must be a list")
        return tuple(_convert(args[0], v, f"{pointer}/{i}") for i, v in enumerate(value))
    if isinstance(hint, type) and issubclass(hint, _Json):
        return value if isinstance(value, hint) else hint.from_json(value, pointer)
    if not _fits(hint, value):
        raise ConfigError(pointer, f"must be {getattr(hint, '__name__', hint)}")
    return float(value) if hint is float else value  # type: ignore[arg-type]  # _fits has checked it


def _fits(hint: Any, value: object) -> bool:
    if hint is type(None):
        return value is None
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float)
    if isinstance(hint, type):
        return isinstance(value, hint) or (issubclass(hint, _Json) and isinstance(value, dict))
    return typing.get_origin(hint) is not tuple or isinstance(value, list | tuple)


def _require(ok: bool, pointer: str, message: str) -> None:
    if not ok:
        raise ConfigError(pointer, message)


@dataclass(frozen=True)
class OptimizerConfig(_Json):
    """The optimizer of ERM. The finetune continues from its state, with the finetune's learning rate.

    `momentum` and `nesterov` are for sgd. adam and adamw ignore `momentum` and use torch's default betas,
    0.9 and 0.999.
    """

    name: OptimizerName = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False

    def __post_init__(self) -> None:
        _require(0 < self.learning_rate < 1e3, "/optimizer/learning_rate", "must be in (0, 1000)")
        _require(0 <= self.momentum < 1, "/optimizer/momentum", "must be in [0, 1)")
        _require(self.weight_decay >= 0, "/optimizer/weight_decay", "must not be negative")
        _require(
            not self.nesterov or (self.name == "sgd" and self.momentum > 0),
            "/optimizer/nesterov",
            "needs sgd with a momentum above 0",
        )


@dataclass(frozen=True)
class ScheduleConfig(_Json):
    """The learning rate by epoch: constant, multiplied by `gamma` at each milestone, or a half cosine."""

    name: ScheduleName = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5

    def __post_init__(self) -> None:
        _require(0 < self.gamma <= 1, "/schedule/gamma", "must be in (0, 1]")
        _require(
            all(m > 0 for m in self.milestones) and list(self.milestones) == sorted(set(self.milestones)),
            "/schedule/milestones",
            "must be epochs above 0, in ascending order",
        )
        _require(
            (self.name == "multistep") == bool(self.milestones),
            "/schedule/milestones",
            "are only for the schedule multistep, which needs at least one",
        )


@dataclass(frozen=True)
class MaskingConfig(_Json):
    """Which pixels are masked: those whose saliency is above mean + `sigmas`·std of the positive values.

    `share`, in (0, 1), masks that share of each image's pixels instead, the most salient first.
    `method` is a saliency method, or `random`: the same number of pixels, at random places.

    `crop` is the part of the image that the map is computed from; the mask is stretched over the whole
    image nonetheless. `centre` (7/8 of each side, like 224 of 256 px) and `square` (the central square
    on the shorter side) reproduce a bug of the paper's code on Waterbirds and CelebA.
    """

    method: str = "xgradcam"
    target: Target = "predicted"
    sigmas: float = 2.0
    share: float | None = None
    iterations: int = 1
    accumulate: bool = True
    fill: Fill = "black"
    crop: Crop = "none"

    def __post_init__(self) -> None:
        _require(-10 <= self.sigmas <= 10, "/masking/sigmas", "must be in [-10, 10]")
        _require(self.share is None or 0 < self.share < 1, "/masking/share", "must be in (0, 1)")
        _require(1 <= self.iterations <= 3, "/masking/iterations", "must be 1, 2 or 3")


@dataclass(frozen=True)
class FinetuneConfig(_Json):
    """The training on masked images. `learning_rate` defaults to the last one of ERM."""

    epochs: int = 1
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        _require(1 <= self.epochs <= 1000, "/finetune/epochs", "must be in 1..1000")
        _require(
            self.learning_rate is None or 0 < self.learning_rate < 1e3,
            "/finetune/learning_rate",
            "must be in (0, 1000)",
        )


@dataclass(frozen=True)
class Hyperparameters(_Json):
    """Everything that determines a training, apart from the data and the number of threads.

    `image_size` is the side, in pixels, of the square that the network sees. `pretrained` is
    False, True (published weights) or the id of one of the service's own models.
    `freeze_backbone` trains only the last layer, on features that are computed once for each image.

    `as_released` follows the paper's code where that departs from the text: the schedule is never
    stepped, and ERM's best epoch is the first with the highest mean of batch means on val.
    """

    backbone: str = "small_cnn"
    pretrained: bool | str = False
    image_size: int = 28
    epochs: int = 15
    batch_size: int = 32
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augmentation: Augmentation = "none"
    seed: int = 0
    precision: Precision = "auto"
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    control: bool = True
    gpus: int = 1
    as_released: bool = False
    freeze_backbone: bool = False

    def __post_init__(self) -> None:
        _require(
            not self.freeze_backbone or self.pretrained is not False,
            "/freeze_backbone",
            "needs `pretrained`: nothing can be learnt from the features of random weights",
        )
        _require(
            not self.freeze_backbone or self.augmentation == "none",
            "/augmentation",
            "must be none for a frozen backbone, whose features are computed once for each image; "
            "set freeze_backbone to false to train the whole network",
        )
        _require(
            not self.freeze_backbone or self.gpus == 1,
            "/gpus",
            "must be 1 for a frozen backbone, whose features are computed once; set freeze_backbone to false "
            "to train the whole network",
        )
        _require(8 <= self.image_size <= 1024, "/image_size", "must be in 8..1024")
        _require(1 <= self.epochs <= 10_000, "/epochs", "must be in 1..10000")
        _require(2 <= self.batch_size <= 65_536, "/batch_size", "must be in 2..65536")
        _require(0 <= self.seed < 2**63, "/seed", "must be in 0..2^63-1")
        _require(1 <= self.gpus <= 1024, "/gpus", "must be in 1..1024")
        _require(
            self.batch_size >= 2 * self.gpus,
            "/batch_size",
            "must be at least twice `gpus`: batch norm cannot normalise a single image",
        )


@dataclass(frozen=True)
class HeadConfig(_Json):
    """How groups are inferred, and how a head balanced over them is fitted.

    A sample is a mistake if the mean held-out probability of its label is below `threshold`.
    `judge_penalties` and `penalties` are the values tried for the heads that infer the groups and for
    the final head; a penalty weights ½‖W‖² against the mean cross-entropy, on standardised features.
    Each of the `rounds` refines the mistakes (see `models.mitigation.groups.cross_mistakes`).
    """

    threshold: float = 0.5
    rounds: int = 2
    judge_penalties: tuple[float, ...] = (1.0, 0.1, 0.01)
    penalties: tuple[float, ...] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
    folds: int = 5
    repeats: int = 2

    def __post_init__(self) -> None:
        _require(0 < self.threshold < 1, "/head/threshold", "must be in (0, 1)")
        _require(0 <= self.rounds <= 20, "/head/rounds", "must be in 0..20")
        for name in ("judge_penalties", "penalties"):
            tried = getattr(self, name)
            _require(0 < len(tried) <= 20, f"/head/{name}", "must be 1 to 20 penalties")
            _require(all(0 < p < 1e9 for p in tried), f"/head/{name}", "must be in (0, 1e9)")
        _require(2 <= self.folds <= 20, "/head/folds", "must be in 2..20")
        _require(1 <= self.repeats <= 20, "/head/repeats", "must be in 1..20")


@dataclass(frozen=True)
class RetrainConfig(_Json):
    """Everything that determines a retrained head, apart from the model and the data.

    `second_model` is the id of the model to compare with; only `disagreement` uses it.
    """

    groups: GroupSource = "cross_mistakes"
    second_model: str | None = None
    head: HeadConfig = field(default_factory=HeadConfig)
    seed: int = 0
    control: bool = True

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**63, "/seed", "must be in 0..2^63-1")
        if self.groups == "disagreement":
            _require(self.second_model is not None, "/second_model", "is required by groups = disagreement")
        else:
            _require(self.second_model is None, "/second_model", "is only for groups = disagreement")
