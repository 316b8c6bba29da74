"""The sentences of the report page: the verdict, what to do next, and answers to a reader's questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from web.text.labels import Json, arm, percent, points

STATISTICS = {
    "accuracy": ("Average accuracy", "share of answers that are right"),
    "worst_group_accuracy": ("Worst-group accuracy", "the group with the lowest accuracy"),
    "worst_class_accuracy": ("Worst-class accuracy", "the class with the lowest accuracy"),
    "train_weighted_accuracy": (
        "Train-weighted accuracy",
        "mean over groups, weighted by their share of the training split",
    ),
    "balanced_accuracy": ("Balanced accuracy", "mean over classes"),
}

_VERDICTS = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("unsure", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
}
"""(tone, title with a control, title without: then, training for as long might have done the same)."""
_RIVALS = {"control": "the control", "imported": "the imported model", "given": "the given model"}
"""Names of arms within a sentence, where they differ from those in a table."""

_NEXT = {
    "helped": "Decide when the new model should abstain, then point the alias your programs use at it.",
    "no_detectable_effect": "Nothing here favours the new model. More test images, especially of the worst "
    "case, could reveal a smaller effect.",
    "hurt": "Keep the original model.",
}
_NO_SECOND = "A masktune job trains two more, with masks and without, and shows whether the masks helped."
_NO_CONTROL = "A masktune job with a control tells the two apart."


class Verdict(NamedTuple):
    """A verdict in words. `next`: what to do now; `rule`: how the verdict was reached. Both may be empty."""

    tone: str
    title: str
    sentence: str
    next: str = ""
    rule: str = ""


def verdict(report: Json) -> Verdict:
    """A report's verdict, and the one difference that it is based on."""
    found = report.get("verdict")
    if not found:
        said = "This job has no second model to compare on the test split."
        return Verdict("", "No comparison", said, _NO_SECOND)
    said = str(found["verdict"])
    tone, beside_control, alone = _VERDICTS.get(said, ("", said, said))
    deciding, average, controlled = found["deciding"], found.get("average"), found["b"] == "control"
    statistic = STATISTICS.get(deciding["statistic"], (str(deciding["statistic"]), ""))[0].lower()
    rival = _RIVALS.get(found["b"], arm(found["b"]))
    sentence = (
        f"On the {found['split']} split, its {statistic} differs by {points(deciding['estimate'])} points "
        f"from that of {rival} (95\u00a0% interval {points(deciding['low'])} to "
        f"{points(deciding['high'])}){_lowest(deciding, rival)}."
    )
    if average:
        sentence += f" Average accuracy differs by {points(average['estimate'])} points."
    if said == "no_detectable_effect":
        sentence += " These samples are consistent with any effect within the interval."
    if not controlled:
        sentence += " No control was trained: equally long training alone might have done as much."
    title = (beside_control if controlled else alone).format(arm(found.get("a", "masktune")), rival)
    follows = _NEXT.get(said, "") if controlled or said != "helped" else _NO_CONTROL
    return Verdict(tone, title, sentence, follows, _rule(statistic, controlled=controlled))


def _lowest(deciding: Json, rival: str) -> str:
    """Both models' worst groups, and how many groups were too small; "" for older reports without them."""
    if deciding.get("worst_a") is None:
        return ""
    told = f"; its lowest is {deciding['worst_a']}, that of {rival} is {deciding['worst_b']}"
    left_out = deciding.get("left_out")
    return told + (f", among groups with at least 10 samples ({left_out} have fewer)" if left_out else "")


def _rule(statistic: str, *, controlled: bool) -> str:
    beside = (
        "The control continued from the same model for as many steps without what is judged, so that longer "
        "training alone cannot pass for help."
        if controlled
        else "There is no control, so what longer training alone would have done is not known."
    )
    return (
        f"One difference, chosen beforehand, decides: that in {statistic}. If its 95\u00a0% interval lies "
        "above zero, the verdict is helped; below zero, hurt; if it covers zero, no detectable effect, which "
        f"is not the same as no effect. {beside} The interval is for these two models on inputs like those "
        "of the split; it does not cover another seed."
    )


def worst(metrics: Json) -> tuple[float | None, str, str]:
    """(accuracy, name, "group" or "class") of the worst group, or of the worst class without groups."""
    if metrics.get("worst_group_accuracy") is not None:
        return metrics["worst_group_accuracy"], str(metrics.get("worst_group") or ""), "group"
    return metrics.get("worst_class_accuracy"), str(metrics.get("worst_class") or ""), "class"


def answers(
    by_arm: Json, judged: str, split: str, came_from: str | None = None, certified: Json | None = None
) -> list[tuple[str, str]]:
    """Answers to two of a reader's three questions from one split's figures by arm. The third, whether the
    original model relies on a shortcut, needs more than those figures.

    `certified`: for the judged arm, the share of inputs that it may answer at each of several risks.
    """
    before = by_arm.get(came_from or "erm") or by_arm.get("imported")
    after, control = by_arm.get(judged), by_arm.get("control")
    found = []
    if before and after:
        name = "the retrained head" if judged == "retrained" else arm(judged)
        found.append((f"Did {name} help?", _helped(before, control, after, judged)))
    if after:
        found.append(("Can I trust the new model?", _trust(after, certified, split)))
    return found


def _helped(before: Json, control: Json | None, after: Json, judged: str) -> str:
    then, now = worst(before)[0], worst(after)
    beside = "" if not control else f"; the same training without masks reaches {percent(worst(control)[0])}"
    if judged == "retrained" and control:
        beside = f"; the same head without groups reaches {percent(worst(control)[0])}"
    return (
        f"Accuracy in the worst case went from {percent(then)} to {percent(now[0])} ({now[1]}){beside}. "
        f"On average, it went from {percent(before['accuracy'])} to {percent(after['accuracy'])}."
    )


def _trust(after: Json, certified: Json | None, split: str) -> str:
    low, name, _ = worst(after)
    sentence = (
        f"It is wrong on {percent(1 - after['accuracy'])} of the {split} split, and on "
        f"{percent(None if low is None else 1 - low)} of {name}. "
    )
    wishes = (certified or {}).get("wishes") or []
    # The figures decide which certificate is shown, so it must be one that holds together with the others.
    kept = next((wish for wish in wishes if (wish.get("together") or {}).get("status") == "certified"), None)
    if certified is None or kept is None:
        return sentence + (
            "It can abstain where it is unsure, but this report has no certificate that may be picked after "
            "looking."
            if wishes
            else "It can abstain where it is unsure."
        )
    return sentence + (
        f"If it may abstain and answers only the most confident {percent(kept['together']['coverage'])}, at "
        f"most {percent(kept['max_risk'], 0)} of its answers are wrong: certified with "
        f"{percent(certified['confidence'], 0)} confidence, only for inputs like its calibration split."
    )


def background_gap(by_arm: Mapping[str, Json] | None) -> str:
    """How much each model depends on the background; for the Background Challenge only."""
    told = "; ".join(
        f"{arm(name)} {points(gap['gap'])} points ({points(gap['low'])} … {points(gap['high'])})"
        for name, gap in (by_arm or {}).items()
    )
    return told and (
        f"Background gap (accuracy on mixed_same − on mixed_rand, with 95\u00a0% intervals): {told}. "
        "The smaller the gap, the less the background decides."
    )
