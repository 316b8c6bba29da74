"""The masking stage: one forward pass over the training set that stores its masks; and what networks
answer and where they look, on many images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from models.backbones.network import Network
from models.data.loading.batched_eval import evaluating, map_batches, side_by_side, with_progress
from models.data.loading.batches import Batch, Loader
from models.data.loading.loaders import map_loader
from models.data.store import Store
from models.masking.rule import count_masked, heights, masks_of, seed_of_set, thresholds
from models.masking.store import MaskBatch, MaskSet, MaskSetError, MaskSetHeader, write_mask_set
from models.masking.summaries import MaskSetSummary
from models.run import Run
from models.runtime.ordered import in_order
from models.saliency import (
    DEFAULT_METHOD,
    Saliency,
    activation_of,
    is_light,
    saliency,
    saliency_of_activation,
)
from models.types import Floats, Labels, Maps, Size

T = TypeVar("T")

_IN_FLIGHT = 2  # batches in flight: a GPU then has its next one before it finishes the last
RANDOM = "random"
"""The ablation among the masking methods: as many pixels as the saliency rule, at random places."""


def load_or_compute_masks(
    network: Network, store: Store, config: Hyperparameters, run: Run, *, folder: Path, iteration: int = 0
) -> MaskSet:
    """Compute the mask set of the training split, or open the one that `folder` already holds.

    A new folder appears only when complete. Raises MaskSetError if the set was made with other options.
    """
    if not folder.exists():
        loader = map_loader(store, config, run)
        compute_mask_set(network, loader, config.masking, run, folder=folder, iteration=iteration)
    mask_set = MaskSet.open(folder)
    _check_options(mask_set.header, store, config, run, iteration=iteration)
    return mask_set


def _check_options(
    header: MaskSetHeader, store: Store, config: Hyperparameters, run: Run, *, iteration: int
) -> None:
    masking, side = config.masking, config.image_size
    expected: dict[str, object] = {
        **{name: getattr(masking, name) for name in ("method", "target", "sigmas", "share", "crop")},
        "size": (side, side),
        "images": len(store.rows("train")),
        "seed": seed_of_set(run.seed, iteration),
    }
    differing = ", ".join(name for name, option in expected.items() if getattr(header, name) != option)
    if differing:
        raise MaskSetError(f"the masks here were made with a different {differing}: use a new folder")


def compute_mask_set(
    network: Network,
    loader: Loader,
    config: MaskingConfig,
    run: Run,
    *,
    folder: Path,
    iteration: int = 0,
) -> MaskSetSummary:
    """Stream the masks of all images in `loader` into the new `folder`, which appears only when complete.

    With method `random`, the counts are xgradcam's and the places are random, different for each
    `iteration`. Raises UnknownMethod, Stopped, FileExistsError.
    """
    start = time.perf_counter()
    with evaluating(network):
        batches = with_progress(loader, run, lambda each: mask_batches(network, each, config, run.device))
        first = next(batches, None)
        if first is None:
            raise ValueError("there is no image to mask")
        header = header_of(config, seed_of_set(run.seed, iteration), first, images=loader.images)
        write_mask_set(folder, header, (masks for _, masks in chain([first], batches)))
    seconds, mask_set = time.perf_counter() - start, MaskSet.open(folder)
    return summarize(mask_set, seconds=seconds, images_per_second=len(mask_set) / seconds)


def summarize(mask_set: MaskSet, *, seconds: float, images_per_second: float | None) -> MaskSetSummary:
    return MaskSetSummary(
        images=len(mask_set),
        masked_share=mask_set.masked_share,
        nothing_masked=mask_set.nothing_masked,
        non_finite=mask_set.non_finite,
        seconds=seconds,
        images_per_second=images_per_second,
    )


def header_of(
    config: MaskingConfig, seed: int, first: tuple[Size, MaskBatch], *, images: int
) -> MaskSetHeader:
    """Of a set of so many images, whose `first` batch is this one of `mask_batches`."""
    size, masks = first
    height, width = masks.maps.shape[1:]
    return MaskSetHeader(
        method=config.method,
        target=config.target,
        sigmas=config.fixed_sigmas,
        share=config.share,
        size=size,
        map_size=(height, width),
        seed=seed,
        images=images,
        crop=config.crop,
    )


def mask_batches(
    network: Network,
    batches: Iterator[Batch],
    config: MaskingConfig,
    device: torch.device,
    *,
    largest: int | None = None,
) -> Iterator[tuple[Size, MaskBatch]]:
    """The image size and the masks of each batch, on the CPU, in order; `largest` as in `side_by_side`."""

    def start_batch(batch: Batch) -> Callable[[], tuple[Size, MaskBatch]]:
        return partial(_finish_batch, batch, _start_maps(network, batch, config), config)

    if device.type == "cpu":
        return side_by_side(batches, device, lambda batch: start_batch(batch)(), largest=largest)
    return _prefetch(map(start_batch, batches))


def _prefetch(works: Iterator[Callable[[], T]]) -> Iterator[T]:
    """Wait for the GPU's results in a thread, while the GPU is given its next batches."""
    with ThreadPoolExecutor(1, "masks") as worker:
        yield from in_order(worker, works, ahead=_IN_FLIGHT)


def _start_maps(network: Network, batch: Batch, config: MaskingConfig) -> Callable[[], Saliency]:
    """Run the backbone and return the work that remains for the maps; heavy heads and methods run here."""
    method, target = method_of(config), target_of(config, batch)
    if is_light(network, method):
        activation = activation_of(network, batch.images)
        return partial(saliency_of_activation, network, activation, method=method, target=target)
    maps = saliency(network, batch.images, method=method, target=target)
    return lambda: maps


def method_of(config: MaskingConfig) -> str:
    """The saliency method to run. `random` has no maps of its own, and uses the default's pixel counts."""
    return DEFAULT_METHOD if config.method == RANDOM else config.method


def target_of(config: MaskingConfig, batch: Batch) -> Tensor | Literal["predicted"]:
    """The classes (B,) that the maps explain."""
    return batch.labels if config.target == "label" else "predicted"


def _finish_batch(
    batch: Batch, explain: Callable[[], Saliency], config: MaskingConfig
) -> tuple[Size, MaskBatch]:
    """1. maps  2. their heights at the image's size  3. the threshold  4. how many pixels it masks."""
    height, width = batch.images.shape[-2:]
    explained = explain()
    with torch.inference_mode():
        raised = heights(explained.maps, (height, width))
        bounds = thresholds(raised, sigmas=config.fixed_sigmas, share=config.share)
        counts = count_masked(raised, bounds).to(torch.int32)
        columns = batch.rows, explained.maps, bounds, counts, explained.targets
        return (height, width), MaskBatch(*(column.cpu() for column in columns))


class PredictionMaps(NamedTuple):
    """One network's answers for N images: predicted classes (N,), −1 if a logit is not finite, and their
    probabilities (N,).

    `maps` (N, h, w) explain the class that the masks explain. `masked` (N,) is the share of pixels, 0..1, in
    the mask that training would make of the map. `rows` (N,) are those of the store.
    """

    rows: Labels
    predicted: Labels
    probabilities: Floats
    maps: Maps
    masked: Floats

    def at(self, rows: Labels) -> PredictionMaps:
        """Those of these rows; both ascend."""
        at = np.searchsorted(self.rows, rows)
        return PredictionMaps(
            rows, self.predicted[at], self.probabilities[at], self.maps[at], self.masked[at]
        )


def predict_with_maps(
    networks: Sequence[Network], loader: Loader, config: MaskingConfig, run: Run
) -> list[PredictionMaps]:
    """Run networks that differ in their last layers alone over the images, with one pass of the backbone.

    In evaluation mode. Raises Stopped.
    """

    def answer(batch: Batch) -> list[tuple[Tensor, ...]]:
        activation = activation_of(networks[0], batch.images)
        return [_columns(network, activation, batch, config) for network in networks]

    return columns_of_each(networks, loader, run, answer, PredictionMaps)


def columns_of_each(
    networks: Sequence[Network],
    loader: Loader,
    run: Run,
    answer: Callable[[Batch], Sequence[tuple[Tensor, ...]]],
    columns: Callable[..., T],
) -> list[T]:
    """What `columns` makes of all images' columns, for each network, in evaluation mode: `answer` returns
    those of a batch, a tuple for each network. Raises Stopped."""
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(evaluating(network))
        batches = list(map_batches(loader, run, answer))
    return [
        columns(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))
        for parts in zip(*batches, strict=True)
    ]


def _columns(network: Network, activation: Tensor, batch: Batch, config: MaskingConfig) -> tuple[Tensor, ...]:
    """Fields of `PredictionMaps`, in order."""
    method, target = method_of(config), target_of(config, batch)
    maps, logits, _ = saliency_of_activation(
        network, activation, method=method, target=target, images=batch.images
    )
    predicted = predicted_classes(logits)
    probabilities = logits.float().softmax(1).amax(1).double()
    size = (batch.images.shape[2], batch.images.shape[3])
    masks = masks_of(maps, size, sigmas=config.fixed_sigmas, share=config.share)
    columns = batch.rows, predicted, probabilities, maps, masks.float().mean((1, 2)).double()
    return tuple(column.cpu() for column in columns)


def predicted_classes(logits: Tensor) -> Tensor:
    """(B, K) → (B,); −1, which is never right, if a logit is not finite, as in `metrics.Logits`."""
    return logits.argmax(1).where(logits.isfinite().all(1), -1)
