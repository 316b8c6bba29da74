"""Evaluate: compare the models of the job on splits that none of them was trained on.

The artifact `jobs/{id}/report` holds `report.json`, which is a `masktune.contract.report.Report`, and the
pictures that it names. A killed stage starts over; its figures depend only on the models, the data and the
job's seed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from masktune.contract.report import VERSION, Report
from masktune.contract.report.report import MaskSummary, ReportDataset, ReportModel, StageCost
from masktune.contract.report.saliency import Gallery, InferredSlices, SaliencySummary
from masktune.contract.report.shortcut import MaskingCost, PropertyCheck, ShortcutReliance
from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.data.splits import SPLITS
from models.evaluation import masking_cost
from models.evaluation.metrics import Logits, Metrics
from models.run import device_name
from models.shortcuts import reliance
from models.shortcuts.reliance import (
    Sign,
    of_groups,
    of_mask,
    of_property,
    of_shift,
    read,
)
from worker.protocol import DatasetSpec, ModelSpec
from worker.report.arms import Said, compared, each_split
from worker.report.background_gap import background_gaps
from worker.report.gallery import GALLERY_SPLIT, make_gallery
from worker.report.groups import make_groups
from worker.report.metrics import Figures
from worker.report.risk import make_risk
from worker.report.saliency import costs_of_masks, look, make_saliency, shown
from worker.report.slices import cut, make_slices
from worker.stages.context import Result, StageContext

REPORT = "report.json"
_TIMED = (Stage.ERM, Stage.MASK, Stage.FINETUNE, Stage.RETRAIN_HEAD, Stage.CONTROL, Stage.CALIBRATE)


def evaluate(context: StageContext) -> Result:
    """Write the before/after report; return the plain figures of each arm."""
    _, models = compared(context)
    asked = context.spec.params.get("splits") if context.spec.kind is JobKind.EVALUATE else None
    splits = list(each_split(context, asked or ["val", "test"]))
    started = time.monotonic()
    said = Said(context, passes=(len(models) + len(shown(models))) * len(splits) + len(shown(models)))
    logits = {split: {arm: said.logits(m, split) for arm, m in models.items()} for split in splits}
    figures = Figures(context, logits)
    artifact = context.key("report")
    dataset = context.spec.dataset
    assert dataset is not None
    with context.artifacts.writing(artifact) as folder:
        sections = figures.report()._asdict() | make_risk(context, models, logits)._asdict()
        sections |= _saliency_sections(context, models, said, figures, logits, folder)._asdict()
        summary = context.spec.done.get(Stage.MASK, {}).get("summary")
        groups = make_groups(context, models, said, folder=folder)
        report = Report(
            version=VERSION,
            job=context.spec.job_id,
            kind=context.spec.kind,
            created_at=time.time(),
            dataset=_dataset(context, dataset),
            models=_models(context, models, said),
            training_note=_training_note(context),
            properties=dataset.shortcuts and PropertyCheck.model_validate(dataset.shortcuts),
            masks=summary and MaskSummary.model_validate(summary),
            background_gap=background_gaps(context, logits),
            groups=groups,
            cost=[*_earlier_costs(context), _cost(context, started, said.images_per_second)],
            **sections,
        )
        (folder / REPORT).write_text(report.model_dump_json(indent=1))
    return {
        "artifact": artifact,
        "models": {arm.value: model.id for arm, model in models.items()},
        "metrics": {arm.value: figures.plain(arm) for arm in models},
        "verdict": report.verdict and report.verdict.verdict,
        "images_per_second": report.cost[-1].images_per_second,
    }


class SaliencySections(NamedTuple):
    """The sections of a report that need the models' saliency maps."""

    saliency: SaliencySummary | None = None
    gallery: Gallery | None = None
    slices: InferredSlices | None = None
    masking_cost: Mapping[str, dict[Arm, MaskingCost]] = {}
    shortcut_reliance: ShortcutReliance | None = None


def _saliency_sections(
    context: StageContext,
    models: dict[Arm, ModelSpec],
    said: Said,
    figures: Figures,
    logits: Mapping[str, Mapping[Arm, Logits]],
    folder: Path,
) -> SaliencySections:
    """Where each model looks, the cost of its mask, and signs of a shortcut."""
    split = next((split for split in (GALLERY_SPLIT, *logits) if split in logits), None)
    if split is None:
        return SaliencySections()
    looks = look(context, models, said, split=split)
    costs = costs_of_masks(context, models, said, splits=list(logits))
    slices = cut(context, looks, logits[split])
    return SaliencySections(
        saliency=make_saliency(context, models, said, looks, folder=folder),
        gallery=make_gallery(context, said.network(models[looks.before]), looks, folder=folder),
        slices=make_slices(context, models, said, looks, slices, folder=folder),
        masking_cost={
            split: {arm: MaskingCost.model_validate(cost) for arm, cost in by_arm.items()}
            for split, by_arm in costs.items()
        },
        shortcut_reliance=_shortcut(context, looks.before, figures, costs),
    )


def _shortcut(
    context: StageContext,
    arm: Arm,
    figures: Figures,
    costs: Mapping[str, Mapping[Arm, masking_cost.MaskingCost]],
) -> ShortcutReliance | None:
    """The section `shortcut`, without splits whose images lost their object: a model that is right there has
    used the background.
    """
    metrics = {split: found for split, found in figures.metrics_of_pictures.items() if split in SPLITS}
    if not metrics:
        return None
    return ShortcutReliance.model_validate(
        shortcut_signs(context, arm, metrics, {split: costs[split] for split in metrics})
    )


def shortcut_signs(
    context: StageContext,
    arm: Arm,
    metrics: Mapping[str, Mapping[Arm, Metrics]],
    costs: Mapping[str, Mapping[Arm, masking_cost.MaskingCost]],
) -> reliance.ShortcutReliance:
    """The signs that the model of `arm` relies on a shortcut, on the splits present."""
    split = next(split for split in ("test", "val", *metrics) if split in metrics)
    signs: list[Sign | None] = [of_groups(metrics[split][arm], split=split)]
    if {"val", "test"} <= metrics.keys():
        signs.append(of_shift(metrics["val"][arm], metrics["test"][arm]))
    signs += [of_mask(by_arm[arm], split=split) for split, by_arm in costs.items()]
    dataset = context.spec.dataset
    if dataset is not None and dataset.shortcuts is not None:
        signs.append(of_property(dataset.shortcuts))
    validation = metrics["val"][arm] if "val" in metrics else None
    return read([sign for sign in signs if sign is not None], validation)


def _dataset(context: StageContext, dataset: DatasetSpec) -> ReportDataset:
    store = context.store
    return ReportDataset(
        id=dataset.id,
        name=dataset.name,
        classes=list(store.classes),
        groups=list(store.group_names),
        splits=store.counts,
    )


def _models(context: StageContext, models: Mapping[Arm, ModelSpec], said: Said) -> dict[Arm, ReportModel]:
    return {
        arm: ReportModel(id=model.id, backbone=model.backbone, image_size=said.network(model).spec.image_size)
        for arm, model in models.items()
    }


def _earlier_costs(context: StageContext) -> list[StageCost]:
    """The costs of the stages before this one."""
    return [
        StageCost(
            stage=stage,
            seconds=done.get("seconds"),
            images_per_second=done.get("images_per_second"),
            device=done.get("device"),
        )
        for stage in _TIMED
        if (done := context.spec.done.get(stage)) is not None
    ]


_FROZEN = "The backbone was frozen: only the last layer was trained, on features of the whole images."
_FROZEN_MASKED = (
    "The backbone was frozen: images were masked, but only the last layer was trained, first on features of "
    "the whole images, then on features of the masked ones. All models share the rest of the network."
)


def _training_note(context: StageContext) -> str | None:
    """What a reader must know of how the job trained its models."""
    if not context.spec.params.get("freeze_backbone"):
        return None
    return _FROZEN_MASKED if Stage.FINETUNE in context.spec.done else _FROZEN


def _cost(context: StageContext, started: float, rate: float | None) -> StageCost:
    """The cost of this stage; `rate` is the throughput of its plain forward passes."""
    return StageCost(
        stage=context.stage,
        seconds=round(time.monotonic() - started, 3),
        images_per_second=rate,
        device=device_name(context.run.device),
    )
