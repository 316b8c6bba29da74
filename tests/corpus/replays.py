"""How a file of the corpus is tried that is no model. Imports no torch, as little as an import job does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from models.data.archives import ArchiveLimits
from models.data.images.checks import check_image
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import Rejection
from models.runtime.bounded import ProcessBudget

ACCEPTED = "accepted"
OPTIONS = ImportOptions(
    threads=1,
    archive=ArchiveLimits(ratio_grace=4 << 20, entry_grace=500),
    reading=ProcessBudget(cpu_seconds=1, memory=256 << 20),
)
"""As in the service, but for bombs: those of a few megabytes are refused as larger ones are there."""


def replay_archive(file: Path) -> str:
    report = import_dataset(file, file.with_name("store"), OPTIONS)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, "store"])
    return ACCEPTED if report.state == "ready" else report.problems[0].code


def replay_image(file: Path) -> str:
    checked = check_image(file.read_bytes(), file.name)
    return checked.code if isinstance(checked, Rejection) else ACCEPTED


def replay_table(file: Path) -> str:
    """As `metadata.*` beside twelve images, a.png to l.png."""
    upload = file.parent / "upload"
    upload.mkdir()
    file.rename(upload / f"metadata{file.suffix}")
    for shade, letter in enumerate("abcdefghijkl"):
        Image.new("L", (8, 8), shade).save(upload / f"{letter}.png")
    report = import_dataset(upload, file.with_name("store"), OPTIONS)
    return ACCEPTED if report.state == "ready" else report.problems[0].code


REPLAYS: Mapping[str, Callable[[Path], str]] = {
    "archives": replay_archive,
    "images": replay_image,
    "tables": replay_table,
}
"""Folder of the corpus → how a file in it is tried."""
