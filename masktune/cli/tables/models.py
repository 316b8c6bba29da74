"""A model, the history of an alias, a risk-coverage curve and drift as terminal tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import masktune
from masktune.cli.characters import escape_controls
from masktune.cli.output import age, figure, new_table, table_of
from masktune.contract.report.text import (
    drift_name,
    evaluation_statement,
    promise_name,
    promise_statement,
    uncertified_table,
)
from masktune.contract.report.text.formats import calibration_samples
from masktune.contract.report.text.names import SELECTION_NAMES

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text


def curve(risks: masktune.RiskCoverage) -> Group:
    """The curve, then all groups and classes at one threshold, then which bounds hold."""
    from rich.console import Group

    confidence = f"{100 * risks.confidence:g} %"
    points = new_table(
        "coverage",
        "threshold",
        "answered",
        "wrong",
        "risk",
        f"bounds, {confidence}",
        f"band, {confidence}",
        title=f"score {risks.score_name}, {calibration_samples(risks.n, risks.n_subjects)}, "
        f"AURC {figure(risks.aurc, 5)}",
    )
    for p in risks.points:
        points.add_row(
            figure(p.coverage),
            figure(p.threshold),
            str(p.n_answered),
            str(p.n_errors),
            figure(p.risk, 4),
            f"{p.low:.4f} … {p.high:.4f}",
            f"{p.band_low:.4f} … {p.band_high:.4f}",
        )
    refusal = uncertified_table(risks)
    reasons = [f"not certifiable: {refusal}"] if refusal else []
    mix = () if risks.mix is None else (_mix(risks.mix), risks.mix.statement)
    by_class = [] if risks.promises is None else [promises(risks.promises)]
    return Group(points, _parts(risks), *reasons, *by_class, risks.statement, *mix)


def promises(rows: Sequence[masktune.ClassPromise]) -> Table:
    """What is promised by class, and what more it takes where nothing is."""
    grid = new_table("promise", "at most", "certified?", "threshold", "n", "wrong", "more needed")
    for row in rows:
        needed = "" if row.status == "certified" else "no number" if row.needed is None else str(row.needed)
        grid.add_row(
            promise_name(row),
            f"{100 * row.requested:.3g} %",
            row.status.replace("_", " "),
            figure(row.threshold),
            str(row.n),
            str(row.n_errors),
            needed,
        )
    return grid


def _mix(mix: masktune.MixedCurve) -> Table:
    share = f"{100 * mix.minority_share:g} %"
    grid = new_table("coverage", "threshold", "risk", title=f"{share} without the pattern")
    for point in mix.points:
        grid.add_row(figure(point.coverage), figure(point.threshold), figure(point.risk, 4))
    return grid


def drift(report: masktune.Drift) -> Group:
    """The conclusion, the decisions served, and the tests of the last look."""
    from rich.console import Group

    served = report.served
    dependent = served.independent is not None and served.independent < served.inputs
    independent = f" ({served.independent} of them independent)" if dependent else ""
    counts = f"{served.inputs} inputs{independent} in {report.days} days, coverage {figure(served.coverage)}"
    if not report.tests:
        return Group(report.statement, counts)
    inputs = "" if report.look is None else f"; {report.look.inputs} are compared"
    tests = new_table("share", "calibration", "served", "adjusted p", "drifted", title=f"{counts}{inputs}")
    for test in report.tests:
        tests.add_row(
            test.name,
            _share(test.calibration),
            _share(test.deployed),
            f"{test.p_adjusted:.2g}",
            "yes" if test.drifted else "no",
        )
    conclusion = warning(report.statement) if report.status == "drifted" else report.statement
    return Group(conclusion, tests)


def warning(text: str) -> Text:
    """A sentence that must not be overlooked."""
    from rich.text import Text

    return Text(escape_controls(text), style="bold yellow")


def _parts(risks: masktune.RiskCoverage) -> Table:
    table = risks.table
    max_risk = table.max_risk
    grid = new_table(
        "inferred group, or class" if table.groups_inferred else "group or class",
        "n",
        "answered",
        "coverage",
        "risk",
        f"bound, {100 * table.risk_confidence:g} % each",
        *(() if max_risk is None else (f"below {max_risk:.3g}?",)),
        title=f"{table.policy} {table.requested:g}: {SELECTION_NAMES[table.status]}, threshold "
        f"{figure(table.threshold)}; least over largest coverage: groups "
        f"{figure(table.group_coverage_ratio)}, classes {figure(table.class_coverage_ratio)}",
    )
    for row in (*table.groups, *table.classes):
        grid.add_row(*_cells(row)[: len(grid.columns)])  # the last column, the verdict, needs a max_risk
    return grid


def _cells(row: masktune.GroupRow) -> tuple[str, ...]:
    return (
        row.group,
        str(row.n),
        str(row.n_answered),
        figure(row.coverage),
        figure(row.risk, 4),
        figure(row.risk_upper, 4),
        (row.verdict or "").replace("_", " ") + (f", {row.needed:,} more needed" if row.needed else ""),
    )


def _share(of: masktune.ShareOf) -> str:
    return f"{of.k} of {of.n} ({figure(of.share)})"


def model_table(model: masktune.Model) -> Table:
    """One model in full."""
    grid = table_of(model, f"{model.arm} model")
    grid.add_row("backbone", f"{model.backbone}, {figure(model.image_size)} px")
    grid.add_row("classes", ", ".join(model.classes))
    grid.add_row("data set", model.dataset or "–")
    grid.add_row("job", model.job or "–")
    counts = model.calibration
    samples = "no samples" if counts is None else calibration_samples(counts.n, counts.n_subjects)
    grid.add_row("calibrated on", samples)
    tells = counts is not None and counts.unlike_threshold is not None
    grid.add_row("unlike images", "abstains, with any policy" if tells else "cannot tell")
    judge, erm = model.pattern_judge, model.erm
    of_erm = f"that of {erm}, if it has one" if erm else "–"
    grid.add_row("judge of patterns", f"fitted by {judge.job}" if judge else of_erm)
    grid.add_row("drift", drift_name(model.drift))
    if model.promise is not None:
        grid.add_row("promise", promise_statement(model.promise))
    for split in ("val", "test"):
        figures = split_metrics(model, split)
        grid.add_row(
            split,
            f"accuracy {figure(figures.accuracy)}, worst group {figure(figures.worst_group_accuracy)}",
        )
    for evaluation in model.evaluations:
        grid.add_row("evaluation", evaluation_statement(evaluation))
    return grid


def history(alias: masktune.AliasWithHistory) -> Table:
    listing = new_table("move", "model", "at", title=f"alias {alias.name}")
    for move in alias.history:
        listing.add_row(str(move.version), move.model or "removed", age(move.at))
    return listing


def split_metrics(model: masktune.Model, split: str) -> masktune.SplitMetrics:
    return getattr(model.metrics, split) or masktune.SplitMetrics()


def first_figures(model: masktune.Model) -> masktune.Evaluation | masktune.SplitMetrics:
    """Of the evaluation that rests on the most; else of the test split of its own data set."""
    return model.evaluations[0] if model.evaluations else split_metrics(model, "test")
