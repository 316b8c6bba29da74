"""What images that were brought to judge a job's models decide about its recommendation.

The job's own recommendation stands until these images, which trained none of its models, show otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from core.errors import JobError
from masktune.contract.job_params import EvaluateParams
from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmDifference, Verdict
from masktune.contract.report.judged_job import JudgedJob, JudgedOutcome, UndecidedReason
from masktune.contract.report.recommendation import (
    AddTestImages,
    LabelMore,
    NextStep,
    Recommendation,
)
from masktune.contract.report.text.formats import first_names
from masktune.contract.report.text.names import arm_before
from masktune.contract.vocabulary import Arm
from models.data.store import Store
from models.evaluation.verdict import CONFIDENCE, LEAST_GROUP, decide, growth_to_decide, look_confidence
from worker.context import StageContext
from worker.protocol import JudgedJobSpec
from worker.report.contexts import ComparisonContext
from worker.report.metrics import VERDICT_SPLIT, Figures
from worker.report.recommendation import TEST_IMAGES, by_groups, use_step
from worker.report.subjects import KnownImages, known_images

MOST_MORE = 5_000
"""More images of a class or group than this are no advice: so small a difference will not be decided."""


class JudgedModels(NamedTuple):
    """A job whose models are judged, its own report, and the images: a stage's context in which those that
    trained the models, which are `known`, are left out, and the others are test images."""

    spec: JudgedJobSpec
    own: Report
    known: KnownImages
    context: ComparisonContext
    breaks_pattern: bool

    @property
    def confidence(self) -> float:
        """Of each difference on these images."""
        return CONFIDENCE if self.spec.look is None else look_confidence(self.spec.look)

    @classmethod
    def of(cls, context: StageContext, spec: JudgedJobSpec, own: Report) -> Self:
        """Raises JobError if no image is left, or the classes do not match."""
        classes = tuple(own.dataset.classes)
        trained = [Store.open(context.artifacts.folder(key)) for key in spec.trained_on]
        images = context.store.with_window(trained[0].info.grey_window)
        if foreign := set(images.classes) - set(classes):
            raise JobError(
                "model_of_another_dataset",
                f"the images are of the classes {first_names(images.classes)}, but the models of job "
                f"{spec.id} know {first_names(classes)}, and not {first_names(sorted(foreign))}",
            )
        known = known_images(images, trained)
        view = images.as_test(classes, known.rows)
        if not view.counts[VERDICT_SPLIT]:
            raise JobError(
                "no_new_images",
                f"all {len(images):,} images, or their subjects, trained the models of job {spec.id}: bring "
                "images that are not in train or val of its data set",
            )
        breaks_pattern = context.job_params(EvaluateParams).breaks_pattern
        return cls(spec, own, known, ComparisonContext(replace(context, images=view)), breaks_pattern)


class Judgement(NamedTuple):
    """What the images say of the model that the job recommends: the `arm` to use now, the treatment that the
    report is about, and why they do not decide, if they do not."""

    arm: Arm | None
    subject: Arm | None
    outcome: JudgedOutcome
    undecided: UndecidedReason | None = None


def judged_verdicts(figures: Figures, store: Store, *, breaks_pattern: bool) -> dict[Arm, Verdict]:
    """The verdicts on these images by treatment.
    On images of one class, a model that always answers that class is right: not testable. Where all of them
    lack the pattern, no groups need to say which do."""
    if len(np.unique(store.labels[store.rows(VERDICT_SPLIT)])) < 2:
        of_one_class = {"verdict": "not_testable", "reason": "one_class"}
        return {arm: one.model_copy(update=of_one_class) for arm, one in figures.verdicts.items()}
    if not breaks_pattern:
        return figures.verdicts
    return {
        arm: one
        if by_groups(one.deciding_difference) or one.reason == "few_subjects"
        else one.model_copy(update=_decided(one))
        for arm, one in figures.verdicts.items()
    }


def _decided(verdict: Verdict) -> dict[str, str | None]:
    both = verdict.against_control, verdict.against_erm
    standings = [one for one in both if one != "absent"]
    return {"verdict": decide(standings, by_groups=True), "reason": None}


def judge(
    own: Report,
    verdicts: Mapping[Arm, Verdict],
    differences: Sequence[ArmDifference],
    *,
    breaks_pattern: bool,
) -> Judgement:
    """The first of these that applies; `differences` are those on the images.

    1. A treatment is better than what it is judged against, and what the job recommends is not better than
       it: the one of these with the largest gain.
    2. The job recommends a treatment that hurt or is worse than its control, by groups or since all images
       lack the pattern: plain training if it is better than the treatment, else what that is judged against.
    3. The job's recommendation stands: confirmed if it is not a treatment and that of the job's report is
       worse; else undecided.
    """
    recommended = own.recommendation.arm if own.recommendation else None
    subject = own.after
    if recommended is None or subject is None or subject not in verdicts:
        return Judgement(recommended, subject, "undecided")
    helped = [
        arm
        for arm, one in verdicts.items()
        if one.verdict == "helped" and not _is_better(recommended, arm, one, differences)
    ]
    if helped:
        best = max(helped, key=lambda arm: verdicts[arm].deciding_difference.estimate)
        return Judgement(best, best, "confirmed" if best is recommended else "changed")
    about = verdicts[recommended if recommended in verdicts else subject]
    is_worse = about.verdict == "hurt" or about.against_control == "below"
    if is_worse and (breaks_pattern or by_groups(about.deciding_difference)):
        if about.a is recommended:
            plain = arm_before(own) if about.against_erm == "below" else about.b
            return Judgement(plain, about.a, "changed")
        return Judgement(recommended, subject, "confirmed")
    return Judgement(recommended, about.a, "undecided", _undecided(about))


def _is_better(
    recommended: Arm, treatment: Arm, verdict: Verdict, differences: Sequence[ArmDifference]
) -> bool:
    """Whether the model that the job recommends is better than this treatment, by the deciding statistic."""
    return any(
        difference.high < 0
        for difference in differences
        if (difference.a, difference.b) == (treatment, recommended)
        and difference.statistic == verdict.deciding_difference.statistic
    )


def _undecided(verdict: Verdict) -> UndecidedReason:
    if verdict.reason == "one_class" or verdict.reason == "few_subjects":
        return verdict.reason
    return "few_images" if verdict.verdict == "no_detectable_effect" else "no_groups"


def more_images(verdict: Verdict, figures: Figures, *, look: int) -> dict[str, int]:
    """How many more images of each class or group would decide at that look: of the groups where the models
    whose difference can be chance are worst, or of each class in a mean over classes. Empty if some would
    take more than `MOST_MORE`."""
    both = verdict.deciding_difference, verdict.erm_difference
    undecided = [one for one in both if one is not None and one.low <= 0 <= one.high]
    of_arm = figures.metrics[VERDICT_SPLIT][verdict.a]
    sizes = {one.name: one.n for one in of_arm.classes}
    if by_groups(verdict.deciding_difference):
        worst = {name for one in undecided for name in (one.worst_a, one.worst_b)}
        sizes = {group.name: group.n for group in of_arm.groups if group.name in worst}
    level = look_confidence(look)
    growth = max(
        growth_to_decide(one.estimate, one.low, one.high, confidence=one.confidence, next_confidence=level)
        for one in undecided
    )
    if not sizes or growth * max(sizes.values()) > MOST_MORE:
        return {}
    return {name: max(1, math.ceil(n * (growth - 1))) for name, n in sizes.items()}


def judged_sections(models: JudgedModels, figures: Figures) -> dict[str, Any]:
    """The sections of a report that the images decide: those of verdicts, advice and what they rest on."""
    verdicts = judged_verdicts(figures, models.context.store, breaks_pattern=models.breaks_pattern)
    differences = figures.differences(VERDICT_SPLIT)
    judgement = judge(models.own, verdicts, differences, breaks_pattern=models.breaks_pattern)
    if judgement.outcome == "changed" and (arm := judgement.arm) is not None and arm in figures.plain_arms:
        judgement = judgement._replace(arm=_better_plain(figures, arm))
    about = verdicts[judgement.subject] if judgement.undecided == "few_images" and judgement.subject else None
    own, look = models.own, models.spec.look
    more = {} if about is None else more_images(about, figures, look=(look or 0) + 1)
    return figures.sections(judgement.subject) | {
        "verdicts": verdicts,
        "verdict": judgement.subject and verdicts.get(judgement.subject),
        "training_note": own.training_note,
        "recommendation": _recommendation(models, judgement, more, figures),
        "judged_job": JudgedJob(
            job=models.spec.id,
            dataset=models.spec.dataset,
            recommended=own.recommendation.arm if own.recommendation else None,
            breaks_pattern=models.breaks_pattern,
            left_out=models.known.section,
            outcome=judgement.outcome,
            undecided=judgement.undecided,
            more=more,
            most=MOST_MORE,
            look=look,
            confidence=models.confidence,
        ),
    }


def _better_plain(figures: Figures, arm: Arm) -> Arm:
    """The first plain model that is better than this one on the images, or this one."""
    for other in figures.plain_arms:
        difference = None if other is arm else figures.deciding_difference(VERDICT_SPLIT, other, arm)
        if difference is not None and difference.low > 0:
            return other
    return arm


def _recommendation(
    models: JudgedModels,
    judgement: Judgement,
    more: Mapping[str, int],
    figures: Figures,
) -> Recommendation | None:
    own, arm = models.own.recommendation, judgement.arm
    if own is None:
        return None
    return Recommendation(
        arm=arm,
        model=models.spec.models[arm] if arm else None,
        reason="new_images" if arm else own.reason,
        next=list(_next_steps(models, own, judgement, more, figures)),
    )


def _next_steps(
    models: JudgedModels,
    own: Recommendation,
    judgement: Judgement,
    more: Mapping[str, int],
    figures: Figures,
) -> Iterator[NextStep]:
    arm = judgement.arm
    if arm is None:
        yield from (step for step in own.next if isinstance(step, LabelMore))
        return
    use = use_step(arm, models.spec.models[arm], figures)
    yield use
    if use.weak_group is not None:
        return
    if judgement.undecided is not None and (more or judgement.undecided != "few_images"):
        per_class = max(more.values(), default=TEST_IMAGES)
        subjects = LEAST_GROUP if models.context.store.has_subjects else None
        yield AddTestImages(step="add_test_images", per_class=per_class, subjects=subjects)
