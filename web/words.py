"""What pages say: figures as people write them, and words for what the API names in one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from client import ImportReport

Json = Mapping[str, Any]

ARMS = {
    "erm": "ERM",
    "given": "Given model",
    "control": "Control",
    "masktune": "MaskTune",
    "retrained": "Retrained head",
    "imported": "Imported",
}
"""In the order that they are read in: before, with as much training, after."""

ARM_SENTENCES = {
    "erm": "the plain training: before",
    "given": "what the judged one came from: before",
    "control": "trained on for as long, without what is judged",
    "masktune": "trained on with the salient pixels masked: after",
    "retrained": "the last layer balanced over groups: after",
    "imported": "brought as a file",
}

KINDS = {
    "masktune": ("MaskTune", "Train plainly, find what the model looks at, mask it, train on, compare."),
    "erm": ("Plain training (ERM)", "One ordinary classifier, calibrated and measured. No masks."),
    "retrain_head": (
        "Retrain the last layer",
        "Keep a model's features; fit its last layer anew, balanced over groups that are given or inferred.",
    ),
    "evaluate": ("Measure a model", "Accuracy by class and group on splits that trained nothing."),
    "mask": ("Mask set", "What a model looks at in every training image, kept for a finetune."),
    "finetune": (
        "Finetune",
        "Train the model of a mask set on, on its images, masked; calibrate and measure it.",
    ),
    "predict": ("Predict a split", "What a model says of every sample of a split, in a file to download."),
    "import": ("Import", "Check and pack the images of an upload."),
}

STAGES = {
    "import": "checking every image",
    "erm": "plain training",
    "mask": "finding what it looks at",
    "finetune": "training on, masked",
    "control": "the control",
    "retrain_head": "retraining the last layer",
    "calibrate": "calibrating",
    "evaluate": "measuring",
    "predict": "predicting",
}

STAGES_OF = {
    "import": ("import",),
    "erm": ("erm", "calibrate", "evaluate"),
    "mask": ("mask",),
    "finetune": ("finetune", "calibrate", "evaluate"),
    "masktune": ("erm", "mask", "finetune", "control", "calibrate", "evaluate"),
    "retrain_head": ("retrain_head", "control", "calibrate", "evaluate"),
    "evaluate": ("calibrate", "evaluate"),
    "predict": ("predict",),
}

TONES = {
    "ready": "good",
    "succeeded": "good",
    "importing": "busy",
    "running": "busy",
    "cancelling": "busy",
    "invalid": "bad",
    "failed": "bad",
    "cancelled": "unsure",
    "queued": "",
    "strong": "bad",
    "weak": "unsure",
    "none": "good",
    "certified": "good",
    "target_coverage": "good",
    "raw_threshold": "unsure",
    "not_certifiable": "bad",
    "drifted": "bad",
    "no_sign_of_drift": "good",
    "too_few": "unsure",
}
"""How a state or a verdict is coloured; its word always stands beside the colour."""

CLASSES_LISTED = 60
"""With their counts; of more, only the number is said."""

STATISTICS = {
    "accuracy": ("Average accuracy", "right answers over all answers"),
    "worst_group_accuracy": ("Worst-group accuracy", "the group with the lowest accuracy"),
    "worst_class_accuracy": ("Worst-class accuracy", "the class with the lowest accuracy"),
    "balanced_accuracy": ("Balanced accuracy", "mean over the classes"),
}

VERDICTS = {
    "helped": ("good", "{} helped"),
    "no_detectable_effect": ("unsure", "No detectable effect"),
    "hurt": ("bad", "{} hurt"),
}

STATUSES = {
    "certified": "Certified",
    "target_coverage": "Chosen for the coverage",
    "raw_threshold": "Your own threshold",
    "not_certifiable": "Not certifiable",
    "none": "Every input is answered",
}

POLICIES = {
    "none": "always answer",
    "coverage": "answer the surest share of inputs",
    "max_risk": "keep the share of wrong answers below",
    "min_score": "answer from this score on",
}
"""When a model answers."""
POLICY_START = {"coverage": 90.0, "max_risk": 5.0, "min_score": 90.0}
"""Percent."""

ABSTAINED = {
    "below_threshold": "It is not sure enough: its score is below the threshold.",
    "no_certified_threshold": "No threshold keeps the wanted risk with these calibration samples.",
}


def sentence(text: str) -> str:
    """With a capital: what a service says of an error begins in the middle of a line of a log."""
    return text[:1].upper() + text[1:]


def fault(report: ImportReport | None) -> str:
    """Why a data set is invalid: its first problem, or what ended its import."""
    found = report.problems[0].detail if report and report.problems else None
    ended: Json = ((report.model_extra or {}).get("error") or {}) if report else {}
    return sentence(found or ended.get("detail") or "the import did not end well") + "."


def percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"  # no line break before the sign


def points(difference: float) -> str:
    """A difference of shares as signed percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """ "45 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def ago(at: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit that tells."""
    if at is None:
        return "–"
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def size(count: float) -> str:
    """Bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f}\u00a0{unit}"
        count /= 1000
    return f"{count:.1f}\u00a0GB"


def kind(name: str) -> str:
    return KINDS.get(name, (name, ""))[0]


def arm(name: str) -> str:
    return ARMS.get(name, name)


def arms_in_order(found: Mapping[str, object]) -> list[str]:
    """The arms that are there, before first, those that nobody knows last."""
    return [*(a for a in ARMS if a in found), *(a for a in found if a not in ARMS)]


def doing(state: str, stage: str | None) -> str:
    """What a job does at the moment."""
    if state == "queued":
        return "waiting for a worker"
    if state == "running":
        return STAGES.get(stage or "", "starting")
    return state


def asked(kind: str, params: Json) -> str:
    """What a job that trains nothing was asked for, in a sentence; nothing of the others."""
    if kind == "mask":
        masking = params.get("masking") or {}
        share, sigmas = masking.get("share"), float(masking.get("sigmas") or 0)
        above = (
            f"the {percent(share, 0)} that count most" if share else f"all above mean + {sigmas:g} deviations"
        )
        return f"Looks at every training image with {masking.get('method')}; masks {above}."
    if kind == "predict":
        policy = next((name for name in POLICY_START if params.get(name) is not None), "none")
        when = POLICIES[policy] + ("" if policy == "none" else f": {percent(params[policy])}")
        return f"Every sample of the {params.get('split')} split, as {params.get('output')}; {when}."
    return ""


def verdict(report: Json) -> tuple[str, str, str]:
    """(tone, title, sentence) of a report's verdict."""
    found = report.get("verdict")
    if not found:
        return ("", "No comparison", "This job has no second model to compare with on the test split.")
    tone, title = VERDICTS.get(found["verdict"], ("", str(found["verdict"])))
    deciding, average, controlled = found["deciding"], found.get("average"), found["b"] == "control"
    if not controlled:
        title = f"{title}, without a control"
    statistic = STATISTICS.get(deciding["statistic"], (str(deciding["statistic"]), ""))[0]
    sentence = (
        f"On the {found['split']} split its {statistic.lower()} is {points(deciding['estimate'])} points "
        f"against {arm(found['b'])} (95\u00a0% interval {points(deciding['low'])} to "
        f"{points(deciding['high'])})."
    )
    if average:
        sentence += f" Average accuracy: {points(average['estimate'])} points."
    if found["verdict"] == "no_detectable_effect":
        sentence += " Any effect within the interval fits these samples."
    if not controlled:
        sentence += " Training on for as long without it might have done as much: no control was trained."
    return tone, title.format(arm(found.get("a", "masktune"))), sentence


def worst(metrics: Json) -> tuple[float | None, str, str]:
    """(accuracy, name, "group" or "class") of the worst slice."""
    if metrics.get("worst_group_accuracy") is not None:
        return metrics["worst_group_accuracy"], str(metrics.get("worst_group") or ""), "group"
    return metrics.get("worst_class_accuracy"), str(metrics.get("worst_class") or ""), "class"


def answers(by_arm: Json, judged: str, came_from: str | None = None) -> list[tuple[str, str]]:
    """The three questions of a reader, answered from one split's figures by arm."""
    before = by_arm.get(came_from or "erm") or by_arm.get("imported")
    after, control = by_arm.get(judged), by_arm.get("control")
    found = []
    if before:
        low, name, what = worst(before)
        if low is not None:
            signs = before["accuracy"] - low >= 0.1 or low < 0.5
            found.append(
                (
                    "Does the model lean on a shortcut?",
                    f"{'There are signs of it' if signs else 'These figures show no sign of it'}: before, it "
                    f"is right on {percent(before['accuracy'])} overall and on {percent(low)} in its worst "
                    f"{what}, {name}.",
                )
            )
    if before and after:
        then, now = worst(before)[0], worst(after)
        beside = "" if not control else f"; with as much training but no masks: {percent(worst(control)[0])}"
        if judged == "retrained" and control:
            beside = f"; the same head without groups: {percent(worst(control)[0])}"
        found.append(
            (
                f"Did {arm(judged)} help?",
                f"The worst case went from {percent(then)} to {percent(now[0])} ({now[1]}){beside}.",
            )
        )
    if after:
        low, name, _ = worst(after)
        found.append(
            (
                "May I trust the new one?",
                f"It errs on {percent(1 - after['accuracy'])} of the inputs, and on "
                f"{percent(None if low is None else 1 - low)} in {name}. Let it abstain where it is unsure.",
            )
        )
    return found
