"""Where the images of an import come from: an upload, a builtin data set, an address, another data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec

from core.errors import JobError
from core.storage.artifacts import ArtifactMissing
from core.storage.copies import part_callback
from models.data.download import write_folder
from models.data.importing.datasets import BUILTIN_PREFIX
from models.data.report import ImportStopped
from models.data.store import Store
from worker.protocol import DatasetSpec
from worker.stages.context import StageContext

UPLOADED = "archive"
"""Name of the only file in an upload's artifact."""
DATASET = "dataset"
"""Kind of a source that is another data set."""


def source_of(context: StageContext, dataset: DatasetSpec) -> Path | str:
    """The folder or the file on this host that is imported, or `builtin:NAME`. Raises `JobError`."""
    ((kind, address),) = dataset.source.items()
    if kind == "builtin":
        return f"{BUILTIN_PREFIX}{address}"
    if kind == "address":
        return _at(context, address)
    if kind == DATASET:
        return _copied(context, address)
    try:
        return context.artifacts.folder(address) / UPLOADED
    except ArtifactMissing:
        raise JobError("upload_missing", "the uploaded file is gone; upload it again") from None


def _copied(context: StageContext, dataset_id: str) -> Path:
    """The files of another data set, as its download has them."""
    try:
        store = Store.open(context.artifacts.folder(f"datasets/{dataset_id}"))
    except ArtifactMissing:
        raise JobError(
            "source_unavailable", f"data set {dataset_id} is gone; upload its images again"
        ) from None
    target = context.workspace.path / "source"
    shutil.rmtree(target, ignore_errors=True)

    def check() -> None:
        if context.should_stop():
            raise ImportStopped

    write_folder(store, target, check)
    return target


def _at(context: StageContext, address: str) -> Path:
    """A local path as it is, or a copy of a remote address. Checks again that the address is allowed."""
    if not any(below(address, prefix) for prefix in context.settings.sources):
        raise JobError(
            "source_not_allowed",
            "the operator does not allow this address (MASKTUNE_ALLOWED_SOURCES)",
        )
    scheme, _, rest = address.partition("://")
    return Path(rest) if scheme == "file" else _fetched(context, address)


def below(address: str, prefix: str) -> bool:
    """Whether the address is below the prefix, comparing whole path parts with symlinks resolved.

    `/data-private` is not below `/data`.
    """
    (scheme, _, path), (allowed_scheme, _, allowed) = address.partition("://"), prefix.partition("://")
    if scheme != allowed_scheme or ".." in Path(path).parts:
        return False
    if scheme == "file":
        return Path(path).resolve().is_relative_to(Path(allowed).resolve())
    return Path(path).is_relative_to(allowed.rstrip("/"))


def _fetched(context: StageContext, address: str) -> Path:
    """Copy a remote file or tree to this host, enforcing the size limit file by file."""
    fs, path = fsspec.core.url_to_fs(address)
    target = context.workspace.path / "source"
    shutil.rmtree(target, ignore_errors=True)
    if not fs.exists(path):
        raise JobError("source_unavailable", "there is nothing at this address; check its spelling")
    left = context.settings.max_upload_bytes
    for name in fs.find(path):
        relative = name[len(path) :].lstrip("/") or UPLOADED
        if ".." in Path(relative).parts:  # keys in an object store may be any text
            raise JobError("source_unsafe", "a name below this address contains '..' and leads out of it")
        if context.should_stop():
            raise ImportStopped
        left -= fs.size(name)
        if left < 0:
            raise JobError(
                "source_too_large",
                f"the address holds more than the limit of {context.settings.max_upload_bytes} bytes "
                "(MASKTUNE_MAX_UPLOAD_BYTES)",
            )
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(name, str(target / relative), callback=part_callback(context.should_stop))
    only = target / UPLOADED
    return only if only.is_file() else target
