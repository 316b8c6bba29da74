"""The models of a job that another one judges, on images that trained none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from core.errors import DatasetNotReady, InvalidInput, NotFound, WrongDataset
from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow
from masktune.contract.job_requests import EvaluateRequest
from masktune.contract.report.text.formats import first_names
from masktune.contract.vocabulary import STAGES, Arm, JobKind, JobState, Stage

_TRAINS = frozenset(
    kind for kind, stages in STAGES.items() if Stage.EVALUATE in stages and kind is not JobKind.EVALUATE
)


class JudgedModels(NamedTuple):
    """The models of the job's report by arm, the images, and the ids of the data sets that trained them."""

    models: Mapping[Arm, str]
    dataset: DatasetRow
    trained_on: Sequence[str]


def judged_models(session: Session, request: EvaluateRequest, job_id: str) -> JudgedModels:
    """Raises `InvalidInput` if the job has no models to judge, or the images cannot judge them."""
    for name in ("model", "splits"):
        if name in request.model_fields_set and getattr(request, name) is not None:
            raise InvalidInput.field(
                f"/{name}", "not-with-job", f"leave out {name}, or job: all images judge all models of a job"
            )
    row = _job(session, job_id)
    if request.dataset is None:
        raise InvalidInput.field("/dataset", "missing", "name the data set whose images judge the models")
    if request.dataset == row.dataset_id:
        raise InvalidInput.field(
            "/dataset",
            "trained-on",
            f"job {job_id} was trained on this data set, and its report has judged the models on the test "
            "split: bring images of your own choice",
        )
    dataset = datasets.require_labelled(datasets.get_ready(session, request.dataset))
    models = {Arm(arm): str(id) for arm, id in row.done[Stage.EVALUATE]["compared"].items()}
    classes = registry.get(session, next(iter(models.values()))).classes
    if foreign := [name for name in dataset.classes if name not in classes]:
        raise WrongDataset.field(
            "/dataset",
            "other-classes",
            f"data set {dataset.id} has the classes {first_names(dataset.classes)}, but the models of job "
            f"{job_id} know {first_names(classes)}: rename or leave out {first_names(foreign)}",
        )
    trained_on = sorted(registry.datasets_of(session, models.values()) - {row.dataset_id})
    trained_on.insert(0, str(row.dataset_id))
    for id in trained_on:
        _require_kept(session, job_id, id)
    return JudgedModels(models, dataset, trained_on)


def _job(session: Session, job_id: str) -> JobRow:
    row = jobs.get(session, job_id)
    if row.kind not in _TRAINS:
        raise InvalidInput.field(
            "/job",
            "no-models",
            f"job {job_id} is of the kind {row.kind.value}, which has no models to judge; name the job that "
            "trained them",
        )
    if row.state is not JobState.SUCCEEDED or "compared" not in row.done.get(Stage.EVALUATE, {}):
        raise InvalidInput.field(
            "/job",
            "not-succeeded",
            f"job {job_id} is {row.state.value}: its models can be judged once it has succeeded",
        )
    return row


def _require_kept(session: Session, job_id: str, dataset_id: str) -> None:
    """Without the images that trained a model, nobody can leave them out."""
    try:
        datasets.get_ready(session, dataset_id)
    except (NotFound, DatasetNotReady) as error:
        raise InvalidInput.field(
            "/job",
            "training-images-gone",
            f"models of job {job_id} were trained on data set {dataset_id}, which was deleted, so its images "
            "cannot be left out; measure a single model instead: name a model and no job",
        ) from error
