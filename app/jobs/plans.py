"""What a job of each kind shall do. Everything that a client can send is checked here, before it costs
time on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.orm import Session

from app.inference.backbones import check_method
from app.jobs.hyperparameters import (
    defaults_for,
    explicit_fields,
    requested_start,
    resolve,
    resolve_head,
    resolve_mitigation,
)
from app.jobs.image_answers import apply_newest
from core.errors import DatasetNotReady, InvalidInput, NotFound, WrongDataset
from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.base import Json
from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig, RetrainConfig
from masktune.contract.hyperparameters.parameters import declared
from masktune.contract.ids import new_id
from masktune.contract.image_answers import ImageAnswers
from masktune.contract.job_params import EVERY_SPLIT, EvaluateParams, PredictParams
from masktune.contract.job_requests import (
    ErmRequest,
    EvaluateRequest,
    FinetuneRequest,
    MaskRequest,
    MasktuneRequest,
    MitigateRequest,
    PredictRequest,
    RetrainHeadRequest,
)
from masktune.contract.report.text import needs_erm, uncalibrated
from masktune.contract.report.text.formats import first_names
from masktune.contract.serving.predictions import policy_fields
from masktune.contract.vocabulary import CONTROL_OF, CONTROLS, STAGES, Arm, JobKind, JobState, Stage

_OF_A_SET = ("method", "target", "sigmas", "share", "crop")
"""Fields of `masking` that determine a mask set; the others determine how it is used."""
_HEADS = (Arm.RETRAINED, Arm.RETRAINED_CONTROL)


def pair(session: Session, model_name: str, dataset_id: str | None) -> tuple[ModelRow, DatasetRow]:
    """Return the model and a ready data set with its classes, or one without labels that may still be
    imported; by default the one that the model was trained on."""
    model = registry.get(session, model_name)
    dataset_id = dataset_id or model.dataset_id
    if dataset_id is None:
        raise InvalidInput.field(
            "/dataset", "missing", f"model {model.id} was imported without a data set; name one"
        )
    dataset = datasets.get_predictable(session, dataset_id)
    if dataset.labelled and dataset.classes != model.classes:
        raise WrongDataset(
            f"model {model.id} has the classes {first_names(model.classes)}, but data set {dataset.id} has "
            f"{first_names(dataset.classes)}; they must be the same, in the same order"
        )
    return model, dataset


def labelled_pair(session: Session, model_name: str, dataset_id: str | None) -> tuple[ModelRow, DatasetRow]:
    """As `pair`, for what is measured by the labels of the data set."""
    model, dataset = pair(session, model_name, dataset_id)
    return model, datasets.require_labelled(dataset)


def trainable_pair(session: Session, model_name: str, dataset_id: str | None) -> tuple[ModelRow, DatasetRow]:
    """As `pair`, for what is trained on the data set."""
    model, dataset = pair(session, model_name, dataset_id)
    return model, datasets.get_trainable(session, dataset.id)


def base_fields(session: Session, model: ModelRow, dataset: DatasetRow) -> Mapping[str, Any]:
    """Return the hyperparameters that the model was trained with, or the data set's defaults if imported.

    For a retrained head, these are the hyperparameters of its backbone.
    """
    job = registry.training_job(session, model)
    if job is None:
        return defaults_for(dataset, backbone=model.backbone, pretrained=model.id)
    # Without what else the job was asked to do.
    return {name: setting for name, setting in job.params.items() if name in declared(Hyperparameters)}


def fields_of_weights(model: ModelRow) -> dict[str, str | int]:
    """Return the fields that go with the model's weights, where they are the start."""
    return {"backbone": model.backbone, "image_size": model.image_size, "pretrained": model.id}


def as_masked(params: Hyperparameters, mask: JobRow, request: FinetuneRequest) -> Hyperparameters:
    """Apply the settings of the mask set if it is the only one; `InvalidInput` if the request differs.

    The later ones of several have its `sigmas` where it is `auto`.
    """
    masking = MaskingConfig.from_json(mask.params["masking"]).with_chosen(jobs.chosen_sigmas(mask))
    if params.masking.iterations > 1:
        return replace(params, masking=params.masking.with_chosen(masking.fixed_sigmas))
    of_set = {name: getattr(masking, name) for name in _OF_A_SET}
    for name, requested in explicit_fields(request).get("masking", {}).items():
        if name in of_set and requested not in (of_set[name], mask.params["masking"].get(name)):
            raise InvalidInput.field(
                f"/masking/{name}",
                "other-masks",
                f"the masks of {mask.id} were made with {name} = {of_set[name]}; leave it out, or make a "
                "mask set with your value. With 2 or 3 iterations it applies to the later sets",
            )
    return replace(params, masking=replace(params.masking, **of_set))


def check_continuation(session: Session, model: ModelRow, params: Hyperparameters, *, pointer: str) -> None:
    """Check that the finetune trains the same layers, with the optimizer whose state it goes on with."""
    if model.job_id is None or model.arm in _HEADS:  # a retrained head leaves no optimizer state
        return
    job = jobs.get(session, model.job_id)
    earlier, optimizer = job.params["optimizer"]["name"], params.optimizer.name
    if earlier != optimizer:
        raise InvalidInput.field(
            pointer,
            "other-optimizer",
            f"it asks for {optimizer}, but the finetune continues with the state of {earlier}, which "
            f"trained model {model.id}; use a preset with {earlier}, or none",
        )
    if job.params.get("freeze_backbone", False) != params.freeze_backbone:
        layers = "the last layer alone" if job.params.get("freeze_backbone") else "the whole network"
        raise InvalidInput.field(
            pointer,
            "other-layers",
            f"the finetune continues the training of model {model.id}, which trained {layers}; use another "
            "preset, or none",
        )


def check_pretrained(model: ModelRow, backbone: str) -> None:
    if model.backbone != backbone:
        raise InvalidInput.field(
            "/pretrained",
            "other-backbone",
            f"model {model.id} is a {model.backbone}; use the same backbone, not {backbone}",
        )


def check_splits(dataset: DatasetRow, splits: Sequence[str], pointer: str) -> None:
    empty = [split for split in splits if not count(dataset, split)]
    if empty:
        raise InvalidInput.field(pointer, "empty-split", f"the data set has no samples in {', '.join(empty)}")


def count(dataset: DatasetRow, split: str) -> int:
    """The number of images in the split."""
    return int(dataset.summary.get("splits", {}).get(split, {}).get("count", 0))


def check_grouped(dataset: DatasetRow) -> None:
    """Raise `InvalidInput` unless every training sample has a group."""
    train = dataset.summary["splits"]["train"]
    grouped = sum(train["groups"].values())
    if grouped < train["count"]:
        raise InvalidInput.field(
            "/groups",
            "no-groups",
            f"{train['count'] - grouped:,} of {train['count']:,} training samples have no group; upload the "
            "data set with groups, or infer them: groups=early_stages",
        )


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


@dataclass(frozen=True)
class PlannedJob:
    """A valid job, ready to be queued."""

    dataset_id: str | None
    """None if the job's start makes it, of a source."""
    params: Hyperparameters | RetrainConfig | EvaluateParams | PredictParams
    arms: Sequence[Arm] = ()
    """Of the models that the job makes."""
    model: str | None = None
    """Id of the model that it reads."""
    mask_set: str | None = None
    answers: ImageAnswers | None = None
    """What a person said of images of the data set, by which the job goes."""
    judged: Mapping[Arm, str] = field(default_factory=dict)
    """Ids of the models of another job that it judges."""
    trained_on: Sequence[str] = ()
    """Ids of the data sets that trained them."""

    def inputs_as_json(self) -> Json:
        """Assign the ids of the models now, so that a stage that runs twice writes the same artifacts."""
        ids = {"mask_set": self.mask_set, "model": self.model}
        inputs: Json = {name: id for name, id in ids.items() if id is not None}
        if self.answers is not None:
            inputs["review"] = self.answers.model_dump(mode="json")
        if self.arms:
            inputs["model_ids"] = {arm.value: new_id("mdl") for arm in self.arms}
        if self.judged:
            inputs["judged"] = {arm.value: id for arm, id in self.judged.items()}
            inputs["trained_on"] = list(self.trained_on)
        return inputs


def _training(session: Session, request: ErmRequest | MasktuneRequest, *, arms: Sequence[Arm]) -> PlannedJob:
    dataset, params = _trained_from(session, request, resolve)
    return PlannedJob(dataset.id, params, [arm for arm in arms if arm not in CONTROLS or params.control])


def _mitigate(session: Session, request: MitigateRequest) -> PlannedJob:
    dataset, params = _trained_from(session, request, resolve_mitigation)
    if params.groups == "labels":
        check_grouped(dataset)
    params, answers = apply_newest(session, dataset.id, params, request)
    treatments = [Arm.RETRAINED, *([Arm.MASKTUNE] if params.masktune else [])]
    controls = [CONTROL_OF[arm] for arm in treatments] if params.control else []
    return PlannedJob(dataset.id, params, [Arm.ERM, *treatments, *controls], answers=answers)


Request = TypeVar("Request", ErmRequest | MasktuneRequest, MitigateRequest)
Config = TypeVar("Config", bound=Hyperparameters)


def _trained_from(
    session: Session, request: Request, resolve_fields: Callable[..., Config]
) -> tuple[DatasetRow, Config]:
    """Return the data set, and the hyperparameters of a training from published or random weights, or from a
    model."""
    dataset = datasets.get_trainable(session, request.dataset)
    base = defaults_for(dataset, **requested_start(request))
    if not isinstance(request.pretrained, str):
        return dataset, resolve_fields(base, request)
    model = registry.get(session, request.pretrained)
    # The request may have named an alias.
    params = resolve_fields(base | fields_of_weights(model), request, pretrained=model.id)
    check_pretrained(model, params.backbone)
    return dataset, params


def _mask(session: Session, request: MaskRequest) -> PlannedJob:
    model, dataset = trainable_pair(session, request.model, request.dataset)
    params = resolve(base_fields(session, model, dataset), request, **fields_of_weights(model))
    return PlannedJob(dataset.id, params, model=model.id)


def _finetune(session: Session, request: FinetuneRequest) -> PlannedJob:
    mask = jobs.get(session, request.mask_set)
    if mask.kind is not JobKind.MASK or mask.state is not JobState.SUCCEEDED or Stage.MASK not in mask.done:
        raise InvalidInput.field(
            "/mask_set", "not-a-mask-set", f"job {mask.id} is not a mask job that succeeded"
        )
    model, dataset = pair(session, mask.inputs["model"], mask.dataset_id)
    params = as_masked(resolve(mask.params, request, **fields_of_weights(model)), mask, request)
    check_continuation(session, model, params, pointer="/preset" if request.preset else "/mask_set")
    return PlannedJob(dataset.id, params, [Arm.MASKTUNE], model=model.id, mask_set=mask.id)


def _retrain_head(session: Session, request: RetrainHeadRequest) -> PlannedJob:
    model, dataset = trainable_pair(session, request.model, request.dataset)
    params = resolve_head(request)
    if params.groups == "labels":
        check_grouped(dataset)
    params, answers = apply_newest(session, dataset.id, params, request)
    arms = [Arm.RETRAINED, Arm.RETRAINED_CONTROL] if params.control else [Arm.RETRAINED]
    return PlannedJob(dataset.id, params, arms, model=model.id, answers=answers)


def _evaluate(session: Session, request: EvaluateRequest) -> PlannedJob:
    if request.job is not None:
        models, dataset, trained_on = judged_models(session, request, request.job)
        params = EvaluateParams(splits=["test"], job=request.job, breaks_pattern=request.breaks_pattern)
        return PlannedJob(dataset.id, params, judged=models, trained_on=trained_on)
    if request.model is None:
        raise InvalidInput.field(
            "/model", "missing", "name the model to measure, or the job whose models are judged"
        )
    if request.breaks_pattern:
        raise InvalidInput.field(
            "/breaks_pattern", "needs-job", "this decides on the models of a job: name it, and no model"
        )
    model, dataset = labelled_pair(session, request.model, request.dataset)
    splits = list(dict.fromkeys(request.splits))
    if "splits" not in request.model_fields_set and not count(dataset, "train"):
        splits = ["test"]  # of a data set of test images alone
    check_splits(dataset, splits, "/splits")
    return PlannedJob(dataset.id, EvaluateParams(splits=splits), model=model.id)


def _predict(session: Session, request: PredictRequest) -> PlannedJob:
    model, dataset_id, split = _images_of(session, request)
    check_method(request.method, "/method")
    sets = () if request.set_coverage is None else ("set_coverage",)
    for name in (*policy_fields(request), *sets):
        if model.own_calibration is None:
            detail = uncalibrated(model.id, imported=model.calibration is not None)
            raise InvalidInput.field(f"/{name}", "not-calibrated", detail)
    if request.score not in (None, "max_softmax") and model.erm_id is None:
        raise InvalidInput.field("/score", "needs-erm", needs_erm(request.score, model.id))
    fields = request.model_dump(include=set(PredictParams.model_fields)) | {"split": split}
    return PlannedJob(dataset_id, PredictParams.model_validate(fields), model=model.id)


def _images_of(session: Session, request: PredictRequest) -> tuple[ModelRow, str | None, str]:
    """Return the model, the id of the data set and the split; of a source, no id and all images."""
    if request.source is None:
        model, dataset = pair(session, request.model, request.dataset)
        if request.split != EVERY_SPLIT:
            check_splits(dataset, [request.split], "/split")
        return model, dataset.id, request.split
    if request.dataset is not None:
        raise InvalidInput.field(
            "/source", "not-with-dataset", "leave out source, or dataset: a source becomes a data set"
        )
    if "split" in request.model_fields_set and request.split != EVERY_SPLIT:
        raise InvalidInput.field(
            "/split", "not-with-source", "images without labels have no splits: leave it out, or say all"
        )
    return registry.get(session, request.model), None, EVERY_SPLIT


PLANNERS: dict[JobKind, Callable[[Session, Any], PlannedJob]] = {
    JobKind.MITIGATE: _mitigate,
    JobKind.ERM: partial(_training, arms=(Arm.ERM,)),
    JobKind.MASK: _mask,
    JobKind.FINETUNE: _finetune,
    JobKind.MASKTUNE: partial(_training, arms=(Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL)),
    JobKind.RETRAIN_HEAD: _retrain_head,
    JobKind.EVALUATE: _evaluate,
    JobKind.PREDICT: _predict,
}
