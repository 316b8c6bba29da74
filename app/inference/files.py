"""Networks as files: checks and imports uploaded weights, and exports graphs for other engines."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from core.errors import MasktuneError, StorageFull, StorageNotWritable, storage_fault
from core.process import on_parent_exit
from models.backbones.errors import BackboneError, UnknownBackbone, UnsupportedBackbone
from models.export import ModelError, export_onnx, import_safetensors, load_model, save_model

_EXITS: Mapping[type[MasktuneError] | None, int] = {
    StorageFull: os.EX_CANTCREAT,
    StorageNotWritable: os.EX_NOPERM,
    None: os.EX_TEMPFAIL,
}
"""How an export ends where the disk, and not the network, is to blame; `graph_store` reads them."""
_NICENESS = 10


class Unusable(ValueError):
    """The weights do not fit, or the network cannot be exported. The message says why."""


def take_in(file: Path, folder: Path, *, backbone: str, classes: tuple[str, ...], image_size: int) -> None:
    """Write the model folder for a safetensors file (its name must end in `.safetensors`).

    Raises `Unusable`, or `UnknownBackbone` or `UnsupportedBackbone` if only the backbone is at fault.
    """
    try:
        network, card = import_safetensors(file, backbone=backbone, classes=classes, image_size=image_size)
    except (UnknownBackbone, UnsupportedBackbone):
        raise
    except (BackboneError, ModelError) as error:
        raise Unusable(str(error)) from error
    save_model(network, card, folder)


def main(folder: str, target: str) -> None:
    """Export the model in `folder` to the ONNX file `target`, for `app.inference.engines.graph_store`.

    Runs niced, so that predictions come first, and ends with the process that holds its standard input.
    """
    os.nice(_NICENESS)
    on_parent_exit(lambda: os._exit(1))
    try:
        network, card = load_model(Path(folder))
        export_onnx(network, Path(target), grey_window=card.grey_window)
    except ModelError as error:
        sys.exit(str(error))
    except OSError as error:  # not the network's fault, as below
        sys.exit(_EXITS[storage_fault(error)])
    except MemoryError:
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    main(*sys.argv[1:])
