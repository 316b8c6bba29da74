"""Calibrate: tabulate each score on the calibration split, which is used for nothing else.

The artifact `calibrations/{id}` holds `neighbours.safetensors` (`models.selective.TrainingNeighbours`), if
the model can tell which inputs are unlike its training images, and `tables.json`:

    {"id", "model", "dataset", "split": "calibration",
     "n", "n_subjects", "copies_left_out", "same_subject_left_out",
     "scores": {score: CalibrationTable}, "unlike_answered": {score: CalibrationTable},
     "groups": {score: {group: CalibrationTable}}, "classes": {score: {true class: CalibrationTable}},
     "predicted": {score: {predicted class: CalibrationTable}},
     "true_log_probabilities": {every class, in order: its log-probabilities in its own samples, descending},
     "groups_inferred": whether nobody labelled the groups,
     "lacking": names of the inferred groups whose images lack the pattern of their class,
     "agreement": {"n", "disagree"} of ERM and the model, or null without an ERM model,
     "temperature": {"value", "split": "val", "n"}}

`n` is the number of images that count: one per subject, drawn at random, and every image without a subject
once. An image or a subject that is also in `train` or `val` does not count at all. `SampleCounts` has the
numbers.

Images that are unlike the training images count as not answered, as with every policy, but in the tables
`unlike_answered`, which are there if the model can tell which these are. That is fitted on `train` and `val`,
so the rule that the tables certify does not depend on the images that they count. One image of each subject
counts there too, and no image of `val` whose picture or subject is in `train`.

The temperature is that of the model's probabilities. It is fitted on `val`: a certificate holds only if
nothing has seen the samples on which it counts errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import compress
from typing import NamedTuple, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from masktune.contract.hyperparameters import ScoreName
from masktune.contract.ids import calibration_id
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.mitigation.features import HeadError
from models.mitigation.pattern_groups import PatternGroups
from models.selective import (
    LEAST_HELD_OUT,
    NEIGHBOURS,
    NEIGHBOURS_FILE,
    CalibrationTable,
    TrainingNeighbours,
    count_split,
    fit_temperature,
)
from models.types import Bools
from worker.context import StageContext, compared_models
from worker.networks.features import LogitsCache, logits_in, of_rows
from worker.networks.unlike import FittingRows, fit_neighbours, fitting_rows
from worker.results import CalibrateResult, Calibration, Json, ModelSpec
from worker.stages.infer_groups import InferredGroups

SPLIT = "calibration"
TEMPERATURE_SPLIT = "val"
DEFAULT_SCORE: ScoreName = "max_softmax"
TABLES = "tables.json"


class SampleCounts(NamedTuple):
    """Which images of a split count.
    What is about subjects is None where it has none."""

    n_subjects: int | None
    """Images that count as the only one of their subject."""
    copies_left_out: int | None
    """Images without a subject that are copies of others."""
    same_subject_left_out: int | None
    """Images whose subject has another image that counts, or may not count at all."""


def sample_counts(store: Store, rows: NDArray[np.int64], independent: NDArray[np.int64]) -> SampleCounts:
    """Count the `rows` of a split, of which those that are `independent` count."""
    left_out = np.setdiff1d(rows, independent)
    with_subject = int((store.subjects[independent] >= 0).sum())
    others_with_subject = int((store.subjects[left_out] >= 0).sum())
    has_subjects = with_subject + others_with_subject > 0
    return SampleCounts(
        n_subjects=with_subject if has_subjects else None,
        copies_left_out=len(left_out) - others_with_subject,
        same_subject_left_out=others_with_subject if has_subjects else None,
    )


class FittedTemperature(TypedDict):
    """The temperature, and the split of `n` images that it was fitted on."""

    value: float
    split: str
    n: int


class Tables(TypedDict):
    """The content of `tables.json`."""

    id: str
    model: str
    dataset: str
    split: str
    n: int
    n_subjects: int | None
    copies_left_out: int | None
    same_subject_left_out: int | None
    scores: dict[str, Json]
    unlike_answered: dict[str, Json]
    groups: dict[str, dict[str, Json]]
    classes: dict[str, dict[str, Json]]
    predicted: dict[str, dict[str, Json]]
    true_log_probabilities: dict[str, list[float]]
    groups_inferred: bool
    lacking: list[str]
    agreement: dict[str, int] | None
    temperature: FittedTemperature


def read_tables(context: StageContext, calibration: Calibration) -> Tables:
    folder = context.artifacts.folder(calibration.artifact)
    return cast(Tables, json.loads((folder / TABLES).read_text()))


def calibrate(context: StageContext) -> CalibrateResult:
    """Write the tables of every model of the job, for each score that applies to it."""
    rows = context.store.calibration_rows()
    counts = sample_counts(context.store, context.store.rows(SPLIT), rows)
    if counts.copies_left_out:
        context.log(
            f"{counts.copies_left_out} copies of pictures were left out of the calibration: each picture "
            "counts once, and not at all if it is in train or val too"
        )
    if counts.same_subject_left_out:
        context.log(
            f"{counts.same_subject_left_out} images were left out of the calibration: one image per subject "
            "counts, drawn at random, and none if the subject is in train or val too"
        )
    if not len(rows):
        why = "every image or subject of the calibration split is in train or val too"
        if not context.store.counts[SPLIT]:
            why = "the data set has no calibration split"
        context.log(
            f"no image is left to calibrate with, because {why}: the models serve without a certificate"
        )
        return CalibrateResult(artifact=None, calibrations={})
    own, everything = compared_models(context)
    fitting = fitting_rows(context.store)
    if fitting is None:
        context.log(
            f"no input is ever called unlike the training images: that takes {LEAST_HELD_OUT} images in val, "
            f"one per subject, whose pictures and subjects are not in train, and {NEIGHBOURS} in train"
        )
    cache = LogitsCache(context, passes=len(everything) + (1 if fitting is None else 2) * len(own))
    fitted = {model.id: _fit(context, cache, model, fitting) for model in own.values()}
    answers = {
        model.id: _answers(cache, model, rows, fitted[model.id].neighbours if model.id in fitted else None)
        for model in everything.values()
    }
    groups = _groups(context)
    calibrations = {
        model.id: _calibrate(context, model, answers, groups=groups, counts=counts, fitted=fitted[model.id])
        for model in own.values()
    }
    return CalibrateResult(artifact=next(iter(calibrations.values())).artifact, calibrations=calibrations)


class _Fitted(NamedTuple):
    """What a calibration takes from other splits; without `neighbours`, no input is called unlike."""

    temperature: FittedTemperature
    neighbours: TrainingNeighbours | None


def _fit(context: StageContext, cache: LogitsCache, model: ModelSpec, rows: FittingRows | None) -> _Fitted:
    """Fit the temperature on `val`, and what is unlike the training images on `train` and `val`."""
    neighbours = None
    try:
        if rows is not None:
            neighbours, val = fit_neighbours(cache, model, rows)
    except HeadError as error:
        context.log(f"no input of model {model.id} is ever called unlike the training images: {error}")
    if neighbours is None:
        val = cache.logits(model, TEMPERATURE_SPLIT)
    temperature = fit_temperature(val.logits, val.labels)
    return _Fitted({"value": temperature, "split": TEMPERATURE_SPLIT, "n": len(val.labels)}, neighbours)


class _Answers(NamedTuple):
    """Of the samples that count; `unlike` (N,) the training images, None if the model cannot tell."""

    logits: Logits
    unlike: Bools | None


def _answers(
    cache: LogitsCache, model: ModelSpec, rows: NDArray[np.int64], neighbours: TrainingNeighbours | None
) -> _Answers:
    if neighbours is None:
        return _Answers(of_rows(cache.logits(model, SPLIT), rows), None)
    features = cache.features(model, SPLIT)
    counted = np.isin(features.rows, rows)
    return _Answers(of_rows(logits_in(features), rows), neighbours.unlike(features.values[counted]))


def _calibrate(
    context: StageContext,
    model: ModelSpec,
    answers: Mapping[str, _Answers],
    *,
    groups: CalibrationGroups,
    counts: SampleCounts,
    fitted: _Fitted,
) -> Calibration:
    """Write the model's tables; return their entry for the stage's result.
    `answers` are by model."""
    (own, unlike), partner = answers[model.id], answers.get(model.erm_id or "")
    erm, temperature = None if partner is None else partner.logits, fitted.temperature
    assert context.spec.dataset is not None
    id = calibration_id(context.spec.job_id, model.id, context.spec.resumed)
    tables = count_split(
        own.logits,
        None if erm is None else erm.logits,
        own.labels,
        classes=context.store.classes,
        groups=groups.of_samples.assigned[own.rows],
        group_names=groups.of_samples.names,
        temperature=temperature["value"],
        unlike=unlike,
    )
    content: Tables = {
        "id": id,
        "model": model.id,
        "dataset": context.spec.dataset.id,
        "split": SPLIT,
        "n": len(own.labels),
        "n_subjects": counts.n_subjects,
        "copies_left_out": counts.copies_left_out,
        "same_subject_left_out": counts.same_subject_left_out,
        "scores": _to_json(tables.scores),
        "unlike_answered": {} if unlike is None else _to_json(tables.unlike_answered),
        "groups": {score: _to_json(by_group) for score, by_group in tables.groups.items()},
        "classes": {score: _to_json(by_class) for score, by_class in tables.classes.items()},
        "predicted": {score: _to_json(by_class) for score, by_class in tables.predicted.items()},
        "true_log_probabilities": tables.true_log_probabilities,
        "groups_inferred": groups.are_inferred,
        "lacking": list(compress(groups.of_samples.names, groups.of_samples.lacking)),
        # How often the models disagree here is the baseline for their disagreement in production.
        "agreement": None
        if erm is None
        else {"n": len(own.labels), "disagree": int((own.predictions != erm.predictions).sum())},
        "temperature": temperature,
    }
    with context.artifacts.writing(f"calibrations/{id}") as folder:
        (folder / TABLES).write_text(json.dumps(content))
        if fitted.neighbours is not None:
            fitted.neighbours.save(folder / NEIGHBOURS_FILE)
    return Calibration(
        id=id,
        artifact=f"calibrations/{id}",
        n=len(own.labels),
        **counts._asdict(),
        score_name=DEFAULT_SCORE,
        scores=tuple(tables.scores),
        temperature=temperature["value"],
        unlike_threshold=None if fitted.neighbours is None else fitted.neighbours.threshold,
        created_at=time.time(),
        job=context.spec.job_id,
    )


class CalibrationGroups(NamedTuple):
    """The data set's own groups or, where it has none, those that the job has inferred."""

    of_samples: PatternGroups
    are_inferred: bool


def _groups(context: StageContext) -> CalibrationGroups:
    inferred, store = InferredGroups.read(context), context.store
    if inferred is None or not inferred.decide_on(store):
        return CalibrationGroups(PatternGroups(store.groups, store.group_names, ()), are_inferred=False)
    return CalibrationGroups(inferred.groups(store), are_inferred=True)


def _to_json(tables: Mapping[str, CalibrationTable]) -> dict[str, Json]:
    return {name: table.to_json() for name, table in tables.items()}
