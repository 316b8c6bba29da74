"""Networks as files: a stranger's weights checked and taken in, a graph for other engines written."""

from __future__ import annotations

import sys
from pathlib import Path

from models.backbones import BackboneError
from models.export import ModelError, export_onnx, import_safetensors, load_model, save_model


class Unusable(ValueError):
    """Weights that do not fit, or a network that cannot be exported. The message says why."""


def take_in(file: Path, folder: Path, *, backbone: str, classes: tuple[str, ...], image_size: int) -> None:
    """Write the model folder of somebody's safetensors file (its name must end so). Raises `Unusable`."""
    try:
        network, card = import_safetensors(file, backbone=backbone, classes=classes, image_size=image_size)
    except (BackboneError, ModelError) as error:
        raise Unusable(str(error)) from error
    save_model(network, card, folder)


def main(folder: str, target: str) -> None:
    """Export the model in `folder` to the ONNX file `target`, in a process of its own.

    An export takes seconds and traces Python: in the front it would hold up everybody.
    """
    network, _ = load_model(Path(folder))
    try:
        export_onnx(network, Path(target))
    except ModelError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
