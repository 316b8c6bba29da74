"""A backup with a file that is missing, changed, added or a link is not restored, and the file is named."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.storage.artifacts import Artifacts
from core.storage.backup import restore
from core.storage.backup_files import NotRestorable
from tests.integration.core.backups import MakeDatabase, rows


def _state(url: str, artifacts: Artifacts) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """What a restore changes: the rows of the database, and the names in the store."""
    return rows(url), artifacts.fs.find(artifacts.root) if artifacts.fs.exists(artifacts.root) else []


WEIGHTS = "artifacts/models/mdl_1/deep/weights"


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _link(file: Path) -> None:
    outside = file.parents[len(Path(WEIGHTS).parts)] / "outside"
    outside.write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(outside)


def _hard_link(file: Path) -> None:
    outside = file.parents[len(Path(WEIGHTS).parts)] / "outside"
    file.rename(outside)
    file.hardlink_to(outside)


def _link_folder(file: Path) -> None:
    outside = file.parents[len(Path(WEIGHTS).parts)] / "outside"
    file.parent.rename(outside)
    file.parent.symlink_to(outside)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda file: file.unlink(), f"{WEIGHTS} is missing"),
        (_flip, f"{WEIGHTS} was changed"),
        (lambda file: file.write_bytes(b"w"), f"{WEIGHTS} has 1 bytes instead of 1,000"),
        (lambda file: file.with_name("more").touch(), "deep/more was added"),
        (lambda file: file.with_name("line\nbreak").touch(), r"line\\nbreak' was added"),
        (_link, f"{WEIGHTS} is a link"),
        (_hard_link, f"{WEIGHTS} is a hard link"),
        (_link_folder, "artifacts/models/mdl_1/deep is a link"),
        (_pipe, f"{WEIGHTS} is neither a file nor a folder"),
        (lambda file: _flip(file.parents[4] / "tables/jobs.jsonl"), "tables/jobs.jsonl was changed"),
        (lambda file: (file.parents[4] / "files.jsonl").unlink(), "files.jsonl is missing"),
        (lambda file: _flip(file.parents[4] / "files.jsonl"), "files.jsonl is missing or was changed"),
    ],
)
def test_what_is_missing_changed_added_or_linked_is_named_and_nothing_is_restored(
    change: Callable[[Path], object],
    name: str,
    backup: Path,
    make_database: MakeDatabase,
    other_artifacts: Artifacts,
) -> None:
    url, store = make_database("sqlite"), other_artifacts
    before = _state(url, store)
    change(backup / WEIGHTS)
    with pytest.raises(NotRestorable, match=re.escape(name) if "\\" not in name else name) as refusal:
        restore(backup, url, store)
    assert "\n" not in str(refusal.value)
    assert _state(url, store) == before


def test_a_list_of_files_that_lead_out_of_the_backup_is_refused(
    backup: Path, make_database: MakeDatabase, other_artifacts: Artifacts
) -> None:
    """A forged one, with a SHA-256 that fits."""
    outside = backup.parent / "secret"
    outside.write_text("s")
    sha256 = hashlib.sha256(b"s").hexdigest()
    with (backup / "files.jsonl").open("a") as file:
        file.write(json.dumps({"path": "artifacts/../../secret", "bytes": 1, "sha256": sha256}) + "\n")
    about = json.loads((backup / "backup.json").read_text())
    about["sha256"] = hashlib.sha256((backup / "files.jsonl").read_bytes()).hexdigest()
    (backup / "backup.json").write_text(json.dumps(about))
    with pytest.raises(NotRestorable, match=re.escape("artifacts/../../secret is missing")):
        restore(backup, make_database("sqlite"), other_artifacts)
    assert not other_artifacts.fs.exists(other_artifacts.root)
