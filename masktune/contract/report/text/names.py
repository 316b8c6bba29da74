"""What models, figures, checks, splits and verdicts are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

from masktune.contract.report import accuracy
from masktune.contract.report.base import StatisticName
from masktune.contract.report.report import Report
from masktune.contract.report.shortcut import SignName
from masktune.contract.report.text.formats import first_names
from masktune.contract.vocabulary import CONTROL_OF, CONTROLS, Arm

AnyArm = TypeVar("AnyArm", bound=str)

ARMS = (
    Arm.ERM,
    Arm.BASELINE,
    *CONTROLS,
    Arm.MASKTUNE,
    Arm.RETRAINED,
    Arm.IMPORTED,
)
"""In reading order: before, the same amount of training, after."""

ARM_NAMES: Mapping[Arm, str] = {
    Arm.ERM: "ERM",
    Arm.BASELINE: "Baseline",
    Arm.MASKTUNE_CONTROL: "Control",
    Arm.RETRAINED_CONTROL: "Control head",
    Arm.MASKTUNE: "MaskTune",
    Arm.RETRAINED: "Retrained head",
    Arm.IMPORTED: "Imported",
}

ARM_DESCRIPTIONS: Mapping[Arm, str] = {
    Arm.ERM: "plain training",
    Arm.BASELINE: "the model that the one after was made from",
    Arm.MASKTUNE_CONTROL: "the same further training, without masks",
    Arm.RETRAINED_CONTROL: "the same last layer, refitted without groups",
    Arm.MASKTUNE: "trained further while what it looked at most in each image was hidden",
    Arm.RETRAINED: "the last layer refitted, balanced over groups",
    Arm.IMPORTED: "imported from a file",
}

_WITHIN_SENTENCES: Mapping[Arm, str] = {
    Arm.BASELINE: "the baseline",
    Arm.MASKTUNE_CONTROL: "the control",
    Arm.RETRAINED_CONTROL: "the control",
    Arm.RETRAINED: "the retrained head",
    Arm.IMPORTED: "the imported model",
}

_PICKED = "its interval allows for having been picked as the lowest"
STATISTICS: Mapping[StatisticName, tuple[str, str]] = {
    "accuracy": ("Average accuracy", "share of answers that are right"),
    "worst_group_accuracy": (
        "Worst-group accuracy",
        f"the group with the lowest accuracy; {_PICKED}",
    ),
    "worst_class_accuracy": (
        "Worst-class accuracy",
        f"the class with the lowest accuracy; {_PICKED}",
    ),
    "train_weighted_accuracy": (
        "Train-weighted accuracy",
        "mean over groups, weighted by their share of the training split",
    ),
    "balanced_accuracy": ("Balanced accuracy", "mean over classes"),
}
"""Each statistic's name and meaning, in reading order."""

SIGN_NAMES: Mapping[SignName, str] = {
    "groups": "Worst group",
    "shift": "Test against validation",
    "mask": "Own mask",
    "property": "Simple image property",
}

_NO_OBJECT = "These images show no object: a model that is right here reads the background. Lower is better."
_MISLEADING: Mapping[str, str] = {
    "train": "The models were trained on these images, so these figures say nothing about new ones.",
    "no_fg": _NO_OBJECT,
    "only_bg_b": _NO_OBJECT,
    "only_bg_t": _NO_OBJECT,
}


Tone = Literal["good", "neutral", "bad", "muted"]
"""`neutral`, in amber, is for what may be good or bad; `muted`, in grey, for what could not be tested."""


_TITLES: dict[accuracy.VerdictName, tuple[Tone, str, str]] = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("neutral", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
    "not_testable": ("muted", "Not testable here", "Not testable here"),
}
"""Tone, title with a control, and without: then, as much training might have done the same."""
_BETTER_THAN_PLAIN = "{0} is better than plain training, not by its {2}"
_MAKES_GOOD = "{0} makes good what {3} had cost"
_BETWEEN: dict[tuple[accuracy.Standing, accuracy.Standing], str] = {
    ("above", "undetected"): _BETTER_THAN_PLAIN,
    ("above", "below"): _BETTER_THAN_PLAIN,
    ("undetected", "above"): _MAKES_GOOD,
}
"""Titles where plain training and the control do not say the same, by where the model stands to each."""
_MEANS = {
    Arm.RETRAINED: ("groups", "refitting"),
    Arm.MASKTUNE: ("masks", "longer training"),
}
"""What a model has that its control has not, and what the control has that plain training has not."""


def within_sentence(arm: Arm) -> str:
    """The arm's name for use inside a sentence."""
    return _WITHIN_SENTENCES.get(arm, ARM_NAMES[arm])


def plain_name(arm: Arm) -> str:
    """The same for readers who do not know what ERM is."""
    return ARM_DESCRIPTIONS[arm] if arm is Arm.ERM else within_sentence(arm)


def model_name(arm: Arm) -> str:
    """The arm's model within a sentence, by the name of cards and tables: there may be two controls."""
    if arm in CONTROLS:
        return f"the {ARM_NAMES[arm].lower()}"
    name = within_sentence(arm)
    return f"the {name} model" if arm in (Arm.ERM, Arm.MASKTUNE) else name


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def verdict_title(decision: accuracy.Verdict | accuracy.JobVerdict) -> tuple[Tone, str]:
    """The tone and title of a verdict on model a, against model b."""
    a, b = capitalised(within_sentence(decision.a)), within_sentence(decision.b)
    if decision.verdict == "helped" and decision.beaten_by is not None:
        worse = f"worse than {model_name(decision.beaten_by)}", hurt_in_groups(decision)
        return "neutral", f"{a} is better than {b}, but {', and '.join(filter(None, worse))}"
    tone, beside_control, alone = _TITLES[decision.verdict]
    by = ", by inferred groups" if decision.inferred and decision.verdict != "not_testable" else ""
    if decision.reason == "shortcut_or_harm" or (decision.hurt_by_columns and tone != "bad"):
        tone = "neutral"
    title = beside_control if decision.b in CONTROLS else alone
    if decision.verdict == "no_detectable_effect":
        title = _BETWEEN.get((decision.against_erm, decision.against_control), title)
    return tone, ", but ".join(
        filter(None, (title.format(a, b, *_MEANS[decision.a]) + by, hurt_in_groups(decision)))
    )


def hurt_in_groups(decision: accuracy.Verdict | accuracy.JobVerdict) -> str:
    """By which columns of metadata it hurt, if the verdict itself does not say that it did; "" if by none."""
    columns = first_names([f"“{column}”" for column in decision.hurt_by_columns])
    return f"hurt in groups by {columns}" if columns and decision.verdict != "hurt" else ""


def cost_of_control(decision: accuracy.Verdict) -> str:
    """How far the control is below plain training, if beyond chance: then a model that is above it shows
    little; "" if not."""
    if decision.control_cost is None:
        return ""
    what = capitalised(_MEANS[decision.a][1])
    points = 100 * decision.control_cost
    control = within_sentence(decision.b)
    return f"{what} alone cost {points:.1f} points: to be better than {control} shows little here."


def in_order(arms: Iterable[AnyArm]) -> list[AnyArm]:
    """The arms in reading order; those of a newer service last."""
    return sorted(arms, key=lambda arm: ARMS.index(arm) if arm in ARMS else len(ARMS))


def arm_after(report: Report) -> Arm:
    """The arm that the report is about, whether or not the report has it. Older reports do not name it."""
    if report.after is not None:
        return report.after
    return Arm.RETRAINED if Arm.RETRAINED in report.models else Arm.MASKTUNE


def arm_to_use(report: Report) -> Arm:
    """The arm that is recommended, else the one that the report is about."""
    return (report.recommendation and report.recommendation.arm) or arm_after(report)


def arm_before(report: Report) -> Arm:
    """The arm that the one after was made from."""
    return report.before or (Arm.ERM if Arm.ERM in report.models else Arm.IMPORTED)


def control_arm(report: Report) -> Arm:
    """The control of the arm after, whether or not the report has it."""
    return CONTROL_OF[arm_after(report)]


def says_nothing_of_quality(split: str) -> bool:
    """Whether figures on the split say nothing about how good a model is."""
    return split in _MISLEADING


def splits_in_order(report: Report) -> list[str]:
    """The splits of the report that have figures: test first, those that say nothing of quality last."""
    return sorted(report.metrics, key=lambda split: (says_nothing_of_quality(split), split != "test"))


def split_note(report: Report, split: str) -> str:
    """Whether the models were trained on the images of the split, and what follows from that, and the
    caveats."""
    if split in _MISLEADING:
        return _MISLEADING[split]
    note = "None of the models was trained on this split."
    if "imported" in report.models:
        note = (
            "None of our models was trained on this split; what the imported one was trained on is not "
            "known here."
        )
    return f"{note} {split_caveats(report, split)}".rstrip()


def split_caveats(report: Report, split: str) -> str:
    """What else to know of the figures on the split; empty if there is nothing."""
    caveats = independence(report, split), shared_subjects(report, split), absent_classes(report, split)
    return " ".join(caveat for caveat in caveats if caveat)


def independence(report: Report, split: str) -> str:
    """What the intervals on the split take as independent, where it is not the images; else empty."""
    if all(metrics.n_subjects is None for metrics in report.metrics.get(split, {}).values()):
        return ""
    word = report.dataset.subject_word
    return f"Images of one {word} are not independent: the intervals take {word}s as independent, not images."


def shared_subjects(report: Report, split: str) -> str:
    """How many subjects of the split the models know, and what that spoils; empty if they know none."""
    shared = report.dataset.shared_subjects.get(split, {})
    also = " and ".join(
        f"{n:,} {'are' if n > 1 else 'is'} also in {earlier}" for earlier, n in shared.items()
    )
    if not also:
        return ""
    of = report.dataset.split_subjects[split]
    word = report.dataset.subject_word
    return (
        f"Of the {of:,} {word}s of {split}, {also}: these figures are too good, for the models know those "
        f"{word}s."
    )


def absent_classes(report: Report, split: str) -> str:
    """Name the classes without an image in the split; empty if there is none."""
    by_arm = report.metrics.get(split, {})
    present = {one.name for metrics in by_arm.values() for one in metrics.classes}
    absent = [name for name in report.dataset.classes if name not in present]
    if not by_arm or not absent:
        return ""
    return f"No image of {first_names(absent)} is in {split}, so its figures leave them out."


def statistics_in_order(report: Report, split: str) -> list[StatisticName]:
    """The statistics that a model of the split has; the worst class stands only where there is no group."""
    by_arm = report.metrics[split].values()
    grouped = any(metrics.worst_group_accuracy is not None for metrics in by_arm)
    return [
        name
        for name in STATISTICS
        if any(metrics.statistic(name)[0] is not None for metrics in by_arm)
        and not (grouped and name == "worst_class_accuracy")
    ]


SELECTION_NAMES = {
    "certified": "certified",
    "partly_certified": "certified in part",
    "target_coverage": "target coverage",
    "raw_threshold": "your own threshold",
    "not_certifiable": "not certifiable",
    "none": "every input is answered",
}
"""What the threshold of an answer rests on, by `SelectionStatus`."""
ABSTAIN_NAMES = {
    "below_threshold": "below the threshold",
    "no_certified_threshold": "no certified threshold",
    "unlike_training": "unlike the training images",
}
"""Why an input was not answered, by `AbstainReason`."""

# What fills the store, and what may go from it.
STORED_NAMES = {
    "datasets": "data sets",
    "models": "models",
    "backbones": "backbones that models share",
    "jobs": "jobs: checkpoints, masks, reports, predictions",
    "features": "features of frozen backbones",
    "exports": "models exported to ONNX",
    "calibrations": "calibrations",
    "pattern_judges": "judges of patterns, stored with models",
    "uploads": "uploads that are not imported yet, or not valid",
    "resumable_jobs": "failed and cancelled jobs: delete those that nobody resumes",
    "unnamed_models": "trained models that no alias needs: delete those that nobody compares",
    "caches": "features and exports: made anew when they are needed",
}
