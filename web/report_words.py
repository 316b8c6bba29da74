"""The sentences of a report's page: its verdict, what follows from it, the three questions of a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from web.words import Json, arm, percent, points

STATISTICS = {
    "accuracy": ("Average accuracy", "right answers over all answers"),
    "worst_group_accuracy": ("Worst-group accuracy", "the group with the lowest accuracy"),
    "worst_class_accuracy": ("Worst-class accuracy", "the class with the lowest accuracy"),
    "train_weighted_accuracy": (
        "Train-weighted accuracy",
        "mean over the groups, by their share of the training split",
    ),
    "balanced_accuracy": ("Balanced accuracy", "mean over the classes"),
}

_VERDICTS = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("unsure", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
}
"""Tone, title beside a control, title without one: training on for as long might have done as much."""

_NEXT = {
    "helped": "Look at when the new model should rather not answer, then give it the name that programs "
    "ask for.",
    "no_detectable_effect": "Nothing here speaks for the new model. More test images, above all of the worst "
    "case, would tell a smaller effect.",
    "hurt": "Stay with the model before.",
}
_NO_SECOND = "A masktune job trains two more, with masks and without, and tells whether the masks helped."
_NO_CONTROL = "A masktune job with its control tells which of the two it was."


class Verdict(NamedTuple):
    """`next`: what one may do now. `rule`: how the verdict came about; both may be empty."""

    tone: str
    title: str
    sentence: str
    next: str = ""
    rule: str = ""


def verdict(report: Json) -> Verdict:
    """The verdict of a report, and the one difference that it rests on."""
    found = report.get("verdict")
    if not found:
        said = "This job has no second model to compare with on the test split."
        return Verdict("", "No comparison", said, _NO_SECOND)
    said = str(found["verdict"])
    tone, beside_control, alone = _VERDICTS.get(said, ("", said, said))
    deciding, average, controlled = found["deciding"], found.get("average"), found["b"] == "control"
    statistic = STATISTICS.get(deciding["statistic"], (str(deciding["statistic"]), ""))[0].lower()
    sentence = (
        f"On the {found['split']} split its {statistic} is {points(deciding['estimate'])} points "
        f"against {arm(found['b'])} (95\u00a0% interval {points(deciding['low'])} to "
        f"{points(deciding['high'])}){_lowest(deciding, arm(found['b']))}."
    )
    if average:
        sentence += f" Average accuracy: {points(average['estimate'])} points."
    if said == "no_detectable_effect":
        sentence += " Any effect within the interval fits these samples."
    if not controlled:
        sentence += " Training on for as long without it might have done as much: no control was trained."
    title = (beside_control if controlled else alone).format(arm(found.get("a", "masktune")), arm(found["b"]))
    follows = _NEXT.get(said, "") if controlled or said != "helped" else _NO_CONTROL
    return Verdict(tone, title, sentence, follows, _rule(statistic, controlled=controlled))


def _lowest(deciding: Json, rival: str) -> str:
    """Which groups a worst case is about, and how many were too small to be; older reports do not say."""
    if deciding.get("worst_a") is None:
        return ""
    told = f"; its lowest is {deciding['worst_a']}, that of {rival} {deciding['worst_b']}"
    left_out = deciding.get("left_out")
    return told + (f", of groups with 10 samples at least ({left_out} have fewer)" if left_out else "")


def _rule(statistic: str, *, controlled: bool) -> str:
    beside = (
        "The control went on from the same model for as many steps, without what is judged: longer training "
        "alone cannot pass for help."
        if controlled
        else "There is no control: what longer training alone would have done is not known."
    )
    return (
        f"One difference decides, chosen beforehand: that in {statistic}. Its 95\u00a0% interval lies above "
        "zero: helped. Below zero: hurt. It covers zero: no detectable effect, which is not the same as no "
        f"effect. {beside} The interval is for these two models on inputs like the split's; another seed is "
        "not in it."
    )


def worst(metrics: Json) -> tuple[float | None, str, str]:
    """(accuracy, name, "group" or "class") of the worst slice."""
    if metrics.get("worst_group_accuracy") is not None:
        return metrics["worst_group_accuracy"], str(metrics.get("worst_group") or ""), "group"
    return metrics.get("worst_class_accuracy"), str(metrics.get("worst_class") or ""), "class"


def answers(
    by_arm: Json, judged: str, split: str, came_from: str | None = None, certified: Json | None = None
) -> list[tuple[str, str]]:
    """Two of the three questions of a reader, answered from one split's figures by arm: whether the model
    before leans on a shortcut is read off more than those.

    `certified`: of the judged arm, the share of inputs that it may answer for several risks.
    """
    before = by_arm.get(came_from or "erm") or by_arm.get("imported")
    after, control = by_arm.get(judged), by_arm.get("control")
    found = []
    if before and after:
        name = "the retrained head" if judged == "retrained" else arm(judged)
        found.append((f"Did {name} help?", _helped(before, control, after, judged)))
    if after:
        found.append(("May I trust the new one?", _trust(after, certified, split)))
    return found


def _helped(before: Json, control: Json | None, after: Json, judged: str) -> str:
    then, now = worst(before)[0], worst(after)
    beside = "" if not control else f"; with as much training but no masks: {percent(worst(control)[0])}"
    if judged == "retrained" and control:
        beside = f"; the same head without groups: {percent(worst(control)[0])}"
    return (
        f"The worst case went from {percent(then)} to {percent(now[0])} ({now[1]}){beside}. "
        f"On average: {percent(before['accuracy'])} before, {percent(after['accuracy'])} after."
    )


def _trust(after: Json, certified: Json | None, split: str) -> str:
    low, name, _ = worst(after)
    sentence = (
        f"It errs on {percent(1 - after['accuracy'])} of the {split} split, and on "
        f"{percent(None if low is None else 1 - low)} in {name}. "
    )
    wishes = (certified or {}).get("wishes") or []
    # Which of them is told, its figures decide: so only one that holds together with the others may be.
    kept = next((wish for wish in wishes if (wish.get("together") or {}).get("status") == "certified"), None)
    if certified is None or kept is None:
        return sentence + (
            "Where it is unsure it may abstain instead; no share of wrong answers could be certified with "
            "these calibration samples."
            if wishes
            else "Where it is unsure it may abstain instead."
        )
    return sentence + (
        f"Where it may abstain and answers the surest {percent(kept['together']['coverage'])}, at most "
        f"{percent(kept['max_risk'], 0)} of its answers are wrong: certified with "
        f"{percent(certified['confidence'], 0)} confidence, for inputs like its calibration split alone."
    )


def background_gap(by_arm: Mapping[str, Json] | None) -> str:
    """What the background decides, model by model; of the Background Challenge alone."""
    told = "; ".join(
        f"{arm(name)} {points(gap['gap'])} points ({points(gap['low'])} … {points(gap['high'])})"
        for name, gap in (by_arm or {}).items()
    )
    return told and (
        f"Background gap, accuracy on mixed_same − on mixed_rand, with its 95\u00a0% interval: {told}. "
        "The smaller, the less the background decides."
    )
