"""What the training stages share: how they start, and how they publish their result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from core.storage.artifacts import ArtifactMissing
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.vocabulary import Arm, Stage
from models.backbones.network import Network
from models.export import Arm as CardArm
from models.export import ModelCard, ModelError, card_of, load_model, save_model
from models.training.checkpoints import Checkpoint, CheckpointFolder
from models.training.fit import FitResult
from worker.protocol import ModelSpec
from worker.stages.context import Result, StageContext
from worker.workspace import copy_files

_STAGE_OF = {Arm.ERM: Stage.ERM, Arm.MASKTUNE: Stage.FINETUNE, Arm.MASKTUNE_CONTROL: Stage.CONTROL}
"""The stage that trained the model of each arm; its checkpoints lie under that stage's name."""


def load(context: StageContext, model: ModelSpec) -> tuple[Network, ModelCard]:
    """Load a registry model onto the job's device. Raises ModelError for damaged files."""
    try:
        return load_model(context.artifacts.folder(model.artifact), context.run.device)
    except ModelError as error:
        raise ModelError(
            f"model {model.id} cannot be loaded: {error}; restore its files from a backup, or train or "
            "import it again"
        ) from error


def given_model(context: StageContext) -> ModelSpec:
    """The model to mask and finetune: the one that the job was given, else the ERM model that it trained."""
    return context.spec.models[context.spec.model or context.spec.inputs["model_ids"][Arm.ERM]]


def config_for(context: StageContext, card: ModelCard) -> Hyperparameters:
    """The job's hyperparameters with the model's own backbone and image size."""
    return replace(context.params, backbone=card.backbone, image_size=card.image_size)


def last_checkpoint(context: StageContext, model: ModelSpec) -> Checkpoint | None:
    """The last checkpoint of the model's training, with optimizer state; None, and logged, if it is gone."""
    if model.job_id is not None and model.arm in _STAGE_OF:
        try:
            folder = context.artifacts.folder(f"jobs/{model.job_id}/{_STAGE_OF[model.arm]}")
            newest = CheckpointFolder(folder).newest()
        except ArtifactMissing:
            newest = None
        if newest is not None:
            return newest
    context.log(f"model {model.id} has no checkpoint: its weights are tuned with a fresh optimizer")
    return None


def publish(
    context: StageContext,
    network: Network,
    fitted: FitResult,
    *,
    rank: int,
    arm: Arm,
    checkpoints: Path,
    erm_id: str | None = None,
) -> Result:
    """Publish the model and the checkpoints it came from; return the stage's result. Rank 0 does it."""
    if rank > 0:
        return {}
    artifact = context.key(context.stage)
    model = publish_model(context, network, arm=arm, erm_id=erm_id, params=context.params.to_json())
    with context.artifacts.writing(artifact) as folder:
        copy_files(checkpoints, folder)
    cost: dict[str, float | None] = {}
    if not context.params.freeze_backbone:  # it would leave out the features, which take the time
        seconds = sum(record.seconds for record in fitted.history)
        images = sum(record.images for record in fitted.history)
        rate = round(images / seconds, 1) if seconds else None
        cost = {"seconds": round(seconds, 3), "images_per_second": rate}
    return {
        "artifact": artifact,
        "models": [model],
        **cost,
        "figures": {
            "epoch": fitted.epoch,
            "weights": fitted.digest,
            "history": [
                {**record._asdict(), "accuracy": record.accuracy, "val_accuracy": record.val_accuracy}
                for record in fitted.history
            ],
        },
    }


def publish_model(
    context: StageContext, network: Network, *, arm: Arm, erm_id: str | None, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the model under the id that the job reserved for this arm; return its entry for the result."""
    model_id = context.spec.inputs["model_ids"][arm]
    key = f"models/{model_id}"
    store = context.store
    card = card_of(
        network,
        store.classes,
        cast(CardArm, arm.value),  # never `baseline`
        params,
        grey_window=store.info.grey_window,
    )
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
