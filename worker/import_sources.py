"""Where the images of an import come from: an upload, a builtin data set, an address, another data set, or a
table of the paths of images without labels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

import fsspec
from fsspec import Callback

from core.errors import JobError
from core.storage.artifacts import ArtifactMissing
from core.storage.copies import part_callback
from masktune.contract.hyperparameters import DatasetFormat
from masktune.contract.job_params import ImportParams
from masktune.contract.upload_files import HEAD, file_refusal
from models.data.archives.guards import ArchiveError, plain, safe_name
from models.data.archives.zips import ZIP_MAGIC
from models.data.download import add_images, write_folder
from models.data.formats.lists.manifests import read_paths
from models.data.formats.manifest import is_image_name, not_an_image_name
from models.data.images.limits import ImageLimits
from models.data.importing.bounded_reading import read_within, reading_budget
from models.data.importing.datasets import BUILTIN_PREFIX
from models.data.importing.remote import RemoteFolder, RemoteZip
from models.data.importing.sources import check_size
from models.data.report import FileCode, ImportRefused, ImportStopped, Rejection
from models.data.store import Store
from worker.context import StageContext
from worker.protocol import DatasetSpec

UPLOADED = "archive"
"""Name of the only file in an upload's artifact."""
DATASET = "dataset"
"""Kind of a source that is another data set."""
_READ_AHEAD = 4 << 20  # bytes of a zip's directory read at once
_MAX_TEXT = 1000  # characters of an entry that is no path


class ImportSource(NamedTuple):
    """The folder or the file that is imported, or `builtin:NAME`.
    `rejected` are the files that could not be copied to this host."""

    path: Path | str | RemoteZip | RemoteFolder
    rejected: list[Rejection]


def source_of(context: StageContext, dataset: DatasetSpec) -> ImportSource:
    """The source, fetched where it is not on this host.
    Raises `JobError`, `ImportStopped`."""
    if DATASET in dataset.source:
        return ImportSource(_copied(context, dataset.source[DATASET], dataset.source.get("upload")), [])
    ((kind, address),) = dataset.source.items()
    if kind == "builtin":
        return ImportSource(f"{BUILTIN_PREFIX}{address}", [])
    copy, place = SourceCopy(context, "source"), ""
    if kind == "address":
        path, place = _at(copy, address), address.rpartition("/")[0]
    else:
        path = _uploaded_zip(context, copy, address) or _uploaded(context, address) / UPLOADED
    if isinstance(path, Path) and path.is_file() and is_unlabelled(context) and _is_table(path):
        return _listed(context, path, place)
    return ImportSource(path, copy.rejected)


def is_unlabelled(context: StageContext) -> bool:
    return context.job_params(ImportParams).format == DatasetFormat.UNLABELLED


def _uploaded(context: StageContext, key: str) -> Path:
    try:
        return context.artifacts.folder(key)
    except ArtifactMissing:
        raise JobError("upload_missing", "the uploaded file is gone; upload it again") from None


def _uploaded_zip(context: StageContext, copy: SourceCopy, key: str) -> RemoteZip | None:
    """An upload that is a zip, if it is in an object store or other workers may help: each reads its part."""
    artifacts, settings = context.artifacts, context.settings
    alone = artifacts.local and settings.database.startswith("sqlite") and not settings.broker_url
    if alone or not artifacts.exists(key):
        return None
    return copy.remote_zip(artifacts.fs.unstrip_protocol(f"{artifacts.root}/{key}/{UPLOADED}"))


def _copied(context: StageContext, dataset_id: str, added: str | None) -> Path:
    """The files of another data set, as its download has them, and the images that are `added` to them."""
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
    if added is not None:
        add_images(target, _uploaded(context, added))
    return target


def _at(copy: SourceCopy, address: str) -> Path | RemoteZip | RemoteFolder:
    """A local path as it is, or what is at a remote address.
    Checks again that the address is allowed."""
    if not copy.allows(address):
        raise JobError(
            "source_not_allowed",
            "the operator does not allow this address (MASKTUNE_ALLOWED_SOURCES)",
        )
    scheme, _, rest = address.partition("://")
    path = Path(rest)
    if scheme == "file" and not (path.is_file() or path.is_dir()):
        raise _nothing_there()
    return path if scheme == "file" else _fetched(copy, address)


def _nothing_there() -> JobError:
    return JobError("source_unavailable", "there is no file or folder at this address; check its spelling")


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


def _fetched(copy: SourceCopy, address: str) -> Path | RemoteZip | RemoteFolder:
    """A remote zip as it is, a copy of another file, or of all but the images of a tree."""
    scheme, _, path = address.partition("://")
    fs = fsspec.filesystem(scheme)  # not by the whole address: `::` in it would mean another one
    if not fs.exists(path):
        raise _nothing_there()
    sizes = {name: info["size"] for name, info in fs.find(path, detail=True).items()}
    copy.check_count(len(sizes))
    for name, size in sizes.items():
        relative = name[len(path) :].lstrip("/")
        if ".." in Path(relative).parts:  # keys in an object store may be any text
            raise JobError("source_unsafe", "a name below this address contains '..' and leads out of it")
        if relative and is_image_name(relative):
            copy.stand_in(relative, size)
        elif relative or (remote := copy.remote_zip(address)) is None:
            copy.add(fs, name, relative or UPLOADED, size)
        else:
            copy.admit(UPLOADED, size)
            return remote
    only = copy.target / UPLOADED
    if only.is_file():
        return only

    def fetch(files: Sequence[Path]) -> None:
        names = [f"{path.rstrip('/')}/{file.relative_to(copy.target).as_posix()}" for file in files]
        fs.get(names, list(map(str, files)), callback=copy.callback)

    return RemoteFolder(copy.target, fetch)


class SourceCopy:
    """Copies of files on this host, below a new folder of the job, within the limits of an upload.
    Of images without labels, those that are too large are `rejected` and not copied."""

    def __init__(self, context: StageContext, name: str) -> None:
        self._context, self._settings = context, context.settings
        self._left = self._settings.max_upload_bytes
        self._limits = ImageLimits(max_bytes=self._settings.max_image_bytes)
        self._unlabelled = is_unlabelled(context)
        self.target = context.workspace.path / name
        self.rejected: list[Rejection] = []
        shutil.rmtree(self.target, ignore_errors=True)

    def allows(self, address: str) -> bool:
        """Whether the operator allows to read at this address."""
        return any(below(address, prefix) for prefix in self._settings.sources)

    def check_count(self, count: int) -> None:
        """Raise `JobError` for more files than an archive may hold."""
        if count > self._settings.max_archive_entries:
            raise _too_large(f"{self._settings.max_archive_entries} files (MASKTUNE_MAX_ARCHIVE_ENTRIES)")

    def add(self, fs: fsspec.AbstractFileSystem, name: str, relative: str, size: int) -> None:
        """Copy the file of this name and size.
        Raises `JobError` if all together are too large."""
        if self.admit(relative, size):
            fs.get_file(name, str(self._place(relative)), callback=self.callback)

    def remote_zip(self, address: str) -> RemoteZip | None:
        """The file at this address, if it is a zip."""
        scheme, _, path = address.partition("://")
        fs = fsspec.filesystem(scheme)
        if not fs.cat_file(path, start=0, end=4).startswith(ZIP_MAGIC):
            return None

        def opened() -> IO[bytes]:
            # In a forked process, the file system of this one cannot be used.
            return cast(IO[bytes], fsspec.filesystem(scheme).open(path, block_size=_READ_AHEAD))

        def read(start: int, stop: int) -> bytes:
            if self._context.should_stop():
                raise ImportStopped
            return bytes(fs.cat_file(path, start=start, end=stop))

        return RemoteZip(fs.size(path), opened, read)

    def stand_in(self, relative: str, size: int) -> None:
        """Have an empty file of this size stand in for one that is copied later.
        Raises as `add` does."""
        if self.admit(relative, size):
            with self._place(relative).open("wb") as file:
                file.truncate(size)

    def admit(self, relative: str, size: int) -> bool:
        """Whether a file of this size is to be copied.
        Raises `JobError` if all together are too large."""
        if self._context.should_stop():
            raise ImportStopped
        is_image = self._unlabelled and relative != UPLOADED
        if is_image and (rejection := check_size(relative, size, self._limits)):
            self.rejected.append(rejection)
            return False
        self._left -= size
        if self._left < 0:
            raise _too_large(f"{self._settings.max_upload_bytes} bytes (MASKTUNE_MAX_UPLOAD_BYTES)")
        return True

    @property
    def callback(self) -> Callback:
        """For fsspec: each copied part is a sign of life."""
        return part_callback(self._context.should_stop)

    def _place(self, relative: str) -> Path:
        place = self.target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _too_large(limit: str) -> JobError:
    return JobError("source_too_large", f"the source holds more than the limit of {limit}")


# --- a table of paths ---------------------------------------------------------------------------


def _is_table(file: Path) -> bool:
    """Whether this file, which was to be an archive of images without labels, is a table of paths instead."""
    with file.open("rb") as opened:
        return bool(file_refusal(opened.read(HEAD)))


def _listed(context: StageContext, table: Path, place: str) -> ImportSource:
    """Copies of the images that the table names; `place` is the address of its folder, empty for an upload.

    A rejection names each that cannot be copied. The path of an image is the table's, without the scheme.
    """
    column = context.job_params(ImportParams).options.get("path")
    try:
        names = read_within(
            reading_budget(table.stat().st_size), lambda _: read_paths(table, column), context.should_stop
        )
    except ImportRefused as error:
        detail = f"the file is no archive, and no table of paths can be read in it: {error}"
        raise JobError("table_unusable", detail) from error
    copy = SourceCopy(context, "listed")
    copy.target.mkdir(parents=True)
    copy.check_count(len(names))
    paths = set[str]()
    for name in names:
        rejection = _copy_listed(copy, name, place, paths)
        copy.rejected += filter(None, [rejection])
    return ImportSource(copy.target, copy.rejected)


def _copy_listed(copy: SourceCopy, name: str, place: str, paths: set[str]) -> Rejection | None:
    """Copy the image, unless something is wrong with its entry.
    `paths` are those of the entries before."""
    scheme, is_address, path = name.partition("://")
    try:
        relative = str(safe_name(path.lstrip("/") if is_address else name))
    except ArchiveError:
        relative = ""
    if relative in ("", ".") or not (is_address or place):
        detail = "is neither an address nor the path of a file below the folder of the table"
        return Rejection(plain(name)[:_MAX_TEXT], FileCode.BAD_PATH, f"{detail}: write file://… or s3://…")
    if relative in paths:  # before what costs more: a table may repeat a path many times
        return Rejection(relative, FileCode.LISTED_TWICE, "is listed a second time: remove one of the rows")
    address = name if is_address else f"{place}/{relative}"
    if not copy.allows(address):
        detail = "is outside the places that the operator allows (MASKTUNE_ALLOWED_SOURCES)"
        return Rejection(relative, FileCode.BAD_PATH, detail)
    if not is_image_name(relative):
        return not_an_image_name(relative)
    paths.add(relative)
    fs = fsspec.filesystem((scheme if is_address else place).partition("://")[0])
    try:
        info = fs.info(address)
        if info["type"] == "file":
            copy.add(fs, info["name"], relative, info["size"])
            return None
    except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError):
        pass  # it may also lie where another image of the table has a folder, or the other way round
    return Rejection(relative, FileCode.MISSING_FILE, "is no file that the service can read")
