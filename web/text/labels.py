"""Texts of the pages: figures formatted for people, and descriptions of the API's terms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from masktune import Dataset, ImportReport, Job, JobEstimate, Model, OwnKey
from masktune.contract.job_params import EVERY_SPLIT
from masktune.contract.jobs import JobVerdict
from masktune.contract.report.shortcut import PropertyCheck
from masktune.contract.report.text import verdict_title
from masktune.contract.report.text.formats import moment, percent
from masktune.contract.report.text.names import ARM_NAMES, SELECTION_NAMES, capitalised
from masktune.contract.serving.predictions import POLICY_OF
from masktune.contract.vocabulary import STAGE_NAMES, Arm

Json = Mapping[str, Any]

KINDS = {
    "mitigate": (
        "Train past shortcuts",
        "Train a plain model, try what suits the data against a shortcut, compare, and recommend one model.",
    ),
    "masktune": (
        "MaskTune",
        "Train a plain model, mask what it looks at, finetune it on the masked images, compare.",
    ),
    "erm": ("Plain training (ERM)", "One ordinary classifier, calibrated and evaluated. No masks."),
    "retrain_head": (
        "Retrain the last layer",
        "Keep a model's backbone and refit its last layer, balanced over labelled or inferred groups.",
    ),
    "evaluate": ("Evaluate a model", "Accuracy by class and group, on splits held out from training."),
    "mask": ("Mask set", "Mask what a model looks at in every training image, for a finetune job to use."),
    "finetune": (
        "Finetune",
        "Train a model further on the masked images of its mask set, then calibrate and evaluate it.",
    ),
    "predict": (
        "Predict a split",
        "A model's answer for every sample of a split, or for all images, to browse and to download.",
    ),
    "import": ("Import", "Check and pack the uploaded images."),
}

TONES = {
    "ready": "good",
    "holds": "good",
    "broken": "bad",
    "unanswered": "unsure",
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
    "partly_certified": "unsure",
    "target_coverage": "good",
    "raw_threshold": "unsure",
    "not_certifiable": "bad",
    "drifted": "bad",
    "no_sign_of_drift": "good",
    "too_few": "unsure",
    "good": "good",
    "neutral": "unsure",
    "bad": "bad",
    "muted": "",
}
"""The colour of a state or a verdict, which is never shown without its word."""

SPLITS = {
    "train": "train",
    "val": "val",
    "calibration": "calibration",
    "test": "test",
    "no_fg": "no_fg: object cut out",
    "only_bg_b": "only_bg_b: object replaced by a black box",
    "only_bg_t": "only_bg_t: object replaced by background",
}
"""All splits that a data set may have; the last three, without an object, are the Background Challenge's."""

DECISIONS = {"answer": "answered", "abstain": "abstained", "unreadable": "unreadable"}

WEIGHTS_PLACES = {
    "packaged": "weights are with the service",
    "cached": "weights are on its host",
    "hub": "weights are on the internet",
    "none": "no published weights",
}

METHODS = {"xgradcam": "XGrad-CAM", "gradcam": "Grad-CAM", "random": "random places"}

CLASSES_LISTED = 60
"""Most classes listed with their counts; if there are more, only their number is shown."""

STATUSES = {status: capitalised(name) for status, name in SELECTION_NAMES.items()}

POLICIES = {
    "none": "always answer",
    "coverage": "answer the most confident share of inputs",
    "max_risk": "limit the share of wrong answers",
    "by_class": "limit the wrong answers of each class",
    "min_score": "answer at or above a score",
}
"""Policies that decide when a model answers."""
POLICY_START = {"coverage": 90.0, "max_risk": 5.0, "by_class": 10.0, "min_score": 90.0}
"""Initial value of each policy in percent."""
CONFIDENCES = {0.99: "99 %", 0.95: "95 %", 0.9: "90 %"}
"""Confidence levels of a certificate; the first is the service's default."""

SET_COVERAGES = {0: "not shown", 0.9: "right for 90 % of each class", 0.95: "right for 95 % of each class"}
"""Coverages of prediction sets."""

ABSTAINED = {
    "below_threshold": "The model is not confident enough: the score is below the threshold.",
    "no_certified_threshold": "Nothing can be promised for answers of this class.",
    "unlike_training": "The image is unlike the training images.",
}


def import_error(report: ImportReport | None) -> str:
    """Why a data set is invalid: its first problem, or the error that ended its import."""
    reason = ""
    if report is not None and report.problems:
        reason = report.problems[0].detail
    elif report is not None and report.error is not None:
        reason = report.error.detail
    return capitalised(reason or "the import failed") + "."


def can_resume(job: Job) -> bool:
    """Whether the job may end differently if it is resumed: not on files that make no data set."""
    invalid = job.error is not None and (job.error.model_extra or {}).get("reason") == "dataset_invalid"
    return job.state in ("failed", "cancelled") and not invalid


def splits_of(dataset: Dataset) -> list[str]:
    """The splits that have images, in the order of `SPLITS`."""
    return [split for split in SPLITS if dataset.splits.get(split)]


def shortcut(check: Json) -> tuple[str, str, str]:
    """(tone, badge, title) for an import's check for shortcuts."""
    if not check.get("findings"):
        return "unsure", "not judged", "This could not be judged"
    strength = str(check.get("strength"))
    columns = check.get("metadata") or {}
    if strength == "none" and columns.get("strength", "none") != "none":
        return "unsure", "metadata", "None was found in the images, but the metadata predicts the class"
    return TONES.get(strength, ""), strength, _SHORTCUTS.get(strength, strength)


def property_check(check: Json | None) -> PropertyCheck | None:
    """The import's check for shortcuts, if it made one."""
    return PropertyCheck.model_validate(check) if check else None


_SHORTCUTS = {
    "strong": "Yes: a simple property predicts the class",
    "weak": "Possibly: a simple property weakly predicts the class",
    "none": "No simple shortcut was found",
}


def verdict(of_job: JobVerdict) -> tuple[str, str]:
    """Colour and title of a job's verdict."""
    tone, title = verdict_title(of_job)
    return TONES[tone], title


def count_of(count: int, one: str, many: str) -> str:
    """A count with its noun, e.g. "1 file was rejected" or "3 files were rejected"."""
    return f"{number(count)} {one if count == 1 else many}"


def number(count: float | None) -> str:
    return "–" if count is None else f"{count:,.0f}"


def cell(content: str | float) -> str:
    """A cell of a column of metadata: a text as it is, a number with all of its digits."""
    return content if isinstance(content, str) else f"{content:.15g}"


def ago(at: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit that fits."""
    if at is None:
        return "–"
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def since(at: datetime | None) -> Markup:
    """The same for a page, with the time itself, which the page's script shows in the reader's zone."""
    element = Markup('<time datetime="{}" title="{}">{}</time>')
    return Markup("–") if at is None else element.format(at.isoformat(), moment(at), ago(at))


def kind(name: str) -> str:
    return KINDS.get(name, (name, ""))[0]


def arm(name: str) -> str:
    return ARM_NAMES[Arm(name)] if name in ARM_NAMES else name


def model_label(model: Model, datasets: Mapping[str, str], verdicts: Mapping[str, str]) -> str:
    """What tells a model from others in a list of choices.
    `datasets`: names by id; `verdicts`: titles by the id of the job. What these lack is left out."""
    title = arm(model.arm) + (f": {model.name}" if model.name else "")
    of, verdict = shorten(datasets.get(model.dataset or "", "")), verdicts.get(model.job or "", "")
    parts = (of, title, f"{model.created_at:%Y-%m-%d}", verdict, model.backbone, model.id[-6:])
    return " · ".join(filter(None, parts))


def shorten(text: str, most: int = 40) -> str:
    """The text, cut to at most this many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def current_step(job: Job) -> str:
    """What a job is doing now."""
    if job.state == "queued":
        return f"waiting for {job.waiting_for or 'a worker'}"
    if job.state == "running":
        return STAGE_NAMES.get(job.stage or "", "starting")
    return job.state


def visitor(own: OwnKey) -> str:
    """Who is in: a key by its name, or a person whom the proxy in front names."""
    if own.id is None:
        return "Key: the operator’s"
    return f"Key: {own.name}" if own.id.startswith("key_") else str(own.name)


def job_description(kind: str, params: Json) -> str:
    """Describe in a sentence what a job that trains nothing was asked to do; "" for other kinds."""
    if kind == "mask":
        masking = params.get("masking") or {}
        share, sigmas, method = masking.get("share"), masking.get("sigmas") or 0, masking.get("method")
        if share:
            above = f"the most salient {percent(share, 0)} of pixels"
        elif sigmas == "auto":
            above = "as little as hides what the model uses"
        else:
            above = f"everything above mean + {float(sigmas):g} standard deviations"
        return f"Masks {above} in every training image (method: {METHODS.get(str(method), method)})."
    if kind == "predict":
        limits = [name for name in POLICY_OF if params.get(name) is not None]
        when = POLICIES[POLICY_OF[limits[0]] if limits else "none"]
        when += ": " * bool(limits) + ", ".join(percent(params[name]) for name in limits)
        split = params.get("split")
        samples = "every image" if split == EVERY_SPLIT else f"every sample of the {split} split"
        of = f"{samples} as {params.get('output')}"
        return f"Predicts {of}; policy: {when}."
    return ""


def estimate_basis(estimate: JobEstimate) -> str:
    """A sentence that says where the estimated time comes from."""
    if estimate.source == "measured":
        return f"From earlier jobs on {estimate.device or 'this machine'}."
    return (
        "A guess for two CPU cores: no job has measured this at this image size yet. "
        "A GPU is many times faster."
    )
