"""Evaluate: compare the models of the job on splits that none of them was trained on.

The artifact `jobs/{id}/report` holds `report.json` and the pictures that it names:

    {"version": 2, "job", "kind", "created_at",
     "dataset": {"id", "name", "classes", "groups", "splits": {split: n}},
     "models": {arm: {"id", "backbone", "image_size"}},
     "training_note": a sentence or null,  # of a frozen backbone
     "before": arm or null,  # the model the judged one was made from
     "metrics": {split: {arm: metrics.Metrics}},  # each figure with n and interval
     "reliability": {split: {arm: reliability.Calibration or null}},  # null: no answer is finite
     "differences": {split: [{"a": "masktune" or "retrained", "b": arm, …paired.Difference}]},
     "verdict": {"verdict", "split", "a", "b", "deciding": Difference, "average": Difference} or null,
     "disagreement": {split: {"n", "disagree", "share", "low", "high"}},
     "background_gap": {split: {arm: background_gap.BackgroundGap}},  # Background Challenge only
     "shortcut": models.shortcuts.reliance.Leaning or null,  # does the model before use a shortcut?
     "properties": models.shortcuts.ShortcutCheck or null,  # the import's finding
     "masking_cost": {split: {arm: masking_cost.MaskingCost}},
     "slices": worker.report.slices or null, "gaze": worker.report.saliency or null,
     "risk_coverage", "certified", "temperature", "reliability_shown": worker.report.risk,
     "masks": models.masking.compute.MaskSetSummary or null,
     "cost": [{"stage", "seconds", "images_per_second", "device"}],
     "groups": worker.report.groups or null,
     "gallery": {"rule": {name: sentence}, "turns", "split", "pool": n, "items": [worker.report.gallery]}}

Modules without a package are those of `models.evaluation`.

Arms are `erm`, `masktune`, `retrained`, `control`, `imported`, `given` (masktune.contract.vocabulary.Arm); a
key is absent if the job has no such model. A killed stage starts over; its figures depend only on the models,
the data and the job's seed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from masktune.contract.vocabulary import Arm, JobKind, Stage
from models.data.splits import SPLITS
from models.evaluation.masking_cost import MaskingCost
from models.evaluation.metrics import Logits, Metrics
from models.run import device_name
from models.shortcuts.reliance import (
    Leaning,
    Sign,
    of_groups,
    of_mask,
    of_property,
    of_shift,
    read,
)
from worker.child.reporter import finite
from worker.protocol import ModelSpec
from worker.report.arms import Said, compared, each_split
from worker.report.background_gap import background_gaps
from worker.report.gallery import GALLERY_SPLIT, make_gallery
from worker.report.groups import make_groups
from worker.report.metrics import Figures
from worker.report.risk import make_risk
from worker.report.saliency import costs_of_masks, look, make_gaze, shown
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
    with context.artifacts.writing(artifact) as folder:
        report = _facts(context, models, said) | figures.report() | make_risk(context, models, logits)
        report["background_gap"] = background_gaps(context, logits)
        report |= _looked(context, models, said, figures, logits, folder)
        report["groups"] = make_groups(context, models, said, folder=folder)
        report["cost"].append(_cost(context, started, said.images_per_second))
        (folder / REPORT).write_text(
            json.dumps(finite(report), indent=1, ensure_ascii=False, allow_nan=False)
        )
    return {
        "artifact": artifact,
        "models": {arm.value: model.id for arm, model in models.items()},
        "metrics": {arm.value: figures.plain(arm) for arm in models},
        "verdict": report["verdict"] and report["verdict"]["verdict"],
        "images_per_second": report["cost"][-1]["images_per_second"],
    }


def _looked(
    context: StageContext,
    models: dict[Arm, ModelSpec],
    said: Said,
    figures: Figures,
    logits: Mapping[str, Mapping[Arm, Logits]],
    folder: Path,
) -> dict[str, Any]:
    """The sections about saliency: where each model looks, the cost of its mask, and signs of a shortcut."""
    split = next((split for split in (GALLERY_SPLIT, *logits) if split in logits), None)
    if split is None:
        return {"gaze": None, "gallery": None, "slices": None, "masking_cost": {}, "shortcut": None}
    looks = look(context, models, said, split=split)
    costs = costs_of_masks(context, models, said, splits=list(logits))
    slices = cut(context, looks, logits[split])
    return {
        "gaze": make_gaze(context, models, said, looks, folder=folder),
        "gallery": make_gallery(context, said.network(models[looks.before]), looks, folder=folder),
        "slices": make_slices(context, models, said, looks, slices, folder=folder),
        "masking_cost": {
            split: {arm.value: cost.to_json() for arm, cost in by_arm.items()}
            for split, by_arm in costs.items()
        },
        "shortcut": _shortcut(context, looks.before, figures, costs),
    }


def _shortcut(
    context: StageContext, arm: Arm, figures: Figures, costs: Mapping[str, Mapping[Arm, MaskingCost]]
) -> dict[str, Any] | None:
    """The section `shortcut`, without splits whose images lost their object: a model that is right there has
    used the background.
    """
    metrics = {split: found for split, found in figures.metrics_of_pictures.items() if split in SPLITS}
    if not metrics:
        return None
    return leaning(context, arm, metrics, {split: costs[split] for split in metrics}).to_json()


def leaning(
    context: StageContext,
    arm: Arm,
    metrics: Mapping[str, Mapping[Arm, Metrics]],
    costs: Mapping[str, Mapping[Arm, MaskingCost]],
) -> Leaning:
    """The signs that the model of `arm` leans on a shortcut, on the splits present."""
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


def _facts(context: StageContext, models: dict[Any, ModelSpec], said: Said) -> dict[str, Any]:
    """The facts of the report: the models compared, the data set, and the cost of the earlier stages."""
    store, dataset = context.store, context.spec.dataset
    assert dataset is not None
    sizes = {arm: said.network(model).spec.image_size for arm, model in models.items()}
    return {
        "version": 2,
        "job": context.spec.job_id,
        "kind": context.spec.kind,
        "created_at": time.time(),
        "dataset": {
            "id": dataset.id,
            "name": dataset.name,
            "classes": list(store.classes),
            "groups": list(store.group_names),
            "splits": store.counts,
        },
        "models": {
            arm.value: {"id": m.id, "backbone": m.backbone, "image_size": sizes[arm]}
            for arm, m in models.items()
        },
        "training_note": _training_note(context),
        "properties": dataset.shortcuts,
        "masks": context.spec.done.get(Stage.MASK, {}).get("summary"),
        "cost": [
            {"stage": stage, **{k: done.get(k) for k in ("seconds", "images_per_second", "device")}}
            for stage in _TIMED
            if (done := context.spec.done.get(stage)) is not None
        ],
    }


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


def _cost(context: StageContext, started: float, rate: float | None) -> dict[str, Any]:
    """The cost of this stage; `rate` is the throughput of its plain forward passes."""
    return {
        "stage": context.stage,
        "seconds": round(time.monotonic() - started, 3),
        "images_per_second": rate,
        "device": device_name(context.run.device),
    }
