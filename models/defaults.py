"""Default hyperparameters for a data set. Does not import torch."""

from __future__ import annotations

from models.config import Hyperparameters, OptimizerConfig

SMALL_SIDE = 64  # pixels; up to here a data set is packed as raw pixels
OWN_BACKBONES = ("small_cnn", "resnet32")
"""Those of `models.backbones_own`, for small images. All others are classifiers of torchvision and timm."""
_LIBRARY_SIDE = 224  # pixels; what those are made and pretrained for. ResNet-18 sees 28 px as one position
_SMALL_CNN_SIDE = 28  # pixels; the paper's side, below which SmallCNN's map gets too coarse
_FEW = 5_000  # images; with fewer, larger batches would leave the one finetune epoch too few steps


def default_hyperparameters(
    image_size: int | None, n_train: int, classes: int, *, backbone: str | None = None
) -> Hyperparameters:
    """For `n_train` images of side `image_size` (pixels; None where they differ) in `classes` classes.

    Up to 64 px: the paper's SmallCNN at the images' own side, but at least 28 px; a library's `backbone`, if
    it is asked for, at 224 px. Otherwise: a ResNet-18 at 224 px with the paper's crop and flip. Never
    pretrained: published weights come from a hub that may be unreachable, and a job should not fail over a
    field that nobody set. If a hub is reachable, request them: on photographs they help more than anything
    else here.
    """
    if n_train < 1 or classes < 2:
        raise ValueError("there must be at least one training image and two classes")
    batch_size = 32 if n_train < _FEW else 128
    if image_size is not None and image_size <= SMALL_SIDE:
        name = backbone or "small_cnn"
        side = max(image_size, _SMALL_CNN_SIDE) if name in OWN_BACKBONES else _LIBRARY_SIDE
        return Hyperparameters(backbone=name, image_size=side, epochs=15, batch_size=batch_size)
    return Hyperparameters(
        backbone=backbone or "resnet18",
        image_size=_LIBRARY_SIDE,
        epochs=30,
        batch_size=batch_size,
        optimizer=OptimizerConfig(learning_rate=0.01),
        augmentation="crop_flip",
    )
