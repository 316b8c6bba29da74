"""Infer which samples lack the shortcut, without group labels, or tell why that cannot be done.

A shortcut is usually a low-level thing. Judges that see an early stage of the network must rest on it, for
they can hardly see the class: so what they get wrong is the minority, and the judges of two stages agree
about it. Without a shortcut, each stage gets other samples wrong. Where the class is the low-level thing and
the shortcut the object, early judges make hardly any mistake; then the last features may tell.

The gates were set on one network and photographs of two classes: `research.rivals` measures them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.groups import class_groups, divided_by
from models.mitigation.logistic import Check, Standardised, first_samples, never
from models.mitigation.minority import Agreement, Minority, Reason
from models.mitigation.mistakes import Mistakes, find_mistakes
from models.mitigation.pattern_groups import divided_by_pattern
from models.mitigation.stage_features import StageFeatures
from models.mitigation.wrong_labels import are_wrong, judge_labels
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


def infer_minority(
    features: StageFeatures,
    config: HeadConfig,
    *,
    classes: Sequence[str],
    seed: int,
    pictures: Labels | None = None,
    clusters: Labels | None = None,
    answers: Mapping[int, bool] | None = None,
    right_labels: Collection[int] = (),
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
    Where classes are divided, that holds for them and their copies instead of what the judges say. Labels of
    these images, and of `right_labels`, rows of others, are never taken for wrong.
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
    judges = _Judges(
        features, config, classes, seed, pictures, clusters, answers or {}, right_labels, device, check
    )
    deepest = len(features.stages) - 1
    agreements, agreeing, fault = judges.compare_stages(deepest)
    if agreeing is not None:
        minority = judges.by_stage("stages_agree", agreeing, agreements)
        details = minority.groups.details  # of the judges, whose penalty the pattern judge takes
        return minority if minority.is_open else replace(minority, groups=replace(undivided, details=details))
    early, last = judges.early(deepest), judges.last()
    if judges.size_fault(last.flags) is None and _class_is_low_level(early, last):
        return judges.by_last_features("class_is_low_level", agreements)
    by_last = judges.size_fault(early.flags) == "too_few_mistakes"
    if config.gate == "open":
        if by_last:
            return judges.by_last_features("opened", agreements)
        return judges.by_stage("opened", deepest, agreements)
    nearest = last if by_last else early
    reason, to_look_at = judges.size_fault(early.flags) or fault, judges.to_look_at(judges.corrected(nearest))
    return Minority(undivided, reason, None, tuple(agreements), *to_look_at)


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
    right_labels: Collection[int]
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
                faults = [self.size_fault(self.early(stage).flags) for stage in (deep, deep - 1)]
                if faults == [None, None]:
                    return agreements, deep, fault
                fault = faults[0] or faults[1] or fault
        return agreements, None, fault

    def compare(self, shallow: int, deep: int, required: float) -> Agreement:
        flags = self.early(shallow).flags, self.early(deep).flags
        names = self.features.stages[shallow].name, self.features.stages[deep].name
        return Agreement(*names, self._images(flags[0]), self._images(flags[1]), jaccard(*flags), required)

    def size_fault(self, flags: Bools) -> Reason | None:
        """Why so many mistakes are too few or too many to be a minority, if they are."""
        flagged = len(np.unique(self.clusters[flags]))
        if flagged < max(_FEWEST, _FEWEST_PER_CLASS * len(self.classes)):
            return "too_few_mistakes"
        if self._images(flags) > _LARGEST_SHARE * len(np.unique(self.pictures)):
            return "too_many_mistakes"
        return None

    def _images(self, flags: Bools) -> int:
        return len(np.unique(self.pictures[flags]))

    def by_stage(self, reason: Reason, stage: int, agreements: Sequence[Agreement]) -> Minority:
        """What the judges of an early stage get wrong.
        If labels are wrong (`are_wrong`), those that late judges contradict too weigh less; if too few are
        left, there is no minority: the reason is then `wrong_labels`."""
        mistakes, last = self.corrected(self.early(stage)), self.features.last
        patterns = np.where(mistakes.flags, mistakes.other, last.labels)
        details = {"flagged": list(mistakes.history), "judge_penalty": mistakes.penalty}
        divide = partial(
            divided_by_pattern, last.labels, patterns, self.classes, clusters=self.clusters, details=details
        )
        doubt, judge = judge_labels(
            last,
            divide(weights=np.ones(len(patterns))),
            patterns,
            self.config,
            seed=self.seed,
            trusted=self._trusted(),
            clusters=self.clusters,
            device=self.device,
            check=self.check,
        )
        weights = 1 - doubt if are_wrong(doubt, last.labels) else np.ones(len(doubt))
        right = weights > 0.5
        to_look_at = self.to_look_at(mistakes, right)
        groups = divide(weights=weights)
        name = self.features.stages[stage].name
        lacking = mistakes.flags & right
        if reason != "opened" and self.size_fault(lacking) == "too_few_mistakes":
            reason, groups = "wrong_labels", replace(groups, inferred=False)
        return Minority(groups, reason, name, tuple(agreements), *to_look_at, patterns, doubt, judge)

    def by_last_features(self, reason: Reason, agreements: Sequence[Agreement]) -> Minority:
        """What the judges of the last features get wrong.
        They are less exact, so that a sample is weighted by its doubt."""
        mistakes = self.corrected(self.last())
        groups = divided_by(
            "early_stages",
            self.features.last.labels,
            mistakes.flags,
            self.classes,
            called=("judged right", "judged wrong"),
            clusters=self.clusters,
            doubt=mistakes.doubt,
            details={"flagged": list(mistakes.history), "judge_penalty": mistakes.penalty},
        )
        return Minority(groups, reason, None, tuple(agreements), *self.to_look_at(mistakes))

    def corrected(self, mistakes: Mistakes) -> Mistakes:
        """The mistakes with the minority that a person named in place of the judges'."""
        flags, doubt, labels = mistakes.flags.copy(), mistakes.doubt.copy(), self.features.last.labels
        rows = self.features.last.rows
        for at in np.flatnonzero(np.isin(rows, list(self.answers))):
            copies = (self.pictures == self.pictures[at]) & (labels == labels[at])
            lacks = self.answers[int(rows[at])]
            flags[copies], doubt[copies] = lacks, float(lacks)
        return replace(mistakes, flags=flags, doubt=doubt)

    def _trusted(self) -> Bools:
        """(N,), true for images of which a person said something, and for their copies."""
        answered = [*self.answers, *self.right_labels]
        of_answers = self.pictures[np.isin(self.features.last.rows, answered)]
        return np.isin(self.pictures, of_answers)

    def to_look_at(
        self, mistakes: Mistakes, right: Bools | None = None
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows of flagged images, each once, the most doubtful first, and those of them that were drawn at
        random from all: half, or all if they are few. Only those whose label counts as `right` (N,)."""
        flags = mistakes.flags if right is None else mistakes.flags & right
        order = np.argsort(-mistakes.doubt, kind="stable")
        firsts = order[np.sort(np.unique(self.pictures[order], return_index=True)[1])]
        flagged = firsts[flags[firsts]]
        if len(flagged) <= _CANDIDATES:
            rows = tuple(self.features.last.rows[flagged].tolist())
            return rows, rows
        drawn = np.random.default_rng([self.seed, 4]).choice(flagged, _CANDIDATES // 2, replace=False)
        surest = flagged[~np.isin(flagged, drawn)][: _CANDIDATES - len(drawn)]
        both = flagged[np.isin(flagged, np.concatenate([surest, drawn]))]
        rows_of = self.features.last.rows
        return tuple(rows_of[both].tolist()), tuple(sorted(rows_of[drawn].tolist()))
