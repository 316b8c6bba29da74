"""An import's pass over the images in shards of its manifest, each checked and packed apart from the others.

A shard is a folder, the same byte for byte whoever computes it, with whichever others. Does not import torch.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from models.data.formats.entries import Entries
from models.data.images.checks import CheckedImage
from models.data.images.limits import ImageLimits
from models.data.importing.bounded_checks import check_budget, check_in_order, task_size
from models.data.importing.parts import (
    FACTS,
    FACTS_FILE,
    HEADERS,
    IMAGES,
    IMAGES_FILE,
    LISTS_FILE,
    REJECTED,
    ShardFolder,
)
from models.data.importing.sources import Source
from models.data.layout import PIXELS_FILE
from models.data.packing import ArrowRows, PixelFile
from models.data.report import ImportStopped, Rejection
from models.run import OnProgress, Progress

SHARD_ENTRIES = 512


class ImportPass:
    """Checks and packs the entries of a manifest, as a `worker.passes.shards.ShardedPass`.
    `sizes` are the entries of each shard. Passes with the same `key` have the same shards: of the same paths,
    in order, within the same limits. Where `arguments` is not None, other hosts can open the source too, and
    fetch images of single shards."""

    name = "import"
    title = "the check of images"

    def __init__(
        self, source: Source, limits: ImageLimits, threads: int, should_stop: Callable[[], bool]
    ) -> None:
        entries = Entries.of(source.manifest.entries)
        self._source, self._limits, self._threads = source, limits, threads
        self._should_stop = should_stop
        self._shards = [
            range(first, min(first + SHARD_ENTRIES, len(entries)))
            for first in range(0, len(entries), SHARD_ENTRIES)
        ]
        self.sizes: Sequence[int] = list(map(len, self._shards))
        self.arguments: dict[str, str | None] | None = {} if source.remote else None
        digest = hashlib.sha256(repr(limits).encode())
        digest.update(entries.paths)
        digest.update(entries.ends.data)
        self.key = f"shards-{digest.hexdigest()[:16]}"

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        """Yield the number of each of these shards, in order, and what writes its files into a folder.

        Images are checked ahead, so `numbers` is consumed ahead. Progress counts images. Raises
        ImportStopped.
        """
        images_of_all, done = sum(self.sizes), 0
        begun, checked = deque[int](), list[CheckedImage | Rejection]()
        size = task_size(sum(self.sizes), self._threads)

        def tasks() -> Iterator[range]:
            for number in numbers:
                images = self._shards[number]
                self._source.fetch(images)
                begun.append(number)
                yield from (images[at : at + size] for at in range(0, len(images), size))

        for outcomes in check_in_order(self._source, tasks(), self._threads, check_budget(self._limits)):
            for outcome in outcomes:
                checked.append(outcome)
                done += 1
                if self._should_stop():
                    raise ImportStopped
                on_progress(Progress(0, 1, done, images_of_all, 0.0))
            images = self._shards[begun[0]]
            if len(checked) == len(images):
                yield begun.popleft(), partial(self._write, images, checked)
                self._source.release(images)
                checked = []

    def _write(self, images: range, checked: Sequence[CheckedImage | Rejection], folder: Path) -> None:
        facts, headers, rejected = list[tuple[object, ...]](), list[tuple[object, ...]](), list[Rejection]()
        pixels, rows = PixelFile(folder / PIXELS_FILE), ArrowRows(folder / IMAGES_FILE, IMAGES)
        for number, image in zip(images, checked, strict=True):
            if isinstance(image, Rejection):
                rejected.append(image)
                continue
            encoded = self._source.encoded(number)
            rows.add((hashlib.sha256(encoded).digest(), encoded), len(encoded))
            pixels.add(image.pixels)
            if image.device:
                headers.append((len(facts), image.subject, image.window, image.device))
            facts.append(
                (number, image.width, image.height, image.type, image.grey_16, image.sha256, image.pixel_hash)
            )
        rows.close()
        pixels.complete(len(facts))
        np.save(folder / FACTS_FILE, np.array(facts, FACTS), allow_pickle=False)
        lists = {REJECTED: rejected, HEADERS: headers}
        (folder / LISTS_FILE).write_text(json.dumps(lists), encoding="utf-8")


def compute_below(folder: Path, sharded: ImportPass, on_progress: OnProgress) -> ShardFolder:
    """Compute all shards here, in folders below the new `folder`."""

    def folder_of(number: int) -> Path:
        return folder / f"{number:06}"

    for number, write in sharded.compute(range(len(sharded.sizes)), on_progress):
        folder_of(number).mkdir(parents=True)
        write(folder_of(number))
    return folder_of
