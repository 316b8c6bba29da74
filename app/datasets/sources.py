"""Sources of data sets other than uploads: builtin names, other data sets, and allowed addresses."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from core.errors import InvalidInput

BUILTIN = "builtin:"
DATASET = "dataset:"


def resolve(source: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """Return the `DatasetRow.source`: `{"builtin": name}`, `{"dataset": id}` or `{"address": url}`.

    Raises `InvalidInput` for unknown sources, path traversal, and addresses outside the allowed prefixes.
    """
    if source.startswith(BUILTIN):
        return {"builtin": _builtin(source.removeprefix(BUILTIN))}
    if source.startswith(DATASET):
        return {"dataset": source.removeprefix(DATASET)}
    scheme, mark, rest = source.partition("://")
    check = _SCHEMES.get(scheme)
    if not mark or check is None:
        raise _refused("unknown-source", f"{source!r} is not builtin:NAME, dataset:ID, file://… or s3://…")
    return {"address": check(rest, [a.partition("://")[2] for a in allowed if a.startswith(scheme + "://")])}


def _builtin(name: str) -> str:
    from models.data.importing.builtin import BUILTIN as KNOWN  # imports PIL, which nothing else here needs

    if name not in KNOWN:
        raise _refused("unknown-builtin", f"there is no builtin {name!r}; use one of {', '.join(KNOWN)}")
    return name


def _file(path: str, prefixes: list[str]) -> str:
    """Check a file address. Like fsspec, decode nothing; resolve symbolic links before comparing prefixes."""
    if "\0" in path or not path.startswith("/"):
        raise _refused("invalid-address", "a file address needs an absolute path: file:///folder/archive.zip")
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(prefix)) for prefix in prefixes):
        raise _not_allowed()
    try:
        is_readable = real.is_file() or real.is_dir()  # no pipe, socket or device
    except OSError:  # the name is too long, or a folder cannot be read
        is_readable = False
    if not is_readable:
        raise _refused("not-found", "there is no file or folder at this address that the service can read")
    return f"file://{real}"


def _s3(key: str, prefixes: list[str]) -> str:
    parts = key.rstrip("/").split("/")
    if "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise _refused("invalid-address", "the address must be s3://BUCKET/KEY without empty parts, . or ..")
    path = PurePosixPath(*parts)
    if not any(path.is_relative_to(prefix.strip("/")) for prefix in prefixes if prefix.strip("/")):
        raise _not_allowed()
    return f"s3://{path}"


_SCHEMES = {"file": _file, "s3": _s3}


def _not_allowed() -> InvalidInput:
    return _refused(
        "not-allowed",
        "the operator does not allow this address (MASKTUNE_ALLOWED_SOURCES); "
        "upload the archive instead, or ask for the address to be allowed",
    )


def _refused(code: str, detail: str) -> InvalidInput:
    return InvalidInput.field("/source", code, detail)
