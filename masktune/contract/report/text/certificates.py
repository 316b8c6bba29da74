"""What is said, wherever it is, of a risk that a calibration split certifies, or does not."""

from __future__ import annotations

from collections.abc import Sequence

from masktune.contract.report.text.formats import first_names, percent, whole_percent
from masktune.contract.serving.prediction_table import PredictionCounts
from masktune.contract.serving.predictions import ClassPromise, PredictionSets, Selection
from masktune.contract.serving.reject_option import RiskCoverage

NO_PROMISE = (
    "This is no promise about a single input, a group or shifted data, and it holds only if the risk was "
    "chosen before looking at the curve of risk over coverage."
)
"""What a certificate does not say."""


def certified(max_risk: float, confidence: float, n_subjects: int | None) -> str:
    """What a certificate says; `n_subjects` as in the calibration."""
    inputs = "independent inputs" if n_subjects is None else "random images of new subjects"
    return (
        f"Certified: with {whole_percent(confidence)} confidence over the draw of the calibration split, at "
        f"most {whole_percent(max_risk)} of the answers are wrong, for {inputs} like those of the split."
    )


def coverage_statement(counts: PredictionCounts, requested: float | None) -> str:
    """Which share of a job's images is answered, and which was `requested`, if any."""
    target = "" if requested is None else f"; requested: {whole_percent(requested)} of images like those of "
    return (
        f"{percent(counts.coverage)} of the {counts.answered + counts.abstained:,} readable images are "
        f"answered{target and target + 'the calibration split'}."
    )


def uncalibrated(model: str, *, imported: bool) -> str:
    """Why nothing can rest on the model's calibration, and what to do: a clause without a capital and a full
    stop. Version 0.1.0 `imported` calibrations with models."""
    reason = (
        "was imported with a calibration of another service's images, which promises nothing here"
        if imported
        else "has no calibration"
    )
    return f"model {model} {reason}; evaluate it on a data set to make one"


def samples_needed(count: int | None) -> str:
    """How many calibration samples would likely certify the risk, with the errors that the model makes; the
    end of a sentence that names the risk."""
    if count is None:
        return "no number of calibration samples is enough, since this model is wrong too often"
    return f"that takes about {count:,} calibration samples"


def needs_erm(score: str, model: str) -> str:
    """That a model without an ERM model has no such score."""
    return f"{score} needs an ERM model, and model {model} has none; use max_softmax"


def not_certifiable(
    max_risk: float, confidence: float, *, n: int, needed: int | None, best: float | None
) -> str:
    """That no threshold is certified on `n` samples, how many would do, and the lowest risk that these would
    have certified, `best`: a clause without a capital and a full stop."""
    lowest = "these certify no risk"
    if best:
        lowest = f"the lowest risk that these would have certified is {percent(best)}"
    return (
        f"with these {n:,} calibration samples, no threshold can be certified for a risk of "
        f"{whole_percent(max_risk)} at {whole_percent(confidence)} confidence: {samples_needed(needed)}; "
        f"{lowest}"
    )


def uncertified_table(curve: RiskCoverage) -> str:
    """The same of the threshold of a curve's table; empty for any other than `not_certifiable`."""
    table = curve.table
    if table.status != "not_certifiable":
        return ""
    return not_certifiable(
        table.requested,
        table.risk_confidence,
        n=curve.n,
        needed=table.samples_needed,
        best=table.best_certifiable_risk,
    )


def uncertified(selection: Selection) -> str:
    """The same of the selection of an answer; empty if all that was requested is certified."""
    calibration = selection.calibration
    if selection.promises:
        return uncertified_promises(selection.promises)
    if selection.status != "not_certifiable" or calibration is None:
        return ""
    return not_certifiable(
        selection.requested or 0.0,
        calibration.risk_confidence or 0.0,
        n=calibration.n,
        needed=selection.samples_needed,
        best=selection.best_certifiable_risk,
    )


def certified_promises(promises: Sequence[ClassPromise], confidence: float) -> list[str]:
    """What is promised by class, in sentences, and what is not; none without promises."""
    if not promises:
        return []
    meanings = {"risk": "of the answers “{}” are wrong", "missed": "of the true “{}” are answered as another"}
    sentences = [
        f"At most {whole_percent(one.requested)} {meanings[one.statement].format(one.label)}."
        for one in promises
        if one.status == "certified"
    ]
    together = (
        f"Certified by class: with {whole_percent(confidence)} confidence over the draw of the calibration "
        "split, all of the following hold together, for inputs like those of the split."
    )
    missing = uncertified_promises(promises)
    never = f"{missing}. A class whose answers are not certified is never answered."
    return [*([together, *sentences] if sentences else []), *([never] if missing else [])]


def uncertified_promises(promises: Sequence[ClassPromise]) -> str:
    """Which promises by class are not certified, and how many more calibration samples each takes; empty if
    all are."""
    missing = [promise for promise in promises if promise.status != "certified"]
    if not missing:
        return ""
    return (
        f"{len(missing)} of {len(promises)} promises by class are not certified: "
        f"{first_names([_missing(promise) for promise in missing])}"
    )


def _missing(promise: ClassPromise) -> str:
    name = f"{promise_name(promise)} ({promise.n:,} calibration samples"
    if promise.needed is None:
        return f"{name}; the model errs too often for any number)"
    return f"{name}; {promise.needed:,} more would do)"


def promise_name(promise: ClassPromise) -> str:
    """What is promised, but for the figure."""
    if promise.statement == "risk":
        return f"answers “{promise.label}” that are wrong"
    return f"“{promise.label}” answered as another class"


def set_text(labels: Sequence[str]) -> str:
    """The classes that an input may be."""
    return " or ".join(labels) or "none of the classes"


def sets_statement(sets: PredictionSets) -> str:
    """What the sets of an answer promise, and do not: a clause."""
    parts = [
        f"“may be” names, on average over calibrations, the true class of at least "
        f"{whole_percent(sets.coverage)} of the inputs of each class, if they are like those of the "
        "calibration split"
    ]
    if sets.always:
        parts.append(
            f"it always names {first_names(sets.always)}: fewer than {sets.samples_at_least} calibration "
            "samples each"
        )
    if (lowest := sets.lowest) is not None:
        parts.append(
            f"for “{lowest.label}”, with {lowest.n:,} calibration samples, that share may be as low as "
            f"{percent(lowest.coverage)} (lower in one of 20 calibrations)"
        )
    return "; ".join([*parts, "an input of no trained class gets a set all the same"])
