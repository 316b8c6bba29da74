"""Hyperparameters: one frozen object, always passed whole, from the request to the JSON beside the weights.

Names, types, bounds, defaults and descriptions stand here and nowhere else. The request of a job, OpenAPI,
the command line's help and the dashboard's form are derived from them; defaults that depend on the data set
are in `models.defaults`. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from masktune.contract.parameters import Bounds, Doc, Parameters, declared

BiasAssignment = Literal["order", "random"]
BiasKind = Literal["square", "two_squares", "background", "foreground"]
Augmentation = Literal["none", "flip", "crop_flip", "flip_affine", "pad_crop", "crop_flip_jitter"]
Crop = Literal["none", "centre", "square"]
Fill = Literal["black", "mean", "blur"]
Gate = Literal["auto", "open", "closed"]
GroupSource = Literal["labels", "early_stages", "cross_mistakes"]
OptimizerName = Literal["sgd", "adam", "adamw"]
Precision = Literal["auto", "fp32", "bf16"]
ScheduleName = Literal["constant", "multistep", "cosine"]
ScoreName = Literal["max_softmax", "product", "minimum"]
Target = Literal["predicted", "label"]

Seed = Annotated[int, Bounds(ge=0, lt=2**63)]

PAPER_SIGMAS = 2.0
"""The threshold of the paper's masks."""


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
class MaskingConfig(Parameters):
    """Which pixels are masked: those whose saliency is above mean + `sigmas`·std of its positive values, or
    the top `share`."""

    group = "/masking"

    method: Annotated[
        str, Doc("A saliency method, or `random`: the same number of pixels, at random places.")
    ] = "xgradcam"
    target: Target = "predicted"
    sigmas: Annotated[
        float | Literal["auto"],
        Bounds(ge=-10, le=10),
        Doc(
            "A lower number masks more. `auto`: the number at which the masks hide from ERM what it uses, "
            "measured on the validation split; the mask set and the report name it. Where masks that leave "
            "the image recognisable may not hide all of it, `auto` makes three `iterations`."
        ),
    ] = PAPER_SIGMAS
    share: Annotated[
        float | None,
        Bounds(gt=0, lt=1),
        Doc("Mask this share of each image's pixels, the most salient first. null: use `sigmas`."),
    ] = None
    iterations: Annotated[int, Bounds(ge=1, le=3)] = 1
    accumulate: bool = True
    fill: Fill = "black"
    crop: Annotated[
        Crop,
        Doc(
            "The part of the image that the map is computed from: `centre` is 7/8 of each side, `square` the "
            "central square on the shorter side. Its mask is stretched over the whole image: a fault of the "
            "paper's code on Waterbirds and CelebA, offered so that it can be measured."
        ),
    ] = "none"

    @property
    def fixed_sigmas(self) -> float:
        """`sigmas` as a number. Raises ValueError while it is `auto`, before a model has been measured."""
        if self.sigmas == "auto":
            raise ValueError("the masking's sigmas are still to be chosen")
        return self.sigmas

    def with_chosen(self, sigmas: float | None, iterations: int = 1) -> MaskingConfig:
        """`sigmas` in place of `auto`, or the paper's number if none was chosen, and at least so many
        iterations."""
        if self.sigmas != "auto":
            return self
        sigmas = PAPER_SIGMAS if sigmas is None else sigmas
        return replace(self, sigmas=sigmas, iterations=max(self.iterations, iterations))


@dataclass(frozen=True)
class FinetuneConfig(Parameters):
    """The training on masked images."""

    group = "/finetune"

    epochs: Annotated[
        int,
        Bounds(ge=1, le=1000),
        Doc("By default the paper's one; for images of up to 64 pixels as many as make 100 steps."),
    ] = 1
    learning_rate: Annotated[
        float | None, Bounds(gt=0, lt=1e3), Doc("null: the last learning rate of ERM.")
    ] = None


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
    gpus: Annotated[int, Bounds(ge=1, le=1024), Doc("GPUs of the worker to train on.")] = 1
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
            not self.freeze_backbone or self.gpus == 1,
            "gpus",
            "must be 1 for a frozen backbone, whose features are computed once; set freeze_backbone to false "
            "to train the whole network",
        )
        self.require(
            self.batch_size >= 2 * self.gpus,
            "batch_size",
            "must be at least twice `gpus`: batch norm cannot normalise a single image",
        )


@dataclass(frozen=True)
class HeadConfig(Parameters):
    """How groups are inferred, and how the last layer is fitted, balanced over them.

    A penalty weights ½‖W‖² against the mean cross-entropy, on standardised features; each one is tried.
    """

    group = "/head"

    threshold: Annotated[
        float,
        Bounds(gt=0, lt=1),
        Doc("A sample whose label has a mean held-out probability below this counts as a mistake."),
    ] = 0.5
    rounds: Annotated[int, Bounds(ge=0, le=20), Doc("Rounds that sharpen the mistakes.")] = 2
    judge_penalties: Annotated[
        tuple[float, ...],
        Bounds(gt=0, lt=1e9, min_length=1, max_length=20),
        Doc("Penalties of the heads that infer the groups."),
    ] = (1.0, 0.1, 0.01)
    penalties: Annotated[
        tuple[float, ...],
        Bounds(gt=0, lt=1e9, min_length=1, max_length=20),
        Doc("Penalties of the final head."),
    ] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
    gate: Annotated[
        Gate,
        Doc(
            "Whether early stages may divide the classes. auto: if two stages agree. open or closed: what a "
            "person said of the images that a report listed. Left out, the newest review of the data set "
            "decides, else auto."
        ),
    ] = "auto"
    folds: Annotated[int, Bounds(ge=2, le=20)] = 5
    repeats: Annotated[int, Bounds(ge=1, le=20)] = 2


@dataclass(frozen=True)
class RetrainConfig(Parameters):
    """Everything that determines a retrained head, apart from the model and the data."""

    groups: Annotated[
        GroupSource,
        Doc(
            "labels: those of the data set. early_stages (default): by what heads on early stages of the "
            "network get wrong, if two stages agree; the classes alone if not. cross_mistakes: by what heads "
            "fitted on other samples get wrong. All except `labels` are inferred, and marked so."
        ),
    ] = "early_stages"
    head: HeadConfig = field(default_factory=HeadConfig)
    seed: Seed = 0
    control: Annotated[bool, Doc("Also fit the same layer without groups, for comparison.")] = True


@dataclass(frozen=True)
class MitigateConfig(Hyperparameters):
    """Everything that determines a mitigation: a training, how its head is retrained, whether it masks."""

    groups: Annotated[
        GroupSource,
        Doc("What the last layer is balanced over, as in POST /jobs/retrain_head."),
    ] = "early_stages"
    head: HeadConfig = field(default_factory=HeadConfig)
    masktune: Annotated[
        bool,
        Doc(
            "Also mask and finetune. By default where the whole network is trained; a frozen backbone keeps "
            "looking where it looked."
        ),
    ] = True
    seeds: Annotated[
        int,
        Bounds(ge=1, le=20),
        Doc(
            "Train everything with this many seeds, `seed` and those after it, for one verdict over all of "
            "them. The models are those of the first."
        ),
    ] = 1

    def check(self) -> None:
        super().check()
        self.require(self.seed < 2**63 - self.seeds, "seed", "must leave room for `seeds` below 2^63")
        self.require(
            self.seeds == 1 or self.gpus == 1,
            "gpus",
            "must be 1 with several `seeds`, which are trained one after another on one device",
        )

    @property
    def further_seeds(self) -> range:
        """Those after the first."""
        return range(self.seed + 1, self.seed + self.seeds)

    @property
    def training(self) -> Hyperparameters:
        """Those of ERM and of MaskTune."""
        return Hyperparameters(**{name: getattr(self, name) for name in declared(Hyperparameters)})

    @property
    def retraining(self) -> RetrainConfig:
        """Those of the retrained head and of its control."""
        return RetrainConfig(groups=self.groups, head=self.head, seed=self.seed, control=self.control)


def hyperparameters_of(kind: str) -> type[Parameters]:
    """The class of a job's hyperparameters, by the job's kind."""
    classes: dict[str, type[Parameters]] = {"retrain_head": RetrainConfig, "mitigate": MitigateConfig}
    return classes.get(kind, Hyperparameters)
