"""Parts of the plans of several kinds of jobs: the model and its data set, the fields they give, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from app.jobs.hyperparameters import (
    defaults_for,
    explicit_fields,
)
from core.errors import InvalidInput, WrongDataset
from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from masktune.contract.hyperparameters.parameters import declared
from masktune.contract.job_requests import FinetuneRequest
from masktune.contract.report.text.formats import first_names
from masktune.contract.vocabulary import Arm

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


def fields_of_weights(model: ModelRow) -> dict[str, Any]:
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
