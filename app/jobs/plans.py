"""Starts jobs. Everything that a client can send is checked here, before it costs time on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import fingerprint
from app.http.etag import represent
from app.inference.backbones import check_method, network_size
from app.jobs.estimate import estimate_job, measured_rates
from app.jobs.hyperparameters import (
    defaults_for,
    explicit_fields,
    requested_start,
    resolve,
    resolve_head,
    resolve_mitigation,
)
from app.jobs.judged import judged_models
from app.jobs.queue import JobCreation
from app.jobs.reviews import apply_newest
from app.jobs.service import describe
from app.jobs.workload import workload
from core.errors import InvalidInput, WrongDataset
from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig, RetrainConfig
from masktune.contract.ids import new_id
from masktune.contract.job_params import EvaluateParams, PredictParams
from masktune.contract.job_requests import (
    ErmRequest,
    EvaluateRequest,
    FinetuneRequest,
    JobRequest,
    MaskRequest,
    MasktuneRequest,
    MitigateRequest,
    PredictRequest,
    RetrainHeadRequest,
)
from masktune.contract.jobs import JobInputs, JobPlan
from masktune.contract.parameters import Parameters, declared
from masktune.contract.report.text.formats import first_names
from masktune.contract.reviews import Review
from masktune.contract.vocabulary import CONTROL_OF, CONTROLS, Arm, JobKind, JobState, Stage

_OF_A_SET = ("method", "target", "sigmas", "share", "crop")
"""Fields of `masking` that determine a mask set; the others determine how it is used."""
_HEADS = (Arm.RETRAINED, Arm.RETRAINED_CONTROL)


@dataclass(frozen=True)
class Plan:
    """A valid job, ready to be queued."""

    dataset_id: str
    params: Hyperparameters | RetrainConfig | EvaluateParams | PredictParams
    arms: Sequence[Arm] = ()
    """Of the models that the job makes."""
    model: str | None = None
    """Id of the model that it reads."""
    mask_set: str | None = None
    review: Review | None = None
    """What a person said of images of the data set, by which the job goes."""
    judged: Mapping[Arm, str] = field(default_factory=dict)
    """Ids of the models of another job that it judges."""
    trained_on: Sequence[str] = ()
    """Ids of the data sets that trained them."""

    def params_as_json(self) -> dict[str, Any]:
        if isinstance(self.params, Parameters):
            return self.params.to_json()
        return self.params.model_dump(mode="json")

    def inputs_as_json(self) -> dict[str, Any]:
        """Assign the ids of the models now, so that a stage that runs twice writes the same artifacts."""
        ids = {"mask_set": self.mask_set, "model": self.model}
        inputs: dict[str, Any] = {name: id for name, id in ids.items() if id is not None}
        if self.review is not None:
            inputs["review"] = self.review.model_dump(mode="json")
        if self.arms:
            inputs["model_ids"] = {arm.value: new_id("mdl") for arm in self.arms}
        if self.judged:
            inputs["judged"] = {arm.value: id for arm, id in self.judged.items()}
            inputs["trained_on"] = list(self.trained_on)
        return inputs


def start(creation: JobCreation, kind: JobKind, request: JobRequest, *, dry_run: bool) -> Response:
    """Plan the job and queue it; answer 202 with the whole resource. A dry run ends with the plan: 200."""
    if dry_run:
        with creation.once.database.read() as session:
            return represent(_describe(session, kind, PLANNERS[kind](session, request)))

    def plan() -> Plan:
        with creation.once.database.read() as session:
            return PLANNERS[kind](session, request)

    def make(session: Session, planned: Plan) -> Response:
        # Lock and check again: data set or models may have been deleted while the plan was made.
        session.get(DatasetRow, planned.dataset_id, with_for_update=True)
        datasets.get_ready(session, planned.dataset_id)
        for dataset_id in planned.trained_on:
            datasets.keep(session, dataset_id)
        params, inputs = planned.params_as_json(), planned.inputs_as_json()
        registry.keep(session, jobs.models_read(inputs, params))
        row = creation.add(
            session,
            kind,
            planned.dataset_id,
            params=params,
            inputs=inputs,
            name=request.name,
            user_metadata=request.metadata,
            priority=request.priority,
        )
        job = describe(session, row, creation.root_path, creation.queue)
        return represent(job, status=202, headers={"Location": job.links["self"]})

    return creation.once.run_planned(fingerprint(kind, request), plan, make)


def _describe(session: Session, kind: JobKind, plan: Plan) -> JobPlan:
    """Describe the plan, with its cost. Raises `InvalidInput` if the network cannot be built."""
    params, dataset = plan.params_as_json(), datasets.get_ready(session, plan.dataset_id)
    planned = workload(session, kind, dataset, params, plan.inputs_as_json())
    assert planned is not None  # its model has just been read
    size = network_size(planned.backbone, classes=len(dataset.classes), image_size=planned.image_size)
    return JobPlan(
        kind=kind,
        dataset=dataset.id,
        params=params,
        inputs=JobInputs(model=plan.model, mask_set=plan.mask_set, review=plan.review),
        models=list(plan.arms),
        estimate=estimate_job(planned, measured_rates(session, planned), size),
    )


def _erm(session: Session, request: ErmRequest) -> Plan:
    return _training(session, request, (Arm.ERM,))


def _masktune(session: Session, request: MasktuneRequest) -> Plan:
    return _training(session, request, (Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL))


def _training(session: Session, request: ErmRequest | MasktuneRequest, arms: tuple[Arm, ...]) -> Plan:
    dataset, params = _trained_from(session, request, resolve)
    return Plan(dataset.id, params, [arm for arm in arms if arm not in CONTROLS or params.control])


def _mitigate(session: Session, request: MitigateRequest) -> Plan:
    dataset, params = _trained_from(session, request, resolve_mitigation)
    if params.groups == "labels":
        _check_grouped(dataset)
    params, review = apply_newest(session, dataset.id, params, request)
    treatments = [Arm.RETRAINED, *([Arm.MASKTUNE] if params.masktune else [])]
    controls = [CONTROL_OF[arm] for arm in treatments] if params.control else []
    return Plan(dataset.id, params, [Arm.ERM, *treatments, *controls], review=review)


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
    params = resolve_fields(base | _fields_of_weights(model), request, pretrained=model.id)
    _check_pretrained(model, params.backbone)
    return dataset, params


def _mask(session: Session, request: MaskRequest) -> Plan:
    model, dataset = _trainable_pair(session, request.model, request.dataset)
    params = resolve(_base(session, model, dataset), request, **_fields_of_weights(model))
    return Plan(dataset.id, params, model=model.id)


def _finetune(session: Session, request: FinetuneRequest) -> Plan:
    mask = jobs.get(session, request.mask_set)
    if mask.kind is not JobKind.MASK or mask.state is not JobState.SUCCEEDED or Stage.MASK not in mask.done:
        raise InvalidInput.field(
            "/mask_set", "not-a-mask-set", f"job {mask.id} is not a mask job that succeeded"
        )
    model, dataset = _pair(session, mask.inputs["model"], mask.dataset_id)
    params = _as_masked(resolve(mask.params, request, **_fields_of_weights(model)), mask, request)
    _check_continuation(session, model, params, pointer="/preset" if request.preset else "/mask_set")
    return Plan(dataset.id, params, [Arm.MASKTUNE], model=model.id, mask_set=mask.id)


def _retrain_head(session: Session, request: RetrainHeadRequest) -> Plan:
    model, dataset = _trainable_pair(session, request.model, request.dataset)
    params = resolve_head(request)
    if params.groups == "labels":
        _check_grouped(dataset)
    params, review = apply_newest(session, dataset.id, params, request)
    arms = [Arm.RETRAINED, Arm.RETRAINED_CONTROL] if params.control else [Arm.RETRAINED]
    return Plan(dataset.id, params, arms, model=model.id, review=review)


def _evaluate(session: Session, request: EvaluateRequest) -> Plan:
    if request.job is not None:
        models, dataset, trained_on = judged_models(session, request, request.job)
        params = EvaluateParams(splits=["test"], job=request.job, breaks_pattern=request.breaks_pattern)
        return Plan(dataset.id, params, judged=models, trained_on=trained_on)
    if request.model is None:
        raise InvalidInput.field(
            "/model", "missing", "name the model to measure, or the job whose models are judged"
        )
    if request.breaks_pattern:
        raise InvalidInput.field(
            "/breaks_pattern", "needs-job", "this decides on the models of a job: name it, and no model"
        )
    model, dataset = _pair(session, request.model, request.dataset)
    splits = list(dict.fromkeys(request.splits))
    if "splits" not in request.model_fields_set and not _count(dataset, "train"):
        splits = ["test"]  # of a data set of test images alone
    _check_splits(dataset, splits, "/splits")
    return Plan(dataset.id, EvaluateParams(splits=splits), model=model.id)


def _predict(session: Session, request: PredictRequest) -> Plan:
    model, dataset = _pair(session, request.model, request.dataset)
    _check_splits(dataset, [request.split], "/split")
    check_method(request.method, "/method")
    for policy in ("coverage", "max_risk", "min_score"):
        if getattr(request, policy) is not None and model.calibration is None:
            raise InvalidInput.field(
                f"/{policy}",
                "not-calibrated",
                f"model {model.id} has no calibration; make one with POST /jobs/evaluate",
            )
    if request.score not in (None, "max_softmax") and model.erm_id is None:
        raise InvalidInput.field(
            "/score", "needs-erm", f"{request.score} needs an ERM model, and model {model.id} has none"
        )
    params = PredictParams.model_validate(request.model_dump(include=set(PredictParams.model_fields)))
    return Plan(dataset.id, params, model=model.id)


PLANNERS: dict[JobKind, Callable[[Session, Any], Plan]] = {
    JobKind.MITIGATE: _mitigate,
    JobKind.ERM: _erm,
    JobKind.MASK: _mask,
    JobKind.FINETUNE: _finetune,
    JobKind.MASKTUNE: _masktune,
    JobKind.RETRAIN_HEAD: _retrain_head,
    JobKind.EVALUATE: _evaluate,
    JobKind.PREDICT: _predict,
}


# --- the parts of a plan ------------------------------------------------------------------


def _pair(session: Session, model_name: str, dataset_id: str | None) -> tuple[ModelRow, DatasetRow]:
    """Return the model and a ready data set with its classes, by default the one that it was trained on."""
    model = registry.get(session, model_name)
    dataset_id = dataset_id or model.dataset_id
    if dataset_id is None:
        raise InvalidInput.field(
            "/dataset", "missing", f"model {model.id} was imported without a data set; name one"
        )
    dataset = datasets.get_ready(session, dataset_id)
    if dataset.classes != model.classes:
        raise WrongDataset(
            f"model {model.id} has the classes {first_names(model.classes)}, but data set {dataset.id} has "
            f"{first_names(dataset.classes)}; they must be the same, in the same order"
        )
    return model, dataset


def _trainable_pair(session: Session, model_name: str, dataset_id: str | None) -> tuple[ModelRow, DatasetRow]:
    """As `_pair`, for what is trained on the data set."""
    model, dataset = _pair(session, model_name, dataset_id)
    return model, datasets.get_trainable(session, dataset.id)


def _base(session: Session, model: ModelRow, dataset: DatasetRow) -> Mapping[str, Any]:
    """Return the hyperparameters that the model was trained with, or the data set's defaults if imported.

    For a retrained head, these are the hyperparameters of its backbone.
    """
    job = registry.training_job(session, model)
    if job is None:
        return defaults_for(dataset, backbone=model.backbone, pretrained=model.id)
    return _training_fields(job)


def _training_fields(job: JobRow) -> Mapping[str, Any]:
    """Return the fields of a job's training, without what else it was asked to do."""
    return {name: setting for name, setting in job.params.items() if name in declared(Hyperparameters)}


def _fields_of_weights(model: ModelRow) -> dict[str, Any]:
    """Return the fields that go with the model's weights, where they are the start."""
    return {"backbone": model.backbone, "image_size": model.image_size, "pretrained": model.id}


def _as_masked(params: Hyperparameters, mask: JobRow, request: FinetuneRequest) -> Hyperparameters:
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


def _check_continuation(session: Session, model: ModelRow, params: Hyperparameters, *, pointer: str) -> None:
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


def _check_pretrained(model: ModelRow, backbone: str) -> None:
    if model.backbone != backbone:
        raise InvalidInput.field(
            "/pretrained",
            "other-backbone",
            f"model {model.id} is a {model.backbone}; use the same backbone, not {backbone}",
        )


def _check_splits(dataset: DatasetRow, splits: Sequence[str], pointer: str) -> None:
    empty = [split for split in splits if not _count(dataset, split)]
    if empty:
        raise InvalidInput.field(pointer, "empty-split", f"the data set has no samples in {', '.join(empty)}")


def _count(dataset: DatasetRow, split: str) -> int:
    """The number of images in the split."""
    return int(dataset.summary["splits"].get(split, {}).get("count", 0))


def _check_grouped(dataset: DatasetRow) -> None:
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
