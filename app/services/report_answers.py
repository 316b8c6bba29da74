"""What a report's figures say in sentences: its verdict, and the three questions that a reader comes with."""

from __future__ import annotations

from typing import NamedTuple

from app.services.report_words import (
    ARM_NAMES,
    QUESTIONS,
    STATISTICS,
    Json,
    before_arm,
    judged,
    percent,
    points,
    question,
    whole_percent,
)


class VerdictWords(NamedTuple):
    """`tone` is one of good, neutral, bad."""

    tone: str
    title: str
    sentence: str
    rule: str


class Answer(NamedTuple):
    """One of the three questions that a reader comes with."""

    question: str
    answer: str


_VERDICTS = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("neutral", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
}
"""Tone, title beside a control, title without one."""


def verdict(report: Json) -> VerdictWords:
    """The verdict and the one difference that it rests on."""
    found = report.get("verdict")
    if not found:
        return VerdictWords(
            "neutral",
            "No comparison",
            "This job has no MaskTune model and no retrained head beside another model on the test split: "
            "there is nothing to judge.",
            "",
        )
    tone, beside_control, alone = _VERDICTS[found["verdict"]]
    deciding, average = found["deciding"], found["average"]
    statistic = STATISTICS[deciding["statistic"]][0].lower()
    rival, controlled = _the(found["b"]), found["b"] == "control"
    sentence = (
        f"On {deciding['n']:,} samples of the {found['split']} split, its {statistic} is "
        f"{_beside(deciding['estimate'])} that of {rival} "
        f"(95\u00a0% interval {points(deciding['low'])} to {points(deciding['high'])})"
        f"{_lowest(deciding, rival)}. Average accuracy: {points(average['estimate'])} points."
    )
    if found["verdict"] == "no_detectable_effect":
        sentence += " Any effect within the interval fits these samples."
    if not controlled:
        sentence += " There is no control: training on for as long without it might have done as much."
    rule = (
        f"The rule: the 95\u00a0% interval of the difference in {statistic} lies above zero (helped), "
        "below zero (hurt), or covers it (no detectable effect)."
    )
    name = QUESTIONS[found["a"]][0]
    title = (beside_control if controlled else alone).format(name[0].upper() + name[1:], rival)
    return VerdictWords(tone, title, sentence, rule)


def _lowest(deciding: Json, rival: str) -> str:
    """Which groups a worst case is about, and how many were too small to be; reports of before do not say."""
    if deciding.get("worst_a") is None:
        return ""
    told = f"; its lowest is {deciding['worst_a']}, {rival}'s {deciding['worst_b']}"
    if not deciding["left_out"]:
        return told
    return told + f" ({deciding['left_out']} groups of too few samples are left out)"


def unseen(report: Json, split: str) -> str:
    """What the models have to do with the images of a split, as a relative clause."""
    if split == "train":
        return "which the models were trained on: it says nothing of new inputs"
    if "imported" in report["models"]:
        return "which trained none of our models; what the imported one was trained on is not known here"
    return "which trained none of the models"


def answers(report: Json, split: str | None) -> tuple[Answer, ...]:
    """Does the model lean on a shortcut, did the other one help, may I trust the new one?"""
    by_arm = report["metrics"].get(split) if split else None
    if not by_arm:
        return ()
    before = by_arm.get(before_arm(report))
    after = by_arm.get(judged(report))
    found = []
    if before is not None:
        found.append(Answer("Does the model lean on a shortcut?", _leans(report.get("shortcut"))))
    if before is not None and after is not None:
        _, other = QUESTIONS[judged(report)]
        found.append(Answer(question(report), _helped(before, by_arm.get("control"), after, other)))
        certified = (report.get("certified") or {}).get(judged(report))
        found.append(Answer("May I trust the new one?", _trust(after, certified, str(split))))
    return tuple(found)


READINGS = {
    "leans": ("bad", "It leans on a shortcut"),
    "some_signs": ("neutral", "There are some signs of it"),
    "no_sign": ("good", "No sign of it"),
}


def _leans(found: Json | None) -> str:
    """The reading, with the first sign of each kind."""
    if not found:
        return "This report has not looked for one."
    _, title = READINGS[found["reading"]]
    kinds: dict[str, str] = {}
    for sign in found["signs"]:
        if sign["found"]:
            kinds.setdefault(sign["kind"], sign["sentence"])
    if not kinds:
        return f"{title} in {len(found['signs'])} places that were looked at. That is no proof of absence."
    return f"{title}. " + " ".join(kinds.values())


def _helped(before: Json, control: Json | None, after: Json, other: str) -> str:
    then, _ = _worst(before)
    now, name = _worst(after)
    sentence = f"The worst case went from {percent(then)} to {percent(now)} ({name})"
    if control is not None:
        sentence += f"; {other} reaches {percent(_worst(control)[0])}"
    return (
        sentence + f". On average: {percent(before['accuracy'])} before, {percent(after['accuracy'])} after."
    )


def _trust(after: Json, certified: Json | None, split: str) -> str:
    worst, name = _worst(after)
    sentence = (
        f"It errs on {percent(1 - after['accuracy'])} of the {split} split, and on {percent(1 - worst)} in "
        f"{name}. "
    )
    wishes = certified["wishes"] if certified else []
    # Which of them is told, its figures decide: so only one that holds together with the others may be.
    kept = next((wish for wish in wishes if (wish.get("together") or {}).get("status") == "certified"), None)
    if kept is None or certified is None:
        return (
            sentence
            + "Let it abstain where it is unsure: no certificate for that is in this report, or none "
            "that may be picked by looking."
        )
    return (
        sentence
        + f"Where it may abstain, at most {whole_percent(kept['max_risk'])} of its answers are wrong if "
        f"it answers the surest {percent(kept['together']['coverage'])}: certified with "
        f"{whole_percent(certified['confidence'])} confidence for all {len(wishes)} risks of this report at "
        "once, for inputs like its calibration split alone."
    )


def _worst(metrics: Json) -> tuple[float, str]:
    if metrics["worst_group_accuracy"] is not None:
        return metrics["worst_group_accuracy"], metrics["worst_group"]
    return metrics["worst_class_accuracy"], metrics["worst_class"]


def _beside(difference: float) -> str:
    if abs(difference) < 0.0005:
        return "level with"
    return f"{100 * abs(difference):.1f} points {'above' if difference > 0 else 'below'}"


def _the(arm: str) -> str:
    names = {"control": "the control", "imported": "the imported model", "given": "the given model"}
    return names.get(arm, ARM_NAMES.get(arm, arm))
