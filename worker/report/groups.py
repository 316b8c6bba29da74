"""The groups that a head was balanced over: their samples, and each model's accuracy on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from masktune.contract.report.base import Proportion
from masktune.contract.report.groups import BalancedGroups, GroupExample, GroupSlice
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.mitigation.features import Labels
from models.mitigation.groups import Groups
from models.mitigation.retrain import GroupReport, describe_groups
from models.runtime.images import mask_image, png
from worker.protocol import ModelSpec
from worker.report.arms import LogitsCache, arm_before
from worker.report.gallery import squares_of
from worker.stages.context import StageContext
from worker.stages.heads import HEAD, MEMBERS, Members

_SECTION: TypeAdapter[BalancedGroups] = TypeAdapter(BalancedGroups)
_PICTURED = 24
"""Number of groups with example images; the smallest come first, since minorities are the point."""


def make_groups(
    context: StageContext, models: Mapping[Arm, ModelSpec], cache: LogitsCache, *, folder: Path
) -> BalancedGroups | None:
    """The section `groups`, with its pictures written to `folder`; None for other kinds of jobs."""
    if context.spec.kind is not JobKind.RETRAIN_HEAD:
        return None
    members, head = _left_by(context, Stage.RETRAIN_HEAD)
    before = arm_before(context.spec.models[context.spec.model or ""])
    predictions = {before: members.before, Arm.RETRAINED: members.held_out}
    control = None
    if Stage.CONTROL in context.spec.done:
        plain, control = _left_by(context, Stage.CONTROL)
        predictions[Arm.RETRAINED_CONTROL] = plain.held_out
    reports = describe_groups(
        _groups(members, head),
        rows=members.rows,
        labels=members.labels,
        predictions={arm.value: predicted for arm, predicted in predictions.items()},
    )
    smallest = {report.name for report in sorted(reports, key=lambda r: r.n)[:_PICTURED]}
    pictures = _Pictures(context, cache, models[Arm.RETRAINED], folder)
    return _SECTION.validate_python(
        {
            "source": "labels" if head["groups"] == "given" else head["groups"],
            "inferred": head["inferred"],
            "divided": len(reports) > len(context.store.classes),
            "split": "train",
            "n": len(members.rows),
            "details": head["details"],
            "penalty": head["penalty"],
            "control_penalty": control and control["penalty"],
            "held_out": {arm: arm is not before for arm in predictions},
            "slices": [
                GroupSlice(
                    name=report.name,
                    inferred=report.inferred,
                    n=report.n,
                    share=report.share,
                    accuracies=_accuracies(report),
                    true_groups=_true_groups(context, members.rows[members.assigned == number]),
                    examples=pictures.of(report.examples if report.name in smallest else ()),
                )
                for number, report in enumerate(reports)
            ],
        }
    )


def _left_by(context: StageContext, stage: Stage) -> tuple[Members, dict[str, Any]]:
    folder = context.artifacts.folder(context.spec.done[stage]["artifact"])
    head: dict[str, Any] = json.loads((folder / HEAD).read_text())
    return Members.load(folder / MEMBERS), head


def _groups(members: Members, head: Mapping[str, Any]) -> Groups:
    doubt = members.doubt if len(members.doubt) else None
    return Groups(head["groups"], head["inferred"], members.assigned, tuple(head["counts"]), doubt)


def _accuracies(report: GroupReport) -> dict[Arm, Proportion]:
    return {Arm(one.model): Proportion.model_validate(one) for one in report.accuracies}


def _true_groups(context: StageContext, rows: Labels) -> dict[str, int] | None:
    """Counts of these samples by labelled group; inferred groups were found without those labels."""
    if not context.store.has_groups:
        return None
    names, groups = context.store.group_names, context.store.groups[rows]
    counts = np.bincount(groups[groups >= 0], minlength=len(names)).tolist()
    return {name: n for name, n in zip(names, counts, strict=True) if n}


class _Pictures:
    """Example images as the retrained network sees them."""

    def __init__(self, context: StageContext, cache: LogitsCache, model: ModelSpec, folder: Path) -> None:
        self._context, self._network, self._folder = context, cache.network(model), folder

    def of(self, rows: tuple[int, ...]) -> list[GroupExample]:
        squares = squares_of(self._context, self._network, np.array(rows, np.int64))
        return [self._example(row, pixels) for row, pixels in zip(rows, squares, strict=True)]

    def _example(self, row: int, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> GroupExample:
        name = f"group-{row}.png"
        (self._folder / name).write_bytes(png(mask_image(pixels, np.zeros(pixels.shape[:2], bool))))
        return GroupExample(sample=row, path=self._context.store.sample(row).path, image=name)
