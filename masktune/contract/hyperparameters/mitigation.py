"""The parameters of a retrained head and of a mitigation, which trains, masks and retrains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from masktune.contract.hyperparameters.choices import Gate, GroupSource
from masktune.contract.hyperparameters.parameters import Bounds, Doc, Parameters, declared
from masktune.contract.hyperparameters.training import Hyperparameters, Seed


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
    ] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
    gate: Annotated[
        Gate,
        Doc(
            "Whether early stages may divide the classes. auto: if two stages agree. open or closed: what a "
            "person said of the images that a report listed. Left out, the newest such answers decide, else "
            "auto."
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
            "auto: labels if they divide a class and each class × group that occurs in training has at "
            "least five distinct images there, copies and images of one subject counted once; else "
            "early_stages. labels: those of the data set. early_stages: by what heads on early stages of the "
            "network get wrong, if two stages agree; the classes alone if not. cross_mistakes: by what heads "
            "fitted on other samples get wrong. The last two are inferred, and marked so."
        ),
    ] = "auto"
    head: HeadConfig = field(default_factory=HeadConfig)
    seed: Seed = 0
    control: Annotated[bool, Doc("Also fit the same layer without groups, for comparison.")] = True


@dataclass(frozen=True)
class MitigateConfig(Hyperparameters):
    """Everything that determines a mitigation: a training, how its head is retrained, whether it masks."""

    groups: Annotated[
        GroupSource,
        Doc("What the last layer is balanced over, as in POST /jobs/retrain_head."),
    ] = "auto"
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
