"""The before/after report as a terminal table, and its sentences."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from masktune.cli.output import figure
from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmMetrics
from masktune.contract.report.base import StatisticName
from masktune.contract.report.text import Step, answers, judged_job_notes, next_steps, other_verdicts, verdict
from masktune.contract.report.text.formats import sample_count
from masktune.contract.report.text.inferred import inferred_notes
from masktune.contract.report.text.metadata import metadata_sentences
from masktune.contract.report.text.names import (
    ARM_DESCRIPTIONS,
    ARM_NAMES,
    STATISTICS,
    in_order,
    split_caveats,
    statistics_in_order,
)


def comparison(report: Report, split: str = "test") -> Table:
    """The models of a report side by side: one column per arm, one row per figure and per group."""
    by_arm = report.metrics.get(split, {})
    arms = in_order(by_arm)
    first = next((by_arm[arm] for arm in arms), None)
    n, n_subjects = (first.n, first.n_subjects) if first else (0, None)
    heading = sample_count(n, n_subjects, f"{split} sample", report.dataset.subject_word)
    table = Table(box=SIMPLE, caption=split_caveats(report, split) or None)
    table.add_column(heading, overflow="fold")
    for arm in arms:
        table.add_column(ARM_NAMES[arm], justify="right", overflow="fold")
    for name in statistics_in_order(report, split) if arms else ():
        table.add_row(STATISTICS[name][0], *(_with_interval(by_arm[arm], name) for arm in arms))
    groups = dict.fromkeys(group.name for metrics in by_arm.values() for group in metrics.groups)
    for group in groups:
        table.add_row(f"  {group}", *(_group(by_arm[arm], group) for arm in arms))
    return table


def legend(report: Report) -> str:
    """What each model of the report is."""
    return "; ".join(f"{ARM_NAMES[arm]}: {ARM_DESCRIPTIONS[arm]}" for arm in in_order(report.models)) + "."


def conclusions(report: Report) -> list[str]:
    """What to do next, whether the model before relies on a shortcut, and all verdicts."""
    decision = verdict(report)
    signs = report.shortcut_reliance.signs if report.shortcut_reliance else ()
    return [
        *judged_job_notes(report),
        *(f"{number}. {_step(step)}" for number, step in enumerate(next_steps(report), 1)),
        *(f"{question} {answer}" for question, answer in answers(report)[:1]),
        *(sign.sentence for sign in signs if sign.present),
        f"{decision.title}. {decision.sentence}",
        *([decision.figures] if decision.figures else []),
        *(f"{other.title}. {other.sentence}" for other in other_verdicts(report)),
        *inferred_notes(report),
        *([report.training_note] if report.training_note else []),
    ]


def _step(step: Step) -> str:
    return f"{step.title}. {step.sentence}" + (f" Command: {step.command}" if step.command else "")


def render(report: Report) -> Group:
    """The whole report for a terminal."""
    splits = [split for split in ("val", "test") if report.metrics.get(split)]
    tables = (comparison(report, split) for split in splits)
    return Group(*tables, legend(report), *conclusions(report), *metadata_sentences(report))


def _with_interval(metrics: ArmMetrics, name: StatisticName) -> Text:
    estimate, low, high = metrics.statistic(name)
    if low is None:
        return Text(figure(estimate))
    return Text.assemble(figure(estimate), (f" ({figure(low)}–{figure(high)})", "dim"))


def _group(metrics: ArmMetrics, name: str) -> str:
    group = next((group for group in metrics.groups if group.name == name), None)
    return "–" if group is None else f"{group.correct}/{group.n} = {figure(group.accuracy)}"
