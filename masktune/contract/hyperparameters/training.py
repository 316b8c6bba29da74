"""The parameters of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from masktune.contract.hyperparameters.choices import Augmentation, OptimizerName, Precision, ScheduleName
from masktune.contract.hyperparameters.masking import FinetuneConfig, MaskingConfig
from masktune.contract.hyperparameters.parameters import Bounds, Doc, Parameters

Seed = Annotated[int, Bounds(ge=0, lt=2**63)]


@dataclass(frozen=True)
class OptimizerConfig(Parameters):
    """The optimizer of ERM; the finetune continues from its state, with the finetune's learning rate.

    adam and adamw use torch's default betas, 0.9 and 0.999.
    """

    group = "/optimizer"

    name: OptimizerName = "sgd"
    learning_rate: Annotated[float, Bounds(gt=0, lt=1e3)] = 0.01
    momentum: Annotated[float, Bounds(ge=0, lt=1), Doc("For `sgd` only.")] = 0.9
    weight_decay: Annotated[float, Bounds(ge=0)] = 1e-4
    nesterov: Annotated[bool, Doc("For `sgd` with a momentum only.")] = False

    def check(self) -> None:
        self.require(
            not self.nesterov or (self.name == "sgd" and self.momentum > 0),
            "nesterov",
            "needs sgd with a momentum above 0",
        )


@dataclass(frozen=True)
class ScheduleConfig(Parameters):
    """The learning rate by epoch: constant, multiplied by `gamma` at each milestone, or a half cosine."""

    group = "/schedule"

    name: ScheduleName = "constant"
    milestones: Annotated[
        tuple[int, ...],
        Bounds(gt=0, max_length=1000),
        Doc("Epochs, for `multistep`, which they imply if no `name` is given."),
    ] = ()
    gamma: Annotated[float, Bounds(gt=0, le=1)] = 0.5

    def check(self) -> None:
        self.require(
            list(self.milestones) == sorted(set(self.milestones)), "milestones", "must be in ascending order"
        )
        self.require(
            (self.name == "multistep") == bool(self.milestones),
            "milestones",
            "are only for the schedule multistep, which needs at least one",
        )


@dataclass(frozen=True)
class Hyperparameters(Parameters):
    """Everything that determines a training, apart from the data and the number of threads."""

    backbone: Annotated[
        str,
        Doc(
            "small_cnn, resnet32, or a torchvision or timm classifier by name; `torchvision/NAME` or "
            "`timm/NAME` where both have it. GET /backbones lists them."
        ),
    ] = "small_cnn"
    pretrained: Annotated[
        bool | str,
        Doc(
            "Published weights (GET /backbones says where they are), or the id or alias of a model with the "
            "same backbone."
        ),
    ] = False
    image_size: Annotated[
        int,
        Bounds(ge=8, le=1024),
        Doc(
            "Side in pixels of the square that the network sees. By default that of a `pretrained` model; "
            "else the images' own, up to 64 pixels for `small_cnn` and `resnet32`, up to 224 for a frozen "
            "backbone, and 224 otherwise."
        ),
    ] = 28
    epochs: Annotated[int, Bounds(ge=1, le=10_000)] = 15
    max_train_samples: Annotated[
        int | None,
        Bounds(ge=2),
        Doc(
            "Train on at most so many images of `train`, of each class in proportion. null: all. Masks and "
            "retrained heads always use all. Not for a frozen backbone, whose features are computed once."
        ),
    ] = None
    batch_size: Annotated[int, Bounds(ge=2, le=65_536)] = 32
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augmentation: Augmentation = "none"
    seed: Seed = 0
    precision: Precision = "auto"
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    control: Annotated[bool, Doc("Also continue ERM for the same budget without masks, for comparison.")] = (
        True
    )
    as_released: Annotated[
        bool,
        Doc(
            "Train as the paper's code does where it departs from the paper's text: the schedule is never "
            "stepped, the best epoch is the first with the highest mean of batch means on val, and the "
            "fields that the preset lists under `released` are set."
        ),
    ] = False
    freeze_backbone: Annotated[
        bool,
        Doc(
            "Train only the last layer, on features that the `pretrained` weights give and that are computed "
            "once for each image. The default for photographs, with the packaged weights. Excludes "
            "augmentation."
        ),
    ] = False

    def check(self) -> None:
        self.require(
            not self.freeze_backbone or self.pretrained is not False,
            "freeze_backbone",
            "needs `pretrained`: nothing can be learnt from the features of random weights",
        )
        self.require(
            not self.freeze_backbone or self.augmentation == "none",
            "augmentation",
            "must be none for a frozen backbone, whose features are computed once for each image; "
            "set freeze_backbone to false to train the whole network",
        )
        self.require(
            not self.freeze_backbone or self.max_train_samples is None,
            "max_train_samples",
            "must be null for a frozen backbone, whose features are computed once for each image",
        )
