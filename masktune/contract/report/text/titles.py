"""The tone and the title of a verdict, for reports and for lists of jobs."""

from __future__ import annotations

from typing import Literal

from masktune.contract.report import accuracy
from masktune.contract.report.text.names import capitalised, model_name, within_sentence
from masktune.contract.vocabulary import CONTROLS

Tone = Literal["good", "neutral", "bad", "muted"]
"""`neutral`, in amber, is for what may be good or bad; `muted`, in grey, for what could not be tested."""


_TITLES: dict[accuracy.VerdictName, tuple[Tone, str, str]] = {
    "helped": ("good", "{} helped", "{} is better than {}"),
    "no_detectable_effect": ("neutral", "No detectable effect", "No detectable effect"),
    "hurt": ("bad", "{} hurt", "{} is worse than {}"),
    "not_testable": ("muted", "Not testable here", "Not testable here"),
}
"""Tone, title with a control, and without: then, as much training might have done the same."""


def verdict_title(decision: accuracy.Verdict | accuracy.JobVerdict) -> tuple[Tone, str]:
    """The tone and title of a verdict on model a, against model b."""
    a, b = capitalised(within_sentence(decision.a)), within_sentence(decision.b)
    if decision.verdict == "helped" and decision.beaten_by is not None:
        return "neutral", f"{a} is better than {b}, but worse than {model_name(decision.beaten_by)}"
    tone, beside_control, alone = _TITLES[decision.verdict]
    if decision.reason == "shortcut_or_harm":
        tone = "neutral"
    return tone, (beside_control if decision.b in CONTROLS else alone).format(a, b)
