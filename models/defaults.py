"""Default hyperparameters for a data set. Does not import torch."""

from __future__ import annotations

from math import ceil

from masktune.contract.hyperparameters import FinetuneConfig, Hyperparameters

SMALL_SIDE = 64  # pixels; up to here a data set is packed as raw pixels
OWN_BACKBONES = ("small_cnn", "resnet32")
"""Those of `models.backbones.small`, for small images. All others are classifiers of torchvision and timm."""
PHOTOGRAPHS_BACKBONE = "timm/tf_efficientnet_lite0"
"""Its ImageNet weights come with the service (`models.backbones.weights`)."""
_LIBRARY_SIDE = 224  # pixels; what those are made and pretrained for. ResNet-18 sees 28 px as one position
_SMALL_CNN_SIDE = 28  # pixels; the paper's side, below which SmallCNN's map gets too coarse
_LARGE_BATCH = 128
_PHOTOGRAPHS_EPOCHS = 30
_FEW = 5_000  # images; with fewer, larger batches would leave an epoch too few steps
_FINETUNE_STEPS = 100
"""Fewest steps of a finetune. The paper's one epoch has 375 on Biased MNIST, but 34 on the demo's 1,078
digits, where MaskTune ends between 0.52 and 0.96 (7 seeds); with three epochs, between 0.95 and 0.98."""


def default_hyperparameters(
    image_size: int | None,
    n_train: int,
    classes: int,
    *,
    backbone: str | None = None,
    pretrained: bool | str | None = None,
    freeze_backbone: bool | None = None,
) -> Hyperparameters:
    """For `n_train` images of side `image_size` (pixels; None where they differ) in `classes` classes.

    Up to 64 px: the paper's SmallCNN with random weights, at the images' own side, but at least 28 px. The
    finetune has the paper's one epoch, or as many as make 100 steps, but no more than ERM.
    Otherwise photographs: EfficientNet-Lite0 with its packaged ImageNet weights, frozen, at the images' own
    side up to 224 px. On 2,400 photographs of 128 px that is far better than what a network learns from
    random weights in an hour, and takes a minute. `backbone`, `pretrained` and `freeze_backbone` are what a
    user asks for: a network that is not frozen is trained whole, at 224 px, with the paper's crop and flip.
    """
    if n_train < 1 or classes < 2:
        raise ValueError("there must be at least one training image and two classes")
    batch_size = Hyperparameters.batch_size if n_train < _FEW else _LARGE_BATCH
    if image_size is not None and image_size <= SMALL_SIDE:
        name = backbone or "small_cnn"
        side = max(image_size, _SMALL_CNN_SIDE) if name in OWN_BACKBONES else _LIBRARY_SIDE
        epochs = min(ceil(_FINETUNE_STEPS / ceil(n_train / batch_size)), Hyperparameters.epochs)
        finetune = FinetuneConfig(epochs=epochs)
        return Hyperparameters(backbone=name, image_size=side, batch_size=batch_size, finetune=finetune)
    name = backbone or PHOTOGRAPHS_BACKBONE
    packaged = name in (PHOTOGRAPHS_BACKBONE, PHOTOGRAPHS_BACKBONE.removeprefix("timm/"))
    if pretrained is None:
        pretrained = packaged
    if freeze_backbone is None:
        freeze_backbone = packaged and pretrained is True
    return Hyperparameters(
        backbone=name,
        pretrained=pretrained,
        freeze_backbone=freeze_backbone and pretrained is not False,
        image_size=min(image_size or _LIBRARY_SIDE, _LIBRARY_SIDE) if freeze_backbone else _LIBRARY_SIDE,
        epochs=_PHOTOGRAPHS_EPOCHS,
        batch_size=batch_size,
        augmentation="none" if freeze_backbone else "crop_flip",
    )
