"""What pages say: figures as people write them, and words for what the API names in one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from client import Dataset, ImportReport, Model

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

SPLITS = {
    "train": "train",
    "val": "val",
    "calibration": "calibration",
    "test": "test",
    "no_fg": "no_fg: the object cut out",
    "only_bg_b": "only_bg_b: a black box for the object",
    "only_bg_t": "only_bg_t: background for the object",
}
"""Every split that a data set may have; the last three are the Background Challenge's, without an object."""

_NO_OBJECT = "These images show no object: who is right here reads the background. Lower is better."
SPLIT_NOTES = {
    "train": "The models were trained on these images: that says nothing of new ones.",
    "no_fg": _NO_OBJECT,
    "only_bg_b": _NO_OBJECT,
    "only_bg_t": _NO_OBJECT,
}
"""Of those whose figures judge no model."""

CLASSES_LISTED = 60
"""With their counts; of more, only the number is said."""

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
CONFIDENCES = {0.99: "99 %", 0.95: "95 %", 0.9: "90 %"}
"""Of a certificate; the first is the service's own, for programs that name none."""

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


def splits_of(dataset: Dataset) -> list[str]:
    """Those that have images, in the order of their words."""
    return [split for split in SPLITS if dataset.splits.get(split)]


def shortcut(seen: Json) -> tuple[str, str, str]:
    """(tone, badge, title) of what an import says of shortcuts."""
    if not seen.get("findings"):
        return "unsure", "not judged", "That could not be judged"
    strength = str(seen.get("strength"))
    return TONES.get(strength, ""), strength, _SHORTCUTS.get(strength, strength)


_SHORTCUTS = {
    "strong": "Yes: a simple property tells the class",
    "weak": "Perhaps: a weak one was found",
    "none": "None of the simple ones that were looked for",
}


def counted(count: int, one: str, many: str) -> str:
    """ "1 file was rejected", "3 files were rejected"."""
    return f"{number(count)} {one if count == 1 else many}"


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
    if 0 < seconds < 1:
        return "under 1 s"
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


def told_of(model: Model, dataset: str = "") -> str:
    """A model as a choice names it; `dataset`: the name of what it was trained on, where it is known."""
    of = f" of {cut(dataset)}" if dataset else ""
    return f"{arm(model.arm)}{of} · {model.backbone} · {ago(model.created_at)} · {model.id[-6:]}"


def cut(text: str, most: int = 40) -> str:
    """So many signs of it at most."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


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
