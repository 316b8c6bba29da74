"""The notes of a report's page about its tables and images."""

from __future__ import annotations

from collections.abc import Sequence

from app.reports.labels import ARM_NAMES, Json, percent, points

SIGNS = {
    "groups": "Worst group",
    "slices": "Ways of looking",
    "shift": "Test against validation",
    "mask": "Own mask",
    "property": "Simple image property",
}
"""`slices` occurs only in reports of earlier versions, which counted them as a sign."""

SPLITS = {
    "calibration": "Inputs like the training data, but not trained on: what a certificate is about.",
    "test": "The test split.",
    "val": "The validation split.",
}


def rule(name: str) -> str:
    """Return a gallery rule in words."""
    return name.replace("_", " ")


def whole_classes(names: Sequence[str], cut: int) -> str:
    """Name the classes that were not divided."""
    if not names:
        return "" if cut else "No image has a map that shows where the model looks."
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    images = "the images" if cut else "all images"
    return f"As far as the maps show, the model looks at {images} of {listed} in one way."


def agreement(found: Json | None) -> str | None:
    """Say how well inferred slices match the true groups."""
    if not found:
        return None
    says = {"follows": "follow", "partly": "partly follow", "misses": "do not follow"}[found["reading"]]
    value, low, high = (f"{found[key]:.2f}" for key in ("adjusted_mutual_information", "low", "high"))
    return (
        f"Here the true groups are known: the slices {says} them (adjusted mutual information {value}, "
        f"{low} – {high}, over {found['n']:,} images; 0 is chance, 1 is identical)."
    )


def moved(found: Json | None, after: str | None) -> str | None:
    if found is None or found["mean"] is None or after is None:
        return None
    return (
        f"From the original model to {ARM_NAMES[after]}, {percent(found['mean'])} of the saliency moved "
        f"elsewhere, on average over {found['n']:,} images (95\u00a0% interval {100 * found['low']:.1f} – "
        f"{100 * found['high']:.1f}; for half of the images, between {100 * found['quartiles'][0]:.0f} and "
        f"{100 * found['quartiles'][2]:.0f}\u00a0%)."
    )


def masks(summary: Json | None) -> tuple[tuple[str, str], ...]:
    """Summarise the masks of the training images as (figure, meaning) pairs."""
    if not summary:
        return ()
    return (
        (percent(summary["masked_share"]), "of the training pixels are masked"),
        (f"{summary['images']:,}", "training images have a mask"),
        (f"{summary['nothing_masked']:,}", "of them have nothing masked: their map is flat"),
        (f"{summary['images_per_second']:,.0f}", "images per second"),
    )


def disagreement(found: Json | None, after: str) -> str | None:
    if not found:
        return None
    return (
        f"ERM and {after} give different answers on {found['disagree']:,} of {found['n']:,} samples: "
        f"{percent(found['share'])} ({percent(found['low'])} – {percent(found['high'])}). "
        "It needs no labels: a larger share on new inputs is a warning that they are unlike these."
    )


def background_gap(by_arm: Json | None) -> str | None:
    """Say how much the background decides for each model; for the Background Challenge only."""
    if not by_arm:
        return None
    told = "; ".join(
        f"{ARM_NAMES[arm]} {points(found['gap'])} points ({points(found['low'])} … {points(found['high'])})"
        for arm, found in by_arm.items()
    )
    return (
        f"Background gap (accuracy on mixed_same − on mixed_rand, with 95\u00a0% intervals): {told}. "
        "The smaller the gap, the less the background decides."
    )


def wish(found: Json) -> tuple[str, str]:
    """Return the coverage that a certificate for one risk allows, and its counts."""
    if found["status"] != "certified":
        return "none", "not certifiable"
    return percent(found["coverage"]), f"{found['errors']} of {found['answered']:,} wrong"


def copies(left_out: int | None) -> str:
    """Say how many copies of images a calibration left out, and why."""
    if not left_out:
        return ""
    return (
        f"{left_out:,} copies of images were left out: a copy is right or wrong with its original and adds "
        "nothing, and a copy of an image that the models were fitted to or chosen by would look too good."
    )


def best_risk(found: float | None) -> str:
    return "none" if found is None else percent(found)


NOT_FINITE = (
    "Its answers on this split include numbers that are not finite, so its probabilities are not assessed."
)
"""Shown if no answer is finite, or, in reports of earlier versions, if any is not."""


def reliability(found: Json) -> str:
    """Say whether the model is over- or underconfident, and whether chance alone would explain the error."""
    if "overconfidence" not in found:
        return ""
    over = found["overconfidence"]
    sure = (
        "neither over- nor underconfident"
        if abs(over) < 0.0005
        else f"{'overconfident' if over > 0 else 'underconfident'} by {100 * abs(over):.1f} points"
    )
    said = (
        f"interval {100 * found['ece_low']:.1f} – {100 * found['ece_high']:.1f}, n = {found['n']:,}; "
        f"on average {sure}. "
    )
    if found.get("non_finite"):
        said = f"{found['non_finite']:,} answers that are not finite numbers are left out; " + said
    chance = f"{100 * found['ece_by_chance']:.1f}"
    if found["ece"] <= found["ece_by_chance"]:
        return (
            said + f"Perfectly calibrated probabilities would be off by up to {chance} points on so few "
            "samples, so no fault is shown."
        )
    return (
        said + f"Perfectly calibrated probabilities would be off by at most {chance} points on as many "
        "samples."
    )


def shown(found: Json | None, temperature: Json | None) -> str:
    """Say how far the probabilities are off after the temperature is applied."""
    if not found or not temperature or found["ece"] is None:
        return ""
    return (
        f"As shown in predictions, at temperature {temperature['value']:.2f}: "
        f"{100 * found['ece']:.1f} points off ({100 * found['ece_low']:.1f} – {100 * found['ece_high']:.1f})."
    )
