"""Calibrate: what each score did on the calibration split, which serves nothing else.

The artifact `calibrations/{id}` holds `tables.json`:

    {"id", "model", "dataset", "split": "calibration", "n",
     "scores": {score: CalibrationTable}, "groups": {score: {group: CalibrationTable}}}
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import numpy as np

from models.evaluate import Logits
from models.selective import SCORES, CalibrationTable, Scored, ScoreName, score
from worker.spec import ModelSpec
from worker.stages.compared import Said, compared, partner_of
from worker.stages.context import Result, StageContext

SPLIT = "calibration"
DEFAULT_SCORE: ScoreName = "max_softmax"
TABLES = "tables.json"


def calibrate(context: StageContext) -> Result:
    """Write the tables of every model of the job, for each score that it can have."""
    if not len(context.store.rows(SPLIT)):
        context.say("the data set has no calibration split: its models serve without a certificate")
        return {"artifact": None, "calibrations": {}}
    own, everything = compared(context)
    said = Said(context, passes=len(everything))
    logits = {model.id: said.logits(model, SPLIT) for model in everything.values()}
    calibrations = {model.id: _calibrated(context, model, logits) for model in own.values()}
    return {
        "artifact": next(iter(calibrations.values()))["artifact"],
        "calibrations": calibrations,
    }


def calibration_id(job_id: str, model_id: str) -> str:
    """The same at every attempt: a stage that is run twice writes the same artifact."""
    return f"cal_{hashlib.sha256(f'{job_id}/{model_id}'.encode()).hexdigest()[:26]}"


def _calibrated(context: StageContext, model: ModelSpec, logits: dict[str, Logits]) -> dict[str, Any]:
    partner = partner_of(context, model)
    tables, groups = _tables(context, logits[model.id], logits[partner.id] if partner else None)
    assert context.spec.dataset is not None
    id, n = calibration_id(context.spec.job_id, model.id), len(logits[model.id].labels)
    facts = {"id": id, "model": model.id, "dataset": context.spec.dataset.id, "split": SPLIT, "n": n}
    with context.artifacts.writing(f"calibrations/{id}") as folder:
        (folder / TABLES).write_text(json.dumps(facts | {"scores": tables, "groups": groups}))
    return {
        "id": id,
        "artifact": f"calibrations/{id}",
        "n": n,
        "score_name": DEFAULT_SCORE,
        "scores": list(tables),
        "created_at": time.time(),
    }


def _tables(
    context: StageContext, own: Logits, erm: Logits | None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """By score, and by score and group."""
    tables: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for name in SCORES if erm is not None else (DEFAULT_SCORE,):
        scored = score(name, own.logits, None if erm is None else erm.logits)
        right = scored.labels == own.labels
        tables[name] = CalibrationTable.build(scored.scores, right).to_json()
        groups[name] = _by_group(context, own, scored)
    return tables, groups


def _by_group(context: StageContext, said: Logits, scored: Scored) -> dict[str, Any]:
    """A certificate says nothing about a group: so each has counts of its own to look at."""
    store = context.store
    of_sample, right = store.groups[said.rows], scored.labels == said.labels
    found = {}
    for group in np.unique(of_sample[of_sample >= 0]).tolist():
        inside = of_sample == group
        table = CalibrationTable.build(scored.scores[inside], right[inside])
        found[store.group_names[group]] = table.to_json()
    return found
