"""What the trainings share: where they start, and what they leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from core.artifacts import ArtifactMissing
from core.vocabulary import Arm, Stage
from models.backbones import Network, adopt_weights
from models.checkpoints import Checkpoint, CheckpointFolder, EpochRecord
from models.config import Hyperparameters
from models.export import Arm as CardArm
from models.export import ModelCard, card_of, load_model, save_model
from models.masktune import new_network
from models.train import FitResult
from worker.spec import ModelSpec
from worker.stages.context import Result, StageContext
from worker.workspace import copy_files

_STAGE_OF = {Arm.ERM: Stage.ERM, Arm.MASKTUNE: Stage.FINETUNE, Arm.CONTROL: Stage.CONTROL}
"""Which stage trained the model of an arm: its checkpoints lie under that name."""


def fresh_network(context: StageContext) -> Network:
    """The network that ERM starts from: fresh, with published weights, or with those of one of our models."""
    network = new_network(context.store, context.params)
    if isinstance(context.params.pretrained, str):
        source, _ = load(context, context.model(context.params.pretrained))
        adopt_weights(network, source)
    return network


def load(context: StageContext, model: ModelSpec) -> tuple[Network, ModelCard]:
    """A model of the registry on the job's device. Each time that it is asked is a sign of life: there are
    methods of saliency that ask it for an hour about one batch.
    """
    network, card = load_model(context.artifacts.folder(model.artifact), context.run.device)

    def answering(*_: object) -> None:  # copied with the network, as no method of ours could be
        context.should_stop()

    network.classifier.register_forward_pre_hook(answering)
    return network, card


def given_model(context: StageContext) -> ModelSpec:
    """The model that is masked and tuned: the one the job was given, or the ERM model that it made."""
    return context.model(context.spec.model or context.spec.inputs["model_ids"][Arm.ERM])


def config_for(context: StageContext, card: ModelCard) -> Hyperparameters:
    """The job's hyperparameters with the model's own backbone and image size."""
    return replace(context.params, backbone=card.backbone, image_size=card.image_size)


def last_checkpoint(context: StageContext, model: ModelSpec) -> Checkpoint | None:
    """The last state of the training that made the model, its optimizer's included; None where it is gone."""
    if model.job_id is not None and model.arm in _STAGE_OF:
        try:
            folder = context.artifacts.folder(f"jobs/{model.job_id}/{_STAGE_OF[model.arm]}")
            newest = CheckpointFolder(folder).newest()
        except ArtifactMissing:
            newest = None
        if newest is not None:  # a retrained last layer leaves none
            return newest
    context.say(f"model {model.id} has no checkpoint: it is tuned with a fresh optimizer, from its weights")
    return None


def publish(
    context: StageContext,
    network: Network,
    fitted: FitResult,
    *,
    arm: Arm,
    checkpoints: Path,
    erm_id: str | None = None,
) -> Result:
    """Write the model and the checkpoints it came from; returns what the stage reports."""
    artifact = context.key(context.stage)
    model = publish_model(context, network, arm=arm, erm_id=erm_id, params=context.params.to_json())
    with context.artifacts.writing(artifact) as folder:
        copy_files(checkpoints, folder)
    seconds = sum(record.seconds for record in fitted.history)
    images = sum(record.images for record in fitted.history)
    return {
        "artifact": artifact,
        "models": [model],
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1) if seconds else None,
        "figures": {
            "epoch": fitted.epoch,
            "weights": fitted.digest,
            "history": [_epoch(record) for record in fitted.history],
        },
    }


def publish_model(
    context: StageContext, network: Network, *, arm: Arm, erm_id: str | None, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the model under the id that the job has for this arm; returns it as a stage reports it."""
    model_id = context.spec.inputs["model_ids"][arm]
    key = f"models/{model_id}"
    card = card_of(network, context.store.classes, cast(CardArm, arm.value), params)  # never `given`
    with context.artifacts.writing(key) as folder:
        save_model(network, card, folder)
    return {
        "id": model_id,
        "arm": arm,
        "backbone": card.backbone,
        "classes": list(card.classes),
        "image_size": card.image_size,
        "artifact": key,
        "erm_id": erm_id,
    }


def _epoch(record: EpochRecord) -> dict[str, float | int | None]:
    shares = {"accuracy": record.accuracy, "val_accuracy": record.val_accuracy}
    return record._asdict() | shares
