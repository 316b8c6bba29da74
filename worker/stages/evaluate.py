"""Evaluate: the models of the job side by side on splits that trained none of them.

The artifact `jobs/{id}/report` holds `report.json` and the pictures that its gallery names:

    {"version": 1, "job", "kind", "created_at",
     "dataset": {"id", "name", "classes", "groups", "splits": {split: n}},
     "models": {arm: {"id", "backbone", "image_size"}},
     "metrics": {split: {arm: models.evaluate.Metrics}},            # each figure with n and interval
     "reliability": {split: {arm: models.evaluate.Calibration}},
     "differences": {split: [{"a": "masktune", "b": arm, …models.statistics.Difference}]},
     "verdict": {"verdict", "split", "a", "b", "deciding": Difference, "average": Difference} or null,
     "disagreement": {split: {"n", "disagree", "share", "low", "high"}},
     "masks": models.masking.MaskSetSummary or null,
     "cost": [{"stage", "seconds", "images_per_second", "device"}],
     "gallery": {"rule": {name: sentence}, "pool": n, "items": [worker.stages.gallery.Item]}}

Arms are `erm`, `masktune`, `control`, `imported`; a key is absent where the job has no such model.
"""

from __future__ import annotations

import json
import time
from typing import Any

from core.vocabulary import JobKind, Stage
from models.evaluate import Logits
from worker.reporter import finite
from worker.spec import ModelSpec
from worker.stages.compared import Said, compared, each_split
from worker.stages.context import Result, StageContext
from worker.stages.figures import Figures
from worker.stages.gallery import GALLERY_SPLIT, make_gallery, shown_in_gallery

REPORT = "report.json"
_TIMED = (Stage.ERM, Stage.MASK, Stage.FINETUNE, Stage.CONTROL, Stage.CALIBRATE)


def evaluate(context: StageContext) -> Result:
    """Write the before/after report; returns the plain figures of each arm."""
    _, models = compared(context)
    asked = context.spec.params.get("splits") if context.spec.kind is JobKind.EVALUATE else None
    splits = list(each_split(context, asked or ["val", "test"]))
    started = time.monotonic()
    said = Said(context, passes=len(models) * len(splits) + len(shown_in_gallery(models)))
    logits = {split: {arm: said.logits(m, split) for arm, m in models.items()} for split in splits}
    figures = Figures(context, logits)
    artifact = context.key("report")
    with context.artifacts.writing(artifact) as folder:
        report = _facts(context, models, said) | figures.report()
        shown = next((split for split in (GALLERY_SPLIT, *splits) if split in logits), None)
        report["gallery"] = shown and make_gallery(context, models, said, split=shown, folder=folder)
        report["cost"].append(_cost(context, started, logits))
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


def _facts(context: StageContext, models: dict[Any, ModelSpec], said: Said) -> dict[str, Any]:
    """What was compared, on what, and what it cost so far."""
    store, dataset = context.store, context.spec.dataset
    assert dataset is not None
    sizes = {arm: said.network(model).spec.image_size for arm, model in models.items()}
    return {
        "version": 1,
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
        "masks": context.spec.done.get(Stage.MASK, {}).get("summary"),
        "cost": [
            {"stage": stage, **{k: done.get(k) for k in ("seconds", "images_per_second", "device")}}
            for stage in _TIMED
            if (done := context.spec.done.get(stage)) is not None
        ],
    }


def _cost(context: StageContext, started: float, logits: dict[str, dict[Any, Logits]]) -> dict[str, Any]:
    seconds = time.monotonic() - started
    images = sum(len(said.rows) for by_arm in logits.values() for said in by_arm.values())
    return {
        "stage": context.stage,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / max(seconds, 1e-9), 1),
        "device": context.run.device.type,
    }
