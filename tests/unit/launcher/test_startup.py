"""What every part of the service does before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.startup import read_settings


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_no_other_user_reads_the_files_of_the_service(tmp_path: Path) -> None:
    read_settings(data_dir=tmp_path)
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "rows").write_text("keys")
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "backup" / "rows").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("before", "after"), [(0o755, 0o750), (0o700, 0o700), (0o1777, 0o1777)])
def test_the_data_folder_of_an_earlier_version_is_closed_to_other_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: int, after: int
) -> None:
    """What has the sticky bit is no folder of the service alone."""
    tmp_path.chmod(before)
    read_settings(data_dir=tmp_path)
    assert tmp_path.stat().st_mode & 0o7777 == after
    assert ("closed" in capsys.readouterr().out) == (before != after)


@pytest.mark.usefixtures("umask")
def test_a_data_folder_is_not_made_to_be_closed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_settings(data_dir=tmp_path / "new")
    assert (list(tmp_path.iterdir()), capsys.readouterr().out) == ([], "")
