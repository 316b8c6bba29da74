"""Notes on the tables and pictures of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from masktune.contract.models import CalibrationRef
from masktune.contract.report.accuracy import ArmDifference, BackgroundGap, Disagreement
from masktune.contract.report.probabilities import Certificate, Certificates, Reliability, Temperature
from masktune.contract.report.report import MaskSummary, Report
from masktune.contract.report.saliency import SaliencyShift, SaliencySummary
from masktune.contract.report.sigmas import SigmasChoice
from masktune.contract.report.text.certificates import samples_needed
from masktune.contract.report.text.formats import (
    percent,
    percent_interval,
    points,
    points_interval,
    sample_count,
)
from masktune.contract.report.text.names import ARM_NAMES, in_order, within_sentence
from masktune.contract.vocabulary import Arm

DIFFERENCES = (
    "The row that decides the verdict was chosen beforehand; of the others, one in twenty excludes zero by "
    "chance."
)
GALLERY = "The same images under each model, picked by rule and never by hand."

MAP = "The brighter a place, the more saliency it has; the image beneath is grey, so all colour is the map’s."
MAP_STRENGTH = "Strength of the map"
MAP_STRENGTHS = {0: "0", 25: "25", 50: "50", 75: "75", 100: "100\u00a0%"}
"""Opacity of the map, in percent, and its label."""
MASK = "Mask"
MASK_VIEWS = {"outline": "outline", "pixels": "as finetuning sees it", "hidden": "hidden"}
"""How the pages can show a mask, and the label of each way."""
MASK_OUTLINE = "The outline, a light line beside a dark one, surrounds what would be masked."
DELETION_CURVE = (
    "The mean of the accuracies of the classes, under ERM's own masks, and under the same masks elsewhere in "
    "the image. Chosen are the smallest masks that cost ERM as much as the largest allowed ones. Those cover "
    "at most a quarter of the image, and cost at most 3 points elsewhere. The curve cannot tell a shortcut "
    "from the object: the control shows whether the masks helped."
)
"""How the threshold of the masks is chosen."""

NOT_FINITE = (
    "Its answers on this split include numbers that are not finite, so its probabilities are not assessed."
)
"""Of a model without a finite answer."""

NOTABLE_EMPTY = 0.05
"""Share of empty masks that a report speaks of first: as many images keep their pattern unmasked as usually
lack it in a biased data set, which is enough to outweigh them."""
COARSE_SIDE, _FINE_SIDE, _STRIDE = 3, 4, 32
"""Sides of maps that are too coarse and fine enough: of 3 × 3 places, all but one lie at the border, so that
a map cannot tell the object from what surrounds it. Networks shrink images by up to `_STRIDE`."""

CURVE_SPLITS = {
    "calibration": "Inputs like the training data, but not trained on: what a certificate is about.",
    "test": "The test split.",
    "val": "The validation split.",
}
"""What a curve of selective risk is about, by split."""


def saliency_shift(shift: SaliencyShift | None, after: Arm | None) -> str | None:
    """How far the saliency maps of the model before and of the one after differ."""
    if shift is None or shift.mean is None or shift.quartiles is None or after is None:
        return None
    return (
        f"The saliency maps of the original model and of {within_sentence(after)} differ by "
        f"{percent(shift.mean)} on average over {shift.n:,} images (95\u00a0% interval "
        f"{percent_interval(shift.low, shift.high)}; for half of the images, between "
        f"{100 * shift.quartiles[0]:.0f} and {100 * shift.quartiles[2]:.0f}\u00a0%). 0\u00a0% means the same "
        "map, 100\u00a0% no place in common."
    )


def no_maps(saliency: SaliencySummary) -> str:
    """That no image has a map; empty if one has."""
    if any(mean.map is not None for of_arm in saliency.mean_maps.values() for mean in of_arm):
        return ""
    return "No image has a map that shows where the model looks."


def coarse_maps(report: Report) -> str:
    """That the saliency maps are too coarse, and the image size that would do; empty if they are not."""
    means = report.saliency.mean_maps if report.saliency else {}
    sides = {arm: len(mean.map) for arm, of_arm in means.items() for mean in of_arm if mean.map is not None}
    coarse = [arm for arm in in_order(sides) if sides[arm] <= COARSE_SIDE and arm in report.models]
    if not coarse:
        return ""
    side, pixels = sides[coarse[0]], report.models[coarse[0]].image_size
    enough = _STRIDE * math.ceil(pixels * _FINE_SIDE / side / _STRIDE)
    return (
        f"Too coarse: the maps of {within_sentence(coarse[0])} divide an image into {side} × {side} places, "
        "and so do masks made of them. They cannot tell the object from what surrounds it. An image size of "
        f"{enough} pixels, instead of {pixels}, would give at least {_FINE_SIDE} × {_FINE_SIDE}."
    )


def empty_masks(summary: MaskSummary | None) -> str:
    """How many training images have an empty mask; empty if none has."""
    if summary is None or not summary.nothing_masked:
        return ""
    return (
        f"{summary.nothing_masked:,} of {summary.images:,} training images have an empty mask: nothing in "
        "them was hidden."
    )


def many_empty_masks(summary: MaskSummary | None) -> str:
    """The same, where their share is notable."""
    if summary is None or summary.nothing_masked < NOTABLE_EMPTY * summary.images:
        return ""
    return empty_masks(summary)


def masks(summary: MaskSummary | None) -> tuple[tuple[str, str], ...]:
    """The masks of the training images as (figure, meaning) pairs."""
    if summary is None:
        return ()
    speed = ((f"{summary.images_per_second:,.0f}", "images per second"),) if summary.images_per_second else ()
    return (
        (f"{summary.nothing_masked:,}", f"of {summary.images:,} training images have an empty mask"),
        (percent(summary.masked_share), "of the training pixels are masked"),
        *speed,
    )


def sigmas_choice(choice: SigmasChoice | None) -> str | None:
    """Which threshold was chosen for the masks, and why."""
    if choice is None:
        return None
    rule = (
        f"Hidden is each place whose saliency is more than {choice.sigmas:g} standard deviations above the "
        "mean of its image"
    )
    if choice.reason == "too_few_images":
        return (
            f"{rule}, as in the paper: with {choice.n:,} distinct images, the validation split is too small "
            "to measure a better threshold."
        )
    measured = f"measured on {choice.n:,} validation images"
    chosen = next((point for point in choice.curve if point.sigmas == choice.sigmas), None)
    if choice.reason == "unspecific" or chosen is None or choice.plain is None:
        return (
            f"{rule}, as in the paper: {measured}, masks that leave the image recognisable cost ERM no "
            "accuracy that can be told from chance."
        )
    fall = (
        f"These masks hide {percent(chosen.masked_share)} of the image, and with them ERM's accuracy falls "
        f"from {percent(choice.plain.accuracy)} to {percent(chosen.own.accuracy)}, {measured}"
    )
    if choice.reason == "plateau":
        return f"{rule}. {fall}; larger masks cost it no more, so these hide what it uses."
    again = f" So the images were masked, and the model finetuned, {choice.iterations} times."
    return (
        f"{rule}. {fall}; larger masks would cost it more, but leave too little of the image, so these may "
        f"not hide all that it uses.{again if choice.iterations > 1 else ''}"
    )


def disagreement(measured: Disagreement | None, after: Arm) -> str | None:
    """How often the two models differ, which needs no labels."""
    if measured is None:
        return None
    return (
        f"ERM and {within_sentence(after)} give different answers on {measured.disagree:,} of "
        f"{sample_count(measured.n, measured.n_subjects)}: {percent(measured.share)} "
        f"({percent(measured.low)} – {percent(measured.high)}). "
        "It needs no labels: a larger share on new inputs is a warning that they are unlike these."
    )


def discordant_samples(difference: ArmDifference) -> str:
    """How many samples only one of the two models got right."""
    a, b = ARM_NAMES[difference.a], ARM_NAMES[difference.b]
    return (
        f"{sample_count(difference.n, difference.n_subjects)}; only {a} is right on {difference.a_only:,}, "
        f"only {b} on {difference.b_only:,}"
    )


def background_gap(by_arm: Mapping[Arm, BackgroundGap] | None) -> str | None:
    """How much the background decides for each model; for the Background Challenge only."""
    if not by_arm:
        return None
    gaps = "; ".join(
        f"{ARM_NAMES[arm]} {points(gap.gap)} points ({points_interval(gap.low, gap.high)})"
        for arm, gap in by_arm.items()
    )
    return (
        f"Background gap (accuracy on mixed_same − on mixed_rand, with 95\u00a0% intervals): {gaps}. "
        "The smaller the gap, the less the background decides."
    )


def certificate(target: Certificate) -> tuple[str, str]:
    """The coverage that a certificate for one risk allows, and its counts."""
    if target.status != "certified":
        return "none", f"not certifiable: {samples_needed(target.samples_needed)}"
    return percent(target.coverage), f"{target.errors} of {target.answered:,} wrong"


def calibration_samples(certificates: Certificates, word: str = "subject") -> str:
    """How many images, and how many subjects, a certificate rests on; `word` is the owner's for a subject."""
    images = f"{certificates.n:,} images of the calibration split"
    if certificates.n_subjects is None:
        return images
    if certificates.n_subjects == certificates.n:
        return f"{images}, one per {word} and drawn at random"
    return f"{images}, {certificates.n_subjects:,} of them one per {word} and drawn at random"


def independence(certificates: Certificates | CalibrationRef, word: str = "subject") -> str:
    """What a certificate assumes of the images that it rests on, and which were left out for that reason."""
    if certificates.n_subjects is None:
        sentences = [
            "It assumes that these images are independent of each other: where several show one patient, "
            "animal or burst, name the subject of each in the data set, and one image per subject will count."
        ]
    else:
        sentences = [
            f"Images of one {word} are not independent of each other, so one image of each counts: the "
            f"promise is about a random image of a new {word} like these. "
            f"{certificates.same_subject_left_out or 0:,} other images were left out because their {word} "
            "counts already, or is in the train or val split."
        ]
    if certificates.copies_left_out:
        sentences.append(
            f"{certificates.copies_left_out:,} copies of images were left out: a copy is right or wrong "
            "with its original and adds nothing, and a copy of an image that the models were fitted to or "
            "chosen by would look too good."
        )
    return " ".join(sentences)


def reliability(measured: Reliability) -> str:
    """Whether the model is over- or underconfident, and whether chance alone would explain the error."""
    over = measured.overconfidence
    confidence = (
        "as sure of its answers as it should be"
        if abs(over) < 0.0005
        else f"{100 * abs(over):.1f} points too {'sure' if over > 0 else 'unsure'} of its answers"
    )
    interval = percent_interval(measured.ece_low, measured.ece_high)
    counted = "" if measured.n_subjects is None else f" of {measured.n_subjects:,} subjects"
    text = f"interval {interval}, n = {measured.n:,}{counted}; on average, it is {confidence}. "
    if measured.non_finite:
        text = f"{measured.non_finite:,} answers that are not finite numbers are left out; {text}"
    chance = f"{100 * measured.ece_by_chance:.1f}"
    if measured.ece <= measured.ece_by_chance:
        return (
            f"{text}With so few samples, even perfect probabilities would, in 19 of 20 cases, seem off by "
            f"up to {chance} points, so no fault is shown."
        )
    return (
        f"{text}With as many samples, perfect probabilities would, in 19 of 20 cases, seem off by at most "
        f"{chance} points."
    )


def reliability_at_temperature(measured: Reliability | None, temperature: Temperature | None) -> str:
    """How far the probabilities are off after the temperature is applied."""
    if measured is None or temperature is None:
        return ""
    return (
        f"Predictions correct for that, at temperature {temperature.value:.2f}: {100 * measured.ece:.1f} "
        f"points off ({percent_interval(measured.ece_low, measured.ece_high)})."
    )
