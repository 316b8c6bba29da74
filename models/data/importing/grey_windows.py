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
from models.data.report import ImportStopped
from models.data.splits import NO_SPLIT
from models.runtime.ordered import in_order

_WINDOW_IMAGES = 1000  # training images, evenly spaced, that the window of 16-bit ones is measured on


def choose_window(
    accepted: AcceptedImages,
    splits: Sequence[str],
    *,
    chosen: GreyWindow | None,
    measure: Callable[[Sequence[int]], GreyWindow],
) -> WindowChoice | None:
    """The window of the 16-bit grey images: as the owner or a file beside a list says, else as the headers of
    those in `train` (without labels: of all) do, else measured on them: `measure` is called with their rows.
    None if there are no such images."""
    if not accepted.facts["grey_16"].any():
        return chosen and WindowChoice(None, "the window that you chose changes nothing")
    if chosen:
        return WindowChoice(chosen, "as you chose")
    manifest = accepted.manifest
    if manifest.grey_window:
        return WindowChoice(manifest.grey_window, f"as {WINDOW_FILE} says")
    measured_on, where = ("train", "in train") if manifest.labelled else (NO_SPLIT, "of the set")
    sixteen = np.flatnonzero(accepted.facts["grey_16"]).tolist()
    measured = [row for row in sixteen if splits[row] == measured_on]
    if not measured:
        return WindowChoice(
            None, "none of them is in train, where a window would be measured: their upper 8 bits are used"
        )
    headers = [accepted.headers[row] for row in measured if row in accepted.headers]
    if windows := [header.window for header in headers if header.window]:
        reason = f"the median of the windows in the headers of {len(windows)} images {where}"
        return WindowChoice(middle_window(windows), reason)
    return WindowChoice(
        measure(measured), f"{TAIL:.1%} of the pixels {where} lie below at most, and as many above"
    )


def measure_window(
    image: Callable[[int], bytes],
    rows: Sequence[int],
    *,
    limits: ImageLimits,
    threads: int,
    should_stop: Callable[[], bool],
) -> GreyWindow:
    """The window of these rows, at least one, whose files `image` returns. Raises `ImportStopped`."""
    some = np.array(rows)[:: -(-len(rows) // _WINDOW_IMAGES)].tolist()

    def count(row: int) -> NDArray[np.int64]:
        return histogram(grey_levels(image(row), limits))

    counts = np.zeros(LEVELS, dtype=np.int64)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="window")
    try:
        works = (partial(count, row) for row in some)
        for of_image in in_order(pool, works, ahead=4 * threads):  # few in memory at any time
            if should_stop():
                raise ImportStopped
            counts += of_image
    finally:
        pool.shutdown(cancel_futures=True)
    return window_of(counts)
