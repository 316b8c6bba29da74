"""The verdict in words."""

from __future__ import annotations

from typing import Literal, NamedTuple

from masktune.contract.report import accuracy
from masktune.contract.report.report import Report
from masktune.contract.report.text.formats import points_apart, points_interval
from masktune.contract.report.text.names import STATISTICS, capitalised, within_sentence
from masktune.contract.vocabulary import CONTROLS, Arm

Tone = Literal["good", "neutral", "bad"]


class Verdict(NamedTuple):
    """A verdict in words: what was decided, by which difference, by which rule, and what to do next.

    `rule` is empty if nothing was compared.
    """

    tone: Tone
    title: str
    sentence: str
    rule: str
    next: str


_TITLES: dict[accuracy.VerdictName, tuple[Tone, str, str]] = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("neutral", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
}
"""Tone, title with a control, and without: then, as much training might have done the same."""

_NEXT: dict[accuracy.VerdictName, str] = {
    "helped": "Decide when the new model should abstain, then point the alias your programs use at it.",
    "no_detectable_effect": "Nothing here favours the new model. More test images, especially of the worst "
    "case, could reveal a smaller effect.",
    "hurt": "Keep the original model.",
}
_NEXT_UNCONTROLLED = "A masktune job with a control tells the two apart."

_NOTHING_COMPARED = Verdict(
    "neutral",
    "No comparison",
    "This report has no MaskTune model or retrained head to compare with another model on the test split, so "
    "there is nothing to judge.",
    "",
    "A masktune job trains two more models, with masks and without, and shows whether the masks helped.",
)

_CONTROL_RULES: dict[Arm, str] = {
    Arm.MASKTUNE_CONTROL: "The control had as much further training without masks, so that longer training "
    "alone cannot pass for help.",
    Arm.RETRAINED_CONTROL: "The control has the same last layer refitted without groups, so that refitting "
    "alone cannot pass for help.",
}
_NO_CONTROL_RULE = "There is no control, so what longer training alone would have done is not known."


def verdict(report: Report) -> Verdict:
    """The verdict, and the one difference that it rests on."""
    decision = report.verdict
    if decision is None:
        return _NOTHING_COMPARED
    tone, beside_control, alone = _TITLES[decision.verdict]
    controlled, rival = decision.b in CONTROLS, within_sentence(decision.b)
    title = (beside_control if controlled else alone).format(capitalised(within_sentence(decision.a)), rival)
    uncontrolled_gain = decision.verdict == "helped" and not controlled
    return Verdict(
        tone=tone,
        title=title,
        sentence=_sentence(decision, rival),
        rule=_rule(decision),
        next=_NEXT_UNCONTROLLED if uncontrolled_gain else _NEXT[decision.verdict],
    )


def _sentence(decision: accuracy.Verdict, rival: str) -> str:
    difference, statistic = decision.deciding_difference, _statistic(decision)
    text = (
        f"On {difference.n:,} samples of the {decision.split} split, its {statistic} is "
        f"{points_apart(difference.estimate)} that of {rival} "
        f"(95\u00a0% interval {points_interval(difference.low, difference.high)})"
        f"{_lowest(difference, rival)}. Its average accuracy is "
        f"{points_apart(decision.accuracy_difference.estimate)} that of {rival}."
    )
    if decision.verdict == "no_detectable_effect":
        text += " These samples are consistent with any effect within the interval."
    if decision.b not in CONTROLS:
        text += " No control was trained: equally long training alone might have done as much."
    return text


def _lowest(difference: accuracy.Difference, rival: str) -> str:
    """Name the groups of the worst case and count those that were too small; older reports lack both."""
    if difference.worst_a is None:
        return ""
    text = f"; its lowest is {difference.worst_a}, that of {rival} is {difference.worst_b}"
    if not difference.left_out:
        return text
    return text + f", among groups with at least 10 samples ({difference.left_out} have fewer)"


def _rule(decision: accuracy.Verdict) -> str:
    control = _CONTROL_RULES.get(decision.b, _NO_CONTROL_RULE)
    return (
        f"One difference, chosen beforehand, decides: that in {_statistic(decision)}. If its 95\u00a0% "
        "interval lies above zero, the verdict is helped; below zero, hurt; if it covers zero, no detectable "
        f"effect, which is not the same as no effect. {control} The interval is for these two models on "
        "inputs like those of the split; it does not cover another seed."
    )


def _statistic(decision: accuracy.Verdict) -> str:
    return STATISTICS[decision.deciding_difference.statistic][0].lower()
