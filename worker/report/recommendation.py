"""Which model to use, by a fixed rule, and what to do next.

No contest: without group labels, the model with the best score is the one that leans on the shortcut most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from masktune.contract.report.accuracy import Verdict, VerdictName
from masktune.contract.report.groups import BalancedGroups, EarlyStageGroups
from masktune.contract.report.recommendation import (
    AddTestImages,
    LabelMore,
    NextStep,
    Recommendation,
    RecommendationReason,
    ReviewImages,
    UseControl,
    UseModel,
)
from masktune.contract.vocabulary import Arm
from models.data.store import Store
from models.evaluation.verdict import LEAST_GROUP
from models.mitigation.mistakes import MIN_FLAGGED
from worker.protocol import ModelSpec
from worker.report.metrics import Figures

TEST_IMAGES = 100
"""Images of a class without the pattern: the interval of an accuracy on them is at most 10 points wide to
either side."""
TRAIN_IMAGES = 60
"""Images of a class: if 5 % of them lack the pattern, that is the three which the finder needs."""


class Treatment(NamedTuple):
    """A model that was made against a shortcut, the `rival` that it is judged against, and the reason to name
    if it is chosen.

    `groups_in_test`: groups of the test split decided the verdict. Without them *hurt* does not count, for a
    model without the shortcut is right less often where the test images have it too.

    `is_reliable`: the groups that it was balanced over were labelled, or passed the gate of early stages. Not
    `differs`: no class was divided, so that it equals its control. Not `above_chance`: its answers on the
    validation split cannot be told from guesses; nor can the rival's if not `rival_above_chance`.
    """

    arm: Arm
    rival: Arm
    reason: RecommendationReason
    verdict: VerdictName | None = None
    groups_in_test: bool = True
    val_verdict: VerdictName | None = None
    """Only where the groups of the validation split decide."""
    val_worst_group: float = 0.0
    is_reliable: bool = False
    differs: bool = True
    above_chance: bool = True
    rival_above_chance: bool = True

    @property
    def hurt(self) -> bool:
        return (self.groups_in_test and self.verdict == "hurt") or self.val_verdict == "hurt"


class Choice(NamedTuple):
    """The model to use; `subject` is the treatment that the report is about."""

    arm: Arm | None
    reason: RecommendationReason
    subject: Arm


def choose(treatments: Sequence[Treatment], *, trained_whole: bool) -> Choice:
    """The first of these that applies. A treatment that hurt, by test or validation split, or that is not
    above chance, is never chosen.

    1. The true groups of the validation split show that a treatment helped: that with the best worst group.
    2. A last layer was balanced over reliable groups, or a treatment helped on the test split. If both are
       there: MaskTune where the network was trained whole, for it may have changed what the network sees,
       which a last layer cannot; else the last layer.
    3. The control, if it is above chance; else none.
    """
    usable = [one for one in treatments if one.differs and one.above_chance and not one.hurt]
    if proven := [one for one in usable if one.val_verdict == "helped"]:
        best = max(proven, key=lambda one: one.val_worst_group)
        return Choice(best.arm, "val_groups", best.arm)
    for one in sorted(usable, key=lambda one: (one.arm is Arm.MASKTUNE) is not trained_whole):
        if one.is_reliable or one.verdict == "helped":
            return Choice(one.arm, one.reason, one.arm)
    first = treatments[0]
    subject = next((one for one in treatments if one.differs), first)
    if not first.rival_above_chance:
        return Choice(None, "not_above_chance", subject.arm)
    reason: RecommendationReason = "hurt" if first.hurt else "no_gain"
    return Choice(first.rival, reason if first.differs else "no_minority", subject.arm)


def choose_model(figures: Figures, groups: BalancedGroups | None, *, trained_whole: bool) -> Choice | None:
    """The choice among the models of a report; None if none of them was made against a shortcut."""
    treatments = [
        _treatment(figures, arm, rival, groups if arm is Arm.RETRAINED else None)
        for arm, rival in figures.rivals.items()
    ]
    return choose(treatments, trained_whole=trained_whole) if treatments else None


def _treatment(figures: Figures, arm: Arm, rival: Arm, groups: BalancedGroups | None) -> Treatment:
    test, val = figures.verdicts.get(arm), figures.val_verdicts.get(arm)
    reason: RecommendationReason = "masktune_helped"
    if groups is not None:
        reason = "groups_labelled" if groups.source == "labels" else "groups_inferred"
    return Treatment(
        arm=arm,
        rival=rival,
        reason=reason,
        verdict=test.verdict if test else None,
        groups_in_test=test is not None and by_groups(test),
        val_verdict=val.verdict if val else None,
        val_worst_group=figures.metrics["val"][arm].worst_group_accuracy or 0.0 if val else 0.0,
        is_reliable=groups is not None and groups.source in ("labels", "early_stages"),
        differs=groups is None or groups.divided,
        above_chance=figures.learned(arm),
        rival_above_chance=figures.learned(rival),
    )


def make_recommendation(
    choice: Choice,
    figures: Figures,
    groups: BalancedGroups | None,
    *,
    store: Store,
    models: Mapping[Arm, ModelSpec],
) -> Recommendation:
    """The section `recommendation`."""
    return Recommendation(
        arm=choice.arm,
        model=models[choice.arm].id if choice.arm else None,
        reason=choice.reason,
        next=list(_next_steps(choice, figures, groups, store, models)),
    )


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
    if choice.arm is choice.subject:
        yield UseModel(step="use_model", arm=choice.arm, model=models[choice.arm].id)
    else:
        yield UseControl(step="use_control", arm=choice.arm, model=models[choice.arm].id)
    searched = not isinstance(groups, EarlyStageGroups) or groups.details.searched
    if smallest < TRAIN_IMAGES and searched:
        yield LabelMore(step="label_more", per_class=TRAIN_IMAGES)
    test = figures.verdicts.get(choice.subject)
    if test is not None and (by_groups(test) or test.verdict == "helped"):
        return
    if samples := images_to_review(groups):
        yield ReviewImages(step="review_images", samples=samples)
    subjects = LEAST_GROUP if store.has_subjects else None
    yield AddTestImages(step="add_test_images", per_class=TEST_IMAGES, subjects=subjects)


def by_groups(verdict: Verdict) -> bool:
    """Whether groups decided the verdict, not accuracy, which a shortcut helps where the images have it."""
    return verdict.deciding_difference.statistic == "worst_group_accuracy"


def images_to_review(groups: BalancedGroups | None) -> list[int]:
    """The images that a person is asked to look at: none once a person has decided, nor if they are too few
    to divide a class."""
    if not isinstance(groups, EarlyStageGroups) or groups.details.reason in ("opened", "closed"):
        return []
    candidates = groups.details.candidates
    return candidates if len(candidates) >= MIN_FLAGGED else []


def _smallest_class(store: Store) -> int:
    """The number of distinct training images of the class that has the fewest."""
    rows = store.rows("train")
    distinct = rows[store.firsts(rows)]
    return int(np.bincount(store.labels[distinct], minlength=len(store.classes)).min())
