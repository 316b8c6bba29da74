"""The window through which the 16-bit grey images of an import are seen: chosen, read or measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.data.formats.lists.side_files import WINDOW_FILE
from models.data.grey import LEVELS, TAIL, GreyWindow, WindowChoice, histogram, middle_window, window_of
from models.data.images.checks import grey_levels
from models.data.images.limits import ImageLimits
from models.data.importing.accepted_images import AcceptedImages
from models.data.importing.sources import Source
from models.data.report import ImportStopped
from models.data.splits import NO_SPLIT
from models.runtime.ordered import in_order

_WINDOW_IMAGES = 1000  # training images, evenly spaced, that the window of 16-bit ones is measured on


def choose_window(
    source: Source,
    accepted: AcceptedImages,
    splits: Sequence[str],
    *,
    chosen: GreyWindow | None,
    measure: Callable[[Sequence[int]], GreyWindow],
) -> WindowChoice | None:
    """The window of the 16-bit grey images: as the owner or a file beside a list says, else as the headers of
    those in `train` (without labels: of all) do, else measured on them. None if there are no such images."""
    if not any(image.grey_16 for image in accepted.images):
        return chosen and WindowChoice(None, "the window that you chose changes nothing")
    if chosen:
        return WindowChoice(chosen, "as you chose")
    if source.manifest.grey_window:
        return WindowChoice(source.manifest.grey_window, f"as {WINDOW_FILE} says")
    measured_on, where = ("train", "in train") if source.manifest.labelled else (NO_SPLIT, "of the set")
    measured = {
        number: image
        for number, image, split in zip(accepted.numbers, accepted.images, splits, strict=True)
        if image.grey_16 and split == measured_on
    }
    if not measured:
        return WindowChoice(
            None, "none of them is in train, where a window would be measured: their upper 8 bits are used"
        )
    if windows := [image.window for image in measured.values() if image.window]:
        reason = f"the median of the windows in the headers of {len(windows)} images {where}"
        return WindowChoice(middle_window(windows), reason)
    return WindowChoice(
        measure(list(measured)), f"{TAIL:.1%} of the pixels {where} lie below at most, and as many above"
    )


def measure_window(
    source: Source,
    numbers: Sequence[int],
    *,
    limits: ImageLimits,
    threads: int,
    should_stop: Callable[[], bool],
) -> GreyWindow:
    """The window of these images, at least one. Raises `ImportStopped`."""
    some = np.array(numbers)[:: -(-len(numbers) // _WINDOW_IMAGES)].tolist()

    def count(number: int) -> NDArray[np.int64]:
        return histogram(grey_levels(source.encoded(number), limits))

    counts = np.zeros(LEVELS, dtype=np.int64)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="window")
    try:
        works = (partial(count, number) for number in some)
        for of_image in in_order(pool, works, ahead=4 * threads):  # few in memory at any time
            if should_stop():
                raise ImportStopped
            counts += of_image
    finally:
        pool.shutdown(cancel_futures=True)
    return window_of(counts)
