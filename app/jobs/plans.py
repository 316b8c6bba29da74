"""What a job of each kind shall do. Everything that a client can send is checked here, before it costs
time on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from app.inference.backbones import check_method
from app.jobs.hyperparameters import (
    defaults_for,
    requested_start,
    resolve,
    resolve_head,
    resolve_mitigation,
)
from app.jobs.judged import judged_models
from app.jobs.plan_parts import (
    as_masked,
    base_fields,
    check_continuation,
    check_grouped,
    check_pretrained,
    check_splits,
    count,
    fields_of_weights,
    labelled_pair,
    pair,
    trainable_pair,
)
from app.jobs.reviews import apply_newest
from core.errors import InvalidInput
from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, ModelRow
from masktune.contract.hyperparameters import Hyperparameters, RetrainConfig
from masktune.contract.ids import new_id
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
from masktune.contract.predictions import policy_fields
from masktune.contract.report.text import needs_erm, uncalibrated
from masktune.contract.reviews import Review
from masktune.contract.vocabulary import CONTROL_OF, CONTROLS, Arm, JobKind, JobState, Stage


@dataclass(frozen=True)
class Plan:
    """A valid job, ready to be queued."""

    dataset_id: str | None
    """None if the job's start makes it, of a source."""
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


def _training(session: Session, request: ErmRequest | MasktuneRequest, *, arms: Sequence[Arm]) -> Plan:
    dataset, params = _trained_from(session, request, resolve)
    return Plan(dataset.id, params, [arm for arm in arms if arm not in CONTROLS or params.control])


def _mitigate(session: Session, request: MitigateRequest) -> Plan:
    dataset, params = _trained_from(session, request, resolve_mitigation)
    if params.groups == "labels":
        check_grouped(dataset)
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
    params = resolve_fields(base | fields_of_weights(model), request, pretrained=model.id)
    check_pretrained(model, params.backbone)
    return dataset, params


def _mask(session: Session, request: MaskRequest) -> Plan:
    model, dataset = trainable_pair(session, request.model, request.dataset)
    params = resolve(base_fields(session, model, dataset), request, **fields_of_weights(model))
    return Plan(dataset.id, params, model=model.id)


def _finetune(session: Session, request: FinetuneRequest) -> Plan:
    mask = jobs.get(session, request.mask_set)
    if mask.kind is not JobKind.MASK or mask.state is not JobState.SUCCEEDED or Stage.MASK not in mask.done:
        raise InvalidInput.field(
            "/mask_set", "not-a-mask-set", f"job {mask.id} is not a mask job that succeeded"
        )
    model, dataset = pair(session, mask.inputs["model"], mask.dataset_id)
    params = as_masked(resolve(mask.params, request, **fields_of_weights(model)), mask, request)
    check_continuation(session, model, params, pointer="/preset" if request.preset else "/mask_set")
    return Plan(dataset.id, params, [Arm.MASKTUNE], model=model.id, mask_set=mask.id)


def _retrain_head(session: Session, request: RetrainHeadRequest) -> Plan:
    model, dataset = trainable_pair(session, request.model, request.dataset)
    params = resolve_head(request)
    if params.groups == "labels":
        check_grouped(dataset)
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
    model, dataset = labelled_pair(session, request.model, request.dataset)
    splits = list(dict.fromkeys(request.splits))
    if "splits" not in request.model_fields_set and not count(dataset, "train"):
        splits = ["test"]  # of a data set of test images alone
    check_splits(dataset, splits, "/splits")
    return Plan(dataset.id, EvaluateParams(splits=splits), model=model.id)


def _predict(session: Session, request: PredictRequest) -> Plan:
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
    return Plan(dataset_id, PredictParams.model_validate(fields), model=model.id)


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


PLANNERS: dict[JobKind, Callable[[Session, Any], Plan]] = {
    JobKind.MITIGATE: _mitigate,
    JobKind.ERM: partial(_training, arms=(Arm.ERM,)),
    JobKind.MASK: _mask,
    JobKind.FINETUNE: _finetune,
    JobKind.MASKTUNE: partial(_training, arms=(Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL)),
    JobKind.RETRAIN_HEAD: _retrain_head,
    JobKind.EVALUATE: _evaluate,
    JobKind.PREDICT: _predict,
}
