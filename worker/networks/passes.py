"""Passes of one network over a split, in shards: its logits, the last layer's inputs, and its early stages.

The axes of early stages are fitted to the first of the shuffled rows, which are passed over first. Axes and
coordinates of these rows are an artifact of their own in the job's work folder; the pass over the other rows
takes the axes from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Crop
from models.backbones.network import Network
from models.data.loading.batched_eval import batch_threads, evaluating
from models.data.loading.batches import Batch, plan
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.shards import ShardLoader, map_shards
from models.mitigation.stage_features import (
    Axes,
    Vectors,
    axes_file,
    fitting_split,
    load_axes,
    load_stages,
    principal_coordinates,
    save_axes,
    stage_passes,
)
from models.mitigation.stages import early_stages
from models.run import OnProgress, Progress, Run
from models.training.checkpoints import tensors_digest
from models.types import Labels
from worker.context import StageContext
from worker.networks.training import load, untrained_network
from worker.passes.shards import SHARD_IMAGES, Arguments

_SMALL, _SMALL_BATCH, _LARGE_BATCH = 64, 256, 32
"""Images of up to 64 px are evaluated 256 at a time, larger ones 32."""
_PART = "part.npz"
UNTRAINED = "untrained"

Columns = Mapping[str, NDArray[np.float32 | np.float16]]
"""By name, (N, …): `values`, `logits`, and of each early stage `pooled-N` or the coordinates `early-N`."""
Output = Literal["logits", "values", "pooled", "early"]
_TITLES: Mapping[Output, str] = {
    "logits": "logits",
    "values": "features",
    "pooled": "early stages, to fit their axes,",
    "early": "early stages",
}


def evaluation_settings(network: Network, crop: Crop = "none") -> LoaderSettings:
    """How the images of an evaluation are batched; `crop` is for saliency only."""
    size = network.spec.image_size
    return LoaderSettings(size, _SMALL_BATCH if size <= _SMALL else _LARGE_BATCH, crop=crop)


def cut(rows: Labels, *, batch_size: int = 1) -> list[Labels]:
    """The shards of these rows, of whole batches of this size.
    A last one of a single row is added to the one before it, as in batches."""
    images = max(1, SHARD_IMAGES // batch_size) * batch_size
    return [part.numpy() for part in plan(torch.from_numpy(rows), images)]


def identity_of(network: Network, *inputs: object) -> str:
    """A digest of the network and of what else decides the bytes of a pass."""
    text = " ".join(map(str, (network.spec, tensors_digest(network.model.state_dict()), *inputs)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class NetworkPass:
    """A pass of a network over a split, or over a part of it; `output` says what of it.

    `model` is the id of the registry's model that the network is, or `UNTRAINED` for the one that the job's
    training starts from; None if no other process can have it. `axes` is the key of an artifact with those of
    early stages; without it, they are fitted to the split.
    """

    name = "network"

    def __init__(
        self,
        context: StageContext,
        network: Network,
        output: Output,
        *,
        split: str,
        model: str | None,
        axes: str | None = None,
    ) -> None:
        self._context, self._network, self._output = context, network.to(context.run.device), output
        self._settings = evaluation_settings(network)
        rows = context.store.rows(split)
        if output in ("pooled", "early") and axes is None:
            first, others = fitting_split(network, rows, self._settings.batch_size)
            rows = first if output == "pooled" else others
        self.shards = cut(rows)
        self.sizes: Sequence[int] = list(map(len, self.shards))
        self.title = f"{_TITLES[output]} of {split}"
        # A part of the data set is in the memory of this process alone.
        whole = context.images is None
        self.arguments: Arguments | None = (
            {"output": output, "split": split, "model": model, "axes": axes} if whole and model else None
        )
        identity = identity_of(network, context.store.digest, split)
        self.key = f"{output}-{identity}"
        self.axes_key = axes or f"{context.workspace.key}/axes-{identity}"

    @cached_property
    def loader(self) -> ShardLoader:
        return ShardLoader(self._context.store, self.shards, self._settings, self._context.run)

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        """As in `ShardedPass`. Raises HeadError as `compute_features` does."""
        run = replace(self._context.run, on_progress=on_progress)
        with self._reading() as read:
            for number, batches in map_shards(self.loader, numbers, run, read):
                columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
                yield number, partial(_write_part, columns=columns)

    def columns(self, number: int) -> Columns:
        """Those of a shard that is there."""
        with np.load(self._context.artifacts.file(self._context.key_of(self, number), _PART)) as part:
            return dict(part)

    def parts(self) -> Iterator[tuple[Labels, Columns]]:
        """Rows and columns of each shard; all are there."""
        for number, rows in enumerate(self.shards):
            yield rows, self.columns(number)

    @contextmanager
    def _reading(self) -> Iterator[Callable[[Batch], Columns]]:
        """What is kept of a batch: a function to call inside the block."""
        if self._output == "logits":
            with evaluating(self._network):
                yield self._logits
            return
        stages = () if self._output == "values" else early_stages(self._network)
        axes: Sequence[Axes] = ()
        if self._output == "early":  # a helper needs no more than these files
            files = (self._context.artifacts.file(self.axes_key, axes_file(n)) for n in range(len(stages)))
            axes = tuple(map(Axes.load, files))
        with stage_passes(self._network, stages) as forward:

            def read(batch: Batch) -> Columns:
                (_, _, values, _), pooled = forward(batch)
                if axes:
                    pooled = [one.coordinates(part) for one, part in zip(axes, pooled, strict=True)]
                columns = {f"{self._output}-{n}": part.numpy() for n, part in enumerate(pooled)}
                return columns | {"values": values.numpy()}

            yield read

    def _logits(self, batch: Batch) -> Columns:
        with torch.inference_mode():
            return {"logits": self._network(batch.images).float().cpu().numpy()}

    def vectors(self) -> Iterator[Vectors]:
        """Of a pass that keeps `pooled`, those of each batch, as they came from the network."""
        names = [f"pooled-{n}" for n in range(len(early_stages(self._network)))]
        for number in range(len(self.shards)):
            columns, sizes = self.columns(number), list(map(len, self.loader.positions(number)))
            pooled = [torch.from_numpy(columns[name]) for name in names]
            for batch in zip(*(torch.split(stage, sizes) for stage in pooled), strict=True):
                yield [part.clone() for part in batch]  # aligned as it was, on which sums depend


def rebuilt(context: StageContext, arguments: Arguments) -> NetworkPass:
    """The pass with these `arguments`."""
    model = arguments["model"] or UNTRAINED
    network = (
        untrained_network(context) if model == UNTRAINED else load(context, context.spec.models[model])[0]
    )
    output = cast(Output, arguments["output"])
    split, axes = arguments["split"] or "", arguments["axes"]
    return NetworkPass(context, network, output, split=split, model=model, axes=axes)


def write_columns(
    folder: Path, parts: Iterable[tuple[Labels, Columns]], rows: Labels, names: Container[str]
) -> None:
    """Write `NAME.npy`, (N, …) in ascending order of `rows` (N,), for each of these columns of the parts, one
    part in memory at a time."""
    ordered, files = np.sort(rows), dict[str, NDArray[np.float32 | np.float16]]()
    for of_part, columns in parts:
        places = np.searchsorted(ordered, of_part)
        for name in filter(names.__contains__, columns):
            column = columns[name]
            if name not in files:
                shape = (len(rows), *column.shape[1:])
                files[name] = open_memmap(folder / f"{name}.npy", "w+", column.dtype, shape)
            files[name][places] = column


def save_training_split(
    context: StageContext, network: Network, run: Run, folder: Path, *, model: str | None
) -> None:
    """Pass over the training split; write `values.npy` and what `StageFeatures.load` reads."""
    first, others = (
        NetworkPass(context, network, output, split="train", model=model) for output in ("pooled", "early")
    )
    before, rows = sum(first.sizes), context.store.rows("train")
    context.compute_shards(first, _part_of(run, 0, len(rows)))
    fitted = _fitted_axes(context, network, first)
    context.compute_shards(others, _part_of(run, before, len(rows)))
    stages = load_stages(fitted)
    early = {f"early-{n}": np.load(fitted / f"early-{n}.npy") for n in range(len(stages))}
    parts = chain(first.parts(), [(np.sort(np.concatenate(first.shards)), early)], others.parts())
    write_columns(folder, parts, rows, {"values", *early})
    save_axes(folder, stages, load_axes(fitted, len(stages)))
    for sharded in (first, others):
        context.artifacts.delete(context.key_of(sharded))


def _fitted_axes(context: StageContext, network: Network, first: NetworkPass) -> Path:
    """The folder with the axes that are fitted to the first rows, and their coordinates."""
    if not context.artifacts.exists(first.axes_key):
        stages, rows = early_stages(network), np.concatenate(first.shards)
        with (
            context.artifacts.writing(first.axes_key) as folder,
            batch_threads(context.run.device, first.loader.largest_batch),
        ):
            axes, batches = principal_coordinates(first.vectors()) if stages else ((), iter(()))
            early = {
                f"early-{n}": torch.cat(part).numpy() for n, part in enumerate(zip(*batches, strict=True))
            }
            write_columns(folder, [(rows, early)], rows, early)
            save_axes(folder, stages, axes)
    return context.artifacts.folder(first.axes_key)


def _part_of(run: Run, before: int, images: int) -> OnProgress:
    """Reports a pass over some of so many images, of which others came `before`."""

    def report(progress: Progress) -> None:
        run.on_progress(progress._replace(step=before + progress.step, steps=max(1, images)))

    return report


def _write_part(folder: Path, columns: Columns) -> None:
    np.savez(folder / _PART, **columns)  # type: ignore[arg-type]  # no column is named `allow_pickle`
