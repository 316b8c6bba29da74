"""Import an archive, a folder or a builtin data set into a packed store; a report names what was left out.

The archive and its lists are read in a process of their own, within a budget. Then every image is checked and
packed, in shards, which stream into the store when the splits are known. In between, the window of 16-bit
grey images is measured on some in `train`, unless the owner chose it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.data.archives import ArchiveLimits, Budget, unpack, unpack_around
from models.data.columns import write_columns
from models.data.formats import DatasetFormat, FormatOptions, Manifest, find_shards, read, read_shards
from models.data.formats.entries import Entries
from models.data.formats.lists.side_files import WINDOW_FILE
from models.data.formats.manifest import is_image_name
from models.data.grey import LEVELS, TAIL, GreyWindow, WindowChoice, histogram, middle_window, window_of
from models.data.images.checks import grey_levels
from models.data.images.image_types import stored_path
from models.data.images.limits import ImageLimits
from models.data.importing import inspection
from models.data.importing.accepted_images import AcceptedImages
from models.data.importing.bounded_reading import read_within, reading_budget
from models.data.importing.builtin import BuiltinOptions, make_builtin
from models.data.importing.parts import Parts, ShardFolder
from models.data.importing.remote import MemberSource, RemoteFolder, RemoteZip
from models.data.importing.shards import ImportPass, compute_below
from models.data.importing.sources import ArraySource, FolderSource, Source, check_limits
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.report import (
    REPORT_FILE,
    ImportRefused,
    ImportReport,
    ImportStopped,
    ProblemCode,
    Rejection,
)
from models.data.splits import NO_SPLIT, assign_splits
from models.run import OnProgress, Progress, ignore_progress
from models.runtime.bounded import ProcessBudget
from models.runtime.files import bytes_below, hidden_sibling, replace_folder, sweep_siblings
from models.runtime.ordered import in_order

BUILTIN_PREFIX = "builtin:"
AnySource = Path | str | RemoteZip | RemoteFolder
_UNPACKED = "unpacked"
_REPORTS = 200  # calls of on_progress per import, approximately


@dataclass(frozen=True)
class ImportOptions:
    """How data are read.
    `format` None is detected; `seed` determines the splits that are made; `threads` is also the number of
    processes that decode; `grey_window` None is measured. `reading` None is the budget of `reading_budget`.
    """

    name: str = "data set"
    format: DatasetFormat | None = None
    seed: int = 0
    threads: int = 2
    layout: FormatOptions = field(default_factory=FormatOptions)
    grey_window: GreyWindow | None = None
    builtin: BuiltinOptions = field(default_factory=BuiltinOptions)
    image: ImageLimits = field(default_factory=ImageLimits)
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    reading: ProcessBudget | None = None


class Watch(NamedTuple):
    """`on_progress` counts each image twice: checked, packed. `should_stop` ends the import."""

    on_progress: OnProgress
    should_stop: Callable[[], bool]

    def step(self, done: int, total: int, *, checkpoint: bool = False) -> None:
        """Report a finished step. Raises `ImportStopped`."""
        if self.should_stop():
            raise ImportStopped
        if checkpoint or done == total or done % max(1, total // _REPORTS) == 0:
            self.on_progress(Progress(0, 1, done, total, 0.0, checkpoint=checkpoint))


def import_dataset(
    source: AnySource,
    target: Path,
    options: ImportOptions | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
    rejected: Sequence[Rejection] = (),
    compute: Callable[[ImportPass, OnProgress], ShardFolder] | None = None,
) -> ImportReport:
    """Import `source` into the folder `target`, which appears complete at the end or not at all.

    `source` is a folder or an archive file, here or elsewhere, or `builtin:NAME`. The report lists everything
    wrong with the data, first the files that were `rejected` before. If its state is `invalid`, `target`
    holds only `report.json`; if it is `ready`, `target` is a packed store with `report.json`. An older
    `target` is replaced. Raises `ImportStopped`, and OSError when the disk fails; both leave nothing
    behind but the shards that `compute` keeps: it has all of a pass computed and returns where they are; by
    default, it keeps none. Whoever keeps `target` waits until its bytes are on disk.
    """
    options = options or ImportOptions()
    target = Path(target)
    watch = Watch(on_progress, should_stop)
    sweep_siblings(target)
    scratch = hidden_sibling(target)
    try:
        opened, junk = _open_source(source, scratch, options, should_stop)
        opened.manifest = replace(opened.manifest, rejected=(*rejected, *opened.manifest.rejected))
        compute = compute or partial(compute_below, scratch / "shards")
        return _import(opened, target, options, junk=junk, watch=watch, compute=compute)
    except ImportRefused as error:
        problem = error.problem
        if rejected and problem.code is ProblemCode.NO_IMAGES:
            problem = inspection.NOTHING_USABLE
        report = ImportReport("invalid", options.name, None, problems=(problem,), rejected=tuple(rejected))
        return _publish_report(report, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def open_pass(
    source: AnySource, scratch: Path, options: ImportOptions, should_stop: Callable[[], bool]
) -> ImportPass:
    """The pass that the import of `source` makes over its images, for one who computes some of its shards.
    What is read of it beforehand is kept below `scratch`. Raises `ImportRefused`, `ImportStopped`."""
    opened, _ = _open_source(source, scratch, options, should_stop)
    return ImportPass(opened, options.image, options.threads, should_stop)


def _open_source(
    source: AnySource, scratch: Path, options: ImportOptions, should_stop: Callable[[], bool]
) -> tuple[Source, Sequence[Rejection]]:
    """The images, and the junk found in an archive, which is unpacked below `scratch`."""
    if isinstance(source, str) and source.startswith(BUILTIN_PREFIX):
        name = source.removeprefix(BUILTIN_PREFIX)
        return ArraySource(name, make_builtin(name, replace(options.builtin, seed=options.seed))), ()
    if isinstance(source, RemoteZip):
        place, size = scratch / _UNPACKED, source.size
    else:
        folder = source.path if isinstance(source, RemoteFolder) else Path(source)
        place, size = folder, bytes_below(folder)
    budget = options.reading or reading_budget(size)
    readable = source if isinstance(source, RemoteZip) else place
    manifest, junk = read_within(budget, partial(_read, readable, scratch, options), should_stop)
    fetch = None
    if isinstance(source, RemoteZip | RemoteFolder) and manifest.root.is_relative_to(place):
        fetch = source.fetch  # images that were unpacked from a parquet file are elsewhere, and there
    kind = MemberSource if fetch and isinstance(source, RemoteZip) else FolderSource
    temporary = fetch is not None or manifest.root.is_relative_to(scratch)
    return kind(manifest, options.image, temporary=temporary, fetch_files=fetch), junk


def _read(
    source: Path | RemoteZip, scratch: Path, options: ImportOptions, should_stop: Callable[[], bool]
) -> tuple[Manifest, Sequence[Rejection]]:
    """What the files of an archive or a folder mean, and junk in the archive. Raises `ImportRefused`."""
    folder, junk = scratch / _UNPACKED, list[Rejection]()
    if isinstance(source, RemoteZip):
        budget = Budget(options.archive, source.size, should_stop)
        with source.open() as file:
            junk = unpack_around(file, folder, budget, is_left=lambda path: is_image_name(path.name))
    elif source.is_file():
        junk = unpack(source, folder, options.archive, should_stop=should_stop)
    else:
        folder = source
    sharded = find_shards(folder) if options.format in (None, DatasetFormat.HUGGING_FACE) else None
    if sharded is None:
        manifest = read(folder, options.format, options.layout)
        if not manifest.labelled:
            check_limits(manifest, options.archive)
    else:
        budget = Budget(options.archive, sharded.size, should_stop)
        manifest = read_shards(sharded, scratch / "images", options.layout, budget)
    return replace(manifest, entries=Entries.of(manifest.entries)), junk


def _import(
    source: Source,
    target: Path,
    options: ImportOptions,
    *,
    junk: Sequence[Rejection],
    watch: Watch,
    compute: Callable[[ImportPass, OnProgress], ShardFolder],
) -> ImportReport:
    manifest, entries = source.manifest, len(source.manifest.entries)
    sharded = ImportPass(source, options.image, options.threads, watch.should_stop)
    folder_of = compute(sharded, lambda done: watch.step(done.step, 2 * entries, checkpoint=done.checkpoint))
    parts = Parts(folder_of, sharded.sizes)
    accepted = AcceptedImages(manifest, parts.facts, parts.headers)
    with StoreWriter(target) as writer:
        report = _report_of_files(options.name, manifest, parts.rejected, junk)
        if problems := inspection.first_problems(accepted):
            return _publish_report(replace(report, count=len(accepted), problems=problems), target)
        report, splits = _completed(report, accepted, options.seed)
        if report.problems:
            return _publish_report(report, target)
        choice = choose_window(
            accepted,
            splits,
            chosen=options.grey_window,
            measure=partial(
                measure_window,
                parts.image,
                limits=options.image,
                threads=options.threads,
                should_stop=watch.should_stop,
            ),
        )
        report = inspection.with_window(report, accepted, choice)
        _pack(parts, accepted, splits, writer=writer, watch=watch)
        write_columns(writer.folder, accepted.entries.subjects.cells(), accepted.metadata)
        _write_report(report, writer.folder)
        writer.finish(
            DatasetInfo(
                name=options.name,
                format=manifest.format,
                classes=report.classes,
                group_names=report.group_names,
                seed=options.seed,
                split_record=report.split_record,
                summary=report.summary(),
                grey_window=choice and choice.window,
            )
        )
        return report


def _completed(
    report: ImportReport, accepted: AcceptedImages, seed: int
) -> tuple[ImportReport, Sequence[str]]:
    """The report on all images, and the split of each."""
    if not accepted.manifest.labelled:
        return inspection.complete_unlabelled(report, accepted), [NO_SPLIT] * len(accepted)
    entries = accepted.entries
    assignment = assign_splits(
        entries.splits.cells(),
        entries.labels,
        groups=entries.groups,
        twins=accepted.twins,
        subjects=entries.subjects.codes,
        seed=seed,
    )
    return inspection.complete(report, accepted, assignment), assignment.splits


def _report_of_files(
    name: str, manifest: Manifest, rejected: Sequence[Rejection], junk: Sequence[Rejection]
) -> ImportReport:
    """What the layout says and which files were left out, before the images are looked at as a whole."""
    return ImportReport(
        state="invalid",
        name=name,
        format=manifest.format,
        classes=manifest.classes,
        group_names=manifest.group_names,
        columns=manifest.columns,
        rejected=(*manifest.rejected, *rejected),
        ignored=(*junk, *manifest.ignored),
    )


def _pack(
    parts: Parts, accepted: AcceptedImages, splits: Sequence[str], *, writer: StoreWriter, watch: Watch
) -> None:
    total, entries = len(accepted.manifest.entries), accepted.entries
    facts = accepted.facts[["width", "height", "type"]]
    for row, (digest, encoded) in enumerate(parts.images()):
        width, height, kind = facts[row].item()
        path, label = stored_path(entries.path(row), kind.decode()), int(entries.labels[row])
        group = int(entries.groups[row])
        writer.add(Row(path, label, splits[row], group, width, height, encoded, digest))
        watch.step(total + row + 1, 2 * total)
    for pixels in parts.pixels():
        writer.pixels.add(pixels)
    watch.step(2 * total, 2 * total)


def _publish_report(report: ImportReport, target: Path) -> ImportReport:
    folder = hidden_sibling(target)
    _write_report(report, folder)
    replace_folder(folder, target)
    return report


def _write_report(report: ImportReport, folder: Path) -> None:
    (folder / REPORT_FILE).write_text(
        json.dumps(report.to_json(), indent=1, ensure_ascii=False), encoding="utf-8"
    )


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
