"""Imports of small folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import ImportReport
from tests.unit.models.data.conftest import MakeTree

ImportFiles = Callable[..., ImportReport]


@pytest.fixture
def import_files(make_tree: MakeTree, tmp_path: Path) -> ImportFiles:
    """`import_files(files, …)`: imports a folder of these files as `ds`, with one process for the images."""

    def imported(files: dict[str, bytes | str], **options: Any) -> ImportReport:
        return import_dataset(make_tree(files), tmp_path / "ds", ImportOptions(threads=1, **options))

    return imported
