"""Infer which samples lack the shortcut, without group labels, or tell why that cannot be done.

A shortcut is usually a low-level thing. Judges that see an early stage of the network must rest on it, for
they can hardly see the class: so what they get wrong is the minority, and the judges of two stages agree
about it. Without a shortcut, each stage gets other samples wrong. Where the class is the low-level thing and
the shortcut the object, early judges make hardly any mistake; then the last features may tell.

The gates were set on one network and photographs of two classes: `research.rivals` measures them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.groups import Groups, class_groups, divided_by
from models.mitigation.logistic import Check, Standardised, first_samples, never
from models.mitigation.mistakes import Mistakes, find_mistakes
from models.mitigation.stage_features import StageFeatures
from models.types import Bools, Labels

MAX_CLASSES = 100
_AGREEMENT = (0.5, 0.6)
"""The Jaccard index at which two neighbouring stages agree: of the deepest pair, of the pair before it.

Shallow stages agree more even without a shortcut. So the agreement alone would open by mistake: see below.
"""
_LARGEST_SHARE = 0.25
"""Of the samples. Without a shortcut, and with few images, early judges guess on more of them."""
_FEWEST, _FEWEST_PER_CLASS = 10, 3
"""Images, of as many subjects, that a stage must get wrong. Still too few where many classes have a few dozen
images each: there the gate may open without a shortcut."""
_UNSURE_SHARE = 0.65
"""Of the last features' mistakes: so many more may be in doubt. The weakest of the gates."""
_CANDIDATES = 50  # images: what a person looks through
_SPLITS = 10  # random halves; fewer for more than ten classes, whose heads take longer, but three at least

Reason = Literal[
    "stages_agree",
    "class_is_low_level",
    "stages_disagree",
    "too_few_mistakes",
    "too_many_mistakes",
    "too_few_stages",
    "too_many_classes",
    "opened",
    "closed",
]


class Agreement(NamedTuple):
    """Two stages, by name, how many images the judges of each get wrong, and how far these are the same.

    `required` is the least Jaccard index that opens the gate.
    """

    shallow: str
    deep: str
    flagged_shallow: int
    flagged_deep: int
    jaccard: float
    required: float


@dataclass(frozen=True)
class Minority:
    """`groups` to balance a head over: class × minority, or the classes alone where the gate stays closed.

    `stage` names the module whose judges were taken: None for the last features, or none at all.
    """

    groups: Groups
    reason: Reason
    stage: str | None = None
    agreements: tuple[Agreement, ...] = ()
    candidates: tuple[int, ...] = ()
    """Rows of the images that most likely lack the pattern of their class, surest first, for a person to look
    at: those of `stage`, or of the judges that came nearest to opening the gate."""

    @property
    def is_open(self) -> bool:
        return self.groups.inferred

    def explained_groups(self) -> Groups:
        """`groups`, with the reason and the agreements among their details."""
        details = {
            "reason": self.reason,
            "stage": self.stage,
            "agreements": [agreement._asdict() for agreement in self.agreements],
            "candidates": list(self.candidates),
            **self.groups.details,
        }
        return replace(self.groups, source="early_stages", details=details)


def infer_minority(
    features: StageFeatures,
    config: HeadConfig,
    *,
    classes: Sequence[str],
    seed: int,
    pictures: Labels | None = None,
    clusters: Labels | None = None,
    answers: Mapping[int, bool] | None = None,
    device: torch.device | None = None,
    check: Check = never,
) -> Minority:
    """Ask the early stages from deep to shallow, then the last features; `config.gate` may decide instead.

    1. The judges of the deepest early stage and of the one before it agree: the minority is what the deepest
       gets wrong. Failing that, the same for the next pair.
    2. Early judges make hardly any mistake, and those of the last features are sure of theirs: the minority
       is what these get wrong. They are less exact, so a sample is weighted by its doubt.
    3. Otherwise there are only the classes.

    `answers`: of single images, by row of the data set, whether a person said that they lack the pattern.
    Where classes are divided, that holds for them and their copies instead of what the judges say.
    Copies of one image, by `pictures` (N,), count once. Samples with equal `clusters` (N,), of one subject or
    copies, are judged by heads that saw none of them. Raises HeadError if the features are not finite.
    """
    undivided = class_groups(features.last.labels, classes)
    if len(classes) > MAX_CLASSES:
        return Minority(undivided, "too_many_classes")
    if len(features.stages) < 2:
        return Minority(undivided, "too_few_stages")
    if config.gate == "closed":
        return Minority(undivided, "closed")
    count = len(features.last.labels)
    pictures = first_samples(pictures, count)
    clusters = pictures if clusters is None else first_samples(clusters, count)
    judges = _Judges(features, config, classes, seed, pictures, clusters, answers or {}, device, check)
    deepest = len(features.stages) - 1
    agreements, agreeing, fault = judges.compare_stages(deepest)
    if agreeing is not None:
        return judges.minority("stages_agree", agreeing, agreements)
    early, last = judges.early(deepest), judges.last()
    if judges.size_fault(last) is None and _class_is_low_level(early, last):
        return judges.minority("class_is_low_level", None, agreements)
    nearest = None if judges.size_fault(early) == "too_few_mistakes" else deepest
    if config.gate == "open":
        return judges.minority("opened", nearest, agreements)
    closed = judges.minority(judges.size_fault(early) or fault, nearest, agreements)
    return replace(closed, groups=undivided, stage=None)


def jaccard(first: Bools, second: Bools) -> float:
    """The share, in 0..1, that both flag among those that either flags; 0 if there are none."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def _class_is_low_level(early: Mistakes, last: Mistakes) -> bool:
    """Whether the last features mislead, by something that early ones do not see.

    Without a shortcut they get hard images wrong, and are unsure of many more.
    """
    unsure = (last.doubt > 0.25) & (last.doubt < 0.75)
    return bool(4 * early.flags.sum() < last.flags.sum() and unsure.sum() < _UNSURE_SHARE * last.flags.sum())


@dataclass(frozen=True)
class _Judges:
    """The mistakes of each early stage and of the last features, each made when first asked for."""

    features: StageFeatures
    config: HeadConfig
    classes: Sequence[str]
    seed: int
    pictures: Labels
    clusters: Labels
    answers: Mapping[int, bool]
    device: torch.device | None
    check: Check
    _mistakes: dict[int, Mistakes] = field(default_factory=dict)

    def early(self, stage: int) -> Mistakes:
        if stage not in self._mistakes:
            coordinates = self.features.early[stage].astype(np.float32)
            self._mistakes[stage] = self._judge(Standardised.principal(coordinates, self.device), stage)
        return self._mistakes[stage]

    def last(self) -> Mistakes:
        number = len(self.features.stages)
        if number not in self._mistakes:
            standardised = Standardised.of(self.features.last.values, self.device)
            self._mistakes[number] = self._judge(standardised, number)
        return self._mistakes[number]

    def _judge(self, standardised: Standardised, number: int) -> Mistakes:
        # Splits of its own for each stage: with the same ones they would share their accidents.
        rng = np.random.default_rng([self.seed, 3, number])
        labels = self.features.last.labels
        splits = max(3, min(_SPLITS, 100 // len(self.classes)))
        return find_mistakes(
            standardised,
            labels,
            self.config,
            clusters=self.clusters,
            rng=rng,
            splits=splits,
            check=self.check,
        )

    def compare_stages(self, deepest: int) -> tuple[list[Agreement], int | None, Reason]:
        """The comparisons, the deeper stage of the first pair with a minority, and why there is none."""
        agreements: list[Agreement] = []
        fault: Reason = "stages_disagree"
        for deep, required in zip(range(deepest, 0, -1), _AGREEMENT, strict=False):
            agreements.append(self.compare(deep - 1, deep, required))
            if agreements[-1].jaccard >= required:
                faults = self.size_fault(self.early(deep)), self.size_fault(self.early(deep - 1))
                if faults == (None, None):
                    return agreements, deep, fault
                fault = faults[0] or faults[1] or fault
        return agreements, None, fault

    def compare(self, shallow: int, deep: int, required: float) -> Agreement:
        flags = self.early(shallow).flags, self.early(deep).flags
        names = self.features.stages[shallow].name, self.features.stages[deep].name
        return Agreement(*names, self._images(flags[0]), self._images(flags[1]), jaccard(*flags), required)

    def size_fault(self, mistakes: Mistakes) -> Reason | None:
        """Why the mistakes are too few or too many to be a minority, if they are."""
        flagged = len(np.unique(self.clusters[mistakes.flags]))
        if flagged < max(_FEWEST, _FEWEST_PER_CLASS * len(self.classes)):
            return "too_few_mistakes"
        if self._images(mistakes.flags) > _LARGEST_SHARE * len(np.unique(self.pictures)):
            return "too_many_mistakes"
        return None

    def _images(self, flags: Bools) -> int:
        return len(np.unique(self.pictures[flags]))

    def minority(self, reason: Reason, stage: int | None, agreements: Sequence[Agreement]) -> Minority:
        """What the judges of an early stage get wrong, or those of the last features (None): these are less
        exact, so that a sample is weighted by its doubt."""
        mistakes = self._corrected(self.last() if stage is None else self.early(stage))
        groups = divided_by(
            "early_stages",
            self.features.last.labels,
            mistakes.flags,
            self.classes,
            called=("judged right", "judged wrong"),
            clusters=self.clusters,
            doubt=mistakes.doubt if stage is None else None,
            details={"flagged": list(mistakes.history), "judge_penalty": mistakes.penalty},
        )
        return Minority(
            groups,
            reason,
            None if stage is None else self.features.stages[stage].name,
            tuple(agreements),
            self._candidates(mistakes),
        )

    def _corrected(self, mistakes: Mistakes) -> Mistakes:
        """The mistakes with the minority that a person named in place of the judges'."""
        flags, doubt, labels = mistakes.flags.copy(), mistakes.doubt.copy(), self.features.last.labels
        rows = self.features.last.rows
        for at in np.flatnonzero(np.isin(rows, list(self.answers))):
            copies = (self.pictures == self.pictures[at]) & (labels == labels[at])
            lacks = self.answers[int(rows[at])]
            flags[copies], doubt[copies] = lacks, float(lacks)
        return replace(mistakes, flags=flags, doubt=doubt)

    def _candidates(self, mistakes: Mistakes) -> tuple[int, ...]:
        """Rows of the flagged images, each once, the most doubtful first."""
        order = np.argsort(-mistakes.doubt, kind="stable")
        firsts = order[np.sort(np.unique(self.pictures[order], return_index=True)[1])]
        flagged = firsts[mistakes.flags[firsts]][:_CANDIDATES]
        return tuple(self.features.last.rows[flagged].tolist())
