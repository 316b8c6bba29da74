"""The before/after report as a terminal table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from masktune.cli.output import figure

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

ARMS = {
    "erm": "before: plain training (ERM)",
    "given": "before: the given model",
    "control": "control: continued, no masks",
    "masktune": "after: MaskTune",
    "retrained": "after: last layer retrained",
}
PLAIN_HEAD = "control: last layer without groups"
NAMES = {"masktune": "MaskTune", "retrained": "The retrained head"}
FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "worst_class_accuracy": "worst class",
    "worst_group_accuracy": "worst group",
    "train_weighted_accuracy": "train-weighted accuracy",
}
STATISTICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "worst_group_accuracy": "the worst group",
}
VERDICTS = {
    "helped": "helped",
    "no_detectable_effect": "had no detectable effect",
    "hurt": "hurt",
}
READINGS = {
    "leans": "the model leans on a shortcut",
    "some_signs": "some signs of a shortcut",
    "no_sign": "no sign of a shortcut",
    "not_judged": "whether the model leans on a shortcut was not judged",
}
RIVALS = {"control": "the control", "erm": "plain training", "given": "the given model"}


def comparison(report: Mapping[str, Any], split: str = "test") -> Table:
    """The models of a report side by side: one column per arm, one row per figure and per group."""
    from rich.box import SIMPLE
    from rich.table import Table

    metrics: Mapping[str, Any] = (report.get("metrics") or {}).get(split) or {}
    arms = sorted(metrics, key=[*ARMS, *metrics].index)
    n = next((metrics[arm]["n"] for arm in arms), 0)
    table = Table(f"{n} {split} samples", box=SIMPLE)
    for arm in arms:
        head = PLAIN_HEAD if arm == "control" and "retrained" in arms else ARMS.get(arm, arm)
        table.add_column(head, justify="right", overflow="fold")
    for name, label in FIGURES.items():
        if any(metrics[arm].get(name) is not None for arm in arms):
            table.add_row(label, *(_with_interval(metrics[arm], name) for arm in arms))
    for group in _group_names(metrics):
        table.add_row(f"  {group}", *(_group(metrics[arm], group) for arm in arms))
    return table


def verdict(report: Mapping[str, Any]) -> str:
    """The verdict of a report, and the difference that it is based on."""
    told = report.get("verdict")
    if not told:
        return "There is no verdict: it takes MaskTune or a retrained head, and a model to compare it with."
    deciding, rival = told["deciding"], RIVALS.get(told["b"], told["b"])
    statistic = STATISTICS.get(deciding["statistic"], deciding["statistic"])
    alone = "" if told["b"] == "control" else " No control was trained: more training alone might do as much."
    return (
        f"{NAMES[told.get('a', 'masktune')]} {VERDICTS.get(told['verdict'], told['verdict'])}. "
        f"Against {rival}, {statistic} changed by "
        f"{deciding['estimate']:+.3f} "
        f"({deciding['confidence']:.0%} interval {deciding['low']:+.3f} to {deciding['high']:+.3f}).{alone}"
    )


def shortcut(report: Mapping[str, Any]) -> str | None:
    """Whether the original model relies on a shortcut, with one sign of each kind, or why not judged."""
    told = report.get("shortcut")
    if not told:
        return None
    signs = {sign["kind"]: sign["sentence"] for sign in reversed(told["signs"]) if sign["found"]}
    lead = READINGS.get(told["reading"], told["reading"])
    said = [signs[kind] for kind in ("failure", "cause") if kind in signs] or [told.get("reason") or ""]
    return " ".join([f"Before: {lead}.", *said]).rstrip()


def render(report: Mapping[str, Any]) -> Any:
    """The whole report for a terminal."""
    from rich.console import Group

    splits = [split for split in ("val", "test") if (report.get("metrics") or {}).get(split)]
    told = [line for line in (shortcut(report), verdict(report), report.get("training_note")) if line]
    return Group(*(comparison(report, split) for split in splits), *told)


def _with_interval(metrics: Mapping[str, Any], name: str) -> Text:
    from rich.text import Text

    shown = figure(metrics.get(name))
    low, high = ("low", "high") if name == "accuracy" else (f"{name}_low", f"{name}_high")
    if metrics.get(low) is not None:
        interval = f" ({figure(metrics[low])}–{figure(metrics[high])})"
        return Text.assemble(shown, (interval, "dim"))
    return Text(shown)


def _group_names(metrics: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(group["name"] for told in metrics.values() for group in told["groups"]))


def _group(metrics: Mapping[str, Any], name: str) -> str:
    found = next((group for group in metrics["groups"] if group["name"] == name), None)
    return "–" if found is None else f"{found['correct']}/{found['n']} = {figure(found['accuracy'])}"
