"""Which model to use, by a fixed rule, and what to do next.

No contest: without group labels, the model with the best score is the one that leans on the shortcut most.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from masktune.contract.report.accuracy import Difference, SplitDifference, Verdict, VerdictName
from masktune.contract.report.groups import BalancedGroups, EarlyStageGroups
from masktune.contract.report.inferred import InferredGroups
from masktune.contract.report.recommendation import (
    AddTestImages,
    CheckLabels,
    CompareNetworks,
    LabelMore,
    NextStep,
    Recommendation,
    RecommendationReason,
    ReviewImages,
    TrainMoreSeeds,
    UseControl,
    UseModel,
    WeakGroup,
)
from masktune.contract.vocabulary import CONTROLS, Arm
from models.data.store import Store
from models.evaluation.verdict import LEAST_GROUP
from models.mitigation.mistakes import MIN_FLAGGED
from models.shortcuts.reliance import WEAK_GAP
from worker.report.metrics import VERDICT_SPLIT, Figures
from worker.results import ModelSpec

TEST_IMAGES = 100
"""Images of a class without the pattern: the interval of an accuracy on them is at most 10 points wide to
either side."""
TRAIN_IMAGES = 60
"""Images of a class: if 5 % of them lack the pattern, that is the three which the finder needs."""


SEEDS = 3
"""With two, seeds 2 points apart hide a gain of 10 in three draws of four (benchmarks/verdict.py)."""
WEAK_SHARE = 0.5
"""Of the way from chance to no mistakes: frozen features on which no plain model comes so far, on the
validation images, are weak. `benchmarks.networks` measures it."""


class Treatment(NamedTuple):
    """A model that was made against a shortcut, and the reason to name if it is chosen.

    `is_reliable`: the groups that it was balanced over were labelled, or passed the gate of early stages. Not
    `differs`: no class was divided, so that it equals its control. Not `above_chance`: its answers on the
    validation split cannot be told from guesses. `is_beaten`: groups show that a plain model is better. A
    model without the shortcut is right less often where the images have it, so nothing else counts.
    `trails_plain`: groups of the test split detect nothing, and plain training has the higher estimate.
    """

    arm: Arm
    reason: RecommendationReason
    verdict: VerdictName | None = None
    val_verdict: VerdictName | None = None
    """Only where the groups of the validation split decide."""
    val_worst_group: float = 0.0
    is_reliable: bool = False
    differs: bool = True
    above_chance: bool = True
    is_beaten: bool = False
    trails_plain: bool = False


class Choice(NamedTuple):
    """The model to use; `subject` is the treatment that the report is about.
    For a plain model, `differences` are those that led to it."""

    arm: Arm | None
    reason: RecommendationReason
    subject: Arm
    differences: tuple[SplitDifference, ...] = ()


def choose(treatments: Sequence[Treatment], plain: Arm | None, *, trained_whole: bool) -> Choice:
    """The first of these that applies.
    A treatment that a plain model beats, or that is not above chance, is never chosen.

    1. The true groups of the validation split show that a treatment helped: that with the best worst group.
    2. A last layer was balanced over reliable groups and does not trail plain training on the test split, or
       a treatment helped there. If both are there: MaskTune where the network was trained whole, for it may
       have changed what the network sees, which a last layer cannot; else the last layer.
    3. The best plain model, if there is one above chance; else none.
    """
    usable = [one for one in treatments if one.differs and one.above_chance and not one.is_beaten]
    if proven := [one for one in usable if one.val_verdict == "helped"]:
        best = max(proven, key=lambda one: one.val_worst_group)
        return Choice(best.arm, "val_groups", best.arm)
    for one in sorted(usable, key=lambda one: (one.arm is Arm.MASKTUNE) is not trained_whole):
        if (one.is_reliable and not one.trails_plain) or one.verdict == "helped":
            return Choice(one.arm, one.reason, one.arm)
    first = treatments[0]
    subject = next((one for one in treatments if one.differs), first)
    if plain is None:
        return Choice(None, "not_above_chance", subject.arm)
    reason: RecommendationReason = "hurt" if first.is_beaten else "no_gain"
    return Choice(plain, reason if first.differs else "no_minority", subject.arm)


def choose_model(figures: Figures, groups: BalancedGroups | None, *, trained_whole: bool) -> Choice | None:
    """The choice among the models of a report; None if none of them was made against a shortcut."""
    plain = [arm for arm in figures.plain_arms if figures.learned(arm)]
    better = {arm: _better_by_groups(figures, arm, plain) for arm in figures.rivals}
    treatments = [
        _treatment(figures, arm, groups if arm is Arm.RETRAINED else None, is_beaten=bool(better[arm]))
        for arm in figures.rivals
    ]
    if not treatments:
        return None
    among_plain = [
        figures.deciding_difference(VERDICT_SPLIT, b, a) for a, b in itertools.combinations(plain, 2)
    ]
    differences = [difference for difference in among_plain if difference is not None]
    choice = choose(treatments, best_plain(plain, differences), trained_whole=trained_whole)
    if choice.arm in plain:
        choice = choice._replace(differences=(*differences, *better[choice.subject]))
    return choice


def best_plain(plain: Sequence[Arm], differences: Iterable[SplitDifference]) -> Arm | None:
    """The first plain model that no other is better than: ERM, unless a control is.

    `differences` are in worst-group accuracy where groups decide, else in balanced accuracy, on the test
    split as for the verdict: it chose nothing else, whereas the epoch of ERM was chosen on validation, which
    favours it there. The figures of the chosen model on test are those of the best of a few, but only a
    difference beyond its interval moves the choice away from ERM.
    """
    better = {
        (one.a, one.b) if one.low > 0 else (one.b, one.a) for one in differences if one.low * one.high > 0
    }
    winners, losers = {a for a, _ in better}, {b for _, b in better}
    return next((arm for arm in plain if arm not in losers and arm in {plain[0], *winners}), None)


def _better_by_groups(figures: Figures, treatment: Arm, plain: Sequence[Arm]) -> list[SplitDifference]:
    """The differences by which groups, of the test or of the validation split, show that a plain model is
    better."""
    splits = (VERDICT_SPLIT, "val")
    differences = [figures.deciding_difference(split, treatment, arm) for split in splits for arm in plain]
    return [
        one
        for one in differences
        if one is not None
        and one.high < 0
        and (by_groups(one) if one.split == VERDICT_SPLIT else figures.by_all_groups(one))
    ]


def _treatment(figures: Figures, arm: Arm, groups: BalancedGroups | None, *, is_beaten: bool) -> Treatment:
    test, val = figures.verdicts.get(arm), figures.val_verdicts.get(arm)
    reason: RecommendationReason = "masktune_helped"
    if groups is not None:
        reason = "groups_labelled" if groups.source == "labels" else "groups_inferred"
    return Treatment(
        arm=arm,
        reason=reason,
        verdict=test.verdict if test else None,
        val_verdict=val.verdict if val else None,
        val_worst_group=figures.metrics["val"][arm].worst_group_accuracy or 0.0 if val else 0.0,
        is_reliable=groups is not None and groups.source in ("labels", "early_stages"),
        differs=figures.differs(arm),
        above_chance=figures.learned(arm),
        is_beaten=is_beaten,
        trails_plain=test is not None and trails_plain(test),
    )


def trails_plain(test: Verdict) -> bool:
    """Whether groups detect nothing, and plain training has the higher estimate."""
    to_plain = test.erm_difference or test.deciding_difference
    return test.verdict == "no_detectable_effect" and to_plain.estimate < 0


def make_recommendation(
    choice: Choice,
    figures: Figures,
    groups: BalancedGroups | None,
    *,
    store: Store,
    models: Mapping[Arm, ModelSpec],
    frozen: bool,
    inferred: InferredGroups | None = None,
) -> Recommendation:
    """The section `recommendation`.
    `frozen`: whether the models share a backbone that was not trained."""
    first, *others = _next_steps(choice, figures, groups, store, models)
    plain = [figures.metrics["val"][arm].balanced_accuracy for arm in figures.plain_arms] if frozen else []
    return Recommendation(
        arm=choice.arm,
        model=models[choice.arm].id if choice.arm else None,
        reason=choice.reason,
        differences=list(choice.differences),
        next=[
            first,
            *weak_features(plain, 1 / len(store.classes)),
            *others,
            *_check_labels(inferred),
            *more_seeds(figures.decision(choice.subject), frozen=frozen),
        ],
    )


def weak_features(balanced_accuracies: Sequence[float], chance: float) -> list[CompareNetworks]:
    """The step to take if these, of plain models on frozen features, show on the validation split that the
    features are weak; none without a model."""
    best = max(balanced_accuracies, default=1.0)
    if best >= chance + WEAK_SHARE * (1 - chance):
        return []
    return [CompareNetworks(step="compare_networks", balanced_accuracy=best, chance=chance)]


def more_seeds(test: Verdict | None, *, frozen: bool) -> list[TrainMoreSeeds]:
    """The step to take where one training of a whole network decided."""
    if frozen or test is None or test.a is not Arm.MASKTUNE or test.seeds:
        return []
    if test.verdict not in ("helped", "hurt"):
        return []
    return [TrainMoreSeeds(step="train_more_seeds", seeds=SEEDS)]


def _next_steps(
    choice: Choice,
    figures: Figures,
    groups: BalancedGroups | None,
    store: Store,
    models: Mapping[Arm, ModelSpec],
) -> Iterator[NextStep]:
    smallest = _smallest_class(store)
    if choice.arm is None:
        yield LabelMore(step="label_more", per_class=max(TRAIN_IMAGES, 2 * smallest))
        return
    use = use_step(choice.arm, models[choice.arm].id, figures)
    yield use
    searched = not isinstance(groups, EarlyStageGroups) or groups.details.searched
    if smallest < TRAIN_IMAGES and searched:
        yield LabelMore(step="label_more", per_class=TRAIN_IMAGES)
    test = figures.decision(choice.subject)
    if test is None:
        return
    decided = by_groups(test.deciding_difference) or test.verdict == "helped"
    if (test.inferred or not decided) and (samples := images_to_review(groups)):
        yield ReviewImages(step="review_images", samples=samples)
    if use.weak_group or (decided and (not test.inferred or test.verdict != "no_detectable_effect")):
        return
    subjects = LEAST_GROUP if store.has_subjects else None
    yield AddTestImages(step="add_test_images", per_class=TEST_IMAGES, subjects=subjects)


def use_step(arm: Arm, model: str, figures: Figures) -> UseModel | UseControl:
    """To use this model, and the group in which it is weak, if it is in one."""
    weak_group = _weak_group(arm, figures)
    if arm in CONTROLS:
        return UseControl(step="use_control", arm=arm, model=model, weak_group=weak_group)
    return UseModel(step="use_model", arm=arm, model=model, weak_group=weak_group)


def _weak_group(arm: Arm, figures: Figures) -> WeakGroup | None:
    if VERDICT_SPLIT not in figures.metrics:
        return None
    of_arm = figures.metrics[VERDICT_SPLIT][arm]
    large = [one for one in of_arm.groups if one.independent >= LEAST_GROUP]
    worst = min(large, key=lambda group: group.accuracy, default=None)
    # A model that gave a pattern up is right less often where all images have it: that is no weakness.
    is_tested = not figures.lacking or any(group.id in figures.lacking for group in large)
    if worst is None or not is_tested:
        return None
    if worst.accuracy > of_arm.chance and of_arm.accuracy - worst.accuracy <= WEAK_GAP:
        return None
    return WeakGroup(name=worst.name, accuracy=worst.accuracy, train=figures.train_counts)


def _check_labels(inferred: InferredGroups | None) -> list[NextStep]:
    """The labels that look wrong, if any do."""
    if inferred is None or not inferred.n_wrong_labels:
        return []
    return [CheckLabels(step="check_labels", samples=inferred.wrong_labels, n=inferred.n_wrong_labels)]


def by_groups(deciding: Difference) -> bool:
    """Whether groups decide, not accuracy, which a shortcut helps where the images have it."""
    return deciding.statistic == "worst_group_accuracy"


def images_to_review(groups: BalancedGroups | None) -> list[int]:
    """The images that a person is asked to look at: none once a person has decided, nor if they are too few
    to divide a class, or divide none though the gate is open: then the answer would change nothing."""
    if not isinstance(groups, EarlyStageGroups):
        return []
    if groups.details.image_answers is not None or groups.details.reason in ("opened", "closed"):
        return []
    if not groups.divided and groups.details.reason in ("stages_agree", "class_is_low_level"):
        return []
    candidates = groups.details.candidates
    return candidates if len(candidates) >= MIN_FLAGGED else []


def _smallest_class(store: Store) -> int:
    """The number of distinct training images of the class that has the fewest."""
    rows = store.rows("train")
    distinct = rows[store.firsts(rows)]
    return int(np.bincount(store.labels[distinct], minlength=len(store.classes)).min())
