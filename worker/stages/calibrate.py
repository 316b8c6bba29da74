"""Calibrate: what each score did on the calibration split, which serves nothing else.

The artifact `calibrations/{id}` holds `tables.json`:

    {"id", "model", "dataset", "split": "calibration", "n", "copies_left_out",
     "scores": {score: CalibrationTable},
     "groups": {score: {group: CalibrationTable}}, "classes": {score: {true class: CalibrationTable}},
     "agreement": {"n", "disagree"} of ERM and the model, or null without an ERM model,
     "temperature": {"value", "split": "val", "n"}}

`n` counts pictures: of those that stand in the split more than once the first, as a certificate takes
samples to be independent and copies err together; and none that stands in `train` or `val` too, which a
model was fitted to or chosen by. `copies_left_out` are the others.

The temperature is for the probabilities that are shown, and is fitted on `val`: fitted here it would
have seen the samples that a certificate counts errors on, and the promise is that nothing has. `val`
chose the checkpoint, so its loss is a little too good to be true; no promise rests on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from core.ids import calibration_id
from models.evaluate import Logits
from models.selective import CalibrationTable, ScoreName, count_split, fit_temperature
from worker.spec import ModelSpec
from worker.stages.compared import Said, compared, of_rows, partner_of
from worker.stages.context import Result, StageContext

SPLIT = "calibration"
TEMPERATURE_SPLIT = "val"
DEFAULT_SCORE: ScoreName = "max_softmax"
TABLES = "tables.json"


def calibrate(context: StageContext) -> Result:
    """Write the tables of every model of the job, for each score that it can have."""
    if not len(context.store.rows(SPLIT)):
        context.say("the data set has no calibration split: its models serve without a certificate")
        return {"artifact": None, "calibrations": {}}
    rows = context.store.calibration_rows()
    if copies := len(context.store.rows(SPLIT)) - len(rows):
        context.say(
            f"{copies} copies of pictures were left out of the calibration: each counts once, and not where "
            "it stands in train or val too"
        )
    if not len(rows):
        context.say("no picture is left to calibrate with: the models serve without a certificate")
        return {"artifact": None, "calibrations": {}}
    own, everything = compared(context)
    warmed = len(own) if len(context.store.rows(TEMPERATURE_SPLIT)) else 0
    said = Said(context, passes=len(everything) + warmed)
    logits = {model.id: of_rows(said.logits(model, SPLIT), rows) for model in everything.values()}
    calibrations = {
        model.id: _calibrated(
            context, model, logits, left_out=copies, temperature=_temperature(said, context, model)
        )
        for model in own.values()
    }
    return {
        "artifact": next(iter(calibrations.values()))["artifact"],
        "calibrations": calibrations,
    }


def _temperature(said: Said, context: StageContext, model: ModelSpec) -> dict[str, Any]:
    """1 for a data set without a validation split."""
    if not len(context.store.rows(TEMPERATURE_SPLIT)):
        return {"value": 1.0, "split": TEMPERATURE_SPLIT, "n": 0}
    seen = said.logits(model, TEMPERATURE_SPLIT, keep=True)  # the report reads it too
    value = fit_temperature(seen.logits, seen.labels)
    return {"value": value, "split": TEMPERATURE_SPLIT, "n": len(seen.labels)}


def _calibrated(
    context: StageContext,
    model: ModelSpec,
    logits: Mapping[str, Logits],
    *,
    left_out: int,
    temperature: dict[str, Any],
) -> dict[str, Any]:
    partner = partner_of(context, model)
    own, erm = logits[model.id], logits[partner.id] if partner else None
    assert context.spec.dataset is not None
    id = calibration_id(context.spec.job_id, model.id, context.spec.inputs.get("resumed", 0))
    n = len(own.labels)
    counts = {"n": n, "copies_left_out": left_out}
    tables = _tables(context, own, erm)
    facts = {
        "id": id,
        "model": model.id,
        "dataset": context.spec.dataset.id,
        "split": SPLIT,
        **counts,
        **tables,
        "agreement": _agreement(own, erm),
        "temperature": temperature,
    }
    with context.artifacts.writing(f"calibrations/{id}") as folder:
        (folder / TABLES).write_text(json.dumps(facts))
    return {
        "id": id,
        "artifact": f"calibrations/{id}",
        **counts,
        "score_name": DEFAULT_SCORE,
        "scores": list(tables["scores"]),
        "temperature": temperature["value"],
        "created_at": time.time(),
    }


def _tables(context: StageContext, own: Logits, erm: Logits | None) -> dict[str, dict[str, Any]]:
    """By score; and by score and group, and by score and class."""
    store = context.store
    counted = count_split(
        own.logits,
        None if erm is None else erm.logits,
        own.labels,
        classes=store.classes,
        groups=store.groups[own.rows],
        group_names=store.group_names,
    )
    return {
        "scores": {name: table.to_json() for name, table in counted.scores.items()},
        "groups": {name: _written(parts) for name, parts in counted.groups.items()},
        "classes": {name: _written(parts) for name, parts in counted.classes.items()},
    }


def _written(parts: Mapping[str, CalibrationTable]) -> dict[str, Any]:
    return {part: table.to_json() for part, table in parts.items()}


def _agreement(own: Logits, erm: Logits | None) -> dict[str, int] | None:
    """How often the two models differ here: what their disagreement in service is compared with."""
    if erm is None:
        return None
    return {"n": len(own.labels), "disagree": int((own.predictions != erm.predictions).sum())}
