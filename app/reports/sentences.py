"""A report's figures as sentences: the verdict, and answers to a reader's three questions."""

from __future__ import annotations

from typing import NamedTuple

from app.reports.labels import (
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
    """`tone` is `good`, `neutral` or `bad`."""

    tone: str
    title: str
    sentence: str
    rule: str


class Answer(NamedTuple):
    """The answer to one of a reader's three questions."""

    question: str
    answer: str


_VERDICTS = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("neutral", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
}
"""Tone, title with a control, title without one."""


def verdict(report: Json) -> VerdictWords:
    """Describe the verdict and the one difference that it rests on."""
    found = report.get("verdict")
    if not found:
        return VerdictWords(
            "neutral",
            "No comparison",
            "This job has no MaskTune model or retrained head to compare with another model on the test "
            "split, so there is nothing to judge.",
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
        f"{_lowest(deciding, rival)}. Average accuracy differs by {points(average['estimate'])} points."
    )
    if found["verdict"] == "no_detectable_effect":
        sentence += " These samples are consistent with any effect within the interval."
    if not controlled:
        sentence += " No control was trained: equally long training alone might have done as much."
    rule = (
        f"The rule: the 95\u00a0% interval of the difference in {statistic} lies above zero (helped), below "
        "zero (hurt), or covers zero (no detectable effect)."
    )
    name = QUESTIONS[found["a"]][0]
    title = (beside_control if controlled else alone).format(name[0].upper() + name[1:], rival)
    return VerdictWords(tone, title, sentence, rule)


def _lowest(deciding: Json, rival: str) -> str:
    """Name the groups of the worst case and count those that were too small; older reports lack both."""
    if deciding.get("worst_a") is None:
        return ""
    told = f"; its lowest is {deciding['worst_a']}, that of {rival} is {deciding['worst_b']}"
    if not deciding["left_out"]:
        return told
    return told + f", among groups with at least 10 samples ({deciding['left_out']} have fewer)"


def unseen(report: Json, split: str) -> str:
    """Return a relative clause that says whether the models were trained on the images of a split."""
    if split == "train":
        return "which the models were trained on, so it says nothing about new inputs"
    if "imported" in report["models"]:
        return (
            "which none of our models was trained on; what the imported one was trained on is not known here"
        )
    return "which none of the models was trained on"


def answers(report: Json, split: str | None) -> tuple[Answer, ...]:
    """Answer: does the model lean on a shortcut, did the change help, can I trust the new model?"""
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
        found.append(Answer("Can I trust the new model?", _trust(after, certified, str(split))))
    return tuple(found)


READINGS = {
    "leans": ("bad", "It leans on a shortcut"),
    "some_signs": ("neutral", "Some signs of a shortcut"),
    "no_sign": ("good", "No sign of a shortcut"),
    "not_judged": ("neutral", "Not judged"),
}


def _leans(found: Json | None) -> str:
    """State the reading, with the first sign of each kind or the reason why it was not judged."""
    if not found:
        return "This report has not looked for one."
    _, title = READINGS[found["reading"]]
    if found.get("reason"):
        return f"{title}. {found['reason']}"
    kinds: dict[str, str] = {}
    for sign in found["signs"]:
        if sign["found"]:
            kinds.setdefault(sign["kind"], sign["sentence"])
    if not kinds:
        return f"{title} in {len(found['signs'])} checks. That is no proof of absence."
    return f"{title}. " + " ".join(kinds.values())


def _helped(before: Json, control: Json | None, after: Json, other: str) -> str:
    then, _ = _worst(before)
    now, name = _worst(after)
    sentence = f"Accuracy in the worst case went from {percent(then)} to {percent(now)} ({name})"
    if control is not None:
        sentence += f"; {other} reaches {percent(_worst(control)[0])}"
    return (
        sentence
        + f". On average, it went from {percent(before['accuracy'])} to {percent(after['accuracy'])}."
    )


def _trust(after: Json, certified: Json | None, split: str) -> str:
    worst, name = _worst(after)
    sentence = (
        f"It is wrong on {percent(1 - after['accuracy'])} of the {split} split, and on {percent(1 - worst)} "
        f"of {name}. "
    )
    wishes = certified["wishes"] if certified else []
    # The figures decide which certificate is shown, so only one that holds jointly with the others may be.
    kept = next((wish for wish in wishes if (wish.get("together") or {}).get("status") == "certified"), None)
    if kept is None or certified is None:
        return (
            sentence
            + "It can abstain where it is unsure, but this report has no certificate that may be picked "
            "after looking."
        )
    return (
        sentence
        + f"If it may abstain and answers only the most confident {percent(kept['together']['coverage'])}, "
        f"at most {whole_percent(kept['max_risk'])} of its answers are wrong: certified with "
        f"{whole_percent(certified['confidence'])} confidence for all {len(wishes)} risks of this report at "
        "once, only for inputs like its calibration split."
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
