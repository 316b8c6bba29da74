"""Data sets: upload them or import them from a source, wait for them, inspect them, delete them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

from masktune.client.calls import (
    Changes,
    Filters,
    call,
    create,
    fetch,
    get,
    get_list,
    idempotent,
    metadata_query,
    pages,
    segment,
    until,
    update,
)
from masktune.client.errors import DatasetInvalid, WaitedTooLong
from masktune.client.resource import D, Listing, Operation, Resource
from masktune.client.transfers import (
    STORED_SECONDS,
    CountedFile,
    OnSent,
    ZippedFolder,
    as_utf8,
    check_dataset_files,
    check_upload,
    download,
)
from masktune.client.wire import EmittingFlow, FilePart, Flow, Request
from masktune.contract.base import MOST_NAME
from masktune.contract.datasets import Dataset, FullReport, name_of_source
from masktune.contract.hyperparameters import DatasetFormat
from masktune.contract.samples import Sample


def upload_dataset(
    path: Path | str,
    *,
    name: str | None = None,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
    on_sent: OnSent | None = None,
    idempotency_key: str | None = None,
) -> Flow[Dataset]:
    """Upload an archive, or a folder, zipped while it is sent; with the format `unlabelled` also a table of
    paths that the service may read. The import continues after this returns.

    Before anything is sent, raises `NotSent` for files that cannot be a data set (a document, images without
    folders of classes), and `TooLarge` for an upload above the service's limit.

    `options` say how the files are read: `{"subject": "*/{subject}_*", "hold_out": ["meta:site=Berlin"]}`.
    `seed` seeds the splits that the import makes if the files name none.
    """
    path = Path(path)
    folder = path.is_dir()
    called = as_utf8(path.resolve().name)
    part = FilePart(
        field="file",
        filename=f"{called}.zip" if folder else as_utf8(path.name),
        open=partial(ZippedFolder if folder else CountedFile, path, on_sent),
    )
    form = {"name": name or called.partition(".")[0][:MOST_NAME], "format": format, "seed": str(seed)}
    if options:
        form["options"] = json.dumps(dict(options))
    if metadata:
        form["metadata"] = json.dumps(dict(metadata))
    request = Request(
        method="POST",
        path="/datasets",
        form=form,
        files=(part,),
        headers=idempotent(idempotency_key),
        repeatable=True,
        answer_seconds=STORED_SECONDS,
    )
    check_dataset_files(path, labelled=format != DatasetFormat.UNLABELLED)
    yield from check_upload(path)
    return (yield from call(request, Dataset))


def from_source(
    source: str,
    *,
    name: str | None = None,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Flow[Dataset]:
    """Import a data set from a source that the service can reach: `builtin:NAME`, an address it allows, or
    `dataset:ID`, to read a data set again with other options; by default with the same name."""
    if name is None and source.startswith("dataset:"):
        name = (yield from get_dataset(source.removeprefix("dataset:"))).name
    body: dict[str, Any] = {
        "name": name or name_of_source(source),
        "source": source,
        "format": format,
        "seed": seed,
    }
    if options:
        body["options"] = dict(options)
    if metadata:
        body["metadata"] = dict(metadata)
    return (yield from call(create("/datasets", json=body, key=idempotency_key), Dataset))


def get_dataset(dataset_id: str) -> Flow[Dataset]:
    """Get one data set with its report."""
    return call(get(f"/datasets/{segment(dataset_id)}"), Dataset)


def update_dataset(
    dataset_id: str, *, if_match: str | None = None, **changes: Unpack[Changes]
) -> Flow[Dataset]:
    """Change the name or the metadata. `if_match`: only if it still has this ETag."""
    return call(update(f"/datasets/{segment(dataset_id)}", changes, if_match), Dataset)


def list_datasets(
    *, labelled: bool | None = None, limit: int | None = None, **filters: Unpack[Filters]
) -> EmittingFlow[Dataset]:
    """Iterate over data sets, newest first: all, or those with or without labels, of a name, a creator,
    metadata or a time. `limit` is the page size."""
    return pages(get_list("/datasets", filters, labelled=labelled, limit=limit), Dataset)


def wait_for_dataset(dataset_id: str, *, timeout: float | None = None) -> Flow[Dataset]:
    """Wait for the import to end. Raises `DatasetInvalid`, or `WaitedTooLong` after `timeout` seconds."""
    dataset = yield from until(
        lambda dataset: dataset.state != "importing",
        get(f"/datasets/{segment(dataset_id)}"),
        Dataset,
        timeout=timeout,
    )
    if dataset.state == "importing":
        raise WaitedTooLong(f"data set {dataset_id} was still being imported after {timeout:g} s")
    if dataset.state == "invalid":
        raise DatasetInvalid(dataset)
    return dataset


def full_report(dataset_id: str) -> Flow[FullReport]:
    """Get every rejected, ignored or duplicate file of the import. A 409 problem if there is no report."""
    return call(get(f"/datasets/{segment(dataset_id)}/report"), FullReport)


class SampleFilters(TypedDict, total=False):
    """Which samples are listed; all that is given must hold."""

    split: str | None
    label: str | None
    """Name of their class."""
    group: str | None
    subject: str | None
    metadata: Mapping[str, str | float] | None
    """The cells that they have in these columns."""
    q: str | None
    """A text in the path, the subject or a text of the metadata."""
    inferred_by: str | None
    """Id of a job on the data set: each sample then has `inferred`, what that job guessed of it. The three
    filters below go by it, and need it."""
    pattern: str | None
    """Name of the class whose pattern they show."""
    lacks_pattern: bool | None
    label_looks_wrong: bool | None


def list_samples(
    dataset_id: str, *, limit: int | None = None, **filters: Unpack[SampleFilters]
) -> EmittingFlow[Sample]:
    """Iterate over the samples, optionally of one split, class, group or subject, with these cells in their
    `metadata` columns, or with `q` in their path, subject or metadata. `limit` is the page size."""
    return pages(_samples(dataset_id, filters, limit), Sample)


def download_samples(dataset_id: str, target: Path | str, **filters: Unpack[SampleFilters]) -> Flow[Path]:
    """Write the same list, without the images, to `target`, a CSV file with a row for each sample. The file
    appears complete or not at all."""
    request = replace(_samples(dataset_id, filters), headers={"Accept": "text/csv"})
    return download(request, Path(target))


def _samples(dataset_id: str, filters: SampleFilters, limit: int | None = None) -> Request:
    return get(
        f"/datasets/{segment(dataset_id)}/samples",
        split=filters.get("split"),
        label=filters.get("label"),
        group=filters.get("group"),
        subject=filters.get("subject"),
        q=filters.get("q"),
        inferred_by=filters.get("inferred_by"),
        pattern=filters.get("pattern"),
        lacks_pattern=filters.get("lacks_pattern"),
        label_looks_wrong=filters.get("label_looks_wrong"),
        limit=limit,
        **metadata_query(filters.get("metadata")),
    )


def get_sample(dataset_id: str, sample: int, *, inferred_by: str | None = None) -> Flow[Sample]:
    """Get one sample: its class, its split, its file; with what the job `inferred_by` guessed of it."""
    path = f"/datasets/{segment(dataset_id)}/samples/{sample}"
    return call(get(path, inferred_by=inferred_by), Sample)


def sample_image(
    dataset_id: str, sample: int, *, as_png: bool = False, side: int | None = None
) -> Flow[bytes]:
    """Get the image file as it was uploaded; or `as_png`, upright and in the data set's window, with at most
    `side` pixels on its longer side."""
    path = f"/datasets/{segment(dataset_id)}/samples/{sample}/image"
    return (yield from fetch(get(path, **{"as": "png" if as_png else None, "side": side}))).content


def download_dataset(dataset_id: str, target: Path | str, *, on_received: OnSent | None = None) -> Flow[Path]:
    """Write the data set to `target`, a zip that can be uploaded again and is then the same data set. The
    file appears complete or not at all."""
    return download(get(f"/datasets/{segment(dataset_id)}/download"), Path(target), on_received)


def delete_dataset(dataset_id: str) -> Flow[None]:
    """Delete the data set and its images. A 409 problem while a job uses it."""
    yield from fetch(Request(method="DELETE", path=f"/datasets/{segment(dataset_id)}", repeatable=True))


class Datasets(Resource[D]):
    """`client.datasets`."""

    upload = Operation(upload_dataset)
    from_source = Operation(from_source)
    get = Operation(get_dataset)
    update = Operation(update_dataset)
    list = Listing(list_datasets)
    wait = Operation(wait_for_dataset)
    report = Operation(full_report)
    samples = Listing(list_samples)
    sample = Operation(get_sample)
    download_samples = Operation(download_samples)
    image = Operation(sample_image)
    download = Operation(download_dataset)
    delete = Operation(delete_dataset)
