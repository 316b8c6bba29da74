"""Checks and imports uploaded weights."""

from __future__ import annotations

from pathlib import Path

from models.backbones.errors import BackboneError, UnknownBackbone, UnsupportedBackbone
from models.export import ModelError, import_safetensors, save_backbone, save_model, shareable_digest


class Unusable(ValueError):
    """The weights do not fit. The message says why."""


def take_in(
    file: Path,
    folder: Path,
    backbone_folder: Path,
    *,
    backbone: str,
    classes: tuple[str, ...],
    image_size: int,
) -> str | None:
    """Write the model folder for a safetensors file (its name must end in `.safetensors`).

    If its backbone can be shared, write that to `backbone_folder`, and return its digest; else None.
    Raises `Unusable`, or `UnknownBackbone` or `UnsupportedBackbone` if only the backbone is at fault.
    """
    try:
        network, card = import_safetensors(file, backbone=backbone, classes=classes, image_size=image_size)
    except (UnknownBackbone, UnsupportedBackbone):
        raise
    except (BackboneError, ModelError) as error:
        raise Unusable(str(error)) from error
    digest = shareable_digest(network)
    save_model(network, card, folder, with_backbone=digest is None)
    if digest is not None:
        save_backbone(network, backbone_folder)
    return digest
