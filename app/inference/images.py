"""An uploaded image → the square that a network sees, checked as in an import; a map → its mask."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.types import Upload
from masktune.contract.hyperparameters import Fill
from models.data.grey import GreyWindow
from models.data.images.checks import decode_image
from models.data.images.decoding import square_array
from models.data.images.image_types import MEDIA_TYPES, TYPES
from models.data.images.limits import ImageError, ImageLimits
from models.data.report import FileCode
from models.masking.rule import fill_pixels, masks_of

_TYPE_OF_MEDIA = {media: name for name, media in MEDIA_TYPES.items()}


def to_square(
    upload: Upload, size: int, limits: ImageLimits, window: GreyWindow | None = None
) -> NDArray[np.uint8]:
    """Decode to (3, size, size) uint8 RGB, 16-bit grey through the model's `window`.

    Raises `ImageError`, also if the client declares another type.
    """
    picture = decode_image(upload.content, limits, window)
    suffix = PurePosixPath(upload.name or "").suffix.lower()
    for claimed in (TYPES.get(suffix), _TYPE_OF_MEDIA.get(upload.media_type or "")):
        if claimed is not None and claimed != picture.type:
            raise ImageError(
                FileCode.MISLABELLED,
                f"is declared as {claimed} but holds a {picture.type} image: declare it as {picture.type}",
            )
    return square_array(picture.image, size)


def masked_pixels(
    maps: NDArray[np.float32], side: int, *, sigmas: float, share: float | None
) -> NDArray[np.bool_]:
    """Convert raw maps (N, h, w) to masks (N, side, side) by the rule of the mask stage: true for pixels that
    would be masked."""
    return masks_of(torch.from_numpy(maps), (side, side), sigmas=sigmas, share=share).numpy()


def fill_masks(squares: NDArray[np.uint8], masks: NDArray[np.bool_], fill: Fill) -> NDArray[np.uint8]:
    """The images (N, 3, S, S) with the pixels of their masks (N, S, S) replaced, as in a finetune."""
    return fill_pixels(torch.from_numpy(squares), torch.from_numpy(masks), fill).numpy()
