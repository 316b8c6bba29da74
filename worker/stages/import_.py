"""Import: turn an upload, a builtin data set or an address into a packed store, and report on every file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from masktune.contract.hyperparameters import DatasetFormat
from masktune.contract.job_params import ImportParams
from models.data.archives import ArchiveLimits
from models.data.formats import FormatOptions
from models.data.grey import read_window
from models.data.images.limits import ImageLimits
from models.data.importing.builtin import BuiltinOptions
from models.data.importing.datasets import ImportOptions, import_dataset, open_pass
from models.data.importing.parts import ShardFolder
from models.data.importing.shards import ImportPass
from models.data.report import ImportReport, ImportStopped
from models.data.store import Store
from models.run import OnProgress, Progress
from models.shortcuts.check import find_shortcuts
from models.shortcuts.properties import MAX_IMAGES
from worker.context import StageContext
from worker.import_sources import DATASET, is_unlabelled, source_of
from worker.protocol import DatasetSpec
from worker.results import ImportResult, Json

_PLAIN_OPTIONS = ("target", "group", "label", "path", "subject", "new_splits", "split")


def import_(context: StageContext) -> ImportResult:
    """Import the job's data set; `ready` says whether it can be used.
    The artifact holds its full report."""
    dataset = context.spec.dataset
    assert dataset is not None
    target, artifact = context.workspace.path / "store", f"datasets/{dataset.id}"
    started = time.monotonic()
    stored = 0  # steps until the store is packed, two per image

    def on_stored(progress: Progress) -> None:
        nonlocal stored
        stored = progress.steps
        rate = progress.step / 2 / max(time.monotonic() - started, 1e-9)
        steps = stored + _search_steps(stored)
        context.progress(progress.step, steps, rate, checkpoint=progress.checkpoint)

    def compute(sharded: ImportPass, on_progress: OnProgress) -> ShardFolder:
        context.compute_shards(sharded, on_progress)
        return lambda number: context.artifacts.folder(context.key_of(sharded, number))

    def on_searched(done: int, images: int) -> None:
        if context.should_stop():
            raise ImportStopped
        search = _search_steps(stored)
        context.progress(stored + search * done // images, stored + search)

    source = source_of(context, dataset)
    report = import_dataset(
        source.path,
        target,
        _options(context, dataset),
        on_progress=on_stored,
        should_stop=context.should_stop,
        rejected=source.rejected,
        compute=compute,
    )
    summary = _summary(report, target, seed=context.seed, on_progress=on_searched)
    context.artifacts.put(target, artifact)
    if not context.artifacts.local:
        shutil.rmtree(target)
    return ImportResult(
        artifact=artifact,
        ready=report.state == "ready",
        problems=tuple(problem.detail for problem in report.problems),
        classes=report.classes,
        summary=summary,
        images_per_second=round(report.count / max(time.monotonic() - started, 1e-9), 1),
    )


def pass_of_job(context: StageContext) -> ImportPass:
    """The pass of the job, whose source is opened anew, and its lists are read again."""
    dataset, scratch = context.spec.dataset, context.workspace.path / "opened"
    assert dataset is not None
    source, options = source_of(context, dataset), _options(context, dataset)
    return open_pass(source.path, scratch, options, context.should_stop)


def _search_steps(stored: int) -> int:
    """Steps of the search for shortcuts, which costs per image about as much as checking and packing it."""
    return min(2 * MAX_IMAGES, stored)


def _summary(
    report: ImportReport, folder: Path, *, seed: int, on_progress: Callable[[int, int], None]
) -> Json:
    """The report without its lists of files, plus four entries for a usable data set.

    `sizes`, in pixels, is the basis for defaults. `images_digest` tells images apart.
    `metadata_columns` says what they hold. `shortcuts` names
    simple image properties that predict the class, which a network may learn instead of the object; it is
    left out where all images are test images.
    """
    facts = report.summary() | {
        "format": report.format,
        "splits": {name: dict(split) for name, split in report.splits.items()},
        "split_record": dict(report.split_record),
        "groups": list(report.group_names),
    }
    if report.state == "ready":
        store = Store.open(folder)
        longer = store.sizes.max(1)  # (N,)
        facts["sizes"] = {
            "longer_side_median": int(np.median(longer)),
            "longer_side_max": int(longer.max()),
        }
        facts["images_digest"] = store.images_digest
        facts["metadata_columns"] = [column.summary() for column in store.metadata.values()]
        if store.counts["train"]:
            check = find_shortcuts(store, rng=np.random.default_rng(seed), on_progress=on_progress)
            facts["shortcuts"] = asdict(check)
    return facts


def _options(context: StageContext, dataset: DatasetSpec) -> ImportOptions:
    options, settings, seed = context.job_params(ImportParams).options, context.settings, context.seed
    return ImportOptions(
        name=dataset.name,
        format=_format(context, dataset),
        seed=seed,
        threads=context.threads,
        layout=FormatOptions(
            classes=tuple(options["classes"]) if options.get("classes") else None,
            hold_out=tuple(options.get("hold_out", ())),
            **{k: options[k] for k in _PLAIN_OPTIONS if k in options},
        ),
        grey_window=read_window(options.get("grey_window")),
        builtin=BuiltinOptions(
            root=settings.torchvision_root or settings.data_dir.absolute() / "torchvision",
            seed=seed,
            **{k: options[k] for k in ("download", "size", "kind", "ratio", "assignment") if k in options},
        ),
        image=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        archive=ArchiveLimits(
            max_entries=settings.max_archive_entries,
            max_bytes=settings.max_archive_bytes,
            max_ratio=settings.max_archive_ratio,
        ),
    )


def _format(context: StageContext, dataset: DatasetSpec) -> DatasetFormat | None:
    """None is detected; a labelled data set is written as a list."""
    if DATASET in dataset.source and not is_unlabelled(context):
        return DatasetFormat.CSV
    format = context.job_params(ImportParams).format
    return None if format == DatasetFormat.AUTO else DatasetFormat(format)
