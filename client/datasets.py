"""Data sets: uploaded or made from a source, waited for, looked into, deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from client.calls import call, create, fetch, get, idempotent, pages, segment, until
from client.errors import DatasetInvalid, WaitedTooLong
from client.limits import check_upload
from client.resource import D, Listing, Operation, Resource
from client.shapes import Dataset, FullReport, Sample
from client.uploads import STORED_SECONDS, CountedFile, OnSent, ZippedFolder, spelt
from client.wire import EmittingFlow, FilePart, Flow, Request


def upload_dataset(
    path: Path | str,
    *,
    name: str | None = None,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    on_sent: OnSent | None = None,
    idempotency_key: str | None = None,
) -> Flow[Dataset]:
    """Upload an archive, or a folder that is zipped while it is sent. The import goes on after the return.

    Raises `TooLarge`, with nothing sent, for what is above the service's limit.

    `seed` decides the splits that are made where the files name none.
    """
    path = Path(path)
    folder = path.is_dir()
    called = spelt(path.resolve().name)
    part = FilePart(
        field="file",
        filename=f"{called}.zip" if folder else spelt(path.name),
        open=partial(ZippedFolder if folder else CountedFile, path, on_sent),
    )
    form = {"name": name or called.partition(".")[0], "format": format, "seed": str(seed)}
    if options:
        form["options"] = json.dumps(dict(options))
    request = Request(
        method="POST",
        path="/datasets",
        form=form,
        files=(part,),
        headers=idempotent(idempotency_key),
        repeatable=True,
        answer_seconds=STORED_SECONDS,
    )
    yield from check_upload(path)
    return (yield from call(request, Dataset))


def from_source(
    source: str,
    *,
    name: str | None = None,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    idempotency_key: str | None = None,
) -> Flow[Dataset]:
    """Make a data set of what the service can reach itself: `builtin:NAME`, or an address it allows."""
    body: dict[str, Any] = {"name": name or _name_of(source), "source": source}
    body |= {"format": format, "seed": seed}
    if options:
        body["options"] = dict(options)
    return call(create("/datasets", json=body, key=idempotency_key), Dataset)


def get_dataset(dataset_id: str) -> Flow[Dataset]:
    """One data set with its report."""
    return call(get(f"/datasets/{segment(dataset_id)}"), Dataset)


def list_datasets(*, limit: int | None = None) -> EmittingFlow[Dataset]:
    """Every data set, newest first. `limit` is the size of a page."""
    return pages(get("/datasets", limit=limit), Dataset)


def wait_for_dataset(dataset_id: str, *, timeout: float | None = None) -> Flow[Dataset]:
    """Until the import has ended. Raises `DatasetInvalid`, or `WaitedTooLong` after `timeout` seconds."""
    dataset = yield from until(
        lambda seen: seen.state != "importing",
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
    """Every file that the import rejected or ignored, and every duplicate; 409 where there is no report."""
    return call(get(f"/datasets/{segment(dataset_id)}/report"), FullReport)


def list_samples(
    dataset_id: str,
    *,
    split: str | None = None,
    label: str | None = None,
    group: str | None = None,
    limit: int | None = None,
) -> EmittingFlow[Sample]:
    """The samples, of one split, class or group where asked for. `limit` is the size of a page."""
    query = get(
        f"/datasets/{segment(dataset_id)}/samples", split=split, label=label, group=group, limit=limit
    )
    return pages(query, Sample)


def sample_image(dataset_id: str, sample: int) -> Flow[bytes]:
    """The image file as it was uploaded."""
    response = yield from fetch(get(f"/datasets/{segment(dataset_id)}/samples/{sample}/image"))
    return response.content


def delete_dataset(dataset_id: str) -> Flow[None]:
    """Delete it with its images. Refused (409) while a job uses it."""
    yield from fetch(Request(method="DELETE", path=f"/datasets/{segment(dataset_id)}", repeatable=True))


def _name_of(source: str) -> str:
    """The last part of an address without its endings, as an upload has it of its file."""
    last = source.rstrip("/").rpartition("/")[2].removeprefix("builtin:")
    return last.partition(".")[0] or last


class Datasets(Resource[D]):
    """`client.datasets`."""

    upload = Operation(upload_dataset)
    from_source = Operation(from_source)
    get = Operation(get_dataset)
    list = Listing(list_datasets)
    wait = Operation(wait_for_dataset)
    report = Operation(full_report)
    samples = Listing(list_samples)
    image = Operation(sample_image)
    delete = Operation(delete_dataset)
