"""What the training stages share: how they start, and how they publish their result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from core.storage.artifacts import ArtifactMissing
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.vocabulary import Arm, Stage
from models.backbones.build import adopt_weights
from models.backbones.network import Network
from models.export import Arm as CardArm
from models.export import (
    ModelCard,
    ModelError,
    card_of,
    load_model,
    save_backbone,
    save_model,
    shareable_digest,
)
from models.inputs import new_network
from models.training.checkpoints import Checkpoint, CheckpointFolder
from models.training.fit import FitResult
from worker.context import StageContext
from worker.results import ModelSpec, TrainingResult
from worker.workspace import copy_files

_ARM_OF = {Stage.ERM: Arm.ERM, Stage.FINETUNE: Arm.MASKTUNE, Stage.CONTROL: Arm.MASKTUNE_CONTROL}
_STAGE_OF = {arm: stage for stage, arm in _ARM_OF.items()}
"""The stage that trained the model of each arm; its checkpoints lie under that stage's name."""


def load(context: StageContext, model: ModelSpec) -> tuple[Network, ModelCard]:
    """Load a registry model onto the job's device.
    Raises ModelError for damaged files."""
    folder_of, backbone_key = context.artifacts.folder, model.backbone_artifact
    try:
        return load_model(
            folder_of(model.artifact),
            context.run.device,
            backbone=None if backbone_key is None else folder_of(backbone_key),
        )
    except ModelError as error:
        raise ModelError(
            f"model {model.id} cannot be loaded: {error}; restore its files from a backup, or train or "
            "import it again"
        ) from error


def untrained_network(context: StageContext) -> Network:
    """The network that ERM starts from, with random, published or a registry model's weights."""
    params = context.params
    network = new_network(context.store, params)
    if isinstance(params.pretrained, str):  # a model of the registry
        network_of_model, _ = load(context, context.spec.models[params.pretrained])
        adopt_weights(network, network_of_model)
    return network


def given_model(context: StageContext) -> ModelSpec:
    """The model to mask and finetune: the one that the job was given, else the ERM model that it trained."""
    return context.spec.models[context.spec.model or context.spec.model_ids[Arm.ERM]]


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
    stage: Literal[Stage.ERM, Stage.FINETUNE, Stage.CONTROL],
    checkpoints: Path,
    erm_id: str | None = None,
) -> TrainingResult:
    """Publish the model and the checkpoints it came from; return the stage's result."""
    artifact, arm, params = context.key(stage), _ARM_OF[stage], context.params.to_json()
    model = publish_model(context, network, arm=arm, erm_id=erm_id, params=params)
    with context.artifacts.writing(artifact) as folder:
        copy_files(checkpoints, folder)
    seconds = sum(record.seconds for record in fitted.history)
    images = sum(record.images for record in fitted.history)
    whole = not context.params.freeze_backbone  # else it would leave out the features, which take the time
    return TrainingResult(
        stage=stage,
        artifact=artifact,
        model=model,
        epoch=fitted.epoch,
        weights=fitted.digest,
        seconds=round(seconds, 3) if whole else None,
        images_per_second=round(images / seconds, 1) if whole and seconds else None,
    )


def publish_model(
    context: StageContext,
    network: Network,
    *,
    arm: Arm,
    erm_id: str | None,
    params: Mapping[str, object],
) -> ModelSpec:
    """The model under the id that the job reserved for this arm.

    The backbone is written too, unless a model that the job reads, and so protects, has the same.
    """
    model_id = context.spec.model_ids[arm]
    key, store = f"models/{model_id}", context.store
    card = card_of(
        network,
        store.classes,
        cast(CardArm, arm.value),  # never `baseline`
        params,
        grey_window=store.info.grey_window,
    )
    own_backbone, digest = f"backbones/{model_id}", shareable_digest(network)
    known_backbones = {
        model.backbone_digest: model.backbone_artifact for model in context.spec.models.values()
    }
    backbone_key = None if digest is None else known_backbones.get(digest, own_backbone)
    if backbone_key == own_backbone:
        with context.artifacts.writing(own_backbone) as folder:
            save_backbone(network, folder)
    with context.artifacts.writing(key) as folder:
        save_model(network, card, folder, with_backbone=backbone_key is None)
    return ModelSpec(
        id=model_id,
        arm=arm,
        artifact=key,
        erm_id=erm_id,
        job_id=context.spec.job_id,
        classes=card.classes,
        backbone=card.backbone,
        image_size=card.image_size,
        backbone_artifact=backbone_key,
        backbone_digest=digest,
    )
