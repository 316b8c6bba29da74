"""The groups that a head was balanced over: their samples, and each model's accuracy on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from masktune.contract.report.base import Proportion
from masktune.contract.report.groups import BalancedGroups, GroupExample, GroupSlice
from masktune.contract.report.image_answers import ReportImageAnswers
from masktune.contract.vocabulary import Arm, Stage
from models.backbones.network import Network
from models.mitigation.groups import Groups
from models.mitigation.retrain import GroupReport, describe_groups
from models.runtime.images import legible, png
from models.statistics import ModelAccuracy
from models.types import Labels
from worker.context import StageContext, arm_before
from worker.networks.features import LogitsCache
from worker.networks.training import given_model
from worker.report.arms import clusters_of
from worker.report.contexts import ComparisonContext
from worker.report.gallery import squares_of
from worker.results import ModelSpec
from worker.stages.retrain_head import Members, read_head
from worker.stages.seeds import SeedPredictions

_SECTION: TypeAdapter[BalancedGroups] = TypeAdapter(BalancedGroups)
_PICTURED = 24
"""Number of groups with example images; the smallest come first, since minorities are the point."""


def make_groups(
    context: ComparisonContext,
    models: Mapping[Arm, ModelSpec],
    cache: LogitsCache,
    further: Sequence[SeedPredictions] = (),
    *,
    folder: Path,
) -> BalancedGroups | None:
    """The section `groups`, with its pictures written to `folder`; None if no head was retrained."""
    if Stage.RETRAIN_HEAD not in context.spec.done:
        return None
    members, head = read_head(context, Stage.RETRAIN_HEAD)
    before = arm_before(given_model(context))
    predictions = {before: members.before, Arm.RETRAINED: members.held_out}
    control = None
    if Stage.HEAD_CONTROL in context.spec.done:
        plain, control = read_head(context, Stage.HEAD_CONTROL)
        predictions[Arm.RETRAINED_CONTROL] = plain.held_out
    doubt = members.doubt if len(members.doubt) else None
    weights = members.weights if len(members.weights) else None
    names = tuple(head["counts"])
    groups = Groups(head["groups"], head["inferred"], members.assigned, names, doubt, weights=weights)
    reports = describe_groups(
        groups,
        rows=members.rows,
        labels=members.labels,
        predictions={arm.value: predicted for arm, predicted in predictions.items()},
        clusters=clusters_of(context.store, members.rows),
    )
    divided = len(reports) > len(context.store.classes)
    answers = context.spec.image_answers if groups.source == "early_stages" else None
    went_by = {} if answers is None else {"image_answers": ReportImageAnswers.of(answers).model_dump()}
    by_seed = {context.seed: divided} | {of_seed.seed: of_seed.divided for of_seed in further}
    return _SECTION.validate_python(
        {
            "source": head["groups"],
            "inferred": head["inferred"],
            "divided": divided,
            "divided_by_seed": by_seed if further else {},
            "split": "train",
            "n": len(members.rows),
            "details": head["details"]
            | went_by
            | (
                beside_labels(context, groups, members.rows)
                if groups.source == "early_stages" and context.store.has_groups
                else {}
            ),
            "penalty": head["penalty"],
            "control_penalty": control and control["penalty"],
            "held_out": {arm: arm is not before for arm in predictions},
            "slices": _slices(context, members, reports, cache.network(models[Arm.RETRAINED]), folder),
        }
    )


def beside_labels(
    context: StageContext,
    groups: Groups,
    rows: Labels,
) -> dict[str, dict[str, ModelAccuracy]]:
    """Precision and recall, by class, of a guess on these training samples (N,).

    The largest labelled group of a class has its pattern, as has its first inferred one; others lack it.
    """
    labels, labelled = context.store.labels[rows], context.store.groups[rows]
    precision, recall = dict[str, ModelAccuracy](), dict[str, ModelAccuracy]()
    for label, name in enumerate(context.store.classes):
        known = (labels == label) & (labelled >= 0) & groups.counted
        named = known & (groups.assigned != groups.assigned[labels == label].min(initial=len(rows)))
        lacking = known & (labelled != np.bincount(labelled[known], minlength=1).argmax())
        precision[name], recall[name] = (
            ModelAccuracy.of("", right[among], clusters_of(context.store, rows[among]))
            for right, among in ((lacking, named), (named, lacking))
        )
    return {"label_precision": precision, "label_recall": recall}


def _slices(
    context: StageContext,
    members: Members,
    reports: Sequence[GroupReport],
    network: Network,
    folder: Path,
) -> list[GroupSlice]:
    pictured = {report.name: report.examples for report in sorted(reports, key=lambda r: r.n)[:_PICTURED]}
    return [
        GroupSlice(
            name=report.name,
            inferred=report.inferred,
            n=report.n,
            share=report.share,
            accuracies={Arm(one.model): Proportion.model_validate(one) for one in report.accuracies},
            true_groups=_true_groups(context, members.rows[members.assigned == number]),
            examples=make_examples(context, network, pictured.get(report.name, ()), folder),
        )
        for number, report in enumerate(reports)
    ]


def _true_groups(context: StageContext, rows: Labels) -> dict[str, int] | None:
    """Counts of these samples by labelled group; inferred groups were found without those labels."""
    if not context.store.has_groups:
        return None
    names, groups = context.store.group_names, context.store.groups[rows]
    counts = np.bincount(groups[groups >= 0], minlength=len(names)).tolist()
    return {name: n for name, n in zip(names, counts, strict=True) if n}


def make_examples(
    context: StageContext, network: Network, rows: tuple[int, ...], folder: Path
) -> list[GroupExample]:
    """Example images as the retrained network sees them, written to `folder`."""
    examples = []
    for row, pixels in zip(rows, squares_of(context, network, np.array(rows, np.int64)), strict=True):
        name = f"group-{row}.png"
        (folder / name).write_bytes(png(legible(pixels)))
        examples.append(GroupExample(sample=row, path=context.store.sample(row).path, image=name))
    return examples
