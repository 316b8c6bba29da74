"""Mask: threshold the model's saliency map of every training image.

The images are passed over in shards, which are joined at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.report.report import MaskSummary
from masktune.contract.report.text.notes import empty_masks
from models.backbones.network import Network
from models.data.loading.batched_eval import evaluating
from models.data.loading.loaders import map_settings
from models.data.loading.shards import ShardLoader, process_shards
from models.masking.compute import header_of, mask_batches, summarize
from models.masking.store import MaskSet, fill_mask_set
from models.run import OnProgress
from models.sigmas import fix_sigmas
from worker.context import StageContext
from worker.networks.passes import cut, identity_of
from worker.networks.training import config_for, given_model, load
from worker.passes.shards import Arguments
from worker.results import MaskResult


def mask(context: StageContext) -> MaskResult:
    """Compute and publish the mask set of the training split in one pass."""
    network, card = load(context, given_model(context))
    config, choice = fix_sigmas(network, context.store, config_for(context, card), context.run)
    if choice is not None:
        context.log(f"masks above mean + {choice.sigmas:g} standard deviations: {choice.reason}")
    sharded, artifact = MaskPass(context, network, config), context.key(context.stage)
    started = time.monotonic()
    counts = context.compute_shards(sharded, context.on_progress)
    with context.artifacts.writing(artifact) as folder:
        sharded.join(folder)
        summary = summarize(
            MaskSet.open(folder),
            seconds=time.monotonic() - started,
            images_per_second=counts.images_per_second,
        )
    context.artifacts.delete(context.key_of(sharded))
    if empty := empty_masks(MaskSummary.model_validate(summary)):
        context.log(empty)
    return MaskResult(
        artifact=artifact,
        summary=summary,
        sigmas=choice,
        images_per_second=summary.images_per_second,
    )


class MaskPass:
    """The pass that masks the training split; each shard is a mask set.

    `config` has a number for sigmas.
    """

    name = title = "masks"

    def __init__(self, context: StageContext, network: Network, config: Hyperparameters) -> None:
        self._context, self._network, self._settings = context, network, map_settings(config)
        self._masking = masking = config.masking
        self.shards = cut(context.store.rows("train"), batch_size=self._settings.batch_size)
        self.sizes: Sequence[int] = list(map(len, self.shards))
        self.arguments: Arguments | None = {"sigmas": str(masking.fixed_sigmas)}
        rule = masking.method, masking.target, masking.fixed_sigmas, masking.share
        identity = identity_of(network, context.store.digest, self._settings, rule, context.seed)
        self.key = f"masks-{identity}"

    @cached_property
    def _loader(self) -> ShardLoader:
        return ShardLoader(self._context.store, self.shards, self._settings, self._context.run)

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        """As in `ShardedPass`."""
        run = replace(self._context.run, on_progress=on_progress)
        process = partial(
            mask_batches,
            self._network,
            config=self._masking,
            device=run.device,
            largest=self._loader.largest_batch,
        )
        with evaluating(self._network):
            for number, batches in process_shards(self._loader, numbers, run, process):
                header = header_of(self._masking, run.seed, batches[0], images=self.sizes[number])
                yield number, partial(fill_mask_set, header=header, batches=[masks for _, masks in batches])

    def join(self, folder: Path) -> None:
        """Write the set of all shards, which are there, into the empty `folder`."""
        header = replace(self._shard(0).header, images=sum(self.sizes))
        shards = map(self._shard, range(len(self.sizes)))
        fill_mask_set(folder, header, (shard.records(shard.rows) for shard in shards))

    def _shard(self, number: int) -> MaskSet:
        return MaskSet.open(self._context.artifacts.folder(self._context.key_of(self, number)))


def rebuilt(context: StageContext, arguments: Arguments) -> MaskPass:
    """The pass of the job; its own child has measured `sigmas`."""
    network, card = load(context, given_model(context))
    config, sigmas = config_for(context, card), float(str(arguments["sigmas"]))
    return MaskPass(context, network, replace(config, masking=config.masking.with_chosen(sigmas)))
