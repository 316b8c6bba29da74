"""Calibrate: tabulate each score on the calibration split, which is used for nothing else.

The artifact `calibrations/{id}` holds `tables.json`:

    {"id", "model", "dataset", "split": "calibration", "n", "copies_left_out",
     "scores": {score: CalibrationTable},
     "groups": {score: {group: CalibrationTable}}, "classes": {score: {true class: CalibrationTable}},
     "agreement": {"n", "disagree"} of ERM and the model, or null without an ERM model,
     "temperature": {"value", "split": "val", "n"}}

`n` counts distinct images. Only the first of identical images counts, since a certificate assumes
independent samples and copies err together. An image that is also in `train` or `val`, which the model was
fitted to or selected on, does not count at all. `copies_left_out` is the number of images left out.

The temperature is for the displayed probabilities and is fitted on `val`. Fitted on the calibration split, it
would have seen the samples on which a certificate counts errors, and the guarantee is that nothing has. The
checkpoint was selected on `val`, so its loss there is slightly optimistic; no guarantee rests on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from masktune.contract.hyperparameters import ScoreName
from masktune.contract.ids import calibration_id
from models.evaluation.metrics import Logits
from models.selective import CalibrationTable, count_split, fit_temperature
from worker.protocol import ModelSpec
from worker.report.arms import LogitsCache, compared_models, of_rows, partner_of
from worker.stages.context import Result, StageContext

SPLIT = "calibration"
TEMPERATURE_SPLIT = "val"
DEFAULT_SCORE: ScoreName = "max_softmax"
TABLES = "tables.json"


def read_tables(context: StageContext, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `tables.json` of a calibration, as in a stage's result or a model's row."""
    folder = context.artifacts.folder(calibration["artifact"])
    tables: dict[str, Any] = json.loads((folder / TABLES).read_text())
    return tables


def calibrate(context: StageContext) -> Result:
    """Write the tables of every model of the job, for each score that applies to it."""
    if not len(context.store.rows(SPLIT)):
        context.say("the data set has no calibration split: its models serve without a certificate")
        return {"artifact": None, "calibrations": {}}
    rows = context.store.calibration_rows()
    if copies := len(context.store.rows(SPLIT)) - len(rows):
        context.say(
            f"{copies} copies of pictures were left out of the calibration: each picture counts once, and "
            "not at all if it is in train or val too"
        )
    if not len(rows):
        context.say("no picture is left to calibrate with: the models serve without a certificate")
        return {"artifact": None, "calibrations": {}}
    own, everything = compared_models(context)
    warmed = len(own) if len(context.store.rows(TEMPERATURE_SPLIT)) else 0
    cache = LogitsCache(context, passes=len(everything) + warmed)
    logits = {model.id: of_rows(cache.logits(model, SPLIT), rows) for model in everything.values()}
    calibrations = {
        model.id: _calibrated(
            context, model, logits, left_out=copies, temperature=_temperature(cache, context, model)
        )
        for model in own.values()
    }
    return {
        "artifact": next(iter(calibrations.values()))["artifact"],
        "calibrations": calibrations,
    }


def _temperature(cache: LogitsCache, context: StageContext, model: ModelSpec) -> dict[str, Any]:
    """Fit the temperature on `val`; 1 for a data set without a validation split."""
    if not len(context.store.rows(TEMPERATURE_SPLIT)):
        return {"value": 1.0, "split": TEMPERATURE_SPLIT, "n": 0}
    val = cache.logits(model, TEMPERATURE_SPLIT, keep=True)  # the report reads it too
    temperature = fit_temperature(val.logits, val.labels)
    return {"value": temperature, "split": TEMPERATURE_SPLIT, "n": len(val.labels)}


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
    """The calibration tables by score, by score and group, and by score and true class."""
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
    """How often the two models disagree here: the baseline for their disagreement in production."""
    if erm is None:
        return None
    return {"n": len(own.labels), "disagree": int((own.predictions != erm.predictions).sum())}
